//! Tests of connections to a real server, and of the message for each cause of a failure.

use std::net::TcpListener;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bson::doc;
use medlift::server::{
    CertificateFault, Connection, Destination, Failure, Purpose, Secret, ServerError, Settings, SignIn, Target,
    Unreachable,
};
use testkit::mongod::Server;

use crate::certificates::Authority;

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// Creates settings that contain only `pairs`. The machine's environment has no effect on them.
pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_parts(pairs, Path::new("/nonexistent")).expect("settings")
}

pub(crate) fn wishes(uri: &str) -> Connection {
    Connection { uri: Some(uri.into()), ..Connection::default() }
}

pub(crate) async fn connect(wishes: &Connection) -> Result<Target, ServerError> {
    Destination::settle(wishes, &settings(&[]), "admissions")?.connect().await
}

fn failure(wishes: &Connection) -> Failure {
    match block_on(connect(wishes)) {
        Err(ServerError::Connect { failure, .. }) => failure,
        other => panic!("expected a failed connection: {other:?}"),
    }
}

/// One server with access control and two users, shared by the tests that only sign in.
fn guarded() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::builder().access_control().start().expect("starts");
        block_on(async {
            let root = connect(&wishes(&server.uri())).await.expect("signs in");
            let user = doc! { "createUser": "writer", "pwd": "Wr1ter-pass", "roles": ["readWrite"] };
            root.db().run_command(user).await.expect("makes a user");
            let user = doc! { "createUser": "nobody", "pwd": "N0body-pass", "roles": [] };
            root.db().run_command(user).await.expect("makes a user");
        });
        server
    })
}

fn direct(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=1500")
}

fn user(name: &str, password: &str, auth_database: Option<&str>) -> Connection {
    Connection {
        username: Some(name.to_owned()),
        password: Some(password.into()),
        auth_database: auth_database.map(str::to_owned),
        ..wishes(&guarded().uri_anonymous())
    }
}

#[test]
fn signs_in_with_majority_concerns() {
    let writer = user("writer", "Wr1ter-pass", Some("hospital"));
    block_on(async {
        let target = connect(&writer).await.expect("connects");
        assert_eq!((target.database.as_str(), target.collection.as_str()), ("hospital", "admissions"));
        assert_eq!(target.user.as_deref(), Some("writer"));
        assert!(target.is_local && !target.is_certificate_sign_in, "{target:?}");
        assert!(!format!("{target:?} {target:#?}").contains("Wr1ter-pass"));
        let concern = target.client.write_concern().expect("a write concern");
        assert_eq!((concern.journal, &concern.w), (Some(true), &Some(mongodb::options::Acknowledgment::Majority)));
        let level = &target.client.read_concern().expect("a read concern").level;
        assert_eq!(*level, mongodb::options::ReadConcernLevel::Majority);
        let info = target.db().run_command(doc! { "connectionStatus": 1 }).await.expect("runs");
        assert!(info.to_string().contains("writer"));
    });
}

#[test]
fn signs_in_as_the_environments_user_for_the_purpose() {
    let variables = [
        ("MONGODB_URI", guarded().uri_anonymous()),
        ("WRITER_USER", "writer".to_owned()),
        ("WRITER_PASS", "Wr1ter-pass".to_owned()),
        ("COLLECTION_NAME", "stays".to_owned()),
    ];
    let pairs = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let destination = Destination::settle(&Connection::default(), &settings(&pairs), "admissions").expect("settles");
    let target = block_on(destination.connect()).expect("connects");
    assert_eq!((target.user.as_deref(), target.collection.as_str()), (Some("writer"), "stays"));
}

