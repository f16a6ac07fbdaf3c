//! The order in which the records of all unfinished chunks are sent.
//!
//! A *sweep* is one pass through all `_id`s in ascending order. After the last `_id`, the next sweep begins at the
//! first. A batch takes the new records that are next in this order, from all unfinished chunks. If the server's `_id`
//! index is larger than its cache, the server therefore reads the index once for each sweep, not once for each chunk.
//!
//! If a new chunk arrives during a sweep, its new records after the current position are sent first. The others follow
//! in the next sweep.

use super::batch::Member;
use super::planned::{Earlier, Limits, Planned};

/// Progress of one chunk: which of its records are already in batches. Selects only the records with one value of
/// [`Earlier`], for example only the new records. Skips the others.
#[derive(Debug)]
pub(super) struct Cut {
    kind: Earlier,
    /// Position of the record that is sent first. The records before this position are sent last.
    first: usize,
    /// Number of records from `first` on that were sent or skipped.
    passed: usize,
}

impl Cut {
    /// Returns the progress of a new chunk: no record is in a batch yet. `records` must be sorted by `_id`. `sweep` is
    /// the current position of the sweep: the first four bytes of an `_id`. Sending begins at the first record at or
    /// after this position. If there is none, sending begins at the first record of the chunk.
    pub(super) fn new(kind: Earlier, records: &[Planned], sweep: u32) -> Self {
        debug_assert!(records.is_sorted_by_key(|record| record.lead));
        Self { kind, first: records.partition_point(|record| record.lead < sweep), passed: 0 }
    }

    /// Returns the position of the next record, or `None` if all records were sent or skipped.
    fn peek(&mut self, records: &[Planned]) -> Option<usize> {
        while self.passed < records.len() {
            let position = (self.first + self.passed) % records.len();
            if records[position].earlier == self.kind {
                return Some(position);
            }
            self.passed += 1;
        }
        None
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
        leads.iter().map(|&lead| Planned { bytes: 10, earlier: earlier(lead), lead }).collect()
    }

    fn next(chunks: &mut [(u64, &[Planned], &mut Cut)], sweep: &mut u32) -> Vec<(u64, u32)> {
        cut(chunks, sweep, LIMITS).iter().map(|member| (member.chunk, member.at)).collect()
    }

    #[test]
    fn a_sweep_merges_all_chunks_and_starts_again_after_the_last_id() {
        let (first, second) = (records(&[10, 20, 29, 30]), records(&[5, 20, 40]));
        let check = |mut sweep: u32, expected: [&[(u64, u32)]; 2]| {
            let (mut one, mut two) =
                (Cut::new(Earlier::Nothing, &first, sweep), Cut::new(Earlier::Nothing, &second, sweep));
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
        let (mut sweep, mut one) = (0, Cut::new(Earlier::Nothing, &first, 0));
        assert_eq!(next(&mut [(0, &first, &mut one)], &mut sweep), [(0, 0), (0, 1), (0, 2)]);
        let (mut two, mut three) =
            (Cut::new(Earlier::Nothing, &second, sweep), Cut::new(Earlier::Nothing, &none, sweep));
        let mut chunks = [(0, &first[..], &mut one), (1, &second[..], &mut two), (2, &none[..], &mut three)];
        assert_eq!(next(&mut chunks, &mut sweep), [(1, 0), (0, 3), (1, 1)]);
        assert_eq!(next(&mut chunks, &mut sweep), [(1, 2)]);
    }

    #[test]
    fn records_with_other_earlier_content_are_in_batches_of_their_own() {
        let records = records(&[9, 10, 19]);
        let mut others = Cut::new(Earlier::Other, &records, 0);
        assert_eq!(next(&mut [(0, &records, &mut others)], &mut 0), [(0, 0), (0, 2)]);
    }
}
