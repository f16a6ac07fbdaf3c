use mongodb::options::AuthMechanism;

use super::*;
use crate::server::Purpose;

#[test]
fn a_change_that_was_executed_is_acknowledged_by_repeating_it() {
    let check = |command: Document, expected: Option<Document>| assert_eq!(acknowledged_again(&command), expected);
    check(doc! { "createUser": "u", "pwd": "p" }, Some(doc! { "updateUser": "u", "pwd": "p" }));
    check(doc! { "createRole": "r", "roles": [] }, Some(doc! { "updateRole": "r", "roles": [] }));
    check(doc! { "create": "c", "viewOn": "d" }, Some(doc! { "collMod": "c", "viewOn": "d" }));
    check(
        doc! { "create": "c", "validator": {}, "capped": true, "size": 1 },
        Some(doc! { "collMod": "c", "validator": {} }),
    );
    check(doc! { "dropIndexes": "c", "index": "i" }, None);
    check(doc! { "updateUser": "u", "roles": [] }, None);
    check(doc! { "createIndexes": "c", "indexes": [] }, None);
    check(doc! {}, None);
    for code in [48, 51_002, 51_003, 27, 26, 112] {
        let failure = Failure::of_code(code, "", None);
        let found = [1, 2, 10].map(|attempt| was_done_before(attempt, &failure));
        assert_eq!(found, if matches!(code, 26 | 112) { [false; 3] } else { [false, true, true] }, "{code}");
    }
}

fn settle(wishes: &Connection, pairs: &[(&str, &str)]) -> Result<Destination, ServerError> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::from_parts(pairs, Path::new("/nonexistent"))?;
    Destination::settle(wishes, &settings, "admissions")
}

fn uri(uri: &str) -> Connection {
    Connection { uri: Some(uri.into()), ..Connection::default() }
}

#[test]
fn the_command_line_precedes_the_uri_and_the_uri_precedes_the_environment() {
    let check = |wishes: &Connection, pairs: &[(&str, &str)], expected: &str| {
        assert_eq!(settle(wishes, pairs).expect("valid settings").database, expected);
    };
    let named = |path: &str| Connection { database: Some("ward".to_owned()), ..uri(path) };
    check(&named("mongodb://h/clinic"), &[("DB_NAME", "env")], "ward");
    check(&uri("mongodb://h/clinic"), &[("DB_NAME", "env")], "clinic");
    check(&uri("mongodb://h/"), &[("DB_NAME", "env")], "env");
    check(&uri("mongodb://h/admin"), &[], "hospital");
    check(&uri("mongodb://h/"), &[("DB_NAME", "")], "hospital");
    for reserved in ["admin", "local", "config", "a.b", ""] {
        let wishes = Connection { database: Some(reserved.to_owned()), ..uri("mongodb://h/") };
        assert!(settle(&wishes, &[]).is_err(), "{reserved}");
    }
}

