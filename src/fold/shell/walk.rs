//! Folds all messages, document by document: to compare the result with the stored documents, or to correct them.
//!
//! The events of all messages are sorted on disk by the documents that they touch. Memory therefore stays bounded, even
//! if very many messages are about the same document. The keys are divided into ranges, which are folded at the same
//! time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;

use tokio::task::{JoinError, JoinSet, spawn_blocking};

use super::basis::Basis;
use super::checked::Checked;
use super::compare::Group;
use super::spool::Spooled;
use super::store::{FIRST, LAST, Store};
use super::{FoldError, Folded, Folder};
use crate::encode::{Id, IdentityKey};
use crate::fold::folding::Folding;
use crate::fold::{Event, Merges, State};
use crate::server::Target;
use crate::spec::Spec;

/// At most this number of ranges of keys are folded at the same time. Each needs up to about 40 MB of memory.
const RANGES_MAX: usize = 4;

/// At most this number of groups of documents of a range are compared and written at the same time.
const GROUPS_MAX: usize = 2;

/// Folds all messages of `target` again and compares the result with the stored documents. Writes nothing. Returns
/// `None` if no messages were ever folded in this database. Adds the number of messages that are read to `read`.
///
/// # Errors
/// The messages cannot be folded with this spec or key, another process folds, or the server or the temporary file
/// fails.
pub async fn check(
    target: &Target,
    spec: &Spec,
    identity: &IdentityKey,
    read: &Arc<AtomicU64>,
) -> Result<Option<Checked>, FoldError> {
    let basis = Basis::new(target, spec, identity)?;
    basis.refuse_other_identity().await?;
    let known = basis.known().await?;
    basis.refuse_other_rule(known.as_ref(), &basis.record().await?)?;
    let Some(record) = &known else { return Ok(None) };
    basis.refuse_other_version(record)?;
    let fence = basis.last_fence().await?;
    let (store, reader) = (Store::new(target, spec, None)?, basis.reader.clone());
    let read = Arc::clone(read);
    let mut folder = Folder { store, reader, basis, known, folded: Folded::default(), read };
    let mut checked = folder.walk(false).await?;
    checked.not_folded = folder.new_messages().await?.new.len() as u64;
    if folder.basis.last_fence().await? != fence {
        return Err(FoldError::Moved(target.database.clone()));
    }
    Ok(Some(checked))
}

impl Folder {
    /// Folds all messages document by document. Corrects the stored documents if `repair` is true.
    pub(super) async fn walk(&mut self, repair: bool) -> Result<Checked, FoldError> {
        if repair {
            self.store.forget().await?;
        }
        let (sorted, merges) = self.spool_all(repair).await?;
        let walk = Walk { merges: merges.into(), store: self.store.clone(), repair, has_failed: Arc::default() };
        let mut walking = JoinSet::new();
        for (place, range) in ranges(parallel()).into_iter().enumerate() {
            let walked = range.walk(sorted.range(range.first, range.to)?, walk.clone());
            walking.spawn(async move { walked.await.map(|checked| (place, checked)) });
        }
        let (mut found, mut failed) = (Vec::new(), None);
        // After an error, the writes of the other ranges must end before this process gives back the lease.
        while let Some(checked) = walking.join_next().await {
            match joined(checked) {
                Ok(checked) => found.push(checked),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)?;
        // The differences are listed in the order of the keys.
        found.sort_by_key(|(place, _)| *place);
        let mut checked = Checked::default();
        for (_, of_range) in found {
            checked.add(of_range);
        }
        Ok(checked)
    }
}

/// Returns how many threads can work at the same time.
pub(super) fn parallel() -> usize {
    available_parallelism().map_or(2, usize::from).min(RANGES_MAX)
}

/// A range of keys: those after `after`, which begin with `first`, at most `to`.
#[derive(Debug, Clone, Copy)]
struct KeyRange {
    after: Option<Id>,
    first: Id,
    to: Id,
}

/// Divides all keys into ranges of about the same size. Keys are hashes, so their first bytes are evenly distributed.
fn ranges(count: usize) -> Vec<KeyRange> {
    let cut = |part: usize| (part * 256 / count) as u8;
    let end = |part: usize| {
        let mut id = LAST;
        id.0[0] = cut(part + 1).wrapping_sub(1);
        id
    };
    let range = |part: usize| {
        let mut first = FIRST;
        first.0[0] = cut(part);
        KeyRange { after: part.checked_sub(1).map(end), first, to: end(part) }
    };
    (0..count).map(range).collect()
}

/// What the ranges have in common.
#[derive(Clone)]
struct Walk {
    merges: Arc<Merges>,
    store: Store,
    repair: bool,
    /// True after an error in one of the ranges. The others then end after the groups that they have begun.
    has_failed: Arc<AtomicBool>,
}

impl KeyRange {
    /// Folds the events of this range, and compares the documents. After an error, returns when no write is left.
    async fn walk(self, events: Spooled, walk: Walk) -> Result<Checked, FoldError> {
        let mut comparing = JoinSet::new();
        let checked = self.walk_groups(events, &walk, &mut comparing).await;
        if checked.is_err() {
            walk.has_failed.store(true, Ordering::Relaxed);
            while comparing.join_next().await.is_some() {}
        }
        checked
    }

