//! Joins the expected documents with the stored ones. Both are in `_id` order, and several ranges are read at a time.

use std::collections::VecDeque;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, RawBsonRef, RawDocument};
use tokio::task::JoinSet;

use super::VerifyError;
use super::excused::{Excused, ExcusedRange};
use super::expected::{Expected, ExpectedDocument, ExpectedRange};
use super::report::{Difference, Kind, RowOfSource, Verification};
use super::scan::{Range, Scan, uuid};
use crate::encode::{Digest, Digester, HASHED_TOGETHER, Id, IdentityKey, extended_json};

/// Number of ranges into which all `_id`s are divided. `_id`s are hashes, so the ranges contain about equally many
/// documents.
const RANGES: u8 = 16;

/// Settings of a comparison.
#[derive(Debug, Clone)]
pub struct Options {
    /// The key that the documents' `_id`s and digests were made with.
    pub key: IdentityKey,
    /// Most differences of each kind that are listed. The counts are always exact.
    pub differences_max: usize,
    /// Whether the result may contain values of documents.
    pub show_values: bool,
    /// Number of ranges that are read at the same time, each with its own cursor and up to 16 MiB of documents.
    pub cursors: usize,
    /// Records that may be missing or different, if there are any.
    pub excused: Option<Excused>,
}

impl Options {
    /// Lists 100 differences of each kind without values, and reads with three cursors. This was measured on a machine
    /// with two cores that also runs the server: one cursor leaves a core idle while its reply is compared, and a
    /// fourth improves almost nothing.
    pub fn new(key: IdentityKey) -> Self {
        Self { key, differences_max: 100, show_values: false, cursors: 3, excused: None }
    }
}