#[test]
fn the_first_given_user_signs_in() {
    let environment = [("WRITER_USER", "scribe"), ("WRITER_PASS", "w"), ("READER_PASS", "r"), ("MONGO_ROOT_PASS", "m")];
    let check = |wishes: &Connection, user: &str, password: &str, source: Option<&str>| {
        let credential = settle(wishes, &environment).expect("valid settings").uri.credential.expect("a sign-in");
        let shown = |text: Option<String>| text.unwrap_or_default();
        assert_eq!((shown(credential.username).as_str(), shown(credential.password).as_str()), (user, password));
        assert_eq!(credential.source.as_deref(), source);
    };
    let purpose = |purpose| Connection { purpose, ..uri("mongodb://h/") };
    check(&purpose(Purpose::Load), "scribe", "w", Some("hospital"));
    check(&purpose(Purpose::Read), "reader", "r", Some("hospital"));
    check(&purpose(Purpose::Administer), "admin", "m", Some("admin"));
    check(&uri("mongodb://u:p@h/?authSource=x"), "u", "p", Some("x"));
    let named = |name: &str| Connection { username: Some(name.to_owned()), ..uri("mongodb://u:p@h/") };
    check(&named("scribe"), "scribe", "w", Some("hospital"));
    // `READER_USER` is not set, so the account of the reader has its default name, `reader`.
    check(&named("reader"), "reader", "r", Some("hospital"));
    check(&named("admin"), "admin", "m", Some("admin"));
    check(&Connection { password: Some("q".into()), ..named("v") }, "v", "q", Some("admin"));
    let unset = |name: &str| settle(&named(name), &environment).expect_err("no password").to_string();
    assert!(unset("stranger").contains("user `stranger`; use -p to enter it, or write its name and"));
    assert!(unset("loader").ends_with("user `loader`; use -p to enter it, or set LOADER_PASS or LOADER_PASS_FILE"));
    let template = [("LOADER_USER", "loader"), ("LOADER_PASS", ""), ("WRITER_PASS", "w")];
    let loads = settle(&purpose(Purpose::Load), &template).expect("valid settings").uri.credential.expect("a sign-in");
    assert_eq!(loads.username.as_deref(), Some("writer"));
    assert!(settle(&purpose(Purpose::Load), &template[..2]).is_err());
    assert!(settle(&uri("mongodb://h/"), &[]).expect("valid settings").uri.credential.is_none());
}

#[test]
fn a_user_without_auth_database_may_be_in_two_databases() {
    let check = |wishes: &Connection, pairs: &[(&str, &str)], expected: [Option<&str>; 2], account: Option<Account>| {
        let settled = settle(wishes, pairs).expect("valid settings");
        let source = settled.uri.credential.expect("a sign-in").source;
        assert_eq!([source.as_deref(), settled.other_auth_database.as_deref()], expected, "{wishes:?}");
        assert_eq!(settled.account, account, "{wishes:?}");
    };
    let named = |text: &str| Connection {
        username: Some("ann".to_owned()),
        password: Some("q".into()),
        database: Some("ward".to_owned()),
        ..uri(text)
    };
    let (reader, writer) = ([("READER_USER", "ann")], Some(Account::Writer));
    check(&named("mongodb://h/"), &[], [Some("admin"), Some("ward")], None);
    check(&named("mongodb://h/"), &reader, [Some("ward"), Some("admin")], Some(Account::Reader));
    let administers = Connection { purpose: Purpose::Administer, ..named("mongodb://h/") };
    check(&administers, &reader, [Some("admin"), Some("ward")], Some(Account::Reader));
    check(&named("mongodb://h/other"), &[], [Some("other"), Some("ward")], None);
    check(&named("mongodb://h/ward"), &reader, [Some("ward"), Some("admin")], Some(Account::Reader));
    check(&named("mongodb://h/?authSource=x"), &reader, [Some("x"), None], None);
    let given = Connection { auth_database: Some("ward".to_owned()), ..named("mongodb://h/") };
    check(&given, &reader, [Some("ward"), None], Some(Account::Reader));
    // If the user is not from `--username`, only one database is tried.
    check(&uri("mongodb://ann:q@h/"), &reader, [Some("admin"), None], None);
    check(&uri("mongodb://writer:q@h/ward"), &[], [Some("ward"), None], writer);
    check(&uri("mongodb://h/ward"), &[("WRITER_PASS", "q")], [Some("ward"), None], writer);
    let root = Connection { purpose: Purpose::Administer, ..uri("mongodb://h/") };
    check(&root, &[("MONGO_ROOT_PASS", "q")], [Some("admin"), None], None);
}

