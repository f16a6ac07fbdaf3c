//! The document of a listener in the ledger: when it ran, and what it counted. `medlift runs` shows it like a load of a
//! source that can be read only once. Its lease says that the collection is being written, so that no load drops it.

use std::time::Duration;

use bson::DateTime;

use super::metrics::Metrics;
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::ledger::{
    Claim, CollectionIdentity, Counts, LEASE_DEFAULT, Ledger, LoadDocument, Options, Reading, SourceIdentity, State,
    TargetState,
};
use crate::read::Version;
use crate::server::{Target, collection_uuid};
use crate::spec::Spec;

/// How long the end of a listener waits for the ledger.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// A run of a listener in the ledger.
pub(super) struct Run {
    ledger: Ledger,
    claim: Claim,
    document: LoadDocument,
}

impl Run {
    /// Records that a listener begins. `is_empty` says whether the collection has no documents. `source` names what the
    /// listener listens to.
    ///
    /// # Errors
    /// The ledger cannot be used, or the `_id`s in the collection were made with another key or from other fields.
    pub(super) async fn begin(
        target: &Target,
        spec: &Spec,
        key: &IdentityKey,
        is_empty: bool,
        source: String,
    ) -> Result<Self, Error> {
        let keeping = |error| Error::of_ledger("write", error);
        let ledger = Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT);
        let (identity_key, reading) = (key.fingerprint(), Reading::default());
        let options = Options { mode: "insert".into(), identity_key, lineage: false, reading };
        let source = SourceIdentity { name: source, size_bytes: None, version: Version::ReadOnce };
        let state =
            TargetState { collection_uuid: collection_uuid(target).await?, ..TargetState::new(&target.collection) };
        let mut document = LoadDocument::new(vec![state], spec, vec![source], options);
        let claim = Claim::take(&ledger, &document.key).await.map_err(keeping)?;
        let claim = claim.map_err(|held| Error::Held(Box::new(held)))?;
        document.fence = claim.fence();
        let wanted = CollectionIdentity::of(spec, key);
        let settled = ledger.settle_identity(&wanted, is_empty, &document.key).await.map_err(keeping)?;
        Error::if_identities_differ(target, &settled, &wanted)?;
        ledger.put(&mut document).await.map_err(keeping)?;
        Ok(Self { ledger, claim, document })
    }

    /// Records the counts so far. Ignores a failure: the next call records them.
    pub(super) async fn note(&mut self, metrics: &Metrics) {
        let counts = counts_of(metrics);
        if counts != self.document.counts {
            self.document.counts = counts;
            let _ = self.ledger.put_once(&mut self.document).await;
        }
    }

    /// Records that the listener has ended.
    pub(super) async fn end(mut self, metrics: &Metrics) {
        self.document.counts = counts_of(metrics);
        self.document.state = State::Complete;
        self.document.finished = Some(DateTime::now());
        let _ = tokio::time::timeout(END_TIMEOUT, self.ledger.put_once(&mut self.document)).await;
        let _ = tokio::time::timeout(END_TIMEOUT, self.claim.release()).await;
    }
}

fn counts_of(metrics: &Metrics) -> Counts {
    let (written, already_present) = (metrics.stored.get(), metrics.repeated.get());
    let rejected = metrics.rejected.get();
    Counts { read: written + already_present + rejected, written, already_present, rejected, ..Counts::default() }
}
