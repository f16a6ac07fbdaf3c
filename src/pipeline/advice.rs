//! Advice for a load whose rows are mostly rejected for one reason: the settings with which the refused cells are
//! accepted. A setting is proposed only after it was tried on refused cells. The advice contains no cell.

mod settings;

use std::collections::BTreeMap;
use std::fmt;

use super::plan::Plan;
use crate::parse::DateFormat;
use crate::read::{Encoding, is_decodable};
use crate::reject::{Reason, RejectedRow};
use crate::wording::counted;

/// Largest number of cells that are kept for one reason and field.
const CELLS_MAX: usize = 300;

/// Cells with more bytes than this are not kept.
const CELL_BYTES_MAX: usize = 1000;

/// The reasons for which settings are tried.
const REASONS: [Reason; 4] = [Reason::NotANumber, Reason::NotAnInteger, Reason::NotADate, Reason::Undecodable];

/// The first refused cells for each reason and field. If a row was refused as a whole because some cells are not UTF-8,
/// these cells are joined and stored as one cell.
#[derive(Default)]
pub(super) struct RefusedCells(BTreeMap<(&'static str, Option<usize>), Vec<Refused>>);

struct Refused {
    source: usize,
    bytes: Vec<u8>,
}

/// Cells are patients' values, so only their number is shown.
impl fmt::Debug for RefusedCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused cells", self.0.values().map(Vec::len).sum::<usize>())
    }
}

/// The reason for which most rows were rejected.
pub(super) struct Cause {
    /// The stable name of the reason.
    pub(super) reason: &'static str,
    /// Index of the field in [`Plan::spec`]. `None` if the rows were refused as a whole.
    pub(super) field: Option<usize>,
    /// Number of rows rejected for this reason.
    pub(super) count: u64,
    /// Number of rows read.
    pub(super) rows: u64,
}

impl RefusedCells {
    /// Keeps the cell for which a row was refused, if a setting can be tried on the cell. Does nothing if [`CELLS_MAX`]
    /// cells are kept already.
    pub(super) fn add(&mut self, row: &RejectedRow, plan: &Plan) {
        let (reason, field) = (row.reject.reason, row.reject.field);
        if !REASONS.contains(&reason) {
            return;
        }
        let kept = self.0.entry((reason.code(), field)).or_default();
        if kept.len() == CELLS_MAX {
            return;
        }
        let layout = &plan.sources[row.source].layout;
        let bytes = match field {
            None => Some(undecoded(&row.cells)),
            Some(field) if layout.array_of_field[field].is_some() => None,
            Some(field) => layout.cell_of_field[field].and_then(|cell| row.cells.get(cell)).cloned(),
        };
        let bytes = bytes.filter(|bytes| bytes.len() <= CELL_BYTES_MAX);
        kept.extend(bytes.map(|bytes| Refused { source: row.source, bytes }));
    }

    /// Returns one or two lines: the cause, and the settings with which the refused cells are accepted.
    pub(super) fn advice(&self, plan: &Plan, cause: &Cause) -> Vec<String> {
        let Cause { reason, field, count, rows } = *cause;
        let place = match field {
            Some(field) => format!(" in the field `{}`", plan.spec.fields[field].name),
            None => String::new(),
        };
        let are = if count == 1 { "is" } else { "are" };
        let headline =
            format!("{count} of {} {are} rejected for one reason: `{reason}`{place}", counted(rows, "row", "rows"));
        let cells = self.0.get(&(reason, field)).map_or(&[][..], Vec::as_slice);
        let remedy = if cells.is_empty() { None } else { remedy(plan, reason, field, cells) };
        // Warn the user about the other rows, because the setting was tried only on refused cells.
        let note = if count < rows { "; the setting also applies to all other rows" } else { "" };
        let remedy = remedy.map(|remedy| remedy + note);
        [Some(headline), remedy].into_iter().flatten().collect()
    }
}

