//! Sends commands to the server. The answer to a write becomes a list of the documents that the server did not accept,
//! each with its position and the cause. The answer to a read becomes one verdict per record: equal, different, newer
//! or absent.
//!
//! Commands are built as raw BSON and sent with the driver's `run_raw_command`. The driver's `insert_many` is slower:
//! it would serialize every document a second time and store all `_id`s in a map. `insert_many` may also split a call
//! into several commands. With `run_raw_command`, one call is one command, so the position of an error is the position
//! of its document.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bson::raw::cstr;
use bson::{Document, RawDocumentBuf, rawdoc};
use futures_util::TryStreamExt;
use mongodb::options::ReadPreference;
use mongodb::options::{ReadConcern, SelectionCriteria};
use mongodb::{Collection, Database};
use tokio::sync::SemaphorePermit;

use super::batch::{Member, Step};
use super::budget::Budget;
use super::chunk::KindChunk;
use super::machine::{Complaint, Reply, Verdict};
use super::outcome::Refusal;
use super::unchanged::unchanged;
use crate::encode::{Entry, Id, IdentityKey, Stored, Version, dotted_fields, same_fields};
use crate::ledger::{Guard, LedgerError};
use crate::server::{Failure, codes, patiently};

/// Largest size of the documents and queries in one command, in bytes. The whole command must be smaller than 16 MiB.
pub(super) const COMMAND_BYTES_MAX: usize = 15 << 20;

/// Size of an update without its query and its document, in bytes.
const STATEMENT_BYTES: usize = 100;

/// Decides which stored content counts as equal to a record.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// True for a merge: fields that only the stored document has are ignored.
    pub merge: bool,
    /// True if the newer of two records with the same `_id` is stored.
    pub newest: bool,
    /// The key of the digests.
    pub key: IdentityKey,
}

/// The result of comparing a batch with the stored documents.
#[derive(Debug)]
pub struct Compared {
    /// One verdict for each record, in the order of the batch.
    pub verdicts: Vec<Verdict>,
    /// Records that differ from the stored document, each with the content of that document. Contains only records that
    /// share their `_id` with other records of the chunk.
    pub stored: Vec<(Member, Version)>,
    /// Records that are newer than the stored document, each with the query that finds this document if it has not
    /// changed.
    pub older: Vec<(Member, RawDocumentBuf)>,
}

/// The records of a batch, with the chunks that contain their documents.
#[derive(Debug)]
pub struct Parcel {
    members: Vec<Member>,
    /// The lowest chunk number of the records.
    first: u64,
    /// One item for each chunk number from `first` on. `None` if the chunk contains none of the records.
    chunks: Vec<Option<Arc<KindChunk>>>,
    /// For [`Step::ReplaceOlder`], the queries that find the documents to be replaced, one for each record.
    queries: Vec<Arc<RawDocumentBuf>>,
}

impl Parcel {
    /// Makes a parcel of these records. `chunk` returns the chunk with a given number.
    pub fn new(members: Vec<Member>, chunk: impl Fn(u64) -> Arc<KindChunk>) -> Self {
        let first = members.iter().map(|member| member.chunk).min().unwrap_or_default();
        let mut chunks = Vec::new();
        for member in &members {
            let index = (member.chunk - first) as usize;
            if index >= chunks.len() {
                chunks.resize(index + 1, None);
            }
            chunks[index].get_or_insert_with(|| chunk(member.chunk));
        }
        Self { members, first, chunks, queries: Vec::new() }
    }

    /// Adds the query that finds the document to be replaced, for each record.
    #[must_use]
    pub fn with_queries(self, query: impl Fn(&Member) -> Arc<RawDocumentBuf>) -> Self {
        Self { queries: self.members.iter().map(query).collect(), ..self }
    }

