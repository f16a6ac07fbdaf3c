//! Takes, extends and releases leases in the ledger, as single updates on the server. The rules are in `lease`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReturnDocument;

use super::lease::Lease;
use super::store::{Ledger, LedgerError, is_duplicate_key, patiently};
use crate::server::{ATTEMPTS_MAX, Failure, pause};

/// A lease that another process has.
#[derive(Debug, Clone)]
pub struct Held {
    /// The lease of the other process.
    pub lease: Lease,
    /// Time until the lease expires, by the server's clock.
    pub left: Duration,
}

impl Held {
    /// Returns true if no process works under this lease: it has expired, or its process is known to have ended.
    pub fn is_over(&self) -> bool {
        self.left.is_zero() || self.lease.owner.has_ended()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms| DateTime::from_millis(ms).try_to_rfc3339_string().unwrap_or_default();
        let Lease { owner, since_ms, until_ms, .. } = &self.lease;
        write!(
            formatter,
            "{owner}, since {} (its lease ends at {} unless it is renewed)",
            time(*since_ms),
            time(*until_ms)
        )
    }
}

impl Ledger {
    /// Takes the lease of the load with this key and returns its fence. Also takes an expired lease, and a lease whose
    /// process is known to have ended. If the lease cannot be taken, returns the lease of the other process.
    ///
    /// # Errors
    /// If the server cannot be reached, the lease document cannot be read, or other processes take the lease again and
    /// again.
    pub async fn take_lease(&self, key: &str) -> Result<Result<i64, Held>, LedgerError> {
        let mut ended = None;
        for attempt in 1..=ATTEMPTS_MAX {
            if let Some(fence) = patiently(|| self.try_lease(key, ended)).await? {
                return Ok(Ok(fence));
            }
            let Some(held) = patiently(|| self.held(key)).await? else {
                tokio::time::sleep(pause(attempt)).await;
                continue;
            };
            if !held.lease.owner.has_ended() || ended == Some(held.lease.fence) {
                return Ok(Err(held));
            }
            ended = Some(held.lease.fence);
        }
        Err(LedgerError::Unreadable)
    }

    /// Executes [`Lease::take`] as one update on the server. Returns `None` if another process has the lease.
    async fn try_lease(&self, key: &str, ended: Option<i64>) -> Result<Option<i64>, mongodb::error::Error> {
        let is_over = doc! { "$expr": { "$lte": ["$until", "$$NOW"] } };
        let mut free = vec![is_over, doc! { "owner.id": self.owner.id }];
        free.extend(ended.map(|fence| doc! { "fence": fence }));
        let owner = bson::serialize_to_bson(&self.owner).expect("an owner must serialize to a document");
        let change = doc! { "$set": {
            "target": { "$literal": self.lease_target() },
            "owner": { "$literal": owner },
            "fence": { "$add": [{ "$ifNull": ["$fence", 0_i64] }, 1_i64] },
            "since": "$$NOW",
            "until": { "$add": ["$$NOW", self.lease_ms] },
        } };
        let id = lease_id(key);
        let taken = self
            .leases
            .find_one_and_update(doc! { "_id": &id, "$or": free }, vec![change.clone()])
            .return_document(ReturnDocument::After)
            .await?;
        let taken = match taken {
            Some(taken) => Some(taken),
            None => self.insert_lease(&id, change).await?,
        };
        Ok(taken.and_then(|lease| lease.get_i64("fence").ok()))
    }

    /// Creates the first lease with this id. Returns `None` if the lease exists. The call that takes an existing lease
    /// cannot also create one: its filter contains `$expr`, which the server does not permit in an upsert.
    async fn insert_lease(&self, id: &str, change: Document) -> Result<Option<Document>, mongodb::error::Error> {
        let made = self
            .leases
            .find_one_and_update(doc! { "_id": id, "owner": { "$exists": false } }, vec![change])
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await;
        match made {
            Err(error) if is_duplicate_key(&error) => Ok(None),
            made => made,
        }
    }

    async fn held(&self, key: &str) -> Result<Option<Held>, mongodb::error::Error> {
        let found = self.leases.find_one(doc! { "_id": lease_id(key) }).projection(shown()).await?;
        Ok(found.as_ref().and_then(held_of))
    }

