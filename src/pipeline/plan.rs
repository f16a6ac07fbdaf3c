//! Checks the user's options and the sources before any output is opened. The result is a [`Plan`].

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::encode::IdentityKey;
use crate::ledger::{Counts, Reading, SourceIdentity};
use crate::parse::{BundleIds, Charset, DateFormat, FhirForm, Format, FormatName, Layout, LayoutError, LayoutOptions};
use crate::read::{
    self, Block, Encoding, Origin, ReadError, ReadOptions, Reader, StreamOrigin, Version, is_reject_path,
};
use crate::server::Target;
use crate::spec::{Dataset, Sign, SourceFormat, Spec};

use crate::error::Error;

/// The user's options for reading the sources, as typed.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Paths, addresses of objects in S3, patterns of both, or `-` for standard input.
    pub sources: Vec<String>,
    /// The encoding of the sources. `None` if it is to be detected.
    pub encoding: Option<Encoding>,
    /// Format, delimiter, quotes and date formats. Options that the user did not give are detected or come from the
    /// spec.
    pub layout: LayoutOptions,
    /// The name of the system that FHIR resources are from. `None` if the spec or the default names it.
    pub system: Option<String>,
    /// Number of worker threads. 0 means that the program decides.
    pub workers: usize,
}

/// The sources and the spec of a command. Every source was opened once, and its columns match the spec.
pub struct Plan {
    /// The fields of all kinds of documents together. The columns of the sources are bound to these fields. If the spec
    /// has only one kind, this is the spec of that kind.
    pub spec: Spec,
    /// The kinds of documents. A FHIR resource gives one document, of its own kind. A row of any other source gives one
    /// document of each kind.
    pub kinds: Vec<Spec>,
    /// The secret key of the `_id`s, if the user gave one. Only a person who knows this key can compute an `_id` from
    /// the content of its document. Without a key, everybody can.
    pub key: IdentityKey,
    /// The sources, in the order in which they are read.
    pub sources: Vec<SourcePlan>,
    /// Number of worker threads, as typed. 0 means that the program decides.
    workers: usize,
    /// The user's options for reading the sources, as the ledger stores them. They are part of the load's key.
    pub reading: Reading,
    options: ReadOptions,
    /// True if the user gave no spec, and the format of the sources needs another spec than the default one.
    is_spec_detected: bool,
}

/// The number of records in the first part of a source, and the size of that part on disk. They are used to estimate
/// the number of records in the whole source.
#[derive(Debug, Clone, Copy)]
struct Density {
    records: u64,
    bytes: u64,
    /// Whether the first part is the whole source.
    is_whole: bool,
}

/// One source. Only its first bytes have been read, to detect its encoding, format and columns.
pub struct SourcePlan {
    /// The place from which the bytes are read, for example a file.
    pub origin: Origin,
    /// The encoding of the source.
    pub encoding: Encoding,
    /// The format, columns and date formats of the source.
    pub layout: Layout,
    density: Density,
    /// The version of the source, once it is known. The version of a file is a hash, so Medlift must read the whole
    /// file to compute it.
    version: OnceLock<Version>,
    /// The reader that read the first bytes. Kept open only for the first source, and for a source that can be opened
    /// only once.
    opened: Mutex<Option<Reader>>,
    /// Whether only a part of the source is read (see [`Plan::cut_to`]).
    is_part: bool,
    /// The resources behind the full URLs of a stream's Bundles. `None` for other sources, which are read for this
    /// when they are loaded.
    bundle_ids: Option<Arc<BundleIds>>,
}

impl Plan {
    /// Opens every source once and binds its columns to the spec. An unusable source therefore stops the command before
    /// anything is written.
    ///
    /// # Errors
    /// If a source cannot be read, if it has a header but no rows, if its format cannot be determined, or if its
    /// columns or dates do not match the spec.
    pub fn new(dataset: impl Into<Dataset>, key: IdentityKey, wishes: &Wishes) -> Result<Self, Error> {
        Self::of_origins(dataset.into(), key, wishes, read::expand(&wishes.sources)?)
    }

