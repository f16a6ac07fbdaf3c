//! Splits a command into words as a shell does, as far as the documents need it.

/// Returns the words of a command without its comment. Quotes enclose words and are removed.
pub(super) fn words(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[test]
fn quotes_enclose_words_and_a_number_sign_begins_a_comment() {
    let check = |command: &str, expected: &[&str]| assert_eq!(words(command), expected, "{command}");
    check("a  b#c   # d e", &["a", "b#c"]);
    check("a 'b \"c' \"d 'e\" '' x'y z'", &["a", "b \"c", "d 'e", "", "xy z"]);
}
