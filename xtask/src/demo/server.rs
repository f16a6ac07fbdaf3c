//! The demonstration's mongod. It keeps running when the command has ended, until `cargo xtask demo --stop`.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bson::doc;

use testkit::mongod::Server;
use testkit::wire::Wire;
use testkit::{Doing, Result};

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const REMOVAL_ATTEMPTS: usize = 100;
/// File with the port and the connection string of the running server.
const STATE_FILE: &str = "address";

/// The demonstration's server, while it runs.
pub(super) struct Running {
    pid: i64,
    port: u16,
    uri: String,
}

impl Running {
    /// Connects to the server.
    pub(super) fn connect(&self) -> Result<Wire> {
        connect(self.port)
    }

    /// The connection string, with this database.
    pub(super) fn uri(&self, database: &str) -> String {
        self.uri.replacen("/?", &format!("/{database}?"), 1)
    }
}

/// Kills the server instead of shutting it down cleanly, because its data is deleted next.
pub(super) fn stop_in(dir: &Path) -> Result<()> {
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

/// Returns the server of an earlier demonstration if it still runs. Otherwise starts one.
pub(super) fn start_or_reuse(dir: &Path) -> Result<Running> {
    if let Some(server) = running(dir) {
        println!("mongod {} of an earlier demonstration still runs", server.pid);
        return Ok(server);
    }
    stop_in(dir)?;
    fs::create_dir_all(dir).doing(|| format!("creating {}", dir.display()))?;
    let server = Server::builder().dir(&dir.join("server")).start()?;
    let (pid, port, uri) = (i64::from(server.pid().unwrap_or_default()), server.port(), server.uri());
    fs::write(dir.join(STATE_FILE), format!("{port}\n{uri}\n")).doing(|| "writing the server's address".to_owned())?;
    println!("started a private mongod on port {port}");
    server.leave_running()?;
    Ok(Running { pid, port, uri })
}

/// Returns the demonstration's server if it runs. The port in `STATE_FILE` may belong to another program by now. A
/// server counts only if its data directory is the demonstration's.
fn running(dir: &Path) -> Option<Running> {
    let state = fs::read_to_string(dir.join(STATE_FILE)).ok()?;
    let (port, uri) = state.trim_end().split_once('\n')?;
    let port = port.parse().ok()?;
    let mut wire = connect(port).ok()?;
    let options = wire.command(&doc! { "getCmdLineOpts": 1, "$db": "admin" }).ok()?;
    let storage = options.get_document("parsed").ok()?.get_document("storage").ok()?;
    let ours = Path::new(storage.get_str("dbPath").ok()?).starts_with(dir);
    let status = wire.command(&doc! { "serverStatus": 1, "$db": "admin" }).ok()?;
    ours.then_some(Running { pid: status.get_i64("pid").unwrap_or_default(), port, uri: uri.to_owned() })
}

fn connect(port: u16) -> Result<Wire> {
    Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
        let started = start_or_reuse(&dir.0).expect("starts");
        let reused = start_or_reuse(&dir.0).expect("is reused");
        assert_eq!((started.pid, started.port, &started.uri), (reused.pid, reused.port, &reused.uri));
        assert!(started.uri("demo").ends_with("/demo?replicaSet=rs0"), "{}", started.uri("demo"));
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
