//! Determines the layout of a source before its rows are loaded: which cell belongs to which field, how rows may differ
//! from the header, and the date formats.

use std::ops::Range;

use super::columns::{Columns, check_columns, check_twice, is_named, sources_of, unknown};
use super::csv::{read_header, row_rules};
use super::dates::{DateFormat, Decision, Evidence};
use super::hl7::Charset;
use super::items::Arrays;
use super::thousands::{Marks, decimal_mark};
use super::{Cells, Dialect, Format, LayoutError, Parser, REJECT_COLUMNS, json};
use crate::read::RowSpan;
use crate::spec::{Column, Field, FieldType, FormatName, Node, Sign, SourceFormat, Spec, Zone, column_key};

/// The layout of a source says which cell of a row belongs to which field, and in which format its dates are written.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The format of the source.
    pub format: Format,
    /// For each field of the spec, the index of its cell in a row. `None` if the source has no column for it. All
    /// fields of a repeating group have the same cell.
    pub cell_of_field: Vec<Option<usize>>,
    /// For each field of the spec, the number of the array that contains it. `None` if it is not in an array. The
    /// arrays among the spec's columns are numbered from 0. For FHIR resources, the numbers begin at 0 for each kind of
    /// document.
    pub array_of_field: Vec<Option<usize>>,
    /// For each field of the spec, the format of its dates. `None` if it is not a date.
    pub dates: Vec<Option<DateFormat>>,
    /// The names of the cells. The header of a reject file contains them. For delimited text, the names are the header
    /// of the source. For other formats, they are the names of the spec's columns in the order of the spec.
    pub header: Vec<String>,
    /// Names that no field uses: columns of the source, and keys in the items of arrays. `_id` and the extra columns of
    /// a reject file are left out.
    pub unknown: Vec<String>,
    /// For HL7 messages: the character set of a message that names none and is not UTF-8.
    pub(crate) charset: Charset,
    /// True if the source is a file of rejected FHIR resources. Only the name of such a file shows this, because it has
    /// no header.
    pub(crate) is_of_resource_rejects: bool,
    /// How rows may differ from the header, and whether quotes have a meaning.
    pub rules: RowRules,
    /// Notices about columns of numbers that can be read in two ways.
    pub doubtful_numbers: Vec<String>,
}

/// How rows of delimited text may differ from the header, and whether quotes have a meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowRules {
    /// True if cells may contain lines that look like rows, because the user allows it.
    pub multiline_cells: bool,
    /// True if each row of the sample has one more cell than the header, and this cell is blank. An example is a source
    /// in which each row ends with a delimiter. The blank cell is then ignored. Rows that cannot be split do not count.
    pub extra_cell: bool,
    /// True if the header ends with a delimiter, and each row of the sample has one cell fewer than the header. The
    /// last name of the header, which is empty, was then removed.
    pub shortened_header: bool,
    /// True if Medlift found out from the sample that quotes are ordinary characters.
    pub no_quotes: bool,
}

/// The user's settings for the layout of a source. If delimiter, format, quote or date formats are not given, they are
/// detected.
#[derive(Debug, Clone, Default)]
pub struct LayoutOptions {
    /// The delimiter.
    pub delimiter: Option<u8>,
    /// Date formats, each with the name of its column. `None` means all date columns. A format with a column name takes
    /// precedence.
    pub date_formats: Vec<(Option<String>, DateFormat)>,
    /// The format.
    pub format: Option<FormatName>,
    /// The quote character.
    pub quote: Option<Sign>,
    /// The escape character.
    pub escape: Option<Sign>,
    /// True if cells may contain lines that look like rows.
    pub multiline_cells: bool,
}

impl LayoutOptions {
    /// Returns true if the options give a delimiter, a quote or an escape character. Only delimited text has such
    /// characters.
    pub(super) fn is_of_table(&self) -> bool {
        self.delimiter.is_some() || self.quote.is_some() || self.escape.is_some()
    }

