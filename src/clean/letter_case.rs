//! Changes texts to upper or lower case.

use crate::spec::Casing;

/// Applies the rule `upper_case` or `lower_case`.
pub(super) fn apply(casing: Casing, text: &str, out: &mut String) -> bool {
    out.clear();
    match (casing, text.is_ascii()) {
        (Casing::Upper, true) => {
            out.push_str(text);
            out.make_ascii_uppercase();
        }
        (Casing::Lower, true) => {
            out.push_str(text);
            out.make_ascii_lowercase();
        }
        (Casing::Upper, false) => out.extend(text.chars().flat_map(char::to_uppercase)),
        (Casing::Lower, false) => out.extend(text.chars().flat_map(char::to_lowercase)),
    }
    out != text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_get_one_letter_case() {
        for (casing, input, expected) in [
            (Casing::Upper, "hb-a1c", "HB-A1C"),
            (Casing::Upper, "HB", "HB"),
            (Casing::Upper, "straße", "STRASSE"),
            (Casing::Lower, "MG/dL", "mg/dl"),
            (Casing::Lower, "ÉTÉ", "été"),
        ] {
            let mut out = String::new();
            assert_eq!(apply(casing, input, &mut out), input != expected, "{input}");
            assert_eq!(out, expected, "{input}");
        }
    }
}
