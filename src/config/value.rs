//! The form of single values. Step 2 checks the meaning of a value.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::cluster::names::{InvalidName, Name, NamedBackends};
use crate::cluster::{BackendSettings, Cap, Policy, UnknownPolicy};
use crate::engine::TransformFactory;
use crate::http::proxy_protocol::Version;

/// A host and a port. A host name is not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPort {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        place(given).ok_or_else(|| no_place(given))
    }
}

fn place(given: &str) -> Option<HostPort> {
    if let Ok(address) = given.parse() {
        return Some(HostPort::Address(address));
    }
    let (host, port) = given.rsplit_once(':')?;
    let is_host = !host.is_empty() && !host.contains([':', '/']);
    Some(HostPort::Name(host.to_owned(), port.parse().ok()?)).filter(|_| is_host)
}

/// Returns the error for a text that is no host and port.
fn no_place(given: &str) -> String {
    let example = "expected HOST:PORT, such as 127.0.0.1:9000, localhost:9000 or [::1]:9000";
    proposal(given).unwrap_or_else(|| example.to_owned())
}

/// Returns the error with the host and port that were probably meant. None when there is nothing to propose.
fn proposal(given: &str) -> Option<String> {
    let without_scheme = given.split_once("://").map_or(given, |(_, rest)| rest);
    let host = without_scheme.split('/').next().unwrap_or_default();
    let port = host.strip_prefix(':').unwrap_or(host);
    let proposals = match port.parse::<u16>() {
        Ok(_) => [format!("127.0.0.1:{port}"), String::new()],
        Err(_) => [host.to_owned(), format!("{host}:80")],
    };
    let is_place = |proposal: &&String| *proposal != given && place(proposal).is_some();
    let meant = proposals.iter().find(is_place)?;
    Some(format!("expected HOST:PORT; did you mean {meant}?"))
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPort::Address(address) => write!(f, "{address}"),
            HostPort::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Parses the address of an admin listener. A port alone is a port of 127.0.0.1, which no other machine reaches.
pub(super) fn admin_address(given: &str) -> Result<HostPort, &'static str> {
    match given.parse() {
        Ok(port) => Ok(HostPort::Address((Ipv4Addr::LOCALHOST, port).into())),
        Err(_) => HostPort::from_str(given).map_err(
            |_| "expected PORT or HOST:PORT, such as 9000 (of 127.0.0.1), 10.0.0.9:9000 or [::1]:9000",
        ),
    }
}

/// The highest limit of requests in flight at a backend.
pub(super) const CAP_MAX: u32 = 1_000_000;

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WrittenPlace {
    /// At this address.
    Address(SocketAddr),
    /// Where DNS says.
    Name(Name),
}

impl FromStr for WrittenPlace {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        if let Ok(address) = given.parse() {
            return Ok(WrittenPlace::Address(address));
        }
        let invalid = |error: InvalidName| proposal(given).unwrap_or_else(|| error.to_string());
        let name = given.parse().map_err(invalid)?;
        match cfg!(feature = "discovery") {
            true => Ok(WrittenPlace::Name(name)),
            false => Err("expected an IP address and a port; this program is built without DNS".to_owned()),
        }
    }
}

impl fmt::Display for WrittenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrittenPlace::Address(address) => address.fmt(f),
            WrittenPlace::Name(name) => name.fmt(f),
        }
    }
}

impl WrittenPlace {
    /// Returns the name or the IP address that the backends prove to be theirs.
    pub(super) fn host(&self) -> String {
        match self {
            WrittenPlace::Address(address) => address.ip().to_string(),
            WrittenPlace::Name(name) => name.host(),
        }
    }
}

/// The start of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// Parses the place of a backend, with or without a scheme. With a scheme, the port may be left out.
pub(super) fn url(given: &str) -> Result<(Option<Scheme>, WrittenPlace), String> {
    let (scheme, rest, port) = match given.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest, 443),
        Some(("http", rest)) => (Scheme::Http, rest, 80),
        _ => return WrittenPlace::from_str(given).map(|place| (None, place)),
    };
    let place = WrittenPlace::from_str(rest);
    let place = place.or_else(|_| WrittenPlace::from_str(&format!("{rest}:{port}")));
    let expected = "expected a URL without a path, such as https://web.example, https://10.0.0.1:8443 or http://[::1]:9000";
    Ok((Some(scheme), place.map_err(|_| expected.to_owned())?))
}

