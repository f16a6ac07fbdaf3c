//! The formats of sources. This file defines for each format:
//! - how it is detected,
//! - how its text is divided into rows,
//! - its name,
//! - the delimiter of the reject file.
//!
//! A new format needs a variant of [`Format`] and a file or folder of its own.

use std::fmt::Write as _;

use serde::de::IgnoredAny;
use serde_json::Deserializer;
use serde_json::error::Category;

use super::csv::detect_dialect;
use super::{Dialect, FormatName, LayoutError, LayoutOptions, fhir};
use crate::read::{Framing, RowSpan, begins_with_header, records};

/// The format of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Delimited text (RFC 4180).
    Csv(Dialect),
    /// JSON with one object per line.
    Ndjson,
    /// JSON objects in an array or one after another. An object can have several lines.
    Json,
    /// HL7 v2 messages.
    Hl7,
    /// FHIR resources.
    Fhir(FhirForm),
}

/// How the resources of a source follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FhirForm {
    /// One resource per line.
    Ndjson,
    /// One resource, several one after another, or an array. A resource can have several lines.
    Json,
    /// One or more Bundles. Their entries are the rows.
    Bundle,
}

impl Format {
    /// Determines the format of a source. `sample` is the beginning of the source.
    ///
    /// If the options give no format, the first characters decide. A source that begins with `{`, `[{` or `[]` is JSON.
    /// White space before and between these characters is ignored. A source that begins with a header segment such as
    /// `MSH|^` is HL7 v2, unless the options give the delimiter, the quote or the escape character of a table. Every
    /// other source is delimited text.
    pub fn detect(sample: &[u8], options: &LayoutOptions) -> Result<Self, LayoutError> {
        let mut signs = sample.iter().filter(|byte| !byte.is_ascii_whitespace());
        let (first, second) = (signs.next(), signs.next());
        let is_array = first == Some(&b'[') && matches!(second, Some(b'{' | b']'));
        match options.format {
            Some(FormatName::Hl7) => Ok(Self::Hl7),
            Some(FormatName::Fhir) => Ok(Self::Fhir(fhir_form(sample))),
            None if !options.is_of_table() && begins_with_header(sample) => Ok(Self::Hl7),
            None if is_array => Ok(Self::Json),
            Some(FormatName::Json) if first == Some(&b'[') => Ok(Self::Json),
            None if first == Some(&b'{') => Ok(json_by_first_object(sample)),
            Some(FormatName::Json) => Ok(json_by_first_object(sample)),
            None | Some(FormatName::Csv) => detect_dialect(sample, options).map(Self::Csv),
        }
    }

    /// Returns true if a source contains FHIR resources: its first object has a `resourceType`. `sample` is the
    /// beginning of the source. If the user gives a spec for plain JSON, Medlift reads such a source as plain JSON.
    pub fn is_fhir(sample: &[u8]) -> bool {
        let text = sample.trim_ascii_start();
        fhir::type_of(text.strip_prefix(b"[").unwrap_or(text)).is_some()
    }

