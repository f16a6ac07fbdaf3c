//! Compares the expected documents with the stored documents. Both are read in `_id` order. Several ranges of `_id`s
//! are compared at the same time.

use std::collections::VecDeque;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, RawBsonRef, RawDocument};
use tokio::task::JoinSet;

use super::VerifyError;
use super::excused::{Excused, ExcusedRange};
use super::expected::{Expected, ExpectedDocument, ExpectedRange};
use super::report::{Difference, Kind, RowOfSource, Verification};
use super::scan::{Range, Scan};
use crate::encode::{Digest, Digester, HASHED_TOGETHER, Id, IdentityKey, OrderField, Version, extended_json, load_of};

/// Number of ranges into which Medlift's `_id`s are divided. Such an `_id` is a hash, so all ranges have about the same
/// number of documents.
const RANGES: u8 = 16;

/// The options of a comparison.
#[derive(Debug, Clone)]
pub struct Options {
    /// The key of the documents' `_id`s and digests.
    pub key: IdentityKey,
    /// Maximum number of listed differences of each kind. The counts are always exact.
    pub differences_max: usize,
    /// Whether the result may contain values of documents.
    pub show_values: bool,
    /// Number of ranges that are read at the same time. Each needs a cursor and memory for one reply of the server, up
    /// to 16 MiB.
    pub cursors: usize,
    /// Records that the load did not write. They may be missing or different.
    pub excused: Option<Excused>,
    /// The share of the `_id`s that is compared.
    pub share: Share,
    /// The field that orders documents with the same `_id`, if the spec names one.
    pub order_field: Option<OrderField>,
}

/// A share of all `_id`s. The possible `_id`s are divided into `of` equal ranges, and the share is range number
/// `index`. Several workers can verify a collection together if each of them verifies one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Number of the range, from 0.
    pub index: u32,
    /// Number of ranges.
    pub of: u32,
}

impl Share {
    /// All `_id`s.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// Returns true if the `_id` is in this share.
    pub fn contains(self, id: Id) -> bool {
        let lead = u128::from(id.lead());
        self.start() <= lead && lead < self.end()
    }

    /// Returns the smallest value of `Id::lead` (the first eight bytes of an `_id`) in this share.
    fn start(self) -> u128 {
        (u128::from(self.index) << 64) / u128::from(self.of)
    }

    /// Returns the start of the next share.
    fn end(self) -> u128 {
        Self { index: self.index + 1, ..self }.start()
    }
}

impl Options {
    /// Returns options to list 100 differences of each kind, without values, and to read with three cursors. The
    /// number of cursors was measured on a machine with two cores that also runs the server. With one cursor, a core
    /// is idle while a reply is compared. A fourth cursor makes almost no difference.
    pub fn new(key: IdentityKey) -> Self {
        Self {
            key,
            differences_max: 100,
            show_values: false,
            cursors: 3,
            excused: None,
            share: Share::ALL,
            order_field: None,
        }
    }
}

