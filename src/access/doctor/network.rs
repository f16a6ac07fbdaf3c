//! Examines host names, ports and TLS.

use std::time::Duration;

use mongodb::options::{ClientOptions, ServerAddress, Tls};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Finding, Step};
use crate::access::Unreachable;
use crate::access::connect::is_loopback;

/// Time limit for each host.
const HOST_TIMEOUT: Duration = Duration::from_secs(3);

/// Resolves every host name and connects to every port. Returns true if at least one host can be reached.
pub(super) async fn examine(hosts: &[ServerAddress], findings: &mut Vec<Finding>) -> bool {
    let mut unreachable = Vec::new();
    for host in hosts {
        if let Err(how) = knock(host).await {
            unreachable.push((host.to_string(), how));
        }
    }
    let list = |of: &dyn Fn(Unreachable) -> bool| {
        let named = unreachable.iter().filter(|(_, how)| of(*how));
        named.map(|(host, how)| format!("{host}: {how}")).collect::<Vec<_>>()
    };
    let (unnamed, silent) = (list(&|how| how == Unreachable::Name), list(&|how| how != Unreachable::Name));
    findings.push(finding(Step::Name, &unnamed, hosts.len(), "every host has an address"));
    if unnamed.len() < hosts.len() {
        findings.push(finding(Step::Port, &silent, hosts.len() - unnamed.len(), "every port takes connections"));
    }
    unreachable.len() < hosts.len()
}

/// If some hosts fail, a member may be down, which is a warning. If all hosts fail, the deployment cannot be reached.
fn finding(step: Step, failed: &[String], of: usize, fine: &str) -> Finding {
    match failed.len() {
        0 => Finding::ok(step, fine),
        count if count < of => Finding::warning(step, failed.join("; ")),
        _ => Finding::failed(step, failed.join("; ")),
    }
}

/// Tests whether the host at `address` accepts connections.
pub(super) async fn knock(address: &ServerAddress) -> Result<(), Unreachable> {
    let ServerAddress::Tcp { host, port } = address else { return Ok(()) };
    let looked_up = timeout(HOST_TIMEOUT, lookup_host((host.as_str(), port.unwrap_or(27017)))).await;
    let Ok(Ok(addresses)) = looked_up else { return Err(Unreachable::Name) };
    let mut last = Unreachable::Name;
    for address in addresses {
        match timeout(HOST_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => last = Unreachable::Refused,
            _ => last = Unreachable::Silent,
        }
    }
    Err(last)
}

/// Creates the finding on TLS for a connection that works.
pub(super) fn tls(options: &ClientOptions) -> Finding {
    match &options.tls {
        Some(Tls::Enabled(_)) => Finding::ok(Step::Tls, "on, and the server's certificate holds"),
        _ if options.hosts.iter().all(is_loopback) => Finding::ok(Step::Tls, "off; the server is on this machine"),
        _ => Finding::warning(
            Step::Tls,
            "off: patient data goes over the network in the clear; switch TLS on at the server and add --tls",
        ),
    }
}
