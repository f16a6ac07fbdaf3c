//! The summary of a load: its sources, its counts, the changes by cleaning, and the rejects with their reasons.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::fold::FoldSummary;
use super::references;
pub use super::source_note::SourceNote;
use super::times::Times;
use super::verification;
use crate::clean::{Tally, slot_names};
use crate::ledger::{Counts, Proof};
use crate::reject::{Reason, RejectedRow};
use crate::spec::{Severity, Spec};
use crate::verify::Verification;
use crate::wording::counted;

/// The summary of a load or a dry run. It contains no value of any row.
#[derive(Debug, Default, Serialize)]
pub struct LoadSummary {
    /// What the command did, for example `loaded`, `already loaded, verified instead` or `dry run, nothing was
    /// written`.
    pub outcome: String,
    /// The reason for which most rows were rejected, and the setting with which Medlift accepts these rows. Empty if at
    /// most half of the rows were rejected, or if they have different reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// The documents of the first kind. Most datasets have only one kind.
    #[serde(flatten)]
    pub document: DocumentSummary,
    /// The documents of the other kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<DocumentSummary>,
    /// The sums of the counts of all kinds, if each row gives a document of only one kind, as FHIR resources do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Counts>,
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
    /// The first rejects, if they are listed instead of written to files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listed_rejects: Vec<ListedReject>,
    /// Number of rows that an earlier, interrupted process of this load had committed. `None` if this process began the
    /// load.
    pub continued_after: Option<u64>,
    /// Messages about the ledger and about files. For example, why an interrupted load was not resumed, or which file
    /// was not changed.
    pub notes: Vec<String>,
    /// The times of the command. `None` if the load is divided into parts: the times of each worker are then in the
    /// worker's own result.
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
    /// Sum of the digests of all records of this load that the collection contains. Empty if the sum is not known. That
    /// is so if a record replaced an earlier record of the same load. It is also so if the load has several parts and
    /// no verification determined the sum.
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

/// Where a row was rejected, and why. It contains no value of the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedReject {
    /// Line on which the row begins, from 1.
    pub line: u64,
    /// Byte offset of the row, after decompression.
    pub byte_offset: u64,
    /// The field whose cell caused the refusal. `None` if the row as a whole is wrong.
    pub field: Option<String>,
    /// The stable name of the reason.
    pub reason: &'static str,
    /// An explanation for the person who corrects the row.
    pub message: String,
}

impl ListedReject {
    /// Describes a rejected row. `spec` has the fields of all kinds of documents.
    pub fn new(row: &RejectedRow, spec: &Spec) -> Self {
        Self {
            line: row.line,
            byte_offset: row.offset,
            field: row.reject.field.map(|field| spec.fields[field].name.clone()),
            reason: row.reject.reason.code(),
            message: row.reject.message.clone(),
        }
    }
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

    /// Returns the number of rejected rows. If each row gives a document of each kind, returns the largest number of
    /// all kinds.
    pub fn rejected(&self) -> u64 {
        let largest = || self.documents().map(|found| found.counts.rejected).max().unwrap_or(0);
        self.total.map_or_else(largest, |total| total.rejected)
    }

    /// Returns the number of rows read.
    pub fn rows_read(&self) -> u64 {
        self.total.unwrap_or(self.document.counts).read
    }

