//! Tests the commands that the driver sends for a load and a verification. Writes need a journaled majority. Reads have
//! read concern majority and are sent to the primary.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::{Document, doc};
use medlift::encode::IdentityKey;
use medlift::ledger::LEASE_DEFAULT;
use medlift::pipeline::load::{LoadOptions, load};
use medlift::pipeline::verify::{VerifyOptions, verify};
use medlift::pipeline::{Interrupt, Plan, Wishes};
use medlift::report::Progress;
use medlift::server::{Connection, Destination, Settings, Target};
use medlift::spec::Spec;
use medlift::write::{Limits, Mode};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection};

use crate::load::{Place, block_on, text};
use crate::server::shared;

type Sent = Arc<Mutex<Vec<Document>>>;

/// Creates a client, and a list of all commands that the client sends.
async fn listening(change: impl FnOnce(&mut ClientOptions)) -> (Client, Sent) {
    let sent = Sent::default();
    let into = Arc::clone(&sent);
    let mut options = ClientOptions::parse(shared().uri()).await.unwrap();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event {
            into.lock().unwrap().push(started.command);
        }
    }));
    change(&mut options);
    (Client::with_options(options).unwrap(), sent)
}

/// Returns options for small loads with the mode `mode`.
pub(crate) fn options(mode: Mode) -> LoadOptions {
    let limits = Limits { batch_docs_max: 100, batch_bytes_max: 1 << 20, in_flight_max: 2, attempts_max: 3 };
    LoadOptions {
        mode,
        drop: false,
        lineage: false,
        rejects: None,
        lists_rejects: false,
        rejects_max: None,
        reload: true,
        verify: false,
        check_validator: false,
        fold: false,
        limits,
        chunk_bytes_max: 1 << 20,
        lease: LEASE_DEFAULT,
    }
}

/// Returns a collection of the place's database, reached with this client.
pub(crate) fn target(place: &Place, client: Client, collection: &str) -> Target {
    Target {
        client,
        database: place.database.clone(),
        collection: collection.to_owned(),
        address: "here".into(),
        user: None,
        account: None,
        is_certificate_sign_in: false,
        writer: "writer".into(),
        is_local: true,
        product: None,
    }
}

/// Loads a file, changes the collection, verifies it, and loads the file again.
async fn work(place: &Place, file: &str, client: Client, documents: Collection<Document>) {
    let spec = Spec::from_toml(SPEC, "a test").unwrap();
    let target = target(place, client, "rows");
    let wishes = Wishes { sources: vec![file.to_owned()], workers: 1, ..Wishes::default() };
    let plan = Plan::new(spec, IdentityKey::default(), &wishes).unwrap();
    let (interrupt, progress) = (Interrupt::default(), Progress::default());
    load(&plan, &target, &options(Mode::Upsert), &interrupt, &progress).await.unwrap();
    documents.update_one(doc! { "Name": "Ann" }, doc! { "$set": { "Age": 9 } }).await.unwrap();
    // The collection now has fewer documents than the load wrote. The next load first reads the estimated count in the
    // collection's metadata. This count is too low, so the load counts the documents exactly.
    documents.delete_one(doc! { "Name": "Bob" }).await.unwrap();
    let found = verify(&plan, &target, &VerifyOptions::default(), &interrupt, &progress).await.unwrap();
    assert_eq!((found.different, found.missing), (1, 1));
    let loaded = load(&plan, &target, &options(Mode::Upsert), &interrupt, &progress).await.unwrap();
    assert_eq!((loaded.document.counts.written, loaded.document.counts.replaced), (2, 1));
}

const SPEC: &str = "name = 'a'\ncollection = 'rows'\n[identity]\nfields = ['Name']\n\
                    [[field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'Age'\ntype = 'int32'\nprivacy = 'none'\n";

fn work_with(purpose: &str, change: impl FnOnce(&mut ClientOptions)) -> Vec<Document> {
    let place = Place::new(purpose);
    let path = place.write("a.csv", "Name,Age\nAnn,1\nBob,2\nCia,3\n");
    let by_hand = place.collection("rows");
    block_on(async {
        let (client, sent) = listening(change).await;
        work(&place, text(&path), client, by_hand).await;
        std::mem::take(&mut *sent.lock().unwrap())
    })
}

/// Returns the name of a command, and its collection if it has one.
fn name_of(command: &Document) -> (&str, &str) {
    let (name, collection) = command.iter().next().unwrap();
    (name, collection.as_str().unwrap_or_default())
}

