//! Tests of `medlift listen --http`: what a sender is answered, and what is stored then.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value as Json;

use crate::bad_days::{SLOW_ROWS, count, documents, wait_for_documents};
use crate::certificates::Authority;
use crate::load::{HEADER, Place, block_on, row, text};
use crate::program::{Medlift, Running, medlift};
use crate::server::{Server, heal, shared, slow_server};

const TOKEN: &str = "token-of-the-tests-0123";

/// No answer takes longer.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A listener that runs. It is killed when dropped.
struct Listener {
    running: Running,
    port: u16,
}

/// An answer: its status, its head and its body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        self
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn command(server: &Server, place: &Place, port: u16, options: &[&str]) -> Medlift {
    let port = port.to_string();
    let arguments = ["listen", "--http", &port, "--db", &place.database];
    medlift(arguments.iter().chain(options)).env("MONGODB_URI", server.uri())
}

/// Starts a listener, and waits until it answers.
fn listen(server: &Server, place: &Place, options: &[&str]) -> Listener {
    let port = free_port();
    let running = command(server, place, port, options).env("MEDLIFT_HTTP_TOKEN", TOKEN).start();
    let listener = Listener { running, port };
    wait_until("the listener", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    listener.get("/health").expect(200);
    listener
}

fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let until = Instant::now() + TIMEOUT;
    while !is_met() {
        assert!(Instant::now() < until, "expected {what} within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Listener {
    /// Opens a connection and sends these bytes.
    fn send(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(TIMEOUT)).expect("set");
        stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
        stream
    }

    fn get(&self, path: &str) -> Answer {
        answer(self.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), b""))
    }

    /// Sends the beginning of a body of `length` bytes.
    fn begin(&self, path: &str, length: usize, body: &[u8]) -> TcpStream {
        self.send(&head(path, length, TOKEN), body)
    }

    fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        answer(self.begin(path, body.len(), body))
    }

    /// Returns the value of a metric.
    fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").expect(200).body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }
}

fn head(path: &str, length: usize, token: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: \
         {length}\r\n\r\n"
    )
}

