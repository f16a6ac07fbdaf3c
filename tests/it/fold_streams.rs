//! Random streams of messages: however they arrive, the documents are those of a fold of all messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::doc;
use medlift::encode::{Id, IdentityKey};
use medlift::fold::shell::{Folded, Job, Turn, fold};
use medlift::server::Target;
use medlift::spec::{Dataset, Spec};
use mongodb::Client;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::concerns::target;
use crate::fold::message;
use crate::load::{Place, block_on};
use crate::server::shared;

/// What a message is about: event, patient, other patient, visit, minute.
type Sent = (usize, u8, u8, u8, u32);

/// A step of a test: stores this number of further messages, and then folds those that it stored in this way.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Folds them in a turn, together with this number of the messages before, as if these were received again.
    Turn(usize),
    /// Nobody folds them, so the next process finds them.
    Killed,
    /// The documents are written, but the process is killed before the messages are noted as folded.
    Unnoted,
}

const EVENTS: [&str; 9] =
    ["ADT^A01", "ADT^A02", "ADT^A03", "ADT^A08", "ADT^A31", "ADT^A40", "ADT^A40", "ADT^A45", "ORU^R01"];

fn text((event, patient, other, visit, minute): Sent) -> String {
    let name = EVENTS[event];
    let more = match name {
        "ADT^A40" | "ADT^A45" => format!("MRG|P{other}^^^GOODHEALTH^MR||||V{other}^^^GOODHEALTH"),
        "ORU^R01" => {
            format!("OBR|1||F{visit}^LAB|CBC\rOBX|1|NM|K^Potassium^L||{minute}||||||F\rOBX|2|NM|NA^Sodium^L||1||||||F")
        }
        _ => String::new(),
    };
    message(name, minute, &format!("P{patient}"), &format!("V{visit}"), &more)
}

fn stream() -> impl Strategy<Value = (Vec<Sent>, Vec<(usize, How)>)> {
    let sent = (0..EVENTS.len(), 0..5_u8, 0..5_u8, 0..4_u8, 0..30_u32);
    let how = prop_oneof![5 => (0..4_usize).prop_map(How::Turn), 1 => Just(How::Killed), 1 => Just(How::Unnoted)];
    (vec(sent, 5..40), vec((1..12_usize, how), 1..10))
}

struct Stored {
    target: Target,
    spec: Spec,
}

impl Stored {
    async fn fold(&self, rebuild: bool) -> Folded {
        let identity = IdentityKey::default();
        fold(&self.job(&identity, rebuild), std::future::pending()).await.expect("folds").expect("not stopped")
    }

    fn job<'a>(&'a self, identity: &'a IdentityKey, rebuild: bool) -> Job<'a> {
        Job { target: &self.target, spec: &self.spec, identity, rebuild, read: Arc::default() }
    }

    /// Folds messages in a turn. The first turn of a process folds all messages that are not folded yet.
    async fn turn(&self, ids: &[Id], is_first: bool) {
        let identity = IdentityKey::default();
        let mut turn = Turn::take(&self.job(&identity, false), is_first).await.expect("a turn");
        turn.fold(ids.to_vec()).await.expect("folds");
        turn.end().await;
    }

    /// Stores messages as a load does. Returns their `_id`s.
    async fn store(&self, sent: &[Sent]) -> Vec<Id> {
        let mut ids = Vec::new();
        for &sent in sent {
            let text = text(sent);
            let id = IdentityKey::default().derive("message", &[&text]);
            let whole = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: text.into_bytes() };
            let stored = doc! { "$set": { "message": whole } };
            let uuid = bson::Uuid::from_bytes(id.0);
            let messages = self.target.db().collection::<bson::Document>("messages");
            messages.update_one(doc! { "_id": uuid }, stored).upsert(true).await.expect("stored");
            ids.push(id);
        }
        ids
    }

    /// Removes the notes that say that messages are folded.
    async fn forget(&self) {
        // These notes have the key zero.
        let last = [[0; 16], [0xff; 16]].concat();
        let last = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: last };
        let notes = self.target.db().collection::<bson::Document>("messages.folded");
        notes.delete_many(doc! { "_id": { "$lte": last } }).await.expect("deleted");
    }

    /// Stores and folds messages. Returns how many of them are not noted as folded at the end.
    async fn arrive(&self, sent: &[Sent], steps: &[(usize, How)]) -> usize {
        self.turn(&self.store(&sent[..1]).await, true).await;
        let (mut before, mut left, mut is_first) = (Vec::new(), BTreeSet::new(), false);
        let (mut rest, mut steps) = (&sent[1..], steps.iter().cycle());
        let mut all = BTreeSet::from_iter(self.store(&sent[..1]).await);
        while !rest.is_empty() {
            let (count, how) = *steps.next().expect("a step");
            let (now, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let ids = self.store(now).await;
            let new: BTreeSet<Id> = ids.iter().copied().filter(|id| all.insert(*id)).collect();
            match how {
                How::Turn(again) => {
                    let again = before.iter().rev().take(again).copied();
                    self.turn(&ids.iter().copied().chain(again).collect::<Vec<_>>(), is_first).await;
                    (left, is_first) = if is_first { (BTreeSet::new(), false) } else { (left, false) };
                }
                How::Killed => {
                    left.extend(new);
                    is_first = true;
                }
                How::Unnoted => {
                    self.turn(&ids, false).await;
                    self.forget().await;
                    left.clone_from(&all);
                    is_first = true;
                }
            }
            before.extend(ids);
        }
        left.len()
    }
}

#[test]
fn however_messages_arrive_the_documents_are_those_of_a_fold_of_all() {
    let mut runner = TestRunner::new(Config { cases: 12, max_shrink_iters: 40, ..Config::default() });
    let spec = Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind of document");
    let tested = runner.run(&stream(), |(sent, steps)| {
        let place = Place::new("fold_stream");
        let wrong = block_on(async {
            let client = Client::with_uri_str(shared().uri()).await.expect("connected");
            let stored = Stored { target: target(&place, client, "messages"), spec: spec.clone() };
            let left = stored.arrive(&sent, &steps).await;
            // A message that is folded but not noted would be folded once more.
            assert_eq!(stored.fold(false).await.messages, left as u64);
            let rebuilt = stored.fold(true).await;
            let wrong = rebuilt.written + rebuilt.removed;
            stored.target.db().drop().await.expect("dropped");
            wrong
        });
        prop_assert_eq!(wrong, 0, "{:?} {:?}", sent.iter().map(|sent| text(*sent)).collect::<Vec<_>>(), steps);
        Ok(())
    });
    tested.expect("equal documents");
}
