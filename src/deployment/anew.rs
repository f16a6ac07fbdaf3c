//! Creates a collection anew after its documents were dropped. The server drops a collection only together with its
//! validator, its indexes and its options.

use bson::{Bson, Document, doc};

use super::indexes::read_raw;
use super::schema::{self, listing};
use crate::server::{Failure, ServerError, Target, first_batch};
use crate::spec::{Index, Spec};

/// The options of `create` that describe a validator.
const OF_VALIDATOR: [&str; 3] = ["validator", "validationLevel", "validationAction"];

/// The options of a collection, the indexes that the spec does not describe, and whether there is a validator. All are
/// read before the collection is dropped, because the server drops them with it.
#[derive(Debug, Default, PartialEq)]
pub struct Surroundings {
    /// The options of the collection, for example its collation, without its validator.
    options: Document,
    has_validator: bool,
    /// The indexes that the spec does not describe, as the server lists them.
    indexes: Vec<Document>,
}

impl Surroundings {
    /// Reads the options and the indexes of the target's collection. They are empty if it does not exist, or if the
    /// user may not list them.
    pub async fn read(target: &Target, spec: &Spec) -> Result<Self, ServerError> {
        match Self::read_permitted(target, spec).await {
            Err(error) if error.is_not_authorized() => Ok(Self::default()),
            read => read,
        }
    }

    async fn read_permitted(target: &Target, spec: &Spec) -> Result<Self, ServerError> {
        let Some(listed) = listing(target, &target.collection).await? else { return Ok(Self::default()) };
        let mut options = listed.get_document("options").cloned().unwrap_or_default();
        let has_validator = options.get_document("validator").is_ok_and(|validator| !validator.is_empty());
        for name in OF_VALIDATOR {
            options.remove(name);
        }
        let indexes = read_raw(target).await?;
        let indexes = first_batch(&indexes).filter(|listed| is_further(listed, spec)).cloned().collect();
        Ok(Self { options, has_validator, indexes })
    }

    /// Creates the collection with its options and its further indexes. If the dropped collection had a validator and
    /// `with_validator` is true, the new one gets the validator of the spec. Returns a note for the user. If the
    /// server refuses the creation, the note says so. If there is nothing to keep, creates no collection and returns
    /// `None`.
    pub async fn create(
        &self,
        target: &Target,
        spec: &Spec,
        with_validator: bool,
    ) -> Result<Option<String>, ServerError> {
        let is_guarded = self.has_validator && with_validator;
        if self.options.is_empty() && self.indexes.is_empty() && !is_guarded {
            return Ok(None);
        }
        let (name, collection) = (target.full_name(), &target.collection);
        let mut command = if is_guarded {
            schema::attach_command("create", collection, spec)
        } else {
            doc! { "create": collection }
        };
        command.extend(self.options.clone());
        let kept = self.kept(is_guarded);
        let doing = || format!("create {name} anew after --drop");
        if let Some(why) = refusal(target.run(&target.database, command, doing).await)? {
            return Ok(Some(format!("{name} was dropped, and {why}, so it was not created anew{kept}")));
        }
        let mut note = format!("{name} was dropped and created anew{kept}");
        if !self.indexes.is_empty() {
            let command = doc! { "createIndexes": collection, "indexes": self.indexes.clone() };
            if refusal(target.run(&target.database, command, doing).await)?.is_some() {
                note = format!(
                    "{name} was dropped and created anew, but its further indexes could not be built. Wanted:{kept}"
                );
            }
        }
        Ok(Some(note))
    }

    /// Describes what the collection was created with.
    fn kept(&self, is_guarded: bool) -> String {
        let names: Vec<&str> = self.indexes.iter().filter_map(|index| index.get_str("name").ok()).collect();
        let options: Vec<&str> = self.options.keys().map(String::as_str).collect();
        let lists = [("its options", options), ("its further indexes", names)];
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let kept = is_guarded.then(|| "the spec's validator".to_owned()).into_iter();
        let kept: Vec<String> = kept.chain(lists.map(|(what, names)| format!("{what} {}", names.join(", ")))).collect();
        format!(" with {}", kept.join(" and "))
    }
}

/// Returns the reason if the server refused a command and would refuse it again. This is not an error: the collection
/// is already dropped, so the load continues without the change.
///
/// # Errors
/// The server could not be reached, or the failure is temporary.
fn refusal<T>(done: Result<T, ServerError>) -> Result<Option<&'static str>, ServerError> {
    match done {
        Ok(_) => Ok(None),
        Err(error) if error.is_not_authorized() => Ok(Some("this user may not create it")),
        Err(error) if error.failure().is_none_or(Failure::is_retryable) => Err(error),
        Err(_) => Ok(Some("the server refused the command")),
    }
}

/// Returns true if the spec does not describe the listed index, and the index can exist beside those of the spec.
fn is_further(listed: &Document, spec: &Spec) -> bool {
    let name = listed.get_str("name").unwrap_or_default();
    let keys = listed.get_document("key").cloned().unwrap_or_default();
    let direction = |value: &Bson| value.as_f64().or_else(|| value.as_i32().map(f64::from));
    let listed_keys: Vec<_> = keys.iter().map(|(name, value)| (name.as_str(), direction(value))).collect();
    let has_keys = |wanted: &Index| {
        let wanted = wanted.keys.iter().map(|(name, value)| (name.as_str(), Some(f64::from(*value))));
        wanted.eq(listed_keys.iter().copied())
    };
    name != "_id_"
        && !listed.contains_key("buildUUID")
        && !listed.contains_key("indexBuildInfo")
        && !spec.indexes.iter().any(|wanted| wanted.name == name || has_keys(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_the_spec_describes_or_excludes_is_not_kept() {
        let spec = Spec::built_in();
        let first = &spec.indexes[0];
        let keys: Document = first.keys.iter().map(|(name, direction)| (name.clone(), (*direction).into())).collect();
        let opposite: Document =
            first.keys.iter().map(|(name, direction)| (name.clone(), (-direction).into())).collect();
        for (listed, expected) in [
            (doc! { "name": "_id_", "key": { "_id": 1 } }, false),
            (doc! { "name": &first.name, "key": { "x": 1 } }, false),
            (doc! { "name": "other", "key": &keys }, false),
            (doc! { "name": "hashed", "key": { keys.keys().next().unwrap(): "hashed" } }, true),
            (doc! { "name": "upside down", "key": opposite }, true),
            (doc! { "name": "built", "key": { "x": 1 }, "buildUUID": 1 }, false),
            (doc! { "name": "further", "key": { "x": 1 } }, true),
            (doc! { "name": "text", "key": { "_fts": "text", "_ftsx": 1 } }, true),
        ] {
            assert_eq!(is_further(&listed, &spec), expected, "{listed}");
        }
    }

    #[test]
    fn the_note_says_what_was_kept() {
        let check = |options: Document, indexes: &[&str], is_guarded: bool, expected: &str| {
            let indexes = indexes.iter().map(|name| doc! { "name": *name }).collect();
            let found = Surroundings { options, has_validator: is_guarded, indexes }.kept(is_guarded);
            assert_eq!(found, expected);
        };
        check(doc! {}, &[], true, " with the spec's validator");
        check(doc! {}, &["a", "b"], false, " with its further indexes a, b");
        let all = " with the spec's validator and its options collation and its further indexes a";
        check(doc! { "collation": {} }, &["a"], true, all);
    }
}