/// A backend: `HOST:PORT` with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenBackend {
    /// None: what the cluster says.
    pub(super) scheme: Option<Scheme>,
    pub(super) place: WrittenPlace,
    pub(super) weight: u32,
    pub(super) cap: Option<Cap>,
    pub(super) proxy_protocol: Option<Version>,
}

impl WrittenBackend {
    /// Adds the backend to those with an address or to those with a name. Its connections have this transform.
    pub(super) fn add_to(
        self,
        transform: Option<TransformFactory>,
        backends: &mut Vec<BackendSettings>,
        names: &mut Vec<NamedBackends>,
    ) {
        let WrittenBackend { place, weight, cap, proxy_protocol, .. } = self;
        match place {
            WrittenPlace::Address(address) => {
                backends.push(BackendSettings { address, weight, cap, proxy_protocol, transform });
            }
            WrittenPlace::Name(name) => {
                names.push(NamedBackends { name, weight, cap, proxy_protocol, transform });
            }
        }
    }
}

/// Parses a version of the PROXY protocol.
pub(super) fn proxy_protocol(given: &str) -> Option<Version> {
    match given {
        "v1" => Some(Version::V1),
        "v2" => Some(Version::V2),
        _ => None,
    }
}

/// Parses a backend with its options.
pub(super) fn backend(given: &str) -> Result<WrittenBackend, String> {
    let mut parts = given.split(',');
    let (scheme, place) = url(parts.next().unwrap_or_default())?;
    let (mut weight, mut cap, mut proxy_protocol) = (None, None, None);
    for option in parts {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = |max| value.parse().ok().filter(|number| (1..=max).contains(number));
        let expected =
            |form, max| format!("expected {form} with a whole number from 1 to {max}, found '{option}'");
        let is_twice = match name {
            "weight" => {
                let max = BackendSettings::WEIGHT_MAX;
                weight.replace(number(max).ok_or_else(|| expected("weight=N", max))?).is_some()
            }
            "cap" if value == "auto" => cap.replace(Cap::Auto).is_some(),
            "cap" => {
                let number = number(CAP_MAX).ok_or_else(|| expected("cap=auto or cap=N", CAP_MAX))?;
                cap.replace(Cap::Fixed(number)).is_some()
            }
            "proxy-protocol" => {
                let expected = || format!("expected proxy-protocol=v1 or v2, found '{option}'");
                proxy_protocol.replace(self::proxy_protocol(value).ok_or_else(expected)?).is_some()
            }
            _ => {
                let expected = "expected HOST:PORT with the options weight=N, cap=N and proxy-protocol=v1|v2";
                return Err(format!("{expected}, found the option '{option}'"));
            }
        };
        if is_twice {
            return Err(format!("the option '{name}' is given twice"));
        }
    }
    Ok(WrittenBackend { scheme, place, weight: weight.unwrap_or(1), cap, proxy_protocol })
}

/// The kind of an active check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CheckKind {
    /// A connection.
    Tcp,
    /// A GET request for this path.
    Http(String),
}

/// Parses the kind of an active check.
pub(super) fn check(given: &str) -> Result<CheckKind, &'static str> {
    let is_path = given.starts_with('/') && given.bytes().all(|byte| byte.is_ascii_graphic());
    match given {
        "tcp" => Ok(CheckKind::Tcp),
        path if is_path => Ok(CheckKind::Http(path.to_owned())),
        _ => Err("expected tcp, or a path that begins with a / and has no blanks"),
    }
}

/// Parses the name of a policy.
pub(super) fn policy(given: &str) -> Result<Policy, String> {
    given.parse().map_err(|unknown: UnknownPolicy| {
        let known = Policy::ALL.map(|policy| policy.to_string());
        match nearest(given, known.iter().map(String::as_str)) {
            Some(near) => format!("{unknown}; did you mean {near}?"),
            None => unknown.to_string(),
        }
    })
}

