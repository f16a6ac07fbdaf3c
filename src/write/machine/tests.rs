//! Single decisions of the machine, each with its exact actions. Whole histories are in `write/simulation`.

use super::super::outcome::Mode;
use super::*;
use crate::spec::OnConflict;

const PLAIN: Policy =
    Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: false, is_resumed: false };
const LIMITS: Limits = Limits { batch_docs_max: 100, batch_bytes_max: 100_000, in_flight_max: 1, attempts_max: 9 };

const DONE: Reply = Reply { errors: Vec::new(), durable: true };

fn records(earlier: &[Earlier]) -> Event {
    let planned = |(&earlier, lead): (&Earlier, u32)| Planned { bytes: 10, earlier, lead };
    Event::Chunk(earlier.iter().zip(0..).map(planned).collect())
}

/// A machine with one chunk of new records, of which the first batch is under way.
fn started(policy: Policy, limits: Limits, records_count: usize) -> (Machine, Vec<Action>) {
    let mut machine = Machine::new(limits, policy);
    let actions = machine.on(records(&vec![Earlier::Nothing; records_count]));
    (machine, actions)
}

/// The one command among the actions, and the positions of its records.
#[track_caller]
fn sent(actions: &[Action]) -> (BatchId, Step, Vec<u32>) {
    let [Action::Send { batch, step, members }] = actions else { panic!("one command is expected: {actions:?}") };
    (*batch, *step, members.iter().map(|member| member.at).collect())
}

/// The one pause among the actions.
#[track_caller]
fn paused(actions: &[Action]) -> (BatchId, u64) {
    let [Action::Delay(batch, delay_ms)] = actions else { panic!("one pause is expected: {actions:?}") };
    (*batch, *delay_ms)
}

/// The chunk that the actions settle.
#[track_caller]
fn settled(actions: &[Action]) -> (&[Outcome], Doubts) {
    let [Action::Settle { outcomes, doubts, .. }] = actions else { panic!("one chunk is settled: {actions:?}") };
    (outcomes, *doubts)
}

fn refused(errors: &[(u32, Complaint)]) -> Reply {
    Reply { errors: errors.to_vec(), durable: true }
}

/// Lets the pause end; the command that follows.
#[track_caller]
fn resent(machine: &mut Machine, actions: &[Action]) -> (BatchId, Step, Vec<u32>) {
    let elapsed = Event::Elapsed(paused(actions).0);
    sent(&machine.on(elapsed))
}

/// One record whose `_id` is taken by the same content; `lost` says whether the reply to a first insert was lost.
#[track_caller]
fn check_found_equal(policy: Policy, lost: bool, expected: Outcome, doubts: u64) {
    let (mut machine, mut actions) = started(policy, LIMITS, 1);
    if lost {
        let failed = Event::Failed { batch: sent(&actions).0, transient: true };
        let pause = machine.on(failed);
        let elapsed = Event::Elapsed(paused(&pause).0);
        actions = machine.on(elapsed);
    }
    let actions = machine.on(Event::Replied(sent(&actions).0, refused(&[(0, Complaint::Taken)])));
    let (batch, step, _) = sent(&actions);
    assert_eq!(step, Step::Compare);
    let actions = machine.on(Event::Compared(batch, vec![Verdict::Equal]));
    assert_eq!(settled(&actions), (&[expected][..], Doubts { stored: doubts, repeats: 0 }), "{policy:?}, {lost}");
}

#[test]
fn a_stored_document_is_the_loads_own_only_if_the_collection_was_empty() {
    let (empty, resumed) = (Policy { empty_at_start: true, ..PLAIN }, Policy { is_resumed: true, ..PLAIN });
    check_found_equal(PLAIN, false, Outcome::Present, 0);
    check_found_equal(PLAIN, true, Outcome::Present, 1);
    check_found_equal(resumed, false, Outcome::Present, 1);
    check_found_equal(empty, false, Outcome::Present, 0);
    check_found_equal(empty, true, Outcome::Written, 1);
    check_found_equal(Policy { empty_at_start: true, ..resumed }, false, Outcome::Written, 1);
}

