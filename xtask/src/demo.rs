//! The demonstration: a private mongod, a synthetic sample, and Medlift's main job done on it in front of the reader.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bson::doc;

use crate::error::Doing;
use crate::mongod::Server;
use crate::wire::Wire;
use crate::{Error, Result, root, target_dir};

const ROWS: &str = "10000";
const DOCUMENTS_SHOWN: &str = "3";
const TIMEOUT: Duration = Duration::from_secs(30);
/// medlift's exit status for a load that left rejects behind: the sample has damaged rows on purpose.
const LOADED_WITH_REJECTS: i32 = 4;

/// Builds Medlift, starts or reuses the demonstration's server, and loads, verifies and shows a sample.
pub fn run() -> Result<()> {
    let medlift = build()?;
    let uri = server_uri()?;
    let sample = dir().join("sample.csv");
    let sample = sample.display().to_string();
    if !Path::new(&sample).is_file() {
        show(&medlift, &["generate", "--rows", ROWS, "--out", &sample])?;
    }
    show(&medlift, &["load", &sample, "--uri", &uri])?;
    show(&medlift, &["verify", &sample, "--uri", &uri])?;
    show(&medlift, &["export", "--uri", &uri, "--type", "json", "--limit", DOCUMENTS_SHOWN])?;
    println!("\nThe server keeps running, on this machine alone and with synthetic data alone.");
    println!("  look around  mongosh \"{uri}\"");
    println!("  your file    {} load FILE --uri \"{uri}\"", medlift.display());
    println!("  stop         cargo xtask demo --stop");
    Ok(())
}

/// Stops the server, if it runs, and removes everything that the demonstration wrote.
pub fn stop() -> Result<()> {
    if let Some(mut server) = running() {
        let pid = server.pid;
        // The server closes the connection instead of answering.
        let _ = server.wire.command(&doc! { "shutdown": 1, "force": true, "$db": "admin" });
        println!("stopped mongod {pid}");
    }
    if dir().exists() {
        fs::remove_dir_all(dir()).doing(|| format!("removing {}", dir().display()))?;
    }
    Ok(())
}

fn dir() -> PathBuf {
    target_dir().join("demo")
}

fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--package", "medlift"]).current_dir(root());
    println!("$ cargo build --release");
    let status = cargo.status().doing(|| "running cargo".to_owned())?;
    if !status.success() {
        return Err(Error::failed(format!("building medlift failed: {status}")));
    }
    Ok(target_dir().join("release").join("medlift"))
}

fn show(medlift: &Path, arguments: &[&str]) -> Result<()> {
    println!("\n$ medlift {}", arguments.join(" "));
    let mut command = Command::new(medlift);
    // The reader's own settings must not lead the demonstration to another database.
    for variable in ["MONGODB_URI", "DB_NAME", "COLLECTION_NAME"] {
        command.env_remove(variable);
    }
    let status =
        command.args(arguments).current_dir(dir()).status().doing(|| format!("running {}", medlift.display()))?;
    match status.code() {
        Some(0 | LOADED_WITH_REJECTS) => Ok(()),
        _ => Err(Error::failed(format!("medlift {} failed: {status}", arguments[0]))),
    }
}

fn server_uri() -> Result<String> {
    if let Some(server) = running() {
        println!("mongod {} of an earlier demonstration still runs", server.pid);
        return Ok(server.uri);
    }
    stop()?;
    fs::create_dir_all(dir()).doing(|| format!("creating {}", dir().display()))?;
    let server = Server::builder().dir(&dir().join("server")).start()?;
    let uri = server.uri();
    fs::write(state_file(), format!("{}\n{uri}\n", server.port()))
        .doing(|| "writing the server's address".to_owned())?;
    println!("started a private mongod on port {}", server.port());
    server.leave_running()?;
    Ok(uri)
}

fn state_file() -> PathBuf {
    dir().join("address")
}

struct Running {
    wire: Wire,
    pid: i64,
    uri: String,
}

/// The demonstration's server, if it runs. A server on the remembered port counts only if it holds the demonstration's
/// data: the port may have been given to somebody else since.
fn running() -> Option<Running> {
    let state = fs::read_to_string(state_file()).ok()?;
    let (port, uri) = state.trim_end().split_once('\n')?;
    let mut wire = Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)), TIMEOUT).ok()?;
    let options = wire.command(&doc! { "getCmdLineOpts": 1, "$db": "admin" }).ok()?;
    let storage = options.get_document("parsed").ok()?.get_document("storage").ok()?;
    let ours = Path::new(storage.get_str("dbPath").ok()?).starts_with(dir());
    let status = wire.command(&doc! { "serverStatus": 1, "$db": "admin" }).ok()?;
    ours.then_some(Running { wire, pid: status.get_i64("pid").unwrap_or_default(), uri: uri.to_owned() })
}