    /// Returns the records.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Divides the records among commands that are not too large. A batch fits into one command, unless it has long
    /// queries.
    fn commands(&self) -> Vec<Range<usize>> {
        let mut commands = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (at, (_, entry)) in self.records().enumerate() {
            let query_bytes = self.queries.get(at).map_or(0, |query| query.as_bytes().len());
            let record_bytes = entry.len as usize + query_bytes + STATEMENT_BYTES;
            if at > start && bytes + record_bytes > COMMAND_BYTES_MAX {
                commands.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += record_bytes;
        }
        commands.push(start..self.members.len());
        commands
    }

    /// Returns each record with its chunk.
    fn records(&self) -> impl Iterator<Item = (&KindChunk, &Entry)> {
        self.members.iter().map(|member| {
            let chunk = self.chunks[(member.chunk - self.first) as usize]
                .as_deref()
                .expect("the parcel must contain the chunk of each record");
            (chunk, &chunk.entries[member.at as usize])
        })
    }
}

/// The collection to which a load writes.
#[derive(Debug, Clone)]
pub struct Bulk {
    database: Database,
    documents: Collection<RawDocumentBuf>,
    wtimeout_ms: Option<i64>,
    guard: Option<Guard>,
    budget: Option<Budget>,
    /// True if the number of documents in the collection's metadata is never too high. If false, this number is not
    /// used.
    has_estimate: bool,
}

impl Bulk {
    /// Makes a value that sends bulk commands for `collection`. `wtimeout_ms` is the `wTimeoutMS` of the connection
    /// string.
    pub fn new(database: Database, collection: &str, wtimeout_ms: Option<i64>) -> Self {
        Self {
            documents: database.collection(collection),
            database,
            wtimeout_ms,
            guard: None,
            budget: None,
            has_estimate: true,
        }
    }

    /// Makes [`send`](Self::send) check before each command that this process still owns the load.
    #[must_use]
    pub fn guarded_by(self, guard: Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Makes commands wait until the budget, if there is one, is large enough for their documents.
    #[must_use]
    pub fn within(self, budget: Option<Budget>) -> Self {
        Self { budget, ..self }
    }

    /// Waits until the budget is large enough for the documents of a parcel.
    async fn take(&self, parcel: &Parcel) -> Option<SemaphorePermit<'_>> {
        let bytes = parcel.records().map(|(_, entry)| entry.len as usize).sum();
        self.budget.as_ref()?.take(bytes).await
    }

    /// Makes [`holds_at_least`](Self::holds_at_least) count the documents one by one. For a sharded collection, the
    /// number in the metadata is too high while ranges are moved: it contains documents that two shards have.
    #[must_use]
    pub fn without_estimates(self) -> Self {
        Self { has_estimate: false, ..self }
    }

    /// Returns true if a read with read concern majority finds no document in the collection.
    ///
    /// # Errors
    /// If the read fails.
    pub async fn is_empty(&self) -> Result<bool, Failure> {
        let first = || self.documents.find_one(bson::doc! {}).read_concern(ReadConcern::majority()).into_future();
        Ok(patiently(first).await?.is_none())
    }

    /// Returns true if the collection contains at least `wanted` documents. First uses the estimate in the collection's
    /// metadata. That estimate may be too low after a crash of the server. If the estimate is lower than `wanted`, the
    /// server counts the documents.
    ///
    /// # Errors
    /// If the read fails.
    pub async fn holds_at_least(&self, wanted: u64) -> Result<bool, Failure> {
        let estimate = || self.documents.estimated_document_count().into_future();
        if self.has_estimate && patiently(estimate).await? >= wanted {
            return Ok(true);
        }
        Ok(self.count().await? >= wanted)
    }

    /// Returns the exact number of documents in the collection. The server counts them one by one.
    ///
    /// # Errors
    /// If the read fails.
    pub async fn count(&self) -> Result<u64, Failure> {
        let concern = ReadConcern::majority();
        let count = || self.documents.count_documents(bson::doc! {}).read_concern(concern.clone()).into_future();
        patiently(count).await
    }

    /// Drops the collection, with all its documents and indexes.
    ///
    /// # Errors
    /// If the server refuses, or the drop is not acknowledged by a journaled majority.
    pub async fn drop_collection(&self) -> Result<(), Failure> {
        patiently(|| self.documents.drop().into_future()).await
    }

    /// Sends the records of a batch: in one command, or in several if the queries are too long for one. For each record
    /// that the server did not accept, the result contains its position and the cause, and no other part of the error.
    ///
    /// # Errors
    /// If no answer arrives, the server refuses the whole command, or the deployment cannot acknowledge writes at a
    /// majority. Also if another process has taken the load over, or if the ledger cannot be queried about that.
    pub async fn send(&self, step: Step, parcel: &Parcel) -> Result<Reply, Failure> {
        let _taken = self.take(parcel).await;
        if let Some(guard) = &self.guard {
            guard.ensure().await.map_err(|error| match error {
                LedgerError::Server(failure) => failure,
                _ => Failure::Other { code: None, name: "LeaseLost".into() },
            })?;
        }
        let mut reply = Reply { errors: Vec::new(), durable: true };
        for records in parcel.commands() {
            let command = self.command(step, parcel, records.clone());
            let answer = self.database.run_raw_command(command).await.map_err(|error| Failure::of(&error))?;
            if let Some(failure) = Failure::in_answer(&answer).filter(|failure| !failure.is_retryable()) {
                return Err(failure);
            }
            let Reply { errors, durable } = reply_of(&answer);
            reply.errors.extend(errors.into_iter().map(|(at, complaint)| (at + records.start as u32, complaint)));
            reply.durable &= durable;
        }
        Ok(reply)
    }

