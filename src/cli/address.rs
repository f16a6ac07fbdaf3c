//! Parses the addresses that a listener listens to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Parses an address, or a port of this machine alone.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let of_port = || text.parse().ok().map(|port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let local =
        || text.strip_prefix("localhost:")?.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let found = of_port().or_else(local).or_else(|| text.parse().ok());
    found.ok_or_else(|| "give a port, or an address and a port, for example 2575 or 0.0.0.0:2575".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_not_reached_from_other_machines() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(address(text).ok().map(|address| address.to_string()).as_deref(), expected, "{text}");
        };
        check("2575", Some("127.0.0.1:2575"));
        check("localhost:2575", Some("127.0.0.1:2575"));
        check("0.0.0.0:2575", Some("0.0.0.0:2575"));
        check("[::1]:2575", Some("[::1]:2575"));
        for wrong in ["", "x", "127.0.0.1", "70000", "example.org:2575"] {
            check(wrong, None);
        }
    }
}