    /// While groups of documents are compared and written, folds the next one.
    async fn walk_groups(
        self,
        mut events: Spooled,
        walk: &Walk,
        comparing: &mut JoinSet<Result<Checked, FoldError>>,
    ) -> Result<Checked, FoldError> {
        let (mut checked, mut next) = (Checked::default(), Some(Group::new(self.after, self.to)));
        while let Some(group) = next.take()
            && !walk.has_failed.load(Ordering::Relaxed)
        {
            let merges = Arc::clone(&walk.merges);
            let folded = spawn_blocking(move || fill(group, &mut events, &merges).map(|folded| (folded, events))).await;
            let (group, rest);
            ((group, rest), events) = joined(folded)?;
            while comparing.len() >= GROUPS_MAX
                && let Some(found) = comparing.join_next().await
            {
                checked.add(joined(found)?);
            }
            comparing.spawn(group.compare(walk.store.clone(), walk.repair));
            next = rest;
        }
        while let Some(found) = comparing.join_next().await {
            checked.add(joined(found)?);
        }
        Ok(checked)
    }
}

/// Folds documents until the group is full. Returns this group, and an empty group for the next documents. Instead of
/// the empty group, returns `None` if there are no more documents.
fn fill(mut group: Group, events: &mut Spooled, merges: &Merges) -> Result<(Group, Option<Group>), FoldError> {
    while let Some((state, touches)) = next_state(events)? {
        group.add(state.key(), state.document(state.patient().map(|patient| merges.survivor(patient))), touches);
        if group.is_full() {
            let next = group.end();
            return Ok((group, Some(next)));
        }
    }
    Ok((group, None))
}

/// Returns the state of the next document, and its messages in the order of their `_id`s.
fn next_state(spooled: &mut Spooled) -> Result<Option<(State, Vec<Id>)>, FoldError> {
    let Some((key, events)) = spooled.next_piece()? else { return Ok(None) };
    let (mut folding, mut messages) = (Folding { key, state: None }, Vec::new());
    let mut add = |events: Vec<Event>| {
        messages.extend(events.iter().map(|event| event.order().message));
        folding.add(events);
    };
    add(events);
    while let Some(events) = spooled.next_piece_of(key)? {
        add(events);
    }
    messages.sort_unstable();
    Ok(folding.state.map(|state| (state, messages)))
}

/// Returns the result of a task. A panic of the task goes on here.
pub(super) fn joined<T>(result: Result<T, JoinError>) -> T {
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_every_key_once() {
        for count in 1..=RANGES_MAX {
            let ranges = ranges(count);
            assert_eq!((ranges[0].after, ranges[0].first, ranges[count - 1].to), (None, FIRST, LAST));
            for pair in ranges.windows(2) {
                assert_eq!(pair[1].after, Some(pair[0].to));
                let next = u128::from_be_bytes(pair[0].to.0) + 1;
                assert_eq!(next, u128::from_be_bytes(pair[1].first.0), "{count}");
            }
        }
    }
}
