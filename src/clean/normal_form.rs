//! Applies Unicode normalization form C.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Applies the rule `nfc`, so that the same text always has the same bytes. For example, a source can contain `é` as
/// one character or as `e` with a combining accent. The rule makes it one character.
pub(super) fn nfc(text: &str, out: &mut String) -> bool {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return false;
    }
    out.clear();
    out.extend(text.nfc());
    out != text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decomposed_characters_are_composed() {
        for (input, expected) in
            [("Zoe\u{308}", "Zoë"), ("Zoë", "Zoë"), ("plain", "plain"), ("\u{212a}", "K"), ("q\u{301}", "q\u{301}")]
        {
            let mut out = String::new();
            let changed = nfc(input, &mut out);
            assert_eq!(if changed { &out } else { input }, expected, "{input:?}");
            assert_eq!(changed, input != expected, "{input:?}");
        }
    }
}
