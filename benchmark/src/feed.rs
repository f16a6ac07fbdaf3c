//! The scenario `feed`: messages over MLLP, each acknowledged when it is durable. `medlift send` sends them to each
//! receiver: over 32 connections and over one, of which each waits for its answer, and at a fixed rate.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contender::Tools;
use crate::inputs;
use crate::options::Options;
use crate::outcome::median;
use crate::stand::{COLLECTION, DATABASE, Stand};
use testkit::{Doing, Error, Result};

/// Messages per second at the fixed rate.
const RATE: u64 = 2_000;
/// How long messages are sent at the fixed rate.
const RATE_SECONDS: u64 = 10;
/// The share of the messages that one connection sends.
const ONE_SHARE: u64 = 10;
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A program that receives messages, and the arguments before its port.
struct Receiver {
    name: &'static str,
    command: Box<dyn Fn(u16) -> Vec<String>>,
}

/// How messages are sent.
struct Load {
    name: &'static str,
    messages: u64,
    arguments: Vec<String>,
    /// The number in the result of `medlift send`, and what it is.
    number: (&'static str, &'static str),
}

/// Measures all receivers. Returns the medians.
pub(crate) fn findings(
    stand: &mut Stand<'_>,
    tools: &Tools<'_>,
    messages: u64,
    options: &Options,
) -> Result<Vec<(String, f64)>> {
    let receivers: Vec<Receiver> =
        receivers(tools)?.into_iter().filter(|receiver| options.admits(receiver.name)).collect();
    let mut found = Vec::new();
    for load in loads(messages) {
        let source = tools.inputs.messages(load.messages)?;
        let mut numbers = vec![Vec::new(); receivers.len()];
        for turn in 1..=options.runs {
            for (receiver, numbers) in receivers.iter().zip(&mut numbers) {
                stand.drop_database()?;
                let number = measure(tools, receiver, &load, &source)?;
                eprintln!("{turn}/{} {}, {}: {number:.1} {}", options.runs, receiver.name, load.name, load.number.1);
                numbers.push(number);
            }
        }
        for (receiver, numbers) in receivers.iter().zip(numbers) {
            found.push((format!("{}, {}: {}", receiver.name, load.name, load.number.1), median(numbers)));
        }
    }
    Ok(found)
}

fn receivers(tools: &Tools<'_>) -> Result<Vec<Receiver>> {
    let (medlift, uri) = (tools.inputs.medlift.display().to_string(), tools.uri.clone());
    let listen = |options: &'static [&'static str]| {
        let (medlift, uri) = (medlift.clone(), uri.clone());
        move |port: u16| {
            let port = port.to_string();
            let fixed = ["listen", "--mllp", &port, "--uri", &uri, "--db", DATABASE, "--quiet"];
            std::iter::once(medlift.as_str()).chain(fixed).chain(options.iter().copied()).map(str::to_owned).collect()
        }
    };
    let (python, script) =
        (tools.inputs.python()?.display().to_string(), inputs::program("feed.py").display().to_string());
    let script = {
        let uri = uri.clone();
        move |port: u16| [&python, &script, &port.to_string(), &uri, DATABASE, COLLECTION].map(str::to_owned).into()
    };
    Ok(vec![
        Receiver { name: "medlift listen", command: Box::new(listen(&[])) },
        Receiver { name: "medlift listen --no-fold", command: Box::new(listen(&["--no-fold"])) },
        Receiver { name: "script (python-hl7, pymongo)", command: Box::new(script) },
    ])
}

fn loads(messages: u64) -> [Load; 3] {
    let arguments = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    [
        Load {
            name: "32 connections",
            messages,
            arguments: arguments(&["--connections", "32"]),
            number: ("per_second", "acknowledged per second"),
        },
        Load {
            name: "1 connection",
            messages: (messages / ONE_SHARE).max(1),
            arguments: arguments(&["--connections", "1"]),
            number: ("per_second", "acknowledged per second"),
        },
        Load {
            name: "2,000 messages/s over 32 connections",
            messages: RATE * RATE_SECONDS,
            arguments: arguments(&["--connections", "32", "--rate", &RATE.to_string()]),
            number: ("p99_ms", "ms, 99 % of the answers"),
        },
    ]
}

/// Starts the receiver, sends the messages, and ends the receiver.
fn measure(tools: &Tools<'_>, receiver: &Receiver, load: &Load, source: &Path) -> Result<f64> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(|| "finding a port".to_owned())?;
    let port = free.local_addr().doing(|| "finding a port".to_owned())?.port();
    drop(free);
    let mut running = start(&(receiver.command)(port))?;
    let sent = wait_for(port, &mut running).and_then(|()| send(tools, port, load, source));
    // The end of the receiver is not measured: an `Err` only says that it has ended already.
    let _ = Command::new("kill").arg(running.id().to_string()).status();
    let _ = running.wait();
    let sent = sent.map_err(|error| Error::failed(format!("{}, {}: {error}", receiver.name, load.name)))?;
    if sent["accepted"].as_u64() != Some(load.messages) {
        return Err(Error::failed(format!("{} did not accept all messages: {sent}", receiver.name)));
    }
    sent[load.number.0].as_f64().ok_or_else(|| Error::failed(format!("medlift send: no {} in {sent}", load.number.0)))
}

fn start(command: &[String]) -> Result<Child> {
    let mut program = Command::new(&command[0]);
    for variable in ["MONGODB_URI", "DB_NAME", "COLLECTION_NAME"] {
        program.env_remove(variable);
    }
    program.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    program.spawn().doing(|| format!("starting {}", command[0]))
}

fn wait_for(port: u16, running: &mut Child) -> Result<()> {
    let until = Instant::now() + START_TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let has_ended = running.try_wait().doing(|| "waiting for the receiver".to_owned())?.is_some();
        if has_ended || Instant::now() > until {
            return Err(Error::failed("the receiver does not accept connections"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn send(tools: &Tools<'_>, port: u16, load: &Load, source: &Path) -> Result<Value> {
    let mut sender = Command::new(&tools.inputs.medlift);
    sender.arg("send").arg(source).args(["--mllp", &format!("127.0.0.1:{port}"), "--json"]).args(&load.arguments);
    let output = sender.output().doing(|| "running medlift send".to_owned())?;
    let said = || Error::failed(format!("medlift send: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
    serde_json::from_slice(&output.stdout).map_err(|_| said())
}
