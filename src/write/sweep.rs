//! The order in which the records of all unfinished chunks are sent.
//!
//! A *sweep* is one pass through all `_id`s in ascending order. After the last `_id`, the next sweep begins at the
//! first. A batch takes the new records that are next in this order, from all unfinished chunks. If the server's `_id`
//! index is larger than its cache, the server therefore reads the index once for each sweep, not once for each chunk.
//!
//! If a new chunk arrives during a sweep, its new records after the current position are sent first. The others follow
//! in the next sweep.
//!
//! If the collection is sharded, each shard has a sweep of its own, and a batch has records of one shard only. The next
//! batch is for the shard that has the fewest unanswered commands. With one common sweep, all commands would be for the
//! same shard most of the time.

use super::batch::Member;
use super::planned::{Earlier, Limits, Planned};

/// Progress of one chunk: which of its records are already in batches. Selects only the records with one value of
/// [`Earlier`], for example only the new records. Skips the others.
#[derive(Debug)]
pub(super) struct Cut {
    kind: Earlier,
    /// Only the records of this shard are selected.
    shard: u16,
    /// Position of the record that is sent first. The records before this position are sent last.
    first: usize,
    /// Number of records from `first` on that were sent or skipped.
    passed: usize,
}

impl Cut {
    /// Returns the progress of a new chunk: no record is in a batch yet. `records` must be sorted by `_id`. `sweep` is
    /// the current position of the sweep: the first four bytes of an `_id`. Sending begins at the first record at or
    /// after this position. If there is none, sending begins at the first record of the chunk.
    pub(super) fn new(kind: Earlier, shard: u16, records: &[Planned], sweep: u32) -> Self {
        debug_assert!(records.is_sorted_by_key(|record| record.lead));
        Self { kind, shard, first: records.partition_point(|record| record.lead < sweep), passed: 0 }
    }

    /// Returns the position of the next record, or `None` if all records were sent or skipped.
    fn peek(&mut self, records: &[Planned]) -> Option<usize> {
        while self.passed < records.len() {
            let position = (self.first + self.passed) % records.len();
            let record = &records[position];
            if record.earlier == self.kind && record.shard == self.shard {
                return Some(position);
            }
            self.passed += 1;
        }
        None
    }
}

/// The sweeps of all shards.
#[derive(Debug)]
pub(super) struct Sweeps {
    /// One sweep for each shard. A collection that is not sharded has one sweep.
    of_shards: Vec<Sweep>,
    /// Number of batches so far.
    batches: u64,
}

/// The sweep of one shard.
#[derive(Debug, Clone, Default)]
struct Sweep {
    /// The current position: the first four bytes of an `_id`.
    position: u32,
    /// Number of new records of the shard that are not in a batch yet.
    uncut: usize,
    /// Number of commands to the shard that wait for an answer.
    in_flight: usize,
    /// The number of the shard's last batch.
    last_batch: u64,
}

