//! Any order of arrival ends in the same documents, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use bson::RawDocumentBuf;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Advanced, Event, Key, Kind, Merges, State, advance, fold};
use super::{event, fold_all, message};
use crate::encode::Id;

/// What is stored: messages that were folded, and documents. It does with them what the shell does with a database.
#[derive(Default)]
struct Store {
    events: BTreeMap<Id, Event>,
    documents: BTreeMap<Key, RawDocumentBuf>,
}

impl Store {
    /// Folds a batch of messages that arrived.
    fn arrive(&mut self, batch: &[&Event]) {
        let mut batch = batch.to_vec();
        batch.sort_by(|one, other| one.order().cmp(other.order()));
        let keys: BTreeSet<Key> = batch.iter().flat_map(|event| event.keys()).collect();
        let states: Vec<State> = keys.into_iter().map(|key| self.next(key, &batch)).collect();
        let merged: Vec<Id> =
            states.iter().filter(|state| state.merge().is_some()).map(|state| state.key().id).collect();
        for state in states {
            self.documents.insert(state.key(), state.document(state.patient()));
        }
        self.redirect(&merged);
        self.events.extend(batch.into_iter().map(|event| (event.order().message, event.clone())));
    }

    fn next(&self, key: Key, batch: &[&Event]) -> State {
        let mut new: Vec<Event> =
            batch.iter().copied().filter(|event| event.keys().any(|other| other == key)).cloned().collect();
        let stored = self.documents.get(&key).map(|document| State::read(key.kind, document).expect("readable"));
        match stored.map_or(Advanced::NeedsAll, |state| advance(state, new.clone())) {
            Advanced::To(state) => state,
            Advanced::NeedsAll => {
                new.extend(self.events.values().cloned());
                fold(key, new).expect("touched")
            }
        }
    }

    /// Follows the merges in all documents.
    fn redirect(&mut self, _merged: &[Id]) {
        let mut merges = Merges::default();
        let states: Vec<State> =
            self.documents.iter().map(|(key, document)| State::read(key.kind, document).expect("readable")).collect();
        for state in &states {
            if let Some(merge) = state.merge() {
                merges.add(state.key().id, merge);
            }
        }
        for state in states {
            let patient = state.patient().map(|patient| merges.survivor(patient));
            self.documents.insert(state.key(), state.document(patient));
        }
    }
}

/// One message of a stream.
#[derive(Debug, Clone)]
struct Sent {
    what: usize,
    patient: u8,
    other: u8,
    visit: u8,
    minute: u32,
    control: u8,
    detail: u8,
}

const EVENTS: [&str; 15] = [
    "ADT^A01", "ADT^A02", "ADT^A03", "ADT^A04", "ADT^A05", "ADT^A06", "ADT^A07", "ADT^A08", "ADT^A11", "ADT^A12",
    "ADT^A13", "ADT^A28", "ADT^A31", "ADT^A40", "ADT^A45",
];

