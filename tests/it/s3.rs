//! Tests of sources and rejects in S3, with moto, an S3 server for tests, and a real mongod. If moto cannot be started,
//! the tests print a notice and do nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;
use testkit::s3::{Fault, Moto, Proxy};

use crate::bad_days::{SLOW_ROWS, SLOWLY, stop_midway, summary};
use crate::load::{ENDS, Place, counts, text};
use crate::program::{Medlift, medlift};
use crate::server::{shared, slow_server};

/// The bucket of one test, and the place of the test: its directory and its database.
struct S3 {
    place: Place,
    moto: &'static Moto,
    bucket: String,
}

impl S3 {
    fn new(purpose: &str) -> Option<Self> {
        let moto = Moto::shared()?;
        let place = Place::new(purpose);
        let bucket = place.database.replace('_', "-");
        moto.create_bucket(&bucket).expect("created");
        Some(Self { place, moto, bucket })
    }

    fn put(&self, key: &str, content: &[u8]) -> String {
        self.moto.put(&format!("{}/{key}", self.bucket), content).expect("stored");
        self.address(key)
    }

    fn get(&self, key: &str) -> Vec<u8> {
        self.moto.get(&format!("{}/{key}", self.bucket)).expect("an object")
    }

    fn keys(&self) -> Vec<String> {
        self.moto.keys(&self.bucket).expect("a list")
    }

    fn address(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Returns a command with the test's directory as its working directory, and without credentials for S3.
    fn command(&self, arguments: &[&str]) -> Medlift {
        medlift(arguments.iter().chain(&["--quiet"]))
            .env("AWS_ENDPOINT_URL", self.moto.url())
            .env("MONGODB_URI", shared().uri())
            .env("DB_NAME", &self.place.database)
            .dir(self.place.dir.path())
    }

    fn run(&self, arguments: &[&str], code: i32) -> Json {
        let run = with_keys(self.command(&[arguments, &["--json"]].concat())).run().expect_code(code);
        serde_json::from_str(&run.stdout).expect("the result is JSON")
    }
}

fn with_keys(command: Medlift) -> Medlift {
    command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", SECRET)
}

const SECRET: &str = "a-secret-key";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("compressed");
    gzip.finish().expect("compressed")
}

#[test]
fn objects_are_loaded_verified_and_exported_like_files() {
    let Some(s3) = S3::new("s3_load") else { return };
    let (one, two) = (s3.place.sample("one.csv", 400, "heavy"), s3.place.sample("two.csv", 300, "none"));
    let two = fs::read_to_string(two).unwrap().replace(",Aetna,", ",Aetna Ltd,");
    let files = s3.run(&["load", "--dry-run", one.to_str().unwrap(), "--rejects", "files.csv"], 4);
    s3.put("2026/one.csv.gz", &gzip(&fs::read(&one).unwrap()));
    s3.put("2026/two.csv.zst", &zstd::encode_all(two.as_bytes(), 1).unwrap());
    s3.put("2026/notes.txt", b"not a table");
    let exact = s3.run(&["load", "--dry-run", &s3.address("2026/one.csv.gz"), "--rejects", "objects.csv"], 4);
    assert_eq!(counts(&exact, &ENDS), counts(&files, &ENDS));
    let rejects = |name: &str| fs::read(s3.place.dir.path().join(name)).unwrap();
    assert!(rejects("objects.csv") == rejects("files.csv"));

    let pattern = s3.address("2026/*.csv.*");
    let loaded = s3.run(&["load", &pattern], 4);
    assert_eq!(counts(&loaded, &["read"]), [counts(&files, &["read"])[0] + 300]);
    assert_eq!(loaded["verification"]["missing"], 0, "{loaded}");
    assert!(rejects("one.csv.gz.rejects.csv") == rejects("files.csv"), "the rejects are in the working directory");
    let again = s3.run(&["load", &pattern], 4);
    assert_eq!(again["outcome"], "already loaded, verified instead", "{again}");
    let proof = s3.run(&["verify", &pattern], 0);
    assert_eq!(proof["equal"], loaded["verification"]["equal"], "{proof}");
    with_keys(s3.command(&["export", "--out", "all.csv"])).run().expect_code(0);
    let lines = fs::read_to_string(s3.place.dir.path().join("all.csv")).unwrap().lines().count() as u64;
    assert_eq!(lines - 1, counts(&loaded, &["written"])[0]);

    s3.put("2026/two.csv.zst", &zstd::encode_all(two.replace(",Urgent,", ",Elective,").as_bytes(), 1).unwrap());
    let replaced = s3.run(&["load", &pattern, "--rejects", "third.csv"], 4);
    assert_eq!(counts(&replaced, &["read"]), counts(&loaded, &["read"]), "a replaced object must be loaded");
    assert!(counts(&replaced, &["written"])[0] > 0, "{replaced}");
}

