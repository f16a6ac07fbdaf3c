//! Tests of the fold of a process that stores messages all the time, and of the list of processes that store messages.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use medlift::encode::{Id, IdentityKey};
use medlift::fold::shell::Follower;
use medlift::spec::{Dataset, Spec};

use crate::bad_days::{self, client};
use crate::concerns::{Sent, listening, target};
use crate::fold::{SPEC, number, stream};
use crate::load::{Place, block_on, text};
use crate::program::medlift;
use crate::server::{delay, heal, release, server_with_fail_points, wait_for_operation};

fn spec() -> Spec {
    Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind of document")
}

impl Place {
    /// Begins to follow. Also returns the list of all commands that are sent.
    fn follower(&self) -> (Follower, Sent) {
        block_on(async {
            let (client, sent) = listening(|_| {}).await;
            let target = target(self, client, "messages");
            let follower = Follower::begin(&target, &spec(), &IdentityKey::default()).await.expect("begins");
            (follower, sent)
        })
    }

    /// Returns the `_id`s of the messages with these numbers in the stream.
    fn ids(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<Id> {
        let messages = self.collection("messages");
        let controls: Vec<String> = numbers.into_iter().map(|number| format!("M{number}")).collect();
        let filter = doc! { "controlId": { "$in": controls } };
        let found = block_on(async { messages.find(filter).await?.try_collect::<Vec<Document>>().await });
        let id = |message: &Document| bson::deserialize_from_bson::<bson::Uuid>(message.get("_id")?.clone()).ok();
        found.expect("read").iter().map(|message| Id(id(message).expect("a UUID").bytes())).collect()
    }

    /// Returns how many processes are listed as writers of messages.
    fn writers(&self) -> usize {
        self.one("medlift_runs.leases", doc! { "_id": "fold writers" }).get_array("writers").expect("a list").len()
    }
}

/// Folds, and returns how many messages were folded.
fn fold(follower: &mut Follower, ids: &[Id]) -> u64 {
    block_on(follower.fold(ids)).expect("folds").messages
}

#[test]
fn a_follower_folds_only_the_messages_that_it_is_given() {
    let (place, all) = (Place::new("follow"), Place::new("follow_all"));
    let messages = stream();
    all.load_folding("all.hl7", &messages, &[]);
    place.load_messages("a.hl7", &messages[..4]);
    let (mut follower, sent) = place.follower();
    // The first fold finds what is not folded. A further one has nothing to do, and asks nothing.
    assert_eq!(fold(&mut follower, &[]), 4);
    sent.lock().unwrap().clear();
    assert_eq!(fold(&mut follower, &[]), 0);
    assert!(sent.lock().unwrap().is_empty());
    place.load_messages("b.hl7", &messages[4..]);
    // In another order, and some of them twice.
    assert_eq!(fold(&mut follower, &place.ids(8..=11)), 4);
    assert_eq!(fold(&mut follower, &place.ids(5..=8)), 4);
    let commands = std::mem::take(&mut *sent.lock().unwrap());
    let finds = commands.iter().filter(|command| command.get_str("find").is_ok_and(|of| of == "messages"));
    assert!(finds.clone().count() >= 2);
    for find in finds {
        let of_ids = find
            .get_document("filter")
            .is_ok_and(|filter| filter.get_document("_id").is_ok_and(|id| id.contains_key("$in")));
        assert!(of_ids, "no comparison of all messages: {find}");
    }
    block_on(follower.end()).expect("ends");
    assert_eq!(place.state(), all.state());
    assert_eq!(place.writers(), 0);
    assert_eq!(number(&place.fold(&[]), "messages"), 0, "all messages are noted as folded");
}

#[test]
fn messages_of_a_process_that_has_ended_are_found() {
    let place = Place::new("follow_ended");
    place.load_folding("a.hl7", &stream()[..3], &[]);
    assert_eq!(place.writers(), 0, "a load is struck off when its messages are folded");
    let (mut follower, _) = place.follower();
    assert_eq!(fold(&mut follower, &[]), 0);
    place.load_messages("b.hl7", &stream()[3..6]);
    let own = place.ids([5]);
    // As long as everybody who stores messages works, nobody looks for messages of others.
    assert_eq!(fold(&mut follower, &own), 1);
    let leases = place.collection("medlift_runs.leases");
    let ended = doc! { "$push": { "writers": { "id": bson::Uuid::new(), "lease": "of a killed load" } } };
    block_on(async { leases.update_one(doc! { "_id": "fold writers" }, ended).await.expect("listed") });
    assert_eq!(fold(&mut follower, &own), 2);
    assert_eq!(place.writers(), 1, "the follower itself is still listed");
    block_on(follower.listing().ensure()).expect("nothing to do");
    drop(follower);
    assert_eq!(place.writers(), 1, "nobody knows whether all its messages are folded");
}

#[test]
fn several_processes_fold_in_turns_and_each_sees_a_fold_of_all() {
    let place = Place::new("follow_turns");
    let messages = stream();
    place.load_messages("a.hl7", &messages);
    let ids: Vec<Vec<Id>> = (1..=11).map(|number| place.ids([number])).collect();
    let fold = |(mut follower, _): (Follower, Sent)| async {
        for ids in &ids {
            follower.fold(ids).await.expect("folds");
        }
        follower.end().await.expect("ends");
    };
    let (one, other) = (place.follower(), place.follower());
    block_on(async { tokio::join!(fold(one), fold(other)) });
    let before = place.state();
    let rebuilt = place.fold(&["--rebuild"]);
    assert_eq!((number(&rebuilt, "written"), number(&rebuilt, "removed")), (0, 0));
    assert_eq!(place.state(), before);
}

#[test]
fn a_fold_that_was_dropped_is_repeated() {
    let place = Place::new("follow_dropped");
    place.load_folding("a.hl7", &stream()[..1], &[]);
    let (mut follower, _) = place.follower();
    assert_eq!(fold(&mut follower, &[]), 0);
    place.load_messages("b.hl7", &stream());
    let ids = place.ids([2, 3]);
    let dropped = block_on(async { tokio::time::timeout(Duration::ZERO, follower.fold(&ids)).await });
    assert!(dropped.is_err() && follower.waiting() == 2);
    assert_eq!(fold(&mut follower, &[]), 2);
    assert_eq!(follower.waiting(), 0);
}

#[test]
fn a_load_that_is_killed_while_it_folds_is_repeated() {
    let (server, place, whole) =
        (server_with_fail_points(), Place::new("fold_load_killed"), Place::new("fold_load_whole"));
    whole.load_folding("a.hl7", &stream(), &[]);
    let file = place.write("a.hl7", stream().join("\r"));
    let load = || bad_days::load(&server, &place, text(&file), &[&SPEC[..], &["--no-verify"]].concat());
    let results = format!("{}.results", place.database);
    delay(&server, doc! { "failCommands": ["insert"], "namespace": results }, 60_000);
    let killed = load().start();
    wait_for_operation(&server, doc! { "command.insert": "results" });
    killed.signal("KILL");
    killed.wait();
    release(&server);
    let leases = client(&server).database(&place.database).collection::<Document>("medlift_runs.leases");
    let listed = |expected: usize| {
        let list = block_on(async { leases.find_one(doc! { "_id": "fold writers" }).await });
        let list = list.expect("read").expect("the list");
        assert_eq!(list.get_array("writers").expect("a list").len(), expected);
    };
    listed(1);
    heal(&server);
    load().run().expect_code(0);
    listed(0);
    let check = ["verify", text(&file), "--spec", "hl7v2", "--db", &place.database, "--quiet"];
    medlift(check).env("MONGODB_URI", server.uri()).run().expect_code(0);
    let count = |name: &str| {
        let documents = client(&server).database(&place.database).collection::<Document>(name);
        block_on(async move { documents.count_documents(doc! {}).await.expect("counted") })
    };
    let expected = whole.state();
    for name in crate::fold::STATE {
        assert_eq!(count(name), expected.iter().filter(|(of, _)| *of == name).count() as u64, "{name}");
    }
}
