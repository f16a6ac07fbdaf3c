//! The rules of the lease, without I/O.
//!
//! A *lease* is the right of one process to write a load, until a point in time. The process extends this time while it
//! works. A *fence* is the number of a lease: each process that takes the lease receives a fence that is higher by one.
//! Every write of a load to its ledger document contains the fence of the process.
//!
//! Example: process A with fence 1 is frozen, and its lease expires. Process B takes the lease and receives fence 2.
//! Then A continues. Its next write to the ledger document contains fence 1 and is refused.
//!
//! All times are those of the server's clock. `leases` and `store` apply these rules as single updates on the server.

use super::owner::Owner;

/// A lease as stored in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The process that has the lease.
    pub owner: Owner,
    /// The number of the lease. Increases by one each time a process takes the lease.
    pub fence: i64,
    /// Time at which the lease was taken, in milliseconds since 1970.
    pub since_ms: i64,
    /// Time at which the lease expires unless it is renewed, in milliseconds since 1970.
    pub until_ms: i64,
}

impl Lease {
    /// Returns the lease that `owner` receives at `now_ms` for `length_ms`, if the lease can be taken. `ended` is the
    /// fence of a lease whose process is known to have ended.
    ///
    /// | present lease | can it be taken? |
    /// | --- | --- |
    /// | none | yes, with fence 1 |
    /// | expired | yes, with the next fence |
    /// | of the same owner | yes, with the next fence |
    /// | with the fence `ended` | yes, with the next fence |
    /// | any other | no |
    ///
    /// # Errors
    /// If the present lease cannot be taken, returns it.
    pub fn take(
        held: Option<&Self>,
        owner: &Owner,
        now_ms: i64,
        length_ms: i64,
        ended: Option<i64>,
    ) -> Result<Self, Self> {
        let fence = match held {
            Some(held) if !held.is_free_for(owner, now_ms, ended) => return Err(held.clone()),
            Some(held) => held.fence + 1,
            None => 1,
        };
        Ok(Self { owner: owner.clone(), fence, since_ms: now_ms, until_ms: now_ms + length_ms })
    }

    fn is_free_for(&self, owner: &Owner, now_ms: i64, ended: Option<i64>) -> bool {
        self.until_ms <= now_ms || self.owner.id == owner.id || ended == Some(self.fence)
    }

    /// Returns true if a write that names `fence` may change a document that was last written with the fence `written`.
    /// The ledger applies this rule in its queries. Tests without a server need it as code.
    #[cfg(test)]
    pub(crate) const fn admits(written: Option<i64>, fence: i64) -> bool {
        match written {
            Some(written) => written <= fence,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_only_if_no_other_owner_has_it() {
        let (ours, theirs) = (Owner::this_process(), Owner::this_process());
        let held = Lease::take(None, &theirs, 1_000, 50, None).unwrap();
        assert_eq!((held.fence, held.until_ms), (1, 1_050));
        let take = |now, ended| Lease::take(Some(&held), &ours, now, 50, ended).map(|lease| lease.fence);
        assert_eq!(take(1_049, None), Err(held.clone()));
        assert_eq!(take(1_050, None), Ok(2));
        assert_eq!(take(1_001, Some(1)), Ok(2));
        assert_eq!(take(1_001, Some(2)), Err(held.clone()));
        assert_eq!(Lease::take(Some(&held), &theirs, 1_001, 50, None).map(|lease| lease.fence), Ok(2));
    }

    #[test]
    fn a_write_with_a_lower_fence_is_refused() {
        for (written, fence, admitted) in [(None, 1, true), (Some(1), 1, true), (Some(1), 2, true), (Some(2), 1, false)]
        {
            assert_eq!(Lease::admits(written, fence), admitted, "{written:?} {fence}");
        }
    }
}
