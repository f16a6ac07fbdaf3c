//! How a source was read, for the summary.

use std::fmt;

use serde::Serialize;

use crate::parse::{Format, Layout, Notices, RowRules};
use crate::spec::Spec;

/// Largest number of unknown columns that are named. The others are only counted.
const COLUMNS_NAMED_MAX: usize = 50;

/// How a source was read, for the summary.
#[derive(Debug, Serialize)]
pub struct SourceNote {
    /// The name of the source.
    pub name: String,
    /// The encoding of the source.
    pub encoding: String,
    /// The format of the source and its delimiter.
    pub format: String,
    /// The columns that no field uses. They are not loaded.
    pub unknown_columns: Vec<String>,
    /// The date fields whose format was given or detected, each with its format.
    pub dates: Vec<(String, String)>,
    /// Number of rows with only blank cells. They were skipped, and are not counted as read.
    pub blank_rows: u64,
    /// Number of cells that contain a quote but are not enclosed in quotes.
    pub loose_quotes: u64,
    /// Number of cells that contain line breaks.
    pub multiline_cells: u64,
    /// Messages about how the source was read.
    pub notices: Vec<String>,
}

/// The encoding of HL7 sources in the summary.
const ENCODING_OF_MESSAGES: &str = "each message in its own character set";

impl SourceNote {
    /// Creates the note about a source. `name` is its name.
    pub fn new(name: &str, encoding: &str, layout: &Layout, spec: &Spec, noticed: &Notices) -> Self {
        // The format of times in HL7 messages and FHIR resources is fixed, so it is not shown.
        let shown = if layout.format.keeps_whole() { &[][..] } else { &layout.dates };
        let dates = spec.fields.iter().zip(shown);
        Self {
            name: name.to_owned(),
            encoding: if layout.format == Format::Hl7 { ENCODING_OF_MESSAGES } else { encoding }.to_owned(),
            format: layout.format.name(),
            blank_rows: noticed.blank_rows,
            loose_quotes: noticed.loose_quotes,
            multiline_cells: noticed.multiline_cells,
            notices: [rule_notices(layout.rules), layout.doubtful_numbers.clone(), row_notices(noticed)].concat(),
            unknown_columns: layout.unknown.clone(),
            dates: dates
                .filter_map(|(field, format)| Some((field.name.clone(), (*format)?.name().to_owned())))
                .collect(),
        }
    }
}

/// Describes how Medlift reads the rows of the source. Medlift decided this after it had seen the first rows.
fn rule_notices(rules: RowRules) -> Vec<String> {
    let said = [
        (
            rules.no_quotes,
            "quotes are read as ordinary characters, because otherwise some of the first rows do not have as many cells as the \
             header; if they are quotes around cells, add --quote '\"'",
        ),
        (
            rules.extra_cell,
            "the first rows have one more delimiter at their end than the header; an empty cell after it is ignored",
        ),
        (rules.shortened_header, "the header has one more delimiter at its end than the rows; it is ignored"),
    ];
    said.into_iter().filter(|(applies, _)| *applies).map(|(_, words)| words.to_owned()).collect()
}

/// Describes what was counted in the rows.
fn row_notices(found: &Notices) -> Vec<String> {
    let Notices { blank_rows, loose_quotes, kept_escapes, lost_references, multiline_cells, multiline } = found;
    let lines: Vec<String> = multiline.iter().map(|(first, last)| format!("{first} to {last}")).collect();
    let more = if *multiline_cells > lines.len() as u64 { ", …" } else { "" };
    let found = [
        (*blank_rows, format!("rows with only blank cells, skipped: {blank_rows}")),
        (*loose_quotes, format!("unquoted cells with a quote inside: {loose_quotes}")),
        (*kept_escapes, format!("unknown escapes in values, which stay as they are: {kept_escapes}")),
        (
            *lost_references,
            format!(
                "references by UUID (urn:uuid:…) whose entry is not known: {lost_references}; the documents have no link to \
                 it, and perhaps no key of the patient; load the whole Bundle, from a file, or one that `medlift export \
                 --type bundle` wrote"
            ),
        ),
        (
            *multiline_cells,
            format!("cells that contain line breaks: {multiline_cells} (lines {}{more})", lines.join(", ")),
        ),
    ];
    found.into_iter().filter(|(count, _)| *count > 0).map(|(_, notice)| notice).collect()
}

impl fmt::Display for SourceNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  from {} ({}, {})", self.name, self.format, self.encoding)?;
        for (field, format) in &self.dates {
            writeln!(f, "    {field}: {format}")?;
        }
        if !self.unknown_columns.is_empty() {
            let named: Vec<String> =
                self.unknown_columns.iter().take(COLUMNS_NAMED_MAX).map(|name| column_name(name)).collect();
            let more = self.unknown_columns.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            writeln!(f, "    notice: columns not in the spec, ignored: {}{more}", named.join(", "))?;
        }
        self.notices.iter().try_for_each(|notice| writeln!(f, "    notice: {notice}"))
    }
}

fn column_name(name: &str) -> String {
    if name.is_empty() { "a column without a name".to_owned() } else { format!("`{name}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_about_rows_are_notices() {
        let check = |rules: RowRules, parts: &[&str]| {
            let notices = rule_notices(rules);
            assert_eq!(notices.len(), parts.len(), "{notices:?}");
            notices.iter().zip(parts).for_each(|(notice, part)| assert!(notice.contains(part), "{notice}"));
        };
        check(RowRules::default(), &[]);
        check(RowRules { multiline_cells: true, ..RowRules::default() }, &[]);
        check(RowRules { no_quotes: true, ..RowRules::default() }, &["quotes are read as ordinary characters"]);
        check(RowRules { extra_cell: true, ..RowRules::default() }, &["the first rows have one more delimiter"]);
        check(RowRules { shortened_header: true, ..RowRules::default() }, &["the header has one more delimiter"]);
    }

    #[test]
    fn counts_of_multiline_cells_name_the_first_lines() {
        let check = |found: Notices, expected: &[&str]| assert_eq!(row_notices(&found), expected);
        check(Notices::default(), &[]);
        let blank_rows = Notices { blank_rows: 1, ..Notices::default() };
        check(blank_rows, &["rows with only blank cells, skipped: 1"]);
        let loose_quotes = Notices { loose_quotes: 2, ..Notices::default() };
        check(loose_quotes, &["unquoted cells with a quote inside: 2"]);
        let notices = row_notices(&Notices { lost_references: 7, ..Notices::default() });
        assert!(notices.len() == 1 && notices[0].contains("is not known: 7; "), "{notices:?}");
        let lines = vec![(2, 3), (5, 9)];
        let all = Notices { multiline_cells: 2, multiline: lines.clone(), ..Notices::default() };
        check(all, &["cells that contain line breaks: 2 (lines 2 to 3, 5 to 9)"]);
        let more = Notices { multiline_cells: 3, multiline: lines, ..Notices::default() };
        check(more, &["cells that contain line breaks: 3 (lines 2 to 3, 5 to 9, …)"]);
    }
}
