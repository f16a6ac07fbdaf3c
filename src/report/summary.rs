//! The summary of a load: the sources, the counts, the changes and the rejects with their reasons.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::clean::{Tally, slot_names};
use crate::ledger::Counts;
use crate::parse::{Layout, Notices, RowRules};
use crate::reject::Reason;
use crate::spec::{Severity, Spec};
use crate::verify::Verification;

/// The summary of a load or a dry run. Contains no value of any row.
#[derive(Debug, Default, Serialize)]
pub struct LoadSummary {
    /// What the command did: `loaded`, `already loaded, verified instead`, or `dry run, nothing was written`.
    pub outcome: String,
    /// Database and collection; `None` in a dry run.
    pub target: Option<String>,
    /// The load's id in the ledger.
    pub run: Option<String>,
    /// The sources and how they were read.
    pub sources: Vec<SourceNote>,
    /// The outcomes of the rows.
    pub counts: Counts,
    /// True if some counts may be wrong: `written`, `replaced` and `already_present` by up to `in_doubt` each, and
    /// `duplicates` and `conflicts` by up to `repeats_in_doubt` each. Their sum is exact.
    pub counts_are_estimates: bool,
    /// Rejected rows by reason and field.
    pub rejects: Vec<Count>,
    /// Cells that cleaning changed, by rule and field.
    pub changes: Vec<Count>,
    /// Rows that broke a plausibility rule whose severity is only a warning.
    pub warnings: Vec<Count>,
    /// Reject files of the load.
    pub reject_files: Vec<String>,
    /// Messages about the ledger and about files: why a load began again, which file was left unchanged.
    pub notes: Vec<String>,
    /// Order-independent sum of the digests of all records of this load that the collection contains. Empty if a record
    /// replaced an earlier one of the same load.
    pub digest: String,
    /// What was done to indexes and validator, or why nothing was done.
    pub collection_notes: Vec<String>,
    /// Number of documents that violate the spec's validator, counted by the server after a first load.
    pub nonconforming: u64,
    /// Seconds for reading and writing, without indexes, validator and verification.
    pub seconds: f64,
    /// The result of the verification, if there was one.
    pub verification: Option<Verification>,
    /// Seconds that the verification took.
    pub verification_seconds: f64,
    /// Why the load was not verified.
    pub unverified: Option<String>,
}

/// Most unknown columns that are named. The others are only counted.
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
    /// Rows that contain nothing but delimiters. They were skipped and are not counted as read.
    pub blank_rows: u64,
    /// Unquoted cells that contain a quote.
    pub loose_quotes: u64,
    /// Cells that contain line breaks.
    pub multiline_cells: u64,
    /// Messages about how the source was read.
    pub notices: Vec<String>,
}

/// Number of times that something happened to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The rule or the reason.
    pub what: String,
    /// The field; empty if it concerns the whole row.
    pub field: String,
    /// How often.
    pub count: u64,
}

impl SourceNote {
    /// The note for the source `name`.
    pub fn new(name: &str, encoding: &str, layout: &Layout, spec: &Spec, noticed: &Notices) -> Self {
        let dates = spec.fields.iter().zip(&layout.dates);
        Self {
            name: name.to_owned(),
            encoding: encoding.to_owned(),
            format: layout.format.name(),
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

/// Rules for all rows that were chosen because of the first rows.
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

/// Observations about the rows.
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

    /// The counts, sorted by reason and then by field.
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

/// The tally's counts by rule and field, without zeros.
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

/// Number of rows that broke a plausibility rule with severity `warn`, by rule, without zeros.
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
