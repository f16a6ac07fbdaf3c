//! A Slurm cluster on this machine: a controller, and nodes that have their own process ids and host names.
//!
//! A node is a `slurmd` in its own Linux namespaces. If the `slurmd` is killed, the kernel kills all processes of the
//! node, as if the machine had failed. Workers on different nodes cannot see each other's processes. So a worker learns
//! only from the ledger that another worker has ended, as on several machines.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::watchdog::{Target, Watchdog};
use testkit::{Doing, Error, Result, on_path};

use super::wait_until;
use crate::compose_test::{outcome, succeeds};
use crate::left_out;

/// The names of the nodes.
pub(super) const NODES: [&str; 3] = ["n1", "n2", "n3"];

const PACKAGES: [&str; 2] = ["slurm-wlm", "munge"];
const PROGRAMS: [&str; 4] = ["munged", "slurmctld", "slurmd", "unshare"];
const START_TIMEOUT: Duration = Duration::from_mins(1);
const HOSTS: &str = "/etc/hosts";
const TO_STRING: &str = "writing to a String cannot fail";

/// The beginning of slurm.conf. Each server listens only on the loopback address. If a node does not answer for ten
/// seconds, Slurm starts its tasks again (`SlurmdTimeout`, `JobRequeue`).
const SETTINGS: &str = "\
ClusterName=medlift
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
ReturnToService=2
JobRequeue=1
RequeueExit=6
";

/// A running cluster. Its processes are killed and its files are removed when this value is dropped, and also if this
/// process is killed.
pub(super) struct Cluster {
    dir: PathBuf,
    /// All servers. The first one leads the process group of the others.
    servers: Vec<Child>,
    nodes: Vec<Child>,
    _watchdog: Watchdog,
}

/// Installs Slurm if it is missing. If this machine cannot run the cluster, reports the reason and returns false.
pub(super) fn prepare() -> Result<bool> {
    let obstacle = match missing() {
        names if names.is_empty() => None,
        names if !is_root() || on_path("apt-get").is_none() => {
            Some(format!("{} is not installed, and only root can install it with apt-get", names.join(", ")))
        }
        _ => install()?,
    };
    let obstacle = obstacle.or_else(|| {
        let is_possible = succeeds(unshare().args(["mount", "--bind", HOSTS, HOSTS]));
        (!is_possible).then(|| "this user may not create namespaces".to_owned())
    });
    if let Some(obstacle) = &obstacle {
        left_out::report(&format!("a load by an array of Slurm tasks, of which some are killed; {obstacle}"));
    }
    Ok(obstacle.is_none())
}

fn missing() -> Vec<&'static str> {
    PROGRAMS.into_iter().filter(|program| program_path(program).is_none()).collect()
}

