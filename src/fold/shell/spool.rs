//! Sorts events by the documents that they touch. The events are in a temporary file, so memory stays bounded, with one
//! exception: the events of a document that have the same time are in memory together.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::store::{FIRST, LAST};
use crate::encode::{Digest, Id};
use crate::fold::{Event, Key, Kind};
use crate::spill::{self, Merge, Sorter, SpillError, SpilledEntry};

/// Size of the events in memory before they are written to the file.
const BUFFER_BYTES: usize = 24 * 1024 * 1024;
/// Memory for sorting the places of events.
const SORTER_BYTES: usize = 24 * 1024 * 1024;
/// The events of a key are returned in pieces of about this size.
const PIECE_BYTES: usize = 1024 * 1024;
/// Memory for events that are read ahead, for all runs together and for each run.
const AHEAD_BYTES: usize = 4 * 1024 * 1024;
const AHEAD_MIN: usize = 4 * 1024;
const AHEAD_MAX: usize = 256 * 1024;

/// Packed events, and where they are.
#[derive(Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// One entry for each event of each document: the key, the time of the event, and the place of the packed event.
    entries: Vec<SpilledEntry>,
}

impl Packed {
    /// Adds what an event says about the document with this key.
    pub(super) fn push(&mut self, key: Key, event: &Event) {
        let start = self.bytes.len();
        event.pack(key, &mut self.bytes);
        let place = Place { offset: start as u64, length: (self.bytes.len() - start) as u32 };
        let (source, row) = (key.kind as u32, event.order().at_ms.map_or(0, sortable));
        self.entries.push(SpilledEntry { id: key.id, source, row, digest: place.into() });
    }

    /// Returns the size of the packed events.
    pub(super) const fn size(&self) -> usize {
        self.bytes.len()
    }

    fn append(&mut self, mut other: Self) {
        if self.entries.is_empty() {
            *self = other;
            return;
        }
        for entry in &mut other.entries {
            let Place { offset, length } = entry.digest.into();
            entry.digest = Place { offset: offset + self.bytes.len() as u64, length }.into();
        }
        self.bytes.append(&mut other.bytes);
        self.entries.append(&mut other.entries);
    }
}

/// Collects events.
pub(super) struct Spool {
    /// The places of the events in the file.
    sorter: Sorter,
    /// The events that are not in the file yet.
    packed: Packed,
    file: Option<File>,
    /// The offsets in the file at which the runs begin. A run is the events that were written together.
    runs: Vec<u64>,
    written: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        let (packed, file, runs) = (Packed::default(), None, Vec::new());
        Self { sorter: Sorter::new(SORTER_BYTES), packed, file, runs, written: 0 }
    }

    /// Adds what an event says about the document with this key.
    pub(super) fn push(&mut self, key: Key, event: &Event) -> Result<(), SpillError> {
        self.packed.push(key, event);
        self.flush_if_full()
    }

    /// Adds packed events.
    pub(super) fn append(&mut self, packed: Packed) -> Result<(), SpillError> {
        self.packed.append(packed);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), SpillError> {
        if self.packed.bytes.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends the input.
    pub(super) fn into_sorted(mut self) -> Result<Sorted, SpillError> {
        if self.file.is_some() {
            self.flush()?;
        }
        for entry in std::mem::take(&mut self.packed.entries) {
            self.sorter.push(entry)?;
        }
        let events = match self.file {
            Some(file) => Events::InFile { file, runs: self.runs, end: self.written },
            None => Events::InMemory(self.packed.bytes),
        };
        Ok(Sorted { entries: self.sorter.into_sorted()?, events: Arc::new(events) })
    }

    /// Writes the packed events to the file in the order of their keys. So the events of a run are read in their order
    /// in the file.
    fn flush(&mut self) -> Result<(), SpillError> {
        self.packed.entries.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(|cause| SpillError::new("create", cause))?),
        };
        self.runs.push(self.written);
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        for mut entry in self.packed.entries.drain(..) {
            let Place { offset, length } = entry.digest.into();
            let event = &self.packed.bytes[offset as usize..offset as usize + length as usize];
            out.write_all(event).map_err(|cause| SpillError::new("write", cause))?;
            entry.digest = Place { offset: self.written, length }.into();
            self.written += u64::from(length);
            self.sorter.push(entry)?;
        }
        out.flush().map_err(|cause| SpillError::new("write", cause))?;
        drop(out);
        self.packed.bytes.clear();
        Ok(())
    }
}

