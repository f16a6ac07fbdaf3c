//! Checks host names, ports and TLS.

use std::time::Duration;

use mongodb::options::{ClientOptions, ServerAddress, Tls};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Finding, Step};
use crate::server::{Unreachable, are_on_this_machine};

/// Time limit for the look-up of a host name, and for a connection to one address.
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
        findings.push(finding(Step::Port, &silent, hosts.len() - unnamed.len(), "every port accepts connections"));
    }
    unreachable.len() < hosts.len()
}

/// Makes the finding of a step that examined `of` hosts. If only some hosts failed, the finding is a warning, because a
/// replica set can work while one member is down. If all hosts failed, the step has failed.
fn finding(step: Step, failed: &[String], of: usize, fine: &str) -> Finding {
    match failed.len() {
        0 => Finding::ok(step, fine),
        count if count < of => Finding::warning(step, failed.join("; ")),
        _ => Finding::failed(step, failed.join("; ")),
    }
}

/// Checks whether the host at `address` accepts connections.
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

/// Makes the finding about TLS, for a connection that succeeded.
pub(super) fn tls(options: &ClientOptions) -> Finding {
    match &options.tls {
        Some(Tls::Enabled(_)) => Finding::ok(Step::Tls, "on, and the server's certificate is valid"),
        _ if are_on_this_machine(&options.hosts) => Finding::ok(Step::Tls, "off; the server is on this machine"),
        _ => Finding::warning(
            Step::Tls,
            "off: patient data is sent over the network without encryption; enable TLS on the server and add --tls",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn some_failed_hosts_are_a_warning_and_all_failed_hosts_a_failure() {
        let check = |failed: &[&str], of: usize, state: State, message: &str| {
            let failed: Vec<String> = failed.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(finding(Step::Port, &failed, of, "fine"), Finding::new(Step::Port, state, message));
        };
        check(&[], 1, State::Ok, "fine");
        check(&["a"], 1, State::Failed, "a");
        check(&["a"], 2, State::Warning, "a");
        check(&["a", "b"], 3, State::Warning, "a; b");
        check(&["a", "b"], 2, State::Failed, "a; b");
    }

    fn hosts(list: &str) -> Vec<ServerAddress> {
        list.split(',').map(|host| ServerAddress::parse(host).expect("an address")).collect()
    }

    #[test]
    fn a_connection_without_tls_is_correct_only_on_this_machine() {
        let check = |list: &str, on: bool, state: State| {
            let mut options = ClientOptions::default();
            options.hosts = hosts(list);
            options.tls = on.then(|| Tls::Enabled(mongodb::options::TlsOptions::default()));
            assert_eq!(tls(&options).state, state, "{list}");
        };
        check("localhost,127.0.0.1:1", false, State::Ok);
        check("localhost,h", false, State::Warning);
        check("h", false, State::Warning);
        check("h", true, State::Ok);
    }

    #[test]
    fn a_deployment_is_reachable_if_one_member_is_down() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let open = listener.local_addr().expect("bound").port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let check = |list: &str, is_reachable: bool, expected: &[(Step, State)]| {
            let mut findings = Vec::new();
            assert_eq!(runtime.block_on(examine(&hosts(list), &mut findings)), is_reachable, "{list}");
            let found: Vec<_> = findings.iter().map(|finding| (finding.step, finding.state)).collect();
            assert_eq!(found, expected, "{list}: {findings:?}");
        };
        let (name, port) = ((Step::Name, State::Ok), |state| (Step::Port, state));
        check(&format!("127.0.0.1:{open}"), true, &[name, port(State::Ok)]);
        check(&format!("127.0.0.1:{open},127.0.0.1:1"), true, &[name, port(State::Warning)]);
        check("127.0.0.1:1", false, &[name, port(State::Failed)]);
    }
}
