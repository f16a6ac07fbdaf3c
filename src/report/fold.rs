//! The result of a fold, and of comparing the state with the messages.

use std::fmt;

use serde::Serialize;

use crate::fold::collections;
use crate::fold::shell::{Checked, Folded, StateCounts};
use crate::wording::counted;

/// The result of a fold.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct FoldSummary {
    /// Messages that were folded.
    pub messages: u64,
    /// Folded messages that cannot be read. They are included in `messages`, but change no state.
    pub unreadable: u64,
    /// Patients, visits and results that were written.
    pub written: u64,
    /// Patients, visits and results that were removed.
    pub removed: u64,
    /// Of the written documents, those that replaced a document that another program had written.
    #[serde(skip_serializing_if = "is_zero")]
    pub foreign: u64,
    /// The reason why the messages were not folded, and what to do. `None` if they were folded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_folded: Option<String>,
    /// The exit code of the load because of the fold: 0 if nothing failed, 6 if a later fold can succeed.
    #[serde(skip)]
    pub exit_code: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl FoldSummary {
    /// Creates the summary of a load whose messages were not folded.
    pub fn not_folded(reason: impl Into<String>, exit_code: u8) -> Self {
        Self { not_folded: Some(reason.into()), exit_code, ..Self::default() }
    }
}

impl From<Folded> for FoldSummary {
    fn from(Folded { messages, unreadable, written, removed, foreign }: Folded) -> Self {
        Self { messages, unreadable, written, removed, foreign, ..Self::default() }
    }
}

impl fmt::Display for FoldSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.not_folded {
            return write!(f, "messages not folded: {reason}");
        }
        let messages = counted(self.messages, "message folded", "messages folded");
        let written = counted(self.written, "document written", "documents written");
        write!(f, "{messages}, {written}")?;
        if self.removed > 0 {
            write!(f, ", {} removed, because no message supports them", self.removed)?;
        }
        if self.foreign > 0 {
            let foreign = counted(self.foreign, "document of another program was", "documents of another program were");
            write!(f, "; {foreign} replaced")?;
        }
        if self.unreadable > 0 {
            let unreadable = counted(self.unreadable, "stored message cannot", "stored messages cannot");
            write!(f, "; {unreadable} be read and changed nothing")?;
        }
        Ok(())
    }
}

/// The result of folding all stored messages again and comparing the resulting documents with the stored ones.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct StateProof {
    /// The counts of `patients`, `visits` and `results`. Empty if the state was not compared.
    pub collections: Vec<StateOf>,
    /// The first differences.
    pub differences: Vec<StateDifferenceShown>,
    /// Stored messages that are not folded yet.
    pub not_folded: u64,
    /// The reason why the state was not compared. `None` if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}

/// The counts of one collection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateOf {
    /// The name of the collection.
    pub collection: &'static str,
    /// Documents that are as the messages say.
    pub equal: u64,
    /// Documents that follow from the messages, but are not stored.
    pub missing: u64,
    /// Stored documents that do not follow from any message.
    pub extra: u64,
    /// Stored documents whose content differs from what follows from the messages.
    pub different: u64,
}

/// A document that is not as the messages say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateDifferenceShown {
    /// `missing`, `extra` or `different`.
    pub what: &'static str,
    /// The name of the collection.
    pub collection: &'static str,
    /// The `_id` of the document.
    pub id: String,
}

impl StateProof {
    /// Creates the result. At most `differences_max` differences are listed.
    pub fn new(checked: &Checked, differences_max: usize) -> Self {
        let of = |(collection, counts): (&'static str, &StateCounts)| StateOf {
            collection,
            equal: counts.equal,
            missing: counts.missing,
            extra: counts.extra,
            different: counts.different,
        };
        let shown = checked.differences.iter().take(differences_max).map(|found| StateDifferenceShown {
            what: found.what,
            collection: found.collection,
            id: found.id.to_string(),
        });
        Self {
            collections: collections().into_iter().zip(&checked.counts).map(of).collect(),
            differences: shown.collect(),
            not_folded: checked.not_folded,
            not_compared: None,
        }
    }

    /// Creates the result of a verification that did not compare the state.
    pub fn not_compared(reason: impl Into<String>) -> Self {
        Self { not_compared: Some(reason.into()), ..Self::default() }
    }

    /// Returns true if a document is not as the messages say.
    pub fn has_differences(&self) -> bool {
        self.collections.iter().any(|of| of.missing + of.extra + of.different > 0)
    }
}

impl fmt::Display for StateProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.not_compared {
            return writeln!(f, "patients, visits and results not compared: {reason}");
        }
        let is_clean = !self.has_differences();
        writeln!(
            f,
            "patients, visits and results {} the messages",
            if is_clean { "agree with" } else { "DIFFER from" }
        )?;
        for StateOf { collection, equal, missing, extra, different } in &self.collections {
            write!(f, "  {collection}: {equal} equal")?;
            let found = [(missing, "missing"), (extra, "extra"), (different, "different")];
            for (count, what) in found.into_iter().filter(|(count, _)| **count > 0) {
                write!(f, ", {count} {what}")?;
            }
            writeln!(f)?;
        }
        for StateDifferenceShown { what, collection, id } in &self.differences {
            writeln!(f, "  {what}: {collection} {id}")?;
        }
        if self.not_folded > 0 {
            let messages = counted(self.not_folded, "stored message is", "stored messages are");
            writeln!(f, "  {messages} not folded yet; run `medlift fold`, then verify again")?;
        } else if !is_clean {
            writeln!(f, "  run `medlift fold --rebuild` to make these documents from the messages again")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_and_a_comparison_are_described_in_a_sentence() {
        let folded = Folded { messages: 2, unreadable: 1, written: 1, removed: 3, foreign: 1 };
        let expected = "2 messages folded, 1 document written, 3 removed, because no message supports them; 1 document \
                        of another program was replaced; 1 stored message cannot be read and changed nothing";
        assert_eq!(FoldSummary::from(folded).to_string(), expected);
        assert_eq!(FoldSummary::not_folded("it rains", 6).to_string(), "messages not folded: it rains");
        let mut checked = Checked::default();
        checked.counts[1] = StateCounts { equal: 4, missing: 1, ..StateCounts::default() };
        let proof = StateProof::new(&checked, 20);
        let expected = "patients, visits and results DIFFER from the messages\n  patients: 0 equal\n  visits: 4 equal, 1 \
                        missing\n  results: 0 equal\n  run `medlift fold --rebuild` to make these documents from the \
                        messages again\n";
        assert!(proof.has_differences());
        assert_eq!(proof.to_string(), expected);
    }
}
