//! Tests a running deployment: signs in as each of its users and tries commands. The environment variables name the
//! deployment. The service `tests` of compose.yaml runs this test in the stack's network. The test changes no data:
//! each permitted command only reads, or matches no document.

use bson::{Document, doc};
use medlift::deployment::doctor::examine;
use medlift::deployment::provision::view_name;
use medlift::server::{Account, Connection, Destination, Failure, Purpose, Settings};
use medlift::spec::Spec;

use crate::connection::block_on;
use crate::provision::{create_user, delete, find, insert, update};

/// Returns the commands that this account may run on the database of the data, and commands that it may not run.
fn rights(account: Account, collection: &str) -> (Vec<Document>, Vec<Document>) {
    let (ledger, view) = ("medlift_runs", view_name(collection));
    let writes = vec![insert(collection), update(collection), delete(collection)];
    let count = |collection: &str| doc! { "aggregate": collection, "pipeline": [{ "$count": "n" }], "cursor": {} };
    let drop_database = doc! { "dropDatabase": 1 };
    let no_match = |mut command: Document, list: &str| {
        command.get_array_mut(list).expect("a list")[0].as_document_mut().expect("one").insert("q", doc! { "_id": "" });
        command
    };
    match account {
        Account::Admin => (vec![doc! { "collStats": collection }], [vec![find(collection)], writes].concat()),
        Account::Writer => {
            let harmless = [no_match(update(collection), "updates"), no_match(delete(collection), "deletes")];
            ([vec![find(collection)], harmless.into()].concat(), vec![create_user(), drop_database])
        }
        Account::Reader => (vec![find(collection), count(collection)], writes),
        Account::Loader => {
            let allowed = vec![find(collection), find(ledger), no_match(update(collection), "updates")];
            (allowed, vec![delete(collection), doc! { "drop": collection }, drop_database, find(&view)])
        }
        Account::Analyst => (vec![count(&view)], [vec![find(collection), find(ledger)], writes].concat()),
        Account::Root => (vec![], vec![]),
    }
}

#[test]
fn every_user_of_the_deployment_has_its_rights_and_no_more() {
    if std::env::var_os("MEDLIFT_DEPLOYMENT").is_none() {
        eprintln!("skipped: MEDLIFT_DEPLOYMENT is not set; `docker compose run --rm tests` sets it");
        return;
    }
    let settings = Settings::load().expect("settings");
    for account in [Account::Admin, Account::Writer, Account::Reader, Account::Loader, Account::Analyst] {
        let wishes = Connection { purpose: Purpose::As(account), ..Connection::default() };
        let destination = Destination::settle(&wishes, &settings, "admissions").expect("settles");
        block_on(async {
            let target = destination.connect().await.expect("signs in");
            let run = async |command: &Document| target.db().run_command(command.clone()).await;
            let (may, may_not) = rights(account, &target.collection);
            for command in may {
                assert!(run(&command).await.is_ok(), "{account:?} must be allowed to run {command}");
            }
            for command in may_not {
                let failure = run(&command).await.map_err(|error| Failure::of(&error));
                assert!(
                    matches!(failure, Err(Failure::NotAuthorized { .. })),
                    "{account:?} must not be allowed to run {command}"
                );
            }
        });
    }
    let destination = Destination::settle(&Connection::default(), &settings, "admissions").expect("settles");
    let examination = block_on(examine(&destination, &Spec::built_in(), "medlift_runs"));
    assert_eq!(examination.exit_code(), 0, "{examination}");
}
