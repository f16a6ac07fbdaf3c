//! Tests of `medlift doctor` on real servers: a healthy deployment, and the finding for each fault.

use std::net::TcpListener;

use bson::{Document, doc};
use medlift::deployment::doctor::{Examination, Finding, State, Step, examine};
use medlift::deployment::schema;
use medlift::server::{Connection, Destination};
use medlift::spec::Spec;
use testkit::mongod::Server;

use crate::certificates::Authority;
use crate::connection::{block_on, connect, settings, wishes};

fn examined(wishes: &Connection) -> Examination {
    let destination = Destination::settle(wishes, &settings(&[]), "admissions").expect("settles");
    block_on(examine(&destination, &Spec::built_in(), "medlift_runs"))
}

fn at(examination: &Examination, step: Step) -> &Finding {
    let found = examination.findings.iter().find(|finding| finding.step == step);
    found.unwrap_or_else(|| panic!("no finding at {step:?}:\n{examination}"))
}

/// Checks that the first failed step is `step`, that its message contains `part`, and that the exit code is `code`.
fn check(examination: &Examination, step: Step, part: &str, code: u8) {
    let failed = examination.findings.iter().find(|finding| finding.state == State::Failed);
    let failed = failed.unwrap_or_else(|| panic!("no failure:\n{examination}"));
    assert!(failed.step == step && failed.message.contains(part), "{examination}");
    assert_eq!(examination.exit_code(), code, "{examination}");
}

fn direct(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=1500")
}

async fn run(server: &Server, database: &str, command: Document) -> Document {
    let root = connect(&wishes(&server.uri())).await.expect("connects");
    root.client.database(database).run_command(command).await.expect("runs")
}

fn as_user(server: &Server, user: &str, password: &str, auth_database: &str) -> Connection {
    wishes(&server.uri_as(user, password, auth_database))
}

#[test]
fn a_healthy_deployment_passes_every_step_and_zlib_gives_a_warning() {
    let server = Server::builder().access_control().start().expect("starts");
    block_on(async {
        let root = connect(&wishes(&server.uri())).await.expect("connects");
        schema::attach(&root, &Spec::built_in(), |_| ()).await.expect("attaches");
        let roles = ["readWrite"];
        root.db().run_command(doc! { "createUser": "writer", "pwd": "k4Tz", "roles": roles }).await.expect("makes");
    });
    let examination = examined(&as_user(&server, "writer", "k4Tz", "hospital"));
    assert_eq!(examination.exit_code(), 0, "{examination}");
    let fine = [Step::Name, Step::Port, Step::Tls, Step::SignIn, Step::Topology, Step::Role, Step::Collection];
    for step in fine.into_iter().chain([Step::WriteConcern, Step::Disk]) {
        assert_ne!(at(&examination, step).state, State::Failed, "{examination}");
    }
    assert_eq!(at(&examination, Step::WriteConcern).message, "a journaled majority acknowledges writes");
    assert_eq!(at(&examination, Step::Logging).state, State::Skipped);
    let version = at(&examination, Step::Version);
    if version.message.starts_with("6.0.5") {
        assert!(version.state == State::Warning && version.message.contains("CVE-2025-14847"), "{examination}");
    }
    let safe =
        Server::builder().argument("--networkMessageCompressors").argument("snappy,zstd").start().expect("starts");
    assert_eq!(at(&examined(&wishes(&safe.uri())), Step::Version).state, State::Ok);
}

#[test]
fn wrong_auth_database_wrong_password_and_no_user_have_different_messages() {
    let server = Server::builder().access_control().start().expect("starts");
    block_on(run(&server, "hospital", doc! { "createUser": "writer", "pwd": "k4Tz", "roles": ["readWrite"] }));
    check(
        &examined(&as_user(&server, "writer", "k4Tz", "admin")),
        Step::SignIn,
        "--authentication-database hospital",
        3,
    );
    check(&examined(&as_user(&server, "writer", "guess", "hospital")), Step::SignIn, "wrong password", 3);
    check(&examined(&as_user(&server, "nobody", "guess", "hospital")), Step::SignIn, "has no user `nobody`", 3);
    check(&examined(&wishes(&server.uri_anonymous())), Step::SignIn, "no user is given", 3);
}

#[test]
fn a_user_without_a_role_and_users_with_too_few_or_too_many_rights_have_different_messages() {
    let server = Server::builder().access_control().start().expect("starts");
    block_on(async {
        for (user, roles) in [("nobody", vec![]), ("reader", vec!["read"]), ("chief", vec!["dbAdmin"])] {
            run(&server, "hospital", doc! { "createUser": user, "pwd": "k4Tz", "roles": roles }).await;
        }
    });
    let examined = |user| examined(&as_user(&server, user, "k4Tz", "hospital"));
    check(&examined("nobody"), Step::Role, "the user has no role on hospital", 1);
    let reader = examined("reader");
    assert!(at(&reader, Step::Role).message.contains("but not load; missing privileges: insert"), "{reader}");
    assert_eq!((at(&reader, Step::WriteConcern).state, reader.exit_code()), (State::Skipped, 0));
    let chief = examined("chief");
    assert!(at(&chief, Step::Role).message.contains("neither read nor load"), "{chief}");
    let bypass = chief.findings.iter().filter(|finding| finding.message.contains("bypass document validation"));
    assert_eq!(bypass.count(), 1, "{chief}");
}

