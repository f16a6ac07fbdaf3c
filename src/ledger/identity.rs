//! The identity of a collection: the fields and the key from which the `_id`s of its documents are made.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encode::IdentityKey;
use crate::spec::Spec;

/// The fields and the key from which a collection's `_id`s are made. All loads into a collection must use the same
/// fields and the same key. Otherwise a record could be stored twice, under two `_id`s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionIdentity {
    /// Each field as `name: type`, in the order of the spec. `[]` follows the name of an array or of a group that
    /// repeats, for example `visits[].date: date`.
    pub fields: Vec<String>,
    /// Fingerprint of `MEDLIFT_IDENTITY_KEY`, or `none`.
    pub key: String,
}

impl CollectionIdentity {
    /// Returns the identity of documents that are made with this spec and this key.
    pub fn of(spec: &Spec, key: &IdentityKey) -> Self {
        let named = |index: &usize| {
            let field = &spec.fields[*index];
            format!("{}: {}", spec.shape.marked_name(field), field.kind.name())
        };
        Self { fields: spec.identity.fields.iter().map(named).collect(), key: key.fingerprint() }
    }

    /// Describes how this identity differs from `other`, or returns `None` if they are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.key != other.key {
            let wanted = match other.key.as_str() {
                "none" => "but MEDLIFT_IDENTITY_KEY is not set".to_owned(),
                key => format!("not {}", Key(key)),
            };
            return Some(format!("{}, {wanted}", Key(&self.key)));
        }
        if self.fields == other.fields {
            return None;
        }
        let only = |left: &Self, right: &Self| -> Vec<String> {
            left.fields.iter().filter(|field| !right.fields.contains(field)).map(|field| format!("`{field}`")).collect()
        };
        Some(match (only(self, other), only(other, self)) {
            (ours, theirs) if ours.is_empty() && theirs.is_empty() => "the identity fields in another order".to_owned(),
            (ours, theirs) if theirs.is_empty() => format!("the identity field {} as well", ours.join(", ")),
            (ours, theirs) if ours.is_empty() => format!("no identity field {}", theirs.join(", ")),
            (ours, theirs) => format!("the identity field {}, not {}", ours.join(", "), theirs.join(", ")),
        })
    }
}

/// Prints an identity key by its fingerprint.
struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "none" => formatter.write_str("no identity key"),
            fingerprint => write!(formatter, "the identity key with the fingerprint {fingerprint}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(fields: &[&str], key: &str) -> CollectionIdentity {
        CollectionIdentity { fields: fields.iter().map(|field| (*field).to_owned()).collect(), key: key.to_owned() }
    }

    #[test]
    fn a_difference_names_fields_and_keys() {
        let stored = identity(&["a: string", "b: int32"], "none");
        let check = |fields: &[&str], key: &str, expected: Option<&str>| {
            assert_eq!(identity(fields, key).difference(&stored).as_deref(), expected);
        };
        check(&["a: string", "b: int32"], "none", None);
        check(
            &["a: string", "b: int32"],
            "0123",
            Some("the identity key with the fingerprint 0123, but MEDLIFT_IDENTITY_KEY is not set"),
        );
        check(&["b: int32", "a: string"], "none", Some("the identity fields in another order"));
        check(&["a: string"], "none", Some("no identity field `b: int32`"));
        check(&["a: string", "b: int32", "c: date"], "none", Some("the identity field `c: date` as well"));
        check(&["a: string", "b: int64"], "none", Some("the identity field `b: int64`, not `b: int32`"));
    }

    #[test]
    fn the_identity_is_the_specs_identity_fields_with_their_types() {
        let spec = "name = 'a'\ncollection = 'a'\n[identity]\nfields = ['Age']\n\
                    [[field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'Age'\ntype = 'int32'\nprivacy = 'none'\n";
        let spec = Spec::from_toml(spec, "a test").unwrap();
        assert_eq!(CollectionIdentity::of(&spec, &IdentityKey::default()), identity(&["Age: int32"], "none"));
        let arrays = "name = 'a'\n[[group]]\nname = 'g'\nrepeats = 'g'\n\
                      [[field]]\nname = 'g.x'\ntype = 'string'\nprivacy = 'none'\n\
                      [[field]]\nname = 'l'\ntype = 'date'\nrepeats = true\nprivacy = 'none'\n";
        let arrays = Spec::from_toml(arrays, "a test").unwrap();
        let of_arrays = identity(&["g[].x: string", "l[]: date"], "none");
        assert_eq!(CollectionIdentity::of(&arrays, &IdentityKey::default()), of_arrays);
        let keyed = CollectionIdentity::of(&spec, &IdentityKey::from_secret("secret"));
        assert!(keyed.key.len() == 16 && !keyed.key.contains("secret"));
    }
}