    /// Makes a plan like [`new`](Self::new) or [`detect`](Self::detect), whose only source is a stream.
    ///
    /// # Errors
    /// The same as for [`new`](Self::new).
    pub(crate) fn of_stream(
        dataset: Option<Dataset>,
        key: IdentityKey,
        wishes: &Wishes,
        stream: StreamOrigin,
    ) -> Result<Self, Error> {
        let origins = vec![Origin::Stream(stream)];
        let plan = match dataset {
            Some(dataset) => Self::of_origins(dataset, key, wishes, origins),
            None => Self::detect_of_origins(key, wishes, origins),
        }?;
        let source = &plan.sources[0];
        if source.layout.format == Format::Fhir(FhirForm::Bundle) && !source.density.is_whole {
            let source_name = source.origin.name().to_owned();
            return Err(Error::Layout { source_name, problem: LayoutError::LargeBundle });
        }
        Ok(plan)
    }

    fn of_origins(dataset: Dataset, key: IdentityKey, wishes: &Wishes, origins: Vec<Origin>) -> Result<Self, Error> {
        let Dataset { columns: spec, kinds } = wishes.with_system(dataset)?;
        let options = wishes.read_options();
        let layout = wishes.layout.or(&spec.source);
        let sources = origins
            .into_iter()
            .enumerate()
            .map(|(index, origin)| {
                let reader = Reader::open(&origin, index, &options)?;
                let format = detect(&origin, &reader, &layout)?;
                SourcePlan::new((origin, index), reader, format, &spec, &options, &layout)
            })
            .collect::<Result<_, _>>()?;
        let (workers, reading) = (wishes.workers, reading(wishes));
        Ok(Self { spec, kinds, key, sources, workers, reading, options, is_spec_detected: false })
    }

    /// Makes a plan like [`new`](Self::new), for a user who gave no spec. The format of the sources decides which
    /// built-in spec is used.
    ///
    /// # Errors
    /// The same as for [`new`](Self::new). Also if two sources need different specs.
    pub fn detect(key: IdentityKey, wishes: &Wishes) -> Result<Self, Error> {
        Self::detect_of_origins(key, wishes, read::expand(&wishes.sources)?)
    }

