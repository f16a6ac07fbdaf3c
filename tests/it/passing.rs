//! Tests of failures that pass. Whichever command fails, and with whichever passing code, a load must end
//! successfully with exact counts. The server's fail point `failCommand` causes the failures.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Client;
use serde_json::Value as Json;
use testkit::mongod::Server;

use crate::load::{Place, block_on, counts, text};
use crate::program::{Run, medlift};
use crate::server::{fail_point, server_with_fail_points};

const ROWS: u64 = 8_500;

struct Faulty {
    server: Server,
    client: Client,
}

impl Faulty {
    fn start() -> Self {
        let server = server_with_fail_points();
        let uri = server.uri();
        let client = block_on(async move { Client::with_uri_str(uri).await.expect("connected") });
        Self { server, client }
    }

    /// Makes the server's next replies to medlift fail, as `data` says.
    fn fail(&self, mode: Document, mut data: Document) {
        data.insert("appName", "medlift");
        fail_point(&self.server, doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data });
    }

    fn heal(&self) {
        fail_point(&self.server, doc! { "configureFailPoint": "failCommand", "mode": "off" });
    }

    fn load(&self, file: &str, database: &str, options: &[&str]) -> Run {
        let arguments = ["load", file, "--db", database, "--json", "--quiet"];
        // The driver looks for a primary again when the server's state changes. A fail point does not change the
        // state, so the heartbeats must be frequent.
        let uri = self.server.uri() + "&heartbeatFrequencyMS=500";
        medlift(arguments.iter().chain(options)).env("MONGODB_URI", uri).run()
    }

    /// Loads while the server fails as `data` says, and checks that the result is the same as without failures.
    fn check(&self, place: &Place, what: &str, times: i32, data: Document, options: &[&str]) {
        let database = place.database.clone() + "_x";
        let file = place.dir.path().join("a.csv");
        let again = options.contains(&"--reload");
        if again {
            self.load(text(&file), &database, &[]).expect_code(0);
        }
        self.fail(doc! { "times": times }, data);
        let run = self.load(text(&file), &database, options);
        self.heal();
        assert_eq!(run.code, Some(0), "{what}: {}{}", run.stdout, run.stderr);
        let summary: Json = serde_json::from_str(&run.stdout).expect("the summary is JSON");
        let expected = if again { [ROWS, 0, ROWS] } else { [ROWS, ROWS, 0] };
        assert_eq!(counts(&summary, &["read", "written", "already_present"]), expected, "{what}");
        let proof = &summary["verification"];
        assert_eq!(
            (&proof["equal"], &proof["missing"], &proof["others"]),
            (&ROWS.into(), &0.into(), &0.into()),
            "{what}"
        );
        let target = self.client.database(&database);
        block_on(async {
            let names = target.collection::<Document>("admissions").list_index_names().await.expect("listed");
            assert_eq!(names.len(), 4, "{what}: {names:?}");
            let listed = target.run_command(doc! { "listCollections": 1, "filter": { "name": "admissions" } }).await;
            assert!(listed.expect("listed").to_string().contains("jsonSchema"), "{what}: no validator");
            target.drop().await.expect("dropped");
        });
    }
}

/// Fails every command that a load sends, with changing codes, so that every meaning in the table of codes occurs
/// with different commands.
#[test]
fn a_passing_failure_of_any_command_costs_nothing() {
    let (faulty, place) = (Faulty::start(), Place::new("passing"));
    place.sample("a.csv", ROWS as u32, "none");
    // All codes are used except 13388, because the fail point cannot provide the details of that error.
    let mut codes = [11602, 24, 317, 50, 402, 11600, 91, 46, 150, 384, 262, 234, 189, 133, 63, 358, 12587, 237, 11601]
        .into_iter()
        .cycle();
    let commands = [
        "insert",
        "update",
        "find",
        "getMore",
        "aggregate",
        "createIndexes",
        "collMod",
        "listCollections",
        "listIndexes",
        "drop",
    ];
    for command in commands {
        let options: &[&str] = match command {
            "drop" => &["--drop", "--yes"],
            // With `--reload`, a load compares with the stored documents and requests many of them by `_id`.
            "getMore" => &["--reload"],
            _ => &[],
        };
        for _ in 0..2 {
            let code = codes.next().expect("a cycle");
            let data = doc! { "failCommands": [command], "errorCode": code };
            faulty.check(&place, &format!("{command} with {code}"), 3, data, options);
        }
        let data = doc! { "failCommands": [command], "closeConnection": true };
        faulty.check(&place, &format!("{command} without an answer"), 1, data, options);
    }
}

#[test]
fn a_write_concern_that_is_missed_is_tried_again_for_every_write() {
    let (faulty, place) = (Faulty::start(), Place::new("concerns"));
    place.sample("a.csv", ROWS as u32, "none");
    let error = |code: i32| doc! { "code": code, "errmsg": "waiting for replication timed out", "errInfo": {} };
    for (command, code) in [("insert", 91), ("update", 64), ("update", 11602), ("createIndexes", 64), ("collMod", 64)] {
        let data = doc! { "failCommands": [command], "writeConcernError": error(code) };
        faulty.check(&place, &format!("write concern of {command} with {code}"), 2, data, &[]);
    }
    // A load does not wait for an acknowledgement that the deployment can never give.
    faulty.fail(doc! { "times": 50 }, doc! { "failCommands": ["insert"], "writeConcernError": error(100) });
    let begun = Instant::now();
    let run = faulty.load(text(&place.dir.path().join("a.csv")), &place.database, &[]).expect_code(1);
    assert!(run.stderr.contains("code 100") && run.stderr.contains("data-bearing"), "{}", run.stderr);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn provisioning_goes_on_where_a_write_concern_was_missed() {
    let faulty = Faulty::start();
    let provision = |arguments: &[&str]| {
        let mut program = medlift(arguments).env("MONGODB_URI", faulty.server.uri());
        for name in ["ADMIN", "WRITER", "READER", "LOADER", "ANALYST"] {
            program = program.env(&format!("{name}_PASS"), "k4Tz-9pLmw2x");
        }
        program.run()
    };
    let error = doc! { "code": 64, "errmsg": "waiting for replication timed out", "errInfo": {} };
    let commands = ["create", "createIndexes", "createRole", "createUser"];
    for command in commands {
        let point = |times: i32| {
            faulty
                .fail(doc! { "times": times }, doc! { "failCommands": [command], "writeConcernError": error.clone() });
        };
        point(2);
        let arguments = ["provision", "--db", command];
        // Nobody signs in here. A changed password is only detected by signing in, so only the first run is checked.
        provision(&arguments).expect_code(0);
        faulty.heal();
        let users = faulty.client.database(command);
        let users = block_on(async move { users.run_command(doc! { "usersInfo": 1 }).await.expect("looks") });
        assert_eq!(users.get_array("users").expect("users").len(), 5, "{command}");
    }
}
