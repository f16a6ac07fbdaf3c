//! What a verification found.

use serde::{Serialize, Serializer};

use crate::encode::{Digest, Id};

/// The result of a comparison. All counts are exact, however few differences are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verification {
    /// Records that the source holds, duplicates and conflicts included.
    pub records: u64,
    /// Records equal to another one.
    pub duplicates: u64,
    /// Records set aside because another one has their `_id`.
    pub conflicts: u64,
    /// Documents that the source asks for.
    pub expected: u64,
    /// Documents in the collection.
    pub found: u64,
    /// Documents that are there as the source asks, bit for bit.
    pub equal: u64,
    /// Documents that the source asks for and the collection lacks.
    pub missing: u64,
    /// Documents that the collection holds and the source does not ask for.
    pub extra: u64,
    /// Documents that the source does not ask for, where that was said to be no difference.
    pub others: u64,
    /// Those of the extra documents whose `_id` this program cannot have made.
    pub foreign: u64,
    /// Documents with an `_id` of the source and another content.
    pub different: u64,
    /// Documents that the collection lacks because the server refused them during the load. Only a load's own proof knows.
    pub refused: u64,
    /// Documents with other content than the source's because the load left that content, or the server refused the new one.
    /// Only a load's own proof knows.
    pub kept_out: u64,
    /// The first differences of each kind, in `_id` order.
    pub listed: Vec<Difference>,
    /// Sum of the digests of all expected documents.
    #[serde(serialize_with = "as_text")]
    pub source_digest: Digest,
    /// Sum of the digests of all documents found, foreign ones left out.
    #[serde(serialize_with = "as_text")]
    pub collection_digest: Digest,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is wrong.
    pub kind: Kind,
    /// The document's `_id`: a UUID or an `ObjectId`. Of a foreign `_id` only the BSON type is told, because it may be a
    /// person's name or number; with values asked for, the `_id` as canonical extended JSON.
    #[serde(rename = "_id")]
    pub id: String,
    /// The records that ask for the document, ten at most.
    pub rows: Vec<RowOfSource>,
    /// The fields that differ, once they were named.
    pub fields: Vec<DifferingField>,
    /// The expected document's `_id` and digest, by which it is found again in the source.
    #[serde(skip)]
    pub(super) wanted: Option<(Id, Digest)>,
}

#[cfg(test)]
impl Difference {
    /// A difference without rows and fields.
    pub(crate) fn example(kind: Kind, id: &str) -> Self {
        Self { kind, id: id.to_owned(), rows: Vec::new(), fields: Vec::new(), wanted: None }
    }
}

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The collection lacks the document.
    Missing,
    /// The source does not ask for the document.
    Extra,
    /// The document differs from what the source asks for.
    Different,
}

/// A place in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RowOfSource {
    /// Index of the source, in the order in which sources are read.
    pub source: u32,
    /// Row number in it, from 1, header and blank lines not counted.
    pub row: u64,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferingField {
    /// Dotted name.
    pub name: String,
    /// The value that the source asks for, as canonical extended JSON; only where values were asked for and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The value that the collection holds, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
}

impl Verification {
    /// Whether the collection holds exactly what the source says.
    pub const fn is_clean(&self) -> bool {
        self.holds_all() && self.extra == 0
    }

    /// Whether every document that the source asks for is there, whatever else the collection holds.
    pub const fn holds_all(&self) -> bool {
        self.missing == 0 && self.different == 0
    }

    /// Takes documents that the source does not ask for as no difference: other loads may have brought them.
    pub fn leave_extra(&mut self) {
        self.others += std::mem::take(&mut self.extra);
        self.listed.retain(|difference| difference.kind != Kind::Extra);
    }

    /// Appends what another range of `_id`s gave, and keeps `listed_max` differences of each kind.
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
        self.source_digest.add(part.source_digest);
        self.collection_digest.add(part.collection_digest);
        for difference in part.listed {
            if self.listed.iter().filter(|listed| listed.kind == difference.kind).count() < listed_max {
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

    /// A result whose every count is another power of ten times `times`.
    fn counted(times: u64, listed: Vec<Difference>) -> Verification {
        Verification {
            records: times,
            duplicates: 10 * times,
            conflicts: 100 * times,
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
            listed,
            source_digest: Digest(7 * u128::from(times)),
            collection_digest: Digest(9 * u128::from(times)),
        }
    }

    #[test]
    fn parts_add_up_and_the_first_differences_of_each_kind_are_listed() {
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
    fn each_kind_of_difference_makes_a_result_unclean() {
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
    fn documents_of_others_are_no_difference_where_that_is_said() {
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
        found.leave_extra();
        assert_eq!((found.extra, found.others, found.missing, found.different), (0, 3, 1, 1));
        assert_eq!(found.listed, [Difference::example(Kind::Missing, "x"), Difference::example(Kind::Different, "x")]);
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
