//! In which order the records of all open runs go out: one sweep after another through the `_id`s.
//!
//! A batch takes what every open run holds for the next part of the server's `_id` index, so an index beyond the server's
//! cache is read once a sweep and not once a run. A run that comes during a sweep joins it where it is, and is through once
//! the sweep is there again.

use super::batch::Member;
use super::machine::{Limits, Planned};

/// How far the records of one kind in a run, new ones or repeats, have been cut into batches.
#[derive(Debug)]
pub(super) struct Cut {
    repeats: bool,
    /// Position of the record with which the run joined the sweep.
    first: usize,
    /// Records passed since, of both kinds.
    passed: usize,
}

impl Cut {
    /// Nothing is cut yet; begins with the first record that is not before `place`.
    pub(super) fn new(repeats: bool, records: &[Planned], place: u32) -> Self {
        Self { repeats, first: records.partition_point(|record| record.place < place), passed: 0 }
    }

    /// Position of the next record of this kind; `None` when there are no more.
    fn peek(&mut self, records: &[Planned]) -> Option<usize> {
        while self.passed < records.len() {
            let position = (self.first + self.passed) % records.len();
            if records[position].repeat == self.repeats {
                return Some(position);
            }
            self.passed += 1;
        }
        None
    }
}

/// The next batch from these runs, each with its number, in the order in which a sweep that is at `place` meets them;
/// moves the sweep to the last one. Empty when there are no more.
pub(super) fn cut(runs: &mut [(u64, &[Planned], &mut Cut)], place: &mut u32, limits: Limits) -> Vec<Member> {
    let (mut members, mut bytes) = (Vec::new(), 0);
    let mut heads: Vec<_> = runs.iter_mut().map(|(_, records, cut)| cut.peek(records)).collect();
    loop {
        let ahead =
            |(index, head): (usize, &Option<usize>)| Some((runs[index].1[(*head)?].place.wrapping_sub(*place), index));
        let Some((distance, index)) = heads.iter().enumerate().filter_map(ahead).min() else { break };
        let (run, records, cut) = &mut runs[index];
        let Some(position) = heads[index] else { break };
        bytes += records[position].bytes as usize;
        let is_full = members.len() == limits.batch_docs_max || bytes > limits.batch_bytes_max;
        if is_full && !members.is_empty() {
            break;
        }
        members.push(Member { run: *run, at: position as u32 });
        *place = place.wrapping_add(distance);
        cut.passed += 1;
        heads[index] = cut.peek(records);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(places: &[u32]) -> Vec<Planned> {
        places.iter().map(|&place| Planned { bytes: 10, repeat: place % 10 == 9, place }).collect()
    }

    #[test]
    fn a_sweep_takes_from_every_run_and_goes_round() {
        let limits = Limits { batch_docs_max: 3, batch_bytes_max: 100, in_flight_max: 1, attempts_max: 1 };
        let (first, second) = (records(&[10, 20, 29, 30]), records(&[5, 20, 40]));
        let check = |mut place: u32, expected: &[&[(u64, u32)]]| {
            let mut cuts = [Cut::new(false, &first, place), Cut::new(false, &second, place)];
            let [one, two] = &mut cuts;
            let mut runs = [(7, &first[..], one), (8, &second[..], two)];
            for &batch in expected.iter().chain([&[][..]].iter()) {
                let members = cut(&mut runs, &mut place, limits);
                assert_eq!(members.iter().map(|member| (member.run, member.at)).collect::<Vec<_>>(), batch);
            }
        };
        check(0, &[&[(8, 0), (7, 0), (7, 1)], &[(8, 1), (7, 3), (8, 2)]]);
        check(25, &[&[(7, 3), (8, 2), (8, 0)], &[(7, 0), (7, 1), (8, 1)]]);
        check(41, &[&[(8, 0), (7, 0), (7, 1)], &[(8, 1), (7, 3), (8, 2)]]);
    }

    #[test]
    fn repeats_are_cut_by_themselves() {
        let limits = Limits { batch_docs_max: 3, batch_bytes_max: 100, in_flight_max: 1, attempts_max: 1 };
        let records = records(&[9, 10, 19]);
        let mut cuts = Cut::new(true, &records, 0);
        let members = cut(&mut [(0, &records, &mut cuts)], &mut 0, limits);
        assert_eq!(members, [Member { run: 0, at: 0 }, Member { run: 0, at: 2 }]);
    }
}
