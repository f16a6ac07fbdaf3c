//! Corrects the letter case of a person's name: "bobby jacksOn" becomes "Bobby Jackson", "JOHN SMITH MD" becomes "John
//! Smith MD".
//!
//! Each part of a name starts with a capital and continues in small letters. A part starts after white space, after
//! punctuation such as a hyphen, and after `O'` and `Mc`. After any other apostrophe inside a part, no new part starts.
//! After `Mac` no part starts, because the letters do not show whether a name is written `MacDonald` or `Macdonald`.
//!
//! These rules also give the right case for titles (Mr., Dr., Prof.), for Jr. and Sr., and for degrees with dots (M.D.,
//! Ph.D.). They give the wrong case for degrees and numerals without dots (MD, III). Therefore [`SUFFIXES`] lists the
//! usual spelling of such words.

use unicode_normalization::char::is_combining_mark;

/// A degree or a generation after a name, such as `MD` or `III`.
struct Suffix {
    written: &'static str,
    /// True if the word is also a name, as in "Linh Do". Such a word is a suffix only if the source has it in capitals,
    /// after at least two other words.
    also_a_name: bool,
}

const fn suffix(written: &'static str) -> Suffix {
    Suffix { written, also_a_name: false }
}

const fn suffix_or_name(written: &'static str) -> Suffix {
    Suffix { written, also_a_name: true }
}

/// Degrees and licences that are frequent in US health care, and generational suffixes, in their usual spelling. They
/// are grouped by length, so that a word is compared only with the suffixes of its own length.
const SUFFIXES: [&[Suffix]; 7] = [
    &[],
    &[suffix("V")],
    &[
        suffix("MD"),
        suffix("Jr"),
        suffix("Sr"),
        suffix("II"),
        suffix("IV"),
        suffix("RN"),
        suffix("NP"),
        suffix("JD"),
        suffix_or_name("DO"),
        suffix_or_name("OD"),
        suffix_or_name("PA"),
    ],
    &[
        suffix("DDS"),
        suffix("DVM"),
        suffix("PhD"),
        suffix("III"),
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
    ],
    &[suffix("CRNA"), suffix("FACP"), suffix("FACS"), suffix("PsyD")],
    &[],
    &[suffix("PharmD")],
];

/// Applies the rule `person_name`. Applying it again changes nothing.
pub(super) fn person_name(text: &str, out: &mut String) -> bool {
    out.clear();
    if !case_short(text, out) {
        if text.is_ascii() {
            case_ascii(text, out);
        } else {
            case_unicode(text, out);
        }
    }
    write_suffixes(text, out);
    out != text
}

/// Does the same as [`case_ascii`], but faster. Most names are short ASCII names without an apostrophe and without
/// `mc`. In such a name, the case of a letter depends only on the byte before it. The compiler can therefore use
/// vector instructions.
///
/// Returns false and writes nothing if the name has more than 32 bytes, or contains a character outside ASCII, an
/// apostrophe or `mc`.
fn case_short(text: &str, out: &mut String) -> bool {
    // A letter starts a part if the byte before it is neither a letter nor a digit. For the first letter of the name,
    // that byte is the 0 in `read[0]`.
    let mut read = [0; SHORT_BYTES + 1];
    let Some(name) = read[1..].get_mut(..text.len()) else { return false };
    name.copy_from_slice(text.as_bytes());
    let mut cased = [0; SHORT_BYTES];
    let mut others = 0;
    for (at, cased) in cased.iter_mut().enumerate() {
        let (before, byte) = (read[at], read[at + 1]);
        let (small_before, small) = (before | CASE_BIT, byte | CASE_BIT);
        let letter = is_between(small, b'a', 25);
        let inside = is_between(small_before, b'a', 25) | is_between(before, b'0', 9);
        *cased = (byte & !(letter * CASE_BIT)) | ((letter & inside) * CASE_BIT);
        let apostrophe = u8::from(byte == b'\'') | u8::from(byte == b'`');
        others |= apostrophe | (u8::from(small_before == b'm') & u8::from(small == b'c')) | (byte >> 7);
    }
    if others == 0 {
        out.push_str(std::str::from_utf8(&cased[..text.len()]).unwrap_or_default());
    }
    others == 0
}

const SHORT_BYTES: usize = 32;

/// Returns 1 if `byte` is between `first` and `first + span`, including both. Otherwise returns 0.
fn is_between(byte: u8, first: u8, span: u8) -> u8 {
    u8::from(byte.wrapping_sub(first) <= span)
}

