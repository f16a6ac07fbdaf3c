//! The summary of a load: its sources, its counts, the changes by cleaning, and the rejects with their reasons.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::fold::FoldSummary;
use super::times::Times;
use crate::clean::{Tally, slot_names};
use crate::ledger::{Counts, Proof};
use crate::parse::{Format, Layout, Notices, RowRules};
use crate::reject::Reason;
use crate::spec::{Severity, Spec};
use crate::verify::Verification;
use crate::wording::counted;

/// The summary of a load or a dry run. It contains no value of any row.
#[derive(Debug, Default, Serialize)]
pub struct LoadSummary {
    /// What the command did, for example `loaded`, `already loaded, verified instead` or `dry run, nothing was
    /// written`.
    pub outcome: String,
    /// The reason for which most rows were rejected, and the setting with which they are accepted. Empty if at most
    /// half of the rows were rejected, or if they have different reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// The documents of the first kind. Most datasets have only one kind.
    #[serde(flatten)]
    pub document: DocumentSummary,
    /// The documents of the other kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<DocumentSummary>,
    /// The id of the load in the ledger. `None` in a dry run.
    pub run: Option<String>,
    /// The sources, and how they were read.
    pub sources: Vec<SourceNote>,
    /// True if some counts may be wrong. `written`, `replaced` and `already_present` can then be wrong by at most
    /// `in_doubt`. `duplicates` and `conflicts` can be wrong by at most `repeats_in_doubt`. The sum of all counts is
    /// exact.
    pub counts_are_estimates: bool,
    /// Number of rejects for each reason and field: rows that were refused before encoding, and documents that were
    /// refused after it. With several kinds of documents, one row can count more than once.
    pub rejects: Vec<Count>,
    /// Number of cells that cleaning changed, for each rule and field.
    pub changes: Vec<Count>,
    /// Number of rows that broke a plausibility rule but were loaded, for each rule.
    pub warnings: Vec<Count>,
    /// The reject files. In JSON, this is a list of their paths.
    pub reject_files: Vec<FileOfRejects>,
    /// Number of rows that an earlier, interrupted process of this load had committed. `None` if this process began the
    /// load.
    pub continued_after: Option<u64>,
    /// Messages about the ledger and about files. For example, why an interrupted load was not resumed, or which file
    /// was not changed.
    pub notes: Vec<String>,
    /// The times of the command. `None` if the load is divided into parts. The result of the worker that ended the load
    /// has the times then, because this worker may also have loaded parts.
    #[serde(flatten)]
    pub times: Option<Times>,
    /// The reason why the load was not verified, if it was not.
    pub unverified: Option<String>,
    /// The fold of the messages into patients, visits and results. `None` if the sources are not HL7 v2 messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<FoldSummary>,
}

/// The summary of the documents of one kind.
#[derive(Debug, Default, Serialize)]
pub struct DocumentSummary {
    /// Name of the kind. Empty if the spec describes only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Database, collection and address of the server. `None` in a dry run.
    pub target: Option<String>,
    /// Number of rows and documents for each outcome.
    pub counts: Counts,
    /// Sum of the digests of all records of this load that the collection contains. The order of the records does not
    /// matter. Empty if the sum is not known: a record replaced an earlier record of the same load, or the load has several
    /// parts and no verification could determine the sum.
    pub digest: String,
    /// Messages about indexes and validator: what was done, or why nothing was done.
    pub collection_notes: Vec<String>,
    /// Number of documents that violate the spec's validator. The server counts them after a load into an empty
    /// collection, if the user did not give `--no-verify`. The number is 0 if the server did not count. It is also 0
    /// if a sample of the documents contains none.
    pub nonconforming: u64,
    /// The result of the verification. `None` if the load was not verified.
    pub verification: Option<Verification>,
    /// Seconds that the verification took.
    pub verification_seconds: f64,
}

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

/// A reject file. In JSON, it is written as its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct FileOfRejects {
    /// The path of the file.
    pub path: String,
    /// The name of the source whose rows the file contains. `None` if the load has only one reject file, or if the file
    /// belongs to a part.
    pub source: Option<String>,
}

impl From<FileOfRejects> for String {
    fn from(file: FileOfRejects) -> Self {
        file.path
    }
}

/// How often something happened to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What was counted: the name of a cleaning step (for example `trim`) or of a plausibility rule, or the code of the
    /// reason for which rows were rejected.
    pub what: String,
    /// The name of the field. Empty if a row was refused as a whole.
    pub field: String,
    /// The number of cells or rows.
    pub count: u64,
}

/// The encoding of HL7 sources in the summary.
const ENCODING_OF_MESSAGES: &str = "each message in its own character set";

