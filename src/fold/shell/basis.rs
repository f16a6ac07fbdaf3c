//! What a fold is based on: the collection, the spec and the key. Refuses a fold that would mix states.

use bson::{Document, doc};

use super::FoldError;
use crate::encode::IdentityKey;
use crate::fold::identifier::PatientRule;
use crate::fold::{Kind, Reader, collections};
use crate::ledger::{Claim, CollectionIdentity, FoldRecord, Guard, Held, LEASE_DEFAULT, Ledger};
use crate::parse::hl7::Charset;
use crate::server::{Failure, ServerError, Target, collection_uuid, first_batch};
use crate::spec::{FormatName, Spec};

/// The key of the lease of a fold. There is one lease for each database, because all folds of a database write to the
/// same collections.
const LEASE_KEY: &str = "fold";

/// The version of the rules of the fold. Raise it with each change after which equal messages give other documents. The
/// next fold then folds all messages.
const RULES: i32 = 2;

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
    // A message that is not UTF-8 and names no character set is stored only if the load has `--encoding windows-1252`.
    // So the fold reads such a message as windows-1252, which is `Iso8859(1)`.
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
        // The lease of a fold is under the name `patients`, not under that of the collection of messages. So a load
        // need not wait for a fold before it stores messages.
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
    /// The state is of other messages, or its collections have documents of a load or of another program.
    pub(super) async fn known(&self) -> Result<Option<FoldRecord>, FoldError> {
        for collection in collections() {
            if Ledger::new(&self.target.db(), collection, LEASE_DEFAULT).identity().await?.is_some() {
                return Err(FoldError::Taken { messages: self.target.full_name(), collection });
            }
        }
        let known = self.ledger.fold_record().await?;
        if let Some(other) = known.as_ref().map(|known| &known.messages)
            && *other != self.target.collection
            && self.has_documents(other, doc! {}).await.map_err(|failure| self.unread(other, failure))?
        {
            return Err(FoldError::OtherMessages { messages: self.target.full_name(), other: other.clone() });
        }
        if known.is_none() {
            self.refuse_foreign().await?;
        }
        Ok(known)
    }

    /// Returns the record of the earlier folds without the checks of [`known`](Self::known).
    pub(super) async fn last(&self) -> Result<Option<FoldRecord>, FoldError> {
        Ok(self.ledger.fold_record().await?)
    }

    /// Fails if a collection of the state has documents of another program. Called only before the first fold: after
    /// it, documents of another program do not stop a fold.
    async fn refuse_foreign(&self) -> Result<(), FoldError> {
        let foreign = doc! { "asOf.message": { "$not": { "$type": "binData" } } };
        for collection in collections() {
            match self.has_documents(collection, foreign.clone()).await {
                Ok(true) => return Err(FoldError::Foreign { messages: self.target.full_name(), collection }),
                // If the user may not read the collection, this is no error here: the load later says which
                // permission is missing.
                Ok(false) | Err(Failure::NotAuthorized { .. }) => {}
                Err(failure) => return Err(self.unread(collection, failure)),
            }
        }
        Ok(())
    }

    fn unread(&self, collection: &str, failure: Failure) -> FoldError {
        let doing = format!("read {}.{collection}", self.target.database);
        ServerError::Command { doing, failure }.into()
    }

    async fn has_documents(&self, collection: &str, filter: Document) -> Result<bool, Failure> {
        let query = doc! { "find": collection, "filter": filter, "limit": 1, "projection": { "_id": 1 } };
        Ok(first_batch(&self.target.look(query).await?).next().is_some())
    }

    /// Fails if the state was made with another rule for patients or times. `present` is the record that a fold would
    /// write now.
    pub(super) fn refuse_other_rule(&self, known: Option<&FoldRecord>, present: &FoldRecord) -> Result<(), FoldError> {
        match known {
            Some(known) if known.rule != self.rule && known.is_of(present) => Err(FoldError::OtherRule),
            _ => Ok(()),
        }
    }

    /// Takes the lease of the folds in this database.
    pub(super) async fn claim(&self) -> Result<Claim, FoldError> {
        let claim = Claim::take(&self.ledger, LEASE_KEY).await?;
        claim.map_err(|held| self.held(held))
    }

    fn held(&self, held: Held) -> FoldError {
        FoldError::Held { database: self.target.database.clone(), held: Box::new(held) }
    }

    /// Returns the number of the last fold's lease.
    ///
    /// # Errors
    /// Another process is folding.
    pub(super) async fn last_fence(&self) -> Result<Option<i64>, FoldError> {
        match self.ledger.leases_of(&[LEASE_KEY]).await?.remove(LEASE_KEY) {
            Some(held) if !held.is_over() => Err(self.held(held)),
            last => Ok(last.map(|held| held.lease.fence)),
        }
    }

    /// Fails if another version of Medlift made the state by other rules.
    pub(super) fn refuse_other_version(&self, known: &FoldRecord) -> Result<(), FoldError> {
        if known.version == RULES { Ok(()) } else { Err(FoldError::OtherVersion(self.target.database.clone())) }
    }

    /// Returns the record that a fold writes when it is complete.
    pub(super) async fn record(&self) -> Result<FoldRecord, FoldError> {
        Ok(FoldRecord {
            messages: self.target.collection.clone(),
            collection_uuid: collection_uuid(&self.target).await?,
            rule: self.rule.clone(),
            version: RULES,
            is_rebuilding: false,
        })
    }

    pub(super) async fn put(&self, record: &FoldRecord, guard: &Guard) -> Result<(), FoldError> {
        Ok(self.ledger.put_fold_record(record, guard).await?)
    }
}