    fn detect_of_origins(key: IdentityKey, wishes: &Wishes, origins: Vec<Origin>) -> Result<Self, Error> {
        let options = wishes.read_options();
        let mut chosen: Option<(&'static str, Dataset)> = None;
        let mut sources: Vec<SourcePlan> = Vec::new();
        for (index, origin) in origins.into_iter().enumerate() {
            let reader = Reader::open(&origin, index, &options)?;
            let format = detect(&origin, &reader, &wishes.layout)?;
            let name = format.built_in_spec(reader.sample());
            let (first, dataset) = match &mut chosen {
                Some(chosen) => chosen,
                none => none.insert((name, wishes.with_system(built_in(name))?)),
            };
            if *first != name {
                return Err(Error::Usage(format!(
                    "{} needs the spec {first}, but {} needs the spec {name}; use a command for each, or give --spec",
                    sources[0].origin.name(),
                    origin.name()
                )));
            }
            let (spec, layout) = (&dataset.columns, wishes.layout.or(&dataset.columns.source));
            // If the spec contains settings of the format, detect the format again with these settings.
            let says_nothing = spec.source == SourceFormat::default();
            let format = if says_nothing { format } else { detect(&origin, &reader, &layout)? };
            sources.push(SourcePlan::new((origin, index), reader, format, spec, &options, &layout)?);
        }
        let Dataset { columns: spec, kinds } = chosen.ok_or(ReadError::NoSource)?.1;
        let is_spec_detected = spec.option().is_some();
        let (workers, reading) = (wishes.workers, reading(wishes));
        Ok(Self { spec, kinds, key, sources, workers, reading, options, is_spec_detected })
    }

    /// Returns the message that says which spec was chosen by the format of the sources. Returns `None` if the user
    /// gave a spec, or if the default spec was chosen.
    pub fn detected_spec(&self) -> Option<String> {
        self.is_spec_detected.then(|| format!("spec {} (detected)", self.spec.option().unwrap_or(&self.spec.name)))
    }

    /// Returns the identities of the sources, with their hashes. Reads every file once. Standard input and other
    /// sources that can be read only once have no hash.
    ///
    /// # Errors
    /// If a source cannot be read, or has changed since the plan was made.
    pub fn identities(&self) -> Result<Vec<SourceIdentity>, Error> {
        let identity = |plan: &SourcePlan| {
            let known = plan.version.get().cloned();
            let version = known.map_or_else(|| plan.origin.version(), Ok)?;
            plan.origin.check_unchanged()?;
            let _ = plan.version.set(version.clone());
            Ok(SourceIdentity { name: plan.origin.name().to_owned(), size_bytes: plan.origin.size_bytes(), version })
        };
        self.sources.iter().map(identity).collect()
    }

    /// Returns the identities of the sources like [`identities`](Self::identities), but first decompresses every
    /// compressed source to its end. `--drop` needs this check: if a source is damaged, the collection must not be
    /// dropped.
    ///
    /// # Errors
    /// If a source cannot be read to its end, has changed since the plan was made, or can be read only once.
    pub(super) fn identities_of_readable(&self) -> Result<Vec<SourceIdentity>, Error> {
        if let Some(once) = self.sources.iter().find(|plan| plan.origin.is_read_once()) {
            return Err(Error::Usage(format!(
                "{} can be read only once, so Medlift cannot check it before --drop removes the collection; \
                 save it in a file and load that file, or drop the collection yourself",
                once.origin.name()
            )));
        }
        self.sources.iter().try_for_each(|plan| plan.origin.read_to_end())?;
        self.identities()
    }

    /// Limits the reading of the first source to the positions `bytes`. The layout of the source does not change.
    ///
    /// # Errors
    /// If the source can be read only once.
    pub(super) fn cut_to(&mut self, bytes: Range<u64>) -> Result<(), Error> {
        let first = self.sources.first_mut().ok_or(ReadError::NoSource)?;
        first.origin = first.origin.part(bytes).ok_or_else(|| {
            Error::Stopped(format!("{} is not a regular file, so it cannot be read in parts", first.origin.name()))
        })?;
        (first.is_part, first.opened, first.version) = (true, Mutex::new(None), OnceLock::new());
        Ok(())
    }

    /// Returns the kinds of documents, each with its collection. If there is only one kind, its collection is `target`.
    /// Otherwise the spec names the collection of each kind.
    pub fn targets<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = (&'a Spec, Target)> {
        let is_only = self.kinds.len() == 1;
        let collection = move |kind: &'a Spec| if is_only { &target.collection } else { &kind.collection };
        self.kinds.iter().map(move |kind| (kind, target.in_collection(collection(kind))))
    }

    /// Returns the counts to which the limit of rejects applies (see [`limited`]).
    pub(super) fn limited(&self, counts: Vec<Counts>) -> Vec<Counts> {
        limited(&self.spec, counts)
    }

    /// Returns the total size of all sources on disk, in bytes. `None` if one of them is standard input, a pipe or a
    /// device.
    pub fn size_bytes(&self) -> Option<u64> {
        self.sources.iter().map(|plan| plan.origin.size_bytes()).sum()
    }

    /// Returns the estimated number of records in all sources. `u64::MAX` if it is not known, because one of them is
    /// standard input, a pipe or a device, and larger than its sample.
    pub(super) fn records_guess(&self) -> u64 {
        let records = |plan: &SourcePlan| match plan.density {
            Density { records, is_whole: true, .. } => Some(records),
            density => Some(density.records(plan.origin.size_guess()?)),
        };
        self.sources.iter().map(records).sum::<Option<u64>>().unwrap_or(u64::MAX)
    }

    /// Returns true if a source can be read only once. A load of such a source cannot be verified, because a
    /// verification reads the sources again.
    pub fn is_read_once(&self) -> bool {
        self.sources.iter().any(|plan| plan.origin.is_read_once())
    }

    /// Returns the number of threads that encode: the number that the user gave, or else the number of cores. During a
    /// load (`is_server_busy`), half of the cores are used instead of all. Reason: the server may be on this machine,
    /// and the threads that read and write need cores too.
    pub(super) fn workers(&self, is_server_busy: bool) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        match self.workers {
            0 if is_server_busy => (cores / 2).max(1),
            0 => cores,
            wished => wished,
        }
    }

    /// Opens source `index`. The reader is at the first row.
    pub(super) fn open(&self, index: usize) -> Result<Reader, Error> {
        let plan = &self.sources[index];
        let opened = plan.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut reader = match opened {
            Some(reader) => reader,
            None if plan.is_part => {
                // Do not detect the encoding in the part. It was detected at the beginning of the source.
                let options = ReadOptions { encoding: Some(plan.encoding), ..self.options.clone() };
                Reader::open(&plan.origin, index, &options)?
            }
            None => Reader::open(&plan.origin, index, &self.options)?,
        };
        reader.start(plan.layout.format.framing());
        Ok(reader)
    }

