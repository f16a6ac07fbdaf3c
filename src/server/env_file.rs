//! Adds values to the text of an `.env` file.

use std::collections::HashMap;

use super::Secret;

/// Returns the text of an `.env` file with these variables added. If the text has a line `NAME=` without a value, the
/// value is added to this line. Otherwise a new line is added at the end. All other bytes stay as they are.
///
/// # Errors
/// The text is not a valid `.env` file. Or the addition would change another variable, for example because the line
/// `NAME=` is inside the quoted value of that variable. The error quotes nothing from the text.
pub fn with_values(text: &str, values: &[(&str, &Secret)]) -> Result<String, &'static str> {
    let mut expected = parse(text).ok_or("it is not a valid .env file")?;
    let mut filled = text.to_owned();
    for (name, value) in values {
        fill(&mut filled, name, value.reveal());
        expected.insert((*name).to_owned(), value.reveal().to_owned());
    }
    if parse(&filled).as_ref() == Some(&expected) {
        Ok(filled)
    } else {
        Err("it has lines that cannot be completed; add the variables by hand")
    }
}

fn parse(text: &str) -> Option<HashMap<String, String>> {
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().ok()
}

/// Writes the value into the last line `NAME=` that has no value. If there is no such line, adds a line at the end.
/// Reason: if a variable has several lines, the last one is used.
fn fill(text: &mut String, name: &str, value: &str) {
    let mut at = 0;
    let mut empty = None;
    for line in text.split_inclusive('\n') {
        if is_empty_line_of(line, name) {
            empty = Some(at + line.trim_end().len());
        }
        at += line.len();
    }
    if let Some(end) = empty {
        text.insert_str(end, value);
        return;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.extend([name, "=", value, "\n"]);
}

fn is_empty_line_of(line: &str, name: &str) -> bool {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.strip_suffix('=').is_some_and(|found| found.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_filled_and_missing_lines_are_added() {
        let check = |text: &str, expected: &str| {
            let value = Secret::from("pw1");
            assert_eq!(with_values(text, &[("A_PASS", &value)]).as_deref(), Ok(expected), "{text:?}");
        };
        check("", "A_PASS=pw1\n");
        check("B=1", "B=1\nA_PASS=pw1\n");
        check("A_PASS=\n", "A_PASS=pw1\n");
        check("# A_PASS=\nA_PASS=", "# A_PASS=\nA_PASS=pw1");
        check("#x\r\nA_PASS=\r\nB='a b'\r\n", "#x\r\nA_PASS=pw1\r\nB='a b'\r\n");
        check("  export A_PASS=  \nB=2\n", "  export A_PASS=pw1  \nB=2\n");
        check("A_PASS=\nA_PASS=\n", "A_PASS=\nA_PASS=pw1\n");
        check("A_PASS=\nOTHER_A_PASS=\n", "A_PASS=pw1\nOTHER_A_PASS=\n");
        check("A_PASS=''\n", "A_PASS=''\nA_PASS=pw1\n");
        check("A_PASS=   # none\n", "A_PASS=   # none\nA_PASS=pw1\n");
    }

    #[test]
    fn several_variables_are_added_at_once() {
        let (one, two) = (Secret::from("pw1"), Secret::from("pw2"));
        let found = with_values("A=\nB=\n", &[("B", &two), ("C", &one)]);
        assert_eq!(found.as_deref(), Ok("A=\nB=pw2\nC=pw1\n"));
    }

    #[test]
    fn a_file_that_would_not_have_the_value_is_an_error() {
        let value = Secret::from("pw1");
        let check = |text: &str| assert!(with_values(text, &[("A", &value)]).is_err(), "{text:?}");
        check("A=pa55 word'\n");
        check("A\n");
        // The line is a part of a value.
        check("B='\nA=\n'\n");
    }
}
