//! The limit of rejected rows (`--max-rejects`). If a load is divided into parts, the limit applies to the sum of all
//! parts. A process counts the rows of its own part. It reads the counts of the other parts from the ledger.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::{Counts, PartProgress};
use crate::pipeline::plan::limited;
use crate::spec::Spec;

/// The number of rejected rows above which a load stops. While the sources are read, only rows that cannot be parsed,
/// cleaned or encoded count. At the end, rows that the server or the conflict rule refused count too, separately for
/// each kind of document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RejectsMax {
    /// A number of rows.
    Rows(u64),
    /// A percentage of the rows read. Checked only after the first 10,000 rows, and at the end.
    Percent(f64),
}

impl RejectsMax {
    /// Number of rows that must be read before a percentage is checked. With fewer rows, it depends too much on
    /// chance.
    const ROWS_MIN: u64 = 10_000;

    pub(in crate::pipeline) fn is_exceeded(self, rejected: u64, read: u64, at_end: bool) -> bool {
        match self {
            Self::Rows(rows) => rejected > rows,
            Self::Percent(share) => (at_end || read >= Self::ROWS_MIN) && rejected as f64 * 100.0 > share * read as f64,
        }
    }
}

/// The counts of the other parts of a load, for each kind of document, as last read from the ledger. Empty if the load
/// is not divided into parts. All clones share the counts.
#[derive(Debug, Clone, Default)]
pub(in crate::pipeline) struct OtherParts(Arc<Mutex<Vec<Counts>>>);

impl OtherParts {
    /// Adds up the counts of all `parts` except `number`, and stores the sums.
    pub(in crate::pipeline) fn set(&self, parts: &[PartProgress], number: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            sums(parts.iter().filter(|part| part.number() != number));
    }

    /// Returns the sums for a kind of document.
    pub(super) fn of_kind(&self, kind: usize) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(kind).copied().unwrap_or_default()
    }

    /// Returns the counts to which the limit of rejects applies. If each row belongs to one kind of document only,
    /// these are the sums of all kinds. Otherwise they are the counts of the kind with the most rejects.
    pub(super) fn limited(&self, spec: &Spec) -> Counts {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        limited(spec, sums).iter().max_by_key(|counts| counts.rejected).copied().unwrap_or_default()
    }
}

/// Adds up the counts of parts, for each kind of document.
pub(in crate::pipeline) fn sums<'a>(parts: impl Iterator<Item = &'a PartProgress>) -> Vec<Counts> {
    let mut sums: Vec<Counts> = Vec::new();
    for part in parts {
        let counts = part.counts();
        sums.resize(sums.len().max(counts.len()), Counts::default());
        sums.iter_mut().zip(&counts).for_each(|(sum, counts)| sum.add(counts));
    }
    sums
}

#[cfg(test)]
mod tests {
    use bson::{Uuid, doc};

    use super::*;
    use crate::ledger::PartOf;

    const SPEC: &str = "name = 'a'\ncollection = 'a'\n[identity]\nfields = ['Name']\n\
                        [[field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n";

    #[test]
    fn a_load_stops_above_its_limit_of_rejects() {
        let rows = |rejected| RejectsMax::Rows(3).is_exceeded(rejected, 10, false);
        assert_eq!((rows(3), rows(4)), (false, true));
        assert!(RejectsMax::Rows(0).is_exceeded(1, 1, false));
        let percent = |rejected, read, at_end| RejectsMax::Percent(1.5).is_exceeded(rejected, read, at_end);
        assert_eq!((percent(3, 200, true), percent(4, 200, true)), (false, true));
        assert!(!percent(9_999, 9_999, false), "a percentage must not stop the load before 10,000 rows");
        assert_eq!((percent(150, 10_000, false), percent(151, 10_000, false)), (false, true));
        assert!(!percent(0, 0, true));
    }

    #[test]
    fn the_other_parts_are_counted_for_each_kind_of_document() {
        let part = |number: u32, rejected: [i64; 2]| {
            let counts = |rejected| doc! { "read": 10_i64, "rejected": rejected };
            let of = bson::serialize_to_bson(&PartOf { load: Uuid::new(), number }).unwrap();
            let further = vec![doc! { "counts": counts(rejected[1]) }];
            let stored = doc! { "part": of, "state": "running", "counts": counts(rejected[0]), "further": further };
            bson::deserialize_from_document::<PartProgress>(stored).unwrap()
        };
        let parts = [part(0, [1, 2]), part(1, [4, 8]), part(2, [16, 16])];
        let others = OtherParts::default();
        let of_rows = Spec::from_toml(SPEC, "a test").unwrap();
        let of_resources = Spec { resources: vec!["Patient".into(), "Observation".into()], ..of_rows.clone() };
        assert_eq!((others.limited(&of_rows), others.of_kind(0)), (Counts::default(), Counts::default()));
        for (number, expected) in [(0, [20, 24]), (1, [17, 18]), (2, [5, 10]), (3, [21, 26])] {
            others.set(&parts, number);
            assert_eq!([0, 1].map(|kind| others.of_kind(kind).rejected), expected);
            assert_eq!(others.limited(&of_rows).rejected, expected[1]);
            assert_eq!(others.limited(&of_resources).rejected, expected[0] + expected[1]);
        }
        assert_eq!((others.limited(&of_rows).read, others.limited(&of_resources).read), (30, 60));
    }
}
