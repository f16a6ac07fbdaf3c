//! When two column names count as the same.

use unicode_normalization::UnicodeNormalization;

/// What remains of a column's name once case, white space, underscores and hyphens are disregarded: `Blood Type`,
/// `blood_type`, `bloodType` and `BLOOD-TYPE` share the key `bloodtype`. Two columns with equal keys are the same column.
pub fn column_key(name: &str) -> String {
    let ignored = |c: char| c.is_whitespace() || matches!(c, '_' | '-' | '\u{feff}' | '\u{200b}' | '\u{2060}');
    name.nfc().filter(|&c| !ignored(c)).flat_map(char::to_lowercase).collect()
}
