//! The beginning of a load with `--drop`: drops the collections, and creates them again with the same options and
//! indexes.

use super::{LoadTarget, keeping, writing};
use crate::deployment::{Privileges, Surroundings};
use crate::error::Error;
use crate::server::{DROP, Failure};

/// The action that permits a user to attach a validator to an existing collection.
const ATTACH: &str = "collMod";

impl LoadTarget<'_> {
    /// Fails if the user may not drop the collection. The sources need not be read in this case.
    pub(super) async fn refuse_forbidden_drop(&self) -> Result<(), Error> {
        if self.is_forbidden(DROP).await? { Err(self.target.not_permitted(DROP).into()) } else { Ok(()) }
    }

    /// Drops the collection, and creates it anew with its options and indexes. Returns a note for the summary.
    ///
    /// The load attaches the validator at its end, because documents are written faster without it. But some users,
    /// such as `writer`, can set a validator only when they create the collection. For such a user, the new collection
    /// has the validator from the beginning, if the old one had it.
    pub(super) async fn begin_anew(&self) -> Result<Option<String>, Error> {
        let with_validator = self.is_forbidden(ATTACH).await?;
        let surroundings = Surroundings::read(&self.target, self.spec).await?;
        self.bulk.drop_collection().await.map_err(|failure| match failure {
            Failure::NotAuthorized { .. } => self.target.not_permitted(DROP).into(),
            failure => writing(failure),
        })?;
        self.ledger.mark_dropped().await.map_err(keeping)?;
        Ok(surroundings.create(&self.target, self.spec, with_validator).await?)
    }

    async fn is_forbidden(&self, action: &str) -> Result<bool, Error> {
        let privileges = Privileges::of_user(&self.target).await?;
        Ok(privileges.forbid(action, &self.target.database, &self.target.collection))
    }
}