/// Reads an answer to its end.
fn answer(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn csv(names: &[&str]) -> String {
    let rows: Vec<String> =
        names.iter().map(|name| row(name, "30", "AB+", "2024-01-31", "2024-02-02") + "\n").collect();
    format!("{HEADER}\n{}", rows.concat())
}

fn message(id: &str) -> String {
    let header = format!(r"MSH|^~\&|ADT1|GOODHEALTH|LAB|LAB|20260102030405||ADT^A01^ADT_A01|{id}|P|2.5");
    format!("{header}\rEVN|A01|20260102\rPID|1||{id}^^^GOODHEALTH^MR||Doe^Ann\rPV1|1|I|||||||||||||||||V{id}\r")
}

#[test]
fn a_body_is_stored_like_a_file_and_only_once() {
    let place = Place::new("http");
    let listener = listen(shared(), &place, &[]);
    let table = csv(&["Ann A", "Bea B"]);
    let first = listener.post("/ingest", &table).expect(200).json();
    assert_eq!((&first["read"], &first["written"], &first["rejected"]), (&2.into(), &2.into(), &0.into()), "{first}");
    let again = listener.post("/ingest/admissions", &table).expect(200).json();
    assert_eq!((&again["written"], &again["already_present"]), (&0.into(), &2.into()), "{again}");
    let file = place.write("a.csv", &table);
    place.run(&["verify", text(&file)]).expect_code(0);

    let messages = [message("1"), message("2")].concat();
    let stored = listener.post("/ingest", &messages).expect(200).json();
    assert_eq!(stored["written"], 2, "{stored}");
    let file = place.write("a.hl7", &messages);
    wait_until("the fold", || {
        let visits = place.collection("visits");
        block_on(async move { visits.count_documents(doc! {}).await }).is_ok_and(|count| count == 2)
    });
    // The fold has written the visits, but may still have its lease.
    wait_until("a verification", || place.run(&["verify", text(&file), "--spec", "hl7v2"]).code == Some(0));

    let resource = r#"{"resourceType":"Patient","id":"p1","active":true}"#;
    let resource = listener.post("/ingest", resource).expect(200).json();
    assert_eq!(resource["written"], 1, "{resource}");
    assert_eq!(listener.metric("medlift_http_rows_total{outcome=\"written\"}"), 5);
    assert_eq!(listener.metric("medlift_http_answers_total{status=\"200\"}"), 6);
    listener.running.signal("TERM");
    listener.running.wait().expect_code(0);
}

#[test]
fn rejected_rows_are_answered_with_their_positions_and_reasons_without_values() {
    let place = Place::new("http_rejects");
    let listener = listen(shared(), &place, &[]);
    let table = csv(&["Ann A", "Bea B", "Cy C"]).replacen("Bea B,30,", "Bea B,thirty,", 1);
    let answer = listener.post("/ingest", table).expect(400);
    assert!(!answer.body.contains("thirty") && !answer.body.contains("Bea"), "{}", answer.body);
    let found = answer.json();
    assert_eq!((&found["written"], &found["rejected"]), (&2.into(), &1.into()), "{found}");
    let reject = &found["rejects"][0];
    assert_eq!(
        (&reject["line"], &reject["field"], &reject["reason"]),
        (&3.into(), &"Age".into(), &"not_an_integer".into())
    );
    assert_eq!(place.count(doc! {}), 2);
    let unreadable = listener.post("/ingest", "%PDF-1.7 and so on").expect(400).json();
    assert!(unreadable["problem"].as_str().is_some_and(|text| text.contains("not text")), "{unreadable}");
    listener.post("/ingest", "").expect(400);
    listener.post("/ingest/hl7v2", csv(&["Ed E"])).expect(400);
    assert_eq!(place.count(doc! {}), 2);
}

#[test]
fn a_sender_names_one_of_several_specs_and_a_lost_record_is_no_success() {
    let place = Place::new("http_specs");
    let spec = |name: &str| {
        let text = format!(
            "name = \"{name}\"\ncollection = \"{name}\"\n[identity]\nfields = [\"Id\"]\n[[field]]\nname = \"Id\"\ntype = \
             \"string\"\nprivacy = \"none\"\n[[field]]\nname = \"Text\"\ntype = \"string\"\nprivacy = \"none\"\n"
        );
        text_of(&place.write(&format!("{name}.toml"), text))
    };
    let (one, two) = (spec("one"), spec("two"));
    let listener = listen(shared(), &place, &["--http-spec", &one, "--http-spec", &two]);
    let body = "Id,Text\n1,a\n2,b\n";
    let unnamed = listener.post("/ingest", body).expect(404);
    assert!(unnamed.body.contains("one, two"), "{}", unnamed.body);
    listener.post("/ingest/two", body).expect(200);
    let lost = listener.post("/ingest/two", "Id,Text\n1,a\n2,other\n").expect(409).json();
    assert_eq!((&lost["conflicts"], &lost["already_present"]), (&1.into(), &1.into()), "{lost}");
    let other = place.dir.path().join("x");
    std::fs::create_dir(&other).expect("a folder");
    std::fs::copy(&one, other.join("one.toml")).expect("copied");
    let copy = text_of(&other.join("one.toml"));
    let same = ["--http-spec", &one, "--http-spec", &copy];
    let refused = command(shared(), &place, free_port(), &same).run().expect_code(2);
    assert!(refused.stderr.contains("two specs have the name one"), "{}", refused.stderr);
}

fn text_of(path: &Path) -> String {
    text(path).to_owned()
}

#[test]
fn a_bundle_leads_to_its_patient_and_a_compressed_body_has_the_same_limits() {
    let place = Place::new("http_bundle");
    let listener = listen(shared(), &place, &["--http-silence-max", "1"]);
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:7","resource":{"resourceType":"Observation","id":"o1","status":"final","subject":{"reference":"urn:uuid:8"}}},{"fullUrl":"urn:uuid:8","resource":{"resourceType":"Patient","id":"p1"}}]}"#;
    let stored = listener.post("/ingest/fhir-r4", bundle).expect(200).json();
    assert_eq!(stored["written"], 2, "{stored}");
    let file = place.write("bundle.json", bundle);
    place.run(&["verify", text(&file), "--spec", "fhir-r4"]).expect_code(0);
    let gzip = || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(csv(&["Ann A", "Bea B"]).as_bytes()).expect("compressed");
        encoder.finish().expect("compressed")
    };
    assert_eq!(listener.post("/ingest", gzip()).expect(200).json()["written"], 2);
    let half = &gzip()[..40];
    let silent = answer(listener.begin("/ingest", 1_000, half)).expect(408);
    assert!(silent.body.contains("--http-silence-max"), "{}", silent.body);
}

