//! Who may write a load into the ledger: the rules of the lease, without I/O.
//!
//! A lease has one owner until a point in time, which the owner moves on while it works. Whoever takes the lease gets a
//! higher fence, and every write names its fence: the writes of an earlier owner, who may only have been frozen, are
//! refused from then on. Times are the server's. `store` carries the same rules out as single updates of the server.

use super::owner::Owner;

/// A lease as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub owner: Owner,
    /// Grows by one with every taking.
    pub fence: i64,
    /// When it was taken, milliseconds since 1970.
    pub since_ms: i64,
    /// When it runs out unless it is renewed, milliseconds since 1970.
    pub until_ms: i64,
}

impl Lease {
    /// The lease that `owner` gets at `now_ms` for `length_ms`, or the one that another owner holds.
    ///
    /// | ledger holds | taken |
    /// | --- | --- |
    /// | nothing | yes, fence 1 |
    /// | a lease that ran out | yes, next fence |
    /// | a lease of the same owner | yes, next fence |
    /// | a lease whose fence is `ended` | yes, next fence: its process is known to have ended |
    /// | any other lease | no |
    ///
    /// # Errors
    /// The lease that is in the way.
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

    /// Whether a write that names `fence` may change a document that was last written under `written`.
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
