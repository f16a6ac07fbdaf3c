//! Tests of a feed when the listener or the database is killed or away: every acknowledged message is stored, none
//! twice, and the state is that of a load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::feed::{Feed, framed, stored, wait_for};
use crate::fold::{SPEC, STATE, message, number};
use crate::load::{Place, text};
use crate::program::medlift;
use crate::server::Server;

/// The number of kills in a test. `MEDLIFT_FEED_ROUNDS` sets another number.
fn rounds() -> u32 {
    std::env::var("MEDLIFT_FEED_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A sender like those of hospitals: repeats each message until it is acknowledged, on connections that may break.
struct Sender {
    is_stopped: Arc<AtomicBool>,
    sending: JoinHandle<Vec<String>>,
}

impl Sender {
    /// Sends messages to the listener at this port. Each sender has patients of its own.
    fn start(port: u16, sender: u32) -> Self {
        let is_stopped = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&is_stopped);
        let sending = std::thread::spawn(move || {
            let (mut acknowledged, mut wire, mut at) = (Vec::new(), None, 0);
            while !stopped.load(Ordering::Relaxed) {
                let message = numbered(sender, at);
                if is_acknowledged(&mut wire, port, &message, &format!("C{sender}-{at}")) {
                    acknowledged.push(message);
                    at += 1;
                } else {
                    wire = None;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            acknowledged
        });
        Self { is_stopped, sending }
    }

    /// Returns the messages that were acknowledged.
    fn stop(self) -> Vec<String> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.sending.join().expect("a sender")
    }
}

/// Message number `at` of a sender: admissions, transfers, corrections and merges of a few patients.
fn numbered(sender: u32, at: u32) -> String {
    let (patient, visit) = (format!("P{sender}-{}", at / 6), format!("V{sender}-{}", at / 6));
    let minute = at % 60;
    let text = match at % 6 {
        0 => message("ADT^A01", minute, &patient, &visit, ""),
        1 => message("ORU^R01", minute, &patient, &visit, "OBR|1||F1^LAB|CBC\rOBX|1|NM|K^Potassium^L||4||||||F"),
        2 | 3 => message("ADT^A02", minute, &patient, &visit, ""),
        4 => message("ADT^A40", minute, &patient, &visit, &format!("MRG|Q{sender}-{}^^^GOODHEALTH^MR", at / 6)),
        _ => message("ADT^A03", minute, &patient, &visit, ""),
    };
    text.replace(&format!("|M{minute}|"), &format!("|C{sender}-{at}|"))
}

fn is_acknowledged(wire: &mut Option<std::net::TcpStream>, port: u16, message: &str, id: &str) -> bool {
    use std::io::{Read, Write};
    let mut exchange = || -> std::io::Result<bool> {
        if wire.is_none() {
            let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            *wire = Some(stream);
        }
        let Some(stream) = wire.as_mut() else { return Ok(false) };
        stream.write_all(&framed(message))?;
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\x1c\r") {
            stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&answer).contains(&format!("MSA|AA|{id}")))
    };
    exchange().unwrap_or(false)
}

/// Checks that all acknowledged messages are stored, none twice, and that the state is that of a load of what is stored.
fn check(server: &Server, database: &str, acknowledged: &[String]) {
    let messages = stored(server, database, "messages");
    let bytes = |raw: &bson::RawDocumentBuf| raw.get_binary("message").expect("a message").bytes.to_vec();
    let all: Vec<Vec<u8>> = messages.iter().map(bytes).collect();
    let distinct: BTreeSet<&[u8]> = all.iter().map(Vec::as_slice).collect();
    assert_eq!(distinct.len(), all.len(), "no message is stored twice");
    let missing = acknowledged.iter().filter(|message| !distinct.contains(message.as_bytes())).count();
    assert_eq!(missing, 0, "of {} acknowledged messages", acknowledged.len());
    let (place, loaded) = (Place::new("feed_crash_load"), format!("{database}_loaded"));
    let file = place.write("all.hl7", all.join(&b'\r'));
    let arguments = ["load", text(&file), "--uri", &server.uri(), "--db", &loaded, "--quiet", "--no-verify"];
    medlift(arguments.iter().chain(&SPEC)).run().expect_code(0);
    for collection in STATE {
        let of = |database: &str| stored(server, database, collection);
        wait_for("the folded state of a load", || of(database) == of(&loaded));
    }
}

/// A pause that differs from round to round.
fn some_time(round: u32) {
    std::thread::sleep(Duration::from_millis(u64::from(200 + round * 7_919 % 700)));
}