impl SourceNote {
    /// Creates the note about a source. `name` is its name.
    pub fn new(name: &str, encoding: &str, layout: &Layout, spec: &Spec, noticed: &Notices) -> Self {
        // The format of times in HL7 messages is fixed, so it is not shown.
        let shown = if layout.format == Format::Hl7 { &[][..] } else { &layout.dates };
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
    let Notices { blank_rows, loose_quotes, kept_escapes, multiline_cells, multiline } = found;
    let lines: Vec<String> = multiline.iter().map(|(first, last)| format!("{first} to {last}")).collect();
    let more = if *multiline_cells > lines.len() as u64 { ", …" } else { "" };
    let found = [
        (*blank_rows, format!("rows with only blank cells, skipped: {blank_rows}")),
        (*loose_quotes, format!("unquoted cells with a quote inside: {loose_quotes}")),
        (*kept_escapes, format!("unknown escapes in values, which stay as they are: {kept_escapes}")),
        (
            *multiline_cells,
            format!("cells that contain line breaks: {multiline_cells} (lines {}{more})", lines.join(", ")),
        ),
    ];
    found.into_iter().filter(|(count, _)| *count > 0).map(|(_, notice)| notice).collect()
}

/// Number of rejects for each reason and field: rows that were refused before encoding, and documents that were refused
/// after it. With several kinds of documents, one row can count more than once.
#[derive(Debug, Default)]
pub struct RejectCounts(BTreeMap<(&'static str, Option<usize>), u64>);

impl RejectCounts {
    /// Counts a rejected row or a refused document.
    pub fn add(&mut self, reason: Reason, field: Option<usize>) {
        *self.0.entry((reason.code(), field)).or_default() += 1;
    }

    /// Adds the numbers of `other`.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(key, count)| *self.0.entry(*key).or_default() += count);
    }

    /// Returns the reason and field with the most rejects, and their number.
    pub fn most(&self) -> Option<(&'static str, Option<usize>, u64)> {
        self.0.iter().max_by_key(|(_, count)| **count).map(|(&(reason, field), &count)| (reason, field, count))
    }

    /// Returns the counts. They are sorted by reason and then by field.
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

/// Returns the number of changed cells for each rule and field. Counts of zero are left out. There is one tally per
/// kind of document.
pub fn changes(tallies: &[Tally], kinds: &[Spec]) -> Vec<Count> {
    let of_field = |(field, counts): (&crate::spec::Field, &Vec<u64>)| {
        let named = slot_names(field).into_iter().zip(counts.clone());
        let field = field.name.clone();
        named.filter(|(_, count)| *count > 0).map(move |(what, count)| Count {
            what: what.into(),
            field: field.clone(),
            count,
        })
    };
    let of_kind = |(tally, spec): (&Tally, &Spec)| -> Vec<Count> {
        spec.fields.iter().zip(&tally.changed).flat_map(|pair| of_field(pair).collect::<Vec<_>>()).collect()
    };
    tallies.iter().zip(kinds).flat_map(of_kind).collect()
}

/// Returns the number of rows that broke each plausibility rule with severity `warn`. Counts of zero are left out.
pub fn warnings(tallies: &[Tally], kinds: &[Spec]) -> Vec<Count> {
    let of_kind = |(tally, spec): (&Tally, &Spec)| -> Vec<Count> {
        let warning = spec.plausibility.iter().filter(|rule| rule.severity == Severity::Warn);
        let counted = warning.zip(&tally.warned).filter(|(_, count)| **count > 0);
        let count = |(rule, &count): (&crate::spec::Plausibility, &u64)| Count {
            what: rule.name.clone(),
            field: spec.fields[rule.left].name.clone(),
            count,
        };
        counted.map(count).collect()
    };
    tallies.iter().zip(kinds).flat_map(of_kind).collect()
}

impl LoadSummary {
    /// Returns the summaries of all kinds of documents.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentSummary> {
        std::iter::once(&self.document).chain(&self.further)
    }

    /// Returns the summary of the kind with this index. There must be such a kind.
    pub fn document_mut(&mut self, kind: usize) -> &mut DocumentSummary {
        match kind {
            0 => &mut self.document,
            kind => &mut self.further[kind - 1],
        }
    }

    /// Returns the result of the verification of all kinds of documents. `None` if a kind was not verified.
    pub fn proof(&self) -> Option<Proof> {
        let proofs: Option<Vec<&Verification>> = self.documents().map(|found| found.verification.as_ref()).collect();
        Some(if proofs?.iter().all(|proof| proof.is_clean()) { Proof::Verified } else { Proof::Difference })
    }

    /// Returns true if the verification found differences, or if documents violate the validator.
    pub fn has_differences(&self) -> bool {
        let differs = |found: &DocumentSummary| found.verification.as_ref().is_some_and(|proof| !proof.is_clean());
        self.documents().any(|found| differs(found) || found.nonconforming > 0)
    }

    /// Returns true if a row was rejected or a document was refused.
    pub fn has_rejects(&self) -> bool {
        self.rejected() > 0
    }

    /// Returns the exit code because of the fold: not 0 if messages were loaded but could not be folded.
    pub fn fold_exit_code(&self) -> u8 {
        self.fold.as_ref().map_or(0, |fold| fold.exit_code)
    }

    /// Returns the number of rejected rows. With several kinds of documents, returns the largest of their numbers.
    pub fn rejected(&self) -> u64 {
        self.documents().map(|found| found.counts.rejected).max().unwrap_or(0)
    }
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.documents().filter_map(|found| found.target.as_deref()).collect();
        let target = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        self.advice.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{}{target}", self.outcome)?;
        self.sources.iter().try_for_each(|source| write!(f, "{source}"))?;
        if let Some(rows) = self.continued_after {
            let rows = counted(rows, "committed row", "committed rows");
            writeln!(f, "  continued after {rows} of an interrupted process")?;
        }
        for found in self.documents() {
            found.counts_table(f)?;
            if self.counts_are_estimates {
                found.doubts(f)?;
            }
        }
        let title = match self.further.len() {
            0 => "rejected, by reason",
            _ => "rejected, by reason (a row can count once for each kind of document)",
        };
        list(f, title, &self.rejects)?;
        for FileOfRejects { path, source } in &self.reject_files {
            match source {
                None => writeln!(f, "  rejects are in    {path}")?,
                Some(source) => writeln!(f, "  rejects of {source} are in {path}")?,
            }
        }
        list(f, "cells changed, by rule", &self.changes)?;
        list(f, "rows that break a plausibility rule but are loaded", &self.warnings)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        let notes = self.documents().flat_map(|found| found.collection_notes.iter().map(|note| found.named(note)));
        notes.into_iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        self.end(f)
    }
}

impl DocumentSummary {
    /// Creates the summary of one kind of document. `kinds` is the number of kinds.
    pub fn of_kind(spec: &Spec, kinds: usize) -> Self {
        let kind = if kinds > 1 { spec.name.clone() } else { String::new() };
        Self { kind, ..Self::default() }
    }

