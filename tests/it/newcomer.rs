//! Tests of the first steps of a new user: the commands in hints work as printed, `--drop` keeps the validator and the
//! indexes, and a wrong name is reported before anything is written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use medlift::namespace::{collection_fault, database_fault, is_too_long};
use testkit::mongod::ROOT_USER;

use crate::connection::{block_on, settings};
use crate::load::{Place, text};
use crate::program::{Run, bash, medlift};
use crate::provision::{Deployment, USERS};
use crate::server::{Server, shared};

/// A provisioned deployment. The tests of this file use different collections of it.
fn deployment() -> &'static Deployment {
    static DEPLOYMENT: OnceLock<Deployment> = OnceLock::new();
    DEPLOYMENT.get_or_init(|| {
        let deployment = Deployment::start();
        block_on(deployment.provision(&settings(&USERS)));
        deployment
    })
}

/// The environment for a command on the deployment.
fn variables() -> Vec<(&'static str, String)> {
    let (uri, root) = deployment().address();
    let own = [("MONGODB_URI", uri), ("MONGO_ROOT_USER", ROOT_USER.to_owned()), ("MONGO_ROOT_PASS", root)];
    own.into_iter().chain(USERS.map(|(name, value)| (name, value.to_owned()))).collect()
}

fn run(arguments: &[&str]) -> Run {
    variables().into_iter().fold(medlift(arguments), |program, (name, value)| program.env(name, value)).run()
}

/// Returns the command in backquotes that provisions the collection.
fn printed(said: &str) -> &str {
    let begin = said.find("`medlift provision").unwrap_or_else(|| panic!("no command:\n{said}")) + 1;
    said[begin..].split('`').next().expect("a closing backquote")
}

