//! The form of single values. Step 2 checks the meaning of a value.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// A host and a port. A host name is not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPort {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected HOST:PORT, such as 127.0.0.1:9000, localhost:9000 or [::1]:9000";
        if let Ok(address) = given.parse() {
            return Ok(HostPort::Address(address));
        }
        let (host, port) = given.rsplit_once(':').ok_or(EXPECTED)?;
        let port = port.parse().map_err(|_| EXPECTED)?;
        if host.is_empty() || host.contains([':', '/']) {
            return Err(EXPECTED);
        }
        Ok(HostPort::Name(host.to_owned(), port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPort::Address(address) => write!(f, "{address}"),
            HostPort::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Parses a backend: `HOST:PORT` without options.
pub(super) fn backend(given: &str) -> Result<HostPort, String> {
    match given.split_once(',') {
        Some((_, option)) => Err(format!("expected HOST:PORT without options, found the option '{option}'")),
        None => HostPort::from_str(given).map_err(str::to_owned),
    }
}

/// Parses a network in CIDR notation. A single address is a network with one address.
pub(super) fn network(given: &str) -> Result<IpNet, &'static str> {
    let network = given.parse().or_else(|_| given.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "expected a network or an address, such as 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32")
}

/// Parses a whole number of any size. Step 2 checks the range.
pub(super) fn number(given: &str) -> Result<u64, &'static str> {
    given.parse().map_err(|_| "expected a whole number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_shown_as_they_were_written() {
        for (given, is_name) in [
            ("127.0.0.1:0", false),
            ("[::1]:80", false),
            ("localhost:65535", true),
            ("backend-1.example:9000", true),
        ] {
            let parsed = HostPort::from_str(given).unwrap();
            assert_eq!(matches!(parsed, HostPort::Name(..)), is_name, "{given}");
            assert_eq!(parsed.to_string(), given);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for given in
            ["", ":80", "host", "host:", "host:65536", "host:-1", "http://host:80", "::1:80", "a/b:1"]
        {
            assert!(HostPort::from_str(given).is_err(), "{given:?}");
        }
        assert!(backend("127.0.0.1:1,weight=2").unwrap_err().contains("'weight=2'"));
        assert!(network("10.0.0.0/33").is_err() && network("host").is_err());
        assert!(number("1e3").is_err() && number("-1").is_err() && number("").is_err());
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(network("192.0.2.1").unwrap(), "192.0.2.1/32".parse().unwrap());
        assert_eq!(network("::1").unwrap(), "::1/128".parse().unwrap());
    }
}
