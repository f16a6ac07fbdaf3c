//! Exports a collection to a file: CSV with the columns that the spec names, NDJSON, the original HL7 messages, or the
//! FHIR resources. If the documents fit the spec, loading the file with the same spec makes the same documents again.
//!
//! The documents are read in `_id` order by the same [`Scan`] that `verify` uses. If a cursor fails, the scan continues
//! with a new one. This module has no connection to a server: it receives documents from the scan and writes bytes.

mod filter;
mod rows;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use filter::filter_doubts;
use rows::Rows;

use crate::outputs::{Output, PRIVATE_MODE, write_hint};
use crate::parse::DateFormat;
use crate::spec::Spec;
use crate::verify::{Range, Scan, ScanError};
use crate::wording::{counted, file_problem};

/// If documents do not fit the spec, the message shows at most this number of them as examples.
const EXAMPLES_MAX: usize = 5;

/// Settings of an export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The format of the file.
    pub format: ExportFormat,
    /// The date format of each field of the spec. A field without an entry, or with `None`, gets ISO 8601.
    pub dates: Vec<Option<DateFormat>>,
    /// Largest number of documents to write. `None` means all.
    pub limit: Option<u64>,
    /// True if documents that do not fit the spec are left out. If false, such a document is written unchanged to
    /// NDJSON, and is an error in the other formats.
    pub skip_foreign: bool,
}

/// A format of the exported file. A load can read each of these formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Delimited text (RFC 4180) with the spec's columns as header. Lines end with `\n`, as in the files of
    /// mongoexport.
    Csv {
        /// Comma, semicolon, tab or `|`.
        delimiter: u8,
    },
    /// One document per line in relaxed Extended JSON. If a document fits the spec, its `_id` and its lineage (the
    /// field with the load and the row) are left out, because a load makes them again.
    Ndjson,
    /// The whole records, byte for byte as they were loaded: HL7 messages, one after another.
    Hl7,
    /// The whole FHIR resources, one per line. Each line is equal, as JSON, to the resource that was loaded. Its
    /// numbers have the same text, for example `1.50`.
    Fhir,
    /// One Bundle with the FHIR resources. If it is loaded, references such as `urn:uuid:…` lead to its entries.
    Bundle,
}

impl ExportFormat {
    /// Returns the text before the first document of the file, and the text after the last one.
    const fn frame(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Bundle => (b"{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[\n", b"\n]}\n"),
            Self::Csv { .. } | Self::Ndjson | Self::Hl7 | Self::Fhir => (b"", b""),
        }
    }
}

/// The result of an export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Number of documents in the file.
    pub written: u64,
    /// Documents that do not fit the spec. If they are written to NDJSON, `written` also counts them, and their lines
    /// include the `_id`.
    pub foreign: Foreign,
}

/// Documents that do not fit the spec. If a load read them from the file, it would make other documents or rejects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Foreign {
    /// Number of these documents.
    pub count: u64,
    /// Descriptions of the first five of these documents. Each contains the document's `_id`, the field and the
    /// problem, but no value of a field. An `_id` that is not a UUID is not shown, because it can be a patient's
    /// number.
    pub examples: Vec<String>,
}

impl Exported {
    /// Adds the documents of another collection.
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.foreign.count += other.foreign.count;
        let left = EXAMPLES_MAX.saturating_sub(self.foreign.examples.len());
        self.foreign.examples.extend(other.foreign.examples.into_iter().take(left));
    }
}

/// The reason why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The collection cannot be read.
    #[error("cannot export: {0}")]
    Scan(#[from] ScanError),
    /// The file cannot be created or written.
    #[error("cannot write the export to {}: {}{}", path.display(), file_problem(cause), write_hint(cause))]
    Write {
        /// The path of the file, or `-` for standard output.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// Some documents do not fit the spec, and a file of the wanted format cannot contain them. Only an NDJSON file can
    /// contain such documents, if they are valid BSON.
    #[error(
        "cannot export: {} the spec; leave such documents out with --skip-foreign, export as NDJSON, or give the spec with \
         which they were loaded; the first: {}",
        counted(.0.count, "document of the collection does not fit", "documents of the collection do not fit"),
        .0.examples.join("; ")
    )]
    Foreign(Foreign),
}

/// Opens the file for an export. Only its owner can read and write it.
pub fn open(path: &Path) -> Result<Output, ExportError> {
    Output::file(path, PRIVATE_MODE).map_err(|cause| ExportError::Write { path: path.to_owned(), cause })
}

/// Writes the documents of all `scans` to `output`, one collection after another. The file appears at its path only if
/// this function returns `Ok`. After an error, a file that existed before is unchanged. Standard output, a device or a
/// pipe may have received a part of the documents.
pub async fn export(
    scans: &[(Scan, Spec)],
    options: &ExportOptions,
    mut output: Output,
) -> Result<Exported, ExportError> {
    let (before, after) = options.format.frame();
    let mut before = Some(before);
    let mut exported = Exported::default();
    for (scan, spec) in scans {
        let limit = options.limit.map(|limit| limit.saturating_sub(exported.written));
        let options = ExportOptions { limit, ..options.clone() };
        let rows = Rows::new(spec, &options).after(before.take(), exported.written > 0);
        exported.add(export_one(scan, rows, &mut output).await?);
    }
    write(&mut output, after)?;
    let path = output.path().to_owned();
    output.finish().map_err(|cause| ExportError::Write { path, cause })?;
    Ok(exported)
}

async fn export_one(scan: &Scan, mut rows: Rows<'_>, output: &mut Output) -> Result<Exported, ExportError> {
    let mut scan = scan.range(Range::default());
    // The first query is sent before anything is written. If the server refuses the filter, the output stays empty.
    let mut next = if rows.is_full() { None } else { scan.next_batch().await? };
    take(output, &mut rows)?;
    while let Some(batch) = next {
        batch.documents().for_each(|document| rows.push(document));
        take(output, &mut rows)?;
        next = if rows.is_full() { None } else { scan.next_batch().await? };
    }
    rows.finish().map_err(ExportError::Foreign)
}

/// Writes the finished lines of `rows` to the output, and removes them from memory.
fn take(output: &mut Output, rows: &mut Rows<'_>) -> Result<(), ExportError> {
    write(output, rows.ready())?;
    rows.clear();
    Ok(())
}

fn write(output: &mut Output, bytes: &[u8]) -> Result<(), ExportError> {
    output.write_all(bytes).map_err(|cause| ExportError::Write { path: output.path().to_owned(), cause })
}
