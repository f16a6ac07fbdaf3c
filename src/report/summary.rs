//! The summary of a load: what was read and how, what changed, what was refused and why, what the database holds now.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::clean::{Tally, slot_names};
use crate::ledger::Counts;
use crate::parse::{Format, Layout, Notices, RowRules};
use crate::reject::Reason;
use crate::spec::{Severity, Spec};
use crate::verify::Verification;

/// The summary of a load or a dry run. Holds no value of any row.
#[derive(Debug, Default, Serialize)]
pub struct LoadSummary {
    /// What happened, in a few words: `loaded`, `dry run`, `already loaded`, `stopped`.
    pub outcome: String,
    /// Database and collection; `None` in a dry run.
    pub target: Option<String>,
    /// The load's id in the ledger.
    pub run: Option<String>,
    /// The sources and how they are read.
    pub sources: Vec<SourceNote>,
    /// What became of the rows.
    pub counts: Counts,
    /// Whether `written`, `replaced` and `already_present` may each be wrong by up to `in_doubt`, and `duplicates` and
    /// `conflicts` by up to `repeats_in_doubt`. Their sum is exact.
    pub counts_are_estimates: bool,
    /// Rejected rows by reason and field.
    pub rejects: Vec<Count>,
    /// Cells that cleaning changed, by rule and field.
    pub changes: Vec<Count>,
    /// Rows that broke a plausibility rule which only warns.
    pub warnings: Vec<Count>,
    /// Reject files of the load.
    pub reject_files: Vec<String>,
    /// What the user should know of the ledger and of files: why a load began anew, which file was left alone.
    pub notes: Vec<String>,
    /// Order-independent sum over the digests of all records that the collection holds of this load.
    pub digest: String,
    /// What was done to indexes and validator, or why not.
    pub collection_notes: Vec<String>,
    /// Documents of the collection that violate the spec's validator, asked after a first load.
    pub nonconforming: u64,
    /// Seconds from the first byte read to the last acknowledgement.
    pub seconds: f64,
    /// The proof that the documents are there.
    pub verification: Option<Verification>,
    /// Seconds the proof took.
    pub verification_seconds: f64,
    /// Why there is no proof.
    pub unverified: Option<String>,
}

/// Unknown columns that are named; the others are counted.
const COLUMNS_NAMED_MAX: usize = 50;

/// How a source was read.
#[derive(Debug, Serialize)]
pub struct SourceNote {
    /// Its name.
    pub name: String,
    /// Its encoding.
    pub encoding: String,
    /// Format and delimiter.
    pub format: String,
    /// Columns that no field uses; they are not loaded.
    pub unknown_columns: Vec<String>,
    /// Date columns and their formats.
    pub dates: Vec<(String, String)>,
    /// Rows of nothing but delimiters, which were passed over; they are not counted as read.
    pub blank_rows: u64,
    /// Unquoted cells with a quote inside.
    pub loose_quotes: u64,
    /// Cells that hold line breaks.
    pub multiline_cells: u64,
    /// What a person should know of how the source was read, in words.
    pub notices: Vec<String>,
}

/// How often something happened to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The rule or the reason.
    pub what: String,
    /// The field; empty where it is the whole row.
    pub field: String,
    /// How often.
    pub count: u64,
}

impl SourceNote {
    /// How the source `name` is read.
    pub fn new(name: &str, encoding: &str, layout: &Layout, spec: &Spec, noticed: &Notices) -> Self {
        let dates = spec.fields.iter().zip(&layout.dates);
        Self {
            name: name.to_owned(),
            encoding: encoding.to_owned(),
            format: format_name(layout.format),
            blank_rows: noticed.blank_rows,
            loose_quotes: noticed.loose_quotes,
            multiline_cells: noticed.multiline_cells,
            notices: rule_notices(layout.rules).into_iter().chain(row_notices(noticed)).collect(),
            unknown_columns: layout.unknown.clone(),
            dates: dates
                .filter_map(|(field, format)| Some((field.name.clone(), (*format)?.name().to_owned())))
                .collect(),
        }
    }
}

/// The format and what differs from the usual signs: `csv, tab, no quotes`.
fn format_name(format: Format) -> String {
    let Format::Csv(dialect) = format else { return "ndjson".to_owned() };
    let mut name = match dialect.delimiter {
        b'\t' => "csv, tab".to_owned(),
        delimiter => format!("csv, `{}`", char::from(delimiter)),
    };
    match dialect.quote {
        None => name.push_str(", no quotes"),
        Some(b'"') => {}
        Some(quote) => _ = write!(name, ", quotes `{}`", char::from(quote)),
    }
    if let Some(escape) = dialect.escape {
        let _ = write!(name, ", escape `{}`", char::from(escape));
    }
    name
}

/// What was decided about the rows because the first ones are as they are.
fn rule_notices(rules: RowRules) -> Vec<String> {
    let said = [
        (
            rules.no_quotes,
            "quotes are read as ordinary characters, because otherwise the first rows do not have as many cells as the \
             header; to read them as quotes around cells, add --quote '\"'",
        ),
        (
            rules.extra_cell,
            "every row ends with one delimiter more than the header; the empty cell behind it is ignored",
        ),
        (rules.shortened_header, "the header ends with one delimiter more than the rows; it is ignored"),
    ];
    said.into_iter().filter(|(applies, _)| *applies).map(|(_, words)| words.to_owned()).collect()
}