/// Runs a command line as it was printed.
fn run_printed(line: &str) {
    let program = env!("CARGO_BIN_EXE_medlift");
    let mut command = bash(&format!("medlift() {{ timeout 60 {program} \"$@\"; }}; {line}"));
    let output = command.envs(variables()).output().expect("bash runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the server's description of a collection of the deployment, and the names of its indexes.
fn surroundings(collection: &str) -> (Document, Vec<String>) {
    block_on(async {
        let database = deployment().root().await.db();
        let listed = database.run_command(doc! { "listCollections": 1, "filter": { "name": collection } }).await;
        let listed = listed.expect("lists").get_document("cursor").expect("a cursor").clone();
        let first = listed.get_array("firstBatch").expect("a batch")[0].as_document().expect("a document").clone();
        let indexes = database.collection::<Document>(collection).list_indexes().await.expect("lists");
        let indexes: Vec<_> = indexes.try_collect().await.expect("lists");
        let names = indexes.into_iter().filter_map(|index| index.options?.name).collect();
        (first.get_document("options").cloned().unwrap_or_default(), names)
    })
}

#[test]
fn the_command_in_a_hint_works_as_printed() {
    let place = Place::new("hints");
    let path = place.sample("a.csv", 3, "none");
    let spec = place.write("my spec.toml", medlift(["spec", "show"]).run().expect_code(0).stdout);
    block_on(async {
        let rows = deployment().root().await.db().collection::<Document>("older rows");
        rows.insert_one(doc! { "_id": 1 }).await.expect("inserts");
    });
    let of = ["-c", "older rows", "--spec", text(&spec)];
    let said = run(&[&["load", text(&path), "-u", "writer", "--no-verify"], &of[..]].concat()).expect_code(0).stdout;
    let command = printed(&said).to_owned();
    let expected = format!("medlift provision --db hospital --collection 'older rows' --spec '{}'", spec.display());
    assert_eq!(command, expected);
    let doctor = run(&[&["doctor", "-u", "writer"], &of[..]].concat()).expect_code(0).stdout;
    assert_eq!(printed(&doctor), command, "{doctor}");
    run_printed(&command);
    let doctor = run(&[&["doctor", "-u", "loader"], &of[..]].concat()).expect_code(0).stdout;
    assert!(doctor.contains("may load and verify hospital.older rows"), "{doctor}");
    assert!(doctor.contains("hospital.older rows has the validator of the spec"), "{doctor}");
}

#[test]
fn a_kind_of_several_is_provisioned_by_the_name_of_its_collection() {
    let spec = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec/two_documents.toml");
    let several = ["provision", "--plan", "--spec", text(&spec)];
    let refused = run(&several).expect_code(2).stderr;
    assert!(refused.contains("choose one kind with --collection stays or doctors"), "{refused}");
    let plan = run(&[&several[..], &["--collection", "doctors"]].concat()).expect_code(0).stdout;
    assert!(plan.contains("create collection hospital.doctors with its validator"), "{plan}");
    let by_variable = variables().into_iter().fold(medlift(several), |program, (name, value)| program.env(name, value));
    let plan = by_variable.env("COLLECTION_NAME", "doctors").run().expect_code(0).stdout;
    assert!(plan.contains("create collection hospital.doctors with its validator"), "{plan}");
    let doctor = run(&["doctor", "-u", "writer", "--spec", text(&spec), "-c", "stays"]).expect_code(0).stdout;
    assert!(doctor.contains("hospital.stays does not exist yet"), "{doctor}");
}

#[test]
fn a_collection_that_is_dropped_keeps_its_validator_and_its_indexes() {
    let place = Place::new("dropped");
    let path = place.sample("a.csv", 5, "none");
    let load = |user: &str, code: i32| run(&["load", text(&path), "-u", user, "--drop", "--yes"]).expect_code(code);
    let refused = load("loader", 1).stderr;
    let part = "user `loader` lacks the privilege `dropCollection` on hospital.admissions (code 13); the loader deletes \
                nothing; load with --drop as the writer: -u writer";
    assert!(refused.contains(part), "{refused}");
    block_on(async {
        let database = deployment().root().await.db();
        let further = doc! { "key": { "Ward": 1 }, "name": "by_ward", "sparse": true };
        database.run_command(doc! { "createIndexes": "admissions", "indexes": [further] }).await.expect("builds");
    });
    let before = surroundings("admissions");
    assert!(before.0.contains_key("validator"), "{before:?}");
    for user in ["writer", ROOT_USER] {
        let said = load(user, 0).stdout;
        assert!(said.contains("hospital.admissions was dropped and created anew with"), "{said}");
        let (options, mut indexes) = surroundings("admissions");
        indexes.sort();
        let mut expected = before.1.clone();
        expected.sort();
        assert_eq!((options, indexes), (before.0.clone(), expected), "{user}");
        let doctor = run(&["doctor", "-u", "writer"]).expect_code(0).stdout;
        assert!(doctor.contains("hospital.admissions has the validator"), "{doctor}");
    }
}

#[test]
fn a_name_that_resembles_a_provisioned_collection_is_noticed() {
    let place = Place::new("resembles");
    let path = place.sample("a.csv", 3, "none");
    let load = |collection: &str| {
        run(&["load", text(&path), "-u", "writer", "--no-verify", "-c", collection]).expect_code(0).stderr
    };
    let missing = "the collection hospital.admisions does not exist, but hospital.admissions has the validator of the \
                   spec admissions";
    let doctor = run(&["doctor", "-u", "writer", "-c", "admisions"]).expect_code(0).stdout;
    assert!(doctor.contains(missing) && doctor.contains("correct --collection"), "{doctor}");
    let said = load("admisions");
    assert!(said.contains(&format!("notice: {missing}; the load creates a new collection")), "{said}");
    let again = load("admisions");
    assert!(!again.contains("notice"), "{again}");
}

#[test]
fn a_view_is_reported_as_a_view() {
    let view = "admissions_deidentified";
    let remedy = "give the name of a collection: --collection admissions";
    for user in ["loader", "writer"] {
        let doctor = run(&["doctor", "-u", user, "-c", view]).expect_code(1).stdout;
        assert!(doctor.contains(&format!("hospital.{view} is a view; {remedy}")), "{doctor}");
        assert!(!doctor.contains("medlift provision"), "{doctor}");
    }
    let export = run(&["export", "-u", "loader", "-c", "others_deidentified"]).expect_code(1).stderr;
    let advice = "this is the name of a de-identified view; give its collection: --collection others";
    assert!(export.contains(advice), "{export}");
}

/// A server without users permits the creation of the first one from its own machine. `docs/install.md` has these
/// commands for mongosh.
#[test]
fn the_first_user_of_a_new_server_is_made_without_a_sign_in() {
    let server = Server::builder().standalone().argument("--auth").start().expect("starts");
    let provision = || {
        let program = medlift(["provision", "--plan"]).env("MONGODB_URI", server.uri_anonymous());
        let users = [("MONGO_ROOT_USER", "admin"), ("MONGO_ROOT_PASS", "k4Tz-9pLmw2x-root")];
        let users = users.into_iter().chain(USERS);
        users.fold(program, |program, (name, value)| program.env(name, value)).run()
    };
    let refused = provision().expect_code(3).stderr;
    let advice = "on a new server, first create the root user, as docs/install.md shows";
    assert!(refused.contains("database `admin` has no user `admin`") && refused.contains(advice), "{refused}");
    block_on(async {
        let client = mongodb::Client::with_uri_str(server.uri_anonymous()).await.expect("connects");
        let user = doc! { "createUser": "admin", "pwd": "k4Tz-9pLmw2x-root", "roles": ["root"] };
        client.database("admin").run_command(user).await.expect("the first user may be created");
    });
    let plan = provision().expect_code(0);
    assert!(plan.stdout.contains("create user writer") && !plan.stderr.contains("notice"), "{plan:?}");
    // The shared server requires no sign-in. A notice must say so.
    let place = Place::new("everybody");
    let open = ["provision", "--plan", "--uri", &shared().uri(), "--db", &place.database];
    let open = USERS.into_iter().fold(medlift(open), |program, (name, value)| program.env(name, value));
    let said = open.run().expect_code(0).stderr;
    assert!(said.contains("notice: the server accepts everybody without a sign-in"), "{said}");
}

#[test]
fn names_are_valid_if_the_server_accepts_them() {
    let place = Place::new("names");
    let long = |letter: &str, count: usize| letter.repeat(count);
    let accepts = |database: &str, name: &str| {
        let (database, name) = (database.to_owned(), name.to_owned());
        block_on(async move {
            let client = mongodb::Client::with_uri_str(shared().uri()).await.expect("connects");
            let created = client.database(&database).run_command(doc! { "create": name }).await;
            if created.is_ok() {
                client.database(&database).drop().await.expect("drops");
            }
            created.map(drop).map_err(|error| error.to_string())
        })
    };
    let room = 254 - place.database.len();
    for name in [
        "$x",
        "x$",
        "system.foo",
        "a.system.b",
        "",
        ".a",
        "a..b",
        "a.b",
        "a b",
        "a/b",
        "a\"b",
        "systems",
        "é",
        &long("x", room),
        &long("x", room + 1),
    ] {
        let is_valid = collection_fault(name).is_none() && !is_too_long(&place.database, name);
        let accepted = accepts(&place.database, name);
        assert_eq!(accepted.is_ok(), is_valid, "{name}: {accepted:?}");
    }
    for name in ["a.b", "a b", "a$b", "a/b", "a\\b", "a\"b", "a-b", &long("x", 64), &long("x", 63)] {
        assert_eq!(accepts(name, "rows").is_ok(), database_fault(name).is_none(), "{name}");
    }
}

#[test]
fn a_wrong_name_is_refused_before_a_connection() {
    let place = Place::new("wrong_names");
    let path = place.sample("a.csv", 3, "none");
    let manifest = place.dir.path().join("m.json");
    let check = |arguments: &[&str], part: &str| {
        let closed = ["--uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"];
        let said = medlift(arguments.iter().chain(&closed)).run().expect_code(2).stderr;
        assert!(said.contains(part), "{arguments:?}: {said}");
    };
    let load = ["load", text(&path)];
    check(&[&load[..], &["-c", "$x"]].concat(), "--collection: `$x` is not a valid name of a collection");
    check(&[&load[..], &["-c", ""]].concat(), "--collection: `` is not a valid name of a collection");
    check(&["export", "-c", "system.foo"], "--collection: `system.foo` is not a valid name of a collection");
    check(&["verify", text(&path), "-d", "a.b"], "--db: `a.b` is not a valid name of a database");
    // This name of a collection is valid, but the name of its de-identified view is too long.
    let settings = USERS
        .into_iter()
        .fold(medlift(["provision", "-c", &"x".repeat(240)]), |program, (name, value)| program.env(name, value));
    let said = settings.run().expect_code(2).stderr;
    assert!(said.contains("_deidentified` is not a valid name of a collection"), "{said}");
    for command in [&load[..], &["provision"], &["doctor"]] {
        check(&[command, &["-c", "medlift_runs"]].concat(), "--collection: Medlift records its loads in");
    }
    let plan = |name: &str| medlift(["plan", text(&path), "-c", name, "--out", text(&manifest)]).run();
    for (name, part) in [("medlift_runs", "records its loads"), ("$x", "not a valid name")] {
        let said = plan(name).expect_code(2).stderr;
        assert!(said.contains(part) && !manifest.exists(), "{said}");
    }
}

#[test]
fn a_settings_file_that_others_can_read_is_reported_once() {
    let place = Place::new("exposed");
    let path = place.sample("a.csv", 3, "none");
    let env = place.write(".env", "WRITER_PASS=k4Tz-9pLmw2x-w\n");
    let uri = shared().uri();
    let said = |mode: u32| {
        fs::set_permissions(&env, Permissions::from_mode(mode)).unwrap();
        // The shared server has no users, so the sign-in fails.
        medlift(["load", text(&path), "--uri", &uri]).dir(place.dir.path()).run().expect_code(3).stderr
    };
    let warning = "warning: other users can read ./.env, which contains secrets; run chmod 600 ./.env";
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let found = said(0o644);
    assert_eq!(found.matches(warning).count(), 1, "{found}");
    assert!(!said(0o640).contains("warning"));
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(!said(0o644).contains("warning"));
}