#[test]
fn a_killed_load_of_an_object_is_resumed() {
    let Some(s3) = S3::new("s3_killed") else { return };
    let bytes = fs::read(s3.place.long_rows("a.csv", SLOW_ROWS, "heavy")).unwrap();
    let object = s3.put("a.csv", &bytes);
    let whole = s3.run(&["load", &object, "--no-verify", "--rejects", "whole.csv"], 4);
    let server = slow_server();
    let load = || {
        let arguments = [&["load", &object, "--json"], &SLOWLY[..]].concat();
        with_keys(s3.command(&arguments)).env("MONGODB_URI", server.uri())
    };
    stop_midway(load().start(), &server, &s3.place.database, "KILL");
    let resumed = summary(&load().run().expect_code(4));
    assert_eq!(counts(&resumed, &ENDS), counts(&whole, &ENDS));
    assert_eq!(resumed["digest"], whole["digest"]);
    let number = |name: &str| resumed[name].as_f64().unwrap();
    let rows_of_its_own = number("rows_per_second") * number("seconds");
    assert!(rows_of_its_own < f64::from(SLOW_ROWS) - 1.0, "{resumed}");
    let rejects = |name: &str| fs::read(s3.place.dir.path().join(name)).unwrap();
    assert!(rejects("a.csv.rejects.csv") == rejects("whole.csv"));
}

#[test]
fn each_error_says_what_to_do_and_no_secret() {
    let Some(s3) = S3::new("s3_errors") else { return };
    s3.put("empty.csv", b"");
    s3.put("a.csv", &fs::read(s3.place.sample("a.csv", 5, "none")).unwrap());
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let run = with_keys(s3.command(&[&["load", "--dry-run"], arguments].concat())).run().expect_code(code);
        assert!(run.stderr.contains(expected) && !run.stderr.contains(SECRET), "{}", run.stderr);
    };
    check(&["s3://no-such-bucket/a.csv"], 1, "has no bucket `no-such-bucket`");
    check(&[&s3.address("b.csv")], 1, "the bucket has no object with this key");
    check(&[&s3.address("empty.csv")], 1, "it is empty");
    check(&[&s3.address("*.gz")], 1, "no object matches this pattern; the bucket has 2 whose key begins with ``");
    check(&[&s3.address("e*.gz")], 1, "the bucket has 1 whose key begins with `e`");
    check(&[&s3.address("a[.csv")], 1, "not a valid glob pattern");
    check(&["s3://bucket"], 2, "give s3://BUCKET/KEY");
    check(&[&s3.address("a.csv"), &s3.address("?.csv")], 1, "is given twice");
    check(&[&s3.address("a.csv"), "--rejects", "s3://b/rejects/"], 2, "--dry-run does not write rejects to S3");
    for (variable, value, code, expected) in [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 3, "cannot connect to http://127.0.0.1:1 (Connection refused"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:1", 2, "AWS_ENDPOINT_URL is not a URL"),
        ("AWS_SECRET_ACCESS_KEY", "", 2, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not"),
        ("HTTP_PROXY", "http://127.0.0.1:1", 3, "cannot connect to http://127.0.0.1:"),
    ] {
        let command = with_keys(s3.command(&["load", "--dry-run", &s3.address("a.csv")])).env(variable, value);
        let run = command.run().expect_code(code);
        assert!(run.stderr.contains(expected), "{variable}: {}", run.stderr);
    }
}