/// All events, sorted by document and time. Several ranges can be read at the same time.
pub(super) struct Sorted {
    entries: spill::Sorted,
    events: Arc<Events>,
}

enum Events {
    InMemory(Vec<u8>),
    InFile { file: File, runs: Vec<u64>, end: u64 },
}

impl Sorted {
    /// Returns the events of all documents.
    pub(super) fn all(&self) -> Result<Spooled, SpillError> {
        self.range(FIRST, LAST)
    }

    /// Returns the events of the documents with keys from `first` to `last`.
    pub(super) fn range(&self, first: Id, last: Id) -> Result<Spooled, SpillError> {
        let end = u128::from_be_bytes(last.0).checked_add(1).map(|end| Id(end.to_be_bytes()));
        let runs = if let Events::InFile { runs, .. } = &*self.events { runs.len() } else { 0 };
        let mut ahead = Vec::new();
        ahead.resize_with(runs, Ahead::default);
        let (entries, events) = (self.entries.range(first, end)?, Arc::clone(&self.events));
        Ok(Spooled { entries, next: None, events, ahead, piece_bytes: 0 })
    }
}

/// The events of a range, by document and time.
pub(super) struct Spooled {
    entries: Merge,
    next: Option<SpilledEntry>,
    events: Arc<Events>,
    /// What was read ahead of each run.
    ahead: Vec<Ahead>,
    /// Size of the events that were returned last.
    pub piece_bytes: usize,
}

/// A piece of the file.
#[derive(Default)]
struct Ahead {
    start: u64,
    bytes: Vec<u8>,
}

impl Ahead {
    /// Returns the packed event at a place. If it was not read ahead, reads `bytes` bytes from there, up to `end`. The
    /// event is not larger than `bytes`.
    fn event(&mut self, place: Place, file: &File, bytes: usize, end: u64) -> io::Result<&[u8]> {
        let length = place.length as usize;
        let is_here =
            place.offset >= self.start && place.offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !is_here {
            let count = (bytes as u64).min(end - place.offset);
            self.bytes.resize(count as usize, 0);
            self.start = place.offset;
            file.read_exact_at(&mut self.bytes, place.offset)?;
        }
        let at = (place.offset - self.start) as usize;
        Ok(&self.bytes[at..at + length])
    }
}

impl Spooled {
    /// Returns the next events of a document, not sorted. The events of a document can be returned in several pieces.
    /// All events of a piece are then later than those of the piece before.
    pub(super) fn next_piece(&mut self) -> Result<Option<(Key, Vec<Event>)>, SpillError> {
        let Some(first) = self.next.take().map_or_else(|| self.entries.next().transpose(), |next| Ok(Some(next)))?
        else {
            return Ok(None);
        };
        let key = Key { kind: Kind::ALL[first.source as usize], id: first.id };
        let (mut events, mut bytes, mut entry) = (Vec::new(), 0, first);
        loop {
            let place = Place::from(entry.digest);
            bytes += place.length as usize;
            events.push(self.read(key, place)?);
            let last = entry;
            match self.entries.next().transpose()? {
                // Events of the same time must be in the same piece, because their order is not known yet.
                Some(next) if next.id == key.id && (bytes < PIECE_BYTES || next.row == last.row) => entry = next,
                next => {
                    self.next = next;
                    self.piece_bytes = bytes;
                    return Ok(Some((key, events)));
                }
            }
        }
    }

    /// Returns the next events of the same document. Returns `None` if there are no more.
    pub(super) fn next_piece_of(&mut self, key: Key) -> Result<Option<Vec<Event>>, SpillError> {
        if self.next.is_none_or(|next| next.id != key.id) {
            return Ok(None);
        }
        Ok(self.next_piece()?.map(|(_, events)| events))
    }

    fn read(&mut self, key: Key, place: Place) -> Result<Event, SpillError> {
        let event = match &*self.events {
            Events::InMemory(packed) => Event::unpack(key, &packed[place.offset as usize..][..place.length as usize]),
            Events::InFile { file, runs, end } => {
                let run = runs.partition_point(|start| *start <= place.offset) - 1;
                let bytes = (AHEAD_BYTES / runs.len()).clamp(AHEAD_MIN, AHEAD_MAX);
                let end = runs.get(run + 1).unwrap_or(end);
                let mut large = Vec::new();
                let event = if place.length as usize > bytes {
                    // Does not use the buffer of the run. Otherwise each buffer would become as large as the largest
                    // event.
                    large.resize(place.length as usize, 0);
                    file.read_exact_at(&mut large, place.offset).map(|()| &large[..])
                } else {
                    self.ahead[run].event(place, file, bytes, *end)
                };
                Event::unpack(key, event.map_err(|cause| SpillError::new("read", cause))?)
            }
        };
        event.ok_or_else(|| SpillError::new("read", io::ErrorKind::InvalidData.into()))
    }
}

