//! Paths, which name a part of a message in a spec. This file knows only how a path is written.

use std::fmt;

/// The path of a part of a message, for example `PID-5.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    /// The segment, for example `PID`.
    pub segment: SegmentId,
    /// The number of the field, from 1. `None` means the whole segment.
    pub field: Option<u16>,
    /// The repetition of the field.
    pub repetition: Repetition,
    /// The number of the component, from 1.
    pub component: Option<u16>,
    /// The number of the subcomponent, from 1.
    pub subcomponent: Option<u16>,
    /// True for `@precision`. The path then names the precision of a time, and not the time itself.
    pub is_precision: bool,
}

/// The repetition of a field that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Repetition {
    /// The path names no repetition, which means the first one.
    First,
    /// The repetition with this number, from 1: `[2]`.
    Number(u16),
    /// All repetitions: `[*]`.
    All,
}

/// The name of a segment: a capital letter, then two capital letters or digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SegmentId([u8; 3]);

/// The error for a text that is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct PathError {
    problem: String,
}

impl Path {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        let (path, is_precision) = match text.split_once('@') {
            None => (text, false),
            Some((path, "precision")) => (path, true),
            Some(_) => return wrong("only `precision` can follow `@`"),
        };
        let (segment, rest) = match path.split_once('-') {
            None => (path, None),
            Some((segment, rest)) => (segment, Some(rest)),
        };
        let Some(segment) = SegmentId::new(segment) else {
            return wrong("a segment is three characters: a capital letter, then capital letters or digits");
        };
        let Some(rest) = rest else {
            let path = Self {
                segment,
                field: None,
                repetition: Repetition::First,
                component: None,
                subcomponent: None,
                is_precision,
            };
            return if is_precision { wrong("only a field has a precision") } else { Ok(path) };
        };
        let mut parts = rest.split('.');
        let (field, repetition) = field_and_repetition(parts.next().unwrap_or_default())?;
        let component = parts.next().map(|part| number(part, "component")).transpose()?;
        let subcomponent = parts.next().map(|part| number(part, "subcomponent")).transpose()?;
        if parts.next().is_some() {
            return wrong("a subcomponent has no parts");
        }
        Ok(Self { segment, field: Some(field), repetition, component, subcomponent, is_precision })
    }

    /// Returns true if the path can be read inside each item of the repeating group with the path `group`. If `group`
    /// is a segment, each such segment is an item. If `group` is a field, each repetition of the field is an item.
    pub(crate) fn is_inside(&self, group: &Self) -> bool {
        self.segment == group.segment
            && self.field.is_some()
            && (group.field.is_none() || (group.field == self.field && self.repetition == Repetition::First))
    }
}

/// Reads the number of a field, and a repetition in brackets after it.
fn field_and_repetition(text: &str) -> Result<(u16, Repetition), PathError> {
    let Some((field, rest)) = text.split_once('[') else { return Ok((number(text, "field")?, Repetition::First)) };
    let Some(repetition) = rest.strip_suffix(']') else {
        return wrong("the repetition of a field is written in brackets, like `[2]` or `[*]`");
    };
    let repetition =
        if repetition == "*" { Repetition::All } else { Repetition::Number(number(repetition, "repetition")?) };
    Ok((number(field, "field")?, repetition))
}

fn number(text: &str, what: &str) -> Result<u16, PathError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(number) if is_number => Ok(number),
        _ => wrong(format!("the {what} is not a number from 1 to {}", u16::MAX)),
    }
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, PathError> {
    Err(PathError { problem: problem.into() })
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.segment)?;
        if let Some(field) = self.field {
            write!(formatter, "-{field}")?;
        }
        match self.repetition {
            Repetition::First => {}
            Repetition::Number(number) => write!(formatter, "[{number}]")?,
            Repetition::All => formatter.write_str("[*]")?,
        }
        for part in [self.component, self.subcomponent].into_iter().flatten() {
            write!(formatter, ".{part}")?;
        }
        formatter.write_str(if self.is_precision { "@precision" } else { "" })
    }
}

