//! Decides which resources of an exported Bundle have a full URL. A reference `urn:uuid:X` leads to the entry with this
//! URL. In the source, it led to an entry of its own Bundle. The exported Bundle has the entries of all Bundles, so the
//! reference could lead to another resource.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bson::{RawBsonRef, RawDocument};

use crate::parse::fhir::uuid_of;
use crate::spec::json_path::{Path, Reading, Step};
use crate::spec::{Column, Node, Spec};

/// The types to which references by UUID lead in the database.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// The type for each UUID. `None` if a reference leads to a resource with another id, or if references lead to
    /// resources of two types.
    by_uuid: HashMap<String, Option<Box<str>>>,
}

/// A field that stores the targets of references.
#[derive(Debug)]
pub(super) struct LinkField {
    /// Where the references are in the resource, the preferred path first.
    paths: Vec<Vec<Step>>,
    /// The field's name in the document, as steps.
    name: Vec<Step>,
    has_one: bool,
}

impl LinkField {
    /// Returns all fields of this kind that a document of this spec has.
    pub(super) fn all(spec: &Spec) -> Vec<Self> {
        let mut fields = Vec::new();
        for column in spec.columns().iter().filter(|column| !spec.is_derived(column)) {
            let own = paths(column);
            match column.node {
                Node::Leaf { .. } | Node::List { .. } => {
                    let has_one = matches!(column.node, Node::Leaf { .. });
                    fields.push(Self { paths: references(own), name: keys(&column.name), has_one });
                }
                Node::Group { children, .. } => {
                    for inner in spec.columns_of(children) {
                        let steps = |over: &Path, inner: &Path| [&over.steps[..], &[Step::All], &inner.steps].concat();
                        let inner_paths: Vec<Path> = paths(&inner).filter(is_reference).collect();
                        let over = paths(column);
                        let paths = over.flat_map(|over| inner_paths.iter().map(move |inner| steps(&over, inner)));
                        let name = [keys(&column.name), keys(&inner.name)].concat();
                        fields.push(Self { paths: paths.collect(), name, has_one: false });
                    }
                }
            }
        }
        fields.retain(|field| !field.paths.is_empty());
        fields
    }
}

impl Targets {
    /// Notes where the references of a document lead. `whole` is the name of the field with the resource. Returns true
    /// if something new was noted.
    pub(super) fn note(&mut self, document: &[u8], fields: &[LinkField], whole: &str) -> bool {
        let Ok(document) = RawDocument::from_bytes(document) else { return false };
        let Ok(resource) = document.get_document(whole) else { return false };
        let mut is_new = false;
        for field in fields {
            let (mut references, mut stored) = (Vec::new(), Vec::new());
            field.paths.iter().for_each(|path| find(RawBsonRef::Document(resource), path, false, &mut references));
            find(RawBsonRef::Document(document), &field.name, true, &mut stored);
            let leads = |text: &str, target: &str| is_at(text, target) || kind_at(text, target).is_some();
            let is_known = |target: &&str| references.iter().any(|text| leads(text, target));
            let is_elsewhere = !stored.iter().all(is_known);
            for reference in &references {
                let kind = stored.iter().find_map(|target| kind_at(reference, target));
                if let Some(uuid) = uuid_of(reference) {
                    // A UUID names the same resource everywhere. So a reference by UUID without a stored target is
                    // noted only if the field stores a target that no reference names. Another id can be the id of
                    // several resources, so it is always noted.
                    if kind.is_some() || is_elsewhere || !is_uuid(&uuid) {
                        is_new |= self.add(uuid, kind);
                    }
                }
                // A field with one target stores only the first reference that leads to a resource.
                if field.has_one && (kind.is_some() || stored.iter().any(|target| is_at(reference, target))) {
                    break;
                }
            }
        }
        is_new
    }

    fn add(&mut self, uuid: String, kind: Option<&str>) -> bool {
        match self.by_uuid.entry(uuid) {
            Entry::Vacant(new) => _ = new.insert(kind.map(Into::into)),
            Entry::Occupied(known) if known.get().as_deref() == kind || known.get().is_none() => return false,
            Entry::Occupied(mut known) => *known.get_mut() = None,
        }
        true
    }

    /// Returns true if all references to the full URL of a resource with this id lead to this resource.
    pub(super) fn lead_to(&self, kind: &str, id: &str) -> bool {
        let Some(uuid) = uuid_of(&format!("urn:uuid:{id}")) else { return true };
        self.by_uuid.get(&uuid).is_none_or(|known| known.as_deref() == Some(kind))
    }
}

/// Returns true if the reference names the type and the id of a stored target.
fn is_at(reference: &str, target: &str) -> bool {
    reference.split("/_history/").next().is_some_and(|versionless| versionless.ends_with(target))
}

/// Returns the type of a stored target, such as `Patient/X`, if the reference is the UUID of the target: `urn:uuid:X`.
fn kind_at<'t>(reference: &str, target: &'t str) -> Option<&'t str> {
    let (kind, id) = target.split_once('/')?;
    (uuid_of(reference)? == uuid_of(&format!("urn:uuid:{id}"))?).then_some(kind)
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36 && bson::Uuid::parse_str(id).is_ok()
}

