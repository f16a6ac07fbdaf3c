//! Follows the references of a resource.

use super::bundle::BundleIds;
use super::reference::{Literal, literal};

/// What is known about the resources to which others refer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Links<'a> {
    /// The resources of the source's Bundles.
    pub(super) ids: Option<&'a BundleIds>,
    /// The number of the Bundle that contains the row.
    pub(super) bundle: u32,
    /// The URL of the server that the resources are from, without a slash at its end. Empty if it is not known.
    pub(super) base: &'a str,
}

impl Links<'_> {
    /// Appends the type and the id of the resource to which a reference leads, as `Type/id`. If it leads to another
    /// server, appends the URL, because a resource there can have the same type and id as one of this source. Returns
    /// `None` if the reference names no resource.
    pub(super) fn write(&self, reference: &str, out: &mut String) -> Option<()> {
        match literal(reference) {
            Some(Literal { base, kind, id }) if base.is_empty() || base == self.base => {
                out.push_str(kind);
                out.push('/');
                out.push_str(id);
            }
            Some(_) => out.push_str(reference),
            None => self.ids?.write(self.bundle, reference, out)?,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reference_to_the_own_server_gives_a_type_and_an_id() {
        let links = Links { base: "https://a.example/fhir", ..Links::default() };
        for (reference, expected) in [
            ("Patient/17", Some("Patient/17")),
            ("https://a.example/fhir/Patient/17/_history/2", Some("Patient/17")),
            ("https://b.example/fhir/Patient/17", Some("https://b.example/fhir/Patient/17")),
            ("https://a.example/Patient/17", Some("https://a.example/Patient/17")),
            ("urn:uuid:1", None),
            ("#a", None),
        ] {
            let mut out = String::new();
            assert_eq!(links.write(reference, &mut out).map(|()| out.as_str()), expected, "{reference}");
        }
    }
}
