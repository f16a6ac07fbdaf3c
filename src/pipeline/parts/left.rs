//! The parts of a table that a worker still has to look at.

use std::collections::HashSet;

use bson::Uuid;

use crate::ledger::{Held, Ledger, LedgerError, PartOf, PartProgress, State};

/// The parts of a table that are not complete, as far as a worker knows. A part that is complete stays complete, so the
/// worker reads its state only once.
#[derive(Debug)]
pub(super) struct PartsLeft {
    /// The numbers of the parts, in the order in which the worker tries them.
    numbers: Vec<u32>,
    /// How many of `numbers` the worker has looked at since it began at the first one.
    looked_at: usize,
    /// The states of the complete parts, if they are needed.
    complete: Option<Vec<PartProgress>>,
}

/// What a worker sees when it looks at parts.
#[derive(Debug)]
pub(super) struct Look {
    /// The incomplete parts that no worker is loading now.
    pub(super) free: Vec<u32>,
    /// The states of all parts that the worker knows to be complete, and of the parts in this look that have begun but
    /// are not complete. Empty if states are not needed.
    pub(super) begun: Vec<PartProgress>,
}

impl PartsLeft {
    /// `needs_states` says whether a look must return the states of the parts that have begun.
    pub(super) fn new(numbers: Vec<u32>, needs_states: bool) -> Self {
        Self { numbers, looked_at: 0, complete: needs_states.then(Vec::new) }
    }

    /// Returns the number of parts that are not complete.
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Lets the next look begin at the first part again.
    pub(super) const fn start_again(&mut self) {
        self.looked_at = 0;
    }

    /// Looks at the next `count` parts. Returns `None` once after the last part. The next look then begins at the first
    /// part again.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(super) async fn look(
        &mut self,
        ledger: &Ledger,
        load: Uuid,
        count: usize,
    ) -> Result<Option<Look>, LedgerError> {
        let next: Vec<u32> = self.numbers.iter().skip(self.looked_at).take(count).copied().collect();
        if next.is_empty() {
            self.start_again();
            return Ok(None);
        }
        let begun = ledger.part_progress(load, &next).await?;
        let left = self.note(&next, &begun);
        let keys: Vec<String> = left.iter().map(|&number| PartOf { load, number }.key()).collect();
        let leases = ledger.leases_of(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let is_free = |key: &String| leases.get(key).is_none_or(Held::is_over);
        let free = left.iter().zip(&keys).filter_map(|(&number, key)| is_free(key).then_some(number)).collect();
        let begun = self.complete.as_ref().map_or_else(Vec::new, |complete| {
            let under_way = begun.into_iter().filter(|part| part.state != State::Complete);
            complete.iter().cloned().chain(under_way).collect()
        });
        Ok(Some(Look { free, begun }))
    }

    /// Notes which of the parts `next` are complete. Returns the others.
    fn note(&mut self, next: &[u32], begun: &[PartProgress]) -> Vec<u32> {
        let complete = || begun.iter().filter(|part| part.state == State::Complete);
        let done: HashSet<u32> = complete().map(PartProgress::number).collect();
        if let Some(known) = &mut self.complete {
            known.extend(complete().cloned());
        }
        self.numbers.retain(|number| !done.contains(number));
        self.looked_at += next.len() - done.len();
        next.iter().copied().filter(|number| !done.contains(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, state: &str) -> PartProgress {
        let counts = bson::serialize_to_bson(&crate::ledger::Counts::default()).unwrap();
        let part = bson::doc! { "load": Uuid::from_bytes([0; 16]), "number": number };
        bson::deserialize_from_document(bson::doc! { "part": part, "state": state, "counts": counts }).unwrap()
    }

    #[test]
    fn a_complete_part_is_looked_at_once_and_the_next_look_leaves_out_no_part() {
        let mut left = PartsLeft::new(vec![4, 0, 1, 2, 3], true);
        assert_eq!(left.note(&[4, 0, 1], &[part(0, "complete"), part(1, "running")]), [4_u32, 1]);
        assert_eq!((left.count(), &left.numbers[left.looked_at..]), (4, &[2_u32, 3][..]));
        assert_eq!(left.note(&[2, 3], &[part(2, "complete"), part(3, "complete")]), Vec::<u32>::new());
        assert_eq!((left.count(), left.looked_at), (2, 2));
        left.start_again();
        assert_eq!(left.note(&[4, 1], &[part(4, "complete"), part(1, "complete")]), Vec::<u32>::new());
        let complete: Vec<u32> = left.complete.iter().flatten().map(PartProgress::number).collect();
        assert_eq!((left.count(), complete), (0, vec![0_u32, 2, 3, 4, 1]));
    }
}