fn paths<'c>(column: &'c Column<'_>) -> impl Iterator<Item = Path> + 'c {
    let texts = std::iter::once(column.column).chain(column.aliases.iter().map(String::as_str));
    texts.filter_map(|text| Path::parse(text).ok())
}

fn is_reference(path: &Path) -> bool {
    path.reading == Reading::Reference
}

fn references(paths: impl Iterator<Item = Path>) -> Vec<Vec<Step>> {
    paths.filter(is_reference).map(|path| path.steps).collect()
}

fn keys(name: &str) -> Vec<Step> {
    name.split('.').map(|key| Step::Key(key.to_owned())).collect()
}

/// Adds all texts at a path. If `through_arrays` is true, a key leads through an array to all its items.
fn find<'d>(value: RawBsonRef<'d>, path: &[Step], through_arrays: bool, found: &mut Vec<&'d str>) {
    match (value, path) {
        (RawBsonRef::String(text), []) => found.push(text),
        (RawBsonRef::Document(document), [Step::Key(key), rest @ ..]) => {
            if let Ok(Some(value)) = document.get(key) {
                find(value, rest, through_arrays, found);
            }
        }
        (RawBsonRef::Array(items), [Step::Item(number), rest @ ..]) => {
            if let Some(item) = items.into_iter().flatten().nth(*number as usize) {
                find(item, rest, through_arrays, found);
            }
        }
        (RawBsonRef::Array(items), [Step::All, rest @ ..]) => {
            items.into_iter().flatten().for_each(|item| find(item, rest, through_arrays, found));
        }
        (RawBsonRef::Array(items), _) if through_arrays => {
            items.into_iter().flatten().for_each(|item| find(item, path, through_arrays, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::spec::Dataset;

    #[test]
    fn a_full_url_is_written_only_if_all_references_to_it_lead_to_its_resource() {
        let text = "name = 'x'\n[source]\ntype = 'fhir'\n[[document]]\nresource = 'Condition'\n[document.search]\n\
                    subject = { reference = ['subject', 'patient'], privacy = 'direct-identifier' }\n\
                    about = { reference = 'about[*].to', privacy = 'none' }\n";
        let spec = &Dataset::from_toml(text, "a test").unwrap().kinds[0];
        let fields = LinkField::all(spec);
        let (u, v) = ("0a1b2c3d-0123-4567-89ab-0123456789ab", "ffffffff-0123-4567-89ab-0123456789ab");
        let urn = |id: &str| doc! { "reference": format!("urn:uuid:{id}") };
        let check = |documents: &[Document], expected: &[(&str, &str, bool)]| {
            let mut targets = Targets::default();
            for document in documents {
                let bytes = document.to_vec().unwrap();
                targets.note(&bytes, &fields, "resource");
                assert!(!targets.note(&bytes, &fields, "resource"), "{document}");
            }
            for (kind, id, leads) in expected {
                assert_eq!(targets.lead_to(kind, id), *leads, "{kind}/{id}: {documents:?}");
            }
        };
        let subject = |reference: &str, stored: bson::Bson| {
            doc! { "_search": { "subject": stored, "about": [] }, "resource": { "subject": urn(reference) } }
        };
        let to = |kind: &str, id: &str| bson::Bson::from(format!("{kind}/{id}"));
        check(&[], &[("Patient", u, true)]);
        check(&[subject(u, to("Patient", u))], &[("Patient", u, true), ("Person", u, false), ("Patient", v, true)]);
        check(&[subject(&u.to_uppercase(), to("Patient", u))], &[("Patient", u, true), ("Person", u, false)]);
        check(&[subject(u, to("Patient", "a"))], &[("Patient", u, false), ("Patient", "a", true)]);
        check(&[subject("p1", to("Patient", "a"))], &[("Patient", "p1", false)]);
        check(&[subject("p1", to("Patient", "p1"))], &[("Patient", "p1", true)]);
        check(
            &[subject(u, to("Patient", v)), subject(v, to("Patient", u))],
            &[("Patient", u, false), ("Patient", v, false)],
        );
        check(
            &[subject(u, to("Patient", u)), subject(u, to("Person", u))],
            &[("Patient", u, false), ("Person", u, false)],
        );
        check(&[subject(u, bson::Bson::Null)], &[("Patient", u, true)]);
        check(&[subject("p1", bson::Bson::Null)], &[("Patient", "p1", false)]);
        // The first reference that leads to a resource is stored.
        let both = doc! {
            "_search": { "subject": format!("Patient/{u}"), "about": [] },
            "resource": { "subject": urn(u), "patient": urn(v) },
        };
        check(&[both], &[("Patient", u, true), ("Person", u, false), ("Patient", v, true)]);
        let list = doc! {
            "_search": { "subject": null, "about": [format!("Patient/{u}"), "Patient/a"] },
            "resource": { "about": [{ "to": urn(u) }, { "to": urn(v) }, { "to": { "reference": "Patient/a" } }] },
        };
        check(&[list], &[("Patient", u, true), ("Person", u, false), ("Patient", v, true)]);
        let other = doc! {
            "_search": { "subject": null, "about": [format!("Patient/{u}"), "Patient/a"] },
            "resource": { "about": [{ "to": urn(u) }, { "to": urn(v) }] },
        };
        check(&[other], &[("Patient", u, true), ("Patient", v, false)]);
    }
}