#[test]
fn a_wrong_password_an_unknown_user_and_a_wrong_auth_database_are_different_failures() {
    let names = |user: &str, database: &str| (user.to_owned(), database.to_owned());
    let (user_name, database) = names("writer", "hospital");
    let wrong = SignIn::WrongPassword { user: user_name.clone(), databases: vec![database] };
    assert_eq!(failure(&user("writer", "guess", Some("hospital"))), Failure::SignIn(wrong));
    // The user may also be stored in the database that the path of the connection string names.
    let in_path = Connection {
        uri: Some(guarded().uri_anonymous().replacen("/?", "/hospital?", 1).as_str().into()),
        database: Some("ward".to_owned()),
        ..user("writer", "Wr1ter-pass", Some("elsewhere"))
    };
    let (user_name, data) = names("writer", "ward");
    let elsewhere = SignIn::OtherDatabase { user: user_name, data, found: "hospital".to_owned() };
    assert_eq!(failure(&in_path), Failure::SignIn(elsewhere));
    let (user_name, database) = names("stranger", "hospital");
    let unknown = SignIn::UnknownUser { user: user_name, databases: vec![database], created_in: None };
    assert_eq!(failure(&user("stranger", "guess", Some("hospital"))), Failure::SignIn(unknown));
}

#[test]
fn a_user_without_auth_database_is_searched_in_admin_and_in_the_database_of_the_data() {
    let sign_in = |user: &Connection, pairs: &[(&str, &str)]| {
        block_on(Destination::settle(user, &settings(pairs), "admissions").expect("settles").connect())
    };
    let named = [("WRITER_USER", "writer")];
    for pairs in [&[][..], &named] {
        let target = sign_in(&user("writer", "Wr1ter-pass", None), pairs).expect("signs in");
        assert_eq!(target.user.as_deref(), Some("writer"));
    }
    let root = guarded().root_password().expect("a password");
    sign_in(&user("root", root, None), &[]).expect("signs in");
    let failed = |user: &Connection, pairs: &[(&str, &str)]| sign_in(user, pairs).expect_err("refused").to_string();
    let wrong = failed(&user("writer", "guess", None), &[]);
    assert!(wrong.ends_with("wrong password for user `writer` of database `hospital`"), "{wrong}");
    let unknown = failed(&user("stranger", "guess", None), &[]);
    assert!(unknown.contains("neither database `admin` nor database `hospital` has a user `stranger`"), "{unknown}");
    let early = failed(&user("scribe", "guess", None), &[("LOADER_USER", "scribe")]);
    let expected = "neither database `hospital` nor database `admin` has a user `scribe`; check the spelling of --db \
                    (or DB_NAME): if the name `hospital` is right, `medlift provision --db hospital` creates this user";
    assert!(early.ends_with(expected), "{early}");
    // If the settings name `admin` as the database of the user, a user of another database is refused.
    let elsewhere = failed(&user("writer", "Wr1ter-pass", Some("admin")), &[]);
    assert!(elsewhere.contains("user `writer` is not in `admin` but in `hospital`"), "{elsewhere}");
}

#[test]
fn a_missing_user_is_reported_by_a_server_with_access_control() {
    assert_eq!(failure(&wishes(&guarded().uri_anonymous())), Failure::SignIn(SignIn::Missing));
}

#[test]
fn a_missing_privilege_names_the_command_and_not_the_document() {
    let nobody = user("nobody", "N0body-pass", Some("hospital"));
    block_on(async {
        let target = connect(&nobody).await.expect("signs in");
        let insert = doc! { "insert": "admissions", "documents": [{ "Name": "Canary Carter" }] };
        let failure = Failure::of(&target.db().run_command(insert).await.expect_err("refused"));
        assert_eq!(failure, Failure::NotAuthorized { command: Some("insert".to_owned()) });
        assert!(!failure.to_string().contains("Canary") && failure.exit_code() == 1);
    });
}

#[test]
fn a_closed_port_a_silent_port_and_an_unknown_name_are_different_failures() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    assert_eq!(failure(&wishes(&direct(port))), Failure::Unreachable(Unreachable::Silent));
    // Nothing listens on port 1. A port that was just closed can belong to another test a moment later.
    assert_eq!(failure(&wishes(&direct(1))), Failure::Unreachable(Unreachable::Refused));
    let nowhere = "mongodb://no-such-host.invalid/?serverSelectionTimeoutMS=1500";
    assert_eq!(failure(&wishes(nowhere)), Failure::Unreachable(Unreachable::Name));
}

#[test]
fn a_wrong_replica_set_name_is_reported() {
    let server = Server::builder().start().expect("starts");
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet=other&serverSelectionTimeoutMS=1500", server.port());
    assert_eq!(failure(&wishes(&uri)), Failure::Unreachable(Unreachable::OtherReplicaSet));
}

