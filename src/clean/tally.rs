//! Counts the cells that cleaning changes. Each field has several counts, called slots: one for trimming, one for null
//! markers, and one per rule. An enum field has one more, for the canonical spelling.

use crate::spec::{Field, FieldType};

/// Slot of cells that had white space around their text.
pub(super) const TRIM: usize = 0;
/// Slot of cells that contained a null marker.
pub(super) const NULL_MARKER: usize = 1;
/// Slot of the field's first rule. The slots of the other rules follow.
pub(super) const RULES: usize = 2;

/// Returns the names of a field's slots, in the order of [`Tally::changed`].
pub(crate) fn slot_names(field: &Field) -> Vec<&'static str> {
    let mut names = vec!["trim", "null_marker"];
    names.extend(field.clean.iter().map(|rule| rule.name()));
    if matches!(field.kind, FieldType::Enum { .. }) {
        names.push("canonical_spelling");
    }
    names
}

/// Counts of changed cells, and of rows that break a plausibility rule but are loaded. Each worker has its own tally.
/// The tallies are added at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of changed cells for each field and each slot of the field. The slots are: trimmed, null marker, one
    /// per rule in their order, and for an enum the canonical spelling. See `slot_names`.
    pub changed: Vec<Vec<u64>>,
    /// The number of rows that break each plausibility rule with severity `warn`. The rules are in the order of the
    /// spec.
    pub warned: Vec<u64>,
}

impl Tally {
    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        let merge = |mine: &mut Vec<u64>, theirs: &[u64]| {
            mine.resize(mine.len().max(theirs.len()), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        self.changed.resize(self.changed.len().max(other.changed.len()), Vec::new());
        for (mine, theirs) in self.changed.iter_mut().zip(&other.changed) {
            merge(mine, theirs);
        }
        merge(&mut self.warned, &other.warned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_two_workers_are_added_slot_by_slot() {
        let mut sum = Tally { changed: vec![vec![1, 2], vec![3]], warned: vec![4] };
        sum.add(&Tally { changed: vec![vec![10, 20, 30], vec![40], vec![50]], warned: vec![60, 70] });
        assert_eq!(sum, Tally { changed: vec![vec![11, 22, 30], vec![43], vec![50]], warned: vec![64, 70] });
        let before = sum.clone();
        sum.add(&Tally::default());
        assert_eq!(sum, before);
    }

    #[test]
    fn slot_names_are_in_the_order_of_the_steps() {
        let names = |keys: &str| {
            let text = format!("name = 'x'\n[[field]]\nname = 'f'\nprivacy = 'none'\n{keys}");
            slot_names(&crate::spec::Spec::from_toml(&text, "test").expect("a valid spec").fields[0])
        };
        assert_eq!(names("type = 'int32'"), ["trim", "null_marker"]);
        assert_eq!(
            names("type = 'string'\nclean = ['upper_case', 'nfc']"),
            ["trim", "null_marker", "upper_case", "nfc"]
        );
        let list = "type = 'enum'\nvalues = ['A']\nclean = ['upper_case', 'nfc']";
        assert_eq!(names(list), ["trim", "null_marker", "upper_case", "nfc", "canonical_spelling"]);
    }
}
