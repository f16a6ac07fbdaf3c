//! The layout of a source, determined before its rows are read: dialect, columns and date formats.

use std::ops::Range;

use super::columns::{Columns, is_named};
use super::csv::{read_header, row_rules};
use super::dates::{DateFormat, Decision, Evidence};
use super::format::FormatName;
use super::items::Arrays;
use super::{Cells, Dialect, Format, LayoutError, Parser, REJECT_COLUMNS, json};
use crate::read::RowSpan;
use crate::spec::{Column, Field, FieldType, Node, Presence, Sign, SourceFormat, Spec, column_key};

/// Assigns the cells of a row to fields, and gives the formats of the dates.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The format of the source.
    pub format: Format,
    /// For each field of the spec, the index of its cell. `None` if the column is optional and absent. The fields of a
    /// repeating group have one cell.
    pub cell_of_field: Vec<Option<usize>>,
    /// For each field of the spec that is in an array, the number of the array among those of a row.
    pub array_of_field: Vec<Option<usize>>,
    /// For each field of the spec, the format of its dates. `None` for fields that are not dates.
    pub dates: Vec<Option<DateFormat>>,
    /// The names of the cells, for the reject file: the header as the source spells it. The keys of JSON have no order,
    /// so its cells are in the order of the spec's columns, and have their names.
    pub header: Vec<String>,
    /// Columns of the source that no field uses, and keys in the items of arrays.
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
        let columns = spec.columns();
        let names = Columns::new(&columns);
        let mut layout = match format {
            Format::Csv(dialect) => Self::bind_header(&columns, &names, dialect, sample, options)?,
            Format::Ndjson | Format::Json => Self::bind_keys(spec, &columns, &names, format, sample)?,
        };
        layout.cell_of_field = cell_of_field(spec, &columns, &layout.cell_of_field);
        layout.array_of_field = array_of_field(spec, &columns);
        layout.dates = given_dates(spec, &columns, options)?;
        layout.look_at_rows(spec, sample)?;
        Ok(layout)
    }

    /// Binds delimited text. `cell_of_field` has the cells of the spec's columns.
    fn bind_header(
        columns: &[Column<'_>],
        names: &Columns,
        dialect: Dialect,
        sample: &[u8],
        options: &LayoutOptions,
    ) -> Result<Self, LayoutError> {
        let mut header = read_header(dialect, sample)?;
        let rules = row_rules(dialect, sample, &header, options);
        header.truncate(header.len() - usize::from(rules.shortened_header));
        let sources = sources_of(columns, names, &header);
        check_columns(columns, &header, &sources)?;
        check_twice(names, &header, &sources)?;
        Ok(Self {
            format: Format::Csv(dialect),
            cell_of_field: sources.iter().map(|cells| cells.first().copied()).collect(),
            array_of_field: Vec::new(),
            dates: Vec::new(),
            unknown: unknown(names, &header),
            header,
            rules,
        })
    }

    /// Binds JSON. `cell_of_field` has the cells of the spec's columns.
    fn bind_keys(
        spec: &Spec,
        columns: &[Column<'_>],
        names: &Columns,
        format: Format,
        sample: &[u8],
    ) -> Result<Self, LayoutError> {
        let slots = json::Slots::new(columns, &spec.fields);
        if let Some(column) = slots.contradictory() {
            return Err(LayoutError::TwoNotations { column: column.to_owned() });
        }
        let keys = json::keys(names, format, sample);
        if !keys.is_empty() {
            check_columns(columns, &keys, &sources_of(columns, names, &keys))?;
        }
        Ok(Self {
            format,
            cell_of_field: slots.of_column.iter().copied().map(Some).collect(),
            array_of_field: Vec::new(),
            dates: Vec::new(),
            unknown: unknown(names, &keys),
            header: slots.names,
            rules: RowRules::default(),
        })
    }

    /// Determines, from the rows of the sample, the formats of the date columns that the options do not set, and the
    /// keys in the items of arrays that no field uses.
    fn look_at_rows(&mut self, spec: &Spec, sample: &[u8]) -> Result<(), LayoutError> {
        let is_open = |field: usize| is_date(&spec.fields[field]) && self.dates[field].is_none();
        let is_in_array = |field: usize| self.array_of_field[field].is_some();
        let open: Vec<bool> = (0..spec.fields.len()).map(is_open).collect();
        let has_cell = |&field: &usize| open[field] && !is_in_array(field);
        let cells_of_dates: Vec<(usize, usize)> =
            (0..open.len()).filter(has_cell).filter_map(|field| Some((field, self.cell_of_field[field]?))).collect();
        let mut evidence = vec![Evidence::default(); open.len()];
        let has_arrays = (0..open.len()).any(is_in_array);
        if has_arrays || !cells_of_dates.is_empty() {
            let unknown = self.each_row(spec, sample, |row, cells, arrays| {
                for &(field, cell) in &cells_of_dates {
                    weigh(&spec.fields[field], cells.get(row, cell), &mut evidence[field]);
                }
                if has_arrays && let Ok(row) = std::str::from_utf8(row) {
                    let mut see = |field: usize, text: &str| {
                        if open[field] {
                            weigh(&spec.fields[field], text.as_bytes(), &mut evidence[field]);
                        }
                    };
                    arrays.each_value(row, cells, &mut see);
                }
            });
            self.unknown.extend(unknown);
        }
        self.decide_dates(spec, &open, &evidence)
    }

    /// Determines the formats of the dates of the open fields.
    fn decide_dates(&mut self, spec: &Spec, open: &[bool], evidence: &[Evidence]) -> Result<(), LayoutError> {
        for field in (0..open.len()).filter(|&field| open[field]) {
            let column = match self.cell_of_field[field] {
                Some(cell) if self.array_of_field[field].is_none() => &self.header[cell],
                _ => &spec.fields[field].name,
            };
            self.dates[field] = match evidence[field].decide() {
                // The rows of this column were rejected before. Uncorrected rows are rejected again, row by row,
                // instead of stopping the load.
                Decision::Unknown { .. } if self.is_reject_file() => Some(DateFormat::Iso),
                decision => Some(settle(column, decision)?),
            };
        }
        Ok(())
    }

    /// Returns the layout of these fields only, for one of several kinds of documents.
    #[must_use]
    pub fn of_fields(&self, fields: Range<usize>) -> Self {
        Self {
            cell_of_field: self.cell_of_field[fields.clone()].to_vec(),
            array_of_field: self.array_of_field[fields.clone()].to_vec(),
            dates: self.dates[fields].to_vec(),
            ..self.clone()
        }
    }

    /// Returns the cells that several fields of `spec` read by different rules. Arrays are not among them, because only
    /// one kind of document reads the column of an array.
    pub(crate) fn contested_cells(&self, spec: &Spec) -> Vec<usize> {
        let is_contested = |&cell: &usize| {
            let mut fields = (0..spec.fields.len()).filter(|&field| self.cell_of_field[field] == Some(cell));
            let Some(first) = fields.next().filter(|&field| self.array_of_field[field].is_none()) else { return false };
            fields.any(|field| {
                self.dates[field] != self.dates[first] || !spec.fields[field].reads_like(&spec.fields[first])
            })
        };
        (0..self.header.len()).filter(is_contested).collect()
    }

    /// Returns true if the source is a reject file.
    pub(super) fn is_reject_file(&self) -> bool {
        REJECT_COLUMNS.iter().all(|name| self.header.iter().any(|column| column == name))
    }

    /// Calls `see` for each row of the sample that can be parsed. Returns the keys in the items of arrays that no field
    /// uses.
    fn each_row(&self, spec: &Spec, sample: &[u8], mut see: impl FnMut(&[u8], &Cells, &Arrays)) -> Vec<String> {
        let mut parser = Parser::new(self, spec);
        let mut cells = Cells::default();
        for span in self.format.rows(sample) {
            let row = row_of(sample, span);
            if parser.parse(row, span, &mut cells).is_ok() {
                see(row, &cells, parser.arrays());
            }
        }
        parser.arrays().unknown_keys()
    }
}

fn row_of(sample: &[u8], span: RowSpan) -> &[u8] {
    &sample[span.start as usize..span.end as usize]
}

/// Returns, for each field, its cell. `cells` has the cells of the spec's columns.
fn cell_of_field(spec: &Spec, columns: &[Column<'_>], cells: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut cell_of_field = vec![None; spec.fields.len()];
    for (column, cell) in columns.iter().zip(cells) {
        cell_of_field[column.node.fields()].fill(*cell);
    }
    cell_of_field
}

/// Returns, for each field, the number of its array.
fn array_of_field(spec: &Spec, columns: &[Column<'_>]) -> Vec<Option<usize>> {
    let mut array_of_field = vec![None; spec.fields.len()];
    for (number, column) in columns.iter().filter(|column| column.node.is_array()).enumerate() {
        array_of_field[column.node.fields()].fill(Some(number));
    }
    array_of_field
}

/// Returns, for each column of the spec, the columns of the source that belong to it.
fn sources_of(columns: &[Column<'_>], names: &Columns, header: &[String]) -> Vec<Vec<usize>> {
    let mut sources = vec![Vec::new(); columns.len()];
    for (cell, name) in header.iter().enumerate() {
        names.of(name).iter().for_each(|&column| sources[column].push(cell));
    }
    sources
}

fn check_columns(columns: &[Column<'_>], header: &[String], sources: &[Vec<usize>]) -> Result<(), LayoutError> {
    if sources.iter().all(Vec::is_empty) {
        let expected = columns.iter().map(|column| column.column.to_owned()).collect();
        return Err(LayoutError::NoKnownColumn { columns: header.len(), expected });
    }
    let is_missing =
        |(column, sources): &(&Column<'_>, &Vec<usize>)| column.presence != Presence::Optional && sources.is_empty();
    let missing: Vec<String> =
        columns.iter().zip(sources).filter(is_missing).map(|(column, _)| column.column.to_owned()).collect();
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

fn unknown(names: &Columns, header: &[String]) -> Vec<String> {
    header.iter().filter(|name| names.of(name).is_empty() && !names.is_ignored(name)).cloned().collect()
}

fn is_date(field: &Field) -> bool {
    matches!(field.kind, FieldType::Date | FieldType::Datetime)
}

/// Returns the date formats from the options, for each field of the spec. A field inside an array is named as in the
/// document.
fn given_dates(
    spec: &Spec,
    columns: &[Column<'_>],
    options: &LayoutOptions,
) -> Result<Vec<Option<DateFormat>>, LayoutError> {
    let mut dates = vec![None; spec.fields.len()];
    let everywhere = options.date_formats.iter().filter(|(column, _)| column.is_none());
    let named = options.date_formats.iter().filter(|(column, _)| column.is_some());
    for (name, format) in everywhere.chain(named) {
        let is_column = |field: usize, name: &str| {
            let column = columns.iter().find(|column| column.field == field);
            column.is_some_and(|column| !matches!(column.node, Node::Group { .. }) && is_named(column, name))
                || column_key(&spec.fields[field].name) == column_key(name)
        };
        let is_meant = |field: usize| name.as_ref().is_none_or(|name| is_column(field, name));
        let meant: Vec<usize> =
            (0..dates.len()).filter(|&field| is_date(&spec.fields[field]) && is_meant(field)).collect();
        if let (Some(column), true) = (name, meant.is_empty()) {
            let known = (0..dates.len()).filter(|&field| is_date(&spec.fields[field]));
            let known = known.map(|field| name_of_date(spec, columns, field)).collect();
            return Err(LayoutError::UnknownDateColumn { column: column.clone(), known });
        }
        for field in meant {
            dates[field] = Some(*format);
        }
    }
    Ok(dates)
}

/// Returns the name by which a user gives the format of a field's dates.
fn name_of_date(spec: &Spec, columns: &[Column<'_>], field: usize) -> String {
    let is_own = |column: &&Column<'_>| column.field == field && !matches!(column.node, Node::Group { .. });
    let own = columns.iter().find(is_own);
    own.map_or(spec.fields[field].name.as_str(), |column| column.column).to_owned()
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
