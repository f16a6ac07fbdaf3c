//! Each line is a row.

use memchr::memchr;

use super::Place;

/// Finds line ends. No other byte is special.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub(super) line_end: u8,
}

impl Lines {
    /// Returns the position of the next line end, if it is in `bytes`.
    pub(super) fn find_end(&self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        let found = memchr(self.line_end, &bytes[place.at..]).map(|found| place.at + found);
        place.at = found.unwrap_or(bytes.len());
        found
    }
}
