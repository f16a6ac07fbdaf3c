//! The order in which the records of all open chunks are sent. A sweep is one pass through all `_id`s in ascending order;
//! after the last `_id` the next sweep begins.
//!
//! A batch takes from every open chunk the records for the next part of the server's `_id` index. If the index is larger
//! than the server's cache, it is therefore read once for each sweep and not once for each chunk. A chunk that arrives
//! during a sweep joins at the current position. All its records are sent when the sweep reaches this position again.

use super::batch::Member;
use super::planned::{Earlier, Limits, Planned};

/// How many of the records of one kind in a chunk are already in batches.
#[derive(Debug)]
pub(super) struct Cut {
    kind: Earlier,
    /// Position of the record at which the chunk joined the sweep.
    first: usize,
    /// Number of records passed since then, of any kind.
    passed: usize,
}

impl Cut {
    /// A cut of a chunk's sorted records with nothing sent yet. Begins with the first record that is not before `sweep`.
    pub(super) fn new(kind: Earlier, records: &[Planned], sweep: u32) -> Self {
        debug_assert!(records.is_sorted_by_key(|record| record.lead));
        Self { kind, first: records.partition_point(|record| record.lead < sweep), passed: 0 }
    }

    /// Position of the next record of this kind; `None` if there are no more.
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

/// The next batch from these chunks, each given with its number. Takes records in the order of the sweep, and moves
/// `sweep` to the last one taken. Empty if there are no more records.
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

    /// Records with these leading bytes. If a number ends in 9, an earlier chunk contained other content.
    fn records(leads: &[u32]) -> Vec<Planned> {
        let earlier = |lead: u32| if lead % 10 == 9 { Earlier::Other } else { Earlier::Nothing };
        leads.iter().map(|&lead| Planned { bytes: 10, earlier: earlier(lead), lead }).collect()
    }

    fn next(chunks: &mut [(u64, &[Planned], &mut Cut)], sweep: &mut u32) -> Vec<(u64, u32)> {
        cut(chunks, sweep, LIMITS).iter().map(|member| (member.chunk, member.at)).collect()
    }

    #[test]
    fn a_sweep_takes_from_every_chunk_and_goes_round() {
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
    fn a_chunk_joins_where_the_sweep_is() {
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
    fn what_came_earlier_is_cut_by_itself() {
        let records = records(&[9, 10, 19]);
        let mut others = Cut::new(Earlier::Other, &records, 0);
        assert_eq!(next(&mut [(0, &records, &mut others)], &mut 0), [(0, 0), (0, 2)]);
    }
}
