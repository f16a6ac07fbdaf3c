//! The table of a dataset's fields, for the docs and for `medlift spec fields`.

use std::fmt::Write as _;

use super::{Field, FieldType, NumberFormat, Spec};

impl Spec {
    /// Returns a Markdown table of the fields in document order: name, column, type, presence, rules, constraints,
    /// privacy.
    pub fn fields_table(&self) -> String {
        let mut table = String::from(
            "| Field | Column | Type | Presence | Cleaning | Constraints | Privacy |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for field in &self.fields {
            let cells = [
                field.name.clone(),
                columns(field),
                field.kind.name().to_owned(),
                field.presence.name().to_owned(),
                cleaning(field),
                constraints(field),
                field.privacy.name().to_owned(),
            ];
            let line = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | ");
            let _ = writeln!(table, "| {line} |");
        }
        table
    }
}

fn columns(field: &Field) -> String {
    let all: Vec<&str> = std::iter::once(&field.column).chain(&field.aliases).map(String::as_str).collect();
    all.join(", ")
}

fn cleaning(field: &Field) -> String {
    let mut steps = vec!["trim".to_owned()];
    if !field.null_markers.is_empty() {
        steps.push(format!("null_marker ({})", code_list(&field.null_markers)));
    }
    steps.extend(field.clean.iter().map(|rule| rule.name().to_owned()));
    if matches!(field.kind, FieldType::Enum { .. }) {
        steps.push("canonical_spelling".to_owned());
    }
    steps.join(", ")
}

fn constraints(field: &Field) -> String {
    let mut all = Vec::new();
    match &field.kind {
        FieldType::Enum { values, .. } => all.push(format!("one of {}", code_list(values))),
        FieldType::Bool { truthy, falsy } => {
            all.push(format!("true: {}; false: {}", code_list(truthy), code_list(falsy)));
        }
        FieldType::Date => all.push("midnight UTC".to_owned()),
        FieldType::Int32(format)
        | FieldType::Int64(format)
        | FieldType::Double(format)
        | FieldType::Decimal128(format) => all.extend(number_format(format)),
        FieldType::String | FieldType::Datetime => {}
    }
    all.extend(field.constraints.range.map(|range| range.to_string()));
    all.extend(field.constraints.length.map(|(least, most)| format!("{least} to {most} characters")));
    all.extend(field.constraints.pattern.as_ref().map(|pattern| format!("matches `{}`", pattern.as_str())));
    all.join("; ")
}

fn number_format(format: &NumberFormat) -> impl Iterator<Item = String> {
    let thousands = format.thousands.map(|sign| format!("thousands `{sign}`"));
    let decimal = format.decimal_comma.then(|| "decimal `,`".to_owned());
    let currency = (!format.currency.is_empty()).then(|| format!("currency {}", code_list(&format.currency)));
    [thousands, decimal, currency].into_iter().flatten()
}

fn code_list(texts: &[String]) -> String {
    texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}