#[test]
fn a_request_that_must_not_be_loaded_is_refused_before_its_body() {
    let place = Place::new("http_refused");
    let listener = listen(shared(), &place, &["--http-body-max", "1"]);
    let body = csv(&["Ann A"]);
    let with = |head: String| answer(listener.send(&head, body.as_bytes()));
    let wrong = with(head("/ingest", body.len(), "token-of-the-tests-0124")).expect(401);
    assert!(wrong.head.contains("www-authenticate: bearer"), "{}", wrong.head);
    let none = with(head("/ingest", body.len(), TOKEN).replace("Authorization", "X-Authorization")).expect(401);
    assert!(!none.body.contains("token-of"), "{}", none.body);
    with(head("/ingest", body.len(), TOKEN).replace("Host: h", "Content-Type: application/xml")).expect(415);
    with(head("/ingest/other", body.len(), TOKEN)).expect(404);
    with(head("/other", body.len(), TOKEN)).expect(404);
    let get = listener.get("/ingest").expect(405);
    assert!(get.head.contains("allow: post"), "{}", get.head);
    with(head("/metrics", body.len(), TOKEN)).expect(405);
    answer(listener.begin("/ingest", 2 << 20, b"")).expect(413);
    let chunked = head("/ingest", 0, TOKEN).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let piece = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    let too_long = answer(listener.send(&chunked, &[&piece[..], b"1\r\nx\r\n"].concat())).expect(413);
    assert!(too_long.body.contains("--http-body-max"), "{}", too_long.body);
    assert_eq!(place.count(doc! {}), 0);

    let short = command(shared(), &place, free_port(), &[]).env("MEDLIFT_HTTP_TOKEN", "short").run().expect_code(2);
    assert!(short.stderr.contains("MEDLIFT_HTTP_TOKEN is too short"), "{}", short.stderr);
}

