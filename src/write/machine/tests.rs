//! Tests single decisions of the machine: the exact actions that follow from an event. `write/simulation` tests whole
//! loads.

use super::super::outcome::Mode;
use super::*;
use crate::spec::OnConflict;

const PLAIN: Policy =
    Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: false, is_resumed: false };
const LIMITS: Limits = Limits { batch_docs_max: 100, batch_bytes_max: 100_000, in_flight_max: 1, attempts_max: 9 };

const DONE: Reply = Reply { errors: Vec::new(), durable: true };

fn records(earlier: &[Earlier]) -> Event {
    let planned = |(&earlier, lead): (&Earlier, u32)| Planned { bytes: 10, earlier, lead, shard: 0 };
    Event::Chunk(earlier.iter().zip(0..).map(planned).collect())
}

/// Starts a machine with one chunk of new records. Its first batch has been sent.
fn started(policy: Policy, limits: Limits, records_count: usize) -> (Machine, Vec<Action>) {
    let mut machine = Machine::new(limits, policy, 1);
    let actions = machine.on(records(&vec![Earlier::Nothing; records_count]));
    (machine, actions)
}

/// Expects that the only action is a command. Returns its id, its kind and the positions of its records.
#[track_caller]
fn sent(actions: &[Action]) -> (BatchId, Step, Vec<u32>) {
    let [Action::Send { batch, step, members }] = actions else { panic!("expected one command: {actions:?}") };
    (*batch, *step, members.iter().map(|member| member.at).collect())
}

/// Expects that the only action is a pause. Returns its batch and its length in milliseconds.
#[track_caller]
fn paused(actions: &[Action]) -> (BatchId, u64) {
    let [Action::Delay(batch, delay_ms)] = actions else { panic!("expected one pause: {actions:?}") };
    (*batch, *delay_ms)
}

/// Expects that the only action reports a complete chunk. Returns its outcomes and the numbers of uncertain outcomes.
#[track_caller]
fn settled(actions: &[Action]) -> (&[Outcome], Doubts) {
    let [Action::Settle { outcomes, doubts, .. }] = actions else { panic!("expected one complete chunk: {actions:?}") };
    (outcomes, *doubts)
}

fn refused(errors: &[(u32, Complaint)]) -> Reply {
    Reply { errors: errors.to_vec(), durable: true }
}

/// Ends the pause. Returns the command that follows.
#[track_caller]
fn resent(machine: &mut Machine, actions: &[Action]) -> (BatchId, Step, Vec<u32>) {
    let elapsed = Event::Elapsed(paused(actions).0);
    sent(&machine.on(elapsed))
}

/// Tests one record whose `_id` is taken by equal content. If `lost` is true, the reply to an earlier insert of the
/// record was lost.
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
fn a_stored_document_counts_as_written_only_if_the_collection_was_empty() {
    let (empty, resumed) = (Policy { empty_at_start: true, ..PLAIN }, Policy { is_resumed: true, ..PLAIN });
    check_found_equal(PLAIN, false, Outcome::Present, 0);
    check_found_equal(PLAIN, true, Outcome::Present, 1);
    check_found_equal(resumed, false, Outcome::Present, 1);
    check_found_equal(empty, false, Outcome::Present, 0);
    check_found_equal(empty, true, Outcome::Written, 1);
    check_found_equal(Policy { empty_at_start: true, ..resumed }, false, Outcome::Written, 1);
}

#[test]
fn a_lost_answer_to_a_read_makes_no_outcome_uncertain() {
    let (mut machine, actions) = started(PLAIN, LIMITS, 1);
    let actions = machine.on(Event::Replied(sent(&actions).0, refused(&[(0, Complaint::Taken)])));
    let actions = machine.on(Event::Failed { batch: sent(&actions).0, transient: true });
    let (batch, step, _) = resent(&mut machine, &actions);
    assert_eq!(step, Step::Compare);
    let actions = machine.on(Event::Compared(batch, vec![Verdict::Equal]));
    assert_eq!(settled(&actions), (&[Outcome::Present][..], Doubts::default()));
}