#[test]
fn an_uninitiated_replica_set_has_no_primary() {
    let server = Server::builder().standalone().argument("--replSet").argument("rs1").start().expect("starts");
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet=rs1&serverSelectionTimeoutMS=1500", server.port());
    assert_eq!(failure(&wishes(&uri)), Failure::Unreachable(Unreachable::NoPrimary));
}

#[test]
fn tls_to_a_plain_port_and_plain_to_a_tls_port_are_different_failures() {
    let authority = Authority::new();
    let plain = Server::builder().standalone().start().expect("starts");
    let asked = Connection { tls_ca_file: Some(authority.ca_file()), ..wishes(&direct(plain.port())) };
    assert_eq!(failure(&asked), Failure::TlsRefused);
    let tls = Server::builder().standalone().tls("requireTLS", &authority.server("127.0.0.1"), &authority.ca_file());
    let tls = tls.start().expect("starts");
    assert_eq!(failure(&wishes(&direct(tls.port()))), Failure::TlsRequired);
}

/// Starts a standalone server that requires TLS and has the given certificate.
fn tls_server(authority: &Authority, certificate: &Path) -> Server {
    let builder = Server::builder().standalone().tls("requireTLS", certificate, &authority.ca_file());
    builder.start().expect("starts")
}

#[test]
fn a_valid_certificate_of_a_given_authority_is_trusted() {
    let authority = Authority::new();
    let server = tls_server(&authority, &authority.server("127.0.0.1"));
    let asked = Connection { tls_ca_file: Some(authority.ca_file()), ..wishes(&direct(server.port())) };
    block_on(connect(&asked)).expect("connects");
}

#[test]
fn an_expired_certificate_is_reported() {
    let authority = Authority::new();
    // A server does not start with an expired certificate. On a busy machine a start takes long, so longer and longer
    // lifetimes are tried.
    let started = [5, 10, 20, 40].into_iter().find_map(|seconds| {
        let expires = Instant::now() + Duration::from_secs(seconds + 1);
        let certificate = authority.short_lived_server("127.0.0.1", seconds);
        let server = Server::builder().standalone().tls("requireTLS", &certificate, &authority.ca_file()).start();
        Some((server.ok()?, expires))
    });
    let (server, expires) = started.expect("a server must start before its certificate expires");
    std::thread::sleep(expires.saturating_duration_since(Instant::now()));
    let asked = Connection { tls_ca_file: Some(authority.ca_file()), ..wishes(&direct(server.port())) };
    assert_eq!(failure(&asked), Failure::Certificate(CertificateFault::Expired));
}

#[test]
fn a_certificate_for_another_host_and_an_untrusted_certificate_are_different_failures() {
    let authority = Authority::new();
    let check = |certificate: &Path, ca_file: Option<&Path>, expected: CertificateFault| {
        let server = tls_server(&authority, certificate);
        let tls_ca_file = ca_file.map(Path::to_owned);
        let asked = Connection { tls: true, tls_ca_file, ..wishes(&direct(server.port())) };
        assert_eq!(failure(&asked), Failure::Certificate(expected));
    };
    let trusted = authority.ca_file();
    check(&authority.server("db.clinic.example"), Some(&trusted), CertificateFault::WrongHost);
    check(&authority.server("127.0.0.1"), Some(&Authority::new().ca_file()), CertificateFault::UnknownIssuer);
    check(&authority.server("127.0.0.1"), None, CertificateFault::UnknownIssuer);
}

#[test]
fn a_missing_client_certificate_is_reported() {
    let authority = Authority::new();
    let files = [authority.server("127.0.0.1"), authority.ca_file()].map(|path| path.display().to_string());
    let [certificate, ca] = files;
    let arguments = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", &certificate, "--tlsCAFile", &ca];
    let builder = Server::builder().standalone();
    let server = arguments.into_iter().fold(builder, testkit::mongod::Builder::argument);
    let server = server.start().expect("starts");
    let asked = Connection { tls_ca_file: Some(authority.ca_file()), ..wishes(&direct(server.port())) };
    assert_eq!(failure(&asked), Failure::ClientCertificate);
    let stranger = Authority::new();
    let with = |certificate| Connection { tls_certificate_key_file: Some(certificate), ..asked.clone() };
    assert_eq!(failure(&with(stranger.client("stranger"))), Failure::ClientCertificate);
}