#[test]
fn without_a_token_nothing_is_received() {
    let place = Place::new("http_token");
    let port = free_port();
    let running = command(shared(), &place, port, &[]).start();
    let listener = Listener { running, port };
    wait_until("the listener", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    listener.get("/ready").expect(200);
    let refused = listener.post("/ingest", csv(&["Ann A"])).expect(401);
    assert!(refused.body.contains("set MEDLIFT_HTTP_TOKEN"), "{}", refused.body);
}

#[test]
fn more_requests_than_permitted_are_sent_away_and_a_slow_one_is_waited_for() {
    let place = Place::new("http_busy");
    let listener = listen(shared(), &place, &["--http-requests-max", "1"]);
    let body = csv(&["Ann A", "Bea B"]);
    let (early, late) = body.as_bytes().split_at(body.len() / 2);
    let mut slow = listener.begin("/ingest", body.len(), early);
    wait_until("the slow request", || listener.metric("medlift_http_bodies_in_progress") == 1);
    let busy = listener.post("/ingest", csv(&["Cy C"])).expect(429);
    assert!(busy.head.contains("retry-after: "), "{}", busy.head);
    slow.write_all(late).expect("sent");
    assert_eq!(answer(slow).expect(200).json()["written"], 2);
    listener.post("/ingest", csv(&["Cy C"])).expect(200);
    assert_eq!(place.count(doc! {}), 3);
}

#[test]
fn a_body_that_breaks_off_or_falls_silent_is_never_answered_with_200() {
    let place = Place::new("http_broken");
    let listener = listen(shared(), &place, &["--http-silence-max", "1"]);
    let body = csv(&["Ann A", "Bea B"]);
    // The rows that were sent are whole. Only the length says that more should follow.
    let silent = answer(listener.begin("/ingest", body.len() + 1, body.as_bytes())).expect(408);
    assert!(silent.body.contains("--http-silence-max"), "{}", silent.body);
    let broken = listener.begin("/ingest", body.len() + 1, body.as_bytes());
    broken.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut rest = String::new();
    let _ = (&broken).read_to_string(&mut rest);
    assert!(!rest.starts_with("HTTP/1.1 200"), "{rest}");
    drop(broken);
    wait_until("the end", || listener.metric("medlift_http_bodies_in_progress") == 0);
    assert_eq!(listener.metric("medlift_http_rows_total{outcome=\"written\"}"), 0);
    assert_eq!(place.count(doc! {}), 0);
    listener.post("/ingest", body).expect(200);
}

#[test]
fn after_a_kill_the_same_body_is_stored_once() {
    let place = Place::new("http_kill");
    let body = std::fs::read(place.long_rows("a.csv", SLOW_ROWS, "none")).expect("read");
    let server = slow_server();
    // Chunks of a listener are large, so a body has few checkpoints. It is enough that documents are stored.
    let killed = listen(&server, &place, &[]);
    let stream = killed.begin("/ingest", body.len(), &body);
    wait_for_documents(&server, &place.database);
    killed.running.signal("KILL");
    killed.running.wait();
    drop(stream);
    heal(&server);
    let listener = listen(&server, &place, &[]);
    let again = listener.post("/ingest", &body).expect(200).json();
    let number = |name: &str| again[name].as_u64().expect("a number");
    assert!(number("already_present") > 0, "{again}");
    assert_eq!(number("written") + number("already_present") + number("duplicates"), u64::from(SLOW_ROWS), "{again}");
    let stored = count(&documents(&server, &place.database));
    assert_eq!(stored, number("written") + number("already_present"));
}

#[test]
fn while_the_database_is_away_nothing_is_received() {
    let place = Place::new("http_away");
    let mut server = Server::builder().start().expect("a mongod");
    let listener = listen(&server, &place, &[]);
    listener.get("/ready").expect(200);
    server.stop().expect("stopped");
    wait_until("the listener to notice", || listener.get("/ready").status == 503);
    let away = listener.post("/ingest", csv(&["Ann A"])).expect(503);
    assert!(away.head.contains("retry-after: "), "{}", away.head);
    listener.get("/health").expect(200);
    server.restart().expect("restarted");
    wait_until("the listener to notice", || listener.get("/ready").status == 200);
    listener.post("/ingest", csv(&["Ann A"])).expect(200);
}

#[test]
fn a_signal_ends_the_listener_although_a_body_does_not_end() {
    let place = Place::new("http_stop");
    let listener = listen(shared(), &place, &[]);
    let body = csv(&["Ann A"]);
    let endless = listener.begin("/ingest", body.len() + 1, body.as_bytes());
    wait_until("the request", || listener.metric("medlift_http_bodies_in_progress") == 1);
    let begun = Instant::now();
    listener.running.signal("TERM");
    listener.running.wait().expect_code(0);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let mut rest = String::new();
    let _ = (&endless).read_to_string(&mut rest);
    assert!(!rest.starts_with("HTTP/1.1 200"), "{rest}");
}

/// Sends a request over TLS, with a client certificate if there is one. Returns what was received.
fn over_tls(port: u16, authority: &Path, client: Option<&Path>, request: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("added");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let builder = builder.with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let key = PrivateKeyDer::from_pem_file(client).expect("a key");
            builder.with_client_auth_cert(vec![CertificateDer::from_pem_file(client).expect("one")], key).expect("fits")
        }
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_client_certificate_replaces_the_token_and_one_process_has_both_listeners() {
    let place = Place::new("http_tls");
    let authority = Authority::new();
    let (pair, ca, client) = (authority.server("localhost"), authority.ca_file(), authority.client("sender"));
    let (port, mllp) = (free_port(), free_port().to_string());
    let tls = ["--tls-cert", text(&pair), "--tls-key", text(&pair), "--tls-client-ca", text(&ca), "--mllp", &mllp];
    let running = command(shared(), &place, port, &tls).start();
    wait_until("the listener", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let body = csv(&["Ann A"]);
    let request = head("/ingest", body.len(), "no token").replace("Authorization", "X-Authorization") + &body;
    let stored = over_tls(port, &ca, Some(&client), &request).expect("an answer");
    assert!(stored.starts_with("HTTP/1.1 200 "), "{stored}");
    let metrics = "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let metrics = over_tls(port, &ca, Some(&client), metrics).expect("an answer");
    assert!(metrics.contains("\nmedlift_mllp_connections 0\n"), "{metrics}");
    let refused = over_tls(port, &ca, None, &request);
    assert!(!refused.is_ok_and(|text| text.starts_with("HTTP")));
    assert_eq!(place.count(doc! {}), 1);
    running.signal("TERM");
    running.wait().expect_code(0);
}