/// Parses the address of a DNS server. Without a port it is port 53.
pub(super) fn resolver(given: &str) -> Result<SocketAddr, &'static str> {
    let address = given.parse().or_else(|_| given.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    address.map_err(|_| "expected the address of a DNS server, such as 192.0.2.53 or 127.0.0.1:8600")
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

/// Returns the known name that is nearest to a name, if any is near.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|known| (likeness(name, known), known));
    let best = rated.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness >= NEAR).map(|(_, known)| known)
}

/// Below this likeness a proposal is more often wrong than right.
pub(super) const NEAR: f64 = 0.6;

/// Returns the share of a name that is right. The names of arguments have dashes instead of underscores.
pub(super) fn likeness(name: &str, known: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&name.to_lowercase().replace('-', "_"), &known.replace('-', "_"))
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
        assert!(network("10.0.0.0/33").is_err() && network("host").is_err());
        assert!(number("1e3").is_err() && number("-1").is_err() && number("").is_err());
    }

    #[test]
    fn the_admin_listener_is_local_unless_another_address_is_given() {
        // given, address; None when it is refused
        let cases = [
            ("9000", Some("127.0.0.1:9000")),
            ("0", Some("127.0.0.1:0")),
            ("0.0.0.0:9000", Some("0.0.0.0:9000")),
            ("[::]:0", Some("[::]:0")),
            ("localhost:1", Some("localhost:1")),
            ("65536", None),
            ("-1", None),
            (":9000", None),
            ("", None),
        ];
        for (given, expected) in cases {
            let address = admin_address(given).ok().map(|place| place.to_string());
            assert_eq!(address.as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn an_error_proposes_what_was_probably_meant() {
        for (given, proposal) in [
            ("10.0.0.1", Some("10.0.0.1:80")),
            ("web", Some("web:80")),
            ("http://web:8080", Some("web:8080")),
            ("http://web:8080/path", Some("web:8080")),
            ("https://web", Some("web:80")),
            ("8080", Some("127.0.0.1:8080")),
            (":8080", Some("127.0.0.1:8080")),
            ("", None),
            ("/", None),
            ("http://", None),
            ("web:", None),
            ("web:65536", None),
        ] {
            let error = HostPort::from_str(given).unwrap_err();
            let said =
                error.split_once("; did you mean ").map(|(_, proposal)| proposal.trim_end_matches('?'));
            assert_eq!(said, proposal, "{given}: {error}");
            assert!(error.starts_with("expected HOST:PORT"), "{given}: {error}");
        }
        for (given, proposal) in
            [("least-request", Some("least-requests")), ("Round_Robin", Some("round-robin")), ("best", None)]
        {
            let error = policy(given).unwrap_err();
            let said =
                error.split_once("; did you mean ").map(|(_, proposal)| proposal.trim_end_matches('?'));
            assert_eq!(said, proposal, "{given}: {error}");
        }
    }

    #[test]
    fn a_backend_has_options() {
        let weight = |given| backend(given).map(|backend| backend.weight);
        assert_eq!(weight("localhost:1"), Ok(1));
        assert_eq!(weight("127.0.0.1:1,weight=1000"), Ok(1000));
        assert_eq!(
            backend("127.0.0.1:1,cap=9,weight=2").map(|given| (given.weight, given.cap)),
            Ok((2, Some(Cap::Fixed(9))))
        );
        assert_eq!(
            backend("127.0.0.1:1,proxy-protocol=v2").map(|given| given.proxy_protocol),
            Ok(Some(Version::V2))
        );
        assert_eq!(backend("127.0.0.1:1,cap=auto").map(|given| given.cap), Ok(Some(Cap::Auto)));
        for (given, said) in [
            ("127.0.0.1:1,", "found the option ''"),
            ("127.0.0.1:1,wieght=2", "found the option 'wieght=2'"),
            ("127.0.0.1:1,weight", "found 'weight'"),
            ("127.0.0.1:1,weight=0", "from 1 to 1000, found 'weight=0'"),
            ("127.0.0.1:1,weight=1001", "found 'weight=1001'"),
            (
                "127.0.0.1:1,cap=0",
                "expected cap=auto or cap=N with a whole number from 1 to 1000000, found 'cap=0'",
            ),
            ("127.0.0.1:1,cap=Auto", "found 'cap=Auto'"),
            ("127.0.0.1:1,cap=1,cap=auto", "'cap' is given twice"),
            ("127.0.0.1:1,weight=1,weight=2", "'weight' is given twice"),
            ("127.0.0.1:1,proxy-protocol=v3", "expected proxy-protocol=v1 or v2"),
            ("127.0.0.1:1,proxy-protocol=v1,proxy-protocol=v1", "'proxy-protocol' is given twice"),
            ("127.0.0.1,weight=1", "expected HOST:PORT; did you mean 127.0.0.1:80?"),
            ("srv:a..b,weight=1", "expected HOST:PORT, such as"),
            (",weight=1", "expected HOST:PORT, such as"),
        ] {
            assert!(weight(given).unwrap_err().contains(said), "{given}: {:?}", weight(given));
        }
    }

    #[test]
    fn a_backend_may_have_a_scheme() {
        let read = |given: &str| backend(given).map(|one| (one.scheme, one.place.to_string(), one.weight));
        for (given, scheme, place) in [
            ("web.example:1", None, "web.example:1"),
            ("https://web.example", Some(Scheme::Https), "web.example:443"),
            ("https://web.example:8443", Some(Scheme::Https), "web.example:8443"),
            ("https://10.0.0.1", Some(Scheme::Https), "10.0.0.1:443"),
            ("https://[::1]", Some(Scheme::Https), "[::1]:443"),
            ("https://[::1]:1", Some(Scheme::Https), "[::1]:1"),
            ("https://srv:_https._tcp.a.example", Some(Scheme::Https), "srv:_https._tcp.a.example"),
            ("http://10.0.0.1:8080", Some(Scheme::Http), "10.0.0.1:8080"),
            ("http://web.example", Some(Scheme::Http), "web.example:80"),
        ] {
            assert_eq!(read(given), Ok((scheme, place.to_owned(), 1)), "{given}");
            assert_eq!(read(&format!("{given},weight=3")), Ok((scheme, place.to_owned(), 3)), "{given}");
        }
        for given in [
            "ftp://a:1",
            "https://",
            "https://a/",
            "https://a/path",
            "https://a:",
            "https://::1",
            "HTTPS://a",
        ] {
            assert!(read(given).is_err(), "{given}");
        }
    }

    #[test]
    fn backends_prove_their_host() {
        for (given, host) in [
            ("10.0.0.1:1", "10.0.0.1"),
            ("[::1]:1", "::1"),
            ("https://web.example", "web.example"),
            ("srv:_https._tcp.web.example", "web.example"),
        ] {
            assert_eq!(backend(given).unwrap().place.host(), host, "{given}");
        }
    }

    #[test]
    fn a_backend_has_an_address_or_a_name() {
        let place = |given| backend(given).unwrap().place;
        for given in ["127.0.0.1:1", "[::1]:1"] {
            assert_eq!(place(given), WrittenPlace::Address(given.parse().unwrap()));
        }
        for given in ["web.example:1", "localhost:1", "srv:_http._tcp.web.example"] {
            assert_eq!(place(given), WrittenPlace::Name(given.parse().unwrap()));
            assert_eq!(place(given).to_string(), given);
        }
    }

    #[test]
    fn a_dns_server_has_port_53_unless_it_says_another() {
        for (given, address) in [
            ("192.0.2.53", Some("192.0.2.53:53")),
            ("127.0.0.1:8600", Some("127.0.0.1:8600")),
            ("::1", Some("[::1]:53")),
            ("[::1]:5", Some("[::1]:5")),
            ("dns.example", None),
            ("", None),
        ] {
            assert_eq!(resolver(given).ok().map(|found| found.to_string()).as_deref(), address, "{given}");
        }
    }

    #[test]
    fn a_check_is_a_connection_or_a_path() {
        assert_eq!(check("tcp"), Ok(CheckKind::Tcp));
        assert_eq!(check("/up?x=1"), Ok(CheckKind::Http("/up?x=1".into())));
        for given in ["", "TCP", "up", "/a b", "/\n"] {
            assert!(check(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(network("192.0.2.1").unwrap(), "192.0.2.1/32".parse().unwrap());
        assert_eq!(network("::1").unwrap(), "::1/128".parse().unwrap());
    }
}
