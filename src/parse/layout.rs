//! What is known of a source before its rows are read: its dialect, its columns, its date formats.

use super::columns::{Columns, is_named};
use super::csv::split_row;
use super::dates::{DateFormat, Decision, Evidence};
use super::dialect::FormatName;
use super::quotes::{is_blank, is_enclosed};
use super::{Cells, Dialect, Format, LayoutError, Parser, REJECT_COLUMNS, ndjson};
use crate::read::{Ending, RowSpan, records};
use crate::spec::{Field, FieldType, Presence, Sign, SourceFormat, Spec, column_key};

/// Columns that a source may have: more than any table, few enough that each may have a name.
const COLUMNS_MAX: usize = 10_000;

/// Which cell feeds which field, and how its dates read.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The shape of the rows.
    pub format: Format,
    /// Cells each row must have (the header's count). 0 for NDJSON, whose cells come in field order.
    pub columns: usize,
    /// For each field of the spec, the cell that feeds it; `None` where an optional column is absent.
    pub cell_of_field: Vec<Option<usize>>,
    /// For each field of the spec, the format of its dates; `None` for fields that are no dates.
    pub dates: Vec<Option<DateFormat>>,
    /// The header as the source spells it, for the reject file. For NDJSON, whose rows have no
    /// order, the spec's columns.
    pub header: Vec<String>,
    /// Columns of the source that no field uses.
    pub unknown: Vec<String>,
    /// How rows are read that do not look as their header or their quotes say.
    pub rules: RowRules,
}

/// How rows of delimited text are read that do not look as their header or their quotes say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowRules {
    /// Cells may hold lines that look like rows.
    pub multiline_cells: bool,
    /// A blank cell behind the last column is ignored: all rows of the sample have one.
    pub extra_cell: bool,
    /// The header ended with a delimiter that no row of the sample has; it was taken off.
    pub shortened_header: bool,
    /// Quotes are ordinary characters because the sample says so.
    pub no_quotes: bool,
}

/// What the user says of a source's layout; what is left open is detected.
#[derive(Debug, Clone, Default)]
pub struct LayoutOptions {
    /// The delimiter.
    pub delimiter: Option<u8>,
    /// Date formats, each of the named column or of all date columns; a named column's own counts more.
    pub date_formats: Vec<(Option<String>, DateFormat)>,
    /// The format.
    pub format: Option<FormatName>,
    /// The quote.
    pub quote: Option<Sign>,
    /// The escape character.
    pub escape: Option<Sign>,
    /// Whether cells may hold lines that look like rows.
    pub multiline_cells: bool,
}

impl LayoutOptions {
    /// These options, completed by what a spec says of its sources.
    #[must_use]
    pub fn or(&self, source: &SourceFormat) -> Self {
        Self {
            delimiter: self.delimiter.or(source.delimiter),
            quote: self.quote.or(source.quote),
            escape: self.escape.or(source.escape),
            multiline_cells: self.multiline_cells || source.multiline_cells,
            ..self.clone()
        }
    }
}

impl Layout {
    /// Binds a source's columns to the spec's fields, and decides its date formats.
    ///
    /// `sample` is the source's beginning, in UTF-8: its header and as many whole rows as are to decide on the dates.
    pub fn bind(spec: &Spec, format: Format, sample: &[u8], options: &LayoutOptions) -> Result<Self, LayoutError> {
        let columns = Columns::new(spec);
        let mut layout = match format {
            Format::Csv(dialect) => Self::bind_header(spec, &columns, dialect, sample, options)?,
            Format::Ndjson => Self::bind_keys(spec, &columns, sample)?,
        };
        layout.dates = given_dates(spec, options)?;
        layout.decide_dates(spec, sample)?;
        Ok(layout)
    }

    fn bind_header(
        spec: &Spec,
        columns: &Columns,
        dialect: Dialect,
        sample: &[u8],
        options: &LayoutOptions,
    ) -> Result<Self, LayoutError> {
        let mut header = read_header(dialect, sample)?;
        let rules = row_rules(dialect, sample, &header, options);
        header.truncate(header.len() - usize::from(rules.shortened_header));
        let sources = sources_of_fields(spec, columns, &header);
        check_columns(spec, &header, &sources)?;
        check_twice(columns, &header, &sources)?;
        Ok(Self {
            format: Format::Csv(dialect),
            columns: header.len(),
            cell_of_field: sources.iter().map(|cells| cells.first().copied()).collect(),
            dates: Vec::new(),
            unknown: unknown(columns, &header),
            header,
            rules,
        })
    }