/// Compares a collection with the documents that its sources give.
///
/// The comparison is not a snapshot. If a document changes meanwhile, the version that the cursor returned is
/// compared.
///
/// The function must run in a Tokio runtime. The cursors are closed if the future is dropped. Each cursor needs
/// memory for one reply of the server (up to 16 MiB), and up to 8 MiB for each temporary file that it reads.
pub async fn compare(scan: &Scan, expected: &Expected, options: &Options) -> Result<Verification, VerifyError> {
    let mut waiting: VecDeque<(usize, IdRange)> = id_ranges(options.share).into_iter().enumerate().collect();
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

/// A range of `_id`s: `scan` for the query, and `expected` for the expected documents. `expected` is `None` if the
/// range contains no `_id` that Medlift can make.
struct IdRange {
    scan: Range,
    expected: Option<(Id, Option<Id>)>,
}

/// Divides a share of all possible `_id`s into [`RANGES`] equal ranges of UUIDs. The first share has one more range,
/// for the `_id`s before all UUIDs. The last share has one more range, for the `_id`s after all UUIDs.
fn id_ranges(share: Share) -> Vec<IdRange> {
    let first = |range: u8| {
        let width = share.end() - share.start();
        let lead = share.start() + width * u128::from(range) / u128::from(RANGES);
        // `None` if the range is after the last UUID.
        u64::try_from(lead).ok().map(|lead| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&lead.to_be_bytes());
            Id(id)
        })
    };
    // The server orders binary values by length, subtype and bytes. So the first value after the last UUID has the next
    // subtype.
    let after = Bson::Binary(Binary { subtype: BinarySubtype::Md5, bytes: vec![0; 16] });
    let bound = |id: Option<Id>| id.map_or_else(|| after.clone(), |id| id.to_binary().into());
    let mut ranges = Vec::new();
    if share.index == 0 {
        ranges.push(IdRange { scan: Range { from: None, to: Some(bound(first(0))) }, expected: None });
    }
    for range in 0..RANGES {
        let (from, to) = (first(range), first(range + 1));
        let scan = Range { from: Some(bound(from)), to: Some(bound(to)) };
        ranges.push(IdRange { scan, expected: from.map(|from| (from, to)) });
    }
    if share.index + 1 == share.of {
        ranges.push(IdRange { scan: Range { from: Some(after), to: None }, expected: None });
    }
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
    let order_field = options.order_field.as_ref().filter(|_| expected.newest_wins());
    let expected = range.expected.map(|(from, to)| expected.range(from, to)).transpose()?;
    let mut join = Join { order_field, ..Join::new(expected, excused, options)? };
    let mut scan = scan.range(range.scan.clone());
    let mut digester = Digester::new(options.key.clone());
    while let Some(batch) = scan.next_batch().await? {
        let documents: Vec<&[u8]> = batch.documents().collect();
        for together in documents.chunks(HASHED_TOGETHER) {
            for (stored, document) in digester.digest_all(together).zip(together) {
                match stored {
                    Some((stored, digest)) => join.take(stored.id, digest, document)?,
                    None => join.take_foreign(document),
                }
            }
        }
    }
    join.finish()
}

/// Merges the stored and the expected documents of a range, which are both in `_id` order, and counts the differences.
struct Join<'a> {
    expected: Option<ExpectedRange>,
    next: Option<ExpectedDocument>,
    excused: Option<ExcusedRange>,
    found: Verification,
    options: &'a Options,
    /// The field that orders the versions of a document, if a stored document may be newer than the expected one.
    order_field: Option<&'a OrderField>,
}

impl<'a> Join<'a> {
    fn new(
        expected: Option<ExpectedRange>,
        excused: Option<ExcusedRange>,
        options: &'a Options,
    ) -> Result<Self, VerifyError> {
        let found = Verification::default();
        let mut join = Self { expected, next: None, excused, found, options, order_field: None };
        join.advance()?;
        Ok(join)
    }