#[test]
fn names_like_connection_strings_are_refused_and_no_password_is_shown() {
    let secret = "mongodb://u:pa55@h/";
    let refused = |wishes: &Connection, pairs: &[(&str, &str)]| {
        let problem = settle(wishes, pairs).expect_err("refused").to_string();
        assert!(problem.contains("looks like a connection string") && !problem.contains("pa55"), "{problem}");
    };
    refused(&uri("mongodb://h/"), &[("COLLECTION_NAME", secret)]);
    refused(&uri("mongodb://h/"), &[("DB_NAME", secret)]);
    refused(&uri("mongodb://h/"), &[("WRITER_USER", secret), ("WRITER_PASS", "w")]);
    let given = Connection { password: Some("pa55".into()), ..uri("mongodb://u:pa55@h/?authSource=x") };
    let settled = settle(&given, &[]).expect("valid settings");
    assert!(!format!("{given:?} {settled:?}").contains("pa55"));
}

#[test]
fn certificate_files_must_contain_their_pem_sections() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let wishes = Connection { tls_ca_file: Some(empty.path().to_owned()), ..uri("mongodb://h/") };
    let problem = settle(&wishes, &[]).expect_err("refused").to_string();
    assert!(problem.contains("contains no PEM section CERTIFICATE"), "{problem}");
    let missing = Connection { tls_ca_file: Some("/nonexistent/ca.pem".into()), ..uri("mongodb://h/") };
    let problem = settle(&missing, &[]).expect_err("refused").to_string();
    assert!(problem.contains("cannot read /nonexistent/ca.pem"), "{problem}");
}

/// Completes the connection string `text` with the default settings.
fn settled(text: &str) -> ConnectionString {
    settle(&uri(text), &[]).expect("valid settings").uri
}

#[test]
fn connections_use_write_and_read_concern_majority() {
    for options in
        ["", "?w=majority", "?journal=true&readConcernLevel=majority&readPreference=primary", "?retryWrites=true"]
    {
        let uri = settled(&format!("mongodb://h/{options}"));
        let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        assert_eq!(uri.write_concern, Some(concern), "{options}");
        assert_eq!(uri.read_concern, Some(ReadConcern::majority()), "{options}");
        assert_eq!(uri.read_preference, Some(ReadPreference::Primary), "{options}");
        assert_eq!(uri.retry_writes, Some(false), "{options}");
    }
    for options in ["wTimeoutMS=5000", "w=majority&journal=true&wTimeoutMS=5000"] {
        let concern = settled(&format!("mongodb://h/?{options}")).write_concern.expect("a write concern");
        assert_eq!(concern.w_timeout, Some(Duration::from_secs(5)));
        assert_eq!((concern.w, concern.journal), (Some(Acknowledgment::Majority), Some(true)));
    }
}

