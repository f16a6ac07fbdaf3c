//! Divides the bytes of a connection into MLLP frames: `0B`, the message, `1C 0D`. The bytes can arrive in any pieces.
//!
//! - Bytes between two frames are ignored and counted.
//! - A `0B` inside an unfinished frame begins the frame anew, if it is at the beginning of a line or directly before a
//!   header segment. The unfinished frame is counted. Elsewhere it is text, because some programs use it as a line
//!   break. This is the rule by which a load reads a recorded stream (`read/frame/hl7.rs`).
//! - `1C` ends a frame before `0D`, and before the `0B` of the next frame. Before every other byte it is text.
//! - A frame that is longer than the limit is reported once. The connection must then be closed.

use memchr::{memchr, memchr2};

/// The first byte of a frame.
pub const START: u8 = 0x0b;
/// The last two bytes of a frame.
pub const END: [u8; 2] = [0x1c, 0x0d];

/// The segments with which the content of a frame can begin.
const HEADS: [&[u8; 3]; 3] = [b"MSH", b"FHS", b"BHS"];

/// A frame that was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'b> {
    /// The content of a whole frame.
    Whole(&'b [u8]),
    /// The beginning of a frame that is longer than the limit.
    TooLong(&'b [u8]),
}

/// Finds the frames in the bytes of one connection.
#[derive(Debug)]
pub struct Splitter {
    bytes_max: usize,
    /// The bytes that are not processed yet. The caller appends to it.
    buffer: Vec<u8>,
    /// Position of the first byte that is still needed: inside a frame, the first byte of its content.
    start: usize,
    /// Position of the first byte that has not been examined.
    at: usize,
    is_inside: bool,
    is_too_long: bool,
    /// Bytes between frames, without the start and end bytes.
    pub ignored: u64,
    /// Frames that had no end when the next one began.
    pub unfinished: u64,
}

/// What a byte that can be a part of the framing means.
enum Mark {
    /// The frame ends before this byte. The end mark has this many bytes: 2 (`1C 0D`), or 1 if `0D` is missing.
    End(usize),
    /// The frame begins anew after this byte.
    Restart,
    Text,
    /// The meaning depends on bytes that have not arrived yet.
    Undecided,
}

impl Splitter {
    /// Makes a splitter for frames whose content has at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            buffer: Vec::new(),
            start: 0,
            at: 0,
            is_inside: false,
            is_too_long: false,
            ignored: 0,
            unfinished: 0,
        }
    }

    /// Returns the buffer to which the caller appends what it has received. Call [`next_frame`](Self::next_frame) afterwards until
    /// it returns `None`.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.at -= self.start;
            self.start = 0;
        }
        &mut self.buffer
    }

    /// Returns true if a frame has begun and not ended.
    pub const fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// Returns the next frame that has ended, or that is too long.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        if self.is_too_long {
            return None;
        }
        if !self.is_inside && !self.find_start() {
            return None;
        }
        let end = self.find_end();
        let length = end.map_or(self.at, |(end, _)| end) - self.start;
        if length > self.bytes_max {
            self.is_too_long = true;
            return Some(Frame::TooLong(&self.buffer[self.start..self.start + self.bytes_max]));
        }
        let (end, after) = end?;
        let content = self.start..end;
        (self.start, self.at, self.is_inside) = (end + after, end + after, false);
        Some(Frame::Whole(&self.buffer[content]))
    }

    /// Skips the bytes before the next frame. Returns false if none begins.
    fn find_start(&mut self) -> bool {
        let rest = &self.buffer[self.start..];
        let begin = memchr(START, rest);
        let skipped = begin.unwrap_or(rest.len());
        self.ignored += skipped as u64;
        self.start += skipped + usize::from(begin.is_some());
        self.at = self.start;
        self.is_inside = begin.is_some();
        self.is_inside
    }

    /// Returns the position of the end mark, and the length of the end mark.
    fn find_end(&mut self) -> Option<(usize, usize)> {
        while let Some(found) = memchr2(END[0], START, &self.buffer[self.at..]) {
            self.at += found;
            if self.at - self.start > self.bytes_max {
                // The frame is too long, even if a new frame begins at this byte.
                return None;
            }
            match self.mark() {
                Mark::End(after) => return Some((self.at, after)),
                Mark::Restart => {
                    self.unfinished += u64::from(self.at > self.start);
                    (self.start, self.at) = (self.at + 1, self.at + 1);
                }
                Mark::Text => self.at += 1,
                Mark::Undecided => return None,
            }
        }
        self.at = self.buffer.len();
        None
    }

    /// Decides what the byte at `at` means.
    fn mark(&self) -> Mark {
        let after = &self.buffer[self.at + 1..];
        if self.buffer[self.at] == END[0] {
            return match after.first() {
                Some(&byte) if byte == END[1] => Mark::End(2),
                Some(&START) => Mark::End(1),
                Some(_) => Mark::Text,
                None => Mark::Undecided,
            };
        }
        let before = self.buffer[self.start..self.at].last();
        if before.is_none_or(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Mark::Restart;
        }
        let is_head = |head: &&&[u8; 3]| after.starts_with(&head[..]);
        let can_be_head = |head: &&&[u8; 3]| after.len() < head.len() && head.starts_with(after);
        if HEADS.iter().any(|head| is_head(&head)) {
            Mark::Restart
        } else if HEADS.iter().any(|head| can_be_head(&head)) {
            Mark::Undecided
        } else {
            Mark::Text
        }
    }
}