/// The place of a packed event in the file, or in memory. A [`SpilledEntry`] contains it in its field `digest`.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u32,
}

impl From<Place> for Digest {
    fn from(place: Place) -> Self {
        Self(u128::from(place.offset) << 64 | u128::from(place.length))
    }
}

impl From<Digest> for Place {
    fn from(digest: Digest) -> Self {
        Self { offset: (digest.0 >> 64) as u64, length: digest.0 as u32 }
    }
}

/// Converts a time to a number that is never 0, with the same order. 0 stands for no time.
const fn sortable(at_ms: i64) -> u64 {
    // Only the smallest `i64` would give 0, and it is far from the years 1 to 9999.
    at_ms.cast_unsigned() ^ (1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::IdentityKey;

    #[test]
    fn events_are_returned_by_document_and_time_from_memory_and_from_the_file() {
        let spec = crate::spec::Spec::from_toml(include_str!("../../../specs/hl7v2.toml"), "hl7v2").expect("a spec");
        let mut reader = super::super::basis::reader_of(&spec, &IdentityKey::default()).expect("a reader");
        let mut event = |at: u32| {
            let (minute, patient) = (59 - at % 60, at % 7);
            let text = format!(
                "MSH|^~\\&|A|B|||20260301{:02}{minute:02}||ADT^A01|{at}|P|2.5\rPID|1||P{patient}^^^H^MR||DOE^{at}\r\
                 PV1|1|I|W1||||||||||||||||V{patient}^^^H",
                at / 60 % 24
            );
            reader.event(Id::from_hash(&blake3::hash(text.as_bytes())), text.as_bytes()).expect("a message")
        };
        let events: Vec<Event> = (0..500).map(&mut event).collect();
        for is_in_file in [false, true] {
            let mut spool = Spool::new();
            for (number, event) in events.iter().enumerate() {
                event.keys().for_each(|key| spool.push(key, event).expect("pushed"));
                if is_in_file && number % 100 == 7 {
                    spool.flush().expect("written");
                }
            }
            let mut sorted = spool.into_sorted().expect("sorted").all().expect("a range");
            let mut found = Vec::new();
            while let Some((key, piece)) = sorted.next_piece().expect("read") {
                assert!(piece.is_sorted_by_key(|event| event.order().at_ms));
                found.extend(piece.into_iter().map(|event| (key, event)));
            }
            assert_eq!(found.len(), 1_000);
            assert!(found.is_sorted_by_key(|(key, _)| key.id));
            for (key, event) in found {
                let whole = events.iter().find(|other| other.order() == event.order()).expect("the same event");
                assert!(event.steps(key).eq(whole.steps(key)) && event.keys().eq([key]));
            }
        }
    }

    #[test]
    fn large_events_do_not_enlarge_the_buffers() {
        let spec = crate::spec::Spec::from_toml(include_str!("../../../specs/hl7v2.toml"), "hl7v2").expect("a spec");
        let mut reader = super::super::basis::reader_of(&spec, &IdentityKey::default()).expect("a reader");
        let mut spool = Spool::new();
        for (number, bytes) in [(1, 3 * AHEAD_MAX), (2, 10), (3, 2 * AHEAD_MAX)] {
            let name = "x".repeat(bytes);
            let text = format!("MSH|^~\\&|A|B|||20260301||ADT^A28|1|P|2.5\rPID|1||P{number}^^^H^MR||{name}");
            let event = reader.event(Id([number; 16]), text.as_bytes()).expect("a message");
            event.keys().for_each(|key| spool.push(key, &event).expect("pushed"));
        }
        spool.flush().expect("written");
        let mut sorted = spool.into_sorted().expect("sorted").all().expect("a range");
        let mut sizes = Vec::new();
        while let Some(piece) = sorted.next_piece().expect("read") {
            sizes.push((piece.1.len(), sorted.piece_bytes > AHEAD_MAX));
        }
        sizes.sort_unstable();
        assert_eq!(sizes, [(1, false), (1, true), (1, true)]);
        assert!(sorted.ahead.iter().all(|ahead| ahead.bytes.capacity() <= AHEAD_MAX));
    }
}
