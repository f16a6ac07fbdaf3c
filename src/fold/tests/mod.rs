//! Tests of the pure part of the fold.

mod scenarios;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Document, RawDocumentBuf};

use super::identifier::PatientRule;
use super::{Event, Key, Kind, Merges, Reader, State, fold};
use crate::encode::{Id, IdentityKey};
use crate::parse::hl7::Charset;
use crate::spec::{Spec, Zone};

fn reader() -> Reader {
    let spec = Spec::from_toml(include_str!("../../../specs/hl7v2.toml"), "hl7v2").expect("a spec");
    let rule = PatientRule::of(&spec).expect("the spec says who the patient is");
    Reader::new(IdentityKey::default(), rule, Zone::UTC, Charset::Utf8)
}

/// Returns the event of a message. The `_id` is made from the bytes, as in a load.
fn event(text: &str) -> Event {
    let id = Id::from_hash(&blake3::hash(text.as_bytes()));
    reader().event(id, text.as_bytes()).expect("a message")
}

/// Folds all events at once, and follows the merges.
fn fold_all(events: &[Event]) -> BTreeMap<Key, RawDocumentBuf> {
    let keys: BTreeSet<Key> = events.iter().flat_map(Event::keys).collect();
    let states: Vec<State> = keys.into_iter().filter_map(|key| fold(key, events.to_vec())).collect();
    written(&states)
}

fn written(states: &[State]) -> BTreeMap<Key, RawDocumentBuf> {
    let mut merges = Merges::default();
    for (id, merge) in states.iter().filter_map(|state| Some((state.key().id, state.merge()?))) {
        merges.add(id, merge);
    }
    let document = |state: &State| state.document(state.patient().map(|patient| merges.survivor(patient)));
    states.iter().map(|state| (state.key(), document(state))).collect()
}

/// Folds messages, and returns the documents of a kind.
fn documents(kind: Kind, messages: &[String]) -> Vec<Document> {
    let events: Vec<Event> = messages.iter().map(|text| event(text)).collect();
    let all = fold_all(&events).into_iter().filter(|(key, _)| key.kind == kind);
    all.map(|(_, document)| Document::try_from(document).expect("valid BSON")).collect()
}

/// A message of minute `minute`, with this control id. `rest` are the segments after EVN.
fn message(name: &str, minute: u32, control: &str, rest: &[&str]) -> String {
    let (hour, minute) = (minute / 60, minute % 60);
    let time = format!("20260301{hour:02}{minute:02}");
    let header = format!(r"MSH|^~\&|APP|SITE|||{time}||{name}|{control}|P|2.5");
    let mut text = header;
    if name.starts_with("ADT") {
        text = [text, "\rEVN||".to_owned(), time].concat();
    }
    for segment in rest {
        text.push('\r');
        text += segment;
    }
    text
}
