//! The checks that several arguments need.
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;

use super::error::ConfigError;
use super::value::HostPort;

/// The range of a time that must pass, in milliseconds: up to a day.
pub(super) const TIMEOUT_MS: RangeInclusive<u64> = 1..=86_400_000;

/// Checks that a number lies in its range.
pub(super) fn within(
    argument: &'static str,
    value: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    match range.contains(&value) {
        true => Ok(value),
        false => Err(ConfigError::OutOfRange { argument, value, range }),
    }
}

/// Looks up a host name. Prefers an IPv4 address, because most servers on `localhost` listen on IPv4.
pub(super) fn resolve(argument: &'static str, place: &HostPort) -> Result<SocketAddr, ConfigError> {
    let (host, port) = match place {
        HostPort::Address(address) => return Ok(*address),
        HostPort::Name(host, port) => (host.as_str(), *port),
    };
    let unknown = |reason: String| ConfigError::UnknownHost { argument, value: place.to_string(), reason };
    let found = (host, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| unknown("the name has no address".into()))
}
