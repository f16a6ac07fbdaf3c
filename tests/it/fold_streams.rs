//! Random streams of messages: however they arrive, the documents are those of a fold of all messages.

use std::sync::Arc;

use bson::doc;
use medlift::encode::{Id, IdentityKey};
use medlift::fold::shell::{Follower, Job, fold};
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
    /// The follower folds them.
    Follow,
    /// Nobody folds them. The follower is killed, so the next one finds them.
    Killed,
    /// The documents are written, but the follower is killed before the messages are noted as folded.
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
    let how = prop_oneof![5 => Just(How::Follow), 1 => Just(How::Killed), 1 => Just(How::Unnoted)];
    (vec(sent, 5..40), vec((1..12_usize, how), 1..10))
}

struct Stored {
    target: Target,
    spec: Spec,
}

impl Stored {
    async fn follower(&self) -> Follower {
        Follower::begin(&self.target, &self.spec, &IdentityKey::default()).await.expect("begins")
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

    /// Ends a follower as if its process were killed.
    async fn kill(&self, follower: Follower) {
        drop(follower);
        let leases = self.target.db().collection::<bson::Document>("medlift_runs.leases");
        let over = doc! { "$set": { "until": bson::DateTime::from_millis(0) } };
        leases.update_many(doc! { "until": { "$exists": true } }, over).await.expect("ended");
    }

    async fn arrive(&self, sent: &[Sent], steps: &[(usize, How)]) {
        let mut follower = self.follower().await;
        follower.fold(&[]).await.expect("folds");
        let (mut rest, mut steps) = (sent, steps.iter().cycle());
        while !rest.is_empty() {
            let (count, how) = *steps.next().expect("a step");
            let (now, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let ids = self.store(now).await;
            match how {
                How::Follow => {
                    follower.fold(&ids).await.expect("folds");
                    continue;
                }
                How::Killed => {}
                How::Unnoted => {
                    follower.fold(&ids).await.expect("folds");
                    // The notes with the key zero say that messages are folded.
                    let last = [[0; 16], [0xff; 16]].concat();
                    let last = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: last };
                    let notes = self.target.db().collection::<bson::Document>("messages.folded");
                    notes.delete_many(doc! { "_id": { "$lte": last } }).await.expect("deleted");
                }
            }
            self.kill(follower).await;
            follower = self.follower().await;
        }
        follower.fold(&[]).await.expect("folds");
        follower.end().await.expect("ends");
    }

    /// Folds all messages again. Returns how many documents were not as the messages say.
    async fn wrong(&self) -> u64 {
        let identity = IdentityKey::default();
        let (target, spec, read) = (&self.target, &self.spec, Arc::default());
        let job = Job { target, spec, identity: &identity, rebuild: true, writer: None, read };
        let folded = fold(&job, std::future::pending()).await.expect("folds").expect("not stopped");
        folded.written + folded.removed
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
            stored.arrive(&sent, &steps).await;
            let wrong = stored.wrong().await;
            stored.target.db().drop().await.expect("dropped");
            wrong
        });
        prop_assert_eq!(wrong, 0, "{:?} {:?}", sent.iter().map(|sent| text(*sent)).collect::<Vec<_>>(), steps);
        Ok(())
    });
    tested.expect("equal documents");
}
