//! The text of a source as UTF-8. The beginning of the text, the sample, can be examined before the text is read.

use std::io::Read;

use super::archive::Plain;
use super::decode::{Decoded, Decoder};
use super::{Encoding, ReadError, ReadOptions, binary, encoding};

/// Largest number of bytes that one byte of windows-1252 or one 16-bit unit of UTF-16 has in UTF-8.
const GROWTH_MAX: usize = 3;

/// The decoded text of a source.
pub(super) struct Text {
    plain: Plain,
    encoding: Encoding,
    decoder: Decoder,
    pub mark_bytes: u64,
    /// The beginning of the text. Empty after `append` has passed on all of it.
    sample: Sample,
    /// Buffer for bytes before they are decoded.
    raw: Vec<u8>,
}

#[derive(Default)]
struct Sample {
    text: Vec<u8>,
    undecodable: Vec<u32>,
    /// Number of bytes of `text` that `append` has passed on.
    passed: usize,
    /// True if the sample is known to be the whole text.
    is_whole: bool,
}

impl Text {
    /// Opens a source and decodes its beginning. If the options contain no encoding, the encoding is detected.
    /// `is_inside` is true if `from` begins in the middle of a source. There can be no byte order mark at that place.
    pub(super) fn open(
        name: &str,
        from: Box<dyn Read + Send>,
        options: &ReadOptions,
        is_inside: bool,
    ) -> Result<Self, ReadError> {
        let mut plain = Plain::new(name, from)?;
        let mut raw = vec![0; options.sample_bytes.max(1)];
        let length = plain.fill(&mut raw)?;
        let is_whole = length < raw.len();
        raw.truncate(length);
        let encoding = encoding::detect(&raw, options.encoding);
        // In the middle of a source, the bytes of a row can look like the beginning of a binary format, so this check
        // is left out.
        if let Some(what) = binary::recognise(&raw, encoding).filter(|_| !is_inside) {
            return Err(ReadError::Binary { name: name.to_owned(), what });
        }
        let mark_bytes = if is_inside { 0 } else { encoding.mark_bytes(&raw) };
        let mut decoder = Decoder::new(encoding);
        let sample = Sample::decode(raw, mark_bytes, &mut decoder, is_whole);
        if is_whole && sample.text.is_empty() {
            return Err(ReadError::Empty { name: name.to_owned() });
        }
        Ok(Self { plain, encoding, decoder, mark_bytes: mark_bytes as u64, sample, raw: Vec::new() })
    }

    pub(super) fn name(&self) -> &str {
        self.plain.name()
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn consumed_bytes(&self) -> u64 {
        self.plain.consumed_bytes()
    }

    /// Returns the beginning of the text. For a small source, this is the whole text. Otherwise it is the sample up to
    /// its last line end, or the whole sample if it has no line end. JSON can have nearly all of its text in one line.
    /// If the last line end of a JSON sample is in the first sixteenth, the whole sample is returned.
    pub(super) fn sample(&self) -> &[u8] {
        let text = &self.sample.text;
        let last_line_end = if self.sample.is_whole { None } else { memchr::memrchr2(b'\n', b'\r', text) };
        let is_json = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
        let last_line_end = last_line_end.filter(|place| !is_json || place * 16 >= text.len());
        &text[..last_line_end.map_or(text.len(), |place| place + 1)]
    }

    /// Returns true if the sample is known to be the whole text. The result is also false if the source ends exactly
    /// where the sample ends. Call it before the first [`append`](Self::append).
    pub(super) fn sample_is_whole(&self) -> bool {
        self.sample.is_whole
    }

    /// Appends at most about `bytes_max` bytes of text to `out`. Returns true if more text may follow.
    pub(super) fn append(&mut self, bytes_max: usize, out: &mut Decoded) -> Result<bool, ReadError> {
        if self.sample.is_left() {
            return Ok(self.sample.append(bytes_max, out));
        }
        self.sample = Sample::default();
        if self.encoding == Encoding::Utf8 {
            self.append_as_is(bytes_max, out)
        } else {
            self.append_decoded(bytes_max, out)
        }
    }

    fn append_as_is(&mut self, bytes_max: usize, out: &mut Decoded) -> Result<bool, ReadError> {
        let before = out.text.len();
        out.text.resize(before + bytes_max, 0);
        let length = self.plain.fill(&mut out.text[before..])?;
        out.text.truncate(before + length);
        Ok(length == bytes_max)
    }

    fn append_decoded(&mut self, bytes_max: usize, out: &mut Decoded) -> Result<bool, ReadError> {
        self.raw.resize((bytes_max / GROWTH_MAX).max(1), 0);
        let length = self.plain.fill(&mut self.raw)?;
        self.decoder.decode(&self.raw[..length], out);
        if length < self.raw.len() {
            self.decoder.finish(out);
        }
        Ok(length == self.raw.len())
    }
}

impl Sample {
    fn decode(mut raw: Vec<u8>, mark_bytes: usize, decoder: &mut Decoder, is_whole: bool) -> Self {
        raw.drain(..mark_bytes);
        if decoder.encoding() == Encoding::Utf8 {
            return Self { text: raw, undecodable: Vec::new(), passed: 0, is_whole };
        }
        let (mut text, mut undecodable) = (Vec::with_capacity(raw.len()), Vec::new());
        let mut out = Decoded { text: &mut text, undecodable: &mut undecodable };
        decoder.decode(&raw, &mut out);
        if is_whole {
            decoder.finish(&mut out);
        }
        Self { text, undecodable, passed: 0, is_whole }
    }

    fn is_left(&self) -> bool {
        self.passed < self.text.len()
    }

    fn append(&mut self, bytes_max: usize, out: &mut Decoded) -> bool {
        let end = self.text.len().min(self.passed + bytes_max);
        let places = |place: usize| self.undecodable.partition_point(|&at| (at as usize) < place);
        let moved = places(self.passed)..places(end);
        let (from, to) = (self.passed as u32, out.text.len() as u32);
        out.undecodable.extend(self.undecodable[moved].iter().map(|place| place - from + to));
        out.text.extend_from_slice(&self.text[self.passed..end]);
        self.passed = end;
        self.is_left() || !self.is_whole
    }
}
