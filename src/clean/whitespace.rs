//! Collapses white space.

pub(super) use crate::spec::{is_blank, trim};

/// Applies the rule `collapse_whitespace`: each sequence of white space inside the text becomes one space.
pub(super) fn collapse(text: &str, out: &mut String) -> bool {
    if is_single_spaced(text.as_bytes()) {
        return false;
    }
    collapse_any(text, out)
}

/// Returns true if the bytes are printable ASCII without consecutive spaces. Such a text needs no change. The loop
/// always reads all bytes, so that the compiler can use vector instructions.
pub(super) fn is_single_spaced(bytes: &[u8]) -> bool {
    let found = bytes.iter().zip(bytes.get(1..).unwrap_or_default()).fold(0, |found, (&left, &right)| {
        found | u8::from(is_unprintable(left)) | (u8::from(left == b' ') & u8::from(right == b' '))
    });
    found == 0 && !bytes.last().is_some_and(|last| is_unprintable(*last))
}

/// Returns true if the byte is not printable ASCII. The function has no branch, only a subtraction and a comparison.
const fn is_unprintable(byte: u8) -> bool {
    byte.wrapping_sub(b' ') > b'~' - b' '
}

fn collapse_any(text: &str, out: &mut String) -> bool {
    out.clear();
    let mut after_space = false;
    for c in text.chars() {
        let space = c.is_whitespace();
        if !space {
            out.push(c);
        } else if !after_space {
            out.push(' ');
        }
        after_space = space;
    }
    out != text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn surrounding_white_space_is_removed() {
        for (input, expected) in [
            ("", ""),
            ("a", "a"),
            (" a ", "a"),
            ("\u{feff}a b\u{a0}", "a b"),
            ("\u{a0}\u{200b} \t", ""),
            ("é", "é"),
            ("\r\na\u{3000}", "a"),
        ] {
            assert_eq!(trim(input), expected, "{input:?}");
        }
    }

    #[test]
    fn runs_of_white_space_become_one_space() {
        for (input, expected) in [
            ("a b", "a b"),
            ("a  b", "a b"),
            ("a\tb", "a b"),
            ("a\r\n b", "a b"),
            ("a\u{a0}\u{2003}b", "a b"),
            ("a\u{a0}\u{a0}\u{2003}\u{a0}b", "a b"),
            ("é à", "é à"),
            ("", ""),
        ] {
            let mut out = String::new();
            let changed = collapse(input, &mut out);
            assert_eq!(if changed { &out } else { input }, expected, "{input:?}");
            assert_eq!(changed, input != expected, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn fast_and_slow_collapse_agree(text in "[a \t\u{a0}é]{0,20}|.{0,20}") {
            let (mut fast, mut slow) = (String::new(), String::new());
            let changed = collapse(&text, &mut fast);
            prop_assert_eq!(changed, collapse_any(&text, &mut slow));
            prop_assert_eq!(if changed { &fast } else { &text }, &slow);
        }

        #[test]
        fn fast_and_slow_trim_agree(text in "[a \t\u{a0}\u{feff}é]{0,8}|.{0,8}") {
            prop_assert_eq!(trim(&text), text.trim_matches(is_blank));
        }
    }

    #[test]
    fn a_zero_width_character_inside_a_text_is_not_a_space() {
        for c in ['\u{feff}', '\u{200b}', '\u{2060}', '\u{200c}'] {
            let mut out = String::new();
            assert!(!collapse(&format!("a{c}b"), &mut out), "{c:?}");
        }
    }
}