impl Sent {
    fn text(&self) -> String {
        let Self { patient, other, visit, minute, detail, .. } = *self;
        let control = self.control.to_string();
        let name = [r"DOE^A", "ROE", r#""""#, ""][usize::from(detail % 4)];
        let phone = ["555", r#""""#, ""][usize::from(detail / 4 % 3)];
        let pid = format!("PID|1||P{patient}^^^H^MR||{name}||1980|F|||||{phone}");
        let place = ["W1", "W2", ""][usize::from(detail % 3)];
        let pv1 = format!("PV1|1|I|{place}||||||||||||||||V{visit}^^^H");
        let mrg = format!("MRG|P{other}^^^H^MR||||V{other}^^^H");
        match EVENTS.get(self.what) {
            Some(name @ &"ADT^A40") => message(name, minute, &control, &[&pid, &mrg]),
            Some(name @ &"ADT^A45") => message(name, minute, &control, &[&pid, &mrg, &pv1]),
            Some(name) => message(name, minute, &control, &[&pid, &pv1]),
            None => {
                let status = ["F", "C", "X", "P", ""][usize::from(detail % 5)];
                let obr = format!("OBR|1|O1|F{}|CBC", visit % 2);
                let obx = |code: &str| format!("OBX|1|NM|{code}^^L||{detail}|||N|||{status}");
                message("ORU^R01", minute, &control, &[&pid, &pv1, &obr, &obx("K"), &obx("NA"), &obx("K")])
            }
        }
    }
}

/// A stream of messages of few patients and visits, so that several messages are about the same document. At least a
/// quarter of the messages are merges or moves.
fn stream() -> impl Strategy<Value = Vec<Sent>> {
    let what = prop_oneof![3 => 0..EVENTS.len() + 3, 1 => 13..15_usize];
    let sent = (what, 0..4_u8, 0..4_u8, 0..3_u8, 0..12_u32, 8..12_u8, any::<u8>());
    let sent = sent.prop_map(|(what, patient, other, visit, minute, control, detail)| Sent {
        what,
        patient,
        other,
        visit,
        minute,
        control,
        detail,
    });
    vec(sent, 1..40)
}

/// Makes an order in which the messages of a stream arrive, as positions in the stream. Some messages arrive twice.
fn arrivals(count: usize) -> impl Strategy<Value = Vec<usize>> {
    vec(0..count, 0..count).prop_flat_map(move |again| {
        let all: Vec<usize> = (0..count).chain(again).collect();
        Just(all).prop_shuffle()
    })
}

fn texts(documents: &BTreeMap<Key, RawDocumentBuf>) -> Vec<String> {
    documents.values().map(|document| format!("{document:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_doubled_and_split_messages_end_in_the_same_bytes(
        (stream, arrivals) in stream().prop_flat_map(|stream| { let count = stream.len(); (Just(stream), arrivals(count)) }),
        cuts in vec(1..8_usize, 1..20),
    ) {
        let events: Vec<Event> = stream.iter().map(|sent| event(&sent.text())).collect();
        for event in &events {
            for key in event.keys() {
                let mut packed = Vec::new();
                event.pack(key, &mut packed);
                let read = Event::unpack(key, &packed).expect("packed");
                prop_assert!(read.order() == event.order() && read.steps(key).eq(event.steps(key)));
            }
        }
        let at_once = fold_all(&events);
        let mut store = Store::default();
        let (mut rest, mut cuts) = (&arrivals[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (batch, later) = rest.split_at((*cuts.next().expect("a cut")).min(rest.len()));
            store.arrive(&batch.iter().map(|&place| &events[place]).collect::<Vec<_>>());
            rest = later;
        }
        prop_assert_eq!(texts(&store.documents), texts(&at_once));
        for (key, document) in &at_once {
            prop_assert_eq!(store.documents[key].as_bytes(), document.as_bytes());
        }
    }

    #[test]
    fn messages_in_order_extend_the_state_and_need_no_fold_of_all(stream in stream()) {
        let mut events: Vec<Event> = stream.iter().map(|sent| event(&sent.text())).collect();
        events.sort_by(|one, other| one.order().cmp(other.order()));
        let mut states: BTreeMap<Key, State> = BTreeMap::new();
        for event in &events {
            for key in event.keys() {
                let next = match states.remove(&key) {
                    None => fold(key, vec![event.clone()]).expect("touched"),
                    Some(state) => match advance(state, vec![event.clone()]) {
                        Advanced::To(state) => state,
                        Advanced::NeedsAll => return Err(TestCaseError::fail("the messages are in order")),
                    },
                };
                states.insert(key, next);
            }
        }
        for (key, state) in &states {
            let all = fold(*key, events.clone()).expect("touched");
            let (found, expected) = (state.document(None), all.document(None));
            prop_assert_eq!(found.as_bytes(), expected.as_bytes());
        }
    }
}

#[test]
fn the_streams_contain_what_they_should_test() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut kinds, mut chains) = (BTreeSet::new(), 0);
    for _ in 0..50 {
        let sent = stream().new_tree(&mut runner).expect("a stream").current();
        let documents = fold_all(&sent.iter().map(|sent| event(&sent.text())).collect::<Vec<_>>());
        kinds.extend(documents.keys().map(|key| key.kind));
        let states = documents.iter().map(|(key, document)| State::read(key.kind, document).expect("readable"));
        let into: BTreeSet<Id> = states.filter_map(|state| Some(state.merge()?.into)).collect();
        let merged = into.iter().filter(|&&id| {
            let document = &documents[&Key { kind: Kind::Patient, id }];
            document.get("mergedInto").ok().flatten().is_some()
        });
        chains += merged.count();
    }
    assert_eq!(kinds.len(), 3);
    assert!(chains > 20, "{chains} merges of merged patients");
}
