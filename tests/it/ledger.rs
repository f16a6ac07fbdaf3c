//! Tests of the ledger: its queries, its leases and its protection against late writes. The tests of queries store
//! several loads that differ in collection, key or state, so that a query without one of these conditions finds too
//! much.

use std::time::Duration;

use bson::{Bson, DateTime, Document, Uuid, doc};
use medlift::encode::Id;
use medlift::ledger::{
    Checkpoint, Claim, CollectionIdentity, Exceptions, Ledger, LedgerError, LoadDocument, Options, Owner, Reading,
    RejectsState, State, TargetState,
};
use medlift::spec::Spec;
use mongodb::{Collection, Database};

use crate::load::block_on;
use crate::server::{fail_point, fresh_database, server_with_fail_points, shared};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

async fn database(purpose: &str) -> Database {
    let client = mongodb::Client::with_uri_str(shared().uri()).await.unwrap();
    client.database(&fresh_database(purpose))
}

pub(crate) fn load(collection: &str, key: &str, state: State) -> LoadDocument {
    let options =
        Options { mode: "insert".into(), identity_key: "none".into(), lineage: false, reading: Reading::default() };
    let new = LoadDocument::new(vec![TargetState::new(collection)], &Spec::built_in(), Vec::new(), options);
    LoadDocument { key: key.into(), fence: 1, state, ..new }
}

/// Writes a load to the ledger, and waits so that the next load is later by the server's clock.
pub(crate) async fn put(ledger: &Ledger, mut load: LoadDocument) -> LoadDocument {
    ledger.put(&mut load).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    load
}

async fn found(ledger: &Ledger, key: &str) -> Option<Uuid> {
    ledger.find(key).await.unwrap().map(|load| load.id)
}

#[test]
fn the_latest_load_of_a_key_is_found_in_its_own_collection() {
    block_on(async {
        let database = database("find").await;
        let (one, two) = (Ledger::new(&database, "one", LEASE), Ledger::new(&database, "two", LEASE));
        let mut first = put(&one, load("one", "k", State::Complete)).await;
        let second = put(&one, load("one", "k", State::Complete)).await;
        let other_key = put(&one, load("one", "l", State::Complete)).await;
        let other_collection = put(&two, load("two", "k", State::Complete)).await;
        assert!(first.started < second.started && first.started == first.updated);
        let before = (first.started, first.updated);
        one.put(&mut first).await.unwrap();
        assert!(
            first.started == before.0 && first.updated > before.1,
            "a second write of a load must keep `started` and change `updated`"
        );
        assert_eq!(
            found(&one, "k").await,
            Some(second.id),
            "`find` must return the load that began last, not the load that changed last"
        );
        assert_eq!(found(&one, "l").await, Some(other_key.id));
        assert_eq!(found(&two, "k").await, Some(other_collection.id));
        assert_eq!(found(&two, "l").await, None);
        put(&one, LoadDocument { state: State::Superseded, ..second }).await;
        assert_eq!(found(&one, "k").await, Some(first.id));
        one.mark_dropped().await.unwrap();
        assert_eq!((found(&one, "k").await, found(&one, "l").await), (None, None));
        assert_eq!(
            found(&two, "k").await,
            Some(other_collection.id),
            "`mark_dropped` must not change loads into another collection"
        );
    });
}

