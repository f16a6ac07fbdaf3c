//! Repairs the name of an organisation that has superfluous commas or "and": "and Kim Inc," becomes "Kim Inc".
//!
//! Such names arise if a program joins the parts of a name and a part is missing. A comma or "and" then remains at the
//! start or end of the name, or "and and" inside it.

use super::whitespace::{is_blank, trim};

/// Applies the rule `organisation_name`. Applying it again changes nothing. A name that contains only commas and "and"
/// becomes empty.
pub(super) fn organisation_name(text: &str, out: &mut String) -> bool {
    let name = without_edges(text);
    if has_doubled_join(name) {
        single_joins(name, out);
        return true;
    }
    if name.len() == text.len() {
        return false;
    }
    out.clear();
    out.push_str(name);
    true
}

/// Removes commas, white space and the word "and" from both ends of the name.
fn without_edges(text: &str) -> &str {
    let mut name = text;
    loop {
        let before = name.len();
        name = without_trailing_join(without_leading_join(trim(name).trim_matches(',')));
        if name.len() == before {
            return name;
        }
    }
}

fn without_leading_join(text: &str) -> &str {
    match text.as_bytes() {
        [b'a' | b'A', b'n' | b'N', b'd' | b'D', ..] => {}
        _ => return text,
    }
    let rest = &text[3..];
    if rest.is_empty() || rest.starts_with(is_joint) { rest } else { text }
}

fn without_trailing_join(text: &str) -> &str {
    match text.as_bytes() {
        [.., b'a' | b'A', b'n' | b'N', b'd' | b'D'] => {}
        _ => return text,
    }
    let rest = &text[..text.len() - 3];
    if rest.is_empty() || rest.ends_with(is_joint) { rest } else { text }
}

fn is_joint(c: char) -> bool {
    c == ',' || is_blank(c)
}

fn is_join(word: &str) -> bool {
    word.eq_ignore_ascii_case("and")
}

/// Returns true if two words "and" follow each other. A fast search first counts the letters `d` that end an "and".
/// Most names have at most one, so they are not split into words.
fn has_doubled_join(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends_a_join = |&at: &usize| at >= 2 && bytes[at - 2..at].eq_ignore_ascii_case(b"an");
    let may_be = memchr::memchr2_iter(b'd', b'D', bytes).filter(ends_a_join).nth(1).is_some();
    may_be
        && name
            .split_whitespace()
            .zip(name.split_whitespace().skip(1))
            .any(|(left, right)| is_join(left) && is_join(right))
}

/// Replaces consecutive words "and" by one.
fn single_joins(name: &str, out: &mut String) {
    out.clear();
    let mut after_join = false;
    for piece in name.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        if !(after_join && (is_join(word) || word.is_empty())) {
            out.push_str(piece);
        }
        after_join = is_join(word) || after_join && word.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repaired(text: &str) -> String {
        let mut out = String::new();
        if organisation_name(text, &mut out) { out } else { text.to_owned() }
    }

    #[test]
    fn damaged_joins_are_repaired() {
        for (input, expected) in [
            ("Kim Inc", "Kim Inc"),
            ("and Kim Inc,", "Kim Inc"),
            ("Hernandez Rogers and Vang,", "Hernandez Rogers and Vang"),
            ("Sons Rich and", "Sons Rich"),
            ("Hill Cole Dean, and", "Hill Cole Dean"),
            ("and Hill, Cole Dean", "Hill, Cole Dean"),
            ("Hill, and Cole", "Hill, and Cole"),
            ("Sons and Miller", "Sons and Miller"),
            ("Hill and and Cole", "Hill and Cole"),
            ("and and Hill AND  and and Cole and, and", "Hill AND Cole"),
            ("and,Kim Inc,and", "Kim Inc"),
            ("AND Kim Inc AND", "Kim Inc"),
            ("aNd Kim Inc anD", "Kim Inc"),
            ("Anderson-Brand", "Anderson-Brand"),
            ("Andover and Grand", "Andover and Grand"),
            ("and", ""),
            (",", ""),
            (", and ,", ""),
            ("Sand and Land and Strand", "Sand and Land and Strand"),
        ] {
            assert_eq!(repaired(input), expected, "{input}");
        }
    }

    proptest! {
        #[test]
        fn repairing_twice_gives_the_same_as_once(text in "(and|AND|And|,| |  |\t|Kim|é|\u{200b}|and ){0,12}|.{0,20}") {
            let once = repaired(&text);
            prop_assert_eq!(repaired(&once), once);
        }

        #[test]
        fn a_name_without_and_or_comma_is_unchanged(text in "[B-Zb-ce-z]{1,8}( [B-Zb-ce-z]{1,8}){0,3}") {
            prop_assert!(!organisation_name(&text, &mut String::new()));
        }
    }
}