#[test]
fn an_unknown_name_a_closed_port_and_a_silent_port_have_different_messages() {
    let unknown = examined(&wishes("mongodb://no-such-host.invalid/"));
    check(&unknown, Step::Name, "no address", 3);
    assert_eq!(unknown.findings.len(), 1, "no port must be tried: {unknown}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    check(&examined(&wishes(&direct(port))), Step::Port, "no answer", 3);
    // Nothing listens on port 1. A port that was just closed can belong to another test a moment later.
    check(&examined(&wishes(&direct(1))), Step::Port, "nothing listens", 3);
}

#[test]
fn tls_to_a_plain_port_plain_to_a_tls_port_and_a_certificate_for_another_host_have_different_messages() {
    let authority = Authority::new();
    let plain = Server::builder().standalone().start().expect("starts");
    let trusting = |port| Connection { tls_ca_file: Some(authority.ca_file()), ..wishes(&direct(port)) };
    check(&examined(&trusting(plain.port())), Step::Tls, "does not use TLS", 3);
    let start = |host: &str| {
        let builder = Server::builder().standalone().tls("requireTLS", &authority.server(host), &authority.ca_file());
        builder.start().expect("starts")
    };
    let server = start("127.0.0.1");
    check(&examined(&wishes(&direct(server.port()))), Step::Tls, "accepts only TLS", 3);
    let strict = Connection { tls: true, ..wishes(&direct(server.port())) };
    check(&examined(&strict), Step::Tls, "not signed by a trusted authority", 3);
    let examination = examined(&trusting(server.port()));
    assert_eq!(at(&examination, Step::Tls).message, "on, and the server's certificate is valid", "{examination}");
    check(&examined(&trusting(start("db.clinic.example").port())), Step::Tls, "for another host", 3);
}

#[test]
fn an_unreachable_member_and_a_missing_majority_are_reported() {
    let server = Server::builder().start().expect("starts");
    let reconfigure = async |change: &dyn Fn(&mut Document)| {
        let reply = run(&server, "admin", doc! { "replSetGetConfig": 1 }).await;
        let mut config = reply.get_document("config").expect("a config").clone();
        config.insert("version", config.get_i32("version").expect("a version") + 1);
        change(&mut config);
        run(&server, "admin", doc! { "replSetReconfig": config, "force": true }).await;
    };
    // Adds a member without a vote at port 1, where nothing listens. Later in this test the member gets a vote, so
    // that the server alone is not a majority. Because of the long election timeout, the server stays primary even
    // then.
    block_on(reconfigure(&|config| {
        let member = doc! { "_id": 1, "host": "127.0.0.1:1", "priority": 0, "votes": 0 };
        config.get_array_mut("members").expect("members").push(member.into());
        config.insert("settings", doc! { "electionTimeoutMillis": 120_000 });
    }));
    // After a forced reconfiguration, every command with write concern majority waits, even if it changes nothing.
    // The waiting ends when one write has reached a majority. The next command is this write.
    let durable = doc! { "w": "majority", "j": true, "wtimeout": 60_000 };
    let write = doc! { "insert": "settled", "documents": [{ "_id": 1 }], "writeConcern": durable };
    let reply = block_on(run(&server, "other", write));
    assert!(!reply.contains_key("writeConcernError"), "{reply}");
    let examination = examined(&wishes(&server.uri()));
    let topology = at(&examination, Step::Topology);
    assert!(topology.state == State::Warning, "{examination}");
    assert!(topology.message.contains("member 127.0.0.1:1 of replica set rs0 cannot be reached"), "{examination}");
    assert_eq!(at(&examination, Step::WriteConcern).state, State::Ok, "{examination}");
    assert_eq!(
        at(&examination, Step::Disk).message,
        "the server does not report the free space",
        "the free space of a database that does not exist cannot be known: {examination}"
    );
    block_on(reconfigure(&|config| {
        let members = config.get_array_mut("members").expect("members");
        members[1].as_document_mut().expect("a member").insert("votes", 1);
    }));
    check(&examined(&wishes(&server.uri())), Step::WriteConcern, "no journaled majority acknowledged", 1);
}

#[test]
fn a_validator_that_only_warns_a_low_threshold_for_slow_operations_and_the_profiler_are_reported() {
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        schema::attach(&target, &Spec::built_in(), |_| ()).await.expect("attaches");
        run(&server, "hospital", doc! { "collMod": "admissions", "validationAction": "warn" }).await;
        run(&server, "hospital", doc! { "profile": 0, "slowms": 5 }).await;
    });
    let examination = examined(&wishes(&server.uri()));
    check(&examination, Step::Collection, "only warns", 1);
    assert!(at(&examination, Step::Logging).message.contains("operations over 5 ms are logged"), "{examination}");
    assert!(at(&examination, Step::SignIn).message.contains("accepts everybody without a sign-in"), "{examination}");
    block_on(run(&server, "hospital", doc! { "profile": 2, "slowms": 100 }));
    assert!(at(&examined(&wishes(&server.uri())), Step::Logging).message.contains("profiler of hospital is on"));
}

#[test]
fn a_standalone_server_gives_a_warning() {
    let server = Server::builder().standalone().start().expect("starts");
    let examination = examined(&wishes(&server.uri()));
    assert_eq!(at(&examination, Step::Topology).state, State::Warning, "{examination}");
    let shown = examination.to_string();
    assert!(shown.contains("  topology       warning  a standalone server"), "{shown}");
}
