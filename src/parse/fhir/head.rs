//! Finds out what a row is before it is converted: a resource, or an entry of a Bundle that contains one. The rules of
//! JSON are not checked here.

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head<'t> {
    /// A resource of this type.
    Resource(&'t [u8]),
    /// An entry of a Bundle, with a resource of this type.
    Entry(&'t [u8]),
    /// An entry of a Bundle without a resource.
    EmptyEntry,
    /// Another value.
    Other,
}

/// The keys that only entries of a Bundle have.
const KEYS_OF_ENTRIES: [&[u8]; 4] = [b"fullUrl", b"request", b"response", b"search"];

impl<'t> Head<'t> {
    /// Examines the value that begins the text.
    pub(super) fn of(text: &'t [u8]) -> Self {
        let mut scan = Scan { text, at: 0 };
        let (mut is_entry, mut has_entries) = (false, false);
        if !scan.take(b'{') {
            return Self::Other;
        }
        while let Some(key) = scan.key() {
            match key {
                b"resourceType" => return scan.string().map_or(Self::Other, Self::Resource),
                b"resource" if scan.is_at(b'{') => {
                    return match Self::of(&text[scan.at..]) {
                        Self::Resource(kind) => Self::Entry(kind),
                        _ => Self::Other,
                    };
                }
                b"entry" => has_entries = begins_entries(scan.clone()),
                key => is_entry |= KEYS_OF_ENTRIES.contains(&key),
            }
            if !scan.skip_value() {
                break;
            }
        }
        // The text is the beginning of a large Bundle whose type comes after its entries.
        if has_entries && scan.at == text.len() {
            return Self::Resource(b"Bundle");
        }
        if is_entry { Self::EmptyEntry } else { Self::Other }
    }
}

/// A position in JSON text.
#[derive(Clone)]
struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scan<'t> {
    fn is_at(&mut self, byte: u8) -> bool {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.text.get(self.at) == Some(&byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.is_at(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Passes the next key of an object, and the colon after it.
    fn key(&mut self) -> Option<&'t [u8]> {
        self.take(b',');
        let key = self.string()?;
        self.take(b':').then_some(key)
    }

    /// Passes a string. Returns its text, in which escapes are not replaced.
    fn string(&mut self) -> Option<&'t [u8]> {
        if !self.take(b'"') {
            return None;
        }
        let start = self.at;
        loop {
            let next = memchr::memchr2(b'"', b'\\', &self.text[self.at..])?;
            self.at += next + 1;
            if self.text[self.at - 1] == b'"' {
                return Some(&self.text[start..self.at - 1]);
            }
            self.at = (self.at + 1).min(self.text.len());
        }
    }

    /// Passes a value. Returns false at the end of the text, or at a closing bracket.
    fn skip_value(&mut self) -> bool {
        if self.is_at(b'"') {
            return self.string().is_some();
        }
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    if self.string().is_none() {
                        return false;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return false,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return true;
                    }
                }
                b',' if depth == 0 => return true,
                _ => {}
            }
            self.at += 1;
        }
        false
    }
}

/// Returns true if the value here is an array whose first item has a key of an entry of a Bundle.
fn begins_entries(mut scan: Scan<'_>) -> bool {
    if !(scan.take(b'[') && scan.take(b'{')) {
        return false;
    }
    while let Some(key) = scan.key() {
        if key == b"resource" || KEYS_OF_ENTRIES.contains(&key) {
            return true;
        }
        if !scan.skip_value() {
            break;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_resource_is_found_in_any_order_of_keys() {
        let check = |text: &str, expected| assert_eq!(Head::of(text.as_bytes()), expected, "{text}");
        let patient = Head::Resource(b"Patient");
        for text in [
            r#"{"resourceType":"Patient"}"#,
            " { \"resourceType\" :\n \"Patient\" , ",
            r#"{"id":"a","name":[{"given":["}","\"]"]}],"active":true,"n":1.5,"resourceType":"Patient"}"#,
            r#"{"a":{"resourceType":"Other"},"resourceType":"Patient"}"#,
            r#"{"a":"b\\","resourceType":"Patient"}"#,
        ] {
            check(text, patient);
        }
        for text in [
            r#"{"resource":{"resourceType":"Patient"}}"#,
            r#"{"fullUrl":"urn:uuid:1","resource": {"id":"a","resourceType":"Patient"},"request":{}}"#,
        ] {
            check(text, Head::Entry(b"Patient"));
        }
        check(r#"{"fullUrl":"a","request":{"method":"DELETE"}}"#, Head::EmptyEntry);
        for text in [r#"{"a":1,"entry":[{"fullUrl":"#, r#"{"entry":[{"link":[],"resource":{"a":1}},"#] {
            check(text, Head::Resource(b"Bundle"));
        }
        for text in [r#"{"entry":[{"resource":{}}]}"#, r#"{"entry":[{"item":{"#, r#"{"entry":{"resource":{"#] {
            check(text, Head::Other);
        }
        for text in [
            "",
            "[]",
            "{}",
            "{",
            "x",
            r#"{"a"}"#,
            r#"{"a":"b"#,
            r#"{"resourceType":1}"#,
            r#"{"resource":{"a":1}}"#,
            r#"{"a":{"resourceType":"Patient"}}"#,
            r#"{"a":"\"#,
            r#"{"a":[1,{"b":"#,
        ] {
            check(text, Head::Other);
        }
    }
}