    /// Returns the lease of another load that is writing to this collection, if there is one. `is_own` returns true for
    /// the keys of the caller's own leases. Ignores loads whose process is known to have ended.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn other_load(&self, is_own: impl Fn(&str) -> bool) -> Result<Option<Held>, LedgerError> {
        let filter = doc! { "target": &self.collection, "$expr": { "$gt": ["$until", "$$NOW"] } };
        let is_others = |lease: &&Document| !lease.get_str("_id").ok().and_then(key_of).is_some_and(&is_own);
        let found = self.read_leases(filter).await?;
        Ok(found.iter().filter(is_others).filter_map(held_of).find(|held| !held.lease.owner.has_ended()))
    }

    /// Returns the leases of the loads with these keys, by key. For an expired lease, `left` is zero.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn leases_of(&self, keys: &[&str]) -> Result<BTreeMap<String, Held>, LedgerError> {
        let ids: Vec<String> = keys.iter().map(|key| lease_id(key)).collect();
        let found = self.read_leases(doc! { "_id": { "$in": ids } }).await?;
        let by_key = |lease: &Document| Some((key_of(lease.get_str("_id").ok()?)?.to_owned(), held_of(lease)?));
        Ok(found.iter().filter_map(by_key).collect())
    }

    /// Reads the leases that match the filter, with the fields that [`held_of`] needs.
    pub(super) async fn read_leases(&self, filter: Document) -> Result<Vec<Document>, LedgerError> {
        let found = patiently(|| async {
            let found = self.leases.find(filter.clone()).projection(shown()).await?;
            found.try_collect::<Vec<Document>>().await
        });
        found.await
    }

    /// Extends the lease. Returns false if another process has taken the lease.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn renew(&self, key: &str, fence: i64) -> Result<bool, Failure> {
        let until = doc! { "$add": ["$$NOW", self.lease_ms] }.into();
        self.set_lease_end(key, fence, &until).await.map_err(|error| Failure::of(&error))
    }

    /// Releases the lease by setting its end to the present time.
    ///
    /// # Errors
    /// If the server cannot be reached. The lease then expires by itself.
    pub async fn release(&self, key: &str, fence: i64) -> Result<(), LedgerError> {
        let now = Bson::from("$$NOW");
        patiently(|| self.set_lease_end(key, fence, &now)).await.map(drop)
    }

    async fn set_lease_end(&self, key: &str, fence: i64, until: &Bson) -> Result<bool, mongodb::error::Error> {
        let filter = doc! { "_id": lease_id(key), "fence": fence };
        let done = self.leases.update_one(filter, vec![doc! { "$set": { "until": until } }]).await?;
        Ok(done.matched_count == 1)
    }

    /// Returns the names of the collections of the load, as they are stored in a lease.
    fn lease_target(&self) -> Bson {
        if self.further.is_empty() {
            return self.collection.as_str().into();
        }
        let all = std::iter::once(&self.collection).chain(&self.further);
        Bson::Array(all.map(Bson::from).collect())
    }
}

/// Returns the projection of a lease document: its fields, and the server's time as `now`.
fn shown() -> Document {
    doc! { "owner": 1, "fence": 1, "since": 1, "until": 1, "now": "$$NOW" }
}

pub(super) fn held_of(lease: &Document) -> Option<Held> {
    let time = |name: &str| lease.get_datetime(name).ok().map(|time| time.timestamp_millis());
    let owner = bson::deserialize_from_bson(lease.get("owner")?.clone()).ok()?;
    let (since_ms, until_ms) = (time("since")?, time("until")?);
    let left = Duration::from_millis((until_ms - time("now")?).max(0).unsigned_abs());
    Some(Held { lease: Lease { owner, fence: lease.get_i64("fence").ok()?, since_ms, until_ms }, left })
}

/// Returns the key of the lease with this `_id`.
fn key_of(id: &str) -> Option<&str> {
    id.strip_prefix("lease ")
}

pub(super) fn lease_id(key: &str) -> String {
    format!("lease {key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Owner;

    /// Makes a lease that expires at `until_ms`, as the server returns it.
    fn stored(until_ms: i64, now_ms: i64) -> Document {
        let owner = bson::serialize_to_bson(&Owner::this_process()).expect("an owner is a document");
        let [since, until, now] = [1_000, until_ms, now_ms].map(DateTime::from_millis);
        doc! { "owner": owner, "fence": 7_i64, "since": since, "until": until, "now": now }
    }

    #[test]
    fn a_lease_has_the_remaining_time_by_the_servers_clock_or_none() {
        let left = |until_ms, now_ms| held_of(&stored(until_ms, now_ms)).expect("a lease").left.as_millis();
        assert_eq!([left(5_000, 3_500), left(5_000, 5_000), left(5_000, 9_000)], [1_500, 0, 0]);
        let Held { lease, .. } = held_of(&stored(5_000, 3_500)).expect("a lease");
        assert_eq!((lease.fence, lease.since_ms, lease.until_ms), (7, 1_000, 5_000));
    }

    #[test]
    fn a_lease_without_one_of_its_fields_is_not_read() {
        for name in ["owner", "fence", "since", "until", "now"] {
            let mut lease = stored(5_000, 3_500);
            lease.remove(name);
            assert!(held_of(&lease).is_none(), "{name}");
        }
    }
}