#[test]
fn a_read_whose_answer_is_lost_leaves_nothing_in_doubt() {
    let (mut machine, actions) = started(PLAIN, LIMITS, 1);
    let actions = machine.on(Event::Replied(sent(&actions).0, refused(&[(0, Complaint::Taken)])));
    let actions = machine.on(Event::Failed { batch: sent(&actions).0, transient: true });
    let (batch, step, _) = resent(&mut machine, &actions);
    assert_eq!(step, Step::Compare);
    let actions = machine.on(Event::Compared(batch, vec![Verdict::Equal]));
    assert_eq!(settled(&actions), (&[Outcome::Present][..], Doubts::default()));
}

#[test]
fn a_record_that_was_there_and_is_not_any_more_is_in_doubt() {
    let (mut machine, actions) = started(PLAIN, LIMITS, 1);
    let taken = || refused(&[(0, Complaint::Taken)]);
    let actions = machine.on(Event::Replied(sent(&actions).0, taken()));
    let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Absent]));
    let (batch, step, _) = resent(&mut machine, &actions);
    assert_eq!(step, Step::Insert);
    let actions = machine.on(Event::Replied(batch, taken()));
    let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Equal]));
    assert_eq!(settled(&actions), (&[Outcome::Present][..], Doubts { stored: 1, repeats: 0 }));
}

#[test]
fn a_replacement_of_a_resumed_load_is_in_doubt() {
    for (is_resumed, doubts) in [(false, 0), (true, 1)] {
        let policy = Policy { mode: Mode::Upsert, is_resumed, ..PLAIN };
        let (mut machine, actions) = started(policy, LIMITS, 1);
        let actions = machine.on(Event::Replied(sent(&actions).0, refused(&[(0, Complaint::Taken)])));
        let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Different]));
        let (batch, step, _) = sent(&actions);
        assert_eq!(step, Step::Replace);
        let actions = machine.on(Event::Replied(batch, DONE));
        assert_eq!(settled(&actions), (&[Outcome::Replaced][..], Doubts { stored: doubts, repeats: 0 }));
    }
}

#[test]
fn an_answer_without_a_majority_is_asked_for_again_after_a_pause() {
    let (mut machine, actions) = started(PLAIN, Limits { in_flight_max: 2, ..LIMITS }, 2);
    let reply = Reply { errors: vec![(1, Complaint::Taken)], durable: false };
    let actions = machine.on(Event::Replied(sent(&actions).0, reply));
    let [Action::Delay(applied, 50), Action::Delay(taken, 50)] = actions[..] else { panic!("{actions:?}") };
    for (batch, at) in [(applied, 0), (taken, 1)] {
        let (_, step, members) = sent(&machine.on(Event::Elapsed(batch)));
        assert_eq!((step, members), (Step::Compare, vec![at]));
    }
}

#[test]
fn a_document_with_a_passing_error_is_sent_again_alone_after_a_pause() {
    let (mut machine, actions) = started(PLAIN, LIMITS, 3);
    let errors = [(0, Complaint::Passing), (2, Complaint::Refused(Refusal::Validation))];
    let actions = machine.on(Event::Replied(sent(&actions).0, refused(&errors)));
    let (batch, step, members) = resent(&mut machine, &actions);
    assert_eq!((step, members), (Step::Insert, vec![0]));
    let actions = machine.on(Event::Replied(batch, DONE));
    let expected = [Outcome::Written, Outcome::Written, Outcome::Refused(Refusal::Validation)];
    assert_eq!(settled(&actions), (&expected[..], Doubts::default()));
}

#[test]
fn a_lasting_failure_stops_the_load_at_once_and_names_the_command() {
    let (mut machine, actions) = started(PLAIN, LIMITS, 1);
    let batch = sent(&actions).0;
    assert_eq!(machine.on(Event::Failed { batch, transient: false }), [Action::Stop(batch)]);
}

