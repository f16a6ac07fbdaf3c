//! The options for the sources and for how they are read.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use medlift::encode::IdentityKey;
use medlift::error::Error;
use medlift::parse::{DateFormat, FormatName, LayoutOptions};
use medlift::pipeline::parts::Display;
use medlift::pipeline::{Plan, Wishes};
use medlift::read::Encoding;
use medlift::report::{Bar, Progress};
use medlift::server::Secret;
use medlift::spec::{Dataset, Sign};

use super::dataset::DatasetArgs;
use super::number::whole;
use super::{output, settings};

/// The options for sources.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub(super) struct ReadingArgs {
    /// Files, objects in S3, patterns, or - for standard input; gzip and zstd are recognised. A connection string may
    /// be given here too
    #[arg(value_name = "SOURCE", help_heading = None)]
    sources: Vec<Secret>,
    /// File, object, pattern, or - for standard input; the same as a positional SOURCE
    #[arg(long, value_name = "SOURCE")]
    file: Vec<String>,
    #[command(flatten)]
    format: FormatArgs,
    /// The first row of CSV and TSV is the header; it always is, so the option is for compatibility with mongoimport
    #[arg(long)]
    headerline: bool,
    /// Show no progress
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
    /// Report each step on standard error
    // In the Database Tools, each repetition of -v shows more messages. Medlift accepts repetitions, but shows no
    // more.
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet", help_heading = "Output")]
    verbose: u8,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The options for the format of sources, and for how they are converted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub(super) struct FormatArgs {
    /// Format of the sources. csv is delimited text, and its delimiter is detected. tsv is delimited by tabs. json is
    /// JSON objects: one per line, one after another, or in an array [default: detected]
    #[arg(long = "type", value_enum, ignore_case = true, value_name = "TYPE")]
    kind: Option<SourceType>,
    /// Encoding: utf-8, utf-16le, utf-16be or windows-1252 [default: detected]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<Encoding>,
    /// Delimiter: , ; | or tab [default: detected from the header]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Character that encloses cells with delimiters or line breaks, or none [default: ", unless the first rows show
    /// that quotes are ordinary characters]
    #[arg(long, value_name = "CHAR|none", value_parser = sign)]
    quote: Option<Sign>,
    /// Character that makes the next character plain text, for example a backslash [default: none]
    #[arg(long, value_name = "CHAR|none", value_parser = sign)]
    escape: Option<Sign>,
    /// Accept a quoted cell as text even if its lines look like rows
    #[arg(long)]
    multiline_cells: bool,
    /// Date format, for all columns or for one: DD/MM/YYYY or 'Date of Admission=MM/DD/YYYY' [default: detected]
    #[arg(long, value_name = "[COLUMN=]FORMAT", value_parser = date_format)]
    date_format: Vec<(Option<String>, DateFormat)>,
    /// Name of the system that FHIR resources are from, for example of a hospital. It is part of their identity: the
    /// same id in two systems is two resources [default: that of the spec, or default]
    #[arg(long, value_name = "NAME", value_parser = system)]
    source_system: Option<String>,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Number of threads that parse, clean and encode [default: half of the cores while loading, otherwise all]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = whole(0_u16, 256), help_heading = "Speed and memory")]
    workers: u16,
}

/// The formats of a source.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SourceType {
    /// Delimited text
    Csv,
    /// Tab-separated text
    Tsv,
    /// JSON objects: one per line, one after another, or in an array
    Json,
    /// HL7 v2 messages
    Hl7,
    /// FHIR resources: one per line, one after another, in an array or in a Bundle
    Fhir,
}

impl SourceType {
    const fn format(self) -> FormatName {
        match self {
            Self::Csv | Self::Tsv => FormatName::Csv,
            Self::Json => FormatName::Json,
            Self::Hl7 => FormatName::Hl7,
            Self::Fhir => FormatName::Fhir,
        }
    }
}

impl ReadingArgs {
    /// Returns the positional arguments. One of them may be a connection string.
    pub(super) fn positional(&mut self) -> &mut Vec<Secret> {
        &mut self.sources
    }

    /// Returns the path of the spec, if the user gave one.
    pub(super) fn spec_path(&self) -> Option<PathBuf> {
        self.format.dataset.path.clone()
    }

    /// Returns the number of threads that parse, clean and encode. It is 0 if the user gave no number.
    pub(super) fn workers(&self) -> usize {
        self.format.workers.into()
    }

    /// Returns true if the user gave a source, `--spec`, or an option about the format of the sources.
    pub(super) fn is_given(&self) -> bool {
        let has_sources = !self.sources.is_empty() || !self.file.is_empty();
        has_sources || self.headerline || self.format.is_given()
    }

