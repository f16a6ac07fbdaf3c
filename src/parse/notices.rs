//! Notices for the user about the rows of a source. A notice does not reject a row.

/// Largest number of cells with line breaks whose line numbers are shown. Further cells are only counted.
const NAMED_MAX: usize = 5;

/// The notices about rows of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// Number of rows that were skipped because all their cells are blank.
    pub blank_rows: u64,
    /// Number of cells that contain a quote but are not enclosed in quotes. Cells with escape characters are not
    /// counted.
    pub loose_quotes: u64,
    /// Number of escapes in HL7 messages that Medlift does not know. They stay in the values as they are.
    pub kept_escapes: u64,
    /// Number of references in FHIR resources such as `urn:uuid:…` for which no entry of a Bundle is known.
    pub lost_references: u64,
    /// Number of cells that contain line breaks.
    pub multiline_cells: u64,
    /// The first and the last line of each cell that contains line breaks, for at most five cells.
    pub multiline: Vec<(u64, u64)>,
}

impl Notices {
    /// Adds the notices about later rows of the same source.
    pub fn add(&mut self, later: &Self) {
        self.blank_rows += later.blank_rows;
        self.loose_quotes += later.loose_quotes;
        self.kept_escapes += later.kept_escapes;
        self.lost_references += later.lost_references;
        self.multiline_cells += later.multiline_cells;
        let left = NAMED_MAX - self.multiline.len().min(NAMED_MAX);
        self.multiline.extend(later.multiline.iter().take(left));
    }

    /// Counts a cell with line breaks. It begins on line `first` and ends on line `last`.
    pub(super) fn add_multiline(&mut self, first: u64, last: u64) {
        self.multiline_cells += 1;
        if self.multiline.len() < NAMED_MAX {
            self.multiline.push((first, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notices(cells: u64) -> Notices {
        let mut notices = Notices { blank_rows: 1, loose_quotes: 2, ..Notices::default() };
        (0..cells).for_each(|line| notices.add_multiline(line, line + 1));
        notices
    }

    #[test]
    fn all_cells_are_counted_and_the_lines_of_five_are_kept() {
        let six = notices(6);
        assert_eq!((six.multiline_cells, six.multiline.len(), six.multiline[4]), (6, 5, (4, 5)));
        let mut sum = notices(3);
        sum.add(&notices(4));
        assert_eq!((sum.blank_rows, sum.loose_quotes, sum.multiline_cells), (2, 4, 7));
        assert_eq!(sum.multiline, [(0, 1), (1, 2), (2, 3), (0, 1), (1, 2)]);
        sum.add(&notices(1));
        assert_eq!((sum.multiline_cells, sum.multiline.len()), (8, 5));
    }
}
