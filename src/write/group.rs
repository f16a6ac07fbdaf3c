//! Groups of records with the same `_id` in one chunk. Only one record of a group, the winner, is sent. The others, the
//! losers, are counted as if each had been sent alone, in source order.

use super::outcome::{Outcome, Policy, Refusal};
use crate::encode::{Entry, Version};
use crate::spec::OnConflict;

/// The outcomes of the losers: the records of a group that were not sent.
#[derive(Debug, Default)]
pub struct Losers {
    /// Losers that would be duplicates if the records of the group were sent one by one, in source order.
    pub duplicates: u64,
    /// Losers that would be conflicts if the records of the group were sent one by one, in source order. If the load
    /// rejects conflicts, these losers are in `refused` instead.
    pub conflicts: u64,
    /// Losers for the reject file. Either they are conflicts and the load rejects conflicts, or the server refused the
    /// winner of their group.
    pub refused: Vec<(Entry, Refusal)>,
}

impl Losers {
    /// Counts the records of a group as if each had been sent alone, in source order. `version` returns the content of
    /// a record. `stored` is the content that was stored under the `_id` before this group. It is `None` if no earlier
    /// chunk of this load had the `_id`. The first record of the group is then not counted, because it is the one to be
    /// written.
    fn of(group: &[Entry], stored: Option<Version>, policy: Policy, version: impl Fn(&Entry) -> Version) -> Self {
        let mut losers = Self::default();
        let mut current = stored;
        for entry in group {
            match current {
                None => current = Some(version(entry)),
                Some(current) if current.digest == entry.digest => losers.duplicates += 1,
                Some(earlier) if policy.replaces(earlier, version(entry)) => {
                    losers.conflicts += 1;
                    current = Some(version(entry));
                }
                Some(_) if policy.on_conflict == OnConflict::Reject => losers.refused.push((*entry, Refusal::Conflict)),
                Some(_) => losers.conflicts += 1,
            }
        }
        losers
    }

    /// Counts a group without its winner, because the winner has its own `outcome`.
    ///
    /// May change `outcome` from duplicate to conflict. Example: the stored content is A, the later record wins, and
    /// the group is B, A. The winner A is equal to the stored content. But in source order, B would have replaced A,
    /// and then A would have replaced B, so both are conflicts.
    pub(super) fn beside(
        winner: &Entry,
        group: &[Entry],
        outcome: &mut Outcome,
        stored: Option<Version>,
        policy: Policy,
        version: impl Fn(&Entry) -> Version,
    ) -> Self {
        if let Outcome::Refused(refusal @ (Refusal::Validation | Refusal::UniqueIndex | Refusal::Server(_))) = *outcome
        {
            return Self::of_refused(winner, group, refusal, stored);
        }
        let stored = if *outcome == Outcome::Duplicate { Some(version(winner)) } else { stored };
        let mut losers = Self::of(group, stored, policy, version);
        if stored.is_none() {
            return losers;
        }
        match outcome {
            Outcome::Duplicate if losers.duplicates > 0 => losers.duplicates -= 1,
            Outcome::Duplicate => {
                losers.conflicts -= 1;
                *outcome = Outcome::Conflict;
            }
            Outcome::Refused(Refusal::Conflict) => {
                losers.refused.retain(|(entry, _)| (entry.block, entry.row) != (winner.block, winner.row));
            }
            _ => losers.conflicts -= 1,
        }
        losers
    }

    /// Counts a group whose winner the server refused. No record of the group was written, so the losers are refused
    /// too. Exception: losers with the content that an earlier chunk stored are duplicates.
    fn of_refused(winner: &Entry, group: &[Entry], refusal: Refusal, stored: Option<Version>) -> Self {
        let mut losers = Self::default();
        for entry in group.iter().filter(|entry| (entry.block, entry.row) != (winner.block, winner.row)) {
            if stored.is_some_and(|stored| stored.digest == entry.digest) {
                losers.duplicates += 1;
            } else {
                let is_same = entry.digest == winner.digest;
                losers.refused.push((*entry, if is_same { refusal } else { Refusal::Sibling }));
            }
        }
        losers
    }

