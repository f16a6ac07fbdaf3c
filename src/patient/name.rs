//! How a user names a patient: an identifier and its authority, or the key.

use unicode_normalization::UnicodeNormalization;

use crate::encode::{Id, IdentityKey};
use crate::spec::trim;

/// The patient whose documents are searched. `Debug` does not show the identifier.
pub enum Name {
    /// An identifier, and the names under which the authority that assigned it may be known. An empty name stands for
    /// no authority.
    Identifier {
        /// The identifier.
        value: String,
        /// The authority. Several names are possible, because an HD value (`namespace&universal id&type`) has two
        /// names.
        authorities: Vec<String>,
    },
    /// The key of the patient, as it is in the field `patient`.
    Key(Id),
}

/// Why a text does not name a patient. No message quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no value.
    #[error("the identifier is empty; give it as value^^^authority, for example 'MRN12345^^^GOODHEALTH'")]
    Empty,
    /// The text has an authority, and the option gives another one.
    #[error("the identifier has an authority, and --authority names another one; give one of the two")]
    TwoAuthorities,
    /// The text has several components, and the option gives the authority.
    #[error("the identifier contains `^`, so it is not clear where it ends; give it as value^^^authority")]
    Components,
    /// The key is not a UUID.
    #[error(
        "--key is not a UUID; give the value of the field `patient`, as 32 hexadecimal digits with or without hyphens"
    )]
    Key,
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Identifier { .. } => "Identifier(***)",
            Self::Key(_) => "Key(***)",
        })
    }
}

impl Name {
    /// Reads an identifier in HL7's form (data type CX): `value^^^authority`. The other components are ignored.
    /// `authority` is the authority if the text has none.
    pub fn identifier(text: &str, authority: Option<&str>) -> Result<Self, NameError> {
        let mut components = text.split('^');
        let value = plain(components.next().unwrap_or_default());
        let between: Vec<String> = components.by_ref().take(2).map(plain).collect();
        let inner = components.next().map(plain).filter(|inner| !inner.is_empty());
        let authority = authority.map(plain).filter(|authority| !authority.is_empty());
        if value.is_empty() {
            return Err(NameError::Empty);
        }
        match (inner, authority) {
            (Some(inner), Some(other)) if inner != other => Err(NameError::TwoAuthorities),
            // `A^B` may be the whole identifier if the option gives the authority. `A` alone may be another person's,
            // so the text is refused.
            (None, Some(_)) if between.iter().any(|part| !part.is_empty()) => Err(NameError::Components),
            (inner, other) => {
                Ok(Self::Identifier { value, authorities: names_of(&inner.or(other).unwrap_or_default()) })
            }
        }
    }

    /// Reads the key of a patient: a UUID.
    pub fn key(text: &str) -> Result<Self, NameError> {
        let uuid = bson::Uuid::parse_str(text.trim()).map_err(|_| NameError::Key)?;
        Ok(Self::Key(Id(uuid.bytes())))
    }

    /// Returns true if no authority is given. Loads derive another key if they know the authority.
    pub fn lacks_authority(&self) -> bool {
        matches!(self, Self::Identifier { authorities, .. } if authorities.iter().all(String::is_empty))
    }

    /// Returns the keys that the patient may have.
    pub(super) fn keys(&self, identity: &IdentityKey) -> Vec<Id> {
        match self {
            Self::Key(key) => vec![*key],
            Self::Identifier { value, authorities } => {
                authorities.iter().map(|authority| identity.patient(value, authority)).collect()
            }
        }
    }
}

/// Returns the text as the cleaner of a load stores it.
fn plain(text: &str) -> String {
    trim(&trim(text).nfc().collect::<String>()).to_owned()
}

/// Returns the names of an authority: the whole text, and for `namespace&universal id&type` also the namespace and the
/// universal id.
fn names_of(authority: &str) -> Vec<String> {
    let parts = authority.split('&').take(2).map(str::trim).filter(|part| !part.is_empty());
    let mut names: Vec<String> = parts.map(str::to_owned).collect();
    if !names.iter().any(|name| name == authority) {
        names.push(authority.to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_a_value_and_an_authority() {
        let check = |text: &str, option: Option<&str>, expected: Result<(&str, &[&str]), NameError>| {
            let found = Name::identifier(text, option);
            let found = match &found {
                Ok(Name::Identifier { value, authorities }) => {
                    Ok((value.as_str(), authorities.iter().map(String::as_str).collect::<Vec<_>>()))
                }
                Ok(Name::Key(_)) => panic!("not a key"),
                Err(error) => Err(*error),
            };
            assert_eq!(found, expected.map(|(value, authorities)| (value, authorities.to_vec())), "{text} {option:?}");
        };
        check("77^^^NORTH", None, Ok(("77", &["NORTH"])));
        check(" 77 ^3^M11^ NORTH ^MR^X", None, Ok(("77", &["NORTH"])));
        check("77", None, Ok(("77", &[""])));
        check("77^^^", None, Ok(("77", &[""])));
        check("77", Some("NORTH"), Ok(("77", &["NORTH"])));
        check("77^^^^MR", Some("NORTH"), Ok(("77", &["NORTH"])));
        check("77^^^NORTH", Some("NORTH"), Ok(("77", &["NORTH"])));
        check("77^^^NORTH&1.2.3&ISO", None, Ok(("77", &["NORTH", "1.2.3", "NORTH&1.2.3&ISO"])));
        check("77^^^&1.2.3&ISO", None, Ok(("77", &["1.2.3", "&1.2.3&ISO"])));
        check("77^^^http://a.example/mrn", None, Ok(("77", &["http://a.example/mrn"])));
        check("e\u{301}^^^N", None, Ok(("\u{e9}", &["N"])));
        check("7^7", Some("NORTH"), Err(NameError::Components));
        check("77^^^NORTH", Some("SOUTH"), Err(NameError::TwoAuthorities));
        for empty in ["", "^^^NORTH", " "] {
            check(empty, None, Err(NameError::Empty));
        }
    }

    #[test]
    fn the_key_is_that_of_a_load() {
        let identity = IdentityKey::from_secret("a secret of thirty-two characters");
        let name = Name::identifier("77^^^NORTH", None).expect("an identifier");
        assert_eq!(name.keys(&identity), [identity.patient("77", "NORTH")]);
        assert!(!name.lacks_authority() && Name::identifier("77", None).expect("an identifier").lacks_authority());
        let key = name.keys(&identity)[0];
        assert_eq!(Name::key(&key.to_string()).expect("a key").keys(&IdentityKey::default()), [key]);
        assert!(matches!(Name::key("77"), Err(NameError::Key)));
        assert_eq!(format!("{name:?}"), "Identifier(***)");
    }
}