    /// Returns the name of the built-in spec that is used for a source of this format if the user gives no spec.
    /// `sample` is the beginning of the source.
    pub fn built_in_spec(self, sample: &[u8]) -> &'static str {
        match self {
            Self::Hl7 => "hl7v2",
            Self::Fhir(_) => "fhir-r4",
            Self::Ndjson | Self::Json if Self::is_fhir(sample) => "fhir-r4",
            Self::Csv(_) | Self::Ndjson | Self::Json => "admissions",
        }
    }

    /// Returns how the text of a source is divided into rows.
    pub fn framing(self) -> Framing {
        match self {
            Self::Csv(dialect) => Framing::Delimited(dialect),
            Self::Ndjson | Self::Fhir(FhirForm::Ndjson) => Framing::Lines,
            Self::Json | Self::Fhir(FhirForm::Json) => Framing::Documents,
            Self::Hl7 => Framing::Hl7,
            Self::Fhir(FhirForm::Bundle) => Framing::Entries,
        }
    }

    /// Returns true if the first row contains the names of the columns.
    pub fn has_header(self) -> bool {
        matches!(self, Self::Csv(_))
    }

    /// Divides a complete text into rows. If the format has a header, the header is left out.
    pub fn rows(self, text: &[u8]) -> impl Iterator<Item = RowSpan> + use<'_> {
        records(text, self.framing()).skip(usize::from(self.has_header()))
    }

    /// Returns the format's name for the summary, for example `ndjson` or `csv, tab, no quotes`. The name of delimited
    /// text contains the delimiter. It contains the quote and escape characters only if they differ from the default.
    pub fn name(self) -> String {
        let dialect = match self {
            Self::Csv(dialect) => dialect,
            Self::Ndjson => return "ndjson".to_owned(),
            Self::Json => return "json".to_owned(),
            Self::Hl7 => return "hl7".to_owned(),
            Self::Fhir(form) => return format!("fhir, {}", form.name()),
        };
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

    /// Returns true if a rejected record is written as it is in the source. Otherwise its cells are written to the
    /// reject file.
    pub fn keeps_whole(self) -> bool {
        matches!(self, Self::Hl7 | Self::Fhir(_))
    }

    /// Returns the delimiter of the reject file. A reject file is delimited text, whatever the format of the source is.
    pub fn reject_delimiter(self) -> u8 {
        match self {
            Self::Csv(dialect) => dialect.delimiter,
            Self::Ndjson | Self::Json | Self::Hl7 | Self::Fhir(_) => b',',
        }
    }
}

impl FhirForm {
    const fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Bundle => "bundle",
        }
    }
}

/// Decides how the resources of a source follow one another. The first object decides whether they are in a Bundle.
fn fhir_form(sample: &[u8]) -> FhirForm {
    let text = sample.trim_ascii_start();
    let first = text.strip_prefix(b"[").unwrap_or(text);
    match text {
        _ if fhir::is_bundle(first) => FhirForm::Bundle,
        _ if text.starts_with(b"[") => FhirForm::Json,
        _ if json_by_first_object(sample) == Format::Json => FhirForm::Json,
        _ => FhirForm::Ndjson,
    }
}

/// Decides between `Json` and `Ndjson` for a source that does not begin with `[`. The first rule that applies decides:
/// - If the first object is damaged, `json_by_next_line` decides.
/// - If the first object has several lines, or if another object follows on its line, returns `Json`.
/// - If text that is not an object follows, `json_by_next_line` decides.
/// - Otherwise returns `Ndjson`.
fn json_by_first_object(sample: &[u8]) -> Format {
    let text = sample.trim_ascii_start();
    let mut values = Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    let end = match values.next() {
        Some(Ok(_)) if text.starts_with(b"{") => values.byte_offset(),
        // The sample ends inside the first object.
        Some(Err(error)) if error.classify() == Category::Eof => text.trim_ascii_end().len(),
        _ => return json_by_next_line(text),
    };
    // Lines of NDJSON end with `\n` or `\r\n`. Objects with only `\r` between them are therefore `Json`.
    match text[end..].iter().find(|byte| !b" \t\r,".contains(byte)) {
        _ if text[..end].contains(&b'\n') => Format::Json,
        None => Format::Ndjson,
        Some(b'{') => Format::Json,
        Some(_) if text[end..].trim_ascii_start().starts_with(b"{") => Format::Ndjson,
        Some(_) => json_by_next_line(&text[end..]),
    }
}