/// Starts a server on a loopback port, and returns its URL. The server imitates the two AWS services that give
/// credentials to containers and to instances with a role.
fn credentials_server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut lines = BufReader::new(&client).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let first = lines.next().unwrap_or_default();
            lines.for_each(drop);
            let body = match first.split(' ').nth(1).unwrap_or_default() {
                "/latest/api/token" => "token",
                "/latest/meta-data/iam/security-credentials/" => "role",
                "/latest/meta-data/iam/security-credentials/role" | "/container" => {
                    r#"{"AccessKeyId": "id", "SecretAccessKey": "key", "Token": "t", "Code": "Success",
                        "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "Expiration": "2099-01-01T00:00:00Z"}"#
                }
                _ => "",
            };
            let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
            let _ = write!(
                &client,
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[test]
fn credentials_are_found_in_a_container_and_in_a_role_and_errors_list_what_was_tried() {
    let Some(s3) = S3::new("s3_credentials") else { return };
    let object = s3.put("a.csv", &fs::read(s3.place.sample("a.csv", 20, "none")).unwrap());
    let token = s3.place.write("token", "t");
    let metadata = credentials_server();
    let container = format!("{metadata}/container");
    let command = || s3.command(&["load", "--dry-run", &object]);
    command().env("AWS_METADATA_ENDPOINT", &metadata).run().expect_code(0);
    let in_container = command().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container);
    in_container.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token).run().expect_code(0);

    let nowhere = command().env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1").run().expect_code(3);
    for expected in [
        "the environment (AWS_ACCESS_KEY_ID): not set",
        "the web identity (AWS_WEB_IDENTITY_TOKEN_FILE): not set",
        "the container (AWS_CONTAINER_CREDENTIALS_…): not set",
        "the instance role: Connection refused",
    ] {
        assert!(nowhere.stderr.contains(expected), "{}", nowhere.stderr);
    }
    let web = command().env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent").env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
    let refused = web.run().expect_code(3);
    let expected = "the web identity (AWS_WEB_IDENTITY_TOKEN_FILE): ";
    assert!(refused.stderr.contains(expected) && !refused.stderr.contains("instance role"), "{}", refused.stderr);
}

#[test]
fn workers_load_the_parts_of_objects_from_a_manifest_in_s3() {
    let Some(s3) = S3::new("s3_parts") else { return };
    let rows = fs::read(s3.place.sample("a.csv", 9_000, "typical")).unwrap();
    let address = s3.put("2026/a.csv", &rows);
    let manifest = s3.place.dir.path().join("m.json");
    let path = manifest.to_str().unwrap();
    s3.run(&["plan", &s3.address("2026/*.csv"), "--part-size", "1", "--out", path], 0);
    let text = fs::read(&manifest).unwrap();
    let planned: Json = serde_json::from_slice(&text).unwrap();
    assert!(planned["parts"].as_array().unwrap().len() > 1, "{planned}");
    let stored = s3.put("load.manifest.json", &text);
    let loaded = s3.run(&["load", "--manifest", &stored], 0);
    let expected = s3.run(&["load", "--collection", "alone", &address], 0);
    assert_eq!(counts(&loaded["tables"][0], &ENDS), counts(&expected, &ENDS));
    assert_eq!(loaded["tables"][0]["digest"], expected["digest"]);
    assert_eq!(s3.run(&["verify", "--manifest", &stored, "--index", "1", "--of", "2"], 0)["missing"], 0);
    s3.put("2026/a.csv", &[&rows[..], b"\n"].concat());
    let changed = with_keys(s3.command(&["load", "--manifest", &stored, "--db", "other"])).run().expect_code(1);
    assert!(changed.stderr.contains("was changed after the manifest was made"), "{}", changed.stderr);
}

