//! The option `--config`: a YAML file with passwords, as the MongoDB Database Tools read it.
//!
//! The file may contain the keys `uri` and `password`, each with a text as its value. Other keys, and values that are
//! not texts, are refused.

use std::fs;
use std::path::Path;

use medlift::error::Error;
use medlift::server::Secret;
use medlift::wording::file_problem;

use super::settings::warn_if_exposed;

/// The content of the file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ConfigFile {
    /// The connection string.
    pub(super) uri: Option<Secret>,
    /// The password of the user.
    pub(super) password: Option<Secret>,
}

impl ConfigFile {
    /// Reads the file. Warns if other users can read it.
    ///
    /// # Errors
    /// The file cannot be read, or it contains something else than the known keys. The error does not quote the file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Usage(format!("cannot use --config {}: {problem}", path.display()));
        let text = fs::read_to_string(path)
            .map_err(|error| wrong(format!("{}; give a YAML file with uri: or password:", file_problem(&error))))?;
        warn_if_exposed(path);
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for (number, line) in text.lines().enumerate() {
            let Some((key, value)) = entry(line).map_err(|problem| format!("line {}: {problem}", number + 1))? else {
                continue;
            };
            let place = match key {
                "uri" => &mut found.uri,
                "password" => &mut found.password,
                "sslPEMKeyPassword" => {
                    return Err("sslPEMKeyPassword: encrypted keys are not supported; decrypt the key with `openssl \
                                pkey`, and let only its owner read it"
                        .to_owned());
                }
                _ => return Err(format!("line {}: the key is neither uri nor password", number + 1)),
            };
            if place.replace(value.into()).is_some() {
                return Err(format!("line {}: {key} is given twice", number + 1));
            }
        }
        Ok(found)
    }
}

/// Returns the key and the value of a line. `None` for a line without content: a blank line, a comment, or the
/// beginning or end of a document.
fn entry(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim_end();
    if line.is_empty() || line.trim_start().starts_with('#') || line == "---" || line == "..." {
        return Ok(None);
    }
    let (key, rest) = line.split_once(':').ok_or("it does not have the form key: value")?;
    if !rest.starts_with([' ', '\t']) && !rest.is_empty() {
        return Err("a blank is missing after the colon");
    }
    Ok(Some((key, scalar(rest.trim())?)))
}

/// Returns the text of a value: plain, in single quotes or in double quotes.
fn scalar(text: &str) -> Result<String, &'static str> {
    const QUOTED: &str = "the value must be one line; put it in single quotes";
    let (value, rest) = match text.chars().next() {
        Some('\'') => single_quoted(&text[1..]).ok_or("the closing quote is missing")?,
        Some('"') => double_quoted(&text[1..]).ok_or("the closing quote is missing, or a \\ is not before \\ or \"")?,
        None | Some('#' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '[' | ']' | '{' | '}' | ',' | '~') => {
            return Err(QUOTED);
        }
        Some('-' | '?' | ':') if text[1..].starts_with(' ') || text.len() == 1 => return Err(QUOTED),
        Some(_) => {
            let value = text.split(" #").next().unwrap_or(text).trim_end();
            if value.contains(": ") || value.ends_with(':') || ["null", "Null", "NULL"].contains(&value) {
                return Err(QUOTED);
            }
            return Ok(value.to_owned());
        }
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(value) } else { Err("there is text after the closing quote") }
}

/// Returns the text up to the closing quote, and the rest of the line. Before the closing quote, `''` means one quote
/// character. Returns `None` if the closing quote is missing.
fn single_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        let Some(after) = after.strip_prefix('\'').inspect(|_| value.push('\'')) else { return Some((value, after)) };
        rest = after;
    }
}

/// Returns the text up to the closing quote, and the rest of the line. In the text, `\"` means `"`, and `\\` means `\`.
/// Returns `None` for another character after `\`, or if the closing quote is missing.
fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next().map(|(_, next)| next).filter(|next| "\\\"".contains(*next))?),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_database_tools_are_read() {
        let check = |text: &str, uri: Option<&str>, password: Option<&str>| {
            let expected = ConfigFile { uri: uri.map(Secret::from), password: password.map(Secret::from) };
            assert!(ConfigFile::parse(text) == Ok(expected), "{text}");
        };
        check("", None, None);
        check("---\n# secrets\n\npassword: pw\n...\n", None, Some("pw"));
        check("uri: mongodb://u:p@h/?a=b\r\npassword: 12345 # old\r\n", Some("mongodb://u:p@h/?a=b"), Some("12345"));
        check("password:   'it''s # \"x\"'  # c", None, Some("it's # \"x\""));
        check(r#"password: "a\"b\\c""#, None, Some(r#"a"b\c"#));
        check("password: a#b", None, Some("a#b"));
        check("password: -a'b\"", None, Some("-a'b\""));
        check("password: ''", None, Some(""));
    }

    #[test]
    fn everything_else_is_an_error_with_its_line_that_does_not_quote_the_file() {
        let check = |text: &str, part: &str| {
            let problem = ConfigFile::parse(text).expect_err("refused");
            assert!(problem.contains(part) && !problem.contains("pa55"), "{text}: {problem}");
        };
        check("uri: x\npasswort: pa55", "line 2: the key is neither uri nor password");
        check("  password: pa55", "line 1: the key is neither");
        check("pa55", "line 1: it does not have the form key: value");
        check("password:pa55", "line 1: a blank is missing");
        check("password: pa55\npassword: pa55", "line 2: password is given twice");
        check("sslPEMKeyPassword: pa55", "encrypted keys are not supported");
        for value in ["", "|", "> ", "&a pa55", "*pa55", "!!str pa55", "%pa55", "@pa55", "{pa55", "[pa55", "~", "null"]
        {
            check(&format!("password: {value}"), "line 1: the value must be one line; put it in single quotes");
        }
        check("password: pa55: x", "put it in single quotes");
        check("password: - pa55", "put it in single quotes");
        check("password: 'pa55", "the closing quote is missing");
        check("password: \"pa55\\n\"", "a \\ is not before");
        check("password: 'pa55' pa55", "text after the closing quote");
    }
}
