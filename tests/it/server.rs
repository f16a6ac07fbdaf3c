//! Servers for tests. Most tests share one server, and each of them has a database of its own.
//!
//! A test that stops, freezes or reconfigures a server, or that needs access control, starts a server of its own with
//! [`Server::builder`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
pub(crate) use testkit::mongod::Server;

use crate::bad_days::client;
use crate::load::block_on;

/// Returns the shared server, a replica set without access control. Rust never drops a static variable, so the
/// watchdog process of `testkit` ends the server.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::builder().start().expect("a mongod starts"))
}

/// Starts a server that delays each insert from medlift after the first 36. A load of `SLOW_ROWS` rows with the options
/// `SLOWLY` is then so slow that a test can stop it in the middle. After [`heal`], the load continues at normal speed.
pub(crate) fn slow_server() -> Server {
    let server = server_with_fail_points();
    let data = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 400, "appName": "medlift" };
    fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": { "skip": 36 }, "data": data });
    server
}

/// Starts a server that delays every insert from medlift by `delay_ms` milliseconds.
pub(crate) fn server_with_slow_inserts(delay_ms: i32) -> Server {
    let server = server_with_fail_points();
    delay(&server, doc! { "failCommands": ["insert"] }, delay_ms);
    server
}

/// Delays the commands from medlift that `data` selects, by `delay_ms` milliseconds.
pub(crate) fn delay(server: &Server, mut data: Document, delay_ms: i32) {
    data.extend(doc! { "blockConnection": true, "blockTimeMS": delay_ms, "appName": "medlift" });
    fail_point(server, doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data });
}

/// Ends the failures and delays of commands. Waits until no command is delayed.
pub(crate) fn heal(server: &Server) {
    fail_point(server, doc! { "configureFailPoint": "failCommand", "mode": "off" });
}

/// Kills the commands that [`delay`] is delaying, and ends the delays. The program that sent the commands must have
/// ended. Otherwise it would receive an error.
pub(crate) fn release(server: &Server) {
    let admin = client(server).database("admin");
    block_on(async {
        let sent = doc! { "currentOp": true, "appName": "medlift", "command.hello": { "$exists": false } };
        let found = admin.run_command(sent).await.expect("the operations");
        for operation in found.get_array("inprog").expect("a list") {
            let id = operation.as_document().expect("an operation").get("opid").expect("an id");
            admin.run_command(doc! { "killOp": 1, "op": id }).await.expect("killed");
        }
    });
    heal(server);
}

/// Starts a server on which [`fail_point`] works.
pub(crate) fn server_with_fail_points() -> Server {
    let server = Server::builder().argument("--setParameter").argument("enableTestCommands=1");
    server.start().expect("a mongod")
}

/// Sets or removes a fail point, which applies to the whole server.
pub(crate) fn fail_point(server: &Server, point: Document) {
    let admin = client(server).database("admin");
    block_on(async move { admin.run_command(point).await.expect("a fail point") });
}

/// Waits until a verification queries a range of the collection `admissions`.
pub(crate) fn wait_for_a_scan(server: &Server) {
    wait_for_operation(server, doc! { "command.find": "admissions", "command.min": { "$exists": true } });
}

/// Waits until the server executes an operation that matches `filter`.
pub(crate) fn wait_for_operation(server: &Server, filter: Document) {
    let admin = client(server).database("admin");
    let mut command = doc! { "currentOp": true };
    command.extend(filter);
    let until = Instant::now() + Duration::from_mins(1);
    while Instant::now() < until {
        let (admin, command) = (admin.clone(), command.clone());
        let found = block_on(async move { admin.run_command(command).await.expect("the operations") });
        if !found.get_array("inprog").expect("a list").is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("expected the operation within a minute");
}

/// Returns a name for a database on the shared server. No other test uses this name.
pub(crate) fn fresh_database(purpose: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{purpose}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn tests_share_one_server_and_have_different_databases() {
    assert_eq!(shared().port(), shared().port());
    assert_ne!(fresh_database("x"), fresh_database("x"));
}
