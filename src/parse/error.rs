//! What keeps a source's layout from being known. No message carries a value out of a row: a source without a header has a
//! patient's data in its first line, so that columns are named only once one of them has been recognised.

use super::dates::DateFormat;

/// Why the rows of a source cannot be understood. Whoever knows the source's name puts it in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not a single record.
    #[error("there is no header, only blank lines")]
    NoHeader,
    /// A header, and nothing below it.
    #[error("there is a header and no row below it; is the export complete?")]
    NoRows,
    /// More columns than any table has.
    #[error("the header has {columns} columns, more than {max}; is the first line a header, and the delimiter right?")]
    TooManyColumns {
        /// How many there are.
        columns: usize,
        /// How many there may be.
        max: usize,
    },
    /// The first record is not a row of cells.
    #[error("the header cannot be read: {reason}")]
    BadHeader {
        /// What is wrong.
        reason: &'static str,
    },
    /// Two delimiters divide header and rows equally well.
    #[error("the delimiter is not clear: {} and {} both fit the first rows; say which with --delimiter", name(*.first), name(*.second))]
    AmbiguousDelimiter {
        /// One of them.
        first: u8,
        /// The other.
        second: u8,
    },
    /// The header is divided by one sign, the rows by another.
    #[error("the header is divided by {}, but the rows by {}; correct the header", name(*.header), name(*.rows))]
    OtherDelimiterInRows {
        /// The header's.
        header: u8,
        /// The rows'.
        rows: u8,
    },
    /// A delimiter that cannot be one.
    #[error("{} cannot be a delimiter; --delimiter takes one of `,` `;` `|` and `tab`", name(*.delimiter))]
    BadDelimiter {
        /// As it was given.
        delimiter: u8,
    },
    /// The quotes can be read in two ways.
    #[error(
        "the quotes of this file can be read in two ways. As quotes around cells, its beginning has {quoted_rows} rows of {columns} \
         cells; as ordinary characters, {plain_rows} rows of {columns} cells. The two differ from line {line} on. Say which is \
         right with --quote '\"' (add --multiline-cells if cells may hold whole lines) or --quote none"
    )]
    AmbiguousQuotes {
        /// Cells of the header and of each row.
        columns: usize,
        /// Rows with quotes around cells.
        quoted_rows: u64,
        /// Rows with quotes as ordinary characters.
        plain_rows: u64,
        /// The first line that the two divide differently.
        line: u64,
    },
    /// One character with two meanings.
    #[error("{} is given two meanings; delimiter, --quote and --escape must differ", name(*.sign))]
    SignTwice {
        /// The character.
        sign: u8,
    },
    /// A JSON array instead of one object a line.
    #[error("this is one JSON array; write one object a line instead, for example with `jq -c '.[]'`")]
    JsonArray,
    /// No column of the source is known.
    #[error(
        "none of the {columns} columns is known to the spec, which asks for {}; is the first line a header, and the delimiter right?",
        list(.expected)
    )]
    NoKnownColumn {
        /// How many columns there are.
        columns: usize,
        /// The spec's columns.
        expected: Vec<String>,
    },
    /// Columns that must be there are not.
    #[error("the source has no column for {}; its columns are {}", list(.missing), list(.seen))]
    MissingColumns {
        /// The missing columns as the spec names them.
        missing: Vec<String>,
        /// The columns that there are.
        seen: Vec<String>,
    },
    /// Several columns for one field, or several of the same name.
    #[error("the columns {} mean the same one; keep one of them, rename or remove the others", list(.columns))]
    ColumnTwice {
        /// The columns as the source spells them.
        columns: Vec<String>,
    },
    /// All dates of a column read in two ways.
    #[error(
        "the dates of column `{column}` read as {first} and as {second} alike (03/04/2024 would be 3 April or 4 March); \
         say which with --date-format '{column}={first}' or --date-format '{column}={second}'",
        first = .first.name(), second = .second.name()
    )]
    AmbiguousDate {
        /// The column as the source spells it.
        column: String,
        /// One reading.
        first: DateFormat,
        /// The other.
        second: DateFormat,
    },
    /// A column holds dates of several formats.
    #[error(
        "the dates of column `{column}` have several formats: {}; settle on one with --date-format '{column}={}', \
         which rejects the rows that do not fit it",
        fit_list(.fits), .fits.first().map_or("YYYY-MM-DD", |(format, _)| format.name())
    )]
    MixedDates {
        /// The column as the source spells it.
        column: String,
        /// The formats, each with how many values of the sample fit it.
        fits: Vec<(DateFormat, u64)>,
    },
    /// Most values of a date column are not dates in any known format.
    #[error(
        "{unfit} of the first {values} values of the date column `{column}` have no date format that medlift reads{}. Write them as \
         YYYY-MM-DD or in another format that docs/sources.md lists, or make the field a string in the spec. To load only the \
         rows whose dates can be read, give the format: --date-format '{column}=YYYY-MM-DD'",
        shape_list(.shapes)
    )]
    UnknownDates {
        /// The column as the source spells it.
        column: String,
        /// Values looked at.
        values: u64,
        /// Those that fit no format.
        unfit: u64,
        /// How they seem to be written, each with the number of values, most first.
        shapes: Vec<(&'static str, u64)>,
    },
    /// A date format was given for a column that is no date of the spec.
    #[error("--date-format names the column `{column}`, which is no date column; the date columns are {}", list(.known))]
    UnknownDateColumn {
        /// As it was given.
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