    /// Reads source `index`, and returns which resource each full URL of its Bundles names. A Bundle can refer to a
    /// resource that follows later in it, so call this function before the rows are read. Returns `None` if the source
    /// has no Bundles with such URLs, if it can be read only once, or as soon as `is_stopped` returns true.
    pub fn bundle_ids(
        &self,
        index: usize,
        is_stopped: impl Fn() -> bool,
        seen: &AtomicU64,
    ) -> Result<Option<Arc<BundleIds>>, Error> {
        let SourcePlan { origin, layout, encoding, bundle_ids, .. } = &self.sources[index];
        if bundle_ids.is_some() {
            return Ok(bundle_ids.clone());
        }
        if layout.format != Format::Fhir(FhirForm::Bundle) || origin.is_read_once() {
            return Ok(None);
        }
        let mut ids = BundleIds::default();
        let options = ReadOptions { encoding: Some(*encoding), ..self.options.clone() };
        let mut reader = Reader::open(origin, index, &options)?;
        reader.start(layout.format.framing());
        let mut spare = Block::default();
        while let Some(block) = reader.next_block(spare)? {
            if is_stopped() {
                return Ok(None);
            }
            for span in &block.rows {
                ids.add_entry(span.object, block.row(*span));
            }
            seen.fetch_add(block.rows.len() as u64, Ordering::Relaxed);
            spare = block;
        }
        seen.store(0, Ordering::Relaxed);
        Ok((!ids.is_empty()).then(|| Arc::new(ids)))
    }
}

/// Returns the counts to which the limit of rejects applies. If each row belongs to one kind of document only, this is
/// the sum of all kinds. Otherwise the limit applies to the counts of each kind.
pub(super) fn limited(spec: &Spec, counts: Vec<Counts>) -> Vec<Counts> {
    if !spec.is_divided() {
        return counts;
    }
    let mut sum = Counts::default();
    for counts in &counts {
        sum.add(counts);
    }
    vec![sum]
}

/// Converts the user's options to the form in which the ledger stores them.
fn reading(wishes: &Wishes) -> Reading {
    let LayoutOptions { delimiter, date_formats, format, quote, escape, multiline_cells } = &wishes.layout;
    let sign = |sign: Sign| sign.byte().map_or_else(|| "none".to_owned(), |byte| char::from(byte).to_string());
    Reading {
        encoding: wishes.encoding.map(|encoding| encoding.name().to_owned()),
        format: format.map(|format| FormatName::name(format).to_owned()),
        delimiter: delimiter.map(|byte| char::from(byte).to_string()),
        quote: quote.map(sign),
        escape: escape.map(sign),
        multiline_cells: *multiline_cells,
        system: wishes.system.clone(),
        dates: date_formats
            .iter()
            .map(|(column, format)| (column.clone().unwrap_or_default(), format.name().to_owned()))
            .collect(),
    }
}

/// Determines the format of a source.
fn detect(origin: &Origin, reader: &Reader, wishes: &LayoutOptions) -> Result<Format, Error> {
    let wrong = |problem| Error::Layout { source_name: origin.name().to_owned(), problem };
    Format::detect(reader.sample(), wishes).map_err(wrong)
}

fn built_in(name: &str) -> Dataset {
    Dataset::built_in(name).expect("every format has a built-in spec, which a test checks")
}

impl Wishes {
    /// Sets the name of the source system in a dataset, if the user gave one.
    fn with_system(&self, mut dataset: Dataset) -> Result<Dataset, Error> {
        if self.system.is_some() && !dataset.columns.is_divided() {
            let problem = "--source-system is only for FHIR resources; give their spec, e.g. --spec fhir-r4";
            return Err(Error::Usage(problem.into()));
        }
        if let Some(system) = &self.system {
            for spec in dataset.kinds.iter_mut().chain([&mut dataset.columns]) {
                spec.system = Some(system.clone());
            }
        }
        Ok(dataset)
    }

    fn read_options(&self) -> ReadOptions {
        ReadOptions { encoding: self.encoding, ..ReadOptions::default() }
    }