#[test]
fn every_kind_of_failure_is_one_attempt_and_pauses_grow() {
    let (mut machine, actions) = started(PLAIN, Limits { attempts_max: 3, ..LIMITS }, 1);
    let actions = machine.on(Event::Failed { batch: sent(&actions).0, transient: true });
    assert_eq!(paused(&actions).1, 50);
    let (batch, ..) = resent(&mut machine, &actions);
    let actions = machine.on(Event::Replied(batch, Reply { errors: Vec::new(), durable: false }));
    assert_eq!(paused(&actions).1, 100);
    let (batch, step, _) = resent(&mut machine, &actions);
    assert_eq!(step, Step::Compare);
    let actions = machine.on(Event::Compared(batch, vec![Verdict::Absent]));
    assert_eq!(paused(&actions).1, 200);
    let (batch, step, _) = resent(&mut machine, &actions);
    assert_eq!(step, Step::Insert);
    assert_eq!(machine.on(Event::Failed { batch, transient: true }), [Action::Stop(batch)]);
}

#[test]
fn more_than_one_taken_record_in_twenty_makes_the_load_look_first() {
    for (taken, step_expected) in [(1, Step::Insert), (2, Step::Compare)] {
        let (mut machine, actions) = started(PLAIN, Limits { batch_docs_max: 20, ..LIMITS }, 60);
        let errors: Vec<_> = (0..taken).map(|at| (at, Complaint::Taken)).collect();
        let actions = machine.on(Event::Replied(sent(&actions).0, refused(&errors)));
        let (batch, ..) = sent(&actions);
        let actions = machine.on(Event::Compared(batch, vec![Verdict::Equal; taken as usize]));
        assert_eq!(sent(&actions).1, step_expected, "{taken} of 20 were taken");
    }
}

#[test]
fn a_load_that_looks_first_stops_looking_when_hardly_anything_is_found() {
    for (found, step_expected) in [(1, Step::Insert), (2, Step::Compare)] {
        let (mut machine, actions) = started(PLAIN, Limits { batch_docs_max: 20, ..LIMITS }, 60);
        let errors: Vec<_> = (0..20).map(|at| (at, Complaint::Taken)).collect();
        let actions = machine.on(Event::Replied(sent(&actions).0, refused(&errors)));
        let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Equal; 20]));
        let (batch, step, _) = sent(&actions);
        assert_eq!(step, Step::Compare);
        let verdict = |at| if at < found { Verdict::Equal } else { Verdict::Absent };
        let actions = machine.on(Event::Compared(batch, (0..20).map(verdict).collect()));
        let (batch, step, members) = sent(&actions);
        assert_eq!((step, members.len()), (Step::Insert, 20 - found), "absent records are inserted without a pause");
        assert_eq!(sent(&machine.on(Event::Replied(batch, DONE))).1, step_expected, "{found} of 20 were found");
    }
}

/// The command for a repeat in the second chunk, after the first chunk's record ended as `first`.
fn command_for_a_repeat(policy: Policy, passed: bool, first: Verdict) -> Option<Step> {
    let mut machine = Machine::new(LIMITS, policy);
    if passed {
        machine.on(Event::Passed);
    }
    let actions = machine.on(records(&[Earlier::Nothing]));
    machine.on(records(&[Earlier::Equal]));
    let actions = machine.on(Event::Replied(sent(&actions).0, refused(&[(0, Complaint::Taken)])));
    let actions = machine.on(Event::Compared(sent(&actions).0, vec![first]));
    actions.iter().find_map(|action| if let Action::Send { step, .. } = action { Some(*step) } else { None })
}

#[test]
fn a_repeat_is_asked_for_only_if_the_load_cannot_know_what_is_stored() {
    assert_eq!(command_for_a_repeat(PLAIN, false, Verdict::Equal), None);
    assert_eq!(command_for_a_repeat(PLAIN, true, Verdict::Equal), Some(Step::Compare), "chunks were passed");
    assert_eq!(command_for_a_repeat(PLAIN, false, Verdict::Different), Some(Step::Compare), "a conflict was kept out");
}

