//! Prepares the collection for the messages of a listener.

use super::commit::Destination;
use super::rejected::RejectedStore;
use crate::deployment::{Privileges, build_indexes, schema};
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::fold::shell;
use crate::pipeline::load::missing_right_to_fold;
use crate::server::{Target, collection_uuid, refuse_name_for_data, refuse_view};
use crate::spec::{Field, Spec};
use crate::write::{Bulk, ShardMap, WriteError};

/// The collection of a listener.
pub(super) struct Place {
    /// Where messages are stored.
    pub destination: Destination,
    /// Whether the collection has no documents.
    pub is_empty: bool,
    /// Whether messages can be folded.
    pub folds: bool,
}

/// Checks that messages can be stored, and creates the indexes and the validator of a new collection. `tell` receives
/// notes for the user.
///
/// # Errors
/// The spec does not describe messages, the collection cannot be their target, or the server fails.
pub(super) async fn prepare(
    target: &Target,
    spec: &Spec,
    key: &IdentityKey,
    folds: bool,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Place, Error> {
    refuse_unfit_spec(spec)?;
    refuse_name_for_data("the spec", &target.database, &target.collection)?;
    refuse_view(target).await?;
    schema::refuse_warning(target, spec).await?;
    schema::try_spec(target, spec).await?;
    let wtimeout = target.db().write_concern().and_then(|concern| concern.w_timeout);
    let bulk = Bulk::new(target.db(), &target.collection, wtimeout.map(|time| time.as_millis() as i64));
    let is_empty = bulk.is_empty().await.map_err(|failure| Error::Write(WriteError::Server(failure)))?;
    let is_new = is_empty && collection_uuid(target).await?.is_none();
    let rejected = RejectedStore::new(target, key);
    refuse_missing_rights(target, rejected.collection()).await?;
    let folds = folds && can_fold(target, spec, key, is_new, tell).await?;
    if is_empty {
        build(target, spec, tell).await?;
    }
    let destination = Destination {
        bulk,
        shards: ShardMap::default(),
        rejected,
        key: key.clone(),
        policy: Destination::policy_of(spec),
    };
    Ok(Place { destination, is_empty, folds })
}

/// Fails if the spec describes no messages, or if two different messages could have the same `_id`: the second would
/// then be acknowledged and lost.
pub(super) fn refuse_unfit_spec(spec: &Spec) -> Result<(), Error> {
    match spec.fields.iter().position(Field::is_whole) {
        Some(whole) if spec.is_of_messages() && spec.identity.fields.contains(&whole) => Ok(()),
        _ => Err(Error::Usage(format!(
            "{}: a listener needs a spec with [source] type = \"hl7\", and with a field with whole = true that is one of \
             the fields of [identity], so that every message is stored; for example --spec hl7v2",
            spec.origin
        ))),
    }
}

/// Fails if the user may not store messages or refused messages.
async fn refuse_missing_rights(target: &Target, rejected: &str) -> Result<(), Error> {
    let privileges = Privileges::of_user(target).await?;
    for collection in [&target.collection, rejected] {
        if privileges.forbid("insert", &target.database, collection) {
            return Err(target.in_collection(collection).not_permitted("insert").into());
        }
    }
    Ok(())
}

/// Returns true if the messages can be folded. Otherwise says why not.
async fn can_fold(
    target: &Target,
    spec: &Spec,
    key: &IdentityKey,
    is_new: bool,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<bool, Error> {
    let reason = match shell::refuse_unfit(target, spec, key, is_new).await {
        Ok(()) => missing_right_to_fold(target).await?,
        Err(error) if error.is_of_spec() => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    if let Some(reason) = &reason {
        tell(&format!("messages are not folded: {reason}"));
    }
    Ok(reason.is_none())
}

/// Builds the indexes and attaches the validator. If the user may not do this, `medlift provision` does it.
async fn build(target: &Target, spec: &Spec, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<(), Error> {
    let waiting = |text: &str| tell(text);
    for (what, done) in [
        ("the validator was not attached", schema::attach(target, spec, waiting).await),
        ("the indexes were not built", build_indexes(target, spec, waiting).await),
    ] {
        match done {
            Err(error) if error.is_not_authorized() => {
                let command = schema::provision_command(target, spec);
                tell(&format!("{what}, because this user has no permission; run `{command}` as an administrator"));
            }
            done => done?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Dataset;

    #[test]
    fn a_spec_must_store_every_message() {
        let spec = |text: &str| Dataset::from_toml(text, "x.toml").expect("a spec").into_only().expect("one kind");
        let hl7 = Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind");
        assert!(refuse_unfit_spec(&hl7).is_ok());
        let by_id = hl7.text.replace(r#"fields = ["message"]"#, r#"fields = ["controlId"]"#);
        for unfit in [Spec::built_in(), spec(&by_id)] {
            let error = refuse_unfit_spec(&unfit).expect_err("refused").to_string();
            assert!(error.contains("--spec hl7v2"), "{error}");
        }
    }
}
