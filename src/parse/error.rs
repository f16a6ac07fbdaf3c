//! Errors in the layout of a source. No message contains a value of a row. If a source has no header, the data of a
//! patient are read as column names. Therefore a message contains the source's column names only if at least one of
//! them is in the spec.

use super::dates::DateFormat;

/// The reason why the rows of a source cannot be read. The caller adds the name of the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The source is a Bundle that can be read only once, and it is larger than the sample.
    #[error(
        "a Bundle larger than 8 MiB cannot be received, because its references can lead to entries that arrive later; send \
         its entries as NDJSON, or load it from a file"
    )]
    LargeBundle,
    /// The source contains only empty lines.
    #[error("there is no header, only empty lines")]
    NoHeader,
    /// The source has HL7 v2 messages, and the spec describes rows of tables or JSON objects.
    #[error(
        "the source has HL7 v2 messages, but the spec {spec} does not describe messages; give a spec whose [source] has \
         type = \"hl7\", e.g. --spec hl7v2; if the source is a table, add --type csv"
    )]
    NotForMessages {
        /// The name of the spec's text.
        spec: String,
    },
    /// The source has FHIR resources, and the spec does not describe resources.
    #[error(
        "the source has FHIR resources, but the spec {spec} does not describe resources; give a spec whose [source] has \
         type = \"fhir\", e.g. --spec fhir-r4"
    )]
    NotForResources {
        /// The name of the spec's text.
        spec: String,
    },
    /// The spec describes FHIR resources, and the source has another format.
    #[error(
        "the spec {spec} describes FHIR resources, but there is no JSON object in the first {bytes} bytes; check the source, \
         or give the spec that describes this source with --spec"
    )]
    NoResources {
        /// The name of the spec's text.
        spec: String,
        /// Number of bytes that were examined.
        bytes: usize,
    },
    /// One encoding was given or detected for a whole source of HL7 v2 messages. This is an error, because each message
    /// names its own character set.
    #[error(
        "HL7 messages cannot be read as {encoding}: each message names its character set, in the field MSH-18; use \
         --encoding windows-1252 only if the messages without that field are in windows-1252"
    )]
    EncodingOfMessages {
        /// The name of the encoding.
        encoding: &'static str,
    },
    /// The spec describes HL7 v2 messages, and the source has another format.
    #[error(
        "the spec {spec} describes HL7 v2 messages, but no segment of the first {bytes} bytes begins with `MSH` and a separator; \
         check the source, or give the spec that describes this source with --spec"
    )]
    NoMessages {
        /// The name of the spec's text.
        spec: String,
        /// Number of bytes that were examined.
        bytes: usize,
    },
    /// The source contains a header and no rows.
    #[error("there is a header and no row below it; is the export complete?")]
    NoRows,
    /// The header has more columns than Medlift allows.
    #[error(
        "the header has {columns} columns, more than {max}; check that the first line is a header and \
         that the delimiter is right"
    )]
    TooManyColumns {
        /// Number of columns in the header.
        columns: usize,
        /// Largest number of columns that is allowed.
        max: usize,
    },
    /// The header cannot be split into cells, or is not valid UTF-8.
    #[error("the header cannot be read: {reason}")]
    BadHeader {
        /// What is wrong with the header.
        reason: &'static str,
    },
    /// Several delimiters occur in the header, and none is clearly the best. The second-best delimiter fits more than
    /// half as many rows as the best.
    #[error("the delimiter is not clear: {} and {} both fit the first rows; give the right one with --delimiter", name(*.first), name(*.second))]
    AmbiguousDelimiter {
        /// The delimiter that fits the most rows.
        first: u8,
        /// The other delimiter.
        second: u8,
    },
    /// The header has one delimiter and the rows have another.
    #[error(
        "the delimiter of the header is {}, but that of the rows is {}; correct the header",
        name(*.header), name(*.rows)
    )]
    OtherDelimiterInRows {
        /// The delimiter of the header.
        header: u8,
        /// The delimiter of the rows.
        rows: u8,
    },
    /// The character that the user gave cannot be a delimiter.
    #[error("{} cannot be a delimiter; give --delimiter one of `,` `;` `|` and `tab`", name(*.delimiter))]
    BadDelimiter {
        /// The given character.
        delimiter: u8,
    },
    /// The quotes of the source may enclose cells, or they may be ordinary characters. Both readings fit the rows.
    #[error(
        "the quotes of this file can be read in two ways. As quotes around cells, its beginning has {quoted_rows} rows of {columns} \
         cells; as ordinary characters, {plain_rows} rows of {columns} cells. The two differ from line {line} on. Give the right \
         one with --quote '\"' (add --multiline-cells if cells may contain whole lines) or --quote none"
    )]
    AmbiguousQuotes {
        /// Number of cells in the header.
        columns: usize,
        /// Number of rows if quotes enclose cells.
        quoted_rows: u64,
        /// Number of rows if quotes are ordinary characters.
        plain_rows: u64,
        /// The first line of the row in which a quoted cell looks like complete rows. If there are several such rows,
        /// the first one counts.
        line: u64,
    },
    /// One character was given as two of these three: delimiter, quote, escape character.
    #[error("{} is given two meanings; delimiter, --quote and --escape must differ", name(*.sign))]
    SignTwice {
        /// The character.
        sign: u8,
    },
    /// None of the source's columns is in the spec.
    #[error(
        "the spec knows none of the {columns} columns; it has columns for {}; check that the first line is a \
         header and that the delimiter is right; {}",
        list(.expected), spec_hint(.spec)
    )]
    NoKnownColumn {
        /// The name of the spec's text.
        spec: String,
        /// Number of columns in the source.
        columns: usize,
        /// The columns of the spec.
        expected: Vec<String>,
    },
    /// The source lacks columns that are not optional.
    #[error(
        "the source has no column for {}; its columns are {}{}; {}",
        list(.missing), list(.seen), similar_list(.similar), spec_hint(.spec)
    )]
    MissingColumns {
        /// The name of the spec's text.
        spec: String,
        /// The missing columns as the spec names them.
        missing: Vec<String>,
        /// Missing columns, each with an unused column of the source that has a similar name.
        similar: Vec<(String, String)>,
        /// The columns of the source.
        seen: Vec<String>,
    },
    /// The columns do not fit the spec, but with another option they do.
    #[error("{problem}. With {option}, all columns are found")]
    OtherOption {
        /// The error about the columns.
        problem: Box<LayoutError>,
        /// The option that was tried, e.g. `--delimiter ';'`.
        option: String,
    },
    /// Several columns of the source belong to one field, or have the same name.
    #[error("the columns {} are the same column; keep one of them, and rename or remove the others", list(.columns))]
    ColumnTwice {
        /// The columns as the source spells them.
        columns: Vec<String>,
    },
    /// Several kinds of documents read the same column of a JSON source, but in different notations. For example, one
    /// field needs the JSON number 1.5 as `1.5`, and another as `1,5`.
    #[error(
        "the documents of the spec read the column `{column}` in different notations. JSON numbers and booleans have no notation, so Medlift cannot \
         write a text that all these documents read. Give the fields of this column the same `decimal`, or a common word \
         in `truthy` and in `falsy`"
    )]
    TwoNotations {
        /// The column as the spec names it.
        column: String,
    },
    /// The path of a column names several values of a JSON object, but its field can have only one.
    #[error(
        "the path `{column}` names the values of all items, so its field needs `repeats = true` and cannot be in a repeating \
         group; to read one item, give its number, for example [0]"
    )]
    SeveralValues {
        /// The column as the spec names it.
        column: String,
    },
    /// The dates of a column fit two formats, day-first and month-first.
    #[error(
        "the dates of column `{column}` fit both {first} and {second} (03/04/2024 can be 3 April or 4 March); \
         give the right one with --date-format '{column}={first}' or --date-format '{column}={second}'",
        first = .first.name(), second = .second.name()
    )]
    AmbiguousDate {
        /// The column as the source spells it.
        column: String,
        /// The first format.
        first: DateFormat,
        /// The second format.
        second: DateFormat,
    },
    /// A column contains dates in several formats.
    #[error(
        "the dates of column `{column}` have several formats: {}; choose one with --date-format '{column}={}', \
         which rejects the rows that do not fit it",
        fit_list(.fits), .fits.first().map_or("YYYY-MM-DD", |(format, _)| format.name())
    )]
    MixedDates {
        /// The column as the source spells it.
        column: String,
        /// The formats, each with the number of values that fit it.
        fits: Vec<(DateFormat, u64)>,
    },
    /// Most values of a date column have no format that Medlift reads.
    #[error(
        "{unfit} of the first {values} values of the date column `{column}` have no date format that medlift reads{}. Write them as \
         YYYY-MM-DD or in another format that docs/sources.md lists, or make the field a string in the spec. To load only the \
         rows whose dates can be read, give the format: --date-format '{column}=YYYY-MM-DD'",
        shape_list(.shapes)
    )]
    UnknownDates {
        /// The column as the source spells it.
        column: String,
        /// Number of values that were examined.
        values: u64,
        /// Number of values that fit no format.
        unfit: u64,
        /// How the unfit values are probably written: descriptions, each with its number of values. The most frequent
        /// is first.
        shapes: Vec<(&'static str, u64)>,
    },
    /// A date format was given for a column that is not a date column of the spec.
    #[error(
        "--date-format names the column `{column}`, which is not a date column; the date columns are {}",
        list(.known)
    )]
    UnknownDateColumn {
        /// The column that the user gave.
        column: String,
        /// The spec's date columns.
        known: Vec<String>,
    },
}