/// Does the same as [`case_unicode`] for ASCII, but faster. It has no branch per byte, and works on pieces that fit a
/// buffer on the stack.
fn case_ascii(text: &str, out: &mut String) {
    let mut lower = 0;
    let mut previous = 0;
    for piece in text.as_bytes().chunks(PIECE_BYTES) {
        let mut cased = [0; PIECE_BYTES];
        for (byte, cased) in piece.iter().zip(&mut cased) {
            let class = CLASSES[usize::from(byte & 0x7f)];
            let letter = class & LETTER;
            *cased = (byte & !letter) | (letter & lower);
            lower = ((lower & (class >> 1)) | (class >> 2)) & CASE_BIT;
            let pair = u16::from_be_bytes([previous, *cased]);
            let prefix = (pair == u16::from_be_bytes(*b"O'")) | (pair == u16::from_be_bytes(*b"Mc"));
            lower &= u8::from(prefix).wrapping_sub(1);
            previous = *cased;
        }
        out.push_str(std::str::from_utf8(&cased[..piece.len()]).unwrap_or_default());
    }
}

const PIECE_BYTES: usize = 64;
/// The bit that is 1 in a small ASCII letter and 0 in its capital.
const CASE_BIT: u8 = 0x20;
/// The class bit of letters. It equals `CASE_BIT`, so that a class can be used as a mask for the letter case.
const LETTER: u8 = CASE_BIT;
/// The class bit of apostrophes. The letter after an apostrophe becomes small, as in `D'angelo`. There are two
/// exceptions: it becomes a capital after `O'`, and after an apostrophe at the start of a part. [`case_ascii`] shifts
/// the bit to the position of `CASE_BIT`.
const KEEPS: u8 = CASE_BIT << 1;
/// The class bit of letters and digits. A letter after a letter or a digit becomes small. Exception: the letter after
/// `Mc` becomes a capital. [`case_ascii`] shifts the bit to the position of `CASE_BIT`.
const INSIDE: u8 = CASE_BIT << 2;

/// The class of each ASCII character. After a character without a class, a new part starts.
const CLASSES: [u8; 128] = {
    let mut classes = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER | INSIDE,
            b'0'..=b'9' => INSIDE,
            b'\'' | b'`' => KEEPS,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn case_unicode(text: &str, out: &mut String) {
    let mut at_start = true;
    let mut previous = '\0';
    for (at, c) in text.char_indices() {
        let cased = match c {
            _ if !c.is_alphabetic() => c,
            _ if at_start => title_case(c),
            _ => lower_case(c, &text[at + c.len_utf8()..]),
        };
        out.push(cased);
        at_start = matches!((previous, cased), ('O', '\'' | '’') | ('M', 'c')) || starts_part(c, at_start);
        previous = cased;
    }
}

/// Returns true if a part of the name starts after `c`. `at_start` is true if a part starts at `c`.
fn starts_part(c: char, at_start: bool) -> bool {
    match c {
        '\'' | '’' | '`' | '´' => at_start,
        _ if c.is_alphanumeric() => false,
        _ => at_start || !is_combining_mark(c),
    }
}

/// Returns the capital of a letter at the start of a part. If the capital has several characters, returns the letter
/// unchanged: the capital of `ß` is `SS`, so `ß` stays `ß`. Georgian letters stay small, because Georgian names have
/// no capitals. Croatian digraphs get their title form: `ǆ` becomes `ǅ`.
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

/// Returns the small letter of `c`. `rest` is the text after `c`. At the end of a word, `Σ` becomes `ς`.
fn lower_case(c: char, rest: &str) -> char {
    match c {
        'Σ' if !rest.starts_with(char::is_alphabetic) => 'ς',
        'İ' => 'i',
        _ => single(c.to_lowercase(), c),
    }
}

/// Returns the mapped character. If the mapping gives several characters, returns `c`.
fn single(mut mapped: impl ExactSizeIterator<Item = char>, c: char) -> char {
    if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
}

/// Writes the suffixes at the end of the name in their usual spelling. `out` contains the words of `text` in their
/// corrected letter case.
fn write_suffixes(text: &str, out: &mut String) {
    let mut source_words = text.split_whitespace().rev();
    let mut end = out.len();
    loop {
        end = out[..end].trim_end().len();
        let start = last_word_start(&out[..end]);
        let word = out[start..end].trim_end_matches([',', '.']);
        let Some(suffix) = known_suffix(word) else { return };
        let source = source_words.next().unwrap_or_default();
        if start == 0 || suffix.also_a_name && !(source.starts_with(suffix.written) && has_two_words(&out[..start])) {
            return;
        }
        out.replace_range(start..start + suffix.written.len(), suffix.written);
        end = start;
    }
}

fn known_suffix(word: &str) -> Option<&'static Suffix> {
    SUFFIXES.get(word.len())?.iter().find(|suffix| suffix.written.eq_ignore_ascii_case(word))
}

