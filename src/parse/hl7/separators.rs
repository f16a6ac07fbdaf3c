//! The separators of a message. `MSH-1` and `MSH-2` declare them (HL7 v2.8, 2.5.4).

use super::Problem;

/// The characters that divide a message into its parts. A separator that `MSH-2` does not declare is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Separators {
    /// Between two fields.
    pub field: u8,
    /// Between two components.
    pub component: Option<u8>,
    /// Between two repetitions of a field.
    pub repetition: Option<u8>,
    /// Before and after the name of an escape.
    pub escape: Option<u8>,
    /// Between two subcomponents.
    pub subcomponent: Option<u8>,
    /// After a text that was cut (HL7 v2.7 and later).
    pub truncation: Option<u8>,
}

/// The names of the separators, in the order of `MSH`.
const NAMES: [&str; 6] = [
    "the field separator",
    "the component separator",
    "the repetition separator",
    "the escape character",
    "the subcomponent separator",
    "the truncation character",
];

impl Separators {
    /// Reads the separators of a message. `header` is its first segment.
    pub(super) fn read(header: &[u8]) -> Result<Self, Problem> {
        let Some((&field, rest)) = header.strip_prefix(b"MSH").and_then(<[u8]>::split_first) else {
            return Err(Problem::NotAMessage);
        };
        let declared = &rest[..memchr::memchr(field, rest).unwrap_or(rest.len())];
        if declared.len() >= NAMES.len() {
            return Err(Problem::TooManySeparators);
        }
        check(field, declared)?;
        let at = |place: usize| declared.get(place).copied();
        let (component, repetition, escape, subcomponent, truncation) = (at(0), at(1), at(2), at(3), at(4));
        Ok(Self { field, component, repetition, escape, subcomponent, truncation })
    }
}

fn check(field: u8, declared: &[u8]) -> Result<(), Problem> {
    let all = || std::iter::once(&field).chain(declared).zip(NAMES);
    for (place, (&separator, name)) in all().enumerate() {
        if !is_separator(separator) {
            return Err(Problem::BadSeparator { name });
        }
        if let Some((_, one)) = all().take(place).find(|&(&earlier, _)| earlier == separator) {
            return Err(Problem::SameSeparators { one, other: name });
        }
    }
    Ok(())
}

/// Returns true if a message may use the byte as a separator. Bytes beyond ASCII are refused, because they can be a part
/// of a character. Tabs are allowed, other control characters are refused.
const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~') && !byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msh_declares_the_separators() {
        let check = |header: &[u8], expected: Result<[Option<u8>; 6], Problem>| {
            let seen = Separators::read(header).map(|found| {
                let Separators { field, component, repetition, escape, subcomponent, truncation } = found;
                [Some(field), component, repetition, escape, subcomponent, truncation]
            });
            assert_eq!(seen, expected, "{}", header.escape_ascii());
        };
        let all = |signs: &[u8]| std::array::from_fn(|place| signs.get(place).copied());
        check(b"MSH|^~\\&|A", Ok(all(b"|^~\\&")));
        check(b"MSH|^~\\&#|A", Ok(all(b"|^~\\&#")));
        check(b"MSH#*:?!", Ok(all(b"#*:?!")));
        check(b"MSH\t^~\\&\tA", Ok(all(b"\t^~\\&")));
        check(b"MSH|^~|A", Ok(all(b"|^~")));
        check(b"MSH||A", Ok(all(b"|")));
        check(b"MSH|", Ok(all(b"|")));
        check(b"MSH", Err(Problem::NotAMessage));
        check(b"PID|1", Err(Problem::NotAMessage));
        check(b"MSHA^~\\&A", Err(Problem::BadSeparator { name: "the field separator" }));
        check(b"MSH|^1\\&|", Err(Problem::BadSeparator { name: "the repetition separator" }));
        check(b"MSH|^~\xe9&|", Err(Problem::BadSeparator { name: "the escape character" }));
        check(b"MSH|^~\0&|", Err(Problem::BadSeparator { name: "the escape character" }));
        let same = Problem::SameSeparators { one: "the component separator", other: "the subcomponent separator" };
        check(b"MSH|^~\\^|", Err(same));
        check(b"MSH|^~\\&#!|", Err(Problem::TooManySeparators));
    }
}