/// Compares the collection behind `scan` with the documents that its source requires.
///
/// The scan is not a snapshot: a document that is written or deleted meanwhile is seen as it was when its range was
/// read. Runs on the calling tokio runtime. Dropping the future stops the scans. Memory: `expected`, and for each
/// cursor one reply of the server and one read-ahead of 8 MiB.
pub async fn compare(scan: &Scan, expected: &Expected, options: &Options) -> Result<Verification, VerifyError> {
    let mut waiting: VecDeque<(usize, IdRange)> = id_ranges().into_iter().enumerate().collect();
    let mut parts: Vec<Option<Verification>> = waiting.iter().map(|_| None).collect();
    let mut running = JoinSet::new();
    loop {
        while running.len() < options.cursors.max(1)
            && let Some((index, range)) = waiting.pop_front()
        {
            let (scan, expected, options) = (scan.clone(), expected.clone(), options.clone());
            running.spawn(async move { (index, compare_range(&scan, &expected, &range, &options).await) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (index, part) = ended.map_err(|_| VerifyError::Stopped)?;
        parts[index] = Some(part?);
    }
    let mut whole = Verification { records: expected.records(), ..Verification::default() };
    parts.into_iter().flatten().for_each(|part| whole.append(part, options.differences_max));
    Ok(whole)
}

/// A range of the collection, and the range of `_id`s that can be expected in it, if any.
struct IdRange {
    scan: Range,
    expected: Option<(Id, Option<Id>)>,
}

/// Ranges for all possible `_id`s: values that sort before every UUID, the UUIDs in equal parts, and values that sort
/// after them.
fn id_ranges() -> Vec<IdRange> {
    let width = (256 / u16::from(RANGES)) as u8;
    let first = |range: u8| {
        let mut id = [0; 16];
        id[0] = range * width;
        Id(id)
    };
    // Binary values sort by length, then subtype, then bytes. The first value after the last UUID has the next subtype.
    let after = Bson::Binary(Binary { subtype: BinarySubtype::Md5, bytes: vec![0; 16] });
    let mut ranges = vec![IdRange { scan: Range { from: None, to: Some(uuid(first(0))) }, expected: None }];
    for range in 0..RANGES {
        let to = (range + 1 < RANGES).then(|| first(range + 1));
        let scan = Range { from: Some(uuid(first(range))), to: Some(to.map_or_else(|| after.clone(), uuid)) };
        ranges.push(IdRange { scan, expected: Some((first(range), to)) });
    }
    ranges.push(IdRange { scan: Range { from: Some(after), to: None }, expected: None });
    ranges
}

async fn compare_range(
    scan: &Scan,
    expected: &Expected,
    range: &IdRange,
    options: &Options,
) -> Result<Verification, VerifyError> {
    let excused = options.excused.as_ref().zip(range.expected);
    let excused = excused.map(|(excused, (from, to))| excused.range(from, to)).transpose()?;
    let expected = range.expected.map(|(from, to)| expected.range(from, to)).transpose()?;
    let mut join = Join::new(expected, excused, options)?;
    let mut scan = scan.range(range.scan.clone());
    let mut digester = Digester::new(options.key.clone());
    while let Some(batch) = scan.next_batch().await? {
        let documents: Vec<&[u8]> = batch.documents().collect();
        for together in documents.chunks(HASHED_TOGETHER) {
            for (stored, document) in digester.digest_all(together).zip(together) {
                match stored {
                    Some((stored, digest)) => join.take(stored.id, digest)?,
                    None => join.take_foreign(document),
                }
            }
        }
    }
    join.finish()
}

/// A merge join of the stored and the expected documents, which are both in `_id` order.
struct Join<'a> {
    expected: Option<ExpectedRange>,
    next: Option<ExpectedDocument>,
    excused: Option<ExcusedRange>,
    found: Verification,
    options: &'a Options,
}

impl<'a> Join<'a> {
    fn new(
        expected: Option<ExpectedRange>,
        excused: Option<ExcusedRange>,
        options: &'a Options,
    ) -> Result<Self, VerifyError> {
        let mut join = Self { expected, next: None, excused, found: Verification::default(), options };
        join.advance()?;
        Ok(join)
    }

    /// Moves to the next expected document and returns the previous one.
    fn advance(&mut self) -> Result<Option<ExpectedDocument>, VerifyError> {
        let next = self.expected.as_mut().and_then(Iterator::next).transpose()?;
        if let Some(document) = &next {
            self.found.expected += 1;
            self.found.duplicates += document.duplicates;
            self.found.conflicts += document.conflicts;
            self.found.source_digest.add(document.digest);
        }
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn take_foreign(&mut self, document: &[u8]) {
        self.found.found += 1;
        self.found.foreign += 1;
        self.extra(|options| foreign_id(document, options.show_values));
    }

    fn take(&mut self, id: Id, digest: Digest) -> Result<(), VerifyError> {
        self.found.found += 1;
        self.miss_while(|expected| expected < id)?;
        self.found.collection_digest.add(digest);
        if self.next.as_ref().is_none_or(|expected| expected.id != id) {
            self.extra(|_| id.to_string());
        } else if let Some(expected) = self.advance()? {
            if expected.digest == digest {
                self.found.equal += 1;
            } else if self.is_excused(id, Kind::Different)? {
                self.found.kept_out += 1;
            } else {
                self.found.different += 1;
                self.list(self.found.different, Kind::Different, &expected);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Verification, VerifyError> {
        self.miss_while(|_| true)?;
        Ok(self.found)
    }

    fn miss_while(&mut self, is_missing: impl Fn(Id) -> bool) -> Result<(), VerifyError> {
        while self.next.as_ref().is_some_and(|expected| is_missing(expected.id)) {
            if let Some(expected) = self.advance()? {
                if self.is_excused(expected.id, Kind::Missing)? {
                    self.found.refused += 1;
                    continue;
                }
                self.found.missing += 1;
                self.list(self.found.missing, Kind::Missing, &expected);
            }
        }
        Ok(())
    }

    fn is_excused(&mut self, id: Id, kind: Kind) -> Result<bool, VerifyError> {
        Ok(self.excused.as_mut().map_or(Ok(false), |excused| excused.excuses(id, kind))?)
    }

    fn extra(&mut self, id: impl FnOnce(&Options) -> String) {
        self.found.extra += 1;
        if self.found.extra <= self.options.differences_max as u64 {
            let id = id(self.options);
            let difference = Difference { kind: Kind::Extra, id, rows: Vec::new(), fields: Vec::new(), wanted: None };
            self.found.listed.push(difference);
        }
    }

    /// Lists a difference from an expected document. `count` is the number of differences of this kind so far.
    fn list(&mut self, count: u64, kind: Kind, expected: &ExpectedDocument) {
        if count <= self.options.differences_max as u64 {
            let rows = expected.rows.iter().map(|&(source, row)| RowOfSource { source, row }).collect();
            let wanted = (kind == Kind::Different).then_some((expected.id, expected.digest));
            let difference = Difference { kind, id: expected.id.to_string(), rows, fields: Vec::new(), wanted };
            self.found.listed.push(difference);
        }
    }
}

/// Describes an `_id` that this program did not make. The value may be a person's name or number, so it is not shown,
/// except an `ObjectId`.
fn foreign_id(document: &[u8], show_values: bool) -> String {
    let id = RawDocument::from_bytes(document).ok().and_then(|document| document.get("_id").ok().flatten());
    match id {
        Some(id) if show_values => extended_json::canonical(id),
        Some(RawBsonRef::ObjectId(id)) => format!("ObjectId('{id}')"),
        Some(id) => format!("an _id of BSON type {:?}", id.element_type()),
        None => "no _id".to_owned(),
    }
}
