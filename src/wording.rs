//! Words for messages: the singular or plural after a number, the errors of the operating system, and the words of
//! commands that the user can copy.

use std::io::{Error, ErrorKind};

/// Returns the number, followed by `one` if the number is 1, otherwise by `many`. For example, `1 row is` or `2 rows
/// are`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Returns the words for an error of the operating system about a file.
pub fn file_problem(error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied for the user who runs medlift".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::NotADirectory => "a part of the path is not a directory".to_owned(),
        ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns the text as one word of a POSIX shell. A text of ASCII letters, ASCII digits and the characters `_-./:@%+=,`
/// stays unchanged. Any other text, and an empty text, is put in single quotes.
pub fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:@%+=,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_shell_is_quoted_only_if_necessary() {
        let check = |text: &str, expected: &str| assert_eq!(shell_word(text), expected);
        check("specs/a-b_c.1.toml", "specs/a-b_c.1.toml");
        check("", "''");
        check("my file", "'my file'");
        check("it's $HOME", r"'it'\''s $HOME'");
        check("é", "'é'");
    }

    #[test]
    fn only_the_number_one_has_the_singular() {
        let words = [0, 1, 2, 11, 21].map(|count| counted(count, "row is", "rows are"));
        assert_eq!(words, ["0 rows are", "1 row is", "2 rows are", "11 rows are", "21 rows are"]);
    }

    #[test]
    fn errors_of_the_system_are_in_plain_words() {
        let check = |code: i32, expected: &str| assert_eq!(file_problem(&Error::from_raw_os_error(code)), expected);
        check(2, "there is no such file or directory");
        check(13, "permission denied for the user who runs medlift");
        check(20, "a part of the path is not a directory");
        check(21, "it is a directory");
        check(28, "the disk is full");
        check(30, "the file system is read-only");
        assert!(file_problem(&Error::from_raw_os_error(5)).contains("os error 5"));
        let not_text = std::fs::read_to_string("/proc/self/exe").expect_err("a program is not text");
        assert_eq!(file_problem(&not_text), "it is not UTF-8 text");
    }
}
