//! Tests of `medlift listen --mllp` and `medlift send`: what is stored and answered, and the limits of connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use serde_json::Value as Json;

use crate::bad_days::client;
use crate::certificates::Authority;
use crate::fold::{SPEC, message, number, stream};
use crate::load::{Place, block_on, text};
use crate::program::{Run, Running, medlift};
use crate::server::{Server, shared};

/// A running listener.
pub(crate) struct Feed {
    pub port: u16,
    running: Running,
}

impl Feed {
    /// Starts a listener for a database of a server, and waits until it accepts connections.
    pub(crate) fn start(uri: &str, database: &str, options: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        Self::start_at(port, uri, database, options)
    }

    /// Starts a listener at this port.
    pub(crate) fn start_at(port: u16, uri: &str, database: &str, options: &[&str]) -> Self {
        let port_text = port.to_string();
        let arguments = ["listen", "--mllp", &port_text, "--uri", uri, "--db", database, "--json"];
        let running = medlift(arguments.iter().chain(options)).start();
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the listener must accept connections");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, running }
    }

    pub(crate) fn of(place: &Place, options: &[&str]) -> Self {
        Self::start(&shared().uri(), &place.database, options)
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(("127.0.0.1", self.port)).expect("connected"))
    }

    /// Runs `medlift send` with the messages of a file.
    pub(crate) fn send(&self, file: &Path, options: &[&str]) -> Run {
        let receiver = format!("localhost:{}", self.port);
        medlift(["send", "--mllp", &receiver, text(file), "--json"].iter().chain(options)).run()
    }

    /// Sends a signal, for example `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// Waits until the listener has ended.
    pub(crate) fn wait(self) -> Run {
        self.running.wait()
    }

    /// Stops the listener. Returns its result, and what it said.
    pub(crate) fn stop(self) -> (Json, String) {
        let asked = Instant::now();
        self.signal("TERM");
        let run = self.running.wait().expect_code(0);
        assert!(asked.elapsed() < Duration::from_secs(10), "a listener ends within 10 s");
        (serde_json::from_str(&run.stdout).expect("JSON"), run.stderr)
    }
}

/// A connection to a listener.
pub(crate) struct Wire(TcpStream);

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        Self(stream)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    /// Reads one answer. Returns the codes of `MSA`: the acknowledgement and the control id.
    pub(crate) fn answer(&mut self) -> (String, String) {
        let answer = self.whole_answer();
        let msa = answer.split('\r').find(|segment| segment.starts_with("MSA")).expect("a segment MSA");
        let mut fields = msa.split('|').skip(1).map(str::to_owned);
        (fields.next().expect("MSA-1"), fields.next().unwrap_or_default())
    }

    pub(crate) fn whole_answer(&mut self) -> String {
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\x1c\r") {
            self.0.read_exact(&mut byte).expect("an answer");
            bytes.push(byte[0]);
        }
        String::from_utf8_lossy(&bytes[1..bytes.len() - 2]).into_owned()
    }

    /// Reads to the end of the connection.
    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // The other side may reset a connection that it refuses. But it must end it.
        let end = self.0.read_to_end(&mut rest);
        let is_open = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!end.is_err_and(|error| is_open(&error)), "the connection must end");
        rest
    }

    /// Checks that the connection is ended at once.
    fn expect_refusal(self) {
        self.0.set_read_timeout(Some(Duration::from_secs(1))).expect("a time limit");
        assert!(self.rest().is_empty());
    }
}

pub(crate) fn framed(message: &str) -> Vec<u8> {
    [b"\x0b", message.as_bytes(), b"\x1c\r"].concat()
}

fn ok(id: &str) -> (String, String) {
    ("AA".to_owned(), id.to_owned())
}

/// Returns the documents of a collection in the order of their `_id`s.
pub(crate) fn stored(server: &Server, database: &str, collection: &str) -> Vec<RawDocumentBuf> {
    let collection: Collection<RawDocumentBuf> = client(server).database(database).collection(collection);
    let found =
        block_on(async move { collection.find(doc! {}).sort(doc! { "_id": 1 }).await?.try_collect::<Vec<_>>().await });
    found.expect("documents")
}

pub(crate) fn wait_for(what: &str, is_met: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !is_met() {
        assert!(Instant::now() < until, "expected {what} within a minute");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The files with real messages, or none if they are not here.
pub(crate) fn real_messages() -> Vec<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hl7v2");
    let directory = std::env::var_os("MEDLIFT_HL7V2").map_or(beside, PathBuf::from);
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "hl7"));
    paths.sort();
    paths
}