    /// Reads the next expected document, counts it, and stores it in `next`. Returns the document that was in `next`
    /// before.
    fn advance(&mut self) -> Result<Option<ExpectedDocument>, VerifyError> {
        let next = self.expected.as_mut().and_then(Iterator::next).transpose()?;
        if let Some(document) = &next {
            self.found.expected += 1;
            self.found.duplicates += document.duplicates;
            self.found.conflicts += document.conflicts;
            self.found.source_digest.add(document.version.digest);
        }
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn take_foreign(&mut self, document: &[u8]) {
        self.found.found += 1;
        self.found.foreign += 1;
        self.extra(|options| foreign_id(document, options.show_values));
    }

    fn take(&mut self, id: Id, digest: Digest, document: &[u8]) -> Result<(), VerifyError> {
        self.found.found += 1;
        self.miss_while(|expected| expected < id)?;
        self.found.collection_digest.add(digest);
        if self.next.as_ref().is_none_or(|expected| expected.id != id) {
            self.extra(|_| id.to_string());
            if let Some(load) = load_of(document) {
                *self.found.extra_of_load.entry(load).or_default() += 1;
            }
        } else if let Some(expected) = self.advance()? {
            if expected.version.digest == digest {
                self.found.equal += 1;
            } else if self.is_excused(id, Kind::Different)? {
                self.found.kept_out += 1;
            } else {
                self.take_different(digest, document, &expected);
            }
        }
        Ok(())
    }

    /// Counts and lists a document with other content than the expected one.
    fn take_different(&mut self, digest: Digest, document: &[u8], expected: &ExpectedDocument) {
        let stored = self.order_field.map(|field| Version { rank: field.rank(document), digest });
        let kind = match stored.filter(|stored| *stored > expected.version) {
            Some(stored) if stored.rank == expected.version.rank => Kind::Tie,
            Some(_) => Kind::Superseded,
            None => Kind::Different,
        };
        let found = &mut self.found;
        found.different += u64::from(kind == Kind::Different);
        found.superseded += u64::from(kind != Kind::Different);
        found.superseded_ties += u64::from(kind == Kind::Tie);
        let count = match kind {
            Kind::Tie => found.superseded_ties,
            Kind::Superseded => found.superseded - found.superseded_ties,
            _ => found.different,
        };
        self.list(count, kind, expected);
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

    /// Lists a missing, different or newer document. `count` is the number of differences of this kind up to now.
    fn list(&mut self, count: u64, kind: Kind, expected: &ExpectedDocument) {
        if count <= self.options.differences_max as u64 {
            let rows = expected.rows.iter().map(|&(source, row)| RowOfSource { source, row }).collect();
            let wanted = (kind != Kind::Missing).then_some((expected.id, expected.version.digest));
            let difference = Difference { kind, id: expected.id.to_string(), rows, fields: Vec::new(), wanted };
            self.found.listed.push(difference);
        }
    }
}

/// Describes an `_id` that Medlift did not make. Unless the user requested values, returns only the BSON type, because
/// the value may be a patient's name or number. An `ObjectId` is always shown, because it cannot be a name.
fn foreign_id(document: &[u8], show_values: bool) -> String {
    let id = RawDocument::from_bytes(document).ok().and_then(|document| document.get("_id").ok().flatten());
    match id {
        Some(id) if show_values => extended_json::canonical(id),
        Some(RawBsonRef::ObjectId(id)) => format!("ObjectId('{id}')"),
        Some(id) => format!("an _id of BSON type {:?}", id.element_type()),
        None => "no _id".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Excuses, Expectation};
    use super::*;
    use crate::ledger::Exceptions;
    use crate::spec::OnConflict;
    use bson::{Document, doc, oid::ObjectId};

    #[test]
    fn the_shares_are_the_whole_space_in_order_without_gaps() {
        for of in [1, 2, 3, 7, 64] {
            let ranges: Vec<IdRange> = (0..of).flat_map(|index| id_ranges(Share { index, of })).collect();
            assert!(ranges[0].scan.from.is_none() && ranges[ranges.len() - 1].scan.to.is_none());
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].scan.to, pair[1].scan.from, "{of} shares");
                assert!(pair[0].scan.to.is_some());
            }
            let expected: Vec<(Id, Option<Id>)> = ranges.iter().filter_map(|range| range.expected).collect();
            assert_eq!((expected[0].0, expected[expected.len() - 1].1), (Id([0; 16]), None));
            assert!(expected.windows(2).all(|pair| pair[0].1 == Some(pair[1].0) && pair[0].0 < pair[1].0));
            for lead in [0, 1, u64::MAX / 3, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX] {
                let mut id = Id([7; 16]);
                id.0[..8].copy_from_slice(&lead.to_be_bytes());
                let holders: Vec<u32> = (0..of).filter(|&index| Share { index, of }.contains(id)).collect();
                assert_eq!(holders.len(), 1);
                let (from, to) =
                    (expected.iter().filter(|(from, _)| *from <= id).count() as u32 - 1, u32::from(RANGES));
                assert_eq!(holders[0], from / to, "a share compares the `_id`s that it expects");
            }
        }
    }

    fn id(byte: u8) -> Id {
        Id([byte; 16])
    }

    fn options(differences_max: usize) -> Options {
        Options { differences_max, ..Options::new(IdentityKey::default()) }
    }

    /// Makes the expected documents from records (id, digest, source, row).
    fn expected(records: &[(u8, u128, u32, u64)]) -> Expected {
        let mut expectation = Expectation::new(0);
        for &(byte, digest, source, row) in records {
            expectation.push(id(byte), Digest(digest), source, row).expect("in memory");
        }
        expectation.settle(OnConflict::KeepFirst).expect("in memory")
    }

    /// Compares records with stored documents (id, digest). The records in `excused` may be missing or different.
    fn join(
        records: &[(u8, u128, u32, u64)],
        stored: &[(u8, u128)],
        excused: &Exceptions,
        options: &Options,
    ) -> Verification {
        let mut list = Excuses::new(0);
        list.add(excused).expect("in memory");
        let excused = list.settle().expect("in memory").range(id(0), None).expect("in memory");
        let range = expected(records).range(id(0), None).expect("in memory");
        let mut join = Join::new(Some(range), Some(excused), options).expect("in memory");
        for &(byte, digest) in stored {
            join.take(id(byte), Digest(digest), &[]).expect("in memory");
        }
        join.finish().expect("in memory")
    }

    fn listed(found: &Verification) -> Vec<(Kind, u8)> {
        let byte = |text: &str| u8::from_str_radix(&text[..2], 16).expect("an _id");
        found.listed.iter().map(|difference| (difference.kind, byte(&difference.id))).collect()
    }

    #[test]
    fn every_document_is_counted_once_and_both_digests_are_sums() {
        use Kind::{Different, Extra, Missing};
        let records = [
            (2, 1, 0, 1),
            (3, 2, 0, 2),
            (4, 4, 1, 1),
            (4, 4, 1, 2),
            (4, 4, 2, 9),
            (6, 8, 1, 3),
            (6, 9, 1, 4),
            (8, 16, 2, 1),
        ];
        let stored = [(1, 100), (3, 2), (4, 5), (6, 8), (7, 200), (9, 300)];
        let found = join(&records, &stored, &Exceptions::default(), &options(10));
        assert_eq!((found.expected, found.found, found.equal), (5, 6, 2));
        assert_eq!((found.missing, found.different, found.extra, found.foreign), (2, 1, 3, 0));
        assert_eq!((found.duplicates, found.conflicts), (2, 1));
        assert_eq!((found.source_digest, found.collection_digest), (Digest(31), Digest(615)));
        assert_eq!(listed(&found), [(Extra, 1), (Missing, 2), (Different, 4), (Extra, 7), (Missing, 8), (Extra, 9)]);
        let row = |source, row| RowOfSource { source, row };
        let rows: Vec<_> = found.listed.iter().map(|difference| difference.rows.clone()).collect();
        assert_eq!(
            rows,
            [vec![], vec![row(0, 1)], vec![row(1, 1), row(1, 2), row(2, 9)], vec![], vec![row(2, 1)], vec![]]
        );
        let wanted: Vec<_> = found.listed.iter().filter_map(|difference| difference.wanted).collect();
        assert_eq!(wanted, [(id(4), Digest(4))]);
    }

    #[test]
    fn a_newer_document_is_a_tie_if_only_its_digest_is_greater() {
        let spec = "name = 'a'\n[identity]\nfields = ['id']\non_conflict = 'newest'\norder_by = 'n'\n\
                    [[field]]\nname = 'id'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'n'\ntype = 'int32'\npresence = 'nullable'\nprivacy = 'none'\n";
        let field = OrderField::of(&crate::spec::Spec::from_toml(spec, "a test").unwrap()).unwrap();
        let document = |n: i32| bson::serialize_to_vec(&doc! { "_id": 1, "n": n }).unwrap();
        let mut expectation = Expectation::new(0).with_ranks(0);
        for byte in 1..=5 {
            let version = Version { rank: field.rank(&document(7)), digest: Digest(50) };
            expectation.push(id(byte), version, 0, u64::from(byte)).unwrap();
        }
        let expected = expectation.settle(OnConflict::Newest { order_by: 1 }).unwrap();
        let settings = options(9);
        let range = expected.range(id(0), None).unwrap();
        let mut join = Join { order_field: Some(&field), ..Join::new(Some(range), None, &settings).unwrap() };
        for (byte, digest, n) in [(1, 50, 7), (2, 51, 7), (3, 49, 7), (4, 1, 8), (5, 99, 6)] {
            join.take(id(byte), Digest(digest), &document(n)).unwrap();
        }
        let found = join.finish().unwrap();
        assert_eq!((found.equal, found.different, found.superseded, found.superseded_ties), (1, 2, 2, 1));
        let kinds = [(Kind::Tie, 2), (Kind::Different, 3), (Kind::Superseded, 4), (Kind::Different, 5)];
        assert_eq!(listed(&found), kinds);
    }

    #[test]
    fn the_requested_number_of_differences_of_each_kind_is_listed() {
        let records: Vec<_> = (10..30).map(|byte| (byte, 1, 0, u64::from(byte))).collect();
        let stored: Vec<_> = (1..6).map(|byte| (byte, 1)).chain((20..30).map(|byte| (byte, 2))).collect();
        for most in [0, 1, 4, 5, 6, 10, 11] {
            let found = join(&records, &stored, &Exceptions::default(), &options(most));
            assert_eq!((found.extra, found.missing, found.different), (5, 10, 10));
            let count = |kind| found.listed.iter().filter(|difference| difference.kind == kind).count();
            let counts = [Kind::Extra, Kind::Missing, Kind::Different].map(count);
            assert_eq!(counts, [most.min(5), most.min(10), most.min(10)]);
        }
    }

    #[test]
    fn refused_records_may_be_missing_or_different_and_kept_out_ones_only_different() {
        let records: Vec<_> = (1..=6).map(|byte| (byte, 1, 0, u64::from(byte))).collect();
        let excused = Exceptions { refused: vec![id(1), id(2)], kept_out: vec![id(3), id(4)] };
        // Records 2, 4 and 6 are stored with other content. Records 1, 3 and 5 are missing.
        let found = join(&records, &[(2, 9), (4, 9), (6, 9)], &excused, &options(10));
        assert_eq!((found.refused, found.kept_out, found.missing, found.different), (1, 2, 2, 1));
        assert_eq!(listed(&found), [(Kind::Missing, 3), (Kind::Missing, 5), (Kind::Different, 6)]);
        let found = join(&records, &[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)], &excused, &options(10));
        assert_eq!((found.refused, found.kept_out, found.equal, found.is_clean()), (0, 0, 6, true));
    }

    #[test]
    fn the_value_of_a_foreign_id_is_shown_only_if_requested() {
        let check = |document: Document, hidden: &str, shown: &str| {
            let bytes = bson::serialize_to_vec(&document).expect("BSON");
            assert_eq!((foreign_id(&bytes, false).as_str(), foreign_id(&bytes, true).as_str()), (hidden, shown));
        };
        let object = ObjectId::from_bytes([7; 12]);
        let hex = "07".repeat(12);
        check(doc! { "_id": object }, &format!("ObjectId('{hex}')"), &format!(r#"{{"$oid":"{hex}"}}"#));
        check(doc! { "_id": 7 }, "an _id of BSON type Int32", r#"{"$numberInt":"7"}"#);
        check(doc! { "_id": 7_i64 }, "an _id of BSON type Int64", r#"{"$numberLong":"7"}"#);
        check(doc! { "_id": "Ann Lee" }, "an _id of BSON type String", r#""Ann Lee""#);
        check(doc! { "_id": { "n": "Ann" } }, "an _id of BSON type EmbeddedDocument", r#"{"n":"Ann"}"#);
        check(doc! { "a": 7 }, "no _id", "no _id");
        assert_eq!(foreign_id(&[1, 2], true), "no _id");
        let settings = options(1);
        let mut join = Join::new(None, None, &settings).expect("an empty range must be readable");
        for name in ["Ann", "Bea"] {
            join.take_foreign(&bson::serialize_to_vec(&doc! { "_id": name }).expect("BSON"));
        }
        let found = join.finish().expect("an empty range must be readable");
        assert_eq!((found.found, found.extra, found.foreign, found.listed.len()), (2, 2, 2, 1));
    }

    #[test]
    fn the_ranges_cover_all_ids_in_order_without_gaps() {
        let ranges = id_ranges(Share::ALL);
        assert_eq!(ranges.len(), 18);
        assert!(ranges[0].scan.from.is_none() && ranges[17].scan.to.is_none());
        assert!(ranges[0].expected.is_none() && ranges[17].expected.is_none());
        for (left, right) in ranges.iter().zip(&ranges[1..]) {
            assert!(left.scan.to.is_some() && left.scan.to == right.scan.from);
        }
        for (at, range) in ranges[1..17].iter().enumerate() {
            let mut first = [0; 16];
            first[0] = at as u8 * 16;
            let (from, to) = range.expected.expect("the range must contain ids of Medlift");
            assert_eq!((from, range.scan.from.clone()), (Id(first), Some(Id(first).to_binary().into())));
            assert_eq!(to.is_none(), at == 15);
            assert!(to.is_none_or(|to| range.scan.to == Some(to.to_binary().into())));
        }
        let after = Bson::Binary(Binary { subtype: BinarySubtype::Md5, bytes: vec![0; 16] });
        assert_eq!(ranges[17].scan.from, Some(after));
    }

    #[test]
    fn by_default_100_differences_are_listed_without_values() {
        let found = Options::new(IdentityKey::default());
        assert_eq!(
            (found.differences_max, found.show_values, found.cursors, found.excused.is_none()),
            (100, false, 3, true)
        );
    }
}
