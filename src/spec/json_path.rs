//! Paths, which name a value of a FHIR resource in a spec. This file knows only how a path is written.

use std::fmt;

/// The path of a value in a FHIR resource, for example `name[0].family`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// The steps from the resource, or from an item of the group, to the value. Empty if `reading` needs no value.
    pub steps: Vec<Step>,
    /// What is read.
    pub reading: Reading,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value of this key.
    Key(String),
    /// The item with this number, from 0: `[0]`.
    Item(u32),
    /// All items: `[*]`.
    All,
}

/// What a path reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The value itself.
    Value,
    /// `@date`: the value, if it is a full date or an instant. A partial date such as `2024-01` is null.
    Date,
    /// `@reference`: the type and the id of the resource to which the value refers, for example `Patient/17`.
    Reference,
    /// `@source`: the name of the source system. It belongs to the load, not to the resource.
    Source,
    /// `@type`: the type of the resource.
    Type,
    /// `@id`: the id of the resource.
    Id,
}

/// The names that can follow a path after `@`, as in `birthDate@date`, and what is then read.
const SUFFIXES: [(&str, Reading); 2] = [("date", Reading::Date), ("reference", Reading::Reference)];
/// The names that can follow `@` without a path, as in `@id`, and what is then read.
const ALONE: [(&str, Reading); 3] = [("source", Reading::Source), ("type", Reading::Type), ("id", Reading::Id)];

/// The error for a text that is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PathError(&'static str);

impl Path {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        if let Some(name) = text.strip_prefix('@') {
            let reading = ALONE.iter().find(|(known, _)| *known == name).map(|(_, reading)| *reading);
            let reading = reading.ok_or(PathError("only `@source`, `@type` and `@id` need no path"))?;
            return Ok(Self { steps: Vec::new(), reading });
        }
        let (path, reading) = match text.split_once('@') {
            None => (text, Reading::Value),
            Some((path, name)) => {
                let known = SUFFIXES.iter().find(|(known, _)| *known == name);
                (path, known.ok_or(PathError("only `date` and `reference` can follow `@`"))?.1)
            }
        };
        let mut steps = Vec::new();
        for part in path.split('.') {
            let (key, item) = match part.split_once('[') {
                None => (part, None),
                Some((key, item)) => (key, Some(item)),
            };
            let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_key {
                return Err(PathError("a key consists of letters, digits and underscores"));
            }
            steps.push(Step::Key(key.to_owned()));
            steps.extend(item.map(read_item).transpose()?);
        }
        Ok(Self { steps, reading })
    }

    /// Returns true if the path can name several values.
    pub(crate) fn is_repeated(&self) -> bool {
        self.steps.contains(&Step::All)
    }
}

/// Reads the text after `[`.
fn read_item(text: &str) -> Result<Step, PathError> {
    let wrong = PathError("an item is written in brackets, like `[0]` for the first or `[*]` for all");
    let item = text.strip_suffix(']').ok_or(wrong.clone())?;
    if item == "*" {
        return Ok(Step::All);
    }
    let is_number = !item.is_empty() && item.bytes().all(|byte| byte.is_ascii_digit());
    item.parse().ok().filter(|_| is_number).map(Step::Item).ok_or(wrong)
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) if number == 0 => formatter.write_str(key)?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Item(item) => write!(formatter, "[{item}]")?,
                Step::All => formatter.write_str("[*]")?,
            }
        }
        let known = SUFFIXES.iter().chain(&ALONE).find(|(_, reading)| *reading == self.reading);
        known.map_or(Ok(()), |(name, _)| write!(formatter, "@{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_keys_items_and_what_is_read() {
        let check = |text: &str, steps: &[Step], reading| {
            let expected = Path { steps: steps.to_vec(), reading };
            assert_eq!(Path::parse(text), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        };
        let key = |name: &str| Step::Key(name.to_owned());
        check("status", &[key("status")], Reading::Value);
        check("name[0].family", &[key("name"), Step::Item(0), key("family")], Reading::Value);
        check("code.coding[*].code", &[key("code"), key("coding"), Step::All, key("code")], Reading::Value);
        check("_birthDate.extension[*]", &[key("_birthDate"), key("extension"), Step::All], Reading::Value);
        check("onsetDateTime@date", &[key("onsetDateTime")], Reading::Date);
        check("subject.reference@reference", &[key("subject"), key("reference")], Reading::Reference);
        check("@source", &[], Reading::Source);
        check("@type", &[], Reading::Type);
        check("@id", &[], Reading::Id);
    }

    #[test]
    fn a_wrong_path_is_refused_with_the_reason() {
        let check = |text: &str, problem: &str| {
            assert_eq!(Path::parse(text).unwrap_err().to_string(), problem, "{text}");
        };
        for key in ["", ".a", "a.", "a..b", "a b", "a-b", "[0]", "é"] {
            check(key, "a key consists of letters, digits and underscores");
        }
        for item in ["a[", "a[0", "a[]", "a[x]", "a[-1]", "a[+1]", "a[0][1]", "a[0]b", "a[4294967296]"] {
            check(item, "an item is written in brackets, like `[0]` for the first or `[*]` for all");
        }
        check("a@", "only `date` and `reference` can follow `@`");
        check("a@Date", "only `date` and `reference` can follow `@`");
        check("@", "only `@source`, `@type` and `@id` need no path");
        check("@date", "only `@source`, `@type` and `@id` need no path");
    }
}