/// Stops the senders and the feed, and expects that every acknowledged message is stored.
fn expect_all_stored(server: &Server, feed: Feed, senders: Vec<Sender>) {
    some_time(0);
    let acknowledged: Vec<String> = senders.into_iter().flat_map(Sender::stop).collect();
    assert!(acknowledged.len() > 20, "{} messages are too few for this test", acknowledged.len());
    check(server, "killed", &acknowledged);
    feed.stop();
}

#[test]
fn no_acknowledged_message_is_lost_when_the_listener_is_killed() {
    let server = Server::builder().start().expect("a mongod");
    let mut feed = Feed::start(&server.uri(), "killed", &[]);
    let port = feed.port;
    let senders: Vec<Sender> = (0..4).map(|sender| Sender::start(port, sender)).collect();
    for round in 0..rounds() {
        some_time(round);
        feed.signal("KILL");
        feed.wait();
        feed = Feed::start_at(port, &server.uri(), "killed", &[]);
    }
    expect_all_stored(&server, feed, senders);
}

#[test]
fn no_acknowledged_message_is_lost_when_the_database_is_killed() {
    let mut server = Server::builder().start().expect("a mongod");
    let feed = Feed::start(&server.uri(), "killed", &[]);
    let senders: Vec<Sender> = (0..4).map(|sender| Sender::start(feed.port, sender)).collect();
    for round in 0..rounds() {
        some_time(round);
        server.kill().expect("killed");
        server.restart().expect("started again");
    }
    expect_all_stored(&server, feed, senders);
}

#[test]
fn nothing_is_acknowledged_while_the_database_is_away() {
    let mut server = Server::builder().start().expect("a mongod");
    let feed = Feed::start(&server.uri(), "away", &["--busy-after", "1", "--in-flight-max", "3"]);
    let mut wire = feed.connect();
    wire.write(&framed(&numbered(0, 0)));
    assert_eq!(wire.answer(), ("AA".to_owned(), "C0-0".to_owned()));
    server.stop().expect("stopped");
    // More connections than there is room for messages.
    let mut wires: Vec<_> = (0..6).map(|_| feed.connect()).collect();
    for (at, wire) in (0..).zip(&mut wires) {
        wire.write(&framed(&numbered(1, at)));
    }
    for (at, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.answer(), ("AR".to_owned(), format!("C1-{at}")));
    }
    server.restart().expect("started again");
    wait_for("an acknowledgement", || {
        let mut wire = feed.connect();
        wire.write(&framed(&numbered(2, 0)));
        wire.answer().0 == "AA"
    });
    for (at, wire) in (0..).zip(&mut wires) {
        wire.write(&framed(&numbered(1, at)));
        assert_eq!(wire.answer().0, "AA");
    }
    assert_eq!(stored(&server, "away", "messages").len(), 8);
    let (received, said) = feed.stop();
    assert!(number(&received, "postponed") >= 6, "{received}");
    for part in ["the database cannot take messages now", "messages are stored again"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_message_without_a_negative_answer_waits_until_it_is_stored() {
    let mut server = Server::builder().start().expect("a mongod");
    let feed = Feed::start(&server.uri(), "unanswered", &["--busy-after", "1", "--no-fold"]);
    server.stop().expect("stopped");
    let mut wire = feed.connect();
    let quiet = numbered(0, 0).replacen("|P|2.5", "|P|2.5|||SU|NE", 1);
    wire.write(&framed(&quiet));
    std::thread::sleep(Duration::from_millis(2_500));
    server.restart().expect("started again");
    assert_eq!(wire.answer().0, "CA");
    assert_eq!(stored(&server, "unanswered", "messages").len(), 1);
    feed.stop();
}

#[test]
fn a_listener_may_wait_in_silence_and_ends_in_time_without_the_database() {
    let mut server = Server::builder().start().expect("a mongod");
    let feed = Feed::start(&server.uri(), "silent", &["--busy", "silent", "--busy-after", "1"]);
    server.stop().expect("stopped");
    let mut wire = feed.connect();
    wire.write(&framed(&numbered(0, 0)));
    std::thread::sleep(Duration::from_millis(2_500));
    let (received, _) = feed.stop();
    assert_eq!(number(&received, "stored"), 0);
    assert_eq!(wire.answer().0, "AR", "the listener stops");
}

#[test]
fn two_listeners_feed_one_database() {
    let place = Place::new("feed_two");
    let feeds = [Feed::of(&place, &[]), Feed::of(&place, &[])];
    let senders: Vec<Sender> = (0..4).map(|sender| Sender::start(feeds[sender as usize % 2].port, sender)).collect();
    // Longer than a turn of the fold.
    std::thread::sleep(Duration::from_secs(7));
    let acknowledged: Vec<String> = senders.into_iter().flat_map(Sender::stop).collect();
    check(crate::server::shared(), &place.database, &acknowledged);
    for feed in feeds {
        feed.stop();
    }
}
