//! The rules of the lease, without I/O. The lease decides which process may write a load to the ledger.
//!
//! A lease has one owner until a point in time. The owner extends this time while it works. Every process that takes
//! the lease receives a higher fence, and every write names its fence. An earlier owner may only have been frozen: its
//! writes are refused, because its fence is lower. All times are the server's. `store` implements the same rules as
//! single updates on the server.

use super::owner::Owner;

/// A lease as stored in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The process that has it.
    pub owner: Owner,
    /// Increases by one each time the lease is taken.
    pub fence: i64,
    /// When it was taken, milliseconds since 1970.
    pub since_ms: i64,
    /// When it expires unless it is renewed, milliseconds since 1970.
    pub until_ms: i64,
}

impl Lease {
    /// The lease that `owner` receives at `now_ms` for `length_ms`, if it can be taken.
    ///
    /// | the ledger contains | can be taken |
    /// | --- | --- |
    /// | no lease | yes, fence 1 |
    /// | an expired lease | yes, next fence |
    /// | a lease of the same owner | yes, next fence |
    /// | a lease with the fence `ended` | yes, next fence: its process is known to have ended |
    /// | any other lease | no |
    ///
    /// # Errors
    /// The lease of the other owner.
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
    pub const fn admits(written: Option<i64>, fence: i64) -> bool {
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
    fn a_lease_is_taken_only_when_nobody_holds_it() {
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
    fn a_lower_fence_changes_nothing() {
        for (written, fence, admitted) in [(None, 1, true), (Some(1), 1, true), (Some(1), 2, true), (Some(2), 1, false)]
        {
            assert_eq!(Lease::admits(written, fence), admitted, "{written:?} {fence}");
        }
    }
}