/// Prints why a test does nothing. Does not use `eprintln!`, because the test harness captures its output.
pub(crate) fn skip(reason: &str) {
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {reason}\n").as_bytes());
}

/// Checks that a feed and a load of the same messages end in the same documents.
#[track_caller]
fn check_same(sent_to: &Place, loaded: &Place) {
    for collection in ["messages", "patients", "visits", "results"] {
        let of = |place: &Place| stored(shared(), &place.database, collection);
        wait_for("the same number of documents", || of(sent_to).len() == of(loaded).len());
    }
    wait_for("the same state", || sent_to.state() == loaded.state());
    let of = |place: &Place| stored(shared(), &place.database, "messages");
    assert_eq!(of(sent_to), of(loaded));
}

#[test]
fn a_feed_stores_and_folds_as_a_load_does() {
    let (sent_to, loaded) = (Place::new("feed"), Place::new("feed_load"));
    let file = sent_to.write("all.hl7", stream().join("\r"));
    loaded.load_folding("all.hl7", &stream(), &[]);
    let feed = Feed::of(&sent_to, &[]);
    let sent: Json = serde_json::from_str(&feed.send(&file, &[]).expect_code(0).stdout).expect("JSON");
    assert_eq!((number(&sent, "sent"), number(&sent, "accepted")), (11, 11));
    check_same(&sent_to, &loaded);
    // The same messages again, in several connections.
    let sent: Json =
        serde_json::from_str(&feed.send(&file, &["--connections", "4"]).expect_code(0).stdout).expect("JSON");
    assert_eq!(number(&sent, "accepted"), 11);
    // No load drops the collection while a listener writes to it.
    sent_to.run(&["load", text(&file), "--spec", "hl7v2", "--drop", "--yes"]).expect_code(6);
    let (received, said) = feed.stop();
    let counts = ["stored", "already_stored", "rejected", "postponed"].map(|name| number(&received, name));
    assert_eq!(counts, [11, 11, 0, 0], "{said}");
    check_same(&sent_to, &loaded);
    let runs = medlift(["runs", "list", "--json", "--uri", &shared().uri(), "--db", &sent_to.database]).run();
    let runs: Json = serde_json::from_str(&runs.expect_code(0).stdout).expect("JSON");
    let run = &runs.as_array().expect("a list")[0];
    assert_eq!(run["counts"]["written"], 11, "{run}");
    let run = sent_to.run(&["verify", "--json", "--spec", "hl7v2", text(&file)]).expect_code(0);
    assert!(run.stdout.contains("\"not_folded\": 0") || !run.stdout.contains("not_folded"), "{}", run.stdout);
}

#[test]
fn real_messages_are_stored_and_folded_as_a_load_does() {
    let files = real_messages();
    if files.is_empty() {
        return skip("the feed of real messages: they are not here; set MEDLIFT_HL7V2 to their directory");
    }
    let (sent_to, loaded) = (Place::new("feed_real"), Place::new("feed_real_load"));
    let all: Vec<u8> =
        files.iter().flat_map(|file| [std::fs::read(file).expect("read"), b"\r".to_vec()].concat()).collect();
    let file = sent_to.write("all.hl7", &all);
    let run =
        loaded.run(&[&["load", text(&loaded.write("all.hl7", &all)), "--json", "--no-verify"], &SPEC[..]].concat());
    let summary: Json = serde_json::from_str(&run.stdout).expect("JSON");
    let rejected = summary["counts"]["rejected"].as_u64().expect("a number");
    let feed = Feed::of(&sent_to, &[]);
    let sent: Json = serde_json::from_str(&feed.send(&file, &["--connections", "3"]).stdout).expect("JSON");
    assert_eq!(number(&sent, "refused") + number(&sent, "unanswered"), 0, "{sent}");
    assert_eq!(number(&sent, "errors"), rejected, "{sent}");
    check_same(&sent_to, &loaded);
    let (received, _) = feed.stop();
    assert_eq!(number(&received, "rejected"), rejected);
}

