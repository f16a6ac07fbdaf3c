//! Writes the documents of the state.

use std::collections::BTreeSet;
use std::io::Write;

use bson::raw::{CStr, cstr};
use bson::spec::BinarySubtype;
use bson::{Document, RawArrayBuf, RawBinaryRef, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::FoldError;
use super::store::{IDS_MAX, Store, among, id_of};
use crate::encode::Id;
use crate::fold::Kind;
use crate::fold::elements::{get, put_id};
use crate::ledger::LedgerError;
use crate::server::codes::DUPLICATE_KEY;
use crate::server::{Failure, patiently};

/// Maximum size of the documents in one command, unless it is a single document. The server accepts 16 MiB.
const COMMAND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum number of documents in one command.
const COMMAND_DOCUMENTS_MAX: usize = 5_000;

/// A document to write.
#[derive(Debug)]
pub(super) struct Put {
    pub document: RawDocumentBuf,
    pub replaces: Replaces,
}

/// The stored document that a document replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaces {
    Nothing,
    /// The document whose last message is this one. `None` if the document names no last message, because another
    /// program changed it.
    AsOf(Option<Id>),
}

impl Replaces {
    /// Returns what a document replaces if `stored` is stored now.
    pub(super) fn of(stored: &RawDocument) -> Self {
        Self::AsOf(last_message(stored))
    }
}

/// Returns the last message of a document of the state.
pub(super) fn last_message(document: &RawDocument) -> Option<Id> {
    Id::from_binary(get(get(document, "asOf")?.as_document()?, "message")?)
}

/// Returns the messages that a document of the state names: the last one, and those behind its values.
pub(super) fn named_messages(document: &RawDocument) -> BTreeSet<Id> {
    let sources = get(document, "messages").and_then(RawBsonRef::as_array).into_iter().flatten();
    let behind = sources.filter_map(|source| Id::from_binary(get(source.ok()?.as_document()?, "message")?));
    last_message(document).into_iter().chain(behind).collect()
}

impl Store {
    /// Writes documents of the state. A stored document is only replaced if it is still the one that was read.
    ///
    /// # Errors
    /// [`FoldError::Changed`] if a document was changed since then.
    pub(super) async fn put(&self, kind: Kind, documents: Vec<Put>) -> Result<(), FoldError> {
        let (new, mut known): (Vec<Put>, Vec<Put>) =
            documents.into_iter().partition(|put| put.replaces == Replaces::Nothing);
        let mut inserts = Commands::insert(kind.collection().to_owned());
        for put in new {
            let command = inserts.add(put.document);
            self.insert(command, &mut known).await?;
        }
        self.insert(inserts.rest(), &mut known).await?;
        let mut updates = Commands::update(kind.collection().to_owned());
        for put in known {
            let command = updates.add(replacement(&put));
            self.replace(command).await?;
        }
        self.replace(updates.rest()).await
    }

    /// Sends an insert. A document that exists already is added to `known`, to be replaced by an update: probably
    /// this process wrote it, but the reply was lost.
    async fn insert(&self, command: Option<Command>, known: &mut Vec<Put>) -> Result<(), FoldError> {
        let Some(command) = command else { return Ok(()) };
        let answer = self.send(&command).await?;
        let taken = command.taken(&answer);
        known.extend(taken.map(|document| Put { replaces: Replaces::of(document), document: document.clone() }));
        Ok(())
    }

    async fn replace(&self, command: Option<Command>) -> Result<(), FoldError> {
        let Some(command) = command else { return Ok(()) };
        let matched = self.send(&command).await?.get_i32("n").unwrap_or_default();
        if usize::try_from(matched).ok() == Some(command.list.len()) {
            return Ok(());
        }
        Err(FoldError::Changed(format!("{}.{}", self.target.database, command.collection)))
    }

