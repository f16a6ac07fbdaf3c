//! The result of a verification.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::references::ToNothing;
use crate::encode::{Digest, Id};

/// The result of a verification. All counts are exact, even if only some of the differences are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verification {
    /// Records in the sources, including duplicates and conflicts.
    pub records: u64,
    /// Records with the same `_id` and the same content as the record that is expected so far. Records are read in the
    /// order of sources and rows, and the first record with an `_id` is expected until a conflict replaces it.
    pub duplicates: u64,
    /// Later records with the same `_id` as the expected record, but with other content. The spec and the mode of the
    /// load decide which of the two is expected from then on. Example: three records with one `_id` have the contents
    /// A, A, B. The second A is a duplicate, and B is a conflict.
    pub conflicts: u64,
    /// Rows of all sources that cannot be parsed, cleaned or encoded. No record is made of such a row.
    pub rejected: u64,
    /// Documents that the collection must contain according to the sources.
    pub expected: u64,
    /// Documents in the collection.
    pub found: u64,
    /// Expected documents that are stored with the same content, according to their digests.
    pub equal: u64,
    /// Expected documents that are not in the collection.
    pub missing: u64,
    /// Documents in the collection that are not expected.
    pub extra: u64,
    /// Documents that are not expected, if such documents are permitted. They are counted here instead of in `extra`.
    pub others: u64,
    /// Documents among `extra` and `others` whose `_id` does not have the form of Medlift's `_id`s.
    pub foreign: u64,
    /// Documents with an expected `_id` but other content.
    pub different: u64,
    /// Documents that are missing because the server refused them during the load. Counted only when a load verifies
    /// itself.
    pub refused: u64,
    /// Documents that are different because the load kept the stored content, or because the server refused the new
    /// content. Counted only when a load verifies itself.
    pub kept_out: u64,
    /// Documents that are newer than the expected ones and that another load can have stored (see
    /// [`judge_newer`](Self::judge_newer)). They are not differences. Always 0 if the spec does not say that the newest
    /// record is stored.
    pub superseded: u64,
    /// Documents among `superseded` that have the same value in the order field as the expected ones. Only their
    /// greater digest makes them newer.
    pub superseded_ties: u64,
    /// References of the sources' records to documents of this kind that do not exist. They are not differences.
    pub references_to_nothing: ToNothing,
    /// References of the sources' records to documents of kinds that the spec does not describe. The result of the
    /// first kind counts them for all kinds; the other results have 0.
    pub references_elsewhere: u64,
    /// Number of extra documents whose lineage names a load, for each load. Documents have a lineage only if they were
    /// loaded with `--lineage`.
    #[serde(skip)]
    pub extra_of_load: BTreeMap<[u8; 16], u64>,
    /// Loads of other sources that wrote into the collection, in the order in which they began. Empty if there are no
    /// extra documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_loads: Vec<OtherLoad>,
    /// The first differences of each kind, in `_id` order.
    pub listed: Vec<Difference>,
    /// Sum of the digests of all expected documents.
    #[serde(serialize_with = "as_text")]
    pub source_digest: Digest,
    /// Sum of the digests of all documents in the collection, except those that `foreign` counts.
    #[serde(serialize_with = "as_text")]
    pub collection_digest: Digest,
}

/// A load of other sources that wrote into the collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherLoad {
    /// The load's id in the ledger.
    pub load: String,
    /// The names of the load's sources.
    pub sources: Vec<String>,
    /// Number of documents that the load wrote into the collection, according to the ledger.
    pub written: u64,
    /// Number of extra documents whose lineage names this load. `None` if no extra document names it, for example
    /// because documents were loaded without `--lineage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<u64>,
}

/// A difference between the sources and the collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The kind of difference.
    pub kind: Kind,
    /// The document's `_id`. Medlift's `_id`s are shown as UUIDs, and an `ObjectId` is shown too. Of any other `_id`
    /// only the BSON type is shown, because its value may be a patient's name or number. If the user requested values,
    /// all `_id`s that are not Medlift's are shown as canonical extended JSON.
    #[serde(rename = "_id")]
    pub id: String,
    /// The rows that give the expected document, at most ten. Empty for an extra document.
    pub rows: Vec<RowOfSource>,
    /// The fields that differ, for [`Kind::Different`]. Empty until [`name_fields`](super::name_fields) has found
    /// them.
    pub fields: Vec<DifferingField>,
    /// The `_id` and digest of the expected document, to find it again in the sources. `None` for missing and extra
    /// documents.
    #[serde(skip)]
    pub(super) wanted: Option<(Id, Digest)>,
}

