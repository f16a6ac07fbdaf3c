//! Chooses the identifier that stands for a patient, as loads do.

use crate::parse::hl7::{Element, Path, Repetition};
use crate::spec::patient::{Chosen, PatientSource};
use crate::spec::{Node, Spec};

/// Which identifier of a message stands for the patient. It is the `[patient]` table of the spec, so messages and state
/// have the same keys.
#[derive(Debug, Clone)]
pub(crate) struct PatientRule {
    /// The number of the field of PID.
    field: usize,
    /// The number of the field of MRG with the identifiers of a patient whose record was merged.
    prior: usize,
    /// The fields, as indices into `parts`.
    source: PatientSource,
    /// The parts of a repetition.
    parts: Vec<Path>,
    /// True if all repetitions of the field are identifiers. Otherwise only the first is.
    is_list: bool,
}

/// The reason why the state cannot have the same keys as the messages of a spec. It completes the sentence "the fold
/// cannot choose the same identifier as the load, because".
pub(super) type Mismatch = &'static str;

impl PatientRule {
    /// Returns the rule of a spec.
    ///
    /// # Errors
    /// The reason, if the spec does not say who the patient is, or reads or changes the identifier in a way that is
    /// only possible in a record.
    pub(crate) fn of(spec: &Spec) -> Result<Self, Mismatch> {
        let source = spec.patient.as_ref().ok_or("the spec has no [patient] table")?;
        let paths = source.fields().map(|field| path_of(spec, field));
        let parts: Vec<Path> = paths.collect::<Result<_, _>>()?;
        let field = parts[0].field.filter(|_| parts[0].segment.as_str() == "PID");
        let prior = match field {
            Some(3) => 1,
            Some(4) => 2,
            Some(2) => 4,
            _ => return Err("`identifier` is not a part of PID-2, PID-3 or PID-4"),
        };
        if parts.iter().any(|part| part.segment != parts[0].segment || part.field != field) {
            return Err("the authority or the type is not in the field that has the identifier");
        }
        let fields: Vec<usize> = source.fields().collect();
        let source = source.placed(|field| fields.iter().position(|&other| other == field));
        let source = source.ok_or("a field of [patient] is missing")?;
        let is_list = is_list(spec, fields[0], &parts[0])?;
        Ok(Self { field: field.unwrap_or_default().into(), prior, source, parts, is_list })
    }

    /// Returns the field of PID that contains the identifiers.
    pub(super) const fn field(&self) -> usize {
        self.field
    }

    /// Returns the field of MRG that contains the identifiers.
    pub(super) const fn prior(&self) -> usize {
        self.prior
    }

    /// Returns the identifier that stands for the patient. `field` is the field with all identifiers, and `text`
    /// decodes a part.
    pub(super) fn choose(
        &self,
        field: Element<'_>,
        text: impl Fn(Element<'_>) -> Option<String>,
    ) -> Option<Chosen<'_, String>> {
        let count = if self.is_list { usize::MAX } else { 1 };
        self.source.choose(field.children().take(count), |repetition, part| text(repetition.find(&self.parts[part])))
    }

    /// Describes the rule. Equal rules have equal descriptions.
    pub(super) fn description(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Path::to_string).collect();
        let PatientSource { authority, kind, prefer, .. } = &self.source;
        format!("{} {} {authority:?} {kind:?} {prefer:?}", parts.join(" "), self.is_list)
    }
}

/// Returns the path of a field whose value in a record is the text in the message, without change.
fn path_of(spec: &Spec, field: usize) -> Result<Path, Mismatch> {
    let field = &spec.fields[field];
    if !field.clean.is_empty() || !field.null_markers.is_empty() {
        return Err("a field of [patient] has `clean` or `null_markers`, which the fold does not apply");
    }
    let path = Path::parse(&field.column).map_err(|_| "a field of [patient] is not read from a path")?;
    match path.repetition {
        Repetition::First if !path.is_precision => Ok(path),
        _ => Err("a path of [patient] has a repetition in brackets or `@precision`"),
    }
}

