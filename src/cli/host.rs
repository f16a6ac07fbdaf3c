//! The options `--host` and `--port`, as the MongoDB Database Tools have them.

use medlift::server::Secret;

/// The host if only `--port` is given.
const LOCAL: &str = "localhost";

/// Returns the connection string for `--host` and `--port`. `None` if neither is given.
///
/// `host` is `HOST[:PORT]`, or `SET/HOST[:PORT],…` for a replica set. For one host without `SET/`, the driver connects
/// only to this host. The other members of its replica set need not be reachable from here.
///
/// # Errors
/// A host is not a host name or an address, or a port is given twice. The error says what is wrong.
pub(super) fn host_uri(host: Option<&str>, port: Option<u16>) -> Result<Option<Secret>, String> {
    if host.is_none() && port.is_none() {
        return Ok(None);
    }
    let (set, hosts) = match host.unwrap_or(LOCAL).split_once('/') {
        Some((set, hosts)) => (Some(set), hosts),
        None => (None, host.unwrap_or(LOCAL)),
    };
    if set.is_some_and(|set| set.is_empty() || !set.chars().all(is_name_character)) {
        return Err("the name of the replica set before `/` is not valid".to_owned());
    }
    let addresses = hosts.split(',').map(|host| address(host.trim(), port)).collect::<Result<Vec<_>, _>>()?;
    let options = match set {
        Some(set) => format!("?replicaSet={set}"),
        None if addresses.len() == 1 => "?directConnection=true".to_owned(),
        None => String::new(),
    };
    Ok(Some(format!("mongodb://{}/{options}", addresses.join(",")).into()))
}

/// Returns one host with its port, as a connection string contains it.
fn address(host: &str, port: Option<u16>) -> Result<String, String> {
    let is_bare_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let (name, own) = match host.rsplit_once(':') {
        _ if is_bare_ipv6 => (format!("[{host}]"), None),
        Some((name, own)) if !own.ends_with(']') => (name.to_owned(), Some(own)),
        _ => (host.to_owned(), None),
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_valid = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.chars().all(is_name_character),
    };
    if !is_valid {
        return Err("give HOST, HOST:PORT, or SET/HOST:PORT,HOST:PORT for a replica set".to_owned());
    }
    let own = own.map(|own| own.parse::<u16>().map_err(|_| format!("the port of {name} is not a number up to 65535")));
    match (own.transpose()?, port) {
        (Some(own), Some(port)) if own != port => Err(format!("{name} has another port than --port")),
        (Some(port), _) | (None, Some(port)) => Ok(format!("{name}:{port}")),
        (None, None) => Ok(name),
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_become_a_connection_string() {
        let check = |host: Option<&str>, port: Option<u16>, expected: Option<&str>| {
            let found = host_uri(host, port).unwrap_or_else(|error| panic!("{host:?}: {error}"));
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{host:?} {port:?}");
        };
        check(None, None, None);
        check(None, Some(27018), Some("mongodb://localhost:27018/?directConnection=true"));
        check(Some("h"), None, Some("mongodb://h/?directConnection=true"));
        check(Some("h:1"), Some(1), Some("mongodb://h:1/?directConnection=true"));
        check(Some("10.0.0.1"), Some(5), Some("mongodb://10.0.0.1:5/?directConnection=true"));
        check(Some("::1"), Some(5), Some("mongodb://[::1]:5/?directConnection=true"));
        check(Some("[::1]:7"), None, Some("mongodb://[::1]:7/?directConnection=true"));
        check(Some("[::1]"), None, Some("mongodb://[::1]/?directConnection=true"));
        check(Some("rs0/h1,h2"), None, Some("mongodb://h1,h2/?replicaSet=rs0"));
        check(Some("rs0/h1"), Some(9), Some("mongodb://h1:9/?replicaSet=rs0"));
        check(Some("rs0/h1:9, h2"), Some(9), Some("mongodb://h1:9,h2:9/?replicaSet=rs0"));
        check(Some("s1,s2:8"), None, Some("mongodb://s1,s2:8/"));
    }

    #[test]
    fn a_wrong_host_is_refused() {
        let refused =
            ["", "/h", "rs0/", "a b", "h:x", "h:", "h:65536", "h?x", "u:p@h", "h/d/e", "rs&0/h", "[::g]", "h%41", "a,"];
        for host in refused {
            assert!(host_uri(Some(host), None).is_err(), "{host}");
        }
        assert!(host_uri(Some("h:1"), Some(2)).is_err());
    }
}