#[cfg(test)]
impl Difference {
    /// Makes a difference without rows and fields.
    pub(crate) fn example(kind: Kind, id: &str) -> Self {
        Self { kind, id: id.to_owned(), rows: Vec::new(), fields: Vec::new(), wanted: None }
    }
}

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The document is expected, but not in the collection.
    Missing,
    /// The document is in the collection, but not expected.
    Extra,
    /// The collection has other content under the document's `_id`.
    Different,
    /// The collection has a newer document under this `_id`: it has the greater value in the order field. Listed only
    /// until [`judge_newer`](Verification::judge_newer) is called.
    Superseded,
    /// The collection has a newer document under this `_id`: it has the same value in the order field, and the
    /// greater digest. Listed only until [`judge_newer`](Verification::judge_newer) is called.
    Tie,
}

/// Whether loads of other sources can have stored newer documents, according to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherLoads {
    /// The ledger has only loads of these sources.
    Nobody,
    /// The ledger has no loads into the collection, or cannot be read.
    Unknown,
    /// The ledger has loads of other sources, or with another spec.
    Recorded,
}

/// A row of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RowOfSource {
    /// Index of the source, in the order in which the sources are read.
    pub source: u32,
    /// Row number in the source, from 1. The header and blank rows do not count.
    pub row: u64,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferingField {
    /// The dotted name of the field, for example `Address.City`.
    pub name: String,
    /// The value according to the sources, as canonical extended JSON. `None` if the user did not request values, or if
    /// the expected document does not have the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The value in the collection, as canonical extended JSON. `None` if the user did not request values, or if the
    /// stored document does not have the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
}

impl Verification {
    /// Returns true if no document is missing, different or extra. Excused records and permitted documents do not
    /// count.
    pub const fn is_clean(&self) -> bool {
        self.holds_all() && self.extra == 0
    }

    /// Returns true if no document is missing or different. Ignores extra documents.
    pub const fn holds_all(&self) -> bool {
        self.missing == 0 && self.different == 0
    }

    /// Returns how many extra documents are certainly not from [`other_loads`](Self::other_loads).
    pub fn extra_of_nobody(&self) -> u64 {
        let others = self.other_loads.iter().map(|load| load.extra.unwrap_or(load.written)).sum();
        self.foreign.min(self.extra).max(self.extra.saturating_sub(others))
    }

    /// Permits documents that are not expected, for example because other loads wrote them: counts them in `others`
    /// instead of in `extra`.
    pub fn permit_extra(&mut self) {
        self.others += std::mem::take(&mut self.extra);
        self.listed.retain(|difference| difference.kind != Kind::Extra);
    }

    /// Decides whether the documents that are newer than the expected ones are differences:
    /// - [`OtherLoads::Nobody`]: all are. No other load stored them, so somebody changed them.
    /// - [`OtherLoads::Recorded`]: none are.
    /// - [`OtherLoads::Unknown`]: only the documents of [`Kind::Tie`] are. Reason: a changed document has another
    ///   digest, which is greater in half of the cases.
    ///
    /// Lists at most `listed_max` differing documents.
    pub fn judge_newer(&mut self, others: OtherLoads, listed_max: usize) {
        let refused: &[Kind] = match others {
            OtherLoads::Nobody => &[Kind::Superseded, Kind::Tie],
            OtherLoads::Unknown => &[Kind::Tie],
            OtherLoads::Recorded => &[],
        };
        if refused.contains(&Kind::Tie) {
            self.superseded -= self.superseded_ties;
            self.different += std::mem::take(&mut self.superseded_ties);
        }
        if refused.contains(&Kind::Superseded) {
            self.different += std::mem::take(&mut self.superseded);
        }
        self.listed.iter_mut().filter(|listed| refused.contains(&listed.kind)).for_each(|listed| {
            listed.kind = Kind::Different;
        });
        let mut different = 0;
        self.listed.retain(|listed| match listed.kind {
            Kind::Missing | Kind::Extra => true,
            Kind::Different => {
                different += 1;
                different <= listed_max
            }
            Kind::Superseded | Kind::Tie => false,
        });
    }