#[test]
fn rejects_in_s3_are_those_on_disk_and_no_other_object_is_replaced() {
    let Some(s3) = S3::new("s3_rejects") else { return };
    let one = s3.place.sample("one.csv", 400, "heavy");
    s3.run(&["load", "--collection", "on_disk", text(&one)], 4);
    let on_disk = fs::read(s3.place.dir.path().join("one.csv.rejects.csv")).unwrap();
    let source = s3.put("one.csv", &fs::read(&one).unwrap());
    let rejects = s3.address("2026/r/");
    let load = |collection: &str| s3.run(&["load", "--collection", collection, &source, "--rejects", &rejects], 4);
    let loaded = load("first");
    let first = s3.address("2026/r/one.csv.rejects.csv");
    assert_eq!(loaded["reject_files"][0], first.as_str(), "{loaded}");
    assert!(s3.get("2026/r/one.csv.rejects.csv") == on_disk, "the rejects must be those of a load to disk");
    assert_eq!(s3.keys(), ["2026/r/one.csv.rejects.csv", "one.csv"], "segments must be deleted");
    let again = load("first");
    assert_eq!(
        (&again["outcome"], &again["reject_files"]),
        (&"already loaded, verified instead".into(), &loaded["reject_files"])
    );

    let second = load("second");
    assert_eq!(second["reject_files"][0], s3.address("2026/r/one.csv.rejects.2.csv").as_str(), "{second}");
    assert!(second["notes"].to_string().contains("one.csv.rejects.csv was not changed"), "{second}");
    assert!(s3.get("2026/r/one.csv.rejects.csv") == on_disk && s3.get("2026/r/one.csv.rejects.2.csv") == on_disk);

    let corrected = s3.run(&["load", "--dry-run", &s3.address("2026/r/*.rejects.csv")], 4);
    assert_eq!(counts(&corrected, &["read"]), counts(&loaded, &["rejected"]));
    s3.put("2026/r/one.csv.rejects.csv", b"corrected");
    let changed = load("first");
    assert!(changed["notes"].to_string().contains("was changed after the load wrote it"), "{changed}");
    s3.moto.delete(&format!("{}/2026/r/one.csv.rejects.csv", s3.bucket)).unwrap();
    let missing = load("first");
    assert!(missing["notes"].to_string().contains("is not there; --reload writes it again"), "{missing}");
}

#[test]
fn a_killed_load_continues_its_rejects_in_s3_on_another_machine() {
    let Some(s3) = S3::new("s3_rejects_killed") else { return };
    let bytes = fs::read(s3.place.long_rows("a.csv", SLOW_ROWS, "heavy")).unwrap();
    let object = s3.put("a.csv", &bytes);
    s3.run(&["load", &object, "--no-verify", "--rejects", "whole.csv"], 4);
    let whole = fs::read(s3.place.dir.path().join("whole.csv")).unwrap();
    let (server, rejects) = (slow_server(), s3.address("r/"));
    let machines = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let load = |machine: usize| {
        let arguments = [&["load", &object, "--rejects", &rejects, "--json"], &SLOWLY[..]].concat();
        with_keys(s3.command(&arguments)).env("MONGODB_URI", server.uri()).dir(machines[machine].path())
    };
    stop_midway(load(0).start(), &server, &s3.place.database, "KILL");
    let segments: Vec<String> = s3.keys().into_iter().filter(|key| key.starts_with("r/")).collect();
    assert!(segments.iter().all(|key| key.contains(".rejects.") && key.contains("-s0-f")), "{segments:?}");
    let readable = s3.run(&["load", "--dry-run", &s3.address("r/*.rejects.*.csv")], 4);
    assert!(counts(&readable, &["read"])[0] > 0, "each segment can be loaded");
    // Adds a segment, as if the killed process had written it after its last checkpoint. The resumed load must delete
    // it.
    let stem = segments[0].rsplit_once('-').unwrap().0;
    s3.put(&format!("{stem}-000099.csv"), b"not committed");

    let resumed = summary(&load(1).run().expect_code(4));
    assert!(resumed["continued_after"].as_u64().is_some_and(|rows| rows > 0), "{resumed}");
    assert!(s3.get("r/a.csv.rejects.csv") == whole, "the rejects must be those of an undisturbed load");
    assert_eq!(s3.keys(), ["a.csv", "r/a.csv.rejects.csv"]);
    assert!(machines.iter().all(|machine| fs::read_dir(machine.path()).unwrap().count() == 0), "the disk is not used");
}

#[test]
fn a_killed_load_is_not_continued_with_other_rejects() {
    let Some(s3) = S3::new("s3_rejects_changed") else { return };
    let object = s3.put("a.csv", &fs::read(s3.place.long_rows("a.csv", SLOW_ROWS, "heavy")).unwrap());
    let (server, rejects) = (slow_server(), s3.address("r/"));
    let load = |rejects: &str| {
        let arguments = [&["load", &object, "--no-verify", "--rejects", rejects, "--json"], &SLOWLY[..]].concat();
        with_keys(s3.command(&arguments)).env("MONGODB_URI", server.uri())
    };
    stop_midway(load(&rejects).start(), &server, &s3.place.database, "KILL");
    let segment = s3.keys().into_iter().find(|key| key.starts_with("r/")).expect("a segment");
    let content = s3.get(&segment);
    s3.put(&segment, b"changed");
    let refused = load(&rejects).run().expect_code(1);
    assert!(refused.stderr.contains("have changed since this load was interrupted"), "{}", refused.stderr);
    s3.put(&segment, &content);
    let elsewhere = summary(&load(&s3.address("elsewhere/")).run().expect_code(4));
    assert!(elsewhere["notes"].to_string().contains("cannot be resumed"), "{elsewhere}");
    assert!(s3.keys().contains(&"elsewhere/a.csv.rejects.csv".to_owned()));
}