/// Appends a message in a frame.
pub fn put_frame(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + 3);
    out.push(START);
    out.extend_from_slice(message);
    out.extend_from_slice(&END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Splits the pieces. Returns the contents of the frames, the number of ignored bytes and that of unfinished
    /// frames. `None` stands for a frame that is too long.
    fn split(pieces: &[&[u8]], bytes_max: usize) -> (Vec<Option<Vec<u8>>>, u64, u64) {
        let (mut splitter, mut found) = (Splitter::new(bytes_max), Vec::new());
        for piece in pieces {
            splitter.buffer().extend_from_slice(piece);
            while let Some(frame) = splitter.next_frame() {
                found.push(match frame {
                    Frame::Whole(content) => Some(content.to_vec()),
                    Frame::TooLong(_) => None,
                });
            }
        }
        (found, splitter.ignored, splitter.unfinished)
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &[&[u8]], ignored: u64, unfinished: u64) {
        let expected: Vec<_> = expected.iter().map(|frame| Some(frame.to_vec())).collect();
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(split(&[first, second], 99), (expected.clone(), ignored, unfinished), "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(split(&single, 99), (expected, ignored, unfinished), "byte by byte");
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_are_divided() {
        check(b"", &[], 0, 0);
        check(b"\x0bMSH|1\r\x1c\r", &[b"MSH|1\r"], 0, 0);
        check(b"\x0bMSH|1\x1c\r\x0bMSH|2\x1c\r", &[b"MSH|1", b"MSH|2"], 0, 0);
        check(b"\0\0\x0bMSH|1\x1c\r\0x\r\n\x0bMSH|2\x1c\r\n", &[b"MSH|1", b"MSH|2"], 7, 0);
        check(b"\x0b\x1c\r", &[b""], 0, 0);
        // The start byte twice.
        check(b"\x0b\x0bMSH|1\x1c\r", &[b"MSH|1"], 0, 0);
        // The end is missing.
        check(b"\x0bMSH|1\r\x0bMSH|2\x1c\r", &[b"MSH|2"], 0, 1);
        check(b"\x0bMSH|1|te\x0bMSH|2\x1c\r", &[b"MSH|2"], 0, 1);
        check(b"\x0bMSH|1\r\x0bjunk\x1c\r", &[b"junk"], 0, 1);
        check(b"\x0bMSH|1\x1c\x0bMSH|2\x1c\r", &[b"MSH|1", b"MSH|2"], 0, 0);
        // `0B` and `1C` in the middle of a line are text. The frame of the second check is not complete.
        check(b"\x0bMSH|a\x0bb\x1cc\x0bMSx\x1c\r", &[b"MSH|a\x0bb\x1cc\x0bMSx"], 0, 0);
        check(b"\x0bMSH|a\x1c", &[], 0, 0);
    }

    #[test]
    fn a_frame_that_is_too_long_is_reported_once_and_nothing_after_it() {
        let bytes = b"\x0b1234\x1c\r\x0b12345\x1c\r\x0b1\x1c\r";
        let expected = (vec![Some(b"1234".to_vec()), None], 0, 0);
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(split(&[first, second], 4), expected, "cut at {at}");
        }
        // Also if its end never arrives.
        assert_eq!(split(&[b"\x0b123456"], 4).0, [None]);
    }

    #[test]
    fn a_frame_is_written_as_it_is_read() {
        let mut out = Vec::new();
        put_frame(b"MSH|1", &mut out);
        put_frame(b"MSH|2", &mut out);
        check(&out, &[b"MSH|1", b"MSH|2"], 0, 0);
    }

    proptest! {
        #[test]
        fn any_division_gives_the_same_frames(
            bytes in proptest::collection::vec(prop_oneof![
                Just(0x0b), Just(0x1c), Just(0x0d), Just(0), Just(b'M'), Just(b'S'), Just(b'H'), Just(b'|')
            ], 0..60),
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces, 20), split(&[&bytes], 20));
        }

        #[test]
        fn every_framed_message_is_found_among_other_bytes(
            messages in proptest::collection::vec("MSH\\|[a-z\r|]{0,30}", 0..6),
            between in proptest::collection::vec("[a-z\0\r\n]{0,9}", 6),
        ) {
            let mut bytes = Vec::new();
            for (message, between) in messages.iter().zip(&between) {
                bytes.extend_from_slice(between.as_bytes());
                put_frame(message.as_bytes(), &mut bytes);
            }
            let expected: Vec<_> = messages.iter().map(|message| Some(message.as_bytes().to_vec())).collect();
            prop_assert_eq!(split(&[&bytes], 99).0, expected);
        }
    }
}