    /// Sets the field `patient` of the documents of patients to the patients who survive. `survivors` are pairs of a
    /// patient's key and the key of the survivor.
    pub(super) async fn redirect(&self, survivors: &[(Id, Id)]) -> Result<(), FoldError> {
        for kind in Kind::ALL {
            let field = if kind == Kind::Patient { cstr!("_id") } else { cstr!("patientAsSent") };
            let mut updates = Commands::update(kind.collection().to_owned());
            for &(key, survivor) in survivors {
                let (mut filter, mut set) = (RawDocumentBuf::new(), RawDocumentBuf::new());
                put_id(&mut filter, field, key);
                put_id(&mut set, cstr!("patient"), survivor);
                if let Some(command) = updates.add(rawdoc! { "q": filter, "u": { "$set": set }, "multi": true }) {
                    self.send(&command).await?;
                }
            }
            if let Some(command) = updates.rest() {
                self.send(&command).await?;
            }
        }
        Ok(())
    }

    /// Removes documents of the state.
    pub(super) async fn remove(&self, kind: Kind, ids: &[Id]) -> Result<(), FoldError> {
        for ids in ids.chunks(IDS_MAX) {
            self.delete(kind.collection(), among(ids)).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, collection: &str, filter: Document) -> Result<(), FoldError> {
        let filter = RawDocumentBuf::try_from(&filter).expect("a filter of binary values");
        let list = vec![rawdoc! { "q": filter, "limit": 0 }];
        let command = Command { verb: Verb::Delete, collection: collection.to_owned(), list };
        self.send(&command).await.map(drop)
    }

    /// Checks that no other process folds.
    pub(super) async fn ensure(&self) -> Result<(), LedgerError> {
        match &self.guard {
            Some(guard) => guard.ensure().await,
            None => Ok(()),
        }
    }

    /// Sends a command that writes, until a journaled majority acknowledges it. Every command of this module can be
    /// repeated. For an insert, a document that exists already is not an error.
    pub(super) async fn send(&self, command: &Command) -> Result<Document, FoldError> {
        let database = self.target.db();
        let sent = patiently(|| async {
            // Before each attempt, because the attempts can take longer than the lease.
            match self.ensure().await {
                Ok(()) => {}
                Err(LedgerError::Server(failure)) => return Err(failure),
                Err(other) => return Ok(Err(other)),
            }
            let answer = database.run_raw_command(command.to_document()).await.map_err(|error| Failure::of(&error))?;
            match Failure::in_answer(&answer).or_else(|| refusal(&answer, command.verb == Verb::Insert)) {
                Some(failure) => Err(failure),
                None => Ok(Ok(answer)),
            }
        });
        Ok(sent.await.map_err(|failure| self.error("write", &command.collection, failure))??)
    }
}

/// Returns the update that replaces a document. The update also matches a stored document that is the new one
/// already, because the reply to an earlier attempt may have been lost.
fn replacement(put: &Put) -> RawDocumentBuf {
    let mut accepted = RawArrayBuf::new();
    let before = if let Replaces::AsOf(before) = put.replaces { before } else { None };
    for last in [before, last_message(&put.document)] {
        match &last {
            Some(Id(bytes)) => accepted.push(RawBinaryRef { subtype: BinarySubtype::Uuid, bytes }),
            None => accepted.push(RawBsonRef::Null),
        }
    }
    let mut filter = RawDocumentBuf::new();
    filter.append(cstr!("_id"), id_of(&put.document).unwrap_or(RawBsonRef::Null));
    filter.append(cstr!("asOf.message"), rawdoc! { "$in": accepted });
    rawdoc! { "q": filter, "u": put.document.clone() }
}

/// Returns the first error of a write. A duplicate key is not an error of an insert.
fn refusal(answer: &Document, is_insert: bool) -> Option<Failure> {
    let errors = answer.get_array("writeErrors").ok()?;
    let mut codes = errors.iter().filter_map(|error| error.as_document()?.get_i32("code").ok());
    codes.find(|&code| code != DUPLICATE_KEY || !is_insert).map(|code| Failure::of_code(code, "", None))
}

/// Returns the places of the documents that exist already, in order.
fn duplicates(answer: &Document) -> Vec<usize> {
    let errors = answer.get_array("writeErrors").into_iter().flatten();
    let places = errors.filter_map(|error| usize::try_from(error.as_document()?.get_i32("index").ok()?).ok());
    let mut places: Vec<usize> = places.collect();
    places.sort_unstable();
    places
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Insert,
    Update,
    Delete,
}

impl Verb {
    /// Returns the name of the command, and the name of its list.
    const fn names(self) -> (&'static CStr, &'static CStr) {
        match self {
            Self::Insert => (cstr!("insert"), cstr!("documents")),
            Self::Update => (cstr!("update"), cstr!("updates")),
            Self::Delete => (cstr!("delete"), cstr!("deletes")),
        }
    }
}

/// A command that writes several documents.
pub(super) struct Command {
    verb: Verb,
    collection: String,
    /// The documents to insert, or the statements of an update or a delete.
    list: Vec<RawDocumentBuf>,
}

impl Command {
    /// Returns the documents of an insert that were not stored, because documents with their `_id`s exist already.
    pub(super) fn taken(&self, answer: &Document) -> impl Iterator<Item = &RawDocumentBuf> {
        duplicates(answer).into_iter().filter_map(|place| self.list.get(place))
    }