#[test]
fn an_action_that_is_denied_is_named_before_a_row_is_read() {
    let Some(s3) = S3::new("s3_denied") else { return };
    let path = s3.place.sample("a.csv", 20, "heavy");
    let load = |rejects: &str, code: i32, expected: &str| {
        let load = with_keys(s3.command(&["load", text(&path), "--rejects", rejects])).run().expect_code(code);
        assert!(load.stderr.contains(expected), "{}", load.stderr);
    };
    let rejects = s3.address("r/");
    for action in ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"] {
        s3.moto.deny(&s3.bucket, action).unwrap();
        load(&rejects, 1, &format!("{action} is denied for the credentials of the environment"));
    }
    load("s3://no-such-bucket/r/", 1, "has no bucket `no-such-bucket`");
    load(&s3.address("r.csv"), 2, "give a prefix that ends with `/`");
    assert_eq!(s3.place.count(bson::doc! {}), 0, "nothing may be written");
}

#[test]
fn each_part_has_its_rejects_in_s3() {
    let Some(s3) = S3::new("s3_rejects_parts") else { return };
    let rows = fs::read(s3.place.sample("a.csv", 9_000, "heavy")).unwrap();
    let address = s3.put("a.csv", &rows);
    let manifest = s3.place.dir.path().join("m.json");
    s3.run(&["plan", &address, "--part-size", "1", "--out", text(&manifest)], 0);
    let stored = s3.put("load.manifest.json", &fs::read(&manifest).unwrap());
    let load = with_keys(s3.command(&["load", "--manifest", &stored, "--json"]));
    let loaded = summary(&load.env("MEDLIFT_REJECTS", s3.address("r/")).run().expect_code(4));
    let files: Vec<&str> =
        loaded["tables"][0]["reject_files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    let keys: Vec<String> = s3.keys().into_iter().filter(|key| key.starts_with("r/")).collect();
    assert!(keys.len() > 1 && keys.iter().all(|key| key.ends_with(".rejects.csv") && key.contains(".bytes-")));
    assert_eq!(files, keys.iter().map(|key| s3.address(key)).collect::<Vec<_>>());
    let again = s3.run(&["load", "--manifest", &stored, "--rejects", &s3.address("r/")], 4);
    let again = &again["tables"][0];
    assert_eq!(
        (&again["reject_files"], &again["notes"]),
        (&loaded["tables"][0]["reject_files"], &Json::Array(Vec::new()))
    );
    let alone = s3.run(&["load", "--collection", "alone", &address, "--rejects", "alone.csv"], 4);
    let lines = |bytes: &[u8]| bytes.split(|&byte| byte == b'\n').count() - 2;
    let of_parts: usize = keys.iter().map(|key| lines(&s3.get(key))).sum();
    assert_eq!(of_parts, lines(&fs::read(s3.place.dir.path().join("alone.csv")).unwrap()));
    assert_eq!(of_parts as u64, counts(&alone, &["rejected"])[0]);
}

/// The host name in the store's URL does not exist. Only the proxy can reach the store.
#[test]
fn requests_use_the_proxy_of_the_environment() {
    let Some(s3) = S3::new("s3_proxy") else { return };
    let object = s3.put("a.csv", &fs::read(s3.place.sample("a.csv", 20, "none")).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let store = s3.moto.address();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let store = store.clone();
            thread::spawn(move || tunnel(&client, &store));
        }
    });
    let load = |no_proxy: &str| {
        let command = with_keys(s3.command(&["load", "--dry-run", &object]));
        let command = command.env("AWS_ENDPOINT_URL", "http://store.invalid").env("HTTP_PROXY", &proxy);
        command.env("NO_PROXY", no_proxy)
    };
    load("other.invalid").run().expect_code(0);
    load("store.invalid").run().expect_code(3);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let command = with_keys(s3.command(&["load", "--dry-run", &object])).env("HTTPS_PROXY", proxy);
    let running = command.env("AWS_ENDPOINT_URL", "https://store.invalid").start();
    let request = BufReader::new(listener.accept().expect("a connection").0).lines().next();
    assert_eq!(request.expect("a request").unwrap(), "CONNECT store.invalid:443 HTTP/1.1");
    drop(listener);
    running.wait().expect_code(3);
}

