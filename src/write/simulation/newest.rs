//! Simulates loads that write to the same collection at the same time, and whose specs say that the newest record is
//! stored. The documents must be the same as after any other order of these loads.

use super::*;

const POLICY: Policy = Policy {
    mode: Mode::Insert,
    on_conflict: OnConflict::Newest { order_by: 0 },
    empty_at_start: false,
    is_resumed: false,
};

/// Returns the newest content of each identity. The server refuses one of the identities.
fn newest(records: impl Iterator<Item = Record>) -> BTreeMap<u16, u8> {
    let mut newest = BTreeMap::new();
    for (id, content) in records.filter(|(id, _)| *id != REFUSED) {
        newest.entry(id).and_modify(|stored: &mut u8| *stored = content.max(*stored)).or_insert(content);
    }
    newest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn loads_at_the_same_time_end_with_the_newest_of_all_records(
        loads in prop::collection::vec(chunks(), 2..4),
        stored in stored(),
        faults in prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(fault(), 0..30)],
        order in prop::collection::vec(any::<(u8, u8)>(), 1..40),
    ) {
        let mut server = Server { durable: stored.clone(), applied: BTreeMap::new() };
        let mut processes: Vec<Process> = loads.iter().map(|load| Process::new(&[], load, POLICY, 1)).collect();
        let (mut faults, mut order) = (VecDeque::from(faults), order.iter().cycle());
        let mut outcomes = 0;
        while processes.iter().any(|process| process.choices() > 0) {
            let (which, choice) = order.next().expect("the order is not empty");
            let mut running: Vec<&mut Process> = processes.iter_mut().filter(|process| process.choices() > 0).collect();
            let at = usize::from(*which) % running.len();
            let settled = running[at].step(usize::from(*choice), &mut server, &mut faults);
            outcomes += settled.iter().map(|(_, outcomes, _)| outcomes.len()).sum::<usize>();
        }
        let records = || loads.iter().flatten().flatten().copied();
        prop_assert!(processes.iter().all(|process| process.machine.is_idle()));
        prop_assert_eq!(outcomes, records().count());
        prop_assert_eq!(&server.durable, &newest(records().chain(stored)));
    }
}

/// The server has an older document. Another load replaces it by `meanwhile` after it was compared. Returns the
/// commands, the outcome, and the content that is stored at the end.
fn replaced_meanwhile(meanwhile: u8) -> (Vec<Step>, Outcome, u8) {
    let mut server = Server { durable: BTreeMap::from([(1, 1)]), applied: BTreeMap::new() };
    let limits = Limits { batch_docs_max: 3, batch_bytes_max: 25, in_flight_max: 3, attempts_max: 9 };
    let mut machine = Machine::new(limits, POLICY, 1);
    let mut actions: VecDeque<Action> = machine.on(Event::Chunk(vec![planned((1, 5), &BTreeMap::new(), 1)])).into();
    let (mut steps, mut read) = (Vec::new(), None);
    while let Some(action) = actions.pop_front() {
        match action {
            Action::Send { batch, step, .. } => {
                if step == Step::Compare {
                    read = server.durable.get(&1).copied();
                }
                if step == Step::ReplaceOlder && !steps.contains(&step) {
                    server.durable.insert(1, meanwhile);
                }
                steps.push(step);
                actions.extend(machine.on(server.event((batch, step), &[(1, 5)], &[read], POLICY, Fault::None)));
            }
            Action::Delay(batch, _) => actions.extend(machine.on(Event::Elapsed(batch))),
            Action::Settle { outcomes, .. } => return (steps, outcomes[0], server.durable[&1]),
            Action::Stop(_) => break,
        }
    }
    panic!("the record must get an outcome");
}

#[test]
fn a_document_that_changed_after_the_comparison_is_compared_again() {
    use Step::{Compare, Insert, ReplaceOlder};
    let again = vec![Insert, Compare, ReplaceOlder, Compare];
    assert_eq!(replaced_meanwhile(1), (again[..3].to_vec(), Outcome::Replaced, 5));
    assert_eq!(replaced_meanwhile(7), (again.clone(), Outcome::Conflict, 7));
    assert_eq!(replaced_meanwhile(5), (again.clone(), Outcome::Present, 5));
    assert_eq!(replaced_meanwhile(3), ([again, vec![ReplaceOlder]].concat(), Outcome::Replaced, 5));
}
