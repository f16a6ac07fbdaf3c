//! Divides text into rows at line ends.

use memchr::memchr;

use super::Place;

/// Finds line ends. No other character has a special meaning.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub(super) line_end: u8,
}

impl Lines {
    /// Returns the position of the next line end, or `None` if there is none in `bytes`.
    pub(super) fn find_end(&self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        let found = memchr(self.line_end, &bytes[place.at..]).map(|found| place.at + found);
        place.at = found.unwrap_or(bytes.len());
        found
    }
}
