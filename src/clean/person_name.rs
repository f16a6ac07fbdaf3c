//! Casing of a person's name: "bobby jacksOn" becomes "Bobby Jackson", "JOHN SMITH MD" becomes "John Smith MD".
//!
//! Each part of a name begins with a capital and goes on in small letters; a part begins after white space, a hyphen or
//! any other sign but an apostrophe. `O'` and `Mc` are followed by a second capital. Nothing else is guessed: whether a
//! name in `Mac` has a second capital, its letters do not tell. Titles (Mr., Mrs., Dr., Miss, Prof.), Jr. and Sr., and
//! credentials with dots (M.D., Ph.D.) come out right by the same rule; credentials and numerals without dots are words
//! of their own in [`SUFFIXES`].

use unicode_normalization::char::is_combining_mark;

/// A word after a name that is not one of the person's names.
struct Suffix {
    written: &'static str,
    /// Whether it is a person's name as well ("Linh Do"), so that only capitals in the source tell the two apart.
    also_a_name: bool,
}

const fn suffix(written: &'static str) -> Suffix {
    Suffix { written, also_a_name: false }
}

const fn suffix_or_name(written: &'static str) -> Suffix {
    Suffix { written, also_a_name: true }
}

/// Academic and professional credentials of US health care, and generational suffixes, as they are written.
const SUFFIXES: &[Suffix] = &[
    suffix("MD"),
    suffix("DDS"),
    suffix("DVM"),
    suffix("PhD"),
    suffix("Jr"),
    suffix("Sr"),
    suffix("II"),
    suffix("III"),
    suffix("IV"),
    suffix("V"),
    suffix("RN"),
    suffix("NP"),
    suffix("JD"),
    suffix("MBA"),
    suffix("MPH"),
    suffix("MSN"),
    suffix("BSN"),
    suffix("DMD"),
    suffix("DNP"),
    suffix("DPM"),
    suffix("EdD"),
    suffix("FNP"),
    suffix("LPN"),
    suffix("CRNA"),
    suffix("FACP"),
    suffix("FACS"),
    suffix("PsyD"),
    suffix("PharmD"),
    suffix_or_name("DO"),
    suffix_or_name("OD"),
    suffix_or_name("PA"),
];

/// The rule `person_name`. Applying it to its own result changes nothing.
pub(super) fn person_name(text: &str, out: &mut String) -> bool {
    out.clear();
    if text.is_ascii() {
        case_ascii(text, out);
    } else {
        case_unicode(text, out);
    }
    write_suffixes(text, out);
    out != text
}

/// [`case_unicode`] for ASCII alone.
fn case_ascii(text: &str, out: &mut String) {
    out.push_str(text);
    out.make_ascii_lowercase();
    let bytes = text.as_bytes();
    let mut at_start = true;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte.is_ascii_alphabetic() {
            if at_start {
                out[at..=at].make_ascii_uppercase();
                if has_inner_capital(&bytes[at..]) {
                    out[at + 2..at + 3].make_ascii_uppercase();
                }
            }
            at_start = false;
        } else if byte.is_ascii_digit() {
            at_start = false;
        } else if !matches!(byte, b'\'' | b'`') {
            at_start = true;
        }
    }
}

/// Whether a part of a name begins with `O'` or `Mc` and goes on.
fn has_inner_capital(part: &[u8]) -> bool {
    match part {
        [b'o' | b'O', b'\'', third, ..] | [b'm' | b'M', b'c' | b'C', third, ..] => third.is_ascii_alphabetic(),
        _ => false,
    }
}

fn case_unicode(text: &str, out: &mut String) {
    let mut at_start = true;
    let mut inner_capital = None;
    for (at, c) in text.char_indices() {
        if c.is_alphabetic() {
            if at_start {
                inner_capital = inner_capital_of(&text[at..]).map(|offset| at + offset);
            }
            let capital = at_start || inner_capital == Some(at);
            out.push(if capital { title_case(c) } else { lower_case(c, &text[at + c.len_utf8()..]) });
            at_start = false;
        } else {
            out.push(c);
            at_start = starts_part(c, at_start);
        }
    }
}

/// Where in a part of a name that begins with `O'` or `Mc` the second capital stands.
fn inner_capital_of(part: &str) -> Option<usize> {
    let mut chars = part.char_indices();
    let (first, second, (offset, third)) = (chars.next()?.1, chars.next()?.1, chars.next()?);
    let prefix = matches!((first, second), ('o' | 'O', '\'' | '’') | ('m' | 'M', 'c' | 'C'));
    (prefix && third.is_alphabetic()).then_some(offset)
}

/// Whether the next letter begins a part of the name, after the sign `c`.
fn starts_part(c: char, at_start: bool) -> bool {
    match c {
        '\'' | '’' | '`' | '´' => at_start,
        _ if c.is_numeric() => false,
        _ => at_start || !is_combining_mark(c),
    }
}

/// The capital that begins a name, where it is one character. Georgian names have none; the Croatian digraphs have a
/// form of their own.
fn title_case(c: char) -> char {
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        'ა'..='ჿ' | 'Ა'..='Ჿ' => single(c.to_lowercase(), c),
        _ => single(c.to_uppercase(), c),
    }
}

