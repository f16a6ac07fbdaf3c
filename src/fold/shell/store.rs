//! Reads and writes the collections of a fold: the messages, the documents of the state, and the touches.
//!
//! A *touch* says that a message touches a document of the state. Its `_id` has 32 bytes: the key of the document, then
//! the `_id` of the message. All messages of a key are therefore found together, in one range of the index. A touch with
//! the key zero says that the message is folded. Touches are only derived data: `medlift fold --rebuild` makes them from
//! the messages again.

use std::collections::HashSet;

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, RawArrayBuf, RawBinaryRef, RawBsonRef, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{FindOptions, ReadConcern, ReadPreference, SelectionCriteria};

use super::super::elements::put_id;
use super::super::merges::Merge;
use super::super::{Key, Kind, notes_of};
use super::FoldError;
use crate::encode::Id;
use crate::ledger::Guard;
use crate::server::codes::DUPLICATE_KEY;
use crate::server::{Failure, ServerError, Target, patiently};

/// Maximum number of `_id`s in one query or command.
pub(super) const IDS_MAX: usize = 1_000;
/// Maximum size of the documents in one command. The server accepts 16 MiB.
const COMMAND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The key of the touches that say that a message is folded.
pub(super) const FOLDED: Id = FIRST;

/// The smallest and the largest key.
pub(super) const FIRST: Id = Id([0; 16]);
pub(super) const LAST: Id = Id([0xff; 16]);

/// The collections of a fold.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// The collection with the messages.
    pub target: Target,
    /// The name of the field with the bytes of a message.
    pub whole: String,
    /// Checks before each write that no other process folds. `None` if nothing is written.
    pub guard: Option<Guard>,
}

/// A message: its `_id` and its bytes.
pub(super) type Stored = (Id, Vec<u8>);

