//! Tests of the messages for a user who lacks a right, gives no password or misspells the name of the database. Also
//! tests what the analyst can export.

use std::sync::Mutex;

use bson::{Document, doc};
use medlift::deployment::provision::{Changes, Wanted};
use medlift::server::Destination;
use medlift::verify::{Range, Scan};
use testkit::mongod::ROOT_USER;

use crate::bad_days::client;
use crate::connection::{block_on, settings, wishes};
use crate::load::{self, Place, text};
use crate::program::{Medlift, Run, medlift};
use crate::provision::{Deployment, USERS, find, insert, shared_settings, wanted};
use crate::server::{fail_point, server_with_fail_points};

/// Runs a command on the shared deployment. The environment contains the passwords of all users and the connection
/// string.
fn run(arguments: &[&str]) -> Run {
    let (uri, variables) = shared_settings();
    let program = medlift(arguments).env("MONGODB_URI", uri);
    variables.into_iter().fold(program, |program, (name, value)| program.env(name, value)).run()
}

#[track_caller]
fn check(arguments: &[&str], code: i32, parts: &[&str]) {
    let run = run(arguments).expect_code(code);
    let said = run.stdout + &run.stderr;
    for part in parts {
        assert!(said.contains(part), "{arguments:?} must say `{part}`:\n{said}");
    }
}

#[test]
fn rights_on_another_collection_are_named_with_the_command_that_gives_them() {
    let place = Place::new("rights");
    let path = place.sample("a.csv", 3, "none");
    let command = "`medlift provision --db hospital --collection other` gives the loader its rights there";
    let missing = "user `loader` lacks the privilege `find` on hospital.other (code 13)";
    for arguments in [
        &["load", text(&path), "--collection", "other"][..],
        &["verify", text(&path), "--collection", "other", "--username", "loader"],
        &["export", "--collection", "other", "--username", "loader"],
    ] {
        check(arguments, 1, &[missing, command]);
    }
    check(&["doctor", "-c", "other"], 1, &["may neither read nor load hospital.other, but has other rights", command]);
    let view = "the analyst may read only the de-identified view: --collection admissions_deidentified";
    check(&["export", "--username", "analyst"], 1, &["user `analyst` lacks the privilege `find`", view]);
    let view = "--collection other` creates this view for analysts";
    check(&["export", "--username", "analyst", "-c", "other_deidentified"], 1, &[view]);
}

#[test]
fn a_misspelled_database_is_reported_and_not_created() {
    let place = Place::new("misspelled");
    let path = place.sample("a.csv", 3, "none");
    let elsewhere = "cannot sign in to 127.0.0.1:";
    let has_one = "database `hospitl` has no user `loader`, but database `hospital` has one; correct --db or DB_NAME";
    check(&["load", text(&path), "--db", "hospitl"], 3, &[elsewhere, has_one]);
    check(&["doctor", "--db", "hospitl"], 3, &[has_one]);
    let names = "there is no database `hospitl`; the server has hospital, pharmacy";
    check(&["verify", text(&path), "--db", "hospitl", "-u", ROOT_USER], 1, &[names, "choose one with --db"]);
    check(&["doctor", "--db", "hospitl", "-u", ROOT_USER], 0, &[names, "correct --db"]);
}

#[test]
fn doctor_reports_a_missing_password_and_goes_on() {
    let (uri, _) = shared_settings();
    let doctor = |program: Medlift| program.env("MONGODB_URI", &uri).run().expect_code(3).stdout;
    let unset = doctor(medlift(["doctor"]).env("WRITER_USER", "writer").env("WRITER_PASS", ""));
    let unknown = doctor(medlift(["doctor", "-u", "ann"]));
    let wrong = doctor(medlift(["doctor"]).env("WRITER_PASS", "a-wrong-pa55"));
    for (found, message) in [
        (unset, "WRITER_USER is set, but its password is not; set WRITER_PASS"),
        (unknown, "no password is given for user `ann`; use -p to enter it, or write its name"),
        (wrong, "wrong password for user `writer` of database `hospital`"),
    ] {
        let steps: Vec<&str> = found.lines().skip(1).filter_map(|line| line.trim().split("  ").next()).collect();
        assert_eq!(steps, ["name", "port", "tls", "sign-in", "version", "topology"], "{found}");
        assert!(found.contains(&format!("FAILED   {message}")), "{found}");
    }
    let program = medlift(["export", "-u", "loader"]).env("MONGODB_URI", &uri).run().expect_code(2);
    assert!(program.stderr.contains("or set LOADER_PASS or LOADER_PASS_FILE"), "{}", program.stderr);
}