    /// Adds up the counts of all kinds, if `spec` says that each row gives a document of only one kind.
    pub fn add_up(&mut self, spec: &Spec) {
        let mut total = Counts::default();
        self.documents().for_each(|found| total.add(&found.counts));
        self.total = spec.is_divided().then_some(total);
    }
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.documents().filter_map(|found| found.target.as_deref()).collect();
        let target = match names.as_slice() {
            [] => String::new(),
            names if self.total.is_some() => format!(": {}", database(names)),
            names => format!(": {}", names.join(", ")),
        };
        self.advice.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{}{target}", self.outcome)?;
        self.sources.iter().try_for_each(|source| write!(f, "{source}"))?;
        if let Some(rows) = self.continued_after {
            let rows = counted(rows, "committed row", "committed rows");
            writeln!(f, "  continued after {rows} of an interrupted process")?;
        }
        if let Some(total) = &self.total {
            self.divided_table(f, total)?;
        }
        for found in self.documents() {
            if self.total.is_none() {
                found.counts_table(f)?;
            }
            if self.counts_are_estimates {
                found.doubts(f)?;
            }
        }
        let title = match self.further.len() {
            _ if self.total.is_some() => "rejected, by reason",
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

impl LoadSummary {
    /// Returns true if the rows are divided among the kinds, and this kind has none. A verification without differences
    /// is then not shown.
    fn is_empty(&self, found: &DocumentSummary) -> bool {
        self.total.is_some()
            && found.counts == Counts::default()
            && found.verification.as_ref().is_none_or(|proof| proof.is_clean() && proof.found == 0)
    }

    /// Writes one line for each kind that has rows, one line for the rows that belong to no kind, and one line with the
    /// sums.
    fn divided_table(&self, f: &mut fmt::Formatter<'_>, total: &Counts) -> fmt::Result {
        writeln!(
            f,
            "  {:<26}{:>10}{:>10}{:>10}{:>11}{:>10}{:>10}",
            "", "read", "written", "present", "duplicates", "conflicts", "rejected"
        )?;
        let mut line = |name: &str, counts: &Counts| {
            let Counts { read, written, already_present, duplicates, conflicts, rejected, .. } = counts;
            writeln!(
                f,
                "  {name:<26}{read:>10}{written:>10}{already_present:>10}{duplicates:>11}{conflicts:>10}{rejected:>10}"
            )
        };
        for found in self.documents() {
            // The rows that belong to no kind are included in the counts of the first kind. They are subtracted here,
            // because they get a line of their own.
            let of_no_kind = found.counts.of_no_kind;
            let Counts { read, rejected, .. } = found.counts;
            let counts = Counts { read: read - of_no_kind, rejected: rejected - of_no_kind, ..found.counts };
            if counts.read > 0 {
                line(&found.kind, &counts)?;
            }
        }
        if total.of_no_kind > 0 {
            let of_no_kind = Counts { read: total.of_no_kind, rejected: total.of_no_kind, ..Counts::default() };
            line("of no type in the spec", &of_no_kind)?;
        }
        line("all", total)
    }
}

/// Returns the database and the address of the server of several collections. `names` are texts such as `a.b on c`.
fn database(names: &[&str]) -> String {
    let first = names.first().copied().unwrap_or_default();
    let (collection, server) = first.split_once(" on ").unwrap_or((first, ""));
    let database = collection.split_once('.').map_or(collection, |(database, _)| database);
    format!("{database} on {server}")
}

impl DocumentSummary {
    /// Creates the summary of one kind of document. `kinds` is the number of kinds.
    pub fn of_kind(spec: &Spec, kinds: usize) -> Self {
        let kind = if kinds > 1 || spec.is_divided() { spec.name.clone() } else { String::new() };
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
            // No lost reply and no killed process made the counts of this kind uncertain. They may still be uncertain
            // because they are sums of the counts of several parts. In that case, `notes` says so.
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
        let proofs = self.documents().filter_map(|found| Some((found.kind.as_str(), found.verification.as_ref()?)));
        references::write_all(f, proofs)?;
        let is_shown = |found: &&DocumentSummary| !found.digest.is_empty() && !self.is_empty(found);
        for found in self.documents().filter(is_shown) {
            writeln!(f, "  content digest    {}", found.named(&found.digest))?;
        }
        if let Some(fold) = &self.fold {
            writeln!(f, "  {fold}")?;
        }
        if let Some(run) = &self.run {
            writeln!(f, "  run               {run}")?;
        }
        let proofs = self.documents().filter(|found| !self.is_empty(found));
        let proofs = proofs.filter_map(|found| Some((found, found.verification.as_ref()?)));
        let is_short = |proof: &Verification| self.total.is_some() && proof.is_exact();
        let (short, long): (Vec<_>, Vec<_>) = proofs.partition(|(_, proof)| is_short(proof));
        verification::write_exact(f, short.into_iter().map(|(found, proof)| (found.kind.as_str(), proof)))?;
        long.into_iter().try_for_each(|(found, proof)| found.proof(f, proof))?;
        match &self.unverified {
            Some(why) if self.document.verification.is_none() => writeln!(f, "  not verified: {why}")?,
            _ => {}
        }
        self.times.iter().try_for_each(|times| write!(f, "{times}"))
    }
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