    /// Adds the result for the next range of `_id`s. Lists at most `listed_max` differences of each kind.
    pub(super) fn append(&mut self, part: Self, listed_max: usize) {
        self.records += part.records;
        self.duplicates += part.duplicates;
        self.conflicts += part.conflicts;
        self.expected += part.expected;
        self.found += part.found;
        self.equal += part.equal;
        self.missing += part.missing;
        self.extra += part.extra;
        self.foreign += part.foreign;
        self.different += part.different;
        self.refused += part.refused;
        self.kept_out += part.kept_out;
        self.superseded += part.superseded;
        self.superseded_ties += part.superseded_ties;
        part.extra_of_load.into_iter().for_each(|(load, count)| *self.extra_of_load.entry(load).or_default() += count);
        self.source_digest.add(part.source_digest);
        self.collection_digest.add(part.collection_digest);
        let mut listed = [Kind::Missing, Kind::Extra, Kind::Different, Kind::Superseded, Kind::Tie]
            .map(|kind| self.listed.iter().filter(|listed| listed.kind == kind).count());
        for difference in part.listed {
            let count = &mut listed[difference.kind as usize];
            if *count < listed_max {
                *count += 1;
                self.listed.push(difference);
            }
        }
    }
}

fn as_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a result in which each count (except `others`) is another power of ten, multiplied by `times`.
    fn counted(times: u64, listed: Vec<Difference>) -> Verification {
        Verification {
            records: times,
            duplicates: 10 * times,
            conflicts: 100 * times,
            rejected: 0,
            expected: 1_000 * times,
            found: 10_000 * times,
            equal: 100_000 * times,
            missing: 1_000_000 * times,
            extra: 10_000_000 * times,
            others: 0,
            foreign: 100_000_000 * times,
            different: 1_000_000_000 * times,
            refused: 10_000_000_000 * times,
            kept_out: 100_000_000_000 * times,
            superseded: 1_000_000_000_000 * times,
            superseded_ties: 10_000_000_000_000 * times,
            references_to_nothing: ToNothing::default(),
            references_elsewhere: 0,
            extra_of_load: BTreeMap::from([([7; 16], times)]),
            other_loads: Vec::new(),
            listed,
            source_digest: Digest(7 * u128::from(times)),
            collection_digest: Digest(9 * u128::from(times)),
        }
    }

    #[test]
    fn parts_are_added_and_the_first_differences_of_each_kind_are_listed() {
        use Kind::{Different, Extra, Missing};
        let mut whole = counted(2, vec![Difference::example(Missing, "a"), Difference::example(Extra, "b")]);
        let more = [(Missing, "c"), (Missing, "d"), (Different, "e"), (Extra, "f"), (Different, "g"), (Different, "h")];
        whole.append(counted(3, more.map(|(kind, id)| Difference::example(kind, id)).to_vec()), 2);
        let expected = [(Missing, "a"), (Extra, "b"), (Missing, "c"), (Different, "e"), (Extra, "f"), (Different, "g")];
        assert_eq!(whole, counted(5, expected.map(|(kind, id)| Difference::example(kind, id)).to_vec()));
        let mut none = Verification::default();
        none.append(counted(1, vec![Difference::example(Missing, "a")]), 0);
        assert_eq!(none, counted(1, Vec::new()));
    }

    #[test]
    fn a_result_with_a_difference_is_not_clean() {
        let check = |found: Verification, clean: bool, holds_all: bool| {
            assert_eq!((found.is_clean(), found.holds_all()), (clean, holds_all), "{found:?}");
        };
        let none = Verification::default;
        check(none(), true, true);
        check(Verification { missing: 1, ..none() }, false, false);
        check(Verification { different: 1, ..none() }, false, false);
        check(Verification { extra: 1, ..none() }, false, true);
        check(Verification { others: 1, refused: 1, kept_out: 1, foreign: 1, ..none() }, true, true);
    }

    #[test]
    fn permitted_extra_documents_are_not_differences() {
        let listed =
            [Kind::Extra, Kind::Missing, Kind::Extra, Kind::Different].map(|kind| Difference::example(kind, "x"));
        let mut found = Verification {
            extra: 2,
            others: 1,
            missing: 1,
            different: 1,
            listed: listed.to_vec(),
            ..Verification::default()
        };
        found.permit_extra();
        assert_eq!((found.extra, found.others, found.missing, found.different), (0, 3, 1, 1));
        assert_eq!(found.listed, [Difference::example(Kind::Missing, "x"), Difference::example(Kind::Different, "x")]);
    }

    #[test]
    fn newer_documents_are_differences_unless_another_load_can_have_stored_them() {
        use Kind::{Different, Extra, Superseded, Tie};
        let check = |others: OtherLoads, max: usize, superseded: (u64, u64), different: u64, names: &[&str]| {
            let listed = [(Superseded, "a"), (Different, "b"), (Tie, "c"), (Extra, "d"), (Tie, "e")];
            let listed = listed.map(|(kind, id)| Difference::example(kind, id)).to_vec();
            let mut found = Verification {
                superseded: 5,
                superseded_ties: 2,
                different: 1,
                extra: 1,
                listed,
                ..Verification::default()
            };
            found.judge_newer(others, max);
            assert_eq!((found.superseded, found.superseded_ties), superseded, "{others:?}");
            assert_eq!((found.different, found.extra), (different, 1), "{others:?}");
            let of = |kind: Kind| found.listed.iter().filter(move |listed| listed.kind == kind);
            assert_eq!(of(Different).map(|listed| &listed.id[..]).collect::<Vec<_>>(), names, "{others:?}");
            assert_eq!(found.listed.len(), names.len() + of(Extra).count(), "{others:?}");
        };
        check(OtherLoads::Nobody, 9, (0, 0), 6, &["a", "b", "c", "e"]);
        check(OtherLoads::Nobody, 2, (0, 0), 6, &["a", "b"]);
        check(OtherLoads::Unknown, 9, (3, 0), 3, &["b", "c", "e"]);
        check(OtherLoads::Recorded, 9, (5, 2), 1, &["b"]);
    }

    #[test]
    fn extra_documents_that_no_load_can_have_written_are_counted() {
        let check = |extra: u64, foreign: u64, loads: &[(u64, Option<u64>)], expected: u64| {
            let load = |&(written, extra)| OtherLoad { load: String::new(), sources: Vec::new(), written, extra };
            let other_loads = loads.iter().map(load).collect();
            let found = Verification { extra, foreign, other_loads, ..Verification::default() };
            assert_eq!(found.extra_of_nobody(), expected, "{found:?}");
        };
        check(5, 0, &[], 5);
        check(5, 0, &[(5, None)], 0);
        check(5, 0, &[(2, None), (9, None)], 0);
        check(5, 0, &[(2, None), (1, None)], 2);
        // If the documents have a lineage, it is known how many extra documents the load wrote: 3, not at most 9.
        check(5, 0, &[(9, Some(3))], 2);
        check(5, 0, &[(9, Some(3)), (2, None)], 0);
        check(5, 1, &[(9, None)], 1);
        check(0, 1, &[(9, None)], 0);
    }

    #[test]
    fn json_has_snake_case_kinds_and_digests_as_text() {
        let fields = vec![DifferingField { name: "Age".to_owned(), expected: Some("1".to_owned()), stored: None }];
        let wanted = Some((Id([7; 16]), Digest(1)));
        let rows = vec![RowOfSource { source: 1, row: 2 }];
        let difference = Difference { kind: Kind::Different, id: "x".to_owned(), rows, fields, wanted };
        let found = Verification { listed: vec![difference], source_digest: Digest(255), ..Verification::default() };
        let json = serde_json::to_value(&found).expect("serializable");
        let expected = serde_json::json!([{
            "kind": "different", "_id": "x", "rows": [{ "source": 1, "row": 2 }], "fields": [{ "name": "Age", "expected": "1" }],
        }]);
        assert_eq!(json["listed"], expected);
        assert_eq!(
            (&json["source_digest"], &json["collection_digest"]),
            (&"000000000000000000000000000000ff".into(), &"0".repeat(32).into())
        );
    }
}