/// The small letter; a sigma that ends its word has a form of its own.
fn lower_case(c: char, rest: &str) -> char {
    match c {
        'Σ' if !rest.starts_with(char::is_alphabetic) => 'ς',
        'İ' => 'i',
        _ => single(c.to_lowercase(), c),
    }
}

/// The mapped character, or `c` itself where the mapping makes several of it.
fn single(mut mapped: impl ExactSizeIterator<Item = char>, c: char) -> char {
    if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
}

/// Writes the suffixes that end the name as they are written. `out` holds the same words as `text`, cased.
fn write_suffixes(text: &str, out: &mut String) {
    let mut source_words = text.split_whitespace().rev();
    let mut end = out.len();
    loop {
        end = out[..end].trim_end().len();
        let start = last_word_start(&out[..end]);
        let word = out[start..end].trim_end_matches([',', '.']);
        let Some(suffix) = SUFFIXES.iter().find(|suffix| suffix.written.eq_ignore_ascii_case(word)) else { return };
        let source = source_words.next().unwrap_or_default();
        if start == 0 || suffix.also_a_name && !(source.starts_with(suffix.written) && has_two_words(&out[..start])) {
            return;
        }
        out.replace_range(start..start + suffix.written.len(), suffix.written);
        end = start;
    }
}

fn last_word_start(text: &str) -> usize {
    text.trim_end_matches(|c: char| !c.is_whitespace()).len()
}

fn has_two_words(text: &str) -> bool {
    text.split_whitespace().nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cased(text: &str) -> String {
        let mut out = String::new();
        if person_name(text, &mut out) { out } else { text.to_owned() }
    }

    fn check(cases: &[(&str, &str)]) {
        for (input, expected) in cases {
            assert_eq!(cased(input), *expected, "{input}");
        }
    }

    #[test]
    fn names_are_cased() {
        check(&[
            ("bobby jacksOn", "Bobby Jackson"),
            ("LesLie TErRy", "Leslie Terry"),
            ("JOHN SMITH MD", "John Smith MD"),
            ("mr. ian o'neil jr.", "Mr. Ian O'Neil Jr."),
            ("MRS. ANA MCDONALD-O'BRIEN PHD", "Mrs. Ana McDonald-O'Brien PhD"),
            ("henry viii tudor", "Henry Viii Tudor"),
            ("john smith iii md", "John Smith III MD"),
            ("john smith, md, phd", "John Smith, MD, PhD"),
            ("jane roe m.d.", "Jane Roe M.D."),
            ("jane roe ph.d.", "Jane Roe Ph.D."),
            ("jane roe PHARMD.", "Jane Roe PharmD."),
            ("DR. SMITH DVM", "Dr. Smith DVM"),
            ("miss prof. st.john", "Miss Prof. St.John"),
            ("macdonald MACHADO", "Macdonald Machado"),
            ("mc o'", "Mc O'"),
            ("vincent van de graaf 2ND", "Vincent Van De Graaf 2nd"),
        ]);
    }

    #[test]
    fn a_suffix_counts_only_after_a_name() {
        check(&[
            ("Md Rahman", "Md Rahman"),
            ("MD RAHMAN", "Md Rahman"),
            ("md", "Md"),
            ("Do Nguyen", "Do Nguyen"),
            ("Linh Do", "Linh Do"),
            ("LINH DO", "Linh Do"),
            ("Le Thi Do", "Le Thi Do"),
            ("Jane Ann Roe DO", "Jane Ann Roe DO"),
            ("jane roe PA", "Jane Roe PA"),
            ("Linh Do MD", "Linh Do MD"),
            ("iv smith v", "Iv Smith V"),
        ]);
    }

    #[test]
    fn other_alphabets_are_cased_by_their_own_rules() {
        check(&[
            ("ÉLODIE LÉVÊQUE", "Élodie Lévêque"),
            ("ΓΙΩΡΓΟΣ ΣΕΦΕΡΗΣ", "Γιωργος Σεφερης"),
            ("анна КАРЕНИНА", "Анна Каренина"),
            ("o’neil ǆaja", "O’Neil ǅaja"),
            ("İBRAHİM", "İbrahim"),
            ("ნინო", "ნინო"),
            ("王小明", "王小明"),
            ("ßa ŉb", "ßa ŉb"),
            ("mcÉLAN md", "McÉlan MD"),
            ("zoe\u{308}LLE", "Zoe\u{308}lle"),
        ]);
    }

    proptest! {
        #[test]
        fn casing_twice_is_casing_once(
            text in "[a-zA-Z '.,-]{0,24}|\\PC{0,16}|[ıſİΣσςdDoO'md ]{0,12}|(jane |DO |do |md |Jr\\. |ſr |v ){0,6}"
        ) {
            let once = cased(&text);
            prop_assert_eq!(cased(&once), once);
        }

        #[test]
        fn ascii_and_unicode_casing_agree(text in "[a-zA-Z0-9 '`.,/-]{0,24}|[oOmMcC' -]{0,12}|[ -~]{0,24}") {
            let (mut fast, mut slow) = (String::new(), String::new());
            case_ascii(&text, &mut fast);
            case_unicode(&text, &mut slow);
            prop_assert_eq!(fast, slow);
        }
    }
}