#[test]
fn reject_files_are_found_for_all_loads_with_the_same_key() {
    block_on(async {
        let database = database("files").await;
        let ledger = Ledger::new(&database, "rows", LEASE);
        let with_files = |key: &str, names: &[&str]| {
            let state = |(name, source): (&&str, u32)| RejectsState::of_file(source, (*name).into(), 7, "ab".into());
            let rejects = names.iter().zip(0..).map(state).collect();
            LoadDocument { checkpoint: Checkpoint { blocks: 1, rejects }, ..load("rows", key, State::Failed) }
        };
        let one = put(&ledger, with_files("k", &["a", "b"])).await;
        let two = put(&ledger, LoadDocument { state: State::Superseded, ..with_files("k", &["c"]) }).await;
        put(&ledger, with_files("l", &["d"])).await;
        put(&ledger, LoadDocument { collection: "other".into(), ..with_files("k", &["e"]) }).await;
        let mut files: Vec<_> = ledger.reject_files("k").await.unwrap();
        files.sort_by(|left, right| left.1.name.cmp(&right.1.name));
        let files: Vec<_> = files.iter().map(|(load, state)| (*load, state.name.as_str(), state.source)).collect();
        assert_eq!(files, [(one.id, "a", 0), (one.id, "b", 1), (two.id, "c", 0)]);
    });
}

#[test]
fn a_new_load_marks_unfinished_loads_of_its_key_as_superseded() {
    block_on(async {
        let database = database("supersede").await;
        let ledger = Ledger::new(&database, "rows", LEASE);
        let mut loads = Vec::new();
        for state in [State::Running, State::Stopped, State::Failed, State::Complete, State::Dropped] {
            loads.push(put(&ledger, load("rows", "k", state)).await);
        }
        let kept = put(&ledger, load("rows", "k", State::Running)).await;
        let other = put(&ledger, load("rows", "l", State::Running)).await;
        ledger.supersede("k", kept.id, 1).await.unwrap();
        let documents: Collection<Document> = database.collection("medlift_runs");
        let mut states = Vec::new();
        for load in loads.iter().chain([&kept, &other]) {
            let stored = documents.find_one(doc! { "_id": load.id }).await.unwrap().unwrap();
            states.push(stored.get_str("state").unwrap().to_owned());
        }
        let expected = ["superseded", "superseded", "superseded", "complete", "dropped", "running", "running"];
        assert_eq!(states, expected);
    });
}

#[test]
fn only_active_loads_into_the_same_collection_overlap() {
    block_on(async {
        let database = database("overlap").await;
        let ledger = Ledger::new(&database, "rows", LEASE);
        let mut before = put(&ledger, load("rows", "a", State::Running)).await;
        let ours = put(&ledger, load("rows", "k", State::Running)).await;
        put(&ledger, load("elsewhere", "b", State::Running)).await;
        let dropped = put(&ledger, load("rows", "c", State::Dropped)).await;
        assert!(!ledger.has_overlapping_loads(&ours).await.unwrap());
        assert!(ledger.has_overlapping_loads(&before).await.unwrap(), "a load that began after `before` must be found");
        ledger.put(&mut before).await.unwrap();
        assert!(
            ledger.has_overlapping_loads(&ours).await.unwrap(),
            "a load that began earlier must be found if it has written to the ledger since `ours` began"
        );
        put(&ledger, LoadDocument { state: State::Dropped, ..before }).await;
        assert!(!ledger.has_overlapping_loads(&ours).await.unwrap());
        put(&ledger, LoadDocument { state: State::Failed, ..dropped }).await;
        assert!(ledger.has_overlapping_loads(&ours).await.unwrap());
    });
}

#[test]
fn an_unfinished_first_load_is_found_by_the_uuid_of_its_collection() {
    block_on(async {
        let database = database("unfinished").await;
        let ledger = Ledger::new(&database, "rows", LEASE);
        let (uuid, other) = (Some(Uuid::new()), Some(Uuid::new()));
        let states = [
            (State::Running, true),
            (State::Stopped, true),
            (State::Failed, true),
            (State::Superseded, true),
            (State::Complete, false),
            (State::Dropped, false),
        ];
        let mut run = LoadDocument { first_load: true, ..load("rows", "k", State::Running) };
        for (state, unfinished) in states {
            for (of, counts) in [(uuid, true), (other, false), (None, true)] {
                run = LoadDocument { state, collection_uuid: of, ..run };
                ledger.put(&mut run).await.unwrap();
                let found = ledger.has_unfinished_first_load(uuid).await.unwrap();
                assert_eq!(found, unfinished && counts, "{state:?}, {of:?}");
            }
        }
        let mut run = LoadDocument { first_load: false, state: State::Running, ..run };
        ledger.put(&mut run).await.unwrap();
        assert!(!ledger.has_unfinished_first_load(uuid).await.unwrap(), "only a first load must be found");
        let elsewhere = Ledger::new(&database, "elsewhere", LEASE);
        ledger.put(&mut LoadDocument { first_load: true, ..run }).await.unwrap();
        assert!(!elsewhere.has_unfinished_first_load(uuid).await.unwrap());
    });
}

