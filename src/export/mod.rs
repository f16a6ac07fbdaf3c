//! Exports a collection to a file from which a load makes the same documents. The format is CSV like the spec's
//! sources, or NDJSON.
//!
//! The documents are read in `_id` order by the same scan that `verify` uses, so that a failed cursor does not matter.
//! This module has no connection to a server: it receives documents from a [`Scan`] and writes bytes.

mod rows;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rows::Rows;

use crate::outputs::{Output, PRIVATE_MODE, limit_hint};
use crate::parse::DateFormat;
use crate::spec::Spec;
use crate::verify::{Range, Scan, ScanError};

/// Most documents that are listed when some do not match the spec.
const EXAMPLES_MAX: usize = 5;

/// Settings of an export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The format.
    pub format: ExportFormat,
    /// The format of the dates in each field of the spec. ISO 8601 for `None` or a missing entry.
    pub dates: Vec<Option<DateFormat>>,
    /// Most documents to write.
    pub limit: Option<u64>,
    /// Leaves out documents that do not match the spec. Otherwise they are an error (CSV) or are written unchanged
    /// (NDJSON).
    pub skip_foreign: bool,
}

/// A format that a load can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// RFC 4180, with the spec's source columns as header. Lines end with `\n`, as mongoexport writes them and text
    /// tools expect.
    Csv {
        /// `,` `;` tab or `|`.
        delimiter: u8,
    },
    /// One document per line in relaxed Extended JSON, nested as stored, without `_id` and lineage, because a load
    /// makes both again.
    Ndjson,
}

/// The result of an export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Documents in the file.
    pub written: u64,
    /// Documents that do not match the spec. In NDJSON they are included in `written`, complete with their `_id`,
    /// unless they were skipped.
    pub foreign: Foreign,
}

/// Documents that do not match the spec: a load of the file would reject them or make different documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Foreign {
    /// How many.
    pub count: u64,
    /// The first few, each with its `_id` (if this program made it), the field and the problem. Contains no value.
    pub examples: Vec<String>,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The collection could not be read.
    #[error("cannot export: {0}")]
    Scan(#[from] ScanError),
    /// The file could not be created or written.
    #[error("cannot write the export to {}: {cause}{}", path.display(), limit_hint(cause))]
    Write {
        /// The file; `-` for standard output.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Some documents do not match the spec, and CSV can contain only fields of the spec.
    #[error(
        "cannot export: {} documents of the collection do not fit the spec; leave them out with --skip-foreign, export \
         as NDJSON, or name the spec they were loaded with; the first: {}", .0.count, .0.examples.join("; ")
    )]
    Foreign(Foreign),
}

/// Opens the file for an export. Only its owner can read it.
pub fn open(path: &Path) -> Result<Output, ExportError> {
    Output::file(path, PRIVATE_MODE).map_err(|cause| ExportError::Write { path: path.to_owned(), cause })
}

/// Writes the documents of `scan` to `output`. The file appears at its path, complete, only if this returns `Ok`.
/// Otherwise it is missing, or still the earlier file. Only standard output may have received a part.
pub async fn export(
    scan: &Scan,
    spec: &Spec,
    options: &ExportOptions,
    mut output: Output,
) -> Result<Exported, ExportError> {
    let mut rows = Rows::new(spec, options);
    let mut scan = scan.range(Range::default());
    take(&mut output, &mut rows)?;
    while !rows.is_full()
        && let Some(batch) = scan.next_batch().await?
    {
        batch.documents().for_each(|document| rows.push(document));
        take(&mut output, &mut rows)?;
    }
    let exported = rows.finish().map_err(ExportError::Foreign)?;
    let path = output.path().to_owned();
    output.finish().map_err(|cause| ExportError::Write { path, cause })?;
    Ok(exported)
}

/// Writes and clears the finished lines of `rows`.
fn take(output: &mut Output, rows: &mut Rows<'_>) -> Result<(), ExportError> {
    let written = output.write_all(rows.ready());
    written.map_err(|cause| ExportError::Write { path: output.path().to_owned(), cause })?;
    rows.clear();
    Ok(())
}