#[test]
fn a_second_collection_is_provisioned_beside_the_first() {
    let deployment = Deployment::start();
    let settings = settings(&USERS);
    block_on(async {
        deployment.provision(&settings).await;
        let root = deployment.root().await;
        let other = Wanted { collection: "big".to_owned(), ..wanted(&deployment.spec, &settings) };
        let target = root.in_collection("big");
        let provision = async || {
            let changes = Changes::make(&target, &deployment.destination(), &other, false).await.expect("plans");
            changes.carry_out(&target, |_| (), |_| ()).await.expect("carries out");
            changes.steps.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let steps = provision().await;
        let expected = [
            "create the de-identified view hospital.big_deidentified",
            "add privileges on hospital.big to role medliftLoader",
            "add privileges on hospital.big_deidentified to role medliftAnalyst",
        ];
        assert!(steps.ends_with(&expected.map(str::to_owned)), "{steps:?}");
        // Both collections are provisioned now. Provisioning one of them keeps the rights on the other, so there is
        // nothing left to change.
        assert_eq!(deployment.provision(&settings).await, [""; 0]);
        assert_eq!(provision().await, [""; 0]);
        let loader = deployment.sign_in("loader", "k4Tz-9pLmw2x-l").await.expect("signs in");
        let analyst = deployment.sign_in("analyst", "k4Tz-9pLmw2x-n").await.expect("signs in");
        for collection in ["admissions", "big"] {
            loader.db().run_command(insert(collection)).await.expect("may load");
            analyst.db().run_command(find(&format!("{collection}_deidentified"))).await.expect("may read the view");
        }
        // An administrator grants rights on a collection that was never provisioned. The next provisioning removes
        // these rights.
        let letters = doc! { "resource": { "db": "hospital", "collection": "letters" },
        "actions": ["find", "insert", "listIndexes", "update"] };
        let grant = doc! { "grantPrivilegesToRole": "medliftLoader", "privileges": [letters] };
        root.db().run_command(grant).await.expect("grants");
        assert_eq!(deployment.provision(&settings).await, ["correct the privileges of role medliftLoader"]);
        loader.db().run_command(find("letters")).await.expect_err("may not read");
        loader.db().run_command(insert("big")).await.expect("may load");
    });
}

#[test]
fn an_analyst_exports_the_view_as_csv_and_as_ndjson() {
    let export = ["export", "--username", "analyst", "-c", "admissions_deidentified", "--limit", "1"];
    let csv = run(&export).expect_code(0);
    assert!(csv.stderr.contains("1 document exported") && !csv.stderr.contains("notice"), "{}", csv.stderr);
    let (header, row) = csv.stdout.split_once('\n').expect("a header");
    assert_eq!(
        header,
        "Age,Gender,Blood Type,Medical Condition,Insurance Provider,Admission Type,Medication,Test Results,\
         Billing Amount,Date of Admission,Discharge Date,Date of Admission to Discharge Date (days)"
    );
    assert!(row.contains("Asthma,Aetna,Urgent,Aspirin,Normal,12.5,"), "{row}");
    let json = run(&[&export[..], &["--type", "json"]].concat()).expect_code(0);
    assert!(!json.stderr.contains("do not fit"), "{}", json.stderr);
}

#[test]
fn a_user_is_told_at_once_if_nothing_listens() {
    let told = |uri: &str| {
        let told = Mutex::new(Vec::new());
        let destination = Destination::settle(&wishes(uri), &settings(&[]), "admissions").expect("settles");
        let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
        block_on(destination.connect_telling(&tell)).expect_err("nothing listens");
        told.into_inner().unwrap()
    };
    let uri = |timeout_ms: u32| format!("mongodb://127.0.0.1:1,127.0.0.1:2/?serverSelectionTimeoutMS={timeout_ms}");
    let expected = "nothing listens on 127.0.0.1:1,127.0.0.1:2; trying for 2 s more, because it may be starting";
    assert_eq!(told(&uri(2_500)), [expected]);
    assert!(told(&uri(300)).is_empty(), "a short wait is not reported");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = silent.local_addr().expect("bound").port();
    assert!(told(&format!("mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=2000")).is_empty());
    let quiet = ["export", "--quiet", "--uri", &uri(2_000)];
    let run = medlift(quiet).run().expect_code(3);
    assert!(run.stderr.contains("trying for 2 s more") && run.stderr.contains("cannot connect to"), "{}", run.stderr);
}

/// The documents of the view have no `_id`. A repeated query could therefore not continue after the last document. It
/// would return all documents again.
#[test]
fn the_export_of_a_view_fails_if_it_is_interrupted_and_returns_no_document_twice() {
    let server = server_with_fail_points();
    let (uri, database) = (server.uri(), client(&server).database("views"));
    load::block_on(async {
        let rows: Vec<Document> = (0..8_100).map(|id| doc! { "_id": id }).collect();
        database.collection("rows").insert_many(rows).await.expect("inserts");
        let view = doc! { "create": "view", "viewOn": "rows", "pipeline": [{ "$project": { "_id": 0, "n": "$_id" } }] };
        database.run_command(view).await.expect("creates");
    });
    let interrupted = |name: &str| {
        let data = doc! { "failCommands": ["getMore"], "errorCode": 11_602 };
        fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data });
        load::block_on(async {
            let client = mongodb::Client::with_uri_str(&uri).await.expect("connects");
            let mut scan = Scan::new(&client.database("views").collection(name)).range(Range::default());
            let mut count = 0;
            while let Some(batch) = scan.next_batch().await.map_err(|error| error.to_string())? {
                count += batch.documents().count();
            }
            Ok::<usize, String>(count)
        })
    };
    assert_eq!(interrupted("rows"), Ok(8_100));
    let failed = interrupted("view").expect_err("cannot continue");
    assert!(failed.contains("cannot read collection `views.view`"), "{failed}");
}