    /// Returns the command for the records at these positions of the parcel.
    fn command(&self, step: Step, parcel: &Parcel, records: Range<usize>) -> RawDocumentBuf {
        let name = self.documents.name();
        let mut concern = rawdoc! { "w": "majority", "j": true };
        if let Some(wtimeout_ms) = self.wtimeout_ms {
            concern.append(cstr!("wtimeout"), wtimeout_ms);
        }
        let (head, list) = if step == Step::Insert {
            (rawdoc! { "insert": name, "ordered": false, "writeConcern": concern }, "documents")
        } else {
            (rawdoc! { "update": name, "ordered": false, "writeConcern": concern }, "updates")
        };
        let sent = parcel.records().skip(records.start).take(records.len());
        let documents: usize = sent.map(|(_, entry)| entry.len as usize + 64).sum();
        let mut bytes = Vec::with_capacity(head.as_bytes().len() + documents + 64);
        bytes.extend_from_slice(head.as_bytes());
        bytes.pop();
        append_list(&mut bytes, list, parcel, records, step);
        bytes.push(0);
        close(&mut bytes, 0);
        RawDocumentBuf::from_bytes(bytes).expect("the lengths in the command must be right")
    }

    /// Reads the documents that are stored under the records' `_id`s, with read concern majority. Compares them with
    /// the records.
    ///
    /// # Errors
    /// If the read fails.
    pub async fn compare(&self, parcel: &Parcel, rule: &Comparison) -> Result<Compared, Failure> {
        let _taken = self.take(parcel).await;
        let records: Vec<_> = parcel.records().collect();
        let position: HashMap<Id, usize> = records.iter().enumerate().map(|(at, (_, entry))| (entry.id, at)).collect();
        let mut compared =
            Compared { verdicts: vec![Verdict::Absent; records.len()], stored: Vec::new(), older: Vec::new() };
        let mut cursor = self
            .documents
            .find(bson::doc! { "_id": { "$in": records.iter().map(|(_, entry)| entry.id.to_binary()).collect::<Vec<_>>() } })
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .await
            .map_err(|error| Failure::of(&error))?;
        while let Some(stored) = cursor.try_next().await.map_err(|error| Failure::of(&error))? {
            let Some(theirs) = Stored::parse(stored.as_bytes()) else { continue };
            let Some(&at) = position.get(&theirs.id) else { continue };
            let (chunk, entry) = records[at];
            let found = verdict(chunk.document(entry), &theirs, stored.as_bytes(), rule.merge);
            let member = parcel.members[at];
            let is_grouped = chunk.groups.contains_key(&member.at);
            compared.verdicts[at] = found;
            if found == Verdict::Different && (is_grouped || rule.newest) {
                let rank = chunk.order_field(entry).map(|field| field.rank(stored.as_bytes()));
                let version = Version { rank: rank.unwrap_or_default(), digest: theirs.digest(&rule.key) };
                if is_grouped {
                    compared.stored.push((member, version));
                }
                if rule.newest && version > chunk.version(entry) {
                    compared.verdicts[at] = Verdict::Newer;
                } else if let Some(field) = chunk.order_field(entry).filter(|_| rule.newest) {
                    let is_equal = field.value(stored.as_bytes()) == field.value(chunk.document(entry));
                    let is_tie = is_equal || version.rank == chunk.version(entry).rank;
                    let bytes_max = COMMAND_BYTES_MAX.saturating_sub(entry.len as usize + STATEMENT_BYTES);
                    let query_bytes_max = if is_tie { bytes_max } else { 0 };
                    compared.older.push((member, unchanged(entry.id, field, stored.as_bytes(), query_bytes_max)));
                }
            }
        }
        Ok(compared)
    }
}

fn verdict(ours: &[u8], theirs: &Stored<'_>, stored: &[u8], merge: bool) -> Verdict {
    let body = Stored::parse(ours).expect("an encoded document must have the layout of stored documents").body;
    if body == theirs.body || merge && same_fields(ours, stored) { Verdict::Equal } else { Verdict::Different }
}

/// Appends an array of documents (for an insert) or of update statements. In BSON, the keys of an array are "0", "1",
/// ….
fn append_list(bytes: &mut Vec<u8>, name: &str, parcel: &Parcel, records: Range<usize>, step: Step) {
    open(bytes, 0x04, name);
    let start = bytes.len() - 4;
    let mut key = String::new();
    for (at, (chunk, entry)) in parcel.records().enumerate().skip(records.start).take(records.len()) {
        key.clear();
        push_decimal(&mut key, at - records.start);
        let document = chunk.document(entry);
        if step == Step::Insert {
            bytes.push(0x03);
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(document);
        } else {
            let query = parcel.queries.get(at).map(|query| query.as_bytes());
            append_update(bytes, &key, entry.id, query, document, step);
        }
    }
    bytes.push(0);
    close(bytes, start);
}

/// Appends `{q: query, u: document, upsert: true}`. Without a query, `q` is `{_id}`. For a merge, `u` is `{$set: …}`
/// with the dotted path of each field. A nested document then keeps the fields that the record does not have.
fn append_update(bytes: &mut Vec<u8>, key: &str, id: Id, query: Option<&[u8]>, document: &[u8], step: Step) {
    open(bytes, 0x03, key);
    let statement = bytes.len() - 4;
    let mut put = |name: &str, document: &[u8]| {
        bytes.push(0x03);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(document);
    };
    match query {
        Some(query) => put("q", query),
        None => put("q", rawdoc! { "_id": id.to_binary() }.as_bytes()),
    }
    if step == Step::Merge {
        put("u", rawdoc! { "$set": dotted_fields(document) }.as_bytes());
    } else {
        put("u", document);
    }
    bytes.extend_from_slice(b"\x08upsert\0\x01\0");
    close(bytes, statement);
}

fn open(bytes: &mut Vec<u8>, kind: u8, name: &str) {
    bytes.push(kind);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&[0; 5]);
}

