//! Senders of others: the Python package hl7, and the npm package simple-hl7. Without them, the tests do nothing.

use std::path::PathBuf;
use std::process::Command;

use testkit::pypi::Wheel;

use crate::feed::{Feed, skip, stored};
use crate::fold::stream;
use crate::load::{Place, text};
use crate::server::shared;

const HL7: Wheel = Wheel {
    requirement: "hl7==0.4.5",
    sha256: "f46bf7c165801fd40e8fcc9f2be41c5794415039adc97646aee7ee6b20ce8ccd",
    program: "hl7",
    version: "0.4.5",
};

/// The version of simple-hl7.
const SIMPLE_HL7: &str = "simple-hl7@3.3.0";

#[test]
fn python_hl7_sends_messages_and_gets_their_answers() {
    let Ok(package) = HL7.package() else { return skip("mllp_send of python-hl7: pip cannot download it") };
    let place = Place::new("feed_python");
    let feed = Feed::of(&place, &["--no-fold"]);
    let file = place.write("all.hl7", stream().join("\n").replace('\r', "\n"));
    let port = feed.port.to_string();
    let script = "import sys; from hl7.client import mllp_send; sys.argv[0] = 'mllp_send'; mllp_send()";
    let sent = Command::new("python3")
        .args(["-c", script, "--loose", "--file", text(&file), "--port", &port, "localhost"])
        .env("PYTHONPATH", &package)
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(sent.status.success(), "{said}{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(said.matches("MSA|AA|M").count(), stream().len(), "{said}");
    feed.stop();
    assert_eq!(stored(shared(), &place.database, "messages").len(), stream().len());
}

/// Installs simple-hl7 in `target/`, once. Returns the directory of the package.
fn simple_hl7() -> Option<PathBuf> {
    let dir = testkit::target_dir().join("npm-simple-hl7");
    let package = dir.join("node_modules").join("simple-hl7");
    if package.is_dir() {
        return Some(package);
    }
    testkit::on_path("node")?;
    let npm = testkit::on_path("npm")?;
    std::fs::create_dir_all(&dir).ok()?;
    let arguments = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
    let installed = Command::new(npm).args(arguments).arg(&dir).arg(SIMPLE_HL7).output().ok()?;
    (installed.status.success() && package.is_dir()).then_some(package)
}

#[test]
fn simple_hl7_sends_messages_and_gets_their_answers() {
    let Some(package) = simple_hl7() else { return skip("simple-hl7: npm cannot install it") };
    let place = Place::new("feed_node");
    let feed = Feed::of(&place, &["--no-fold"]);
    let script = format!(
        r#"
        const hl7 = require({package:?});
        const client = hl7.Server.createTcpClient({{ host: "127.0.0.1", port: {port}, keepalive: true,
            callback: (error, ack) => {{
                if (error) {{ console.error(error); process.exit(1); }}
                console.log(ack.log ? ack.log() : ack.toString());
                // Only after this function does the client accept the next message.
                setImmediate(sendNext);
            }} }});
        const parser = new hl7.Parser();
        const messages = {messages};
        function sendNext() {{
            if (messages.length === 0) {{ client.close(); process.exit(0); }}
            client.send(parser.parse(messages.shift()));
        }}
        sendNext();
        "#,
        package = text(&package),
        port = feed.port,
        messages = serde_json::to_string(&stream()).expect("JSON"),
    );
    let sent = Command::new("timeout").args(["60", "node", "-e", &script]).output().expect("node runs");
    let said = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(sent.status.success(), "{said}{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(said.matches("MSA|AA|M").count(), stream().len(), "{said}");
    feed.stop();
    assert_eq!(stored(shared(), &place.database, "messages").len(), stream().len());
}