#[test]
fn lists_of_exceptions_are_stored_by_load_and_number() {
    block_on(async {
        let database = database("exceptions").await;
        let ledger = Ledger::new(&database, "rows", LEASE);
        let (one, two) = (load("rows", "k", State::Running), load("rows", "l", State::Running));
        let list = |byte: u8| Exceptions {
            refused: vec![Id([byte; 16]), Id([byte + 1; 16])],
            kept_out: vec![Id([byte + 2; 16])],
        };
        let all = [(&one, 0, list(0)), (&one, 1, list(10)), (&two, 0, list(20))];
        for (load, number, list) in &all {
            ledger.put_exceptions(load, 0, *number, list).await.unwrap();
        }
        for (load, number, list) in &all {
            assert_eq!(ledger.exceptions(load.id, 0, *number).await.unwrap(), *list);
        }
        assert!(matches!(ledger.exceptions(two.id, 0, 1).await, Err(LedgerError::Incomplete)));
        let late = LoadDocument { fence: 0, ..one };
        assert!(matches!(ledger.put_exceptions(&late, 0, 0, &list(30)).await, Err(LedgerError::TakenOver)));
    });
}

#[test]
fn without_a_recorded_identity_the_identity_of_earlier_loads_counts() {
    block_on(async {
        let database = database("identities").await;
        let identity = |key: &str| CollectionIdentity { fields: vec!["a: string".into()], key: key.into() };
        let keyed = |collection: &str, key: &str, state| {
            let load = load(collection, "k", state);
            LoadDocument { options: Options { identity_key: key.into(), ..load.options.clone() }, ..load }
        };
        // Each entry has a collection, the identity keys of earlier loads into it, and the state of these loads. Then
        // a load with the key `k1` begins. The last item of the entry is the key that the ledger must store now.
        let table = [
            ("of_none", &[][..], State::Complete, "k1"),
            ("of_others", &["k2"][..], State::Complete, "k2"),
            ("of_both", &["k2", "k1"][..], State::Complete, "k1"),
            ("of_dropped", &["k2"][..], State::Dropped, "k1"),
        ];
        for (collection, keys, state, expected) in table {
            let ledger = Ledger::new(&database, collection, LEASE);
            for key in keys {
                put(&ledger, keyed(collection, key, state)).await;
            }
            assert_eq!(ledger.identity().await.unwrap(), None);
            let settled = ledger.settle_identity(&identity("k1"), false, "k").await.unwrap();
            assert_eq!(settled, identity(expected), "{collection}");
            assert_eq!(ledger.identity().await.unwrap(), Some(settled));
        }
    });
}

/// Stores a lease of this owner in the ledger. The lease expires in one minute.
pub(crate) async fn put_lease(database: &Database, key: &str, target: &str, owner: &Owner) {
    let leases: Collection<Document> = database.collection("medlift_runs.leases");
    let until = DateTime::from_millis(DateTime::now().timestamp_millis() + 60_000);
    let lease = doc! {
        "target": target, "owner": bson::serialize_to_bson(owner).unwrap(), "fence": 4_i64, "since": DateTime::now(), "until": until,
    };
    leases.update_one(doc! { "_id": format!("lease {key}") }, doc! { "$set": lease }).upsert(true).await.unwrap();
}

