//! Sorts events by the documents that they touch. The events are in a temporary file, so memory stays bounded, with one
//! exception: the events of a document that have the same time are in memory together.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::encode::Digest;
use crate::fold::{Event, Key, Kind};
use crate::spill::{Merge, Sorter, SpillError, SpilledEntry};

use super::store::FIRST;

/// Size of the events in memory before they are written to the file.
const BUFFER_BYTES: usize = 24 * 1024 * 1024;
/// Memory for sorting the places of events.
const SORTER_BYTES: usize = 24 * 1024 * 1024;
/// The events of a key are returned in pieces of about this size.
const PIECE_BYTES: usize = 1024 * 1024;

/// Collects events.
pub(super) struct Spool {
    /// One entry for each event of each document: the key, the time of the event, and the place of the packed event.
    sorter: Sorter,
    /// The packed events that are not in the file yet, and their entries. In these entries, places are positions in
    /// `packed`.
    packed: Vec<u8>,
    waiting: Vec<SpilledEntry>,
    file: Option<File>,
    written: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        let (packed, waiting) = (Vec::new(), Vec::new());
        Self { sorter: Sorter::new(SORTER_BYTES), packed, waiting, file: None, written: 0 }
    }

    /// Adds what an event says about the document with this key.
    pub(super) fn push(&mut self, key: Key, event: &Event) -> Result<(), SpillError> {
        let start = self.packed.len();
        event.pack(key, &mut self.packed);
        let place = Place { offset: start as u64, length: (self.packed.len() - start) as u32 };
        let (source, row) = (key.kind as u32, event.order().at_ms.map_or(0, sortable));
        self.waiting.push(SpilledEntry { id: key.id, source, row, digest: place.into() });
        if self.packed.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends the input.
    pub(super) fn into_sorted(mut self) -> Result<Spooled, SpillError> {
        if self.file.is_some() {
            self.flush()?;
        }
        for entry in std::mem::take(&mut self.waiting) {
            self.sorter.push(entry)?;
        }
        let entries = self.sorter.into_sorted()?.range(FIRST, None)?;
        let events = self.file.map_or(Events::InMemory(self.packed), Events::InFile);
        Ok(Spooled { entries, next: None, events, piece_bytes: 0, bytes: Vec::new() })
    }

    /// Writes the packed events to the file in the order of their keys. So events with near keys are near each other in
    /// the file, and are read in few accesses.
    fn flush(&mut self) -> Result<(), SpillError> {
        self.waiting.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(|cause| SpillError::new("create", cause))?),
        };
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        for mut entry in self.waiting.drain(..) {
            let Place { offset, length } = entry.digest.into();
            let event = &self.packed[offset as usize..offset as usize + length as usize];
            out.write_all(event).map_err(|cause| SpillError::new("write", cause))?;
            entry.digest = Place { offset: self.written, length }.into();
            self.written += u64::from(length);
            self.sorter.push(entry)?;
        }
        out.flush().map_err(|cause| SpillError::new("write", cause))?;
        drop(out);
        self.packed.clear();
        Ok(())
    }
}

/// The events, by document and time.
pub(super) struct Spooled {
    entries: Merge,
    next: Option<SpilledEntry>,
    events: Events,
    /// Size of the events that were returned last.
    pub piece_bytes: usize,
    /// A buffer that is used again.
    bytes: Vec<u8>,
}

enum Events {
    InMemory(Vec<u8>),
    InFile(File),
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

    fn read(&mut self, key: Key, Place { offset, length }: Place) -> Result<Event, SpillError> {
        let event = match &self.events {
            Events::InMemory(packed) => Event::unpack(key, &packed[offset as usize..][..length as usize]),
            Events::InFile(file) => {
                self.bytes.resize(length as usize, 0);
                file.read_exact_at(&mut self.bytes, offset).map_err(|cause| SpillError::new("read", cause))?;
                Event::unpack(key, &self.bytes)
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
    // The years 1 to 9999 are far from the limits of the type.
    at_ms.cast_unsigned() ^ (1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Id, IdentityKey};

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
            let mut sorted = spool.into_sorted().expect("sorted");
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
}