fn last_word_start(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.iter().rposition(|byte| !(0x21..0x7f).contains(byte)) {
        Some(at) if bytes[at].is_ascii() => at + 1,
        _ => text.trim_end_matches(|c: char| !c.is_whitespace()).len(),
    }
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
    fn names_get_the_usual_letter_case() {
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
            ("SEAN O'MCGRATH", "Sean O'McGrath"),
            ("vincent van de graaf 2ND", "Vincent Van De Graaf 2nd"),
        ]);
    }

    #[test]
    fn every_suffix_gets_its_usual_spelling() {
        let suffixes = "V MD Jr Sr II IV RN NP JD DDS DVM PhD III MBA MPH MSN BSN DMD DNP DPM EdD FNP LPN CRNA FACP FACS \
                        PsyD PharmD";
        for suffix in suffixes.split(' ') {
            let name = format!("Jane Roe {suffix}");
            check(&[(&name.to_lowercase(), &name), (&name.to_uppercase(), &name)]);
        }
        for suffix in ["DO", "OD", "PA"] {
            let name = format!("Jane Roe {suffix}");
            check(&[(&name, &name), (&name.to_uppercase(), &name)]);
        }
    }

    #[test]
    fn a_digraph_has_a_special_form_at_the_start_of_a_name() {
        check(&[("ǆǆ", "ǅǆ"), ("ǄǄ", "ǅǆ"), ("ǉ", "ǈ"), ("Ǉ", "ǈ"), ("ǌ", "ǋ"), ("Ǌ", "ǋ"), ("ǳ", "ǲ"), ("Ǳ", "ǲ")]);
        check(&[("ა", "ა"), ("Ა", "ა"), ("ჿ", "ჿ"), ("Ჿ", "ჿ"), ("ßa", "ßa"), ("ΟΔΟΣ σ", "Οδος Σ")]);
    }

    #[test]
    fn a_suffix_is_recognised_only_after_a_name() {
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
    fn letters_of_other_alphabets_get_the_right_case() {
        check(&[
            ("ÉLODIE LÉVÊQUE", "Élodie Lévêque"),
            ("ΓΙΩΡΓΟΣ ΣΕΦΕΡΗΣ", "Γιωργος Σεφερης"),
            ("анна КАРЕНИНА", "Анна Каренина"),
            ("o’neil ǆaja", "O’Neil ǅaja"),
            ("D´ANGELO é", "D´angelo É"),
            ("d`angelo É", "D`angelo É"),
            ("x’y ’é ´é `é", "X’y ’É ´É `É"),
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
        fn person_name_twice_gives_the_same_as_once(
            text in "[a-zA-Z '.,-]{0,24}|\\PC{0,16}|[ıſİΣσςdDoO'md ]{0,12}|(jane |DO |do |md |Jr\\. |ſr |v ){0,6}"
        ) {
            let once = cased(&text);
            prop_assert_eq!(cased(&once), once);
        }

        #[test]
        fn ascii_and_unicode_casing_agree(text in "[a-zA-Z0-9 '`.,/-]{0,24}|[oOmMcC' -]{0,12}|[ -~]{0,24}|[a-zA-ZmMcC' -]{60,140}") {
            let (mut fast, mut slow) = (String::new(), String::new());
            case_ascii(&text, &mut fast);
            case_unicode(&text, &mut slow);
            prop_assert_eq!(&fast, &slow);
            let mut short = String::new();
            prop_assert!(!case_short(&text, &mut short) && short.is_empty() || short == slow);
        }

        #[test]
        fn case_short_handles_short_names_of_letters(text in "[a-ln-zA-LN-Z ,.-]{0,32}") {
            prop_assert!(case_short(&text, &mut String::new()));
        }

        #[test]
        fn short_and_unicode_casing_agree(text in "\\PC{0,12}|[a-zA-Zé' ]{0,36}") {
            let (mut short, mut slow) = (String::new(), String::new());
            case_unicode(&text, &mut slow);
            prop_assert!(!case_short(&text, &mut short) && short.is_empty() || short == slow);
        }
    }
}