    /// Returns the command as the server reads it. The list is written here byte by byte, because a `RawArrayBuf` would
    /// copy all documents once more.
    fn to_document(&self) -> RawDocumentBuf {
        let (name, list) = self.verb.names();
        let mut head = RawDocumentBuf::new();
        head.append(name, self.collection.as_str());
        head.append(cstr!("ordered"), false);
        head.append(cstr!("writeConcern"), rawdoc! { "w": "majority", "j": true });
        let documents: usize = self.list.iter().map(|document| document.as_bytes().len() + 8).sum();
        let mut bytes = Vec::with_capacity(head.as_bytes().len() + documents + 32);
        bytes.extend_from_slice(head.as_bytes());
        bytes.pop();
        let start = open(&mut bytes, ARRAY, list.as_str());
        for (place, document) in self.list.iter().enumerate() {
            bytes.push(DOCUMENT);
            write!(bytes, "{place}\0").expect("writing to memory cannot fail");
            bytes.extend_from_slice(document.as_bytes());
        }
        close(&mut bytes, start);
        close(&mut bytes, 0);
        RawDocumentBuf::from_bytes(bytes).expect("a document with its length")
    }
}

/// The types of BSON elements.
const DOCUMENT: u8 = 3;
const ARRAY: u8 = 4;

/// Begins an element, and leaves room for its length. Returns where its value begins.
fn open(bytes: &mut Vec<u8>, kind: u8, name: &str) -> usize {
    bytes.push(kind);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&[0; 5]);
    bytes.len() - 4
}