impl Sweeps {
    /// Makes the sweeps of this number of shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { of_shards: vec![Sweep::default(); shards], batches: 0 }
    }

    /// Counts the new records of a chunk in the number `uncut` of each shard. Returns the progress of the chunk as two
    /// lists with one [`Cut`] per shard: the first for new records, the second for records with [`Earlier::Other`].
    pub(super) fn add(&mut self, records: &[Planned]) -> (Vec<Cut>, Vec<Cut>) {
        for record in records.iter().filter(|record| record.earlier == Earlier::Nothing) {
            self.of_shards[usize::from(record.shard)].uncut += 1;
        }
        let new = |(shard, sweep): (u16, &Sweep)| Cut::new(Earlier::Nothing, shard, records, sweep.position);
        let other = |(shard, _)| Cut::new(Earlier::Other, shard, records, 0);
        let shards = || (0..).zip(&self.of_shards);
        (shards().map(new).collect(), shards().map(other).collect())
    }

    /// Returns the number of new records that are not in a batch yet.
    pub(super) fn uncut(&self) -> usize {
        self.of_shards.iter().map(|sweep| sweep.uncut).sum()
    }

    /// Returns the shard for the next batch of new records: the one with the fewest unanswered commands. If there are
    /// several, the one whose last batch is the oldest. `None` if all new records are in batches.
    pub(super) fn next(&self) -> Option<u16> {
        let waiting = (0..).zip(&self.of_shards).filter(|(_, sweep)| sweep.uncut > 0);
        waiting.min_by_key(|(_, sweep)| (sweep.in_flight, sweep.last_batch)).map(|(shard, _)| shard)
    }

    /// Returns the next batch of new records of a shard, like [`cut`].
    pub(super) fn cut(
        &mut self,
        shard: u16,
        chunks: &mut [(u64, &[Planned], &mut Cut)],
        limits: Limits,
    ) -> Vec<Member> {
        let sweep = &mut self.of_shards[usize::from(shard)];
        let members = cut(chunks, &mut sweep.position, limits);
        self.batches += 1;
        (sweep.uncut, sweep.last_batch) = (sweep.uncut - members.len(), self.batches);
        members
    }

    /// Notes that a command was sent to the shard.
    pub(super) fn sent(&mut self, shard: u16) {
        self.of_shards[usize::from(shard)].in_flight += 1;
    }

    /// Notes that a command to the shard was answered or has failed.
    pub(super) fn answered(&mut self, shard: u16) {
        self.of_shards[usize::from(shard)].in_flight -= 1;
    }
}

