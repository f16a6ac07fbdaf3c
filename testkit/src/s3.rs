//! A server for tests that answers like S3: moto, a Python program, on a loopback port. Also a proxy that disturbs the
//! connections to this server.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::mongod::free_port;
use crate::pypi::{lock, run};
use crate::watchdog::{Target, Watchdog};
use crate::{Doing, Error, Result, target_dir};

const REQUIREMENT: &str = "moto[server]==5.2.5";
/// An invented signature. Without one, moto refuses to replace an object. It does not check whether it is valid.
const SIGNATURE: &str =
    "Authorization: AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
/// Maximum number of keys in one reply to a request that lists keys. S3 has 1,000. The tests use fewer, because storing
/// 1,000 objects in moto takes too long.
pub const PAGE_KEYS: usize = 20;
const START_TIMEOUT: Duration = Duration::from_mins(1);
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A running moto. It is killed when this value is dropped or this process ends.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    _watchdog: Watchdog,
    port: u16,
}

impl Moto {
    /// Returns the moto that the tests of this process share. If moto cannot be started, prints a notice once and
    /// returns `None`. Possible reasons: PyPI cannot be reached, or Python lacks `venv`.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match Self::start() {
            Ok(moto) => Some(moto),
            Err(error) => {
                // Does not use `eprintln!`, because the test harness captures its output.
                let notice = format!("\nSKIPPED: the tests of S3, because there is no S3 server here: {error}\n");
                let _ = io::stderr().write_all(notice.as_bytes());
                None
            }
        });
        shared.as_ref()
    }

    fn start() -> Result<Self> {
        let program = installed()?.join("bin/moto_server");
        let doing = || format!("starting {}", program.display());
        let port = free_port()?;
        let mut watchdog = Watchdog::guard(None)?;
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.env("MOTO_S3_DEFAULT_MAX_KEYS", PAGE_KEYS.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().doing(doing)?;
        watchdog.watch(Target::Process(process.id()))?;
        let mut moto = Self { process, _watchdog: watchdog, port };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = moto.process.try_wait().doing(doing)?;
            if Instant::now() > deadline || ended.is_some() {
                return Err(Error::failed("moto did not start"));
            }
            thread::sleep(POLL);
        }
        Ok(moto)
    }

    /// Returns the value of `AWS_ENDPOINT_URL` for this server.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Creates a bucket.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.put(bucket, b"")
    }

    /// Makes the bucket store versions of its objects.
    pub fn enable_versions(&self, bucket: &str) -> Result<()> {
        let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.put(&format!("{bucket}?versioning"), body)
    }

    /// Stores an object. `path` has the form `bucket/key`.
    pub fn put(&self, path: &str, body: &[u8]) -> Result<()> {
        self.request("PUT", path, body).map(drop)
    }

    /// Returns the content of an object. `path` has the form `bucket/key`.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.request("GET", path, b"")
    }

    /// Returns the keys of the objects in a bucket, in their order.
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>> {
        let list = self.get(&format!("{bucket}?list-type=2&max-keys=1000"))?;
        let list = String::from_utf8_lossy(&list);
        let key = |text: &str| text.split("</Key>").next().unwrap_or_default().to_owned();
        Ok(list.split("<Key>").skip(1).map(key).collect())
    }

    /// Denies an action, such as `s3:PutObject`, on all objects of a bucket. Replaces earlier denials.
    pub fn deny(&self, bucket: &str, action: &str) -> Result<()> {
        let policy = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Deny", "Principal": "*", "Action": "{action}",
                "Resource": "arn:aws:s3:::{bucket}/*"}}]}}"#
        );
        self.put(&format!("{bucket}?policy"), policy.as_bytes())
    }

    /// Returns host and port of this server.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Deletes an object. `path` has the form `bucket/key`.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.request("DELETE", path, b"").map(drop)
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let doing = || format!("{method} {path}");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).doing(doing)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).doing(doing)?;
        let head = format!(
            "{method} /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{SIGNATURE}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).doing(doing)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).doing(doing)?;
        if reply.starts_with(b"HTTP/1.1 2") {
            let body = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(reply.len(), |end| end + 4);
            return Ok(reply.split_off(body));
        }
        let text = String::from_utf8_lossy(&reply);
        Err(Error::failed(format!("{method} {path}: {}", text.lines().next().unwrap_or_default())))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the directory of a Python environment with moto, `target/moto/environment`. If it does not exist, makes it
/// with pip.
fn installed() -> Result<PathBuf> {
    let cache = target_dir().join("moto");
    let (environment, complete) = (cache.join("environment"), cache.join(format!("{REQUIREMENT} is installed")));
    let _lock = lock(&cache)?;
    if !complete.is_file() {
        eprintln!("fetching {REQUIREMENT} from PyPI");
        let mut venv = Command::new("python3");
        run("making a Python environment", venv.args(["-m", "venv", "--clear"]).arg(&environment))?;
        let mut pip = Command::new(environment.join("bin/pip"));
        let install = pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", REQUIREMENT]);
        run("installing moto", install)?;
        File::create(&complete).doing(|| format!("creating {}", complete.display()))?;
    }
    Ok(environment)
}

/// The way in which a [`Proxy`] disturbs one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers the first request with status 503, and closes the connection.
    Busy,
    /// Forwards this number of bytes from the server, and then closes the connection.
    Cut(usize),
    /// Forwards this number of bytes from the server, and then nothing. Closes the connection 30 seconds later.
    Stall(usize),
}

/// A proxy on a loopback port, through which a test connects to moto. Each fault applies to one connection. When no
/// faults are left, the proxy only forwards.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl Proxy {
    /// Starts a proxy. The first fault applies to the first connection, the second fault to the second connection, and
    /// so on. The proxy's threads end with this process.
    pub fn start(server: &Moto, faults: &[Fault]) -> Result<Self> {
        let doing = || "starting a proxy".to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(doing)?;
        let port = listener.local_addr().doing(doing)?.port();
        let faults = Arc::new(Mutex::new(faults.iter().rev().copied().collect::<Vec<_>>()));
        let (left, target) = (Arc::clone(&faults), server.port);
        thread::spawn(move || {
            for client in listener.incoming().map_while(io::Result::ok) {
                let fault = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                thread::spawn(move || forward(client, target, fault));
            }
        });
        Ok(Self { port, faults })
    }

    /// Returns the value of `AWS_ENDPOINT_URL` for this proxy.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the number of faults that no connection has received yet.
    pub fn faults_left(&self) -> usize {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn forward(mut client: TcpStream, target: u16, fault: Option<Fault>) -> io::Result<()> {
    if fault == Some(Fault::Busy) {
        let mut head = BufReader::new(client.try_clone()?).lines();
        while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let body = "<Error><Code>SlowDown</Code></Error>";
        return write!(
            client,
            "HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target))?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let limit = match fault {
        Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes as u64,
        _ => u64::MAX,
    };
    io::copy(&mut server.take(limit), &mut client)?;
    if let Some(Fault::Stall(_)) = fault {
        thread::sleep(REPLY_TIMEOUT);
    }
    client.shutdown(Shutdown::Both)
}