/// Finds the first line that begins with `{`, after the first line of `text`. If this line is not a complete object,
/// the object has more lines, so the function returns `Json`. In all other cases it returns `Ndjson`.
fn json_by_next_line(text: &[u8]) -> Format {
    let next = text.split(|&byte| byte == b'\n').skip(1).find(|line| line.starts_with(b"{"));
    match next.map(serde_json::from_slice::<IgnoredAny>) {
        Some(Err(_)) => Format::Json,
        _ => Format::Ndjson,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Dialect = Dialect { delimiter: b',', line_end: b'\n', quote: Some(b'"'), escape: None };

    #[test]
    fn the_format_is_detected_from_the_beginning() {
        let check = |sample: &str, format, expected: Format| {
            let options = LayoutOptions { format, ..LayoutOptions::default() };
            assert_eq!(Format::detect(sample.as_bytes(), &options), Ok(expected), "{sample}");
        };
        for line in ["{\"a\":1}\n", "\n {\"a\":1}\n", "{\"a\":1}", "{\"a\":{}}\n{\"a\":\n1}\n"] {
            check(line, None, Format::Ndjson);
            check(line, Some(FormatName::Json), Format::Ndjson);
        }
        for damaged in ["{\"a\":1\n{\"a\":2}\n", "{\"a\": \"x\n{\"a\":2}\n", "{a}\n", "{\"a\": 1} x\n", "{\"a\":\n"] {
            check(damaged, None, Format::Ndjson);
        }
        let (pretty, ndjson) = ("{\n  \"a\": 2\n}\n", "{\"a\":2}\r\n{\"a\":");
        for damaged in
            ["{\n  \"a\": \"x\n}\n", "{\n  \"a\": 1\n\n", "\n  \"a\": 1\n}\n", "{}\n  \"a\": 1\n}\n", "connected\n"]
        {
            check(&format!("{damaged}{pretty}"), Some(FormatName::Json), Format::Json);
            check(&format!("{damaged}{ndjson}"), Some(FormatName::Json), Format::Ndjson);
        }
        for carriage_returns in ["{\"a\":1}\r{\"a\":2}\r", "{\"a\":\r1}\r{\"a\":2}"] {
            check(carriage_returns, None, Format::Json);
        }
        for json in ["[\n {\"a\":1}]", "[]", "[{", "{\n\"a\": 1\n}\n{\n\"a\": 2\n}", "{\"a\":\n[1,"] {
            check(json, None, Format::Json);
            check(json, Some(FormatName::Json), Format::Json);
        }
        for json in ["{\"a\":1} {\"a\":2}", "{\"a\":1}{\"a\":2}\n{\"a\":3}\n", "{\"a\":1},\t{\"a\":2}\n"] {
            check(json, None, Format::Json);
            check(json, Some(FormatName::Json), Format::Json);
        }
        check("[a],b\n", None, Format::Csv(CSV));
        check("[1", Some(FormatName::Json), Format::Json);
        check("{a},b\n", Some(FormatName::Csv), Format::Csv(CSV));
        check("[{a},b\n", Some(FormatName::Csv), Format::Csv(CSV));
        check("", Some(FormatName::Json), Format::Ndjson);
        check("x", Some(FormatName::Json), Format::Ndjson);
    }

    #[test]
    fn only_a_bundle_has_the_form_of_a_bundle() {
        let patient = "{\"resourceType\":\"Patient\"}";
        for (sample, expected) in [
            ("{\"resourceType\":\"Bundle\",\"entry\":[".to_owned(), FhirForm::Bundle),
            (format!("[{{\"entry\":[{{\"resource\":{patient}}},{{\"resource\":{{"), FhirForm::Bundle),
            ("{\"resource\":{\"resourceType\":\"Bundle\"}}\n".to_owned(), FhirForm::Ndjson),
            (format!("{patient}\n"), FhirForm::Ndjson),
            (format!("[{patient}]"), FhirForm::Json),
        ] {
            let options = LayoutOptions { format: Some(FormatName::Fhir), ..LayoutOptions::default() };
            assert_eq!(Format::detect(sample.as_bytes(), &options), Ok(Format::Fhir(expected)), "{sample}");
        }
        assert!(Format::is_fhir(b"{\"a\":1,\"entry\":[{\"fullUrl\":\"x\""));
    }

    #[test]
    fn the_name_shows_characters_that_differ_from_the_defaults() {
        let check = |dialect, expected: &str| assert_eq!(Format::Csv(dialect).name(), expected);
        check(CSV, "csv, `,`");
        check(Dialect { delimiter: b'\t', ..CSV }, "csv, tab");
        check(Dialect { delimiter: b'\t', quote: None, ..CSV }, "csv, tab, no quotes");
        check(
            Dialect { delimiter: b'|', quote: Some(b'\''), escape: Some(b'\\'), ..CSV },
            "csv, `|`, quotes `'`, escape `\\`",
        );
        assert_eq!((Format::Ndjson.name(), Format::Json.name()), ("ndjson".to_owned(), "json".to_owned()));
    }

    #[test]
    fn the_reject_file_has_the_delimiter_of_its_source() {
        let semicolons = Format::Csv(Dialect { delimiter: b';', ..CSV });
        assert_eq!([semicolons, Format::Ndjson, Format::Json].map(Format::reject_delimiter), [b';', b',', b',']);
    }
}