fn read_level(command: &Document) -> Option<&str> {
    command.get_document("readConcern").ok()?.get_str("level").ok()
}

const WRITES: [&str; 4] = ["insert", "update", "findAndModify", "delete"];
const READS: [&str; 4] = ["find", "aggregate", "distinct", "count"];

fn names<'a>(commands: &'a [Document], of: &[&str]) -> Vec<(&'a str, &'a str)> {
    let mut names: Vec<_> = commands.iter().map(name_of).filter(|(name, _)| of.contains(name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The client of this test has weak concerns and another read preference than primary. Commands that need stronger
/// concerns must contain them.
#[test]
fn commands_of_a_load_override_weak_concerns_of_the_connection() {
    let commands = work_with("named", |options| {
        options.read_concern = Some(ReadConcern::local());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Nearest { options: None }));
        let one = WriteConcern::builder().w(Acknowledgment::Nodes(1)).w_timeout(Duration::from_secs(7));
        options.write_concern = Some(one.build());
    });
    let ledger = ["medlift_runs", "medlift_runs.leases"];
    let expected = [
        ("findAndModify", ledger[0]),
        ("findAndModify", ledger[1]),
        ("insert", "rows"),
        ("update", "rows"),
        ("update", ledger[0]),
        ("update", ledger[1]),
    ];
    let written: Vec<_> =
        names(&commands, &WRITES).into_iter().filter(|(_, collection)| !collection.is_empty()).collect();
    assert!(expected.iter().all(|name| written.contains(name)), "{written:?}");
    for command in &commands {
        let (name, collection) = name_of(command);
        if WRITES.contains(&name) && (collection == "rows" || ledger.contains(&collection)) {
            let mut concern = doc! { "w": "majority", "j": true };
            if collection == "rows" {
                concern.insert("wtimeout", 7_000_i64);
            }
            assert_eq!(command.get_document("writeConcern").ok(), Some(&concern), "{name} {collection}");
        }
        let filter = command.get_document("filter").cloned().unwrap_or_default();
        let is_scan = command.contains_key("hint");
        let is_of_records = filter.contains_key("_id") && !filter.contains_key("$nor");
        // Other queries of the collection `rows` are not checked. They read its validator and indexes, which a write
        // of documents does not change. They therefore need no read concern.
        let is_of_documents = name == "aggregate" || name == "find" && (filter.is_empty() || is_of_records);
        if is_of_documents && collection == "rows" || ledger.contains(&collection) && READS.contains(&name) {
            assert_eq!(read_level(command), Some("majority"), "{name} {collection}");
        }
        if collection == "rows" && (is_scan || is_of_records) {
            assert!(!command.contains_key("$readPreference"), "{command}");
        }
    }
}

/// The client of this test has the settings of a connection that medlift opens.
#[test]
fn a_load_reads_from_the_primary_and_writes_to_a_journaled_majority() {
    let uri = shared().uri() + "&wTimeoutMS=7000";
    let settings = Settings::from_parts([("MONGODB_URI".to_owned(), uri)].into_iter(), Path::new("/nowhere")).unwrap();
    let destination = Destination::settle(&Connection::default(), &settings, "rows").unwrap();
    let target = block_on(destination.connect()).unwrap();
    let commands = work_with("settled", |options| {
        options.read_concern = target.client.read_concern().cloned();
        options.write_concern = target.client.write_concern().cloned();
        options.selection_criteria = target.client.selection_criteria().cloned();
    });
    let reads = names(&commands, &READS);
    for expected in [("find", "rows"), ("aggregate", "rows"), ("find", "medlift_runs"), ("find", "medlift_runs.leases")]
    {
        assert!(reads.contains(&expected), "{expected:?} in {reads:?}");
    }
    for command in &commands {
        let (name, collection) = name_of(command);
        let mode = command.get_document("$readPreference").and_then(|preference| preference.get_str("mode"));
        assert!(matches!(mode, Err(_) | Ok("primary" | "primaryPreferred")), "{name} {collection}: {mode:?}");
        if READS.contains(&name) {
            assert_eq!(read_level(command), Some("majority"), "{name} {collection}");
        }
        if WRITES.contains(&name) {
            let concern = command.get_document("writeConcern").unwrap();
            assert!(
                concern.get_str("w").is_ok_and(|w| w == "majority") && concern.get_bool("j").unwrap(),
                "{name} {collection}"
            );
        }
    }
}