impl SegmentId {
    /// The name of the first segment of a message.
    pub(crate) const MSH: Self = Self(*b"MSH");

    /// Returns the name of a segment, or `None` if the text is not one.
    pub(crate) fn new(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes().try_into().ok()?)
    }

    /// Does the same as [`new`](Self::new) for bytes.
    pub(crate) fn from_bytes(id: [u8; 3]) -> Option<Self> {
        let is_later = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        (id[0].is_ascii_uppercase() && is_later(id[1]) && is_later(id[2])).then_some(Self(id))
    }

    /// Returns the name as text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_segment_field_repetition_component_and_subcomponent() {
        let check = |text: &str, field, repetition, component, subcomponent, is_precision| {
            let segment = SegmentId::new(&text[..3]).unwrap();
            let expected = Path { segment, field, repetition, component, subcomponent, is_precision };
            assert_eq!(Path::parse(text), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        };
        check("OBX", None, Repetition::First, None, None, false);
        check("OBX-5", Some(5), Repetition::First, None, None, false);
        check("PID-5.1", Some(5), Repetition::First, Some(1), None, false);
        check("PID-3[*].1", Some(3), Repetition::All, Some(1), None, false);
        check("PID-3[2].4.2", Some(3), Repetition::Number(2), Some(4), Some(2), false);
        check("ZP1-65535[*]", Some(65535), Repetition::All, None, None, false);
        check("MSH-7@precision", Some(7), Repetition::First, None, None, true);
        check("PID-11[2].12.1@precision", Some(11), Repetition::Number(2), Some(12), Some(1), true);
    }

    #[test]
    fn a_wrong_path_is_refused_with_the_reason() {
        let check = |text: &str, problem: &str| {
            let error = Path::parse(text).unwrap_err().to_string();
            assert_eq!(error, problem, "{text}");
        };
        for segment in ["", "pid", "PI", "PIDX", "1PI", "pid-3", "-3", "PID.3", "PID 3", "PÉ", "MSH7@precision"] {
            check(segment, "a segment is three characters: a capital letter, then capital letters or digits");
        }
        for field in ["PID-", "PID-0", "PID-x", "PID-65536", "PID-+3", "PID--3", "PID-03", "PID-.1", "PID-[2]"] {
            check(field, "the field is not a number from 1 to 65535");
        }
        for brackets in ["PID-3[2", "PID-3[2]x", "PID-3[", "PID-3[1.2]"] {
            check(brackets, "the repetition of a field is written in brackets, like `[2]` or `[*]`");
        }
        for repetition in ["PID-3[]", "PID-3[0]", "PID-3[**]", "PID-3[1][2]"] {
            check(repetition, "the repetition is not a number from 1 to 65535");
        }
        check("PID-3.", "the component is not a number from 1 to 65535");
        check("PID-3.1.x", "the subcomponent is not a number from 1 to 65535");
        check("PID-3.1.2.3", "a subcomponent has no parts");
        check("MSH-7@", "only `precision` can follow `@`");
        check("MSH-7@Precision", "only `precision` can follow `@`");
        check("MSH@precision", "only a field has a precision");
    }

    #[test]
    fn a_path_is_inside_its_segment_and_its_field() {
        let check = |path: &str, group: &str, expected| {
            let (path, group) = (Path::parse(path).unwrap(), Path::parse(group).unwrap());
            assert_eq!(path.is_inside(&group), expected, "{path} {group}");
        };
        check("OBX-5", "OBX", true);
        check("OBX-5[*].1", "OBX", true);
        check("OBX", "OBX", false);
        check("OBR-5", "OBX", false);
        check("PID-3.1", "PID-3", true);
        check("PID-3", "PID-3", true);
        check("PID-4.1", "PID-3", false);
        check("PID-3[2].1", "PID-3", false);
    }
}