/// Ends the document or the list that begins at `start`, and writes its length.
fn close(bytes: &mut Vec<u8>, start: usize) {
    bytes.push(0);
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Collects documents into commands of bounded size.
pub(super) struct Commands {
    verb: Verb,
    collection: String,
    list: Vec<RawDocumentBuf>,
    bytes: usize,
}

impl Commands {
    fn new(verb: Verb, collection: String) -> Self {
        Self { verb, collection, list: Vec::new(), bytes: 0 }
    }

    pub(super) fn insert(collection: String) -> Self {
        Self::new(Verb::Insert, collection)
    }

    fn update(collection: String) -> Self {
        Self::new(Verb::Update, collection)
    }

    /// Adds a document. If the documents before it fill a command, returns that command.
    pub(super) fn add(&mut self, document: RawDocumentBuf) -> Option<Command> {
        let bytes = document.as_bytes().len();
        let is_full = self.list.len() == COMMAND_DOCUMENTS_MAX || self.bytes + bytes > COMMAND_BYTES_MAX;
        let full = if is_full { self.rest() } else { None };
        self.bytes += bytes;
        self.list.push(document);
        full
    }

    /// Returns a command with the documents that are left.
    pub(super) fn rest(&mut self) -> Option<Command> {
        if self.list.is_empty() {
            return None;
        }
        self.bytes = 0;
        Some(Command { verb: self.verb, collection: self.collection.clone(), list: std::mem::take(&mut self.list) })
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;

    #[test]
    fn a_command_is_full_before_it_is_too_large_for_the_server() {
        let document = |bytes: usize| rawdoc! { "x": "x".repeat(bytes) };
        let check = |sizes: &[usize], expected: &[usize]| {
            let mut commands = Commands::insert("x".to_owned());
            let full: Vec<Command> = sizes.iter().filter_map(|size| commands.add(document(*size))).collect();
            let counts: Vec<usize> = full.iter().chain(&commands.rest()).map(|command| command.list.len()).collect();
            assert_eq!(counts, expected, "{sizes:?}");
            assert!(commands.rest().is_none());
        };
        let mib = 1 << 20;
        check(&[], &[]);
        check(&[1, 1], &[2]);
        check(&[7 * mib, 14 * mib, 1, 7 * mib, mib], &[1, 1, 2, 1]);
        check(&vec![1; COMMAND_DOCUMENTS_MAX + 1], &[COMMAND_DOCUMENTS_MAX, 1]);
    }

    #[test]
    fn a_command_has_the_bytes_of_its_document() {
        let mut updates = Commands::update("x".to_owned());
        for number in 0..11 {
            assert!(updates.add(rawdoc! { "q": number }).is_none());
        }
        let command = Document::try_from(updates.rest().expect("a command").to_document()).expect("BSON");
        let list: Vec<Document> = (0..11).map(|number| doc! { "q": number }).collect();
        let concern = doc! { "w": "majority", "j": true };
        assert_eq!(command, doc! { "update": "x", "ordered": false, "writeConcern": concern, "updates": list });
    }

    #[test]
    fn only_an_insert_ignores_documents_that_exist() {
        let answer = |codes: &[i32]| {
            let errors = (0_i32..).zip(codes).map(|(index, code)| doc! { "index": index, "code": code });
            doc! { "ok": 1, "writeErrors": errors.collect::<Vec<_>>() }
        };
        let taken = answer(&[DUPLICATE_KEY, DUPLICATE_KEY]);
        assert!(refusal(&taken, true).is_none() && refusal(&taken, false).is_some());
        assert!(refusal(&answer(&[DUPLICATE_KEY, 121]), true).is_some());
        assert!(refusal(&doc! { "ok": 1 }, false).is_none());
        assert_eq!(duplicates(&taken), [0, 1]);
    }

    #[test]
    fn a_replaced_document_must_be_the_one_that_was_read() {
        let [old, new] = [1, 2].map(|number| Id([number; 16]));
        let mut last = RawDocumentBuf::new();
        put_id(&mut last, cstr!("message"), new);
        let document = rawdoc! { "_id": 1, "asOf": last };
        assert_eq!(last_message(&document), Some(new));
        let accepted = |replaces| {
            let update = Document::try_from(replacement(&Put { document: document.clone(), replaces })).expect("BSON");
            update.get_document("q").and_then(|q| q.get_document("asOf.message")).expect("a filter").clone()
        };
        let binary = |id: Id| Bson::from(id.to_binary());
        assert_eq!(accepted(Replaces::AsOf(Some(old))), doc! { "$in": [binary(old), binary(new)] });
        assert_eq!(accepted(Replaces::AsOf(None)), doc! { "$in": [Bson::Null, binary(new)] });
    }
}
