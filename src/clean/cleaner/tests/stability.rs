//! Cleaning a cleaned text must change nothing. Otherwise an exported document would change when it is loaded again.

use proptest::prelude::*;
use unicode_normalization::{is_nfc, is_nfc_quick};

use super::*;

const RULES_OF_TEXT: [&str; 6] =
    ["nfc", "collapse_whitespace", "person_name", "organisation_name", "upper_case", "lower_case"];

/// Creates a cleaner for a spec with one field. `field` is the TOML of the field.
fn cleaner_of(field: &str, date: DateFormat) -> Cleaner {
    let text = format!("name = \"x\"\n[[field]]\nname = \"x\"\npresence = \"nullable\"\nprivacy = \"none\"\n{field}");
    let spec = Spec::from_toml(&text, "test").expect("a valid spec");
    let layout = Layout {
        format: Format::Csv(Dialect { delimiter: b'|', line_end: b'\n', quote: Some(b'"'), escape: None }),
        cell_of_field: vec![Some(0)],
        array_of_field: Vec::new(),
        dates: vec![Some(date)],
        header: Vec::new(),
        unknown: Vec::new(),
        charset: crate::parse::Charset::default(),
        is_of_resource_rejects: false,
        rules: crate::parse::RowRules::default(),
        doubtful_numbers: Vec::new(),
    };
    Cleaner::new(&spec, &layout)
}

fn text_cleaner(rules: &[&str]) -> Cleaner {
    cleaner_of(&format!("type = \"string\"\nnull_markers = [\"N/A\", \"Md\"]\nclean = {rules:?}"), DateFormat::Iso)
}

/// Returns the cleaned text of a cell, or `None` if no value is left. The text is cleaned twice: once as a part of its
/// row, and once as a copy beside the row. Both results must be equal.
fn cleaned(cleaner: &mut Cleaner, text: &str) -> Result<Option<String>, Reason> {
    let mut in_row = Cells::default();
    in_row.push_borrowed(0..text.len());
    let (mut record, mut tally) = (Record::default(), Tally::default());
    let found = cleaner.clean(text.as_bytes(), &in_row, &mut record, &mut tally).map(|()| texts(&record));
    let mut apart = Cells::default();
    apart.push_owned(text.as_bytes());
    let again = cleaner.clean(b"\xc2\xa0", &apart, &mut record, &mut tally).map(|()| texts(&record));
    assert_eq!(found, again, "{text:?}");
    match found {
        Ok(found) => Ok(found.into_iter().find(|text| text != "Null")),
        Err(reject) => Err(reject.reason),
    }
}

/// Checks that cleaning a cleaned text changes nothing. If `is_normalized` is true, the cleaned text must be in form C.
#[track_caller]
fn check(cleaner: &mut Cleaner, text: &str, is_normalized: bool) {
    match cleaned(cleaner, text) {
        Ok(Some(once)) => {
            assert_eq!(cleaned(cleaner, &once), Ok(Some(once.clone())), "{text:?}");
            assert!(!is_normalized || is_nfc(&once), "{text:?}");
        }
        Ok(None) => {}
        Err(reason) => assert_eq!(reason, Reason::ControlCharacter, "{text:?}"),
    }
}