#[test]
fn signs_in_by_client_certificate() {
    let authority = Authority::new();
    let builder = Server::builder().access_control();
    let server =
        builder.tls("requireTLS", &authority.server("127.0.0.1"), &authority.ca_file()).start().expect("starts");
    let known = authority.client("loader");
    let by = |certificate: &Path| Connection {
        tls_certificate_key_file: Some(certificate.to_owned()),
        ..wishes(&server.uri_anonymous())
    };
    assert_eq!(failure(&by(&known)), Failure::SignIn(SignIn::UnknownCertificate));
    block_on(async {
        let root = connect(&wishes(&server.uri())).await.expect("signs in");
        let roles = [doc! { "role": "readWrite", "db": "hospital" }];
        let user = doc! { "createUser": "CN=loader,OU=clinic", "roles": roles };
        root.client.database("$external").run_command(user).await.expect("makes a user");
        let target = connect(&by(&known)).await.expect("signs in");
        assert!(target.is_certificate_sign_in && target.user.is_none(), "{target:?}");
        let insert = doc! { "insert": "admissions", "documents": [{ "_id": 1 }] };
        target.db().run_command(insert).await.expect("may write");
    });
}

#[test]
fn a_server_that_dies_after_the_sign_in_is_a_lost_connection() {
    let mut server = Server::builder().start().expect("starts");
    block_on(async {
        let target =
            connect(&wishes(&format!("{}&serverSelectionTimeoutMS=1500", server.uri()))).await.expect("connects");
        server.kill().expect("dies");
        let error = target.documents().count_documents(doc! {}).await.expect_err("gone");
        let failure = Failure::of(&error);
        assert!(matches!(failure, Failure::Unreachable(_)) && failure.is_retryable(), "{failure:?}");
    });
}

#[test]
fn passwords_are_read_from_files_and_the_environment_overrides_the_env_file() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("writer.pass"), "from-a-file\n").expect("writes");
    let file =
        "WRITER_USER=writer\nWRITER_PASS_FILE=writer.pass\nDB_NAME=from_file\nREADER_USER=reader\nREADER_PASS=\n";
    std::fs::write(dir.path().join(".env"), file).expect("writes");
    let environment = [("DB_NAME".to_owned(), "from_environment".to_owned())];
    let settings = Settings::from_parts(environment.into_iter(), dir.path()).expect("reads");
    assert_eq!(settings.get("DB_NAME"), Some("from_environment"));
    let password = settings.secret("WRITER_PASS").expect("reads").expect("is set");
    assert_eq!(password.reveal(), "from-a-file");
    let reads = Connection { purpose: Purpose::Read, ..Connection::default() };
    assert!(
        Destination::settle(&reads, &settings, "admissions").is_ok(),
        "without a password of a reader or loader, the settings must select the writer for reading"
    );
    // An editor on Windows may write a byte order mark. It is not part of the first name.
    std::fs::write(dir.path().join(".env"), "\u{feff}READER_USER=reader\nREADER_PASS=\n").expect("writes");
    let settings = Settings::from_parts(std::iter::empty(), dir.path()).expect("reads");
    let unset = Destination::settle(&reads, &settings, "admissions");
    let message = unset.expect_err("no password").to_string();
    assert_eq!(
        message,
        "READER_USER is set, but its password is not; set READER_PASS or READER_PASS_FILE, or sign in with -u and -p"
    );
}

#[test]
fn the_error_of_an_invalid_env_file_does_not_quote_it() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join(".env"), "WRITER_PASS=pa55 word'\n").expect("writes");
    let error = Settings::from_parts(std::iter::empty(), dir.path()).err().expect("broken").to_string();
    assert!(error.contains("the value of WRITER_PASS cannot be read") && !error.contains("pa55"), "{error}");
    let shown = format!("{:?}", Connection { password: Some(Secret::from("pa55")), ..wishes("mongodb://u:pa55@h/") });
    assert!(!shown.contains("pa55"), "{shown}");
}