    /// Makes the options again from the form in which the ledger and the manifest store them (see [`reading`]).
    pub(super) fn from_reading(sources: Vec<String>, reading: &Reading, workers: usize) -> Self {
        let byte = |text: &Option<String>| text.as_ref().and_then(|text| text.bytes().next());
        let sign = |text: &Option<String>| text.as_deref().and_then(Sign::from_text);
        let date = |(column, format): &(String, String)| {
            let column = Some(column.clone()).filter(|column| !column.is_empty());
            DateFormat::from_name(format).map(|format| (column, format))
        };
        let layout = LayoutOptions {
            delimiter: byte(&reading.delimiter),
            date_formats: reading.dates.iter().filter_map(date).collect(),
            format: reading.format.as_deref().and_then(FormatName::from_name),
            quote: sign(&reading.quote),
            escape: sign(&reading.escape),
            multiline_cells: reading.multiline_cells,
        };
        let encoding = reading.encoding.as_deref().and_then(Encoding::from_name);
        Self { sources, encoding, layout, system: reading.system.clone(), workers }
    }
}

impl SourcePlan {
    fn new(
        (origin, index): (Origin, usize),
        reader: Reader,
        format: Format,
        spec: &Spec,
        options: &ReadOptions,
        wishes: &LayoutOptions,
    ) -> Result<Self, Error> {
        let wrong = |problem| Error::Layout { source_name: origin.name().to_owned(), problem };
        let read_as = options.encoding.filter(|given| *given != Encoding::Windows1252).unwrap_or(reader.encoding());
        if format == Format::Hl7 && read_as != Encoding::Utf8 {
            return Err(wrong(LayoutError::EncodingOfMessages { encoding: read_as.name() }));
        }
        let mut layout = Layout::bind(spec, format, reader.sample(), wishes)
            .map_err(|problem| wrong(with_option(problem, &origin, &reader, spec, options, wishes)))?;
        if options.encoding == Some(Encoding::Windows1252) {
            layout.charset = Charset::Iso8859(1);
        }
        if reader.sample_is_whole() && format.has_header() && format.rows(reader.sample()).next().is_none() {
            return Err(wrong(LayoutError::NoRows));
        }
        layout.is_of_resource_rejects = matches!(format, Format::Fhir(_)) && is_reject_path(Path::new(origin.name()));
        let encoding = reader.encoding();
        let density = Density::of(&reader, format);
        let is_bundle_of_stream = format == Format::Fhir(FhirForm::Bundle) && matches!(origin, Origin::Stream(_));
        let bundle_ids = is_bundle_of_stream.then(|| ids_in(reader.sample(), format));
        // A reader has its sample in memory until the source is read. So only the first source, and sources that can
        // be read only once, keep their readers.
        let is_kept = origin.is_read_once() || index == 0;
        let opened = Mutex::new(is_kept.then_some(reader));
        Ok(Self { origin, encoding, layout, density, version: OnceLock::new(), opened, is_part: false, bundle_ids })
    }
}

/// Returns the resources behind the full URLs of the Bundles in a text.
fn ids_in(text: &[u8], format: Format) -> Arc<BundleIds> {
    let mut ids = BundleIds::default();
    for span in format.rows(text) {
        ids.add_entry(span.object, &text[span.start as usize..span.end as usize]);
    }
    Arc::new(ids)
}

/// If the error says that columns were not found, the user may have given a wrong delimiter or encoding. Tries the
/// detected delimiter, and then the detected encoding. If the columns are found with one of them, adds the right option
/// to the error.
fn with_option(
    problem: LayoutError,
    origin: &Origin,
    reader: &Reader,
    spec: &Spec,
    options: &ReadOptions,
    wishes: &LayoutOptions,
) -> LayoutError {
    if !matches!(problem, LayoutError::NoKnownColumn { .. } | LayoutError::MissingColumns { .. }) {
        return problem;
    }
    let bind = |sample: &[u8], wishes: &LayoutOptions| {
        let format = Format::detect(sample, wishes).ok()?;
        Layout::bind(spec, format, sample, wishes).ok()
    };
    let delimiter = || {
        wishes.delimiter?;
        match bind(reader.sample(), &LayoutOptions { delimiter: None, ..wishes.clone() })?.format {
            Format::Csv(dialect) if dialect.delimiter == b'\t' => Some("--delimiter tab".to_owned()),
            Format::Csv(dialect) => Some(format!("--delimiter '{}'", char::from(dialect.delimiter))),
            _ => None,
        }
    };
    let encoding = || {
        options.encoding.filter(|_| !origin.is_read_once())?;
        let reader = Reader::open(origin, 0, &ReadOptions { encoding: None, ..options.clone() }).ok()?;
        bind(reader.sample(), wishes)?;
        Some(format!("--encoding {}", reader.encoding().name()))
    };
    match delimiter().or_else(encoding) {
        Some(option) => LayoutError::OtherOption { problem: Box::new(problem), option },
        None => problem,
    }
}