#[test]
fn frames_are_found_wherever_the_bytes_are_divided() {
    let place = Place::new("feed_frames");
    let feed = Feed::of(&place, &["--no-fold"]);
    let mut wire = feed.connect();
    let (one, two) = (message("ADT^A01", 1, "P1", "V1", ""), message("ADT^A02", 2, "P1", "V1", ""));
    let both = [framed(&one), b"\0\0".to_vec(), framed(&two)].concat();
    for at in (0..both.len()).step_by(7) {
        wire.write(&both[..at]);
        wire.write(&both[at..]);
        assert_eq!([wire.answer(), wire.answer()], [ok("M1"), ok("M2")]);
    }
    // A refused message, then the same message three times. The third time, line ends, a NUL and a batch header are
    // before it.
    wire.write(&[framed("PID|1"), framed(&one), framed(&one), framed(&format!("\r\n\0BHS|^~\\&|X\r{one}"))].concat());
    assert_eq!(wire.answer(), ("AR".to_owned(), String::new()));
    assert_eq!([wire.answer(), wire.answer(), wire.answer()], [ok("M1"), ok("M1"), ok("M1")]);
    // The start byte twice, and a frame without an end.
    let three = message("ADT^A03", 3, "P1", "V1", "");
    wire.write(&[b"\x0b", &framed(&one)[..], b"\x0bMSH|^~\\&|half|", &framed(&three)].concat());
    assert_eq!([wire.answer(), wire.answer()], [ok("M1"), ok("M3")]);
    wire.0.shutdown(Shutdown::Write).expect("shut down");
    assert!(wire.rest().is_empty());
    // Many messages in one write are answered in order.
    let mut wire = feed.connect();
    let many: Vec<u8> =
        (0..200).flat_map(|at| framed(&message("ADT^A08", at % 60, "P2", &format!("V{at}"), ""))).collect();
    wire.write(&many);
    for at in 0..200 {
        assert_eq!(wire.answer(), ok(&format!("M{}", at % 60)));
    }
    let (received, _) = feed.stop();
    assert_eq!(number(&received, "stored"), 203);
}

#[test]
fn refused_messages_are_stored_and_answered_with_the_reason() {
    let place = Place::new("feed_refused");
    let feed = Feed::of(&place, &["--no-fold"]);
    let mut wire = feed.connect();
    let good = message("ADT^A01", 1, "P1", "V1", "");
    let bad_time = good.replace("20260102", "yesterday").replace("M1", "M2");
    wire.write(&framed(&bad_time));
    let answer = wire.whole_answer();
    assert!(answer.contains("MSA|AE|M2|MSH-7.1: "), "{answer}");
    assert!(answer.contains("ERR||MSH^1^7|102^Data type error^HL70357|E||||MSH-7.1: "), "{answer}");
    assert!(!answer.contains("yesterday"), "{answer}");
    wire.write(&framed("PID|1||nobody"));
    assert_eq!(wire.answer(), ("AR".to_owned(), String::new()));
    wire.write(&framed(&bad_time));
    assert_eq!(wire.answer().0, "AE");
    wire.write(&framed(&good));
    assert_eq!(wire.answer(), ok("M1"));
    // The same control id with another content.
    wire.write(&framed(&good.replace("DOE", "ROE")));
    assert_eq!(wire.answer(), ok("M1"));
    let (received, said) = feed.stop();
    assert_eq!((number(&received, "stored"), number(&received, "rejected")), (2, 3), "{received}");
    assert_eq!(said.matches("has the control id of another message").count(), 1, "{said}");
    assert!(!said.contains("ROE") && !said.contains("yesterday"), "{said}");
    let rejected = stored(shared(), &place.database, "messages_rejected");
    let rejected: Vec<Document> = rejected.iter().map(|raw| Document::try_from(raw.as_ref()).expect("BSON")).collect();
    let reasons: Vec<_> = rejected.iter().map(|one| one.get_str("reason").unwrap()).collect();
    assert_eq!((reasons.len(), reasons.contains(&"not_a_date"), reasons.contains(&"not_hl7")), (2, true, true));
    let of_time = rejected.iter().find(|one| one.get_str("reason").unwrap() == "not_a_date").expect("stored");
    let text = |name: &str| of_time.get_str(name).expect("a text");
    assert_eq!((text("place"), text("sendingApplication")), ("MSH-7.1", "ADT1"));
    assert_eq!(of_time.get_binary_generic("message").unwrap(), bad_time.as_bytes());
}