/// Forwards the requests of one connection. The URL in the first line of a request becomes a path.
fn tunnel(client: &TcpStream, store: &str) -> std::io::Result<()> {
    let server = TcpStream::connect(store)?;
    let (from, mut to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || std::io::copy(&mut &from, &mut to));
    BufReader::new(client).lines().map_while(Result::ok).try_for_each(|line| {
        let line = if line.starts_with("host:") { format!("host: {store}") } else { line };
        write!(&server, "{}\r\n", line.replacen("http://store.invalid", "", 1))
    })
}

const KIB_PER_ROW: usize = 16;

/// Returns rows with an id and a text of random letters. The text compresses to three quarters of its size.
fn random_rows(count: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let mut rows = b"id,note\n".to_vec();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for id in 0..count {
        write!(rows, "{id},").unwrap();
        rows.extend((0..KIB_PER_ROW << 10).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            LETTERS[(state >> 58) as usize]
        }));
        rows.push(b'\n');
    }
    rows
}

/// Loads and verifies a compressed object. The connections to the store break, answer "busy" and stall. The process may
/// use at most `memory_max_mib` of memory.
fn load_archive(s3: &S3, key: &str, archive: &[u8], rows: usize, memory_max_mib: u64) {
    const FAULTS: [Fault; 7] = [
        Fault::Cut(3_000_000),
        Fault::Busy,
        Fault::Cut(9_000_000),
        Fault::Stall(1_000_000),
        Fault::Busy,
        Fault::Cut(0),
        Fault::Cut(5_000_000),
    ];
    let spec = s3.place.write(
        "notes.toml",
        "name = \"notes\"\n[identity]\nfields = [\"id\"]\n[[field]]\nname = \"id\"\ntype = \"int32\"\nprivacy = \"none\"\n\
         [[field]]\nname = \"note\"\ntype = \"string\"\nprivacy = \"none\"\n",
    );
    let object = s3.put(key, archive);
    let proxy = Proxy::start(s3.moto, &FAULTS).expect("a proxy");
    let collection = key.replace('.', "_");
    let arguments = ["load", &object, "--spec", text(&spec), "--collection", &collection, "--run-size", "4", "--json"];
    let load = with_keys(s3.command(&arguments)).env("AWS_ENDPOINT_URL", proxy.url());
    let (run, memory_mib) = load.timeout(Duration::from_mins(10)).start().wait_and_measure();
    assert_eq!(proxy.faults_left(), 0, "all faults must happen");
    let loaded = summary(&run.expect_code(0));
    assert!(memory_mib <= memory_max_mib, "the program used {memory_mib} MiB");
    assert_eq!(counts(&loaded, &["written"]), [rows as u64]);
    assert_eq!(loaded["verification"]["equal"], rows, "{loaded}");
}

fn load_archives(s3: &S3, rows: usize, memory_max_mib: u64) {
    let text = random_rows(rows);
    load_archive(s3, "a.csv.gz", &gzip(&text), rows, memory_max_mib);
    load_archive(s3, "b.csv.zst", &zstd::encode_all(&text[..], 1).unwrap(), rows, memory_max_mib);
}

#[test]
fn archives_are_loaded_through_a_broken_connection() {
    if let Some(s3) = S3::new("s3_archives") {
        load_archives(&s3, 2_000, 240);
    }
}

/// The archives have 300 MiB, and the process may use 240 MiB.
#[test]
#[ignore = "takes some minutes: cargo test --test it -- --ignored larger_than_memory"]
fn archives_that_are_larger_than_memory_are_loaded_through_a_broken_connection() {
    if let Some(s3) = S3::new("s3_large_archives") {
        load_archives(&s3, 25_600, 240);
    }
}
