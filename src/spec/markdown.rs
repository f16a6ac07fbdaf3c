//! Writes a dataset's fields as a Markdown table, for the docs and for `medlift spec fields`.

use std::fmt::Write as _;

use super::{Field, FieldType, Group, Node, NumberFormat, Spec};

impl Spec {
    /// Returns a Markdown table with one row for each field and each repeating group, in document order. Its columns
    /// are name, source column, type, presence, cleaning rules, constraints and privacy.
    pub fn fields_table(&self) -> String {
        let mut table = String::from(
            "| Field | Column | Type | Presence | Cleaning | Constraints | Privacy |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        self.add_rows(&self.shape.roots, "", &mut table);
        table
    }

    /// Adds one row for each field and each repeating group. The name of an array ends in `[]`.
    fn add_rows(&self, nodes: &[Node], prefix: &str, table: &mut String) {
        for node in nodes {
            let mark = if node.is_array() { "[]" } else { "" };
            let name = format!("{prefix}{}{mark}", node.name());
            match node {
                Node::Leaf { field, .. } | Node::List { field, .. } => add_row(table, self.field_row(name, *field)),
                Node::Group { repeats, children, .. } => {
                    if let Some(group) = repeats {
                        add_row(table, group_row(name.clone(), &self.shape.groups[*group]));
                    }
                    self.add_rows(children, &format!("{name}."), table);
                }
            }
        }
    }

    fn field_row(&self, name: String, field: usize) -> [String; 7] {
        let field = &self.fields[field];
        [
            name,
            columns(&field.column, &field.aliases),
            field.kind.name().to_owned(),
            field.presence.name().to_owned(),
            cleaning(field),
            constraints(field),
            field.privacy.name().to_owned(),
        ]
    }
}

fn group_row(name: String, group: &Group) -> [String; 7] {
    let empty = String::new;
    let columns = columns(&group.column, &group.aliases);
    [name, columns, "array of documents".to_owned(), group.presence.name().to_owned(), empty(), empty(), empty()]
}

fn add_row(table: &mut String, cells: [String; 7]) {
    let line = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | ");
    let _ = writeln!(table, "| {line} |");
}

fn columns(column: &str, aliases: &[String]) -> String {
    let all: Vec<&str> = std::iter::once(column).chain(aliases.iter().map(String::as_str)).collect();
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
        FieldType::PatientKey => all.push("derived from the identifier of the patient".to_owned()),
        FieldType::Whole | FieldType::Resource => all.push("the whole record, unchanged".to_owned()),
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
