//! The reasons why a row is not a resource that can be stored. No text of the row is in these errors, because it can be
//! a patient's.

use crate::reject::{Reason, Reject};

/// The largest number of levels of objects and arrays in a resource. MongoDB allows 100 levels, and the document around
/// the resource is one of them.
pub(super) const DEPTH_MAX: usize = 98;

/// The reason why a row cannot be stored. A number is a byte of the row, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::parse) enum Problem {
    #[error("byte {0} of the row is not valid UTF-8; save the file as UTF-8")]
    NotUtf8(usize),
    #[error("not one JSON object: see byte {0} of the row")]
    NotJson(usize),
    #[error("the key at byte {0} of the row is in its object twice; keep one of them")]
    KeyTwice(usize),
    #[error(
        "the string at byte {0} of the row has an escape that is not a character, such as half of a surrogate pair"
    )]
    NotACharacter(usize),
    #[error("the key at byte {0} of the row contains the character U+0000, which MongoDB does not allow in a key")]
    NulInKey(usize),
    #[error("more than {DEPTH_MAX} levels of objects and arrays: see byte {0} of the row")]
    TooDeep(usize),
    #[error("the object has no `resourceType`, so it is not a FHIR resource")]
    NoType,
    #[error("the spec does not describe resources of this type; add a [[document]] for it to a copy of the spec")]
    OtherType,
    #[error("the resource has no `id`; without one, each change of it would be stored as another document")]
    NoId,
    #[error("the entry of the Bundle has no resource; deletions and responses are not stored")]
    NoResource,
    #[error("this text is not part of a resource or a Bundle, or it is the end of a Bundle that is not JSON")]
    NotAResource,
}

impl From<Problem> for Reject {
    fn from(problem: Problem) -> Self {
        let reason = match problem {
            Problem::NotUtf8(_) => Reason::Undecodable,
            Problem::NoType | Problem::OtherType | Problem::NoId | Problem::NoResource | Problem::NotAResource => {
                Reason::NotFhir
            }
            _ => Reason::NotJson,
        };
        Self { field: None, reason, message: problem.to_string() }
    }
}