/// Tries settings on the refused cells: date formats for [`Reason::NotADate`], number formats for other reasons, and
/// the encoding for rows that were refused as a whole. If a setting fits, returns the text that proposes it.
fn remedy(plan: &Plan, reason: &str, field: Option<usize>, cells: &[Refused]) -> Option<String> {
    let Some(field) = field else { return encoding(plan, cells) };
    let date = plan.sources[cells[0].source].layout.dates[field].unwrap_or(DateFormat::Iso);
    let field = &plan.spec.fields[field];
    let settings = match reason {
        _ if reason == Reason::NotADate.code() => settings::of_date(field, date),
        _ => settings::of_number(field),
    };
    let bytes: Vec<&[u8]> = cells.iter().map(|cell| cell.bytes.as_slice()).collect();
    let fitting = settings::fitting(&settings, &bytes);
    let (first, accepted) = fitting.first()?;
    let texts: Vec<&str> = fitting.iter().map(|(setting, _)| setting.text.as_str()).collect();
    let tried = cells.len();
    let (with, check) = match texts[..] {
        [only] => (only.to_owned(), ""),
        _ => {
            (texts.join(" or "), "; these settings read the same text as different values, so look at the source first")
        }
    };
    let place = if first.is_option { String::new() } else { in_spec(plan, &field.name) };
    Some(format!("with {with}{place}, {accepted} of {tried} refused cells that were tried are accepted{check}"))
}

/// Says where in the spec a setting belongs. The built-in spec first has to be written to a file.
fn in_spec(plan: &Plan, field: &str) -> String {
    let copy = if plan.spec.origin.starts_with("built-in:") {
        " (`medlift spec show > my.toml` writes the built-in spec to a file; load with --spec my.toml)"
    } else {
        ""
    };
    format!(" under the field `{field}` of the spec{copy}")
}

/// Joins the cells that are not UTF-8. Stops before the joined text becomes longer than [`CELL_BYTES_MAX`].
fn undecoded(cells: &[Vec<u8>]) -> Vec<u8> {
    let mut found = Vec::new();
    for cell in cells.iter().filter(|cell| std::str::from_utf8(cell).is_err()) {
        if found.len() + cell.len() > CELL_BYTES_MAX {
            break;
        }
        found.extend_from_slice(cell);
    }
    found
}

/// Proposes windows-1252 if nearly all cells can be decoded with it. A cell with valid UTF-8 characters outside ASCII
/// counts as not decodable. Reason: nearly all bytes are valid in windows-1252, but such a cell is probably damaged
/// UTF-8.
fn encoding(plan: &Plan, cells: &[Refused]) -> Option<String> {
    let wanted = Encoding::Windows1252;
    let has_utf8 = |bytes: &[u8]| bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    // A source in another encoding was converted to UTF-8, so its original bytes are not known here. Its cells count as
    // not decodable.
    let accepts = |row: &&Refused| {
        plan.sources[row.source].encoding == Encoding::Utf8 && is_decodable(wanted, &row.bytes) && !has_utf8(&row.bytes)
    };
    let (accepted, tried) = (cells.iter().filter(accepts).count(), cells.len());
    settings::is_enough(accepted, tried).then(|| {
        let wanted = wanted.name();
        format!(
            "with --encoding {wanted}, {accepted} of {tried} refused rows that were tried can be decoded; check names \
             with accents in the result"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::settle::tests::plan_of;
    use crate::reject::Reject;

    #[test]
    fn the_first_refused_cells_are_kept_and_never_shown() {
        let (_dir, plan) = plan_of(&[("a.csv", "Name,Age\nann,1\n")]);
        let mut refused = RefusedCells::default();
        let mut add = |reason, field, cell: &[u8]| {
            let reject = Reject { field, reason, message: String::new() };
            let cells = vec![b"Zzyzx".to_vec(), cell.to_vec()];
            refused.add(
                &RejectedRow { source: 0, line: 1, offset: 0, reject, kinds: crate::reject::RowKinds::All, cells },
                &plan,
            );
        };
        for _ in 0..CELLS_MAX + 7 {
            add(Reason::NotAnInteger, Some(1), b"1.234");
        }
        add(Reason::NotAnInteger, Some(1), &[b'1'; CELL_BYTES_MAX + 1]);
        add(Reason::Missing, Some(1), b"");
        add(Reason::Undecodable, None, b"\xff");
        assert_eq!(format!("{refused:?}"), format!("{} refused cells", CELLS_MAX + 1));
        let cause = Cause { reason: "not_an_integer", field: Some(1), count: 307, rows: 310 };
        let expected = [
            "307 of 310 rows are rejected for one reason: `not_an_integer` in the field `Age`",
            "with thousands = \".\" under the field `Age` of the spec, 300 of 300 refused cells that were tried are accepted; the setting also applies to all other rows",
        ];
        assert_eq!(refused.advice(&plan, &cause), expected);
    }
}
