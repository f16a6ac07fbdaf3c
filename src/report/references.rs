//! Formats the references to documents that do not exist.

use std::fmt;

use crate::verify::{ToNothing, Verification};
use crate::wording::counted;

/// Writes the references that the verification of one kind of document has found.
pub(super) fn write(f: &mut fmt::Formatter<'_>, proof: &Verification) -> fmt::Result {
    let ToNothing { documents, references } = proof.references_to_nothing;
    if documents > 0 {
        let documents = counted(documents, "document of this kind that does", "documents of this kind that do");
        writeln!(f, "  {} to {documents} not exist", counted(references, "reference", "references"))?;
    }
    if proof.references_elsewhere > 0 {
        let references = counted(proof.references_elsewhere, "reference", "references");
        writeln!(f, "  {references} to documents of kinds that the spec does not describe")?;
    }
    Ok(())
}

/// Writes the references of a whole load. `proofs` has the name and the verification of each kind of document.
pub(super) fn write_all<'a>(
    f: &mut fmt::Formatter<'_>,
    proofs: impl Iterator<Item = (&'a str, &'a Verification)>,
) -> fmt::Result {
    let mut lines = Vec::new();
    for (kind, proof) in proofs {
        let ToNothing { documents, references } = proof.references_to_nothing;
        if documents > 0 {
            lines.push((kind, references, format!("to {}", counted(documents, "document", "documents"))));
        }
        if proof.references_elsewhere > 0 {
            lines.push(("", proof.references_elsewhere, "to kinds that the spec does not describe".to_owned()));
        }
    }
    if !lines.is_empty() {
        writeln!(f, "  references to documents that do not exist, by kind")?;
    }
    lines.sort();
    lines.into_iter().try_for_each(|(kind, references, to)| writeln!(f, "    {kind:<26}{references:>10} {to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown<'a>(&'a [(&'a str, Verification)]);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_all(f, self.0.iter().map(|(kind, proof)| (*kind, proof)))
        }
    }

    #[test]
    fn references_are_listed_by_kind_and_nothing_is_written_without_them() {
        let proof = |documents, references, references_elsewhere| Verification {
            references_to_nothing: ToNothing { documents, references },
            references_elsewhere,
            ..Verification::default()
        };
        let kinds = [("Patient", proof(1, 7, 2)), ("Encounter", proof(30, 40, 0)), ("Device", proof(0, 0, 0))];
        let expected = "  references to documents that do not exist, by kind
                                       2 to kinds that the spec does not describe
    Encounter                         40 to 30 documents
    Patient                            7 to 1 document
";
        assert_eq!(Shown(&kinds).to_string(), expected);
        assert_eq!(Shown(&kinds[2..]).to_string(), "");
        let shown = kinds[0].1.to_string();
        assert!(shown.contains("  7 references to 1 document of this kind that does not exist\n"), "{shown}");
        assert!(shown.contains("  2 references to documents of kinds that the spec does not describe\n"), "{shown}");
        assert!(!kinds[2].1.to_string().contains("reference"), "nothing is written without references");
    }
}