    /// Returns what a worker shows of its progress.
    pub(super) fn display(&self) -> Display {
        Display { quiet: self.quiet, verbose: self.verbose > 0 }
    }

    /// Begins to measure the time of a command, and creates the counters for its progress.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.verbose > 0)
    }

    /// Examines all sources and determines their layouts: delimiter, columns and date formats. If the user gave no
    /// spec, the format of the sources decides which built-in spec is used.
    pub(super) fn plan(&self, progress: &Progress) -> Result<Plan, Error> {
        let sources: Vec<String> = self
            .sources
            .iter()
            .map(Secret::reveal)
            .chain(self.file.iter().map(String::as_str))
            .map(str::to_owned)
            .collect();
        if sources.is_empty() {
            return Err(Error::Usage(
                "no source is given; give a file, a glob pattern, or - for standard input".into(),
            ));
        }
        if self.headerline && matches!(self.format.kind, Some(SourceType::Json)) {
            return Err(Error::Usage("--headerline is for CSV and TSV, not for --type json; remove it".into()));
        }
        // Show progress already now, because the first bytes of standard input or of a pipe may be late.
        let _bar = Bar::start(progress, self.quiet);
        self.format.plan(sources)
    }

    /// Makes the plan like [`plan`](Self::plan). If the spec was detected, tells the user.
    pub(super) fn plan_and_tell(&self, progress: &Progress) -> Result<Plan, Error> {
        let plan = self.plan(progress)?;
        plan.detected_spec().iter().filter(|_| !self.quiet).for_each(output::tell);
        Ok(plan)
    }
}

impl FormatArgs {
    /// Returns true if the user gave `--spec`, or an option about the format of the sources.
    fn is_given(&self) -> bool {
        let has_layout = self.delimiter.is_some() || self.quote.is_some() || self.escape.is_some();
        let has_format = self.kind.is_some() || self.encoding.is_some() || !self.date_format.is_empty();
        let has_others = self.multiline_cells || self.source_system.is_some() || self.dataset.path.is_some();
        has_layout || has_format || has_others
    }

    /// Reads the dataset spec, if the user gave one.
    pub(super) fn dataset(&self) -> Result<Option<Dataset>, Error> {
        Ok(self.dataset.path.as_deref().map(Dataset::from_file).transpose()?)
    }

    /// Examines these sources and determines their layouts. If the user gave no spec, the format of the sources decides
    /// which built-in spec is used.
    pub(super) fn plan(&self, sources: Vec<String>) -> Result<Plan, Error> {
        let wishes = Wishes {
            sources,
            encoding: self.encoding,
            layout: self.layout(),
            system: self.source_system.clone(),
            workers: self.workers.into(),
        };
        let key = identity_key()?;
        match self.dataset()? {
            Some(dataset) => Plan::new(dataset, key, &wishes),
            None => Plan::detect(key, &wishes),
        }
    }

    fn layout(&self) -> LayoutOptions {
        let tab = matches!(self.kind, Some(SourceType::Tsv)).then_some(b'\t');
        LayoutOptions {
            format: self.kind.map(SourceType::format),
            delimiter: self.delimiter.or(tab),
            date_formats: self.date_format.clone(),
            quote: self.quote,
            escape: self.escape,
            multiline_cells: self.multiline_cells,
        }
    }
}

/// Returns the secret key for computing `_id`s. It is in the variable `MEDLIFT_IDENTITY_KEY`, or in the file that
/// `MEDLIFT_IDENTITY_KEY_FILE` names. Without these, `_id`s are computed without a key.
pub(super) fn identity_key() -> Result<IdentityKey, Error> {
    let secret = settings::load()?.secret("MEDLIFT_IDENTITY_KEY")?;
    Ok(secret.map_or_else(IdentityKey::default, |secret| IdentityKey::from_secret(secret.reveal())))
}

fn system(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the name is empty".to_owned()),
        text if text.trim() != text => Err("there is white space around the name".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn encoding(text: &str) -> Result<Encoding, String> {
    Encoding::from_name(text).ok_or_else(|| "give utf-8, utf-16le, utf-16be or windows-1252".into())
}

/// Parses a delimiter: a comma, a semicolon, `|`, or `tab`.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" | "\t" => Ok(b'\t'),
        "," | ";" | "|" => Ok(text.as_bytes()[0]),
        _ => Err("give , ; | or tab".into()),
    }
}

fn sign(text: &str) -> Result<Sign, String> {
    Sign::from_text(text).ok_or_else(|| "give one punctuation character, or none".into())
}