#[test]
fn connections_are_limited() {
    let place = Place::new("feed_limits");
    let options = [
        "--no-fold",
        "--message-size-max",
        "2",
        "--slow-timeout",
        "1",
        "--idle-timeout",
        "2",
        "--connections-max",
        "3",
    ];
    let feed = Feed::of(&place, &options);
    let good = message("ADT^A01", 1, "P1", "V1", "");
    let mut wire = feed.connect();
    // The sender goes on sending, and still sees the answer.
    wire.write(&framed(&format!("{good}{}", "|".repeat(3 << 20))));
    let answer = wire.whole_answer();
    assert!(answer.contains("MSA|AE|M1|the message is longer than 2048 bytes"), "{answer}");
    assert!(wire.rest().is_empty(), "the connection is closed");
    // A slow sender, and a silent one.
    let begun = Instant::now();
    let mut slow = feed.connect();
    slow.write(b"\x0bMSH");
    assert!(slow.rest().is_empty() && begun.elapsed() < Duration::from_secs(20));
    assert!(feed.connect().rest().is_empty());
    // Too many.
    let mut kept: Vec<Wire> = (0..3).map(|_| feed.connect()).collect();
    for wire in &mut kept {
        wire.write(&framed(&good));
        assert_eq!(wire.answer(), ok("M1"));
    }
    feed.connect().expect_refusal();
    drop(kept);
    feed.stop();
    // Not from here.
    let feed = Feed::of(&place, &["--no-fold", "--allow", "10.0.0.0/8", "--allow", "::/0"]);
    feed.connect().expect_refusal();
    let (received, _) = feed.stop();
    assert_eq!(number(&received, "stored"), 0);
}

#[test]
fn a_thousand_connections_are_opened_and_dropped() {
    let place = Place::new("feed_connections");
    let feed = Feed::of(&place, &["--no-fold"]);
    let count = std::env::var("MEDLIFT_FEED_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let one = framed(&message("ADT^A01", 1, "P1", "V1", ""));
    for at in 0..count {
        // Some say nothing, some break off inside a frame, some do not wait for their answer.
        feed.connect().write(&one[..at % (one.len() + 1)]);
    }
    let mut wire = feed.connect();
    wire.write(&one);
    assert_eq!(wire.answer(), ok("M1"));
    feed.stop();
}

#[test]
fn tls_needs_a_trusted_certificate_of_both_sides() {
    let place = Place::new("feed_tls");
    let authority = Authority::new();
    let (pair, ca) = (authority.server("localhost"), authority.ca_file());
    let tls = ["--no-fold", "--tls-cert", text(&pair), "--tls-key", text(&pair)];
    let file = place.write("a.hl7", message("ADT^A01", 1, "P1", "V1", ""));
    let feed = Feed::of(&place, &tls);
    feed.send(&file, &["--tls-ca", text(&ca)]).expect_code(0);
    feed.send(&file, &["--tls-ca", text(&Authority::new().ca_file())]).expect_code(1);
    feed.send(&file, &["--timeout", "2"]).expect_code(6);
    feed.stop();
    let feed = Feed::of(&place, &[&tls[..], &["--tls-client-ca", text(&ca)]].concat());
    let refused = feed.send(&file, &["--tls-ca", text(&ca), "--timeout", "2"]);
    // The sender has no certificate.
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    let (received, _) = feed.stop();
    assert_eq!(number(&received, "stored") + number(&received, "already_stored"), 0);
}

#[test]
fn what_cannot_be_used_is_refused_before_it_listens() {
    let place = Place::new("feed_unfit");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let run = place.run(&["listen", "--mllp", &port]).expect_code(1);
    assert!(run.stderr.contains("cannot listen to 127.0.0.1:") && run.stderr.contains("--mllp"), "{}", run.stderr);
    let run = place.run(&["listen", "--mllp", "0", "--spec", "admissions"]).expect_code(2);
    assert!(run.stderr.contains("a listener needs a spec with [source] type = \"hl7\""), "{}", run.stderr);
    let none = text(place.dir.path()).to_owned();
    let run = place.run(&["listen", "--mllp", "0", "--tls-cert", &none, "--tls-key", &none]).expect_code(2);
    assert!(run.stderr.contains("for TLS"), "{}", run.stderr);
    let file = place.write("a.hl7", message("ADT^A01", 1, "P1", "V1", ""));
    let run = medlift(["send", "--mllp", &format!("127.0.0.1:{port}"), text(&file), "--timeout", "1"]).run();
    run.expect_code(6);
    drop(taken);
    let run = medlift(["send", "--mllp", &format!("127.0.0.1:{port}"), text(&file)]).run().expect_code(1);
    assert!(run.stderr.contains("cannot connect to 127.0.0.1:"), "{}", run.stderr);
}
