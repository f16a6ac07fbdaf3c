//! Writes a collection to a file that loads back to the same documents: CSV as the spec's sources have it, or NDJSON.
//!
//! Documents come in `_id` order from the same scan that `verify` uses, so a cursor that dies costs nothing. This room
//! knows no server: it asks [`Scan`] for documents and writes bytes.

mod rows;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rows::Rows;

use crate::outputs::{Output, PRIVATE_MODE, limit_hint};
use crate::parse::DateFormat;
use crate::spec::Spec;
use crate::verify::{Range, Scan, ScanError};

/// Most documents that are named when some do not fit the spec.
const EXAMPLES_MAX: usize = 5;

/// What to write.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The format.
    pub format: ExportFormat,
    /// For each field of the spec, how its dates are written; ISO 8601 where there is none, or no entry.
    pub dates: Vec<Option<DateFormat>>,
    /// Most documents to write.
    pub limit: Option<u64>,
    /// Leaves out documents that do not fit the spec, instead of refusing (CSV) or writing them as they are (NDJSON).
    pub skip_foreign: bool,
}

/// A format that a load can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// RFC 4180, with a header of the spec's source columns. Lines end in `\n`, as mongoexport's do and text tools expect.
    Csv {
        /// `,` `;` tab or `|`.
        delimiter: u8,
    },
    /// One document a line in relaxed Extended JSON, nested as stored, without `_id` and lineage: both are made anew by
    /// a load.
    Ndjson,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Documents in the file.
    pub written: u64,
    /// Documents that do not fit the spec. In NDJSON they are among the written, whole and with their `_id`, unless
    /// they were to be skipped.
    pub foreign: Foreign,
}

/// Documents that do not fit the spec: a load of the file would make others of them, or reject them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Foreign {
    /// How many.
    pub count: u64,
    /// The first few: their `_id` where this program made it, the field and what is wrong with it; no value.
    pub examples: Vec<String>,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The collection could not be read.
    #[error("cannot export: {0}")]
    Scan(#[from] ScanError),
    /// The file could not be made or written.
    #[error("cannot write the export to {}: {cause}{}", path.display(), limit_hint(cause))]
    Write {
        /// The file, `-` for standard output.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The format cannot hold them: CSV only holds what the spec describes.
    #[error(
        "cannot export: {} documents of the collection do not fit the spec; leave them out with --skip-foreign, export \
         as NDJSON, or name the spec they were loaded with; the first: {}", .0.count, .0.examples.join("; ")
    )]
    Foreign(Foreign),
}

/// Opens the file for an export, which only its owner may read.
pub fn open(path: &Path) -> Result<Output, ExportError> {
    Output::file(path, PRIVATE_MODE).map_err(|cause| ExportError::Write { path: path.to_owned(), cause })
}

/// Writes the documents of `scan` to `output`, which is complete and in its place when this returns `Ok`, and absent (or
/// what it was before) otherwise; only standard output may have got a part.
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

/// Writes the lines that `rows` has ready.
fn take(output: &mut Output, rows: &mut Rows<'_>) -> Result<(), ExportError> {
    let written = output.write_all(rows.ready());
    written.map_err(|cause| ExportError::Write { path: output.path().to_owned(), cause })?;
    rows.clear();
    Ok(())
}
