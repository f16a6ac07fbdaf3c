//! The layout of a source, determined before its rows are read: dialect, columns and date formats.

use super::columns::{Columns, is_named};
use std::ops::Range;

use super::csv::{read_header, row_rules};
use super::dates::{DateFormat, Decision, Evidence};
use super::format::FormatName;
use super::{Cells, Dialect, Format, LayoutError, Parser, REJECT_COLUMNS, json};
use crate::read::RowSpan;
use crate::spec::{Field, FieldType, Presence, Sign, SourceFormat, Spec, column_key};

/// Assigns the cells of a row to fields, and gives the formats of the dates.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The format of the source.
    pub format: Format,
    /// For each field of the spec, the index of its cell. `None` if the column is optional and absent.
    pub cell_of_field: Vec<Option<usize>>,
    /// For each field of the spec, the format of its dates. `None` for fields that are not dates.
    pub dates: Vec<Option<DateFormat>>,
    /// The names of the cells, for the reject file: the header as the source spells it. The keys of JSON have no order,
    /// so its cells are in the order of the fields, and have the names of the spec's columns.
    pub header: Vec<String>,
    /// Columns of the source that no field uses.
    pub unknown: Vec<String>,
    /// Rules for rows that differ from the header or from the usual quotes.
    pub rules: RowRules,
}

/// Rules for rows of delimited text that differ from the header or from the usual quotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowRules {
    /// Cells may contain lines that look like rows.
    pub multiline_cells: bool,
    /// A blank cell after the last column is ignored, because all rows of the sample have one.
    pub extra_cell: bool,
    /// The header ended with a delimiter that no row of the sample has. The empty last column was removed.
    pub shortened_header: bool,
    /// Quotes are ordinary characters. This was detected from the sample.
    pub no_quotes: bool,
}

/// The user's settings for the layout of a source. Settings that are not given are detected.
#[derive(Debug, Clone, Default)]
pub struct LayoutOptions {
    /// The delimiter.
    pub delimiter: Option<u8>,
    /// Date formats. Each applies to the named column, or to all date columns if no column is named. A format for a
    /// named column takes precedence.
    pub date_formats: Vec<(Option<String>, DateFormat)>,
    /// The format.
    pub format: Option<FormatName>,
    /// The quote character.
    pub quote: Option<Sign>,
    /// The escape character.
    pub escape: Option<Sign>,
    /// Whether cells may contain lines that look like rows.
    pub multiline_cells: bool,
}

impl LayoutOptions {
    /// Returns these options. Those that are not set are taken from the spec's source settings.
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
    /// Assigns the columns of a source to the fields of the spec, and determines the date formats.
    ///
    /// `sample` is the beginning of the source in UTF-8: the header and the complete rows from which the date formats
    /// are determined.
    pub fn bind(spec: &Spec, format: Format, sample: &[u8], options: &LayoutOptions) -> Result<Self, LayoutError> {
        let columns = Columns::new(spec);
        let mut layout = match format {
            Format::Csv(dialect) => Self::bind_header(spec, &columns, dialect, sample, options)?,
            Format::Ndjson | Format::Json => Self::bind_keys(spec, &columns, format, sample)?,
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
            cell_of_field: sources.iter().map(|cells| cells.first().copied()).collect(),
            dates: Vec::new(),
            unknown: unknown(columns, &header),
            header,
            rules,
        })
    }

    fn bind_keys(spec: &Spec, columns: &Columns, format: Format, sample: &[u8]) -> Result<Self, LayoutError> {
        let slots = json::Slots::new(spec);
        let keys = json::keys(columns, format, sample);
        if !keys.is_empty() {
            check_columns(spec, &keys, &sources_of_fields(spec, columns, &keys))?;
        }
        Ok(Self {
            format,
            cell_of_field: slots.of_field.iter().copied().map(Some).collect(),
            dates: Vec::new(),
            unknown: unknown(columns, &keys),
            header: slots.first_field.iter().map(|&field| spec.fields[field].column.clone()).collect(),
            rules: RowRules::default(),
        })
    }

    /// Determines, from the rows of the sample, the formats of the date columns that the options do not set.
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
                // The rows of this column were rejected before. Uncorrected rows are rejected again, row by row,
                // instead of stopping the load.
                Decision::Unknown { .. } if self.is_reject_file() => None,
                decision => Some(settle(&self.header[cell], decision)?),
            };
        }
        let absent = (0..spec.fields.len()).filter(|&field| is_date(&spec.fields[field]));
        absent.for_each(|field| self.dates[field] = self.dates[field].or(Some(DateFormat::Iso)));
        Ok(())
    }

    /// Returns the layout of these fields only, for one of several kinds of documents.
    #[must_use]
    pub fn of_fields(&self, fields: Range<usize>) -> Self {
        let (cell_of_field, dates) = (self.cell_of_field[fields.clone()].to_vec(), self.dates[fields].to_vec());
        Self { cell_of_field, dates, ..self.clone() }
    }

    /// Returns true if the source is a reject file.
    pub(super) fn is_reject_file(&self) -> bool {
        REJECT_COLUMNS.iter().all(|name| self.header.iter().any(|column| column == name))
    }

    /// Calls `see` for each row of the sample that can be parsed.
    fn each_row(&self, spec: &Spec, sample: &[u8], mut see: impl FnMut(&[u8], &Cells)) {
        let mut parser = Parser::new(self, spec);
        let mut cells = Cells::default();
        for span in self.format.rows(sample) {
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

/// Returns, for each field of the spec, the columns that belong to it.
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

/// Checks that no field has two columns, and that no two columns have the same name, even if no field uses them.
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
        // `_id` and `id` are different columns.
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

/// Returns the date formats from the options, for each field of the spec.
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

/// Counts the value of a cell, unless the cell is empty or a null marker.
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
