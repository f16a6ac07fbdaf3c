//! Reads the header of delimited text, and finds out how the rows differ from it.

use super::quotes::{is_blank, is_enclosed};
use super::split::split_row;
use crate::parse::{Cells, Dialect, Format, LayoutError, LayoutOptions, RowRules};
use crate::read::{Ending, Framing, RowSpan, records};

/// Largest number of columns. It is more than real tables have, and limits the memory for the names.
const COLUMNS_MAX: usize = 10_000;

/// Returns the names of the columns, which are in the first row.
pub(in crate::parse) fn read_header(dialect: Dialect, sample: &[u8]) -> Result<Vec<String>, LayoutError> {
    let bad = |reason| LayoutError::BadHeader { reason };
    let span = records(sample, Framing::Delimited(dialect)).next().ok_or(LayoutError::NoHeader)?;
    if span.ending != Ending::Whole {
        return Err(bad("a quoted name is not closed"));
    }
    let row = row_of(sample, span);
    let mut cells = Cells::default();
    split_row(row, dialect, &mut cells)
        .map_err(|_| bad("there is text between a closing quote and the next delimiter"))?;
    if cells.len() > COLUMNS_MAX {
        return Err(LayoutError::TooManyColumns { columns: cells.len(), max: COLUMNS_MAX });
    }
    let name = |cell| std::str::from_utf8(unquoted(cells.get(row, cell))).map(|name| name.trim().to_owned());
    (0..cells.len())
        .map(name)
        .collect::<Result<_, _>>()
        .map_err(|_| bad("it is not valid UTF-8; give the encoding with --encoding"))
}

/// Removes the quotes around a column's name. The header may have quotes even if quotes are ordinary characters in the
/// rows.
fn unquoted(name: &[u8]) -> &[u8] {
    let name = name.trim_ascii();
    if name.len() > 1 && is_enclosed(name) { &name[1..name.len() - 1] } else { name }
}

/// Determines from the rows of the sample how rows differ from the header, for example by one more delimiter at the
/// end.
pub(in crate::parse) fn row_rules(
    dialect: Dialect,
    sample: &[u8],
    header: &[String],
    options: &LayoutOptions,
) -> RowRules {
    let columns = header.len();
    let has_unnamed_last = columns > 1 && header.last().is_some_and(String::is_empty);
    let (mut rows, mut longer, mut shorter) = (0, 0, 0);
    let mut cells = Cells::default();
    for span in Format::Csv(dialect).rows(sample) {
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

fn row_of(sample: &[u8], span: RowSpan) -> &[u8] {
    &sample[span.start as usize..span.end as usize]
}