/// Returns the path of a program. Also looks in `/usr/sbin`, which contains the servers but may be missing on PATH.
fn program_path(name: &str) -> Option<PathBuf> {
    on_path(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Installs the packages. Returns the reason if they cannot be installed.
fn install() -> Result<Option<String>> {
    eprintln!("==> install {}", PACKAGES.join(" and "));
    let apt = |arguments: &[&str]| -> Result<bool> {
        let mut apt = Command::new("apt-get");
        apt.args(["-o", "DPkg::Lock::Timeout=120", "-qq"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        let status = apt.stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.doing(|| "running apt-get".to_owned()).map(|status| status.success())
    };
    let is_installed =
        apt(&["update"])? && apt(&[&["install", "-y", "--no-install-recommends"], &PACKAGES[..]].concat())?;
    Ok((!is_installed || !missing().is_empty()).then(|| format!("apt-get cannot install {}", PACKAGES.join(" and "))))
}

/// Returns a command that runs the program in its arguments with separate process ids, host name and mounts.
fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]);
    unshare
}

impl Cluster {
    /// Starts the cluster and waits until its nodes are idle. `dir` is a new directory for the cluster's files.
    pub(super) fn start(dir: PathBuf) -> Result<Self> {
        let mut watchdog = Watchdog::guard(Some(&dir))?;
        // munged does not start if other users cannot reach its socket.
        fs::set_permissions(&dir, Permissions::from_mode(0o711)).doing(|| format!("opening {}", dir.display()))?;
        let munged = start_munged(&dir)?;
        watchdog.watch(Target::Group(munged.id()))?;
        let mut cluster = Self { dir, servers: vec![munged], nodes: Vec::new(), _watchdog: watchdog };
        cluster.wait_for("munged has a socket", || Ok(cluster.dir.join("munge/socket").exists()))?;
        cluster.write_settings()?;
        cluster.spawn_controller()?;
        for node in NODES {
            cluster.spawn_node(node)?;
        }
        cluster.wait_for("all nodes are idle", || {
            let idle = cluster.slurm("sinfo", &["--noheader", "--states=idle", "--format=%D"]);
            Ok(idle.is_ok_and(|count| count.trim() == NODES.len().to_string()))
        })?;
        Ok(cluster)
    }

    /// The directory of the cluster's files.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the cluster's settings. The environment of each task names it.
    pub(super) fn settings(&self) -> PathBuf {
        self.dir.join("slurm.conf")
    }

    /// Runs a command of Slurm and returns its standard output.
    pub(super) fn slurm(&self, program: &str, arguments: &[&str]) -> Result<String> {
        outcome(Command::new(program).args(arguments).env("SLURM_CONF", self.settings()), program)
    }

    /// Kills a node and all its processes with SIGKILL.
    pub(super) fn kill_node(&mut self, node: &str) -> Result<()> {
        let at = NODES.iter().position(|name| *name == node);
        let child = at.and_then(|at| self.nodes.get_mut(at)).ok_or_else(|| Error::failed(format!("no node {node}")))?;
        child.kill().and_then(|()| child.wait()).doing(|| format!("killing the node {node}")).map(drop)
    }

    /// Prints the last lines of the log of each server.
    pub(super) fn show_logs(&self) {
        for name in ["slurmctld.log", "n1.log", "n2.log", "n3.log"] {
            let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }

    fn wait_for(&self, what: &str, is_there: impl FnMut() -> Result<bool>) -> Result<()> {
        wait_until(what, START_TIMEOUT, is_there).inspect_err(|_| self.show_logs())
    }

    fn write_settings(&self) -> Result<()> {
        let (dir, ports) = (self.dir.display(), free_ports(1 + NODES.len())?);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").doing(|| "reading the host name".to_owned())?;
        let host = host.trim().split('.').next().unwrap_or_default();
        // `cred_expire`: a task that Slurm starts again waits until its old credential has expired, here 5 seconds.
        let mut text = format!(
            "{SETTINGS}SlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\n\
             AuthInfo=socket={dir}/munge/socket,cred_expire=5\nStateSaveLocation={dir}/state\n\
             SlurmctldPidFile={dir}/slurmctld.pid\nSlurmctldLogFile={dir}/slurmctld.log\n\
             SlurmdSpoolDir={dir}/spool.%n\nSlurmdPidFile={dir}/%n.pid\nSlurmdLogFile={dir}/%n.log\n",
            ports[0]
        );
        for (node, port) in NODES.iter().zip(&ports[1..]) {
            writeln!(text, "NodeName={node} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000").expect(TO_STRING);
        }
        // LLN (least loaded node): Slurm starts a task on the node with the fewest tasks.
        writeln!(text, "PartitionName=all Nodes={} Default=YES LLN=YES State=UP", NODES.join(",")).expect(TO_STRING);
        fs::create_dir(self.dir.join("state")).doing(|| "creating the controller's directory".to_owned())?;
        fs::write(self.settings(), text).doing(|| "writing slurm.conf".to_owned())?;
        let hosts = fs::read_to_string(HOSTS).unwrap_or_default() + &format!("\n127.0.0.1 {}\n", NODES.join(" "));
        fs::write(self.dir.join("hosts"), hosts).doing(|| "writing the nodes' names".to_owned())
    }

    fn spawn_controller(&mut self) -> Result<()> {
        let mut slurmctld = Command::new(path_of("slurmctld")?);
        slurmctld.arg("-D");
        let controller = self.spawn("slurmctld", slurmctld)?;
        self.servers.push(controller);
        Ok(())
    }

    /// Starts a node. The node has its own `/etc/hosts`, in which the names of all nodes have the address 127.0.0.1.
    fn spawn_node(&mut self, name: &str) -> Result<()> {
        let script =
            "mount --bind \"$1\" /etc/hosts && echo \"$2\" >/proc/sys/kernel/hostname && exec \"$3\" -D -N \"$2\"";
        let mut node = unshare();
        node.args(["sh", "-c", script, "node"]).arg(self.dir.join("hosts")).arg(name).arg(path_of("slurmd")?);
        let node = self.spawn(name, node)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts a server in the process group of the first server.
    fn spawn(&self, name: &str, mut command: Command) -> Result<Child> {
        command.env("SLURM_CONF", self.settings()).process_group(self.servers[0].id().cast_signed());
        spawn_silently(command, &self.dir.join(format!("{name}.out")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The nodes are killed before the controller, so that no task continues without the controller.
        for child in self.nodes.iter_mut().chain(self.servers.iter_mut().rev()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts munged, which signs the messages between Slurm's servers. It uses its own key and its own socket, so it does
/// not disturb another munged on this machine.
fn start_munged(dir: &Path) -> Result<Child> {
    let munge = dir.join("munge");
    fs::create_dir(&munge).doing(|| format!("creating {}", munge.display()))?;
    let mut key = [0; 128];
    let random = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut key));
    random.doing(|| "reading random bytes".to_owned())?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(munge.join("key"));
    file.and_then(|mut file| file.write_all(&key)).doing(|| "writing munge's key".to_owned())?;
    let mut munged = Command::new(path_of("munged")?);
    munged.arg("--foreground").process_group(0);
    for (option, name) in
        [("socket", "socket"), ("key-file", "key"), ("log-file", "log"), ("pid-file", "pid"), ("seed-file", "seed")]
    {
        munged.arg(format!("--{option}={}", munge.join(name).display()));
    }
    spawn_silently(munged, &munge.join("out"))
}

fn path_of(program: &str) -> Result<PathBuf> {
    program_path(program).ok_or_else(|| Error::failed(format!("{program} is not installed")))
}

fn spawn_silently(mut command: Command, output: &Path) -> Result<Child> {
    let file = File::create(output).doing(|| format!("creating {}", output.display()))?;
    let copy = file.try_clone().doing(|| format!("opening {}", output.display()))?;
    let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
    child.doing(|| format!("starting {}", command.get_program().display()))
}

/// Returns free ports. Another process can take a port before the cluster uses it.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let ports: std::io::Result<Vec<u16>> = listeners.and_then(|all| all.iter().map(port).collect());
    ports.doing(|| "looking for free ports".to_owned())
}
