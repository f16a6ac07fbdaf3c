//! What cleaning changed, counted by field and rule.

/// Counts of changes and of broken warn-only rules. Workers keep their own and add them up at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// For each field, for each slot of the field's plan (trim, null marker, the rules in order, canonical spelling), how many cells it changed.
    pub changed: Vec<Vec<u64>>,
    /// For each plausibility rule of the spec with severity warn, how many rows broke it.
    pub warned: Vec<u64>,
}

impl Tally {
    /// Adds another worker's counts.
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
