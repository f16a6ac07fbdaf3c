//! The demonstration: starts a private mongod, then generates, loads, verifies and shows a synthetic sample.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bson::doc;

use testkit::mongod::Server;
use testkit::wire::Wire;
use testkit::{Doing, Error, Result, root, target_dir};

const ROWS: &str = "10000";
const DOCUMENTS_SHOWN: &str = "3";
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const REMOVAL_ATTEMPTS: usize = 100;
/// File with the port and the connection string of the running server.
const STATE_FILE: &str = "address";
/// medlift's exit code for a load with rejects. The sample contains damaged rows on purpose.
const LOADED_WITH_REJECTS: i32 = 4;

/// Builds Medlift, starts or reuses the demonstration's server, then loads, verifies and shows a sample.
pub fn run() -> Result<()> {
    let medlift = build()?;
    let uri = server_uri(&dir())?;
    let sample = dir().join("sample.csv").display().to_string();
    if !Path::new(&sample).is_file() {
        show(&medlift, &["generate", "--rows", ROWS, "--out", &sample])?;
    }
    show(&medlift, &["load", &sample, "--uri", &uri])?;
    show(&medlift, &["verify", &sample, "--uri", &uri])?;
    show(&medlift, &["export", "--uri", &uri, "--type", "json", "--limit", DOCUMENTS_SHOWN])?;
    println!("\nThe server keeps running. Only this machine can connect to it, and it has only synthetic data.");
    println!("  query the data   mongosh \"{uri}\"");
    println!("  load your file   {} load FILE --uri \"{uri}\"", medlift.display());
    println!("  stop the server  cargo xtask demo --stop");
    Ok(())
}

/// Stops the demonstration's server if it runs, and removes all files of the demonstration.
pub fn stop() -> Result<()> {
    stop_in(&dir())
}

fn dir() -> PathBuf {
    target_dir().join("demo")
}

/// Kills the server instead of shutting it down cleanly, because its data is deleted next.
fn stop_in(dir: &Path) -> Result<()> {
    if let Some(server) = running(dir) {
        let pid = server.pid.to_string();
        Command::new("kill").args(["-s", "KILL", &pid]).status().doing(|| format!("killing mongod {pid}"))?;
        println!("stopped mongod {pid}");
    }
    remove(dir).doing(|| format!("removing {}", dir.display()))
}

/// Removes the directory. Repeats this if it fails, because a process that was just killed may still write a file
/// there.
fn remove(dir: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..REMOVAL_ATTEMPTS {
        result = match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        if result.is_ok() {
            break;
        }
        thread::sleep(POLL);
    }
    result
}

/// Builds the release of Medlift and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = testkit::cargo();
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
    // Removes the settings with which the demonstration would use another database or collection.
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

fn server_uri(dir: &Path) -> Result<String> {
    if let Some(server) = running(dir) {
        println!("mongod {} of an earlier demonstration still runs", server.pid);
        return Ok(server.uri);
    }
    stop_in(dir)?;
    fs::create_dir_all(dir).doing(|| format!("creating {}", dir.display()))?;
    let server = Server::builder().dir(&dir.join("server")).start()?;
    let uri = server.uri();
    let state = format!("{}\n{uri}\n", server.port());
    fs::write(dir.join(STATE_FILE), state).doing(|| "writing the server's address".to_owned())?;
    println!("started a private mongod on port {}", server.port());
    server.leave_running()?;
    Ok(uri)
}

struct Running {
    pid: i64,
    uri: String,
}

/// Returns the demonstration's server if it runs. The port in `STATE_FILE` may belong to another program by now. A
/// server counts only if its data directory is the demonstration's.
fn running(dir: &Path) -> Option<Running> {
    let state = fs::read_to_string(dir.join(STATE_FILE)).ok()?;
    let (port, uri) = state.trim_end().split_once('\n')?;
    let mut wire = Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)), TIMEOUT).ok()?;
    let options = wire.command(&doc! { "getCmdLineOpts": 1, "$db": "admin" }).ok()?;
    let storage = options.get_document("parsed").ok()?.get_document("storage").ok()?;
    let ours = Path::new(storage.get_str("dbPath").ok()?).starts_with(dir);
    let status = wire.command(&doc! { "serverStatus": 1, "$db": "admin" }).ok()?;
    ours.then_some(Running { pid: status.get_i64("pid").unwrap_or_default(), uri: uri.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stops the server even if the test fails.
    struct Stopped(PathBuf);

    impl Drop for Stopped {
        fn drop(&mut self) {
            let _ = stop_in(&self.0);
        }
    }

    #[test]
    fn the_server_stays_until_it_is_stopped() {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = Stopped(scratch.path().join("demo"));
        assert!(running(&dir.0).is_none());
        let uri = server_uri(&dir.0).expect("starts");
        let pid = running(&dir.0).expect("runs").pid;
        assert_eq!(server_uri(&dir.0).expect("is reused"), uri);
        assert_eq!(running(&dir.0).expect("runs").pid, pid);
        stop_in(&dir.0).expect("stops");
        assert!(running(&dir.0).is_none() && !dir.0.exists());
    }

    #[test]
    fn another_server_on_the_same_port_is_not_the_demonstrations() {
        let scratch = tempfile::tempdir().expect("a directory");
        let stranger = Server::builder().start().expect("starts");
        fs::write(scratch.path().join(STATE_FILE), format!("{}\n{}\n", stranger.port(), stranger.uri()))
            .expect("writes");
        assert!(running(scratch.path()).is_none());
    }
}