#[test]
fn only_the_lease_of_a_process_that_has_ended_can_be_taken_before_it_expires() {
    block_on(async {
        let database = database("ended").await;
        let (alive, ended) = (Owner::this_process(), Owner { ticks: "1".into(), ..Owner::this_process() });
        let ledger = Ledger::new(&database, "rows", LEASE);
        assert!(ledger.other_load(|_| false).await.unwrap().is_none());
        put_lease(&database, "a", "rows", &ended).await;
        assert!(
            ledger.other_load(|_| false).await.unwrap().is_none(),
            "`other_load` must ignore the lease of a process that has ended"
        );
        assert_eq!(ledger.take_lease("a").await.unwrap().unwrap(), 5);
        assert!(
            ledger.other_load(|key| key == "a").await.unwrap().is_none(),
            "`other_load` must ignore the load with the given key"
        );
        assert!(ledger.other_load(|key| key == "b").await.unwrap().is_some());
        put_lease(&database, "b", "rows", &alive).await;
        assert_eq!(ledger.take_lease("b").await.unwrap().unwrap_err().lease.owner, alive);
        assert_eq!(ledger.other_load(|key| key == "a").await.unwrap().unwrap().lease.fence, 4);
        let elsewhere = Ledger::new(&database, "elsewhere", LEASE);
        assert!(elsewhere.other_load(|_| false).await.unwrap().is_none());
        put_lease(&database, "c", "elsewhere", &alive).await;
        assert!(elsewhere.other_load(|_| false).await.unwrap().is_some());
    });
}

