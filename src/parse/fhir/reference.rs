//! References between resources.

/// The largest length of the id of a resource (FHIR R4, data type `id`).
const ID_BYTES_MAX: usize = 64;

/// A reference that names a type and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Literal<'t> {
    /// The URL of the server, without a slash at its end. Empty if the reference is relative.
    pub(super) base: &'t str,
    pub(super) kind: &'t str,
    pub(super) id: &'t str,
}

/// Returns the parts of a literal reference: `Patient` and `17` for `Patient/17`, and also for
/// `https://a.example/fhir/Patient/17/_history/2`. Returns `None` for a contained resource (`#a`), for a search such as
/// `Patient?identifier=1`, for a URN, and for everything else.
pub(super) fn literal(text: &str) -> Option<Literal<'_>> {
    let (mut rest, mut id) = text.rsplit_once('/')?;
    if let Some(versioned) = rest.strip_suffix("/_history") {
        (rest, id) = versioned.rsplit_once('/')?;
    }
    let (base, kind) = rest.rsplit_once('/').unwrap_or(("", rest));
    (is_type(kind) && is_id(id)).then_some(Literal { base, kind, id })
}

/// Returns the id of a resource: its own, or the UUID of the full URL of its entry.
pub(super) fn id_of<'t>(own: Option<&'t str>, full_url: Option<&'t str>) -> Option<&'t str> {
    own.map(str::trim).filter(|id| !id.is_empty()).or_else(|| uuid(full_url?))
}

/// Returns the UUID of a reference or a full URL such as `urn:uuid:…`.
pub(super) fn uuid(text: &str) -> Option<&str> {
    text.strip_prefix("urn:uuid:").filter(|uuid| is_id(uuid))
}

fn is_type(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase()) && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_literal_reference_names_a_type_and_an_id() {
        for (text, base) in [
            ("Patient/a-1.b", ""),
            ("http://a.example/fhir/Patient/a-1.b", "http://a.example/fhir"),
            ("Patient/a-1.b/_history/7", ""),
            ("/Patient/a-1.b", ""),
        ] {
            assert_eq!(literal(text), Some(Literal { base, kind: "Patient", id: "a-1.b" }), "{text}");
        }
        let long = format!("Patient/{}", "a".repeat(65));
        for text in [
            "",
            "#a",
            "Patient",
            "Patient/",
            "/a",
            "patient/a",
            "Patient?identifier=a|b",
            "urn:uuid:a/b",
            "Patient/a b",
            &long,
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
        assert_eq!(uuid("urn:uuid:0a-1"), Some("0a-1"));
        assert_eq!([uuid("urn:oid:1"), uuid("urn:uuid:"), uuid("0a-1")], [None; 3]);
    }
}