    fn bind_keys(spec: &Spec, columns: &Columns, sample: &[u8]) -> Result<Self, LayoutError> {
        let keys = ndjson::keys(columns, sample);
        if !keys.is_empty() {
            check_columns(spec, &keys, &sources_of_fields(spec, columns, &keys))?;
        }
        Ok(Self {
            format: Format::Ndjson,
            columns: 0,
            cell_of_field: (0..spec.fields.len()).map(Some).collect(),
            dates: Vec::new(),
            unknown: unknown(columns, &keys),
            header: spec.fields.iter().map(|field| field.column.clone()).collect(),
            rules: RowRules::default(),
        })
    }

    /// Decides the formats of the date columns that the options leave open, from the rows of the sample.
    fn decide_dates(&mut self, spec: &Spec, sample: &[u8]) -> Result<(), LayoutError> {
        let open: Vec<(usize, usize)> = (0..spec.fields.len())
            .filter(|&field| is_date(&spec.fields[field]) && self.dates[field].is_none())
            .filter_map(|field| Some((field, self.cell_of_field[field]?)))
            .collect();
        let mut evidence = vec![Evidence::default(); open.len()];
        if !open.is_empty() {
            self.each_row(spec, sample, |row, cells| {
                for (&(field, cell), evidence) in open.iter().zip(&mut evidence) {
                    weigh(&spec.fields[field], cells.get(row, cell), evidence);
                }
            });
        }
        for (&(field, cell), evidence) in open.iter().zip(&evidence) {
            self.dates[field] = match evidence.decide() {
                // What was rejected once is rejected again, row by row, as long as nobody corrected it.
                Decision::Unknown { .. } if self.is_reject_file() => None,
                decision => Some(settle(&self.header[cell], decision)?),
            };
        }
        let absent = (0..spec.fields.len()).filter(|&field| is_date(&spec.fields[field]));
        absent.for_each(|field| self.dates[field] = self.dates[field].or(Some(DateFormat::Iso)));
        Ok(())
    }

    /// Whether the source is a reject file.
    pub(super) fn is_reject_file(&self) -> bool {
        REJECT_COLUMNS.iter().all(|name| self.header.iter().any(|column| column == name))
    }

    /// The rows of the sample that parse.
    fn each_row(&self, spec: &Spec, sample: &[u8], mut see: impl FnMut(&[u8], &Cells)) {
        let mut parser = Parser::new(self, spec);
        let mut cells = Cells::default();
        let header_rows = usize::from(self.columns > 0);
        for span in records(sample, &self.format).skip(header_rows) {
            let row = row_of(sample, span);
            if parser.parse(row, span, &mut cells).is_ok() {
                see(row, &cells);
            }
        }
    }
}

fn row_of(sample: &[u8], span: RowSpan) -> &[u8] {
    &sample[span.start as usize..span.end as usize]
}

fn read_header(dialect: Dialect, sample: &[u8]) -> Result<Vec<String>, LayoutError> {
    let bad = |reason| LayoutError::BadHeader { reason };
    let span = records(sample, &Format::Csv(dialect)).next().ok_or(LayoutError::NoHeader)?;
    if span.ending != Ending::Whole {
        return Err(bad("a quoted name is not closed"));
    }
    let row = row_of(sample, span);
    let mut cells = Cells::default();
    split_row(row, dialect, &mut cells)
        .map_err(|_| bad("text stands between a closing quote and the next delimiter"))?;
    if cells.len() > COLUMNS_MAX {
        return Err(LayoutError::TooManyColumns { columns: cells.len(), max: COLUMNS_MAX });
    }
    let name = |cell| std::str::from_utf8(unquoted(cells.get(row, cell))).map(|name| name.trim().to_owned());
    (0..cells.len())
        .map(name)
        .collect::<Result<_, _>>()
        .map_err(|_| bad("it is not valid UTF-8; say what it is with --encoding"))
}

/// A column's name without quotes around it: a header may be quoted though the rows are not.
fn unquoted(name: &[u8]) -> &[u8] {
    let name = name.trim_ascii();
    if name.len() > 1 && is_enclosed(name) { &name[1..name.len() - 1] } else { name }
}

/// What all rows of the sample have in common that the header does not say.
fn row_rules(dialect: Dialect, sample: &[u8], header: &[String], options: &LayoutOptions) -> RowRules {
    let columns = header.len();
    let has_unnamed_last = columns > 1 && header.last().is_some_and(String::is_empty);
    let (mut rows, mut longer, mut shorter) = (0, 0, 0);
    let mut cells = Cells::default();
    for span in records(sample, &Format::Csv(dialect)).skip(1) {
        let row = row_of(sample, span);
        if span.ending != Ending::Whole || split_row(row, dialect, &mut cells).is_err() {
            continue;
        }
        rows += 1;
        longer += usize::from(cells.len() == columns + 1 && is_blank(cells.get(row, columns)));
        shorter += usize::from(has_unnamed_last && cells.len() + 1 == columns);
        if longer < rows && shorter < rows {
            break;
        }
    }
    RowRules {
        multiline_cells: options.multiline_cells,
        extra_cell: rows > 0 && longer == rows,
        shortened_header: rows > 0 && shorter == rows,
        no_quotes: options.quote.is_none() && dialect.quote.is_none(),
    }
}

