//! Servers for tests: one that all tests of this binary share, and databases that no other test uses.
//!
//! A test that stops, freezes or reconfigures a server, or needs access control, starts its own with
//! [`Server::builder`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bson::{Document, doc};
pub(crate) use testkit::mongod::Server;

use crate::bad_days::client;
use crate::load::block_on;

/// The shared server: a replica set without access control. A static is never dropped, so the watchdog ends the
/// server.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::builder().start().expect("a mongod starts"))
}

/// Starts a server that delays every insert from medlift, so that a load of few rows can be interrupted in the
/// middle.
pub(crate) fn slow_server() -> Server {
    let server = server_with_fail_points();
    let data = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 20, "appName": "medlift" };
    fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data });
    server
}

/// Starts a server that can be told to fail by [`fail_point`].
pub(crate) fn server_with_fail_points() -> Server {
    let server = Server::builder().argument("--setParameter").argument("enableTestCommands=1");
    server.start().expect("a mongod")
}

/// Sets or removes a fail point, which applies to the whole server.
pub(crate) fn fail_point(server: &Server, point: Document) {
    let admin = client(server).database("admin");
    block_on(async move { admin.run_command(point).await.expect("a fail point") });
}

/// Returns the name of a database on the shared server that no other test uses.
pub(crate) fn fresh_database(purpose: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{purpose}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn the_shared_server_is_one_and_databases_are_many() {
    assert_eq!(shared().port(), shared().port());
    assert_ne!(fresh_database("x"), fresh_database("x"));
}