#[test]
fn what_is_put_in_place_of_an_earlier_record_is_told_from_what_is_put_in_place_of_others() {
    for (earlier, expected) in [(Earlier::Nothing, Outcome::Replaced), (Earlier::Other, Outcome::ReplacedOwn)] {
        for (mode, step_expected) in [(Mode::Upsert, Step::Replace), (Mode::Merge, Step::Merge)] {
            let mut machine = Machine::new(LIMITS, Policy { mode, ..PLAIN });
            let mut actions = machine.on(records(&[earlier]));
            if earlier == Earlier::Nothing {
                actions = machine.on(Event::Replied(sent(&actions).0, refused(&[(0, Complaint::Taken)])));
            }
            let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Different]));
            let (batch, step, _) = sent(&actions);
            assert_eq!(step, step_expected);
            let actions = machine.on(Event::Replied(batch, DONE));
            assert_eq!(settled(&actions), (&[expected][..], Doubts::default()));
        }
    }
}

/// A resumed load compares a repeat; the doubts that follow from the verdict.
#[track_caller]
fn check_repeat_of_resumed(on_conflict: OnConflict, earlier: Earlier, verdict: Verdict, repeats: u64) {
    let mut machine = Machine::new(LIMITS, Policy { on_conflict, is_resumed: true, ..PLAIN });
    machine.on(Event::Passed);
    let actions = machine.on(records(&[earlier]));
    let mut actions = machine.on(Event::Compared(sent(&actions).0, vec![verdict]));
    if let [Action::Send { batch, .. }] = actions[..] {
        actions = machine.on(Event::Replied(batch, DONE));
    }
    assert_eq!(settled(&actions).1, Doubts { stored: 0, repeats }, "{on_conflict:?}, {earlier:?}, {verdict:?}");
}

#[test]
fn a_repeat_of_a_resumed_load_is_in_doubt_only_where_the_later_record_wins() {
    use OnConflict::{KeepFirst, KeepLast};
    check_repeat_of_resumed(KeepFirst, Earlier::Other, Verdict::Equal, 0);
    check_repeat_of_resumed(KeepFirst, Earlier::Equal, Verdict::Different, 0);
    check_repeat_of_resumed(KeepLast, Earlier::Other, Verdict::Equal, 1);
    check_repeat_of_resumed(KeepLast, Earlier::Other, Verdict::Different, 0);
    check_repeat_of_resumed(KeepLast, Earlier::Equal, Verdict::Equal, 0);
    check_repeat_of_resumed(KeepLast, Earlier::Equal, Verdict::Different, 1);
}

#[test]
fn as_many_commands_as_allowed_are_under_way() {
    for in_flight_max in [1, 3] {
        let (_, actions) = started(PLAIN, Limits { batch_docs_max: 1, in_flight_max, ..LIMITS }, 9);
        assert_eq!(actions.len(), in_flight_max);
    }
}

#[test]
fn a_batch_may_be_exactly_as_large_as_allowed() {
    for (batch_bytes_max, expected) in [(29, 2), (30, 3), (31, 3)] {
        let (_, actions) = started(PLAIN, Limits { batch_bytes_max, ..LIMITS }, 4);
        assert_eq!(sent(&actions).2.len(), expected, "{batch_bytes_max} bytes for documents of 10");
    }
}

#[test]
fn batches_are_small_only_at_the_end_and_never_smaller_than_500() {
    let (mut machine, actions) = started(PLAIN, Limits { batch_docs_max: 1_000, in_flight_max: 4, ..LIMITS }, 5_700);
    assert!(actions.iter().all(|action| matches!(action, Action::Send { members, .. } if members.len() == 1_000)));
    machine.on(Event::Ended);
    let Action::Send { batch, .. } = actions[0] else { panic!("{actions:?}") };
    // 1,700 records are left for four commands.
    assert_eq!(sent(&machine.on(Event::Replied(batch, DONE))).2.len(), 500);
}