/// For each field of the spec, the columns that feed it.
fn sources_of_fields(spec: &Spec, columns: &Columns, header: &[String]) -> Vec<Vec<usize>> {
    let mut sources = vec![Vec::new(); spec.fields.len()];
    for (cell, name) in header.iter().enumerate() {
        columns.fields_of(name).iter().for_each(|&field| sources[field].push(cell));
    }
    sources
}

fn check_columns(spec: &Spec, header: &[String], sources: &[Vec<usize>]) -> Result<(), LayoutError> {
    if sources.iter().all(Vec::is_empty) {
        let expected = spec.fields.iter().map(|field| field.column.clone()).collect();
        return Err(LayoutError::NoKnownColumn { columns: header.len(), expected });
    }
    let is_missing =
        |(field, sources): &(&Field, &Vec<usize>)| field.presence != Presence::Optional && sources.is_empty();
    let missing: Vec<String> =
        spec.fields.iter().zip(sources).filter(is_missing).map(|(field, _)| field.column.clone()).collect();
    if missing.is_empty() { Ok(()) } else { Err(LayoutError::MissingColumns { missing, seen: header.to_vec() }) }
}

/// No field has two columns, and no two columns have the same name, even if no field wants them.
fn check_twice(columns: &Columns, header: &[String], sources: &[Vec<usize>]) -> Result<(), LayoutError> {
    let twice = |cells: &[usize]| {
        Err(LayoutError::ColumnTwice { columns: cells.iter().map(|&cell| header[cell].clone()).collect() })
    };
    if let Some(cells) = sources.iter().find(|cells| cells.len() > 1) {
        return twice(cells);
    }
    let keys: Vec<String> = header.iter().map(|name| column_key(name)).collect();
    for (cell, key) in keys
        .iter()
        .enumerate()
        .filter(|(_, key)| !key.is_empty())
        .filter(|&(cell, _)| !columns.is_ignored(&header[cell]))
    {
        // `_id` and `id` are two columns.
        let is_same =
            |&other: &usize| keys[other] == *key && header[other].starts_with("_id") == header[cell].starts_with("_id");
        if let Some(first) = (0..cell).find(is_same) {
            return twice(&[first, cell]);
        }
    }
    Ok(())
}

fn unknown(columns: &Columns, header: &[String]) -> Vec<String> {
    header.iter().filter(|name| columns.fields_of(name).is_empty() && !columns.is_ignored(name)).cloned().collect()
}

fn is_date(field: &Field) -> bool {
    matches!(field.kind, FieldType::Date | FieldType::Datetime)
}

/// The formats that the options give, for each field of the spec.
fn given_dates(spec: &Spec, options: &LayoutOptions) -> Result<Vec<Option<DateFormat>>, LayoutError> {
    let mut dates = vec![None; spec.fields.len()];
    let everywhere = options.date_formats.iter().filter(|(column, _)| column.is_none());
    let named = options.date_formats.iter().filter(|(column, _)| column.is_some());
    for (column, format) in everywhere.chain(named) {
        let is_meant = |field: &Field| is_date(field) && column.as_ref().is_none_or(|column| is_named(field, column));
        let mut meant = spec.fields.iter().zip(&mut dates).filter(|(field, _)| is_meant(field)).peekable();
        if let (Some(column), None) = (column, meant.peek()) {
            let known = spec.fields.iter().filter(|field| is_date(field)).map(|field| field.column.clone()).collect();
            return Err(LayoutError::UnknownDateColumn { column: column.clone(), known });
        }
        meant.for_each(|(_, date)| *date = Some(*format));
    }
    Ok(dates)
}

/// Takes a cell into account, unless it says that there is no value.
fn weigh(field: &Field, cell: &[u8], evidence: &mut Evidence) {
    let Ok(text) = std::str::from_utf8(cell).map(str::trim) else { return };
    if !text.is_empty() && !field.null_markers.iter().any(|marker| marker.eq_ignore_ascii_case(text)) {
        evidence.add(text);
    }
}

fn settle(column: &str, decision: Decision) -> Result<DateFormat, LayoutError> {
    let column = column.to_owned();
    match decision {
        Decision::One(format) => Ok(format),
        Decision::NoValues => Ok(DateFormat::Iso),
        Decision::Ambiguous(first, second) => Err(LayoutError::AmbiguousDate { column, first, second }),
        Decision::Mixed(fits) => Err(LayoutError::MixedDates { column, fits }),
        Decision::Unknown { values, unfit, shapes } => Err(LayoutError::UnknownDates { column, values, unfit, shapes }),
    }
}
