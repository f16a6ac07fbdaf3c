//! The notes of a fold: which messages touch which documents of the state, and which messages are folded.
//!
//! The `_id` of a note has 32 bytes: the key of a document, then the `_id` of a message that touches it. All messages
//! of a key are therefore found together, in one range of the index. A note can name more messages of the same key,
//! whose `_id`s are greater than that of the first. A note with the key zero says that its messages are folded. Notes
//! are only derived data: `medlift fold --rebuild` makes them from the messages again.
//!
//! Most results are in one message only. A document names its last message, so the only message of a document needs no
//! note. If a further message touches the document, both are noted before the document is written. The messages of a
//! key are therefore those of its notes and those that its document names.

use std::collections::{BTreeSet, HashSet};

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, RawBinaryRef, RawBsonRef, RawDocument, RawDocumentBuf, doc};

use super::FoldError;
use super::store::{FIRST, LAST, Store, id_of};
use super::write::{Command, Commands};
use crate::encode::Id;
use crate::fold::notes_of;

/// The key of the notes that say that messages are folded.
pub(super) const FOLDED: Id = FIRST;
/// Maximum number of messages that a note names.
const MESSAGES_MAX: usize = 1_000;
/// Maximum number of ranges in one query.
const RANGES_MAX: usize = 200;

impl Store {
    fn notes(&self) -> String {
        notes_of(&self.target.collection)
    }

    /// Returns the `_id`s of the messages that touch this key, in order.
    pub(super) async fn touching(&self, key: Id) -> Result<Vec<Id>, FoldError> {
        let filter = doc! { "_id": { "$gte": note_id(key, FIRST), "$lte": note_id(key, LAST) } };
        let found = self.find(&self.notes(), filter, doc! {}, None).await?;
        let messages: BTreeSet<Id> = found.iter().flat_map(|note| messages_of(note)).collect();
        Ok(messages.into_iter().collect())
    }

    /// Returns those of the keys that a message is known to touch.
    pub(super) async fn touched(&self, keys: &[Id]) -> Result<HashSet<Id>, FoldError> {
        let mut touched = HashSet::new();
        for keys in keys.chunks(RANGES_MAX) {
            let range = |key: &Id| doc! { "_id": { "$gte": note_id(*key, FIRST), "$lte": note_id(*key, LAST) } };
            let filter = doc! { "$or": keys.iter().map(range).collect::<Vec<_>>() };
            let found = self.find(&self.notes(), filter, doc! { "_id": 1 }, None).await?;
            touched.extend(found.iter().filter_map(|note| Some(key_and_first(note)?.0)));
        }
        Ok(touched)
    }

    /// Returns the messages that are noted as folded. Reads only the notes whose first message is after `after`, and
    /// not after `to`.
    pub(super) async fn folded(&self, after: Option<Id>, to: Id) -> Result<Vec<Id>, FoldError> {
        let from = after.map_or(("$gte", FIRST), |after| ("$gt", after));
        let filter = doc! { "_id": { from.0: note_id(FOLDED, from.1), "$lte": note_id(FOLDED, to) } };
        let found = self.find(&self.notes(), filter, doc! {}, None).await?;
        Ok(found.iter().flat_map(|note| messages_of(note)).collect())
    }

    /// Notes that these messages touch these keys. The messages of a key are in order. Notes that exist stay as they are.
    pub(super) async fn note(&self, notes: impl Iterator<Item = (Id, &[Id])>) -> Result<(), FoldError> {
        let mut commands = Commands::insert(self.notes());
        for (key, messages) in notes {
            for messages in messages.chunks(MESSAGES_MAX) {
                self.insert_notes(commands.add(note(key, messages))).await?;
            }
        }
        self.insert_notes(commands.rest()).await
    }

    async fn insert_notes(&self, command: Option<Command>) -> Result<(), FoldError> {
        let Some(command) = command else { return Ok(()) };
        let answer = self.send(&command).await?;
        let mut single = Commands::insert(self.notes());
        for (key, message) in command.taken(&answer).flat_map(|note| further_messages(note)) {
            if let Some(command) = single.add(note(key, &[message])) {
                self.send(&command).await?;
            }
        }
        match single.rest() {
            Some(command) => self.send(&command).await.map(drop),
            None => Ok(()),
        }
    }

    /// Removes all notes.
    pub(super) async fn forget(&self) -> Result<(), FoldError> {
        self.delete(&self.notes(), doc! {}).await
    }
}

/// Makes a note. `messages` has at least one message.
fn note(key: Id, messages: &[Id]) -> RawDocumentBuf {
    let (first, more) = messages.split_first().map_or((FIRST, messages), |(first, more)| (*first, more));
    let mut note = RawDocumentBuf::new();
    let bytes = note_bytes(key, first);
    note.append(cstr!("_id"), RawBinaryRef { subtype: BinarySubtype::Generic, bytes: &bytes });
    if !more.is_empty() {
        let bytes: Vec<u8> = more.iter().flat_map(|message| message.0).collect();
        note.append(cstr!("more"), RawBinaryRef { subtype: BinarySubtype::Generic, bytes: &bytes });
    }
    note
}

fn note_bytes(key: Id, message: Id) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&key.0);
    bytes[16..].copy_from_slice(&message.0);
    bytes
}

fn note_id(key: Id, message: Id) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: note_bytes(key, message).to_vec() }
}

/// Returns the key of a note and its first message.
fn key_and_first(note: &RawDocument) -> Option<(Id, Id)> {
    let (key, message) = id_of(note)?.as_binary()?.bytes.split_first_chunk::<16>()?;
    Some((Id(*key), Id(message.try_into().ok()?)))
}

/// Returns all messages of a note.
fn messages_of(note: &RawDocument) -> Vec<Id> {
    let Some((_, first)) = key_and_first(note) else { return Vec::new() };
    let more = note.get("more").ok().flatten().and_then(RawBsonRef::as_binary);
    let more = more.map_or(&[][..], |more| more.bytes.as_chunks().0);
    std::iter::once(first).chain(more.iter().map(|message| Id(*message))).collect()
}

/// Returns the messages that must be noted by themselves if there is a note with the same `_id` already: all except the
/// first. The other note names the first, but perhaps not the rest, for example if a message was received again
/// together with new ones.
fn further_messages(note: &RawDocument) -> impl Iterator<Item = (Id, Id)> {
    let key = key_and_first(note).map(|(key, _)| key);
    messages_of(note).into_iter().skip(1).filter_map(move |message| Some((key?, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_one_message_or_several() {
        let id = |number| Id([number; 16]);
        for messages in [&[id(2)][..], &[id(2), id(3), id(9)]] {
            let note = note(id(1), messages);
            assert_eq!((key_and_first(&note), messages_of(&note)), (Some((id(1), id(2))), messages.to_vec()));
            assert_eq!(note.get("more").expect("valid BSON").is_some(), messages.len() > 1);
        }
        assert_eq!(messages_of(&RawDocumentBuf::new()), []);
    }
}
