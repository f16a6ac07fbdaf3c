//! Addresses from which connections are accepted.

use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses, for example `10.1.0.0/16`. An address alone is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || "give an address or a range, for example 10.1.0.0/16 or 2001:db8::/32".to_owned();
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| problem())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.map_or(Ok(most), str::parse).map_err(|_| problem())?;
        if prefix_bits > most {
            return Err(problem());
        }
        Ok(Self { address, prefix_bits })
    }
}

impl Network {
    /// Returns true if the address is in this range. An IPv4 address that arrives at an IPv6 socket is an IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        let shift = |width: u32| width - u32::from(self.prefix_bits);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Returns true if a connection from this address is accepted. Without a list, every address is.
pub(super) fn is_allowed(list: &[Network], address: IpAddr) -> bool {
    list.is_empty() || list.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_in_a_range_are_allowed() {
        let check = |list: &[&str], address: &str, expected: bool| {
            let list: Vec<Network> = list.iter().map(|text| text.parse().expect("a range")).collect();
            assert_eq!(is_allowed(&list, address.parse().expect("an address")), expected, "{list:?} {address}");
        };
        check(&[], "1.2.3.4", true);
        check(&["10.1.0.0/16"], "10.1.255.3", true);
        check(&["10.1.0.0/16"], "10.2.0.1", false);
        check(&["10.1.0.0/16"], "::ffff:10.1.0.1", true);
        check(&["10.1.2.3", "::1"], "10.1.2.3", true);
        check(&["10.1.2.3", "::1"], "10.1.2.2", false);
        check(&["10.1.2.3", "::1"], "::1", true);
        check(&["2001:db8::/32"], "2001:db8:1::7", true);
        check(&["2001:db8::/32"], "2001:db9::", false);
        check(&["0.0.0.0/0"], "9.9.9.9", true);
        check(&["0.0.0.0/0"], "::1", false);
        for wrong in ["", "10.1.0.0/33", "10.1", "x", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