    /// Returns a copy of these options. If they do not give one of format, delimiter, quote and escape character, it is
    /// taken from the spec's `[source]`. `multiline_cells` is true if it is true in the options or in the spec.
    #[must_use]
    pub fn or(&self, source: &SourceFormat) -> Self {
        Self {
            format: self.format.or(source.format),
            delimiter: self.delimiter.or(source.delimiter),
            quote: self.quote.or(source.quote),
            escape: self.escape.or(source.escape),
            multiline_cells: self.multiline_cells || source.multiline_cells,
            ..self.clone()
        }
    }
}

impl Layout {
    /// Determines the cell of each field, and the format of each date field.
    ///
    /// `sample` is the beginning of the source in UTF-8, with the header if the format has one. If the options do not
    /// give the date format of a field, it is determined from the rows of the sample.
    pub fn bind(spec: &Spec, format: Format, sample: &[u8], options: &LayoutOptions) -> Result<Self, LayoutError> {
        check_format(spec, format, sample)?;
        let columns = spec.columns();
        let names = Columns::new(&columns);
        let mut layout = match format {
            Format::Csv(dialect) => Self::bind_header(&spec.origin, &columns, &names, dialect, sample, options)?,
            Format::Ndjson | Format::Json => Self::bind_keys(spec, &columns, &names, format, sample)?,
            Format::Hl7 | Format::Fhir(_) => Self::bind_paths(format, spec, &columns),
        };
        layout.cell_of_field = cell_of_field(spec, &columns, &layout.cell_of_field);
        layout.array_of_field = array_of_field(spec, &columns);
        layout.dates = given_dates(spec, &columns, options)?;
        if format == Format::Hl7 {
            for (field, date) in spec.fields.iter().zip(&mut layout.dates).filter(|(field, _)| is_date(field)) {
                // For a field of the type `date`, the zone of the spec is ignored, because such a day is stored as
                // midnight UTC.
                let zone = if matches!(field.kind, FieldType::Date) { Zone::UTC } else { spec.source.zone };
                date.get_or_insert(DateFormat::Hl7 { zone });
            }
            // The rows are not examined, because all date formats are known.
            return Ok(layout);
        }
        if matches!(format, Format::Fhir(_)) {
            // FHIR has only this date format.
            for (_, date) in spec.fields.iter().zip(&mut layout.dates).filter(|(field, _)| is_date(field)) {
                date.get_or_insert(DateFormat::Iso);
            }
            return Ok(layout);
        }
        layout.look_at_rows(spec, sample)?;
        Ok(layout)
    }

    /// Creates the layout of delimited text. In this layout, `cell_of_field` has one entry per column of the spec.
    /// `bind` then changes it to one entry per field. `spec` is the name of the spec's text, for messages.
    fn bind_header(
        spec: &str,
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
        check_columns(spec, columns, names, &header, &sources)?;
        check_twice(names, &header, &sources)?;
        Ok(Self {
            format: Format::Csv(dialect),
            cell_of_field: sources.iter().map(|cells| cells.first().copied()).collect(),
            array_of_field: Vec::new(),
            dates: Vec::new(),
            unknown: unknown(names, &header),
            header,
            charset: Charset::default(),
            is_of_resource_rejects: false,
            rules,
            doubtful_numbers: Vec::new(),
        })
    }