impl Density {
    /// Measures the first records in the sample of a reader. The reader must not have read more than its sample.
    fn of(reader: &Reader, format: Format) -> Self {
        const LOOKED_AT: usize = 1000;
        let sample = reader.sample();
        let last = (1..).zip(format.rows(sample).take(LOOKED_AT)).last();
        let is_whole = reader.sample_is_whole();
        let Some((records, last)) = last else { return Self { records: 1, bytes: 1, is_whole } };
        let text_bytes = u64::from(last.end).max(1);
        // `records` is the estimated number of records in the whole sample. `bytes` is the size of the sample on disk,
        // which is less than `sample.len()` if the source is compressed.
        Self { records: records * sample.len() as u64 / text_bytes, bytes: reader.consumed_bytes().max(1), is_whole }
    }

    fn records(self, bytes: u64) -> u64 {
        (u128::from(bytes) * u128::from(self.records) / u128::from(self.bytes)) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[track_caller]
    fn check(bytes: Vec<u8>, records: u64) {
        let size = bytes.len() as u64;
        let reader = Reader::from_read("a source", Box::new(std::io::Cursor::new(bytes)), 0, &ReadOptions::default());
        let guess = Density::of(&reader.unwrap(), Format::Ndjson).records(size);
        assert!((records * 3 / 4..=records * 5 / 4).contains(&guess), "{guess} for {records}");
    }

    #[test]
    fn the_estimated_number_of_records_is_close_even_for_compressed_sources() {
        let row = |number: u32| format!("{:010},{}\n", number.wrapping_mul(2_654_435_761), "x".repeat(80)).into_bytes();
        let text: Vec<u8> = (0..200_000).flat_map(row).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        assert!(gzip.len() < text.len() / 4);
        check(gzip, 200_000);
        check(text, 200_000);
    }

    #[test]
    fn identities_fail_if_a_source_has_changed() {
        let mut file = tempfile::NamedTempFile::with_suffix(".ndjson").unwrap();
        file.write_all(b"{\"Age\": 1}\n").unwrap();
        let spec = "name = 'a'\ncollection = 'a'\n[identity]\nfields = 'all'\n[[field]]\nname = 'Age'\ntype = 'int32'\nprivacy = 'none'\n";
        let spec = Spec::from_toml(spec, "a test").unwrap();
        let wishes = Wishes { sources: vec![file.path().display().to_string()], ..Wishes::default() };
        let plan = Plan::new(spec, IdentityKey::default(), &wishes).unwrap();
        assert_eq!(plan.identities().unwrap().len(), 1);
        file.write_all(b"{\"Age\": 2}\n").unwrap();
        assert!(plan.identities().is_err());
    }

    #[test]
    fn options_for_reading_are_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "Age;Day\n1;2024-01-31\n").unwrap();
        let spec = "name = 'a'\ncollection = 'a'\n[identity]\nfields = 'all'\n[[field]]\nname = 'Age'\ntype = 'int32'\nprivacy = 'none'\n";
        let reading = |encoding, delimiter, date: Option<&str>| {
            let date_formats =
                date.map(|format| (None, crate::parse::DateFormat::from_name(format).unwrap())).into_iter().collect();
            let layout = LayoutOptions { delimiter, date_formats, ..LayoutOptions::default() };
            let sources = vec![path.display().to_string()];
            let wishes = Wishes { sources, encoding, layout, workers: 3, ..Wishes::default() };
            let plan = Plan::new(Spec::from_toml(spec, "a test").unwrap(), IdentityKey::default(), &wishes).unwrap();
            assert_eq!((plan.workers(true), plan.workers(false)), (3, 3), "the user's number of workers must be used");
            plan.reading
        };
        let mut readings = vec![
            reading(None, None, None),
            reading(Some(Encoding::Utf8), None, None),
            reading(None, Some(b';'), None),
            reading(None, None, Some("YYYY-MM-DD")),
            reading(None, None, Some("DD/MM/YYYY")),
        ];
        assert_eq!(reading(None, None, None), readings[0]);
        readings.sort_by_key(|reading| format!("{reading:?}"));
        readings.dedup();
        assert_eq!(readings.len(), 5);
    }
}