fn name(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tab".to_owned(),
        _ => format!("`{}`", char::from(delimiter).escape_default()),
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn similar_list(similar: &[(String, String)]) -> String {
    if similar.is_empty() {
        return String::new();
    }
    let pair = |(missing, found): &(String, String)| format!("`{found}` for `{missing}`");
    let pairs = similar.iter().map(pair).collect::<Vec<_>>().join(", ");
    format!(
        "; did you mean {pairs}? Then rename the column in the header, or add it to the field's `aliases` in the spec"
    )
}

/// Says which spec was used, and how to use another one. `origin` is the name of the spec's text.
fn spec_hint(origin: &str) -> String {
    match origin.strip_prefix("built-in:") {
        Some(name) => format!(
            "the spec is the built-in `{name}` (`medlift spec show` prints it); if the source is another dataset, give its spec \
             with --spec FILE"
        ),
        None => format!(
            "the spec is {origin} (`medlift spec fields --spec {origin}` lists its columns); if it is the wrong one, give another \
             with --spec FILE"
        ),
    }
}

fn shape_list(shapes: &[(&'static str, u64)]) -> String {
    if shapes.is_empty() {
        return String::new();
    }
    let shape = |(shape, values): &(&str, u64)| format!("{shape} ({values} values)");
    format!("; they look like {}", shapes.iter().map(shape).collect::<Vec<_>>().join(", "))
}

fn fit_list(fits: &[(DateFormat, u64)]) -> String {
    let fit = |(format, values): &(DateFormat, u64)| format!("{} fits {values} values", format.name());
    fits.iter().map(fit).collect::<Vec<_>>().join(", ")
}