    pub(super) fn add(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.refused.extend(other.refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Digest;
    use crate::write::{Mode, Step};

    const NEWEST: OnConflict = OnConflict::Newest { order_by: 0 };

    /// Divides the records into two chunks at each position. Checks that the counts do not depend on the position.
    #[track_caller]
    fn check(contents: &str, rule: OnConflict, duplicates: u64, conflicts: u64, refused: usize) {
        let policy = Policy { mode: Mode::Insert, on_conflict: rule, empty_at_start: true, is_resumed: false };
        let entries: Vec<Entry> = contents.bytes().zip(0..).map(|(content, row)| entry(content, row)).collect();
        for cut in 1..=entries.len() {
            let (first, second) = entries.split_at(cut);
            let mut all = Losers::of(first, None, policy, version);
            let mut of_winner = (0, 0, 0);
            if !second.is_empty() {
                let (stored, winner) = (winner(first, policy), winner(second, policy));
                let mut outcome = match (winner.digest == stored.digest, policy.on_different()) {
                    (true, _) => Outcome::Duplicate,
                    (_, Ok(Step::ReplaceOlder)) if stored.digest > winner.digest => Outcome::Conflict,
                    (_, Ok(_)) => Outcome::ReplacedOwn,
                    (_, Err(outcome)) => outcome,
                };
                all.add(Losers::beside(&winner, second, &mut outcome, Some(version(&stored)), policy, version));
                of_winner = match outcome {
                    Outcome::Duplicate => (1, 0, 0),
                    Outcome::Refused(_) => (0, 0, 1),
                    _ => (0, 1, 0),
                };
            }
            let counted = (all.duplicates + of_winner.0, all.conflicts + of_winner.1, all.refused.len() + of_winner.2);
            assert_eq!(counted, (duplicates, conflicts, refused), "{contents} cut at {cut}, {rule:?}");
        }
    }

    fn entry(content: u8, row: u32) -> Entry {
        Entry { digest: Digest(content.into()), row, line: row, ..Entry::default() }
    }

    /// Returns the version of a record. The greater content is newer.
    fn version(entry: &Entry) -> Version {
        entry.digest.into()
    }

    /// Returns the record that is stored after all records of a group.
    fn winner(group: &[Entry], policy: Policy) -> Entry {
        let stored = |earlier: Entry, later: &Entry| {
            if policy.replaces(version(&earlier), version(later)) { *later } else { earlier }
        };
        group[1..].iter().fold(group[0], stored)
    }

    #[test]
    fn counts_of_a_group_do_not_depend_on_chunk_boundaries() {
        check("a", OnConflict::KeepFirst, 0, 0, 0);
        check("aab", OnConflict::KeepFirst, 1, 1, 0);
        check("abba", OnConflict::KeepFirst, 1, 2, 0);
        check("abba", OnConflict::Reject, 1, 0, 2);
        check("abba", OnConflict::KeepLast, 1, 2, 0);
        check("abab", OnConflict::KeepLast, 0, 3, 0);
        check("abcbaa", OnConflict::KeepLast, 1, 4, 0);
        check("abcbaa", OnConflict::Reject, 2, 0, 3);
        check("aab", NEWEST, 1, 1, 0);
        check("aba", NEWEST, 0, 2, 0);
        check("baab", NEWEST, 1, 2, 0);
        check("bcabcc", NEWEST, 2, 3, 0);
    }

    /// Checks that every record of a group is counted if the server refuses the winner.
    #[track_caller]
    fn check_refused(
        contents: &str,
        rule: OnConflict,
        stored: Option<u8>,
        duplicates: u64,
        refused: &[(u32, Refusal)],
    ) {
        let policy = Policy { mode: Mode::Insert, on_conflict: rule, empty_at_start: false, is_resumed: false };
        let group: Vec<Entry> = contents.bytes().zip(0..).map(|(content, row)| entry(content, row)).collect();
        let winner = winner(&group, policy);
        let stored = stored.map(|content| Digest(content.into()).into());
        let mut outcome = Outcome::Refused(Refusal::Validation);
        let losers = Losers::beside(&winner, &group, &mut outcome, stored, policy, version);
        let found: Vec<_> = losers.refused.iter().map(|(entry, refusal)| (entry.row, *refusal)).collect();
        assert_eq!((losers.duplicates, losers.conflicts, &found[..]), (duplicates, 0, refused), "{contents}");
        assert_eq!(outcome, Outcome::Refused(Refusal::Validation));
    }

    #[test]
    fn every_loser_is_counted_if_the_server_refuses_the_winner() {
        use Refusal::{Sibling, Validation};
        check_refused("ab", OnConflict::KeepFirst, None, 0, &[(1, Sibling)]);
        check_refused("aab", OnConflict::Reject, None, 0, &[(1, Validation), (2, Sibling)]);
        check_refused("aba", OnConflict::KeepLast, None, 0, &[(0, Validation), (1, Sibling)]);
        check_refused("cab", NEWEST, Some(b'b'), 1, &[(1, Sibling)]);
        check_refused("abc", OnConflict::KeepLast, Some(b'b'), 1, &[(0, Sibling)]);
    }

    #[test]
    fn a_duplicate_key_in_another_index_refuses_the_whole_group() {
        let policy =
            Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
        let group = [entry(b'a', 0), entry(b'a', 1), entry(b'b', 2)];
        let mut outcome = Outcome::Refused(Refusal::UniqueIndex);
        let losers = Losers::beside(&group[0], &group, &mut outcome, None, policy, version);
        let found: Vec<_> = losers.refused.iter().map(|(entry, refusal)| (entry.row, *refusal)).collect();
        assert_eq!(found, [(1, Refusal::UniqueIndex), (2, Refusal::Sibling)]);
        assert_eq!((losers.duplicates, losers.conflicts), (0, 0));
    }

    #[test]
    fn the_winner_is_recognised_by_its_block_and_row() {
        let policy =
            Policy { mode: Mode::Insert, on_conflict: OnConflict::Reject, empty_at_start: false, is_resumed: false };
        let second = Entry { block: 1, ..entry(b'b', 0) };
        let group = [entry(b'a', 0), second];
        for refusal in [Refusal::Conflict, Refusal::Validation] {
            let mut outcome = Outcome::Refused(refusal);
            let losers = Losers::beside(&group[0], &group, &mut outcome, Some(Digest(7).into()), policy, version);
            let found: Vec<_> = losers.refused.iter().map(|(entry, _)| entry.block).collect();
            assert_eq!(found, [1], "{refusal:?}");
        }
    }

    #[test]
    fn adding_losers_adds_all_their_counts_and_records() {
        let losers = |number: u32| Losers {
            duplicates: number.into(),
            conflicts: u64::from(number) * 10,
            refused: vec![(entry(b'a', number), Refusal::Conflict)],
        };
        let mut sum = losers(1);
        sum.add(losers(2));
        let rows: Vec<u32> = sum.refused.iter().map(|(entry, _)| entry.row).collect();
        assert_eq!((sum.duplicates, sum.conflicts, rows), (3, 30, vec![1, 2]));
    }
}