    /// Creates the layout of JSON. In this layout, `cell_of_field` has one entry per column of the spec. `bind` then
    /// changes it to one entry per field.
    fn bind_keys(
        spec: &Spec,
        columns: &[Column<'_>],
        names: &Columns,
        format: Format,
        sample: &[u8],
    ) -> Result<Self, LayoutError> {
        let slots = json::Slots::new(columns, &spec.fields);
        if let Some(column) = json::without_place_for_all(spec, columns) {
            return Err(LayoutError::SeveralValues { column });
        }
        if let Some(column) = slots.contradictory() {
            return Err(LayoutError::TwoNotations { column: column.to_owned() });
        }
        let keys = json::keys(names, format, sample);
        if !keys.is_empty() {
            check_columns(&spec.origin, columns, names, &keys, &sources_of(columns, names, &keys))?;
        }
        Ok(Self {
            format,
            cell_of_field: slots.of_column.iter().copied().map(Some).collect(),
            array_of_field: Vec::new(),
            dates: Vec::new(),
            unknown: unknown(names, &keys),
            header: slots.names,
            charset: Charset::default(),
            is_of_resource_rejects: false,
            rules: RowRules::default(),
            doubtful_numbers: Vec::new(),
        })
    }

    /// Creates the layout of HL7 messages or FHIR resources: one cell per column of the spec, in the order of the spec.
    /// In this layout, `cell_of_field` has one entry per column. `bind` then changes it to one entry per field.
    fn bind_paths(format: Format, spec: &Spec, columns: &[Column<'_>]) -> Self {
        Self {
            format,
            cell_of_field: (0..)
                .zip(columns)
                .map(|(cell, column)| (!spec.is_derived(column)).then_some(cell))
                .collect(),
            array_of_field: Vec::new(),
            dates: Vec::new(),
            unknown: Vec::new(),
            header: columns.iter().map(|column| column.column.to_owned()).collect(),
            charset: Charset::default(),
            is_of_resource_rejects: false,
            rules: RowRules::default(),
            doubtful_numbers: Vec::new(),
        }
    }

    /// Reads the rows of the sample. Determines the date formats that the options do not give. Looks for numbers that
    /// can be read in two ways. Adds the unused keys in the items of arrays to `unknown`.
    fn look_at_rows(&mut self, spec: &Spec, sample: &[u8]) -> Result<(), LayoutError> {
        let is_open = |field: usize| is_date(&spec.fields[field]) && self.dates[field].is_none();
        let is_in_array = |field: usize| self.array_of_field[field].is_some();
        let open: Vec<bool> = (0..spec.fields.len()).map(is_open).collect();
        let has_cell = |&field: &usize| open[field] && !is_in_array(field);
        let cells_of_dates: Vec<(usize, usize)> =
            (0..open.len()).filter(has_cell).filter_map(|field| Some((field, self.cell_of_field[field]?))).collect();
        let mut evidence = vec![Evidence::default(); open.len()];
        let has_arrays = (0..open.len()).any(is_in_array);
        let mut numbers = self.number_columns(spec);
        if has_arrays || !cells_of_dates.is_empty() || !numbers.is_empty() {
            let unknown = self.each_row(spec, sample, |row, cells, arrays| {
                for found in &mut numbers {
                    found.marks.add(cells.get(row, found.cell), found.mark);
                }
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
        let notice = |found: &Numbers| found.marks.notice(&self.header[found.cell], &spec.fields[found.field]);
        self.doubtful_numbers = numbers.iter().filter_map(notice).collect();
        self.decide_dates(spec, &open, &evidence)
    }

    /// Returns the columns of delimited text whose fields store decimal numbers. Returns no columns for JSON, because
    /// the decimal mark of a JSON number is always a point.
    fn number_columns(&self, spec: &Spec) -> Vec<Numbers> {
        let column = |field: usize| {
            let (mark, cell) = (decimal_mark(&spec.fields[field])?, self.cell_of_field[field]?);
            let is_column = self.format.has_header() && self.array_of_field[field].is_none();
            is_column.then(|| Numbers { field, cell, mark, marks: Marks::default() })
        };
        (0..spec.fields.len()).filter_map(column).collect()
    }

    /// Determines the date formats of the fields for which `open` is true.
    fn decide_dates(&mut self, spec: &Spec, open: &[bool], evidence: &[Evidence]) -> Result<(), LayoutError> {
        for field in (0..open.len()).filter(|&field| open[field]) {
            let column = match self.cell_of_field[field] {
                Some(cell) if self.array_of_field[field].is_none() => &self.header[cell],
                _ => &spec.fields[field].name,
            };
            self.dates[field] = match evidence[field].decide() {
                // In a reject file, many dates may be in no known format, because that is why their rows were rejected.
                // Such dates must not stop the load. The rows that nobody has corrected are rejected again, one by one.
                Decision::Unknown { .. } if self.is_reject_file() => Some(DateFormat::Iso),
                decision => Some(settle(column, decision)?),
            };
        }
        Ok(())
    }

    /// Returns the layout of one kind of document. `fields` is the range of its fields.
    #[must_use]
    pub fn of_fields(&self, fields: Range<usize>) -> Self {
        Self {
            cell_of_field: self.cell_of_field[fields.clone()].to_vec(),
            array_of_field: self.array_of_field[fields.clone()].to_vec(),
            dates: self.dates[fields].to_vec(),
            ..self.clone()
        }
    }

    /// Returns the cells that several fields of `spec` read by different rules. An example is a cell that is a string
    /// in one kind of document and a number in another. Arrays are not among them, because only one kind of document
    /// reads the column of an array.
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

    /// Calls `see` for each row of the sample that can be parsed. Returns the unused keys in the items of arrays.
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

/// A column of numbers, and the decimal marks and thousands marks that were found in it.
struct Numbers {
    field: usize,
    cell: usize,
    mark: u8,
    marks: Marks,
}

/// Checks that the spec is for the format of the source. HL7 messages need a spec for messages, and FHIR resources need
/// a spec for resources. Other sources need a spec that is for neither of the two.
fn check_format(spec: &Spec, format: Format, sample: &[u8]) -> Result<(), LayoutError> {
    let is_for_messages = spec.source.format == Some(FormatName::Hl7);
    let is_for_resources = spec.source.format == Some(FormatName::Fhir);
    let origin = || spec.origin.clone();
    match format {
        Format::Fhir(_) if !is_for_resources => Err(LayoutError::NotForResources { spec: origin() }),
        Format::Fhir(_) if !sample.is_empty() && !sample.contains(&b'{') => {
            Err(LayoutError::NoResources { spec: origin(), bytes: sample.len() })
        }
        Format::Fhir(_) => Ok(()),
        _ if is_for_resources => Err(LayoutError::NoResources { spec: origin(), bytes: sample.len() }),
        Format::Hl7 if !is_for_messages => Err(LayoutError::NotForMessages { spec: origin() }),
        Format::Hl7 if format.rows(sample).any(|span| row_of(sample, span).starts_with(b"MSH")) => Ok(()),
        _ if is_for_messages => Err(LayoutError::NoMessages { spec: origin(), bytes: sample.len() }),
        _ => Ok(()),
    }
}

fn row_of(sample: &[u8], span: RowSpan) -> &[u8] {
    &sample[span.start as usize..span.end as usize]
}

/// Returns the cell of each field. `cells` has the cell of each column of the spec.
fn cell_of_field(spec: &Spec, columns: &[Column<'_>], cells: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut cell_of_field = vec![None; spec.fields.len()];
    for (column, cell) in columns.iter().zip(cells) {
        cell_of_field[column.node.fields()].fill(*cell);
    }
    cell_of_field
}

fn array_of_field(spec: &Spec, columns: &[Column<'_>]) -> Vec<Option<usize>> {
    let mut array_of_field = vec![None; spec.fields.len()];
    let (mut number, mut kind) = (0, 0);
    for column in columns.iter().filter(|column| column.node.is_array()) {
        // The row of a FHIR resource has only the arrays of one kind of document. Therefore the arrays of each kind are
        // numbered from 0.
        let own = spec.shape.document_of(column.field);
        if !spec.resources.is_empty() && own != kind {
            (number, kind) = (0, own);
        }
        array_of_field[column.node.fields()].fill(Some(number));
        number += 1;
    }
    array_of_field
}

fn is_date(field: &Field) -> bool {
    matches!(field.kind, FieldType::Date | FieldType::Datetime)
}

/// Returns for each field the date format that the options give. An option can name a field by its column or by its
/// name in the document. A field inside a repeating group can be named only by its name in the document.
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

/// Returns the name by which a user can give a format for the date field with `--date-format`.
fn name_of_date(spec: &Spec, columns: &[Column<'_>], field: usize) -> String {
    let is_own = |column: &&Column<'_>| column.field == field && !matches!(column.node, Node::Group { .. });
    let own = columns.iter().find(is_own);
    own.map_or(spec.fields[field].name.as_str(), |column| column.column).to_owned()
}

/// Counts the value of a cell as evidence for a date format. Empty cells, null markers and invalid UTF-8 are not
/// counted.
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