    /// Puts the name of the kind before a text, if there are several kinds.
    fn named(&self, text: &str) -> String {
        if self.kind.is_empty() { text.to_owned() } else { format!("{}: {text}", self.kind) }
    }

    fn counts_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let dry = self.target.is_none();
        let rows = [
            ("read", counts.read, true),
            (if dry { "would be written" } else { "written" }, counts.written, true),
            ("  of which replaced", counts.replaced, counts.replaced > 0),
            ("already present", counts.already_present, !dry),
            ("duplicates", counts.duplicates, true),
            ("conflicts, not kept", counts.conflicts, counts.conflicts > 0),
            ("rejected", counts.rejected, true),
        ];
        if !self.kind.is_empty() {
            writeln!(f, "  documents `{}`", self.kind)?;
        }
        for (name, count, shown) in rows {
            if shown {
                writeln!(f, "  {name:<20}{count:>12}")?;
            }
        }
        Ok(())
    }

    fn doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counts.in_doubt == 0 && self.counts.repeats_in_doubt == 0 {
            // No lost reply and no killed process made the counts of this kind uncertain. They may still be sums of the
            // counts of several parts. `notes` then says so.
            return Ok(());
        }
        writeln!(
            f,
            "  the counts are estimates, because a reply was lost or a process was killed: {} either written or already \
             present, {} either duplicates or conflicts",
            counted(self.counts.in_doubt, "record was", "records were"),
            counted(self.counts.repeats_in_doubt, "is", "are")
        )
    }

    fn proof(&self, f: &mut fmt::Formatter<'_>, proof: &Verification) -> fmt::Result {
        if !self.kind.is_empty() {
            writeln!(f, "  documents `{}`", self.kind)?;
        }
        proof.write_in_summary(f)?;
        if proof.missing > 0 {
            writeln!(f, "  to write the missing documents, load with --reload")?;
        }
        if proof.different > 0 {
            writeln!(f, "  to replace the different documents by the source's records, load with --mode upsert")?;
        }
        Ok(())
    }
}

impl LoadSummary {
    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in self.documents().filter(|found| !found.digest.is_empty()) {
            writeln!(f, "  content digest    {}", found.named(&found.digest))?;
        }
        if let Some(fold) = &self.fold {
            writeln!(f, "  {fold}")?;
        }
        if let Some(run) = &self.run {
            writeln!(f, "  run               {run}")?;
        }
        for found in self.documents() {
            if let Some(proof) = &found.verification {
                found.proof(f, proof)?;
            }
        }
        match &self.unverified {
            Some(why) if self.document.verification.is_none() => writeln!(f, "  not verified: {why}")?,
            _ => {}
        }
        self.times.iter().try_for_each(|times| write!(f, "{times}"))
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