/// Returns the next batch of records, in the order of the sweep. Each item of `chunks` is a chunk's number, its records
/// and its progress. Moves `sweep` to the last record of the batch. Returns an empty batch if all records are already
/// in batches.
pub(super) fn cut(chunks: &mut [(u64, &[Planned], &mut Cut)], sweep: &mut u32, limits: Limits) -> Vec<Member> {
    let (mut members, mut bytes) = (Vec::new(), 0);
    let mut heads: Vec<_> = chunks.iter_mut().map(|(_, records, cut)| cut.peek(records)).collect();
    loop {
        let ahead = |(index, head): (usize, &Option<usize>)| {
            head.map(|position| (chunks[index].1[position].lead.wrapping_sub(*sweep), index, position))
        };
        let Some((_, index, position)) = heads.iter().enumerate().filter_map(ahead).min() else { break };
        let (chunk, records, cut) = &mut chunks[index];
        let record = records[position];
        bytes += record.bytes as usize;
        let is_full = members.len() == limits.batch_docs_max || bytes > limits.batch_bytes_max;
        if is_full && !members.is_empty() {
            break;
        }
        members.push(Member { chunk: *chunk, at: position as u32 });
        *sweep = record.lead;
        cut.passed += 1;
        heads[index] = cut.peek(records);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { batch_docs_max: 3, batch_bytes_max: 100, in_flight_max: 1, attempts_max: 1 };

    /// Makes records with these leading bytes. A number that ends in 9 means: an earlier chunk had other content.
    fn records(leads: &[u32]) -> Vec<Planned> {
        let earlier = |lead: u32| if lead % 10 == 9 { Earlier::Other } else { Earlier::Nothing };
        leads.iter().map(|&lead| Planned { bytes: 10, earlier: earlier(lead), lead, shard: 0 }).collect()
    }

    fn next(chunks: &mut [(u64, &[Planned], &mut Cut)], sweep: &mut u32) -> Vec<(u64, u32)> {
        cut(chunks, sweep, LIMITS).iter().map(|member| (member.chunk, member.at)).collect()
    }

    #[test]
    fn a_sweep_merges_all_chunks_and_starts_again_after_the_last_id() {
        let (first, second) = (records(&[10, 20, 29, 30]), records(&[5, 20, 40]));
        let check = |mut sweep: u32, expected: [&[(u64, u32)]; 2]| {
            let (mut one, mut two) =
                (Cut::new(Earlier::Nothing, 0, &first, sweep), Cut::new(Earlier::Nothing, 0, &second, sweep));
            let mut chunks = [(7, &first[..], &mut one), (8, &second[..], &mut two)];
            assert_eq!(next(&mut chunks, &mut sweep), expected[0]);
            assert_eq!(next(&mut chunks, &mut sweep), expected[1]);
            assert_eq!(next(&mut chunks, &mut sweep), []);
        };
        check(0, [&[(8, 0), (7, 0), (7, 1)], &[(8, 1), (7, 3), (8, 2)]]);
        check(25, [&[(7, 3), (8, 2), (8, 0)], &[(7, 0), (7, 1), (8, 1)]]);
        check(41, [&[(8, 0), (7, 0), (7, 1)], &[(8, 1), (7, 3), (8, 2)]]);
    }

    #[test]
    fn a_chunk_joins_at_the_position_of_the_sweep() {
        let (first, second, none) = (records(&[10, 10, 10, 20]), records(&[10, 20, 30]), records(&[]));
        let (mut sweep, mut one) = (0, Cut::new(Earlier::Nothing, 0, &first, 0));
        assert_eq!(next(&mut [(0, &first, &mut one)], &mut sweep), [(0, 0), (0, 1), (0, 2)]);
        let (mut two, mut three) =
            (Cut::new(Earlier::Nothing, 0, &second, sweep), Cut::new(Earlier::Nothing, 0, &none, sweep));
        let mut chunks = [(0, &first[..], &mut one), (1, &second[..], &mut two), (2, &none[..], &mut three)];
        assert_eq!(next(&mut chunks, &mut sweep), [(1, 0), (0, 3), (1, 1)]);
        assert_eq!(next(&mut chunks, &mut sweep), [(1, 2)]);
    }

    #[test]
    fn each_shard_has_a_sweep_of_its_own_and_the_idle_shard_is_next() {
        let mut first = records(&[10, 20, 30, 40, 50]);
        for (record, shard) in first.iter_mut().zip([0, 0, 1, 1, 0]) {
            record.shard = shard;
        }
        let mut sweeps = Sweeps::new(3);
        let (mut new, others) = sweeps.add(&first);
        assert_eq!((new.len(), others.len(), sweeps.uncut()), (3, 3, 5));
        let limits = Limits { batch_docs_max: 2, ..LIMITS };
        let mut next = |sweeps: &mut Sweeps| {
            let shard = sweeps.next()?;
            let members = sweeps.cut(shard, &mut [(0, &first, &mut new[usize::from(shard)])], limits);
            sweeps.sent(shard);
            Some((shard, members.iter().map(|member| member.at).collect::<Vec<_>>()))
        };
        assert_eq!(next(&mut sweeps), Some((0, vec![0, 1])));
        assert_eq!(next(&mut sweeps), Some((1, vec![2, 3])));
        assert_eq!((next(&mut sweeps), sweeps.uncut()), (Some((0, vec![4])), 0));
        assert_eq!(next(&mut sweeps), None);
        let mut again = records(&[15, 35, 45]);
        (again[1].shard, again[2].shard) = (1, 2);
        sweeps.add(&again);
        assert_eq!(sweeps.next(), Some(2), "shard 2 has no unanswered command");
        (0..2).for_each(|_| sweeps.answered(0));
        assert_eq!(sweeps.next(), Some(2), "the last batch of shard 0 is newer");
        sweeps.sent(2);
        assert_eq!(sweeps.next(), Some(0));
    }

    #[test]
    fn records_with_other_earlier_content_are_in_batches_of_their_own() {
        let records = records(&[9, 10, 19]);
        let mut others = Cut::new(Earlier::Other, 0, &records, 0);
        assert_eq!(next(&mut [(0, &records, &mut others)], &mut 0), [(0, 0), (0, 2)]);
    }
}