impl Store {
    fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.target.db().collection(name)
    }

    /// Returns the name of the collection with the touches.
    pub(super) fn touches(&self) -> String {
        notes_of(&self.target.collection)
    }

    async fn find(
        &self,
        collection: &str,
        filter: Document,
        shown: Document,
        limit: Option<u32>,
    ) -> Result<Vec<RawDocumentBuf>, FoldError> {
        let options = FindOptions::builder()
            .projection(shown)
            .sort(limit.map(|_| doc! { "_id": 1 }))
            .limit(limit.map(i64::from))
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let documents = self.collection(collection);
        let found = patiently(|| async {
            documents.find(filter.clone()).with_options(options.clone()).await?.try_collect::<Vec<_>>().await
        });
        found.await.map_err(|failure| self.error("read", collection, failure))
    }

    fn error(&self, doing: &str, collection: &str, failure: Failure) -> FoldError {
        let doing = format!("{doing} {}.{collection}", self.target.database);
        ServerError::Command { doing, failure }.into()
    }

    /// Returns up to `limit` `_id`s of messages after `after`, in order.
    pub(super) async fn ids(&self, after: Option<Id>, limit: u32) -> Result<Vec<Id>, FoldError> {
        self.ids_between(&self.target.collection, between(after, LAST), limit).await
    }

    /// Returns up to `limit` `_id`s of documents of the state after `after`, at most `to`, in order. Documents that the
    /// fold did not write are left out.
    pub(super) async fn state_ids(
        &self,
        kind: Kind,
        after: Option<Id>,
        to: Id,
        limit: u32,
    ) -> Result<Vec<Id>, FoldError> {
        let mut filter = between(after, to);
        filter.insert("asOf.message", doc! { "$exists": true });
        self.ids_between(kind.collection(), filter, limit).await
    }

    async fn ids_between(&self, collection: &str, filter: Document, limit: u32) -> Result<Vec<Id>, FoldError> {
        let found = self.find(collection, filter, doc! { "_id": 1 }, Some(limit)).await?;
        Ok(found.iter().filter_map(|document| Id::from_binary(id_of(document)?)).collect())
    }

    /// Returns the messages with these `_id`s, in any order. Messages that do not exist are left out.
    pub(super) async fn messages(&self, ids: &[Id]) -> Result<Vec<Stored>, FoldError> {
        let mut messages = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let shown = doc! { "_id": 1, &self.whole: 1 };
            for document in self.find(&self.target.collection, among(ids), shown, None).await? {
                messages.extend(self.message(&document));
            }
        }
        Ok(messages)
    }

    /// Returns the message in a document. Returns `None` if another program wrote the document.
    pub(super) fn message(&self, document: &RawDocument) -> Option<Stored> {
        let whole = document.get(self.whole.as_str()).ok()??.as_binary()?;
        Some((Id::from_binary(id_of(document)?)?, whole.bytes.to_vec()))
    }

    /// Returns the documents of the state with these `_id`s, in any order.
    pub(super) async fn states(&self, kind: Kind, ids: &[Id]) -> Result<Vec<(Id, RawDocumentBuf)>, FoldError> {
        let mut states = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            for document in self.find(kind.collection(), among(ids), doc! {}, None).await? {
                states.extend(id_of(&document).and_then(Id::from_binary).map(|id| (id, document)));
            }
        }
        Ok(states)
    }

    /// Returns the merges of the patients that match the filter, with the patients' keys.
    pub(super) async fn merges(&self, field: &str, ids: &[Id]) -> Result<Vec<(Id, Merge)>, FoldError> {
        let mut merges = Vec::new();
        for ids in ids.chunks(IDS_MAX) {
            let filter = doc! { field: { "$in": binaries(ids) }, "mergedInto.patient": { "$exists": true } };
            let found = self.find(Kind::Patient.collection(), filter, doc! { "mergedInto": 1 }, None).await?;
            merges.extend(found.iter().filter_map(|document| {
                let merge = Merge::read(document.get("mergedInto").ok()??)?;
                Some((Id::from_binary(id_of(document)?)?, merge))
            }));
        }
        Ok(merges)
    }

    /// Returns the `_id`s of the messages that touch this key.
    pub(super) async fn touching(&self, key: Id) -> Result<Vec<Id>, FoldError> {
        let touches = self.touches_between((key, FIRST), (key, LAST), true).await?;
        Ok(touches.into_iter().map(|(_, message)| message).collect())
    }

    /// Returns those of these messages that are noted as folded.
    pub(super) async fn folded(&self, ids: impl Iterator<Item = Id>) -> Result<HashSet<Id>, FoldError> {
        let touches: Vec<Binary> = ids.map(|id| touch((FOLDED, id))).collect();
        let mut folded = HashSet::new();
        for touches in touches.chunks(IDS_MAX) {
            let filter = doc! { "_id": { "$in": touches } };
            let found = self.find(&self.touches(), filter, doc! { "_id": 1 }, None).await?;
            folded.extend(found.iter().filter_map(|document| Some(read_touch(id_of(document)?)?.1)));
        }
        Ok(folded)
    }

    /// Returns all touches in a range, in any order. `with_start` says whether the range includes its start.
    pub(super) async fn touches_between(
        &self,
        from: (Id, Id),
        to: (Id, Id),
        with_start: bool,
    ) -> Result<Vec<(Id, Id)>, FoldError> {
        let start = if with_start { "$gte" } else { "$gt" };
        let filter = doc! { "_id": { start: touch(from), "$lte": touch(to) } };
        let found = self.find(&self.touches(), filter, doc! { "_id": 1 }, None).await?;
        Ok(found.iter().filter_map(|document| read_touch(id_of(document)?)).collect())
    }

    /// Writes touches. Those that exist stay as they are.
    pub(super) async fn touch(&self, touches: &[(Id, Id)]) -> Result<(), FoldError> {
        let name = self.touches();
        for touches in touches.chunks(20 * IDS_MAX) {
            let mut list = RawArrayBuf::new();
            for &pair in touches {
                let bytes = touch_bytes(pair);
                let mut document = RawDocumentBuf::new();
                document.append(cstr!("_id"), RawBinaryRef { subtype: BinarySubtype::Generic, bytes: &bytes });
                list.push(document);
            }
            let mut command = rawdoc! { "insert": name.as_str(), "ordered": false };
            command.append(cstr!("documents"), list);
            self.write(&name, command).await?;
        }
        Ok(())
    }

    /// Writes documents of the state. A document with the same `_id` is replaced.
    pub(super) async fn put(&self, kind: Kind, documents: &[RawDocumentBuf]) -> Result<(), FoldError> {
        let mut list = Updates::new(kind.collection());
        for document in documents {
            let mut filter = RawDocumentBuf::new();
            filter.append(cstr!("_id"), id_of(document).unwrap_or(RawBsonRef::Null));
            let update = rawdoc! { "q": filter, "u": document.clone(), "upsert": true };
            if let Some(command) = list.add(update) {
                self.write(kind.collection(), command).await?;
            }
        }
        match list.rest() {
            Some(command) => self.write(kind.collection(), command).await,
            None => Ok(()),
        }
    }

    /// Makes the documents of patients point to the patients who survive: pairs of a key and its survivor.
    pub(super) async fn redirect(&self, survivors: &[(Id, Id)]) -> Result<(), FoldError> {
        for kind in Kind::ALL {
            let field = if kind == Kind::Patient { cstr!("_id") } else { cstr!("patientAsSent") };
            let mut list = Updates::new(kind.collection());
            for &(key, survivor) in survivors {
                let (mut filter, mut set) = (RawDocumentBuf::new(), RawDocumentBuf::new());
                put_id(&mut filter, field, key);
                put_id(&mut set, cstr!("patient"), survivor);
                let update = rawdoc! { "q": filter, "u": { "$set": set }, "multi": true };
                if let Some(command) = list.add(update) {
                    self.write(kind.collection(), command).await?;
                }
            }
            if let Some(command) = list.rest() {
                self.write(kind.collection(), command).await?;
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

    pub(super) async fn remove_touches(&self, touches: &[(Id, Id)]) -> Result<(), FoldError> {
        for touches in touches.chunks(IDS_MAX) {
            let ids: Vec<Binary> = touches.iter().map(|&pair| touch(pair)).collect();
            self.delete(&self.touches(), doc! { "_id": { "$in": ids } }).await?;
        }
        Ok(())
    }

    async fn delete(&self, collection: &str, filter: Document) -> Result<(), FoldError> {
        let filter = RawDocumentBuf::try_from(&filter).expect("a filter of binary values");
        let command = rawdoc! { "delete": collection, "deletes": [{ "q": filter, "limit": 0 }] };
        self.write(collection, command).await
    }

    /// Sends a command that writes, until a journaled majority acknowledges it. Every command of this file can be
    /// repeated. A document of an insert that exists already is no error.
    async fn write(&self, collection: &str, mut command: RawDocumentBuf) -> Result<(), FoldError> {
        if let Some(guard) = &self.guard {
            guard.ensure().await?;
        }
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority", "j": true });
        let database = self.target.db();
        let sent = patiently(|| async {
            let answer = database.run_raw_command(command.clone()).await.map_err(|error| Failure::of(&error))?;
            match Failure::in_answer(&answer).or_else(|| refusal(&answer)) {
                Some(failure) => Err(failure),
                None => Ok(()),
            }
        });
        sent.await.map_err(|failure| self.error("write", collection, failure))
    }
}

/// Collects updates into commands of bounded size.
struct Updates {
    collection: &'static str,
    list: RawArrayBuf,
    count: usize,
    bytes: usize,
}

impl Updates {
    fn new(collection: &'static str) -> Self {
        Self { collection, list: RawArrayBuf::new(), count: 0, bytes: 0 }
    }

    /// Adds an update. Returns a command if there are enough updates for one.
    fn add(&mut self, update: RawDocumentBuf) -> Option<RawDocumentBuf> {
        self.bytes += update.as_bytes().len();
        self.count += 1;
        self.list.push(update);
        if self.count < IDS_MAX && self.bytes < COMMAND_BYTES_MAX { None } else { self.rest() }
    }

    /// Returns a command with the updates that are left.
    fn rest(&mut self) -> Option<RawDocumentBuf> {
        if self.count == 0 {
            return None;
        }
        (self.count, self.bytes) = (0, 0);
        let mut command = rawdoc! { "update": self.collection, "ordered": false };
        command.append(cstr!("updates"), std::mem::take(&mut self.list));
        Some(command)
    }
}

fn id_of(document: &RawDocument) -> Option<RawBsonRef<'_>> {
    document.get("_id").ok().flatten()
}

/// Returns a filter for UUIDs after `after`, at most `to`. The server compares the length and the subtype of binary
/// values first, so the filter matches nothing else.
fn between(after: Option<Id>, to: Id) -> Document {
    let from = after.map_or(("$gte", FIRST), |after| ("$gt", after));
    doc! { "_id": { from.0: from.1.to_binary(), "$lte": to.to_binary() } }
}

fn binaries(ids: &[Id]) -> Vec<Binary> {
    ids.iter().map(|id| id.to_binary()).collect()
}

fn among(ids: &[Id]) -> Document {
    doc! { "_id": { "$in": binaries(ids) } }
}

fn touch_bytes((key, message): (Id, Id)) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&key.0);
    bytes[16..].copy_from_slice(&message.0);
    bytes
}

fn touch(pair: (Id, Id)) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: touch_bytes(pair).to_vec() }
}

fn read_touch(value: RawBsonRef<'_>) -> Option<(Id, Id)> {
    let (key, message) = value.as_binary()?.bytes.split_first_chunk::<16>()?;
    Some((Id(*key), Id(message.try_into().ok()?)))
}

/// Returns the first error of a write that is not a duplicate key.
fn refusal(answer: &Document) -> Option<Failure> {
    let errors = answer.get_array("writeErrors").ok()?;
    let mut codes = errors.iter().filter_map(|error| error.as_document()?.get_i32("code").ok());
    codes.find(|&code| code != DUPLICATE_KEY).map(|code| Failure::of_code(code, "", None))
}

/// Returns the touches of an event: one for each key.
pub(super) fn touches_of(keys: impl Iterator<Item = Key>, message: Id) -> impl Iterator<Item = (Id, Id)> {
    keys.map(move |key| (key.id, message))
}
