//! Compares names and values, and ignores differences in spelling such as letter case. For a mistyped word, finds the
//! allowed word that is most similar.

use unicode_normalization::UnicodeNormalization;

/// Returns true if a character is white space. Invisible characters that some programs export at the start or end of a
/// cell count as white space: byte order mark, zero-width space, word joiner.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}')
}

/// Removes the white space around a text. Every cell is trimmed like this.
#[inline]
pub fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [0x21..=0x7e] | [0x21..=0x7e, .., 0x21..=0x7e] => text,
        _ => text.trim_matches(is_blank),
    }
}

/// The name of MongoDB's own key. A source's column `_id` belongs to a field only if the field's `column` or one of its
/// `aliases` is exactly `_id`. Reason: column names are compared without underscores. Without this rule, the column
/// `id`, which many sources have, would be taken for `_id`.
pub(crate) const ID_COLUMN: &str = "_id";

/// Returns the key of a column's name. Two columns with the same key are the same column. The key ignores letter case,
/// white space, underscores and hyphens: `Blood Type`, `blood_type`, `bloodType` and `BLOOD-TYPE` all have the key
/// `bloodtype`.
pub(crate) fn column_key(name: &str) -> String {
    let ignored = |c: char| is_blank(c) || matches!(c, '_' | '-');
    name.nfc().filter(|&c| !ignored(c)).flat_map(char::to_lowercase).collect()
}

/// Returns true if two names mean the same column. `_id` and `id` have the same key, but are different columns.
pub(super) fn same_column(left: &str, right: &str) -> bool {
    (left == ID_COLUMN) == (right == ID_COLUMN) && column_key(left) == column_key(right)
}

/// Returns true if two texts are equal apart from letter case.
pub(crate) fn same_spelling(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
        || !left.is_ascii() && left.chars().flat_map(char::to_lowercase).eq(right.chars().flat_map(char::to_lowercase))
}

/// Returns the known word that is most similar to `word`. Returns `None` if no known word is similar enough.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let wanted = column_key(word);
    known
        .into_iter()
        .filter_map(|candidate| {
            let key = column_key(candidate);
            let longer = wanted.chars().count().max(key.chars().count());
            let distance = edit_distance(&wanted, &key);
            (distance < longer && distance <= (longer / 3).max(2)).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the Levenshtein distance: the number of characters to insert, delete or replace to change one text into the
/// other.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_column_share_a_key() {
        for name in ["Blood Type", "blood_type", "bloodType", "BLOOD TYPE", "blood-type", "\u{feff}Blood\u{a0}Type"] {
            assert_eq!(column_key(name), "bloodtype", "{name}");
        }
        assert_eq!(column_key("Pre\u{301}nom"), column_key("PRÉNOM"));
        assert_ne!(column_key("result.value"), column_key("resultvalue"));
    }

    #[test]
    fn spelling_disregards_case_only() {
        for (left, right, same) in [
            ("ab+", "AB+", true),
            ("élevé", "ÉLEVÉ", true),
            ("A+", "A-", false),
            ("A +", "A+", false),
            ("é", "e", false),
        ] {
            assert_eq!(same_spelling(left, right), same, "{left} {right}");
        }
    }

    #[test]
    fn invisible_characters_are_trimmed() {
        for c in [' ', '\t', '\u{a0}', '\u{feff}', '\u{200b}', '\u{2060}', '\u{3000}', '\u{85}'] {
            assert_eq!(trim(&format!("{c}a{c}b{c}")), format!("a{c}b"), "{c:?}");
        }
        for c in ['\u{200c}', '\u{ad}', '\u{7f}'] {
            assert_eq!(trim(&format!("{c}a")), format!("{c}a"), "{c:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_not_the_first() {
        assert_eq!(closest("rangf", ["ranks", "range"]), Some("range"));
        assert_eq!(
            closest("rangf", ["range", "rangy"]),
            Some("range"),
            "of two equally similar words, the first must be suggested"
        );
    }

    #[test]
    fn a_near_word_is_suggested() {
        let known = ["aliases", "range", "required"];
        for (word, expected) in [
            ("alias", Some("aliases")),
            ("Range", Some("range")),
            ("colour", None),
            ("x", None),
            ("rng", Some("range")),
        ] {
            assert_eq!(closest(word, known), expected, "{word}");
        }
    }
}
