//! How single values are read from the command line.
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ipnet::IpNet;

/// One of several names, each standing for a value.
pub(super) fn choice<T>(values: &[(&'static str, T)]) -> impl TypedValueParser<Value = T> + use<T>
where
    T: Copy + Send + Sync + 'static,
{
    let values = values.to_vec();
    let names = PossibleValuesParser::new(values.iter().map(|(name, _)| *name));
    names.try_map(move |given| {
        values.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or("takes another name")
    })
}

pub(super) fn number(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |given| {
        let number = given.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("takes a whole number from {} to {}", range.start(), range.end()))
    }
}

/// An address, or a host name that is looked up now. Of several addresses an IPv4 one is preferred: a server
/// that is told to listen on `localhost` mostly does so there.
pub(super) fn address(given: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = given.parse() {
        return Ok(address);
    }
    let well_formed = given.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains([':', '/']) && u16::from_str(port).is_ok()
    });
    if !well_formed {
        return Err("takes HOST:PORT, such as 127.0.0.1:9000, localhost:9000 or [::1]:9000".into());
    }
    let unknown = |reason: &dyn Display| format!("takes HOST:PORT, and this host is not known: {reason}");
    let mut found: Vec<_> = given.to_socket_addrs().map_err(|error| unknown(&error))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| unknown(&"it has no address"))
}

pub(super) fn backend(given: &str) -> Result<SocketAddr, String> {
    match given.split_once(',') {
        Some((_, option)) => Err(format!("takes HOST:PORT alone, and {option:?} is no option of a backend")),
        None => address(given),
    }
}

pub(super) fn network(given: &str) -> Result<IpNet, String> {
    let network = given.parse().or_else(|_| given.parse::<IpAddr>().map(IpNet::from));
    network
        .map_err(|_| "takes a network or an address, such as 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32".into())
}

pub(super) fn directory(given: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(given);
    if path.is_dir() { Ok(path) } else { Err("takes a directory that exists".into()) }
}