/// Generates texts with characters that cleaning may change: letters whose upper and lower case have different lengths,
/// combining marks, invisible characters and white space.
fn text() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        3 => "[a-zA-Z '.,-]",
        3 => "[İıſßẞŉΐΰǰǅǆǲﬀﬁﬃﬅΣσςᾳᾼᾈΆΑԵևʼ]",
        3 => "[\u{300}-\u{315}\u{327}\u{345}\u{342}]",
        2 => "[\u{200b}\u{feff}\u{2060}\u{85}\u{a0}\u{2000}\u{2028}\u{3000}\u{180e}\u{200c}]",
        1 => "[\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}\u{ac00}]",
        1 => "[\u{212a}\u{2126}\u{37e}\u{1fef}\u{f900}\u{fb1d}\u{958}\u{10a0}\u{1c90}\u{2d00}\u{1e900}]",
        2 => "(and |And| AND|,|md | DO| do| Jr|o'|O’|mc|Mc|N/A|  )",
        1 => "\\PC",
        1 => any::<char>().prop_map(|c| c.to_string()),
    ];
    prop_oneof![
        9 => proptest::collection::vec(sign, 0..12).prop_map(|signs| signs.concat()),
        1 => ("\\PC{1,4}", 100_usize..300).prop_map(|(text, times)| text.repeat(times)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn cleaning_twice_gives_the_same_as_once(
        rules in proptest::sample::subsequence(RULES_OF_TEXT.to_vec(), 0..=6).prop_shuffle(),
        all in proptest::collection::vec(text(), 1..8),
    ) {
        let mut cleaner = text_cleaner(&rules);
        for text in &all {
            check(&mut cleaner, text, !rules.is_empty());
        }
    }

    #[test]
    fn cleaning_plain_text_twice_gives_the_same_as_once(
        rules in proptest::sample::subsequence(RULES_OF_TEXT.to_vec(), 1..=6).prop_shuffle(),
        text in "((and|jane|roe|DO|do|md|MD|Jr\\.?|o'|mc|,|N/A|v|II)[ ,]{0,2}){0,7}|[ -~]{0,30}",
    ) {
        check(&mut text_cleaner(&rules), &text, true);
    }
}

/// Tests every character outside ASCII that has another letter case, is a combining mark, or may be changed by
/// normalization. Each is tested in several places of a text, with every rule and every pair of rules.
#[test]
#[ignore = "takes a minute"]
fn every_character_that_rules_change_becomes_stable() {
    check_characters(char::MAX, 1);
}

#[test]
fn characters_that_rules_change_become_stable() {
    check_characters('\u{2fff}', 61);
}

/// Checks characters up to `last` with each single rule and each pair of rules. Each rule or pair is tried with one in
/// `one_in` of the characters. Different rules or pairs begin at different characters.
fn check_characters(last: char, one_in: usize) {
    let changes = |c: &char| {
        let joins = unicode_normalization::char::canonical_combining_class(*c) > 0;
        let has_case = !c.to_uppercase().eq([*c]) || !c.to_lowercase().eq([*c]);
        joins || has_case || is_nfc_quick([*c].into_iter()) != unicode_normalization::IsNormalized::Yes
    };
    let characters: Vec<char> = ('\u{80}'..=last).filter(changes).collect();
    assert!(characters.len() > if one_in == 1 { 3000 } else { 1000 }, "{}", characters.len());
    for (place, first) in RULES_OF_TEXT.into_iter().enumerate() {
        for (other, second) in RULES_OF_TEXT.into_iter().enumerate() {
            let skipped = (place * RULES_OF_TEXT.len() + other) % one_in;
            let rules = if first == second { vec![first] } else { vec![first, second] };
            let mut cleaner = text_cleaner(&rules);
            for c in characters.iter().skip(skipped).step_by(one_in) {
                check(&mut cleaner, &format!("{c}a {c}{c}\u{301} i{c}"), true);
            }
        }
    }
}

#[test]
fn a_text_that_the_rules_empty_is_no_value() {
    let mut firms = text_cleaner(&["organisation_name"]);
    for (cell, expected) in [("N/A,", None), ("and n/a and", None), (", and", None), ("N/A Inc,", Some("N/A Inc"))] {
        assert_eq!(cleaned(&mut firms, cell), Ok(expected.map(str::to_owned)), "{cell}");
    }
    let mut tally = Tally::default();
    let mut cells = Cells::default();
    cells.push_owned(b"N/A,");
    firms.clean(b"", &cells, &mut Record::default(), &mut tally).expect("an accepted row");
    assert_eq!(tally.changed, [[0, 1, 1]]);
}

#[test]
fn normalization_is_counted_for_nfc_or_for_the_last_rule() {
    for (rules, expected) in [
        (&[][..], 0),
        (&["collapse_whitespace", "lower_case"], 1),
        (&["lower_case", "nfc", "collapse_whitespace"], 1),
        (&["nfc", "collapse_whitespace", "lower_case"], 0),
    ] {
        assert_eq!(text_cleaner(rules).plans[0].normalizing_slot(), expected, "{rules:?}");
    }
}

#[test]
fn a_cell_counts_once_per_rule_even_if_it_changes_twice() {
    let mut cleaner = text_cleaner(&["person_name", "organisation_name"]);
    let mut cells = Cells::default();
    cells.push_owned(b"and roe DO");
    let (mut record, mut tally) = (Record::default(), Tally::default());
    cleaner.clean(b"", &cells, &mut record, &mut tally).expect("an accepted row");
    assert_eq!((texts(&record), tally.changed), (vec!["Roe Do".to_owned()], vec![vec![0, 0, 1, 1]]));
}

#[test]
fn a_number_equal_to_a_null_marker_is_null_in_every_notation() {
    let iso = DateFormat::Iso;
    let none = |field: &str, date, markers: &str, cells: &[&str]| {
        let mut cleaner = cleaner_of(&format!("{field}\nnull_markers = {markers}"), date);
        for cell in cells {
            assert_eq!(cleaned(&mut cleaner, cell), Ok(None), "{field} {cell}");
        }
        assert!(cleaned(&mut cleaner, "1").ok().flatten().is_some() || field.contains("date"), "{field}");
    };
    none("type = \"int32\"", iso, "[\"-1\", \"9999\"]", &["9999", "09999", "+9999", "-01"]);
    none("type = \"double\"", iso, "[\"9999\"]", &["9999", "9999.0", "9.999e3"]);
    none("type = \"decimal128\"\nthousands = \",\"", iso, "[\"9999\"]", &["9,999.00", "9999"]);
    let dates = ["1900-01-01", "1900/01/01", "1900-01-01T00:00Z"];
    none("type = \"date\"", iso, "[\"1900-01-01\"]", &dates);
    none("type = \"datetime\"", DateFormat::DayMonthYear(b'.'), "[\"1.1.1900\"]", &["01.01.1900 00:00"]);
}

#[test]
fn a_listed_value_is_stored_unchanged() {
    let field = "type = \"enum\"\nvalues = [\"ß\", \"SS\"]\nsynonyms = { \"SHARP\" = \"ß\" }\nclean = [\"upper_case\"]";
    let mut cleaner = cleaner_of(field, DateFormat::Iso);
    for (cell, expected) in [("sharp", "ß"), ("ß", "ß"), ("ss", "SS"), ("SS", "SS")] {
        assert_eq!(cleaned(&mut cleaner, cell), Ok(Some(expected.to_owned())), "{cell}");
    }
    // A text of up to 16 bytes is compared as numbers, a longer one as text.
    let field = "type = \"enum\"\nvalues = [\"straßen und Höfe\", \"straße und Hof\"]\nclean = [\"upper_case\"]";
    let mut cleaner = cleaner_of(field, DateFormat::Iso);
    for cell in ["straßen und Höfe", "straße und Hof"] {
        assert_eq!(cleaned(&mut cleaner, cell), Ok(Some(cell.to_owned())), "{cell}");
    }
    assert_eq!(cleaned(&mut cleaner, "STRASSE UND HOF"), Err(Reason::NotAllowed));
}