/// Returns true if the identifiers are in a group that repeats over their field.
fn is_list(spec: &Spec, identifier: usize, path: &Path) -> Result<bool, Mismatch> {
    let columns = spec.columns();
    let around = columns.iter().find(|column| column.node.fields().contains(&identifier));
    let Some(group) = around.filter(|column| matches!(column.node, Node::Group { .. })) else { return Ok(false) };
    match Path::parse(group.column) {
        Ok(over) if over.field == path.field => Ok(true),
        _ => Err("the group of the identifier repeats over a segment and not over its field"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = include_str!("../../specs/hl7v2.toml");

    fn rule(changes: &[(&str, &str)]) -> Result<PatientRule, Mismatch> {
        let text = changes.iter().fold(SPEC.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        PatientRule::of(&Spec::from_toml(&text, "a test").expect("a spec"))
    }

    #[test]
    fn a_spec_for_which_records_and_state_would_choose_differently_is_refused() {
        let check = |changes: &[(&str, &str)], expected: Result<(usize, usize), &str>| {
            let found = rule(changes).map(|rule| (rule.field(), rule.prior()));
            match (found, expected) {
                (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
                (found, expected) => assert_eq!(found, expected, "{changes:?}"),
            }
        };
        let patient = |table: &str| {
            let end = SPEC.find("# Message type and event").expect("the first field");
            let start = SPEC.find("[patient]").expect("the table");
            (SPEC[start..end].to_owned(), format!("{table}\n"))
        };
        let replaced = |table: &str, expected| {
            let (from, to) = patient(table);
            check(&[(&from, &to)], expected);
        };
        check(&[], Ok((3, 1)));
        check(
            &[
                ("repeats = \"PID-3\"", "repeats = \"PID-4\""),
                ("PID-3.1\"", "PID-4.1\""),
                ("PID-3.4.1\"", "PID-4.4.1\""),
                ("PID-3.4.2\"", "PID-4.4.2\""),
                ("PID-3.5\"", "PID-4.5\""),
            ],
            Ok((4, 2)),
        );
        check(&[("repeats = \"PID-3\"", "repeats = \"PID\"")], Err("repeats over a segment"));
        check(
            &[(
                "column = \"PID-3.1\"\ntype = \"string\"",
                "column = \"PID-3.1\"\ntype = \"string\"\nclean = [\"upper_case\"]",
            )],
            Err("`clean`"),
        );
        check(
            &[("collection = \"messages\"", "collection = \"messages\"\nnull_markers = [\"UNKNOWN\"]")],
            Err("`null_markers`"),
        );
        replaced("[patient]\nidentifier = 'visitNumber'\nauthority = 'A'", Err("PID-2, PID-3 or PID-4"));
        let without_key = ("keys = [\"patient\", \"-sentAt\"]", "keys = [\"-sentAt\"]");
        check(&[(&patient("").0, ""), without_key], Err("no [patient]"));
        check(
            &[
                ("column = \"PV1-19.1\"", "column = \"PID-2.1\""),
                (&patient("").0, "[patient]\nidentifier = 'visitNumber'\nauthority = 'A'\n"),
            ],
            Ok((2, 4)),
        );
        check(
            &[
                ("column = \"PV1-19.1\"", "column = \"PID-3[2].1\""),
                (&patient("").0, "[patient]\nidentifier = 'visitNumber'\nauthority = 'A'\n"),
            ],
            Err("brackets"),
        );
        check(
            &[
                ("column = \"PV1-19.1\"", "column = \"PID-3.1\""),
                (&patient("").0, "[patient]\nidentifier = 'visitNumber'\nauthority_field = 'sender.facility'\n"),
            ],
            Err("not in the field"),
        );
    }

    #[test]
    fn different_rules_have_different_descriptions() {
        let all = [
            rule(&[]),
            rule(&[("prefer = [\"MR\"]", "prefer = [\"PI\"]")]),
            rule(&[("type_field = \"patientIdentifiers.type\"\n", "")]),
        ];
        let described: std::collections::BTreeSet<String> =
            all.into_iter().map(|rule| rule.expect("a rule").description()).collect();
        assert_eq!(described.len(), 3, "{described:?}");
    }
}
