//! Things in a source's rows that a person should know of, though they are no reason to refuse a row.

/// Cells with line breaks that are named; the others are counted.
const NAMED_MAX: usize = 5;

/// What was noticed in some rows of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// Rows of nothing but delimiters, which were passed over.
    pub blank_rows: u64,
    /// Unquoted cells with a quote inside.
    pub loose_quotes: u64,
    /// Cells that hold line breaks.
    pub multiline_cells: u64,
    /// First and last line of the first of them.
    pub multiline: Vec<(u64, u64)>,
}

impl Notices {
    /// Adds the notices of rows that follow.
    pub fn add(&mut self, later: &Self) {
        self.blank_rows += later.blank_rows;
        self.loose_quotes += later.loose_quotes;
        self.multiline_cells += later.multiline_cells;
        let room = NAMED_MAX - self.multiline.len().min(NAMED_MAX);
        self.multiline.extend(later.multiline.iter().take(room));
    }

    /// Counts a cell that holds the line breaks between two lines.
    pub(super) fn add_multiline(&mut self, first: u64, last: u64) {
        self.multiline_cells += 1;
        if self.multiline.len() < NAMED_MAX {
            self.multiline.push((first, last));
        }
    }
}