#[test]
fn options_that_are_not_in_the_uri_have_defaults() {
    let found = |text: &str| {
        let uri = settled(text);
        (uri.app_name.unwrap_or_default(), uri.server_selection_timeout, uri.max_pool_size)
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(found("mongodb://h/"), ("medlift".to_owned(), seconds(10), Some(32)));
    let given = "mongodb://h/?appName=ward&serverSelectionTimeoutMS=3000&maxPoolSize=5";
    assert_eq!(found(given), ("ward".to_owned(), seconds(3), Some(5)));
}

#[test]
fn connections_to_this_machine_are_not_compressed() {
    let is_compressed = |hosts: &str| settled(&format!("mongodb://{hosts}/?compressors=zstd")).compressors.is_some();
    for hosts in ["localhost", "127.0.0.1:27018", "127.9.9.9", "[::1]:27017", "localhost,127.0.0.1:1"] {
        assert!(!is_compressed(hosts), "{hosts}");
    }
    for hosts in ["h", "10.0.0.1", "localhost,h", "h,localhost", "localhost.example", "[::2]"] {
        assert!(is_compressed(hosts), "{hosts}");
    }
    assert!(settled("mongodb://h/").compressors.is_none());
}

#[test]
fn the_collection_comes_from_command_line_environment_or_spec() {
    let check = |given: Option<&str>, pairs: &[(&str, &str)], expected: &str| {
        let wishes = Connection { collection: given.map(str::to_owned), ..uri("mongodb://h/") };
        assert_eq!(settle(&wishes, pairs).expect("valid settings").collection, expected);
    };
    check(Some("typed"), &[("COLLECTION_NAME", "env")], "typed");
    check(None, &[("COLLECTION_NAME", "env")], "env");
    check(None, &[("COLLECTION_NAME", "")], "admissions");
    check(None, &[], "admissions");
}

#[test]
fn the_uri_comes_from_command_line_environment_or_is_local() {
    let hosts = |wishes: &Connection, pairs: &[(&str, &str)]| {
        host_names(&settle(wishes, pairs).expect("valid settings").uri.host_info)
    };
    let environment = [("MONGODB_URI", "mongodb://env:1")];
    assert_eq!(hosts(&uri("mongodb://a:1,b:2"), &environment), "a:1,b:2");
    assert_eq!(hosts(&Connection::default(), &environment), "env:1");
    assert_eq!(hosts(&Connection::default(), &[]), "localhost:27017");
    assert_eq!(hosts(&uri("mongodb+srv://db.example"), &[]), "db.example");
}

#[test]
fn a_database_name_must_be_valid_and_not_reserved() {
    let is_taken = |name: &str| {
        let wishes = Connection { database: Some(name.to_owned()), ..uri("mongodb://h/") };
        settle(&wishes, &[]).is_ok()
    };
    for name in ["a/b", "a\\b", "a b", "a\"b", "a$b", "a.b", "a\0b", "", "admin", "local", "config"] {
        assert!(!is_taken(name), "{name:?}");
    }
    for name in ["hospital", "Admin", "a-b_c", "adminx"] {
        assert!(is_taken(name), "{name:?}");
    }
    for reserved in ["admin", "local", "config"] {
        let database =
            settle(&uri(&format!("mongodb://h/{reserved}")), &[("DB_NAME", "env")]).expect("valid settings").database;
        assert_eq!(database, "env");
    }
}

#[test]
fn each_purpose_has_its_accounts_in_order() {
    use Account::{Admin, Analyst, Loader, Reader, Root, Writer};
    let check = |purpose: Purpose, expected: &[Account]| assert_eq!(purpose.accounts(), expected, "{purpose:?}");
    check(Purpose::Load, &[Loader, Writer]);
    check(Purpose::Read, &[Reader, Loader, Writer]);
    check(Purpose::Administer, &[Root]);
    for account in Account::ALL {
        check(Purpose::As(account), &[account]);
    }
    assert_eq!(Account::ALL, [Root, Admin, Writer, Reader, Loader, Analyst]);
}

#[test]
fn another_user_signs_in_with_its_own_auth_database() {
    let first = Connection { username: Some("u".into()), password: Some("p".into()), ..uri("mongodb://h/") };
    let other = settle(&first, &[]).expect("valid settings").as_user("ann", &"pw".into(), "ward");
    assert_eq!((other.other_auth_database, other.account), (None, None));
    let credential = other.uri.credential.expect("a sign-in");
    let found = (credential.username.as_deref(), credential.password.as_deref(), credential.source.as_deref());
    assert_eq!(found, (Some("ann"), Some("pw"), Some("ward")));
}

#[test]
fn the_password_in_the_uri_is_not_used_for_another_user() {
    let password = |name: &str| {
        let wishes = Connection { username: Some(name.to_owned()), ..uri("mongodb://u:p@h/") };
        settle(&wishes, &[]).map(|settled| settled.uri.credential.expect("a sign-in").password)
    };
    assert_eq!(password("u").expect("valid settings").as_deref(), Some("p"));
    assert!(password("v").is_err());
    let wishes = Connection {
        password: Some("q".into()),
        auth_database: Some("y".into()),
        ..uri("mongodb://u:p@h/?authSource=x")
    };
    let credential = settle(&wishes, &[]).expect("valid settings").uri.credential.expect("a sign-in");
    assert_eq!((credential.password.as_deref(), credential.source.as_deref()), (Some("q"), Some("y")));
}

/// Makes a file with these PEM sections.
fn pem(sections: &[&str]) -> tempfile::NamedTempFile {
    let text: String = sections.iter().flat_map(|name| ["-----BEGIN ", name, "-----\nAA==\n"]).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> PathBuf {
    file.path().to_owned()
}

#[test]
fn a_certificate_or_an_authority_implies_tls_and_a_certificate_signs_in() {
    let (authority, certificate) = (pem(&["CERTIFICATE"]), pem(&["PRIVATE KEY", "CERTIFICATE"]));
    let both = || Connection {
        tls_ca_file: Some(path(&authority)),
        tls_certificate_key_file: Some(path(&certificate)),
        ..uri("mongodb://h/")
    };
    let settled = settle(&both(), &[("WRITER_PASS", "w")]).expect("valid settings");
    assert_eq!(settled.files(), [authority.path(), certificate.path()]);
    let credential = settled.uri.credential.expect("a sign-in");
    assert_eq!((credential.mechanism, credential.username), (Some(AuthMechanism::MongoDbX509), None));
    assert_eq!((credential.source.as_deref(), credential.password), (Some("$external"), None));
    // If `--username` names a user, this user signs in with a password, even if there is a client certificate.
    let named = Connection { username: Some("u".into()), password: Some("p".into()), ..both() };
    let credential = settle(&named, &[]).expect("valid settings").uri.credential.expect("a sign-in");
    assert_eq!((credential.mechanism, credential.username.as_deref()), (None, Some("u")));
    // The files of the command line take precedence over those of the connection string.
    let in_uri = format!("mongodb://h/?tls=true&tlsCAFile={}", certificate.path().display());
    let given = Connection { tls_ca_file: Some(path(&authority)), ..uri(&in_uri) };
    assert_eq!(settle(&given, &[]).expect("valid settings").files(), [authority.path()]);
    assert_eq!(settle(&uri(&in_uri), &[]).expect("valid settings").files(), [certificate.path()]);
    assert_eq!(settle(&uri("mongodb://h/"), &[]).expect("valid settings").files(), [""; 0].map(PathBuf::from));
    let off = Connection { tls_ca_file: Some(path(&authority)), ..uri("mongodb://h/?tls=false") };
    assert!(matches!(settle(&off, &[]).expect("valid settings").uri.tls, Some(Tls::Enabled(_))));
    let plain = settle(&uri("mongodb://h/?tls=false"), &[]).expect("valid settings").uri.tls;
    assert!(matches!(plain, Some(Tls::Disabled)));
    let alone = Connection { tls_certificate_key_file: Some(path(&certificate)), ..uri("mongodb://h/") };
    // Without other settings, the system's authorities are trusted, if the system has any.
    assert!(settle(&alone, &[]).map_or(true, |settled| settled.files().contains(&certificate.path().to_owned())));
}

#[test]
fn a_client_certificate_needs_its_key_and_its_certificate() {
    let authority = pem(&["CERTIFICATE"]);
    for (sections, part) in [
        (&["CERTIFICATE"][..], "contains no PEM section PRIVATE KEY"),
        (&["RSA PRIVATE KEY"], "contains no PEM section CERTIFICATE"),
    ] {
        let certificate = pem(sections);
        let wishes = Connection {
            tls_ca_file: Some(path(&authority)),
            tls_certificate_key_file: Some(path(&certificate)),
            ..uri("mongodb://h/")
        };
        let problem = settle(&wishes, &[]).expect_err("refused").to_string();
        assert!(problem.contains(part) && problem.contains("--tls-certificate-key-file"), "{problem}");
    }
}
