//! The result of one worker of a load that is divided into parts.

use std::fmt;

use serde::Serialize;

use super::summary::LoadSummary;
use super::times::Times;
use crate::wording::counted;

/// The result of a worker.
#[derive(Debug, Default, Serialize)]
pub struct WorkSummary {
    /// The id of the manifest.
    pub manifest: String,
    /// The numbers of the parts that this worker loaded.
    pub parts: Vec<u32>,
    /// Number of rejected rows in the parts that this worker loaded.
    pub rejected: u64,
    /// Number of rows that this worker read and that no earlier process had committed.
    #[serde(skip)]
    pub rows: u64,
    /// The loads that this worker ended or verified, at most one for each table. Loads that other workers end are not
    /// in this list.
    pub tables: Vec<LoadSummary>,
    /// The times of the worker, from its start to its end.
    #[serde(flatten)]
    pub times: Times,
}

impl WorkSummary {
    /// Adds a part that this worker loaded.
    pub fn add_part(&mut self, number: u32, summary: &LoadSummary) {
        self.parts.push(number);
        self.rejected += summary.rejected();
        self.rows += summary.rows_read().saturating_sub(summary.continued_after.unwrap_or(0));
    }

    /// Returns true if a verification found differences, or if documents violate the validator.
    pub fn has_differences(&self) -> bool {
        self.tables.iter().any(LoadSummary::has_differences)
    }

    /// Returns the exit code because of the fold: not 0 if messages were loaded but could not be folded.
    pub fn fold_exit_code(&self) -> u8 {
        self.tables.iter().map(LoadSummary::fold_exit_code).find(|code| *code != 0).unwrap_or(0)
    }

    /// Returns true if rows were rejected.
    pub fn has_rejects(&self) -> bool {
        self.rejected > 0 || self.tables.iter().any(LoadSummary::has_rejects)
    }
}

impl fmt::Display for WorkSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        write!(
            f,
            "manifest {}: this worker loaded {}",
            self.manifest,
            counted(self.parts.len() as u64, "part", "parts")
        )?;
        if self.tables.is_empty() {
            write!(f, "; another worker ends the load, or has ended it")?;
        }
        writeln!(f)?;
        write!(f, "{}", self.times)
    }
}

/// An overview of a manifest.
#[derive(Debug, Serialize)]
pub struct ManifestOverview {
    /// The manifest's id.
    pub id: String,
    /// The tables of the manifest.
    pub tables: Vec<TableOverview>,
}

/// A table of a manifest.
#[derive(Debug, Serialize)]
pub struct TableOverview {
    /// The collection. If the spec has several kinds of documents, the name of the spec.
    pub collection: String,
    /// Number of sources.
    pub sources: usize,
    /// Size of all sources in bytes, before decompression.
    pub bytes: u64,
    /// Number of parts.
    pub parts: usize,
}

impl fmt::Display for ManifestOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "manifest {}", self.id)?;
        for table in &self.tables {
            let (sources, parts) =
                (counted(table.sources as u64, "source", "sources"), counted(table.parts as u64, "part", "parts"));
            let mib = table.bytes as f64 / f64::from(1 << 20);
            writeln!(f, "  {}: {sources}, {mib:.1} MiB, {parts}", table.collection)?;
        }
        Ok(())
    }
}