/// What was noticed in the rows.
fn row_notices(found: &Notices) -> Vec<String> {
    let Notices { blank_rows, loose_quotes, multiline_cells, multiline } = found;
    let lines: Vec<String> = multiline.iter().map(|(first, last)| format!("{first} to {last}")).collect();
    let more = if *multiline_cells > lines.len() as u64 { ", …" } else { "" };
    let found = [
        (*blank_rows, format!("rows of nothing but delimiters, passed over: {blank_rows}")),
        (*loose_quotes, format!("unquoted cells with a quote inside: {loose_quotes}")),
        (
            *multiline_cells,
            format!("cells that hold line breaks: {multiline_cells} (lines {}{more})", lines.join(", ")),
        ),
    ];
    found.into_iter().filter(|(count, _)| *count > 0).map(|(_, notice)| notice).collect()
}

/// Rejected rows, counted by reason and field.
#[derive(Debug, Default)]
pub struct RejectCounts(BTreeMap<(&'static str, Option<usize>), u64>);

impl RejectCounts {
    /// Counts a rejected row.
    pub fn add(&mut self, reason: Reason, field: Option<usize>) {
        *self.0.entry((reason.code(), field)).or_default() += 1;
    }

    /// Adds other counts.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(key, count)| *self.0.entry(*key).or_default() += count);
    }

    /// The counts by reason, then field.
    pub fn list(&self, spec: &Spec) -> Vec<Count> {
        let name = |field: Option<usize>| field.map_or_else(String::new, |field| spec.fields[field].name.clone());
        let count = |(&(what, field), &count): (&(&str, Option<usize>), &u64)| Count {
            what: what.into(),
            field: name(field),
            count,
        };
        self.0.iter().map(count).collect()
    }
}

/// What the tally says, by rule and field; only what happened at all.
pub fn changes(tally: &Tally, spec: &Spec) -> Vec<Count> {
    let of_field = |(field, counts): (&crate::spec::Field, &Vec<u64>)| {
        let named = slot_names(field).into_iter().zip(counts.clone());
        let field = field.name.clone();
        named.filter(|(_, count)| *count > 0).map(move |(what, count)| Count {
            what: what.into(),
            field: field.clone(),
            count,
        })
    };
    spec.fields.iter().zip(&tally.changed).flat_map(|pair| of_field(pair).collect::<Vec<_>>()).collect()
}

/// Rows that broke a rule which only warns, by rule; only what happened at all.
pub fn warnings(tally: &Tally, spec: &Spec) -> Vec<Count> {
    let warning = spec.plausibility.iter().filter(|rule| rule.severity == Severity::Warn);
    let counted = warning.zip(&tally.warned).filter(|(_, count)| **count > 0);
    let count = |(rule, &count): (&crate::spec::Plausibility, &u64)| Count {
        what: rule.name.clone(),
        field: spec.fields[rule.left].name.clone(),
        count,
    };
    counted.map(count).collect()
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.as_ref().map_or_else(String::new, |target| format!(": {target}"));
        writeln!(f, "{}{target}", self.outcome)?;
        self.sources.iter().try_for_each(|source| write!(f, "{source}"))?;
        f.write_str(&self.counts_table())?;
        list(f, "rejected, by reason", &self.rejects)?;
        self.reject_files.iter().try_for_each(|file| writeln!(f, "  rejects are in    {file}"))?;
        list(f, "cells changed, by rule", &self.changes)?;
        list(f, "rows that break a rule which only warns", &self.warnings)?;
        self.notes.iter().chain(&self.collection_notes).try_for_each(|note| writeln!(f, "  {note}"))?;
        self.end(f)
    }
}

impl LoadSummary {
    fn counts_table(&self) -> String {
        let counts = &self.counts;
        let dry = self.target.is_none();
        let rows = [
            ("read", counts.read, true),
            (if dry { "would be written" } else { "written" }, counts.written, true),
            ("  of which replaced", counts.replaced, counts.replaced > 0),
            ("already present", counts.already_present, !dry),
            ("duplicates", counts.duplicates, true),
            ("conflicts, kept", counts.conflicts, counts.conflicts > 0),
            ("rejected", counts.rejected, true),
        ];
        let mut table = String::new();
        for (name, count, shown) in rows {
            if shown {
                let _ = writeln!(table, "  {name:<20}{count:>12}");
            }
        }
        if self.counts_are_estimates {
            let _ = writeln!(
                table,
                "  the counts are estimates, because a reply was lost or a process was killed: {} records may be written or \
                 already present, {} may be duplicates or conflicts",
                counts.in_doubt, counts.repeats_in_doubt
            );
        }
        table
    }

    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.digest.is_empty() {
            writeln!(f, "  content digest    {}", self.digest)?;
        }
        if let Some(run) = &self.run {
            writeln!(f, "  run               {run}")?;
        }
        if self.seconds > 0.0 {
            writeln!(f, "  {:.2} s, {:.0} rows/s", self.seconds, self.counts.read as f64 / self.seconds)?;
        }
        match (&self.verification, &self.unverified) {
            (Some(proof), _) => self.proof(f, proof),
            (None, Some(why)) => write!(f, "  not verified: {why}"),
            (None, None) => Ok(()),
        }
    }
}

impl LoadSummary {
    fn proof(&self, f: &mut fmt::Formatter<'_>, proof: &Verification) -> fmt::Result {
        write!(f, "{proof}")?;
        if proof.missing > 0 {
            writeln!(f, "  to write what is missing, load with --reload")?;
        }
        if proof.different > 0 {
            writeln!(f, "  to put the source's records in place of what differs, load with --mode upsert")?;
        }
        write!(f, "  verified in {:.2} s", self.verification_seconds)
    }
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

fn list(f: &mut fmt::Formatter<'_>, title: &str, counts: &[Count]) -> fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}")?;
    for Count { what, field, count } in counts {
        writeln!(f, "    {what:<22}{field:<22}{count:>10}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