fn date_format(text: &str) -> Result<(Option<String>, DateFormat), String> {
    let (column, format) = match text.rsplit_once('=') {
        Some((column, format)) => (Some(column.to_owned()), format),
        None => (None, text),
    };
    let format = DateFormat::from_name(format)
        .ok_or("give YYYY-MM-DD, DD/MM/YYYY, MM/DD/YYYY, DD-MM-YYYY or a similar format")?;
    Ok((column, format))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        reading: ReadingArgs,
    }

    fn layout(arguments: &[&str]) -> LayoutOptions {
        let typed = ["x", "a.csv"].iter().chain(arguments);
        Typed::try_parse_from(typed).unwrap_or_else(|error| panic!("{error}")).reading.format.layout()
    }

    #[test]
    fn by_default_the_layout_is_detected() {
        let found = layout(&[]);
        assert!(found.format.is_none() && found.delimiter.is_none() && found.date_formats.is_empty());
        assert!(found.quote.is_none() && found.escape.is_none() && !found.multiline_cells);
    }

    #[test]
    fn each_layout_option_is_passed_on() {
        let found = layout(&["--quote", "'", "--escape", "\\", "--multiline-cells", "--delimiter", ";"]);
        assert_eq!((found.quote, found.escape), (Some(Sign::Byte(b'\'')), Some(Sign::Byte(b'\\'))));
        assert_eq!((found.multiline_cells, found.delimiter), (true, Some(b';')));
        assert_eq!(layout(&["--quote", "none"]).quote, Some(Sign::None));
        let found = layout(&["--date-format", "MM/DD/YYYY", "--date-format", "born=iso"]);
        let expected = [(None, DateFormat::MonthDayYear(b'/')), (Some("born".to_owned()), DateFormat::Iso)];
        assert_eq!(found.date_formats, expected);
    }

    #[test]
    fn tsv_means_csv_with_tabs_unless_a_delimiter_is_given() {
        let check = |arguments: &[&str], format: FormatName, delimiter: Option<u8>| {
            let found = layout(arguments);
            assert_eq!((found.format, found.delimiter), (Some(format), delimiter), "{arguments:?}");
        };
        check(&["--type", "csv"], FormatName::Csv, None);
        check(&["--type", "tsv"], FormatName::Csv, Some(b'\t'));
        check(&["--type", "tsv", "--delimiter", "|"], FormatName::Csv, Some(b'|'));
        check(&["--type", "json"], FormatName::Json, None);
    }

    #[test]
    fn a_delimiter_is_one_of_four() {
        for (text, expected) in [(",", b','), (";", b';'), ("|", b'|'), ("tab", b'\t'), ("\\t", b'\t'), ("\t", b'\t')] {
            assert_eq!(delimiter(text), Ok(expected), "{text}");
        }
        for text in ["", ":", ",,", "Tab", " ", "\"", "comma"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_text_before_the_last_equals_sign_names_the_date_column() {
        let named = |column: &str, format| Ok((Some(column.to_owned()), format));
        assert_eq!(date_format("YYYY-MM-DD"), Ok((None, DateFormat::Iso)));
        assert_eq!(
            date_format("Date of Admission=MM/DD/YYYY"),
            named("Date of Admission", DateFormat::MonthDayYear(b'/'))
        );
        assert_eq!(date_format("a=b=DD.MM.YYYY"), named("a=b", DateFormat::DayMonthYear(b'.')));
        for text in ["", "a=", "=x", "YYYY", "DD/MM/YYYY=a"] {
            assert!(date_format(text).is_err(), "{text}");
        }
    }

    #[test]
    fn encodings_and_signs_are_read_by_their_names() {
        for name in ["utf-8", "utf-16le", "utf-16be", "windows-1252"] {
            assert!(encoding(name).is_ok(), "{name}");
        }
        assert!(encoding("ebcdic").is_err() && sign("ab").is_err() && sign("a").is_err());
        assert_eq!((sign("none"), sign("'")), (Ok(Sign::None), Ok(Sign::Byte(b'\''))));
    }

    #[test]
    fn a_header_line_is_only_for_csv_and_tsv() {
        let path = tempfile::NamedTempFile::new().expect("a file");
        let refused = |kind: &str| {
            let line = ["x", path.path().to_str().expect("UTF-8"), "--headerline", "--type", kind];
            let reading = Typed::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).reading;
            let error = reading.plan(&Progress::default()).err().expect("the file is empty");
            error.to_string().contains("--headerline")
        };
        assert_eq!(["csv", "tsv", "json"].map(refused), [false, false, true]);
    }

    #[test]
    fn a_command_without_a_source_is_refused() {
        let reading = Typed::try_parse_from(["x"]).unwrap_or_else(|error| panic!("{error}")).reading;
        let error = reading.plan(&Progress::default()).err().expect("no source");
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("no source is given"), "{error}");
    }
}