#[test]
fn a_guard_queries_the_ledger_only_if_the_lease_may_have_expired() {
    block_on(async {
        let database = database("guard").await;
        let (long, short) =
            (Ledger::new(&database, "rows", LEASE), Ledger::new(&database, "rows", Duration::from_millis(50)));
        let claims =
            [Claim::take(&long, "long").await.unwrap().unwrap(), Claim::take(&short, "short").await.unwrap().unwrap()];
        assert_eq!(claims.each_ref().map(Claim::fence), [1, 1]);
        for key in ["long", "short"] {
            put_lease(&database, key, "rows", &Owner::this_process()).await;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        claims[0].guard().ensure().await.expect("the lease has not expired, so the ledger is not queried");
        assert!(!claims[0].is_lost());
        assert!(matches!(claims[1].guard().ensure().await, Err(LedgerError::TakenOver)));
        assert!(matches!(claims[0].guard().confirm().await, Err(LedgerError::TakenOver)));
        assert!(claims[0].is_lost() && claims[1].is_lost());
    });
}

#[test]
fn a_released_lease_can_be_taken() {
    block_on(async {
        let database = database("released").await;
        let (ours, theirs) = (Ledger::new(&database, "rows", LEASE), Ledger::new(&database, "rows", LEASE));
        let claim = Claim::take(&ours, "k").await.unwrap().unwrap();
        assert!(theirs.take_lease("k").await.unwrap().is_err());
        claim.release().await;
        assert_eq!(theirs.take_lease("k").await.unwrap().unwrap(), 2);
        let leases: Collection<Document> = database.collection("medlift_runs.leases");
        let lease = leases.find_one(doc! { "_id": "lease k" }).await.unwrap().unwrap();
        assert_eq!(lease.get("target"), Some(&Bson::from("rows")));
    });
}

#[test]
fn a_load_into_two_collections_is_found_for_both() {
    block_on(async {
        let database = database("ledger_further").await;
        let both = Ledger::new(&database, "a", LEASE).with_further(vec!["b".into()]);
        let [of_a, of_b, of_c] = ["a", "b", "c"].map(|collection| Ledger::new(&database, collection, LEASE));
        let first_load = |collection: &str| TargetState { first_load: true, ..TargetState::new(collection) };
        let two = LoadDocument { further: vec![first_load("b")], ..load("a", "two", State::Failed) };
        let mut two = put(&both, two).await;
        assert!(
            !of_a.has_unfinished_first_load(None).await.unwrap(),
            "only the collection `b` was empty when the load began"
        );
        assert!(of_b.has_unfinished_first_load(None).await.unwrap());
        assert!(!of_c.has_unfinished_first_load(None).await.unwrap());
        let earlier = LoadDocument { started: DateTime::MIN, ..load("b", "other", State::Complete) };
        assert!(of_a.has_overlapping_loads(&earlier).await.unwrap());
        assert!(of_b.has_overlapping_loads(&earlier).await.unwrap());
        assert!(!of_c.has_overlapping_loads(&earlier).await.unwrap());

        let lists = [20, 21].map(|byte| Exceptions { refused: vec![Id([byte; 16])], kept_out: Vec::new() });
        for (kind, list) in lists.iter().enumerate() {
            both.put_exceptions(&two, kind, 0, list).await.unwrap();
        }
        for (kind, list) in lists.iter().enumerate() {
            assert_eq!(both.exceptions(two.id, kind, 0).await.unwrap(), *list);
        }

        assert!(both.take_lease("two").await.unwrap().is_ok());
        for ledger in [&of_a, &of_b] {
            assert!(ledger.other_load(|_| false).await.unwrap().is_some());
            assert!(
                ledger.other_load(|key| key == "two").await.unwrap().is_none(),
                "`other_load` must ignore the load with the given key"
            );
        }
        assert!(of_c.other_load(|_| false).await.unwrap().is_none());

        of_b.mark_dropped().await.unwrap();
        assert!(
            both.find("two").await.unwrap().is_none(),
            "`find` must ignore a load if one of its collections was dropped"
        );
        two.state = State::Complete;
        both.put(&mut two).await.unwrap();
        assert_eq!(found(&both, "two").await, Some(two.id));
    });
}

#[test]
fn a_superseded_load_can_no_longer_be_written() {
    block_on(async {
        let database = database("superseded").await;
        let ledger = Ledger::new(&database, "rows", LEASE);
        let mut earlier = put(&ledger, load("rows", "k", State::Running)).await;
        let later = LoadDocument { fence: 2, ..load("rows", "k", State::Running) };
        ledger.supersede("k", later.id, later.fence).await.unwrap();
        assert!(matches!(ledger.put(&mut earlier).await, Err(LedgerError::TakenOver)));
        assert!(matches!(ledger.put_once(&mut earlier).await, Err(LedgerError::TakenOver)));
        put(&ledger, LoadDocument { fence: 2, ..earlier }).await;
    });
}

/// The lease of one second begins when the server receives the renewal. The reply arrives 1.1 seconds later, so another
/// process may have the lease by then.
#[test]
fn a_lease_whose_renewal_was_answered_late_has_expired() {
    let server = server_with_fail_points();
    let fail = |mode: &str, mut data: Document| {
        data.insert("failCommands", vec!["update"]);
        fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data });
    };
    fail("alwaysOn", doc! { "blockConnection": true, "blockTimeMS": 1_100 });
    let (claim, confirmed) = block_on(async {
        let client = mongodb::Client::with_uri_str(server.uri()).await.unwrap();
        let ledger = Ledger::new(&client.database("late"), "rows", Duration::from_secs(1));
        let claim = Claim::take(&ledger, "k").await.unwrap().unwrap();
        let confirmed = claim.guard().confirm().await;
        (claim, confirmed)
    });
    confirmed.expect("the server extended the lease");
    fail("alwaysOn", doc! { "errorCode": 13 });
    let ensured = block_on(async { claim.guard().ensure().await });
    assert!(matches!(ensured, Err(LedgerError::Server(_))), "the ledger must be queried: {ensured:?}");
}
