//! What a fold is based on: the collection, the spec and the key. Refuses a fold that would mix states.

use bson::doc;

use super::FoldError;
use crate::encode::IdentityKey;
use crate::fold::identifier::PatientRule;
use crate::fold::{Kind, Reader, collections};
use crate::ledger::{Claim, CollectionIdentity, FoldRecord, LEASE_DEFAULT, Ledger};
use crate::parse::hl7::Charset;
use crate::server::{ServerError, Target, collection_uuid};
use crate::spec::{FormatName, Spec};

/// The key of the lease of a fold. There is one lease for each database, because all folds of a database write to the same
/// collections.
const LEASE_KEY: &str = "fold";

/// The collection, the spec and the key of a fold.
pub(super) struct Basis {
    target: Target,
    ledger: Ledger,
    identity: CollectionIdentity,
    pub reader: Reader,
    rule: String,
}

/// Makes a reader for the messages of a spec.
pub(super) fn reader_of(spec: &Spec, identity: &IdentityKey) -> Result<Reader, FoldError> {
    let rule = rule_of(spec)?;
    // A message that is not UTF-8 and names no character set was only stored with --encoding windows-1252.
    Ok(Reader::new(identity.clone(), rule, spec.source.zone, Charset::Iso8859(1)))
}

fn rule_of(spec: &Spec) -> Result<PatientRule, FoldError> {
    if spec.whole().is_none() || spec.source.format != Some(FormatName::Hl7) || spec.patient.is_none() {
        return Err(FoldError::Spec);
    }
    PatientRule::of(spec).map_err(FoldError::Patient)
}

impl Basis {
    pub(super) fn new(target: &Target, spec: &Spec, identity: &IdentityKey) -> Result<Self, FoldError> {
        let reader = reader_of(spec, identity)?;
        if collections().contains(&target.collection.as_str()) {
            return Err(FoldError::Name(target.full_name()));
        }
        // Not the collection of the messages: a load of messages does not wait for a fold.
        let ledger = Ledger::new(&target.db(), Kind::Patient.collection(), LEASE_DEFAULT);
        Ok(Self {
            target: target.clone(),
            ledger,
            identity: CollectionIdentity::of(spec, identity),
            reader,
            rule: format!("{} {}", rule_of(spec)?.description(), spec.source.zone.name()),
        })
    }

    /// Fails if the `_id`s of the messages were made with another key or from other fields.
    pub(super) async fn refuse_other_identity(&self) -> Result<(), FoldError> {
        let messages = Ledger::new(&self.target.db(), &self.target.collection, LEASE_DEFAULT);
        match messages.identity().await?.and_then(|stored| stored.difference(&self.identity)) {
            Some(stored) => Err(FoldError::OtherIdentity { collection: self.target.full_name(), stored }),
            None => Ok(()),
        }
    }

    /// Returns the record of the earlier folds in this database. Returns `None` if there was none.
    ///
    /// # Errors
    /// The state is of other messages, or its collections have documents of a load.
    pub(super) async fn known(&self) -> Result<Option<FoldRecord>, FoldError> {
        for collection in collections() {
            if Ledger::new(&self.target.db(), collection, LEASE_DEFAULT).identity().await?.is_some() {
                return Err(FoldError::Taken { messages: self.target.full_name(), collection });
            }
        }
        let known = self.ledger.fold_record().await?;
        if let Some(other) = known.as_ref().map(|known| &known.messages)
            && *other != self.target.collection
            && self.has_documents(other).await?
        {
            return Err(FoldError::OtherMessages { messages: self.target.full_name(), other: other.clone() });
        }
        Ok(known)
    }

    async fn has_documents(&self, collection: &str) -> Result<bool, FoldError> {
        let query = doc! { "find": collection, "limit": 1, "projection": { "_id": 1 } };
        let found = self.target.look(query).await.map_err(|failure| ServerError::Command {
            doing: format!("read {}.{collection}", self.target.database),
            failure,
        })?;
        let first = found.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(first.is_ok_and(|batch| !batch.is_empty()))
    }

    /// Fails if the state was made with another rule for patients or times. `present` is the record of a fold now.
    pub(super) fn refuse_other_rule(&self, known: Option<&FoldRecord>, present: &FoldRecord) -> Result<(), FoldError> {
        match known {
            Some(known) if known.rule != self.rule && known.is_of(present) => Err(FoldError::OtherRule),
            _ => Ok(()),
        }
    }

    /// Takes the lease of the folds in this database.
    pub(super) async fn claim(&self) -> Result<Claim, FoldError> {
        let claim = Claim::take(&self.ledger, LEASE_KEY).await?;
        claim.map_err(|held| FoldError::Held { collection: self.target.full_name(), held: Box::new(held) })
    }

    /// Returns the record of a complete fold.
    pub(super) async fn record(&self) -> Result<FoldRecord, FoldError> {
        Ok(FoldRecord {
            messages: self.target.collection.clone(),
            collection_uuid: collection_uuid(&self.target).await?,
            rule: self.rule.clone(),
            is_rebuilding: false,
        })
    }

    pub(super) async fn put(&self, record: &FoldRecord) -> Result<(), FoldError> {
        Ok(self.ledger.put_fold_record(record).await?)
    }
}