#[test]
fn a_record_that_is_inserted_again_after_a_rollback_is_uncertain() {
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
fn a_repeat_of_a_record_that_was_too_old_is_compared() {
    let on_conflict = OnConflict::Newest { order_by: 0 };
    let policy = Policy { on_conflict, empty_at_start: true, ..PLAIN };
    let (mut machine, actions) = started(policy, LIMITS, 1);
    // The reply is lost, so the record counts as written, although a newer document is stored.
    let actions = machine.on(Event::Failed { batch: sent(&actions).0, transient: true });
    let (batch, ..) = resent(&mut machine, &actions);
    let actions = machine.on(Event::Replied(batch, refused(&[(0, Complaint::Taken)])));
    let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Newer]));
    assert_eq!(settled(&actions), (&[Outcome::Written][..], Doubts { stored: 1, repeats: 0 }));
    let (batch, step, _) = sent(&machine.on(records(&[Earlier::Equal])));
    assert_eq!(step, Step::Compare);
    let actions = machine.on(Event::Compared(batch, vec![Verdict::Newer]));
    assert_eq!(settled(&actions).0, [Outcome::Conflict]);
}

#[test]
fn a_replacement_by_a_resumed_load_is_uncertain() {
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
fn records_are_read_after_a_pause_if_the_write_concern_failed() {
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
fn only_a_document_with_a_temporary_error_is_sent_again_after_a_pause() {
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
fn a_permanent_failure_stops_the_load_at_once() {
    let (mut machine, actions) = started(PLAIN, LIMITS, 1);
    let batch = sent(&actions).0;
    assert_eq!(machine.on(Event::Failed { batch, transient: false }), [Action::Stop(batch)]);
}

#[test]
fn every_kind_of_failure_counts_as_one_attempt_and_pauses_grow() {
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
fn if_more_than_one_record_in_250_is_stored_the_load_reads_before_inserting() {
    for (taken, step_expected) in [(1, Step::Insert), (2, Step::Compare)] {
        let (mut machine, actions) = started(PLAIN, Limits { batch_docs_max: 250, ..LIMITS }, 750);
        let errors: Vec<_> = (0..taken).map(|at| (at, Complaint::Taken)).collect();
        let actions = machine.on(Event::Replied(sent(&actions).0, refused(&errors)));
        let (batch, ..) = sent(&actions);
        let actions = machine.on(Event::Compared(batch, vec![Verdict::Equal; taken as usize]));
        assert_eq!(sent(&actions).1, step_expected, "{taken} of 250 were taken");
    }
}

#[test]
fn reading_before_inserting_ends_when_few_records_are_found() {
    for (found, step_expected) in [(1, Step::Insert), (2, Step::Compare)] {
        let (mut machine, actions) = started(PLAIN, Limits { batch_docs_max: 250, ..LIMITS }, 750);
        let errors: Vec<_> = (0..250).map(|at| (at, Complaint::Taken)).collect();
        let actions = machine.on(Event::Replied(sent(&actions).0, refused(&errors)));
        let actions = machine.on(Event::Compared(sent(&actions).0, vec![Verdict::Equal; 250]));
        let (batch, step, _) = sent(&actions);
        assert_eq!(step, Step::Compare);
        let verdict = |at| if at < found { Verdict::Equal } else { Verdict::Absent };
        let actions = machine.on(Event::Compared(batch, (0..250).map(verdict).collect()));
        let (batch, step, members) = sent(&actions);
        assert_eq!(
            (step, members.len()),
            (Step::Insert, 250 - found),
            "absent records must be inserted without a pause"
        );
        assert_eq!(sent(&machine.on(Event::Replied(batch, DONE))).1, step_expected, "{found} of 250 were found");
    }
}

/// Sends two chunks to the machine. Each has one record, with the same `_id` in both. `first` is the verdict on the
/// first record. Returns the command for the second record, or `None` if there is none. If `passed` is true, the
/// machine first skips another chunk.
fn command_for_a_repeat(policy: Policy, passed: bool, first: Verdict) -> Option<Step> {
    let mut machine = Machine::new(LIMITS, policy, 1);
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
fn a_repeat_is_compared_only_if_the_load_cannot_know_the_stored_content() {
    assert_eq!(command_for_a_repeat(PLAIN, false, Verdict::Equal), None);
    assert_eq!(
        command_for_a_repeat(PLAIN, true, Verdict::Equal),
        Some(Step::Compare),
        "a repeat must be compared if an earlier process committed chunks"
    );
    assert_eq!(
        command_for_a_repeat(PLAIN, false, Verdict::Different),
        Some(Step::Compare),
        "a repeat must be compared after a record was kept out by other content"
    );
}

#[test]
fn replacing_an_own_document_and_an_older_one_have_different_outcomes() {
    for (earlier, expected) in [(Earlier::Nothing, Outcome::Replaced), (Earlier::Other, Outcome::ReplacedOwn)] {
        for (mode, step_expected) in [(Mode::Upsert, Step::Replace), (Mode::Merge, Step::Merge)] {
            let mut machine = Machine::new(LIMITS, Policy { mode, ..PLAIN }, 1);
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

/// Tests one record of a resumed load. An earlier chunk had the same `_id`. The record is compared with the stored
/// document, and `verdict` is the result. Expects `repeats` uncertain records.
#[track_caller]
fn check_repeat_of_resumed(on_conflict: OnConflict, earlier: Earlier, verdict: Verdict, repeats: u64) {
    let mut machine = Machine::new(LIMITS, Policy { on_conflict, is_resumed: true, ..PLAIN }, 1);
    machine.on(Event::Passed);
    let actions = machine.on(records(&[earlier]));
    let mut actions = machine.on(Event::Compared(sent(&actions).0, vec![verdict]));
    if let [Action::Send { batch, .. }] = actions[..] {
        actions = machine.on(Event::Replied(batch, DONE));
    }
    assert_eq!(settled(&actions).1, Doubts { stored: 0, repeats }, "{on_conflict:?}, {earlier:?}, {verdict:?}");
}

#[test]
fn a_repeat_in_a_resumed_load_is_uncertain_only_if_a_record_can_replace_an_earlier_one() {
    use OnConflict::{KeepFirst, KeepLast};
    const NEWEST: OnConflict = OnConflict::Newest { order_by: 0 };
    check_repeat_of_resumed(KeepFirst, Earlier::Other, Verdict::Equal, 0);
    check_repeat_of_resumed(KeepFirst, Earlier::Equal, Verdict::Different, 0);
    check_repeat_of_resumed(KeepLast, Earlier::Other, Verdict::Equal, 1);
    check_repeat_of_resumed(KeepLast, Earlier::Other, Verdict::Different, 0);
    check_repeat_of_resumed(KeepLast, Earlier::Equal, Verdict::Equal, 0);
    check_repeat_of_resumed(KeepLast, Earlier::Equal, Verdict::Different, 1);
    check_repeat_of_resumed(NEWEST, Earlier::Other, Verdict::Equal, 1);
    check_repeat_of_resumed(NEWEST, Earlier::Other, Verdict::Different, 0);
    check_repeat_of_resumed(NEWEST, Earlier::Other, Verdict::Newer, 1);
    check_repeat_of_resumed(NEWEST, Earlier::Equal, Verdict::Equal, 0);
    check_repeat_of_resumed(NEWEST, Earlier::Equal, Verdict::Newer, 1);
}

#[test]
fn the_maximum_number_of_commands_is_sent_at_once() {
    for in_flight_max in [1, 3] {
        let (_, actions) = started(PLAIN, Limits { batch_docs_max: 1, in_flight_max, ..LIMITS }, 9);
        assert_eq!(actions.len(), in_flight_max);
    }
}

#[test]
fn a_batch_may_have_exactly_the_maximum_size() {
    for (batch_bytes_max, expected) in [(29, 2), (30, 3), (31, 3)] {
        let (_, actions) = started(PLAIN, Limits { batch_bytes_max, ..LIMITS }, 4);
        assert_eq!(sent(&actions).2.len(), expected, "{batch_bytes_max} bytes for documents of 10");
    }
}

#[test]
fn only_the_last_batches_are_smaller_and_have_at_least_500_documents() {
    let (mut machine, actions) = started(PLAIN, Limits { batch_docs_max: 1_000, in_flight_max: 4, ..LIMITS }, 5_700);
    assert!(actions.iter().all(|action| matches!(action, Action::Send { members, .. } if members.len() == 1_000)));
    machine.on(Event::Ended);
    let Action::Send { batch, .. } = actions[0] else { panic!("{actions:?}") };
    // 1,700 records are left for four commands, which is 425 for each. But a batch has at least 500.
    assert_eq!(sent(&machine.on(Event::Replied(batch, DONE))).2.len(), 500);
}
