//! Tests of index builds that continue on the server after their client has ended: the load was killed, or the primary
//! stepped down. The server's fail point `hangAfterStartingIndexBuild` keeps the builds from finishing.

use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use mongodb::Client;
use testkit::mongod::Server;

use crate::load::{Place, block_on, text};
use crate::program::{Medlift, medlift};
use crate::server::{fail_point, server_with_fail_points};

struct Held {
    server: Server,
    client: Client,
    place: Place,
}

impl Held {
    fn start(purpose: &str) -> Self {
        let server = server_with_fail_points();
        let uri = server.uri();
        let client = block_on(async move { Client::with_uri_str(uri).await.expect("connected") });
        let place = Place::new(purpose);
        place.sample("a.csv", 2_000, "none");
        Self { server, client, place }
    }

    fn hold(&self, mode: &str) {
        fail_point(&self.server, doc! { "configureFailPoint": "hangAfterStartingIndexBuild", "mode": mode });
    }

    fn load(&self) -> Medlift {
        let file = self.place.dir.path().join("a.csv");
        medlift(["load", text(&file), "--db", &self.place.database, "--quiet"]).env("MONGODB_URI", self.server.uri())
    }

    /// Returns the names of the indexes, and true for each that is being built.
    fn indexes(&self) -> Vec<(String, bool)> {
        let database = self.client.database(&self.place.database);
        let command = doc! { "listIndexes": "admissions", "includeBuildUUIDs": true };
        let listed = block_on(async move { database.run_command(command).await.unwrap_or_default() });
        let batch = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let state = |entry: &Document| {
            let spec = entry.get_document("spec").unwrap_or(entry);
            (spec.get_str("name").unwrap_or_default().to_owned(), entry.contains_key("buildUUID"))
        };
        batch.map_or(Vec::new(), |batch| batch.iter().filter_map(Bson::as_document).map(state).collect())
    }

    fn wait_for_build(&self) {
        let until = Instant::now() + Duration::from_mins(1);
        while !self.indexes().iter().any(|(_, is_building)| *is_building) {
            assert!(Instant::now() < until, "expected an index build within a minute: {:?}", self.indexes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Checks that all indexes exist and are ready, and that the validator is attached.
    fn expect_finished(&self) {
        let indexes = self.indexes();
        assert!(indexes.len() == 4 && indexes.iter().all(|(_, is_building)| !is_building), "{indexes:?}");
        let database = self.client.database(&self.place.database);
        let command = doc! { "listCollections": 1, "filter": { "name": "admissions" } };
        let listed = block_on(async move { database.run_command(command).await.expect("listed") });
        assert!(listed.to_string().contains("jsonSchema"), "the validator must be attached");
    }
}

#[test]
fn a_load_waits_for_the_index_build_of_a_killed_load() {
    let held = Held::start("killed_build");
    held.hold("alwaysOn");
    let killed = held.load().start();
    held.wait_for_build();
    killed.signal("KILL");
    killed.wait();
    let second = held.load().start();
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        held.indexes().iter().any(|(_, is_building)| *is_building),
        "the build must continue after the load was killed"
    );
    held.hold("off");
    let run = second.wait().expect_code(0);
    assert!(run.stderr.contains("waiting for the server to finish building the indexes"), "{}", run.stderr);
    assert!(run.stdout.contains("validator attached"), "{}", run.stdout);
    held.expect_finished();
}

#[test]
fn a_load_succeeds_if_the_primary_steps_down_during_an_index_build() {
    let held = Held::start("stepped_down");
    held.hold("alwaysOn");
    let load = held.load().start();
    held.wait_for_build();
    let admin = held.client.database("admin");
    block_on(async move {
        // The result is ignored, because the connection may break before the reply arrives.
        let _ = admin.run_command(doc! { "replSetStepDown": 2, "force": true }).await;
    });
    std::thread::sleep(Duration::from_millis(500));
    held.hold("off");
    load.wait().expect_code(0);
    held.expect_finished();
}