/// Writes the length of the document that begins at `start` and ends at the end of `bytes`.
fn close(bytes: &mut [u8], start: usize) {
    let len = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn push_decimal(key: &mut String, number: usize) {
    use std::fmt::Write as _;
    write!(key, "{number}").expect("writing to a String cannot fail");
}

/// Converts the server's answer. Of each error, the result contains only the position and the cause. Error texts,
/// `keyValue` and `errInfo` are discarded, because they may quote patients' data.
fn reply_of(answer: &Document) -> Reply {
    let errors = answer.get_array("writeErrors").map_or(&[][..], Vec::as_slice);
    let errors = errors.iter().filter_map(bson::Bson::as_document);
    Reply {
        errors: errors.map(|error| (number(error, "index").cast_unsigned(), complaint(error))).collect(),
        durable: !answer.contains_key("writeConcernError"),
    }
}

/// Translates an error code to a [`Complaint`]. A duplicate key error usually means that the `_id` is taken. If its
/// `keyPattern` names other fields than `_id`, the duplicate key is in another unique index. `keyPattern` contains only
/// names of fields, no values.
fn complaint(error: &Document) -> Complaint {
    let on_id = || error.get_document("keyPattern").map_or(true, |pattern| pattern.keys().eq(["_id"]));
    match number(error, "code") {
        codes::DUPLICATE_KEY if on_id() => Complaint::Taken,
        codes::DUPLICATE_KEY => Complaint::Refused(Refusal::UniqueIndex),
        codes::DOCUMENT_VALIDATION_FAILURE => Complaint::Refused(Refusal::Validation),
        code if codes::meaning(code).is_passing() => Complaint::Passing,
        code => Complaint::Refused(Refusal::Server(code)),
    }
}

fn number(document: &Document, name: &str) -> i32 {
    document.get_i32(name).or_else(|_| document.get_i64(name).map(|wide| wide as i32)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{EncodedBlock, EncodedKind};
    use bson::doc;

    #[test]
    fn a_parcel_finds_each_record_in_its_chunk() {
        let entry = |row| Entry { row, ..Entry::default() };
        let chunk = |rows: std::ops::Range<u32>| {
            let entries = rows.map(entry).collect();
            Arc::new(KindChunk {
                blocks: Arc::default(),
                kind: 0,
                entries,
                groups: std::collections::BTreeMap::new(),
                is_settled: false,
            })
        };
        let chunks = HashMap::from([(5, chunk(10..13)), (7, chunk(20..22))]);
        let members = [(7, 1), (5, 2), (5, 0)].map(|(chunk, at)| Member { chunk, at });
        let parcel = Parcel::new(members.into(), |number| Arc::clone(&chunks[&number]));
        assert_eq!(parcel.records().map(|(_, entry)| entry.row).collect::<Vec<_>>(), [21, 12, 10]);
    }

    #[test]
    fn a_reply_has_positions_and_codes_and_is_not_durable_after_a_write_concern_error() {
        let answer = doc! {
            "n": 1,
            "writeErrors": [{ "index": 3, "code": 11000, "errmsg": "E11000 dup key: { Name: \"Canary\" }" }],
            "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" },
            "ok": 1.0,
        };
        let reply = reply_of(&answer);
        assert_eq!(reply.errors, [(3, Complaint::Taken)]);
        assert!(!reply.durable);
        let other = doc! { "writeErrors": [{ "index": 0, "code": 11000, "keyPattern": { "Hospital": 1 } }] };
        assert_eq!(reply_of(&other).errors, [(0, Complaint::Refused(Refusal::UniqueIndex))]);
        assert!(reply_of(&doc! { "n": 4, "ok": 1.0 }).durable);
    }

    #[test]
    fn a_duplicate_key_is_a_taken_id_unless_it_is_in_another_index() {
        let check = |error: Document, expected: Complaint| assert_eq!(complaint(&error), expected, "{error}");
        check(doc! { "code": 11000 }, Complaint::Taken);
        check(doc! { "code": 11000_i64, "keyPattern": { "_id": 1 } }, Complaint::Taken);
        check(doc! { "code": 11000, "keyPattern": { "_id": 1, "Age": 1 } }, Complaint::Refused(Refusal::UniqueIndex));
        check(doc! { "code": 121, "keyPattern": { "_id": 1 } }, Complaint::Refused(Refusal::Validation));
        check(doc! { "code": 112 }, Complaint::Passing);
        check(doc! { "code": 10334 }, Complaint::Refused(Refusal::Server(10334)));
        let wide = doc! { "writeErrors": [{ "index": 2_i64, "code": 112_i64 }] };
        assert_eq!(reply_of(&wide).errors, [(2, Complaint::Passing)]);
    }

    #[test]
    fn long_queries_divide_a_batch_into_commands_that_the_server_accepts() {
        let check = |mebibytes: [usize; 11], expected: &[usize]| {
            let query = |member: &Member| Arc::new(rawdoc! { "a": "x".repeat(mebibytes[member.at as usize] << 20) });
            let commands = parcel().with_queries(query).commands();
            assert!(commands.windows(2).all(|pair| pair[0].end == pair[1].start), "{commands:?}");
            assert_eq!(commands.iter().map(|records| records.end).collect::<Vec<_>>(), expected, "{mebibytes:?}");
        };
        check([0; 11], &[11]);
        check([1; 11], &[11]);
        check([2; 11], &[7, 11]);
        check([9, 9, 9, 1, 1, 1, 9, 1, 1, 1, 14], &[1, 2, 6, 10, 11]);
    }

    fn document(number: u8) -> RawDocumentBuf {
        rawdoc! { "_id": Id([number; 16]).to_binary(), "A": { "B": i32::from(number) }, "C": "x" }
    }

    /// Makes a parcel of 11 records, so that the array has keys of one and of two digits.
    fn parcel() -> Parcel {
        let mut documents = Vec::new();
        let entries = (0..11).map(|number| {
            let (start, document) = (documents.len() as u32, document(number));
            documents.extend_from_slice(document.as_bytes());
            Entry { id: Id([number; 16]), start, len: document.as_bytes().len() as u32, ..Entry::default() }
        });
        let entries = entries.collect();
        let kinds = vec![EncodedKind { documents, ..EncodedKind::default() }];
        let blocks = Arc::new(vec![EncodedBlock { kinds, ..EncodedBlock::default() }]);
        let chunk =
            KindChunk { blocks, kind: 0, entries, groups: std::collections::BTreeMap::new(), is_settled: false };
        let chunk = Arc::new(chunk);
        Parcel::new((0..11).map(|at| Member { chunk: 0, at }).collect(), |_| Arc::clone(&chunk))
    }

    /// Returns the command that is sent if the connection string has this `wTimeoutMS`.
    fn command(step: Step, wtimeout_ms: Option<i64>) -> RawDocumentBuf {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:9/").await.unwrap();
            Bulk::new(client.database("d"), "rows", wtimeout_ms).command(step, &parcel(), 0..11)
        })
    }

    /// Returns the command that replaces older documents, for some of the records.
    fn replacements(records: Range<usize>) -> RawDocumentBuf {
        let query = |member: &Member| Arc::new(rawdoc! { "_id": Id([member.at as u8; 16]).to_binary(), "at": 7 });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:9/").await.unwrap();
            let bulk = Bulk::new(client.database("d"), "rows", None);
            bulk.command(Step::ReplaceOlder, &parcel().with_queries(query), records)
        })
    }

    fn array(item: impl Fn(u8) -> RawDocumentBuf) -> bson::RawArrayBuf {
        let mut array = bson::RawArrayBuf::new();
        (0..11).for_each(|number| array.push(item(number)));
        array
    }

    #[test]
    fn commands_are_unordered_with_write_concern_majority_and_journal() {
        let majority = rawdoc! { "w": "majority", "j": true };
        let insert = rawdoc! { "insert": "rows", "ordered": false, "writeConcern": majority.clone(), "documents": array(document) };
        assert_eq!(command(Step::Insert, None), insert);
        let replacement =
            |number| rawdoc! { "q": { "_id": Id([number; 16]).to_binary() }, "u": document(number), "upsert": true };
        let replace =
            rawdoc! { "update": "rows", "ordered": false, "writeConcern": majority, "updates": array(replacement) };
        assert_eq!(command(Step::Replace, None), replace);
        let bounded = rawdoc! { "w": "majority", "j": true, "wtimeout": 7_000_i64 };
        let change = |number: u8| {
            let fields = rawdoc! { "A.B": i32::from(number), "C": "x" };
            rawdoc! { "q": { "_id": Id([number; 16]).to_binary() }, "u": { "$set": fields }, "upsert": true }
        };
        let merge = rawdoc! { "update": "rows", "ordered": false, "writeConcern": bounded, "updates": array(change) };
        assert_eq!(command(Step::Merge, Some(7_000)), merge);
    }

    #[test]
    fn an_older_document_is_replaced_only_if_its_query_finds_it() {
        let check = |records: Range<usize>| {
            let mut updates = bson::RawArrayBuf::new();
            for number in records.clone() {
                let id = Id([number as u8; 16]).to_binary();
                updates.push(rawdoc! { "q": { "_id": id, "at": 7 }, "u": document(number as u8), "upsert": true });
            }
            let concern = rawdoc! { "w": "majority", "j": true };
            let expected = rawdoc! { "update": "rows", "ordered": false, "writeConcern": concern, "updates": updates };
            assert_eq!(replacements(records), expected);
        };
        check(0..11);
        check(3..5);
    }

    #[test]
    fn documents_are_equal_by_their_bodies_or_for_a_merge_by_the_fields_of_the_record() {
        let id = Id([3; 16]).to_binary();
        let ours = document(3);
        let check = |theirs: RawDocumentBuf, plain: Verdict, merged: Verdict| {
            let stored = Stored::parse(theirs.as_bytes()).unwrap();
            for (merge, expected) in [(false, plain), (true, merged)] {
                assert_eq!(verdict(ours.as_bytes(), &stored, theirs.as_bytes(), merge), expected, "{merge}");
            }
        };
        check(ours.clone(), Verdict::Equal, Verdict::Equal);
        let with_other_field = rawdoc! { "_id": id.clone(), "A": { "B": 3, "D": 1 }, "C": "x", "E": 1 };
        check(with_other_field, Verdict::Different, Verdict::Equal);
        let changed = rawdoc! { "_id": id.clone(), "A": { "B": 4 }, "C": "x" };
        check(changed, Verdict::Different, Verdict::Different);
        let of_other_type = rawdoc! { "_id": id, "A": { "B": 3_i64 }, "C": "x" };
        check(of_other_type, Verdict::Different, Verdict::Different);
    }

    #[test]
    fn a_batch_may_be_sent_again_if_the_lease_could_not_be_checked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let failure = runtime.block_on(async {
            // Nothing listens on this port.
            let uri = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100";
            let database = mongodb::Client::with_uri_str(uri).await.unwrap().database("d");
            let bulk = Bulk::new(database.clone(), "rows", None).guarded_by(Guard::expired(&database));
            bulk.send(Step::Insert, &Parcel::new(Vec::new(), |_| unreachable!())).await.expect_err("there is no server")
        });
        assert!(failure.is_retryable(), "{failure:?}");
    }
}
