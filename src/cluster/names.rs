//! DNS names that stand for backends: what follows from an answer, and when a name is asked again. Nothing here asks:
//! `engine/discovery.rs` does, and the router keeps the answers.
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::settings::{BackendSettings, Cap};
use crate::http::proxy_protocol::Version;
use crate::http::transform::TransformFactory;

/// A name that DNS answers with the addresses of backends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A host and a port, `web.example:8080`: all A and AAAA records of the host.
    Host(String, u16),
    /// A service, `srv:_http._tcp.web.example`: the SRV records say hosts, ports and weights (RFC 2782).
    Service(String),
}

impl Name {
    /// Returns the name that the backends prove to be theirs: the host, or the domain of the service without the labels that
    /// begin with `_`. It is the name that the operator has written, because nobody may be led elsewhere by an answer of DNS.
    pub fn host(&self) -> String {
        match self {
            Name::Host(host, _) => host.trim_end_matches('.').to_owned(),
            Name::Service(service) => {
                let labels = service.trim_end_matches('.').split('.').filter(|label| !label.starts_with('_'));
                labels.collect::<Vec<_>>().join(".")
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Host(host, port) => write!(f, "{host}:{port}"),
            Name::Service(service) => write!(f, "srv:{service}"),
        }
    }
}

/// The error for a text that is no name of backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected HOST:PORT, such as 127.0.0.1:9000, web.example:9000 or [::1]:9000, or srv:NAME")
    }
}

impl std::error::Error for InvalidName {}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(given: &str) -> Result<Self, InvalidName> {
        if let Some(service) = given.strip_prefix("srv:") {
            return is_domain(service)
                .then(|| Name::Service(service.to_ascii_lowercase()))
                .ok_or(InvalidName);
        }
        let (host, port) = given.rsplit_once(':').ok_or(InvalidName)?;
        match port.parse() {
            Ok(port) if port > 0 && is_domain(host) => Ok(Name::Host(host.to_ascii_lowercase(), port)),
            _ => Err(InvalidName),
        }
    }
}

/// True for a domain name: labels of 1 to 63 characters, 253 characters together (RFC 1035 section 2.3.4). The last label
/// is not a number, so an address with an error is no name. A dot at the end is allowed.
fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(is_label) && !name.rsplit('.').next().is_none_or(is_number)
}

/// The settings of the backends behind a name. Each address gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBackends {
    /// The name.
    pub name: Name,
    /// The weight of each backend: 1 to [`BackendSettings::WEIGHT_MAX`]. The weight of an SRV record is multiplied with
    /// this weight.
    pub weight: u32,
    /// Maximum requests in flight at each backend.
    pub cap: Option<Cap>,
    /// The version of the PROXY protocol for connections to the backends.
    pub proxy_protocol: Option<Version>,
    /// Makes the transforms of connections to the backends.
    pub transform: Option<TransformFactory>,
}

/// A backend that DNS told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// The weight of the SRV record; 1 without one.
    pub weight: u32,
}

/// An SRV record: a host of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// The name of the host.
    pub target: String,
    /// The port.
    pub port: u16,
    /// A lower number comes first.
    pub priority: u16,
    /// The share of the requests, relative to the other records.
    pub weight: u16,
}

/// Returns the records of the first priority. The others are for clients that cannot reach these (RFC 2782), and health
/// is not known here. The target `.` says that there is no service.
pub fn preferred(records: Vec<ServiceRecord>) -> Vec<ServiceRecord> {
    let offered = || records.iter().filter(|record| !record.target.trim_end_matches('.').is_empty());
    let first = offered().map(|record| record.priority).min();
    offered().filter(|record| Some(record.priority) == first).cloned().collect()
}

/// What DNS says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The backends; at least one.
    pub places: Vec<Place>,
    /// The time for which this is true.
    pub ttl: Duration,
}

/// Tells when a name is asked again.
#[derive(Debug, Default)]
pub struct Schedule {
    /// Failed questions since the last good one.
    failures: u32,
}

impl Schedule {
    /// The shortest time between two questions. DNS may say a TTL of 0.
    pub const SHORTEST: Duration = Duration::from_secs(1);
    /// The longest time between two questions. Entries of a hosts file have no TTL, and a record with a long TTL may be wrong.
    pub const LONGEST: Duration = Duration::from_secs(60);
    /// The longest pause after a failure.
    pub const LONGEST_RETRY: Duration = Duration::from_secs(30);

    /// Begins after one question, which was good or failed.
    pub fn after(is_good: bool) -> Self {
        Schedule { failures: u32::from(!is_good) }
    }

    /// True when the last question failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Returns the pause after an answer with this TTL.
    pub fn answered(&mut self, ttl: Duration) -> Duration {
        self.failures = 0;
        ttl.clamp(Schedule::SHORTEST, Schedule::LONGEST)
    }

    /// Returns the pause after a failure: each is twice as long as the one before.
    pub fn failed(&mut self) -> Duration {
        let pause = Schedule::SHORTEST * 2u32.pow(self.failures.min(5));
        self.failures += 1;
        pause.min(Schedule::LONGEST_RETRY)
    }
}

/// The last good answer for each name. A name without addresses has none: a question that fails, or an answer without
/// addresses, changes nothing. An immutable snapshot.
#[derive(Debug, Clone, Default)]
pub struct Answers(BTreeMap<Name, Vec<Place>>);

impl Answers {
    /// True when the name had a good answer.
    pub fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the answers with one more. None when it says the same as before.
    pub fn with(&self, name: &Name, places: &[Place]) -> Option<Answers> {
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup_by_key(|place| place.address);
        if places.is_empty() || self.0.get(name) == Some(&places) {
            return None;
        }
        let mut answers = self.0.clone();
        answers.insert(name.clone(), places);
        Some(Answers(answers))
    }

    /// Returns the answers for these names.
    pub fn only<'a>(&self, names: impl Iterator<Item = &'a NamedBackends>) -> Answers {
        let known = names.filter_map(|named| self.0.get_key_value(&named.name));
        Answers(known.map(|(name, places)| (name.clone(), places.clone())).collect())
    }

    /// Returns the backends of a cluster: those with addresses, and those behind the names. The first one with an address
    /// wins, because two backends with one address would have one name in metrics and in drains.
    pub fn members(&self, backends: &[BackendSettings], names: &[NamedBackends]) -> Vec<BackendSettings> {
        let mut members = backends.to_vec();
        for named in names {
            let places = self.0.get(&named.name).map_or(&[][..], Vec::as_slice);
            let heaviest = places.iter().map(|place| place.weight).max().unwrap_or(1);
            for place in places {
                if members.iter().all(|known| known.address != place.address) {
                    members.push(BackendSettings {
                        address: place.address,
                        weight: scaled(named.weight, place.weight, heaviest),
                        cap: named.cap,
                        proxy_protocol: named.proxy_protocol,
                        transform: named.transform.clone(),
                    });
                }
            }
        }
        members
    }

    /// Returns the first of the names that stands for this address.
    pub fn origin<'a>(&self, names: &'a [NamedBackends], address: SocketAddr) -> Option<&'a Name> {
        let has = |name: &Name| self.0.get(name)?.iter().find(|place| place.address == address);
        names.iter().map(|named| &named.name).find(|name| has(name).is_some())
    }
}

/// Returns the product of the weight of the settings and the weight of a record, in proportion when the product of the
/// heaviest record is too high. A record with weight 0 gets few requests (RFC 2782).
fn scaled(of_settings: u32, of_record: u32, heaviest: u32) -> u32 {
    let product = |of_record: u32| u64::from(of_settings) * u64::from(of_record.max(1));
    let (max, top) = (u64::from(BackendSettings::WEIGHT_MAX), product(heaviest));
    let weight = if top > max { product(of_record) * max / top } else { product(of_record) };
    weight.clamp(1, max) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn named(text: &str, weight: u32) -> NamedBackends {
        NamedBackends {
            name: name(text),
            weight,
            cap: Some(Cap::Fixed(5)),
            proxy_protocol: None,
            transform: None,
        }
    }

    fn place(address: &str, weight: u32) -> Place {
        Place { address: address.parse().unwrap(), weight }
    }

    #[test]
    fn backends_prove_the_name_that_was_written() {
        for (written, host) in [
            ("web.example:1", "web.example"),
            ("web.example.:1", "web.example"),
            ("srv:_https._tcp.web.example", "web.example"),
            ("srv:web.example.", "web.example"),
            ("srv:_https._tcp", ""),
        ] {
            assert_eq!(written.parse::<Name>().unwrap().host(), host, "{written}");
        }
    }

    #[test]
    fn a_name_has_a_form() {
        let long = "a".repeat(63);
        let too_long = format!("{}:1", [long.as_str(); 4].join("."));
        let cases = [
            ("web.example:8080", true),
            ("Web.Example.:1", true),
            ("localhost:65535", true),
            ("a_b.my-host:80", true),
            ("1.web:80", true),
            ("srv:_http._tcp.web.example", true),
            ("srv:web.service.consul.", true),
            (&format!("{long}:80"), true),
            (&format!("{long}a:80"), false),
            (&too_long, false),
            ("", false),
            ("web.example", false),
            ("web.example:", false),
            ("web.example:0", false),
            ("web.example:65536", false),
            (":80", false),
            (".:80", false),
            ("a..b:80", false),
            ("-a.b:80", false),
            ("a-.b:80", false),
            ("a b:80", false),
            ("a/b:80", false),
            ("b\u{fc}cher.example:80", false),
            ("127.0.0.256:80", false),
            ("127.0.0:80", false),
            ("::1:80", false),
            ("http://web:80", false),
            ("srv:", false),
            ("srv:_http._tcp.web:80", false),
            ("SRV:_http._tcp.web", false),
        ];
        for (text, is_name) in cases {
            let parsed = text.parse::<Name>();
            assert_eq!(parsed.is_ok(), is_name, "{text:?}");
            if let Ok(name) = parsed {
                assert_eq!(name.to_string(), text.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn a_name_is_asked_again_at_its_ttl_within_bounds() {
        let seconds = Duration::from_secs;
        let mut schedule = Schedule::default();
        for (ttl, pause) in [(0, 1), (1, 1), (5, 5), (60, 60), (61, 60), (86_400, 60)] {
            assert_eq!(schedule.answered(seconds(ttl)), seconds(pause), "{ttl}");
        }
        let pauses: Vec<u64> = (0..8).map(|_| schedule.failed().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(schedule.is_failing());
        assert_eq!((schedule.answered(seconds(9)), schedule.is_failing()), (seconds(9), false));
        assert_eq!(schedule.failed(), seconds(1));
        assert_eq!(Schedule::after(false).failed(), seconds(2));
        assert!(!Schedule::after(true).is_failing());
    }

    #[test]
    fn an_answer_counts_until_the_next_good_one() {
        let mut answers = Answers::default();
        let (web, other) = (name("web:80"), name("other:80"));
        let (one, two) = (place("10.0.0.1:80", 1), place("10.0.0.2:80", 1));
        // What is answered, whether this is news, and the addresses after it.
        let cases = [
            (vec![], false, ""),
            (vec![two, one], true, "10.0.0.1:80 10.0.0.2:80"),
            (vec![one, two], false, "10.0.0.1:80 10.0.0.2:80"),
            (vec![one, one], true, "10.0.0.1:80"),
            (vec![], false, "10.0.0.1:80"),
            (vec![two], true, "10.0.0.2:80"),
        ];
        for (places, is_news, after) in cases {
            let next = answers.with(&web, &places);
            assert_eq!(next.is_some(), is_news, "{places:?}");
            answers = next.unwrap_or(answers);
            let members = answers.members(&[], &[named("web:80", 1)]);
            let addresses: Vec<_> = members.iter().map(|one| one.address.to_string()).collect();
            assert_eq!(addresses.join(" "), after, "{places:?}");
        }
        let answers = answers.with(&other, &[one]).unwrap().only([named("other:80", 1)].iter());
        assert_eq!((answers.has(&web), answers.has(&other)), (false, true));
    }

    #[test]
    fn each_address_has_the_settings_of_its_name_and_is_there_once() {
        let (one, two, three) = ("10.0.0.1:80", "10.0.0.2:80", "[2001:db8::3]:80");
        let answers = Answers::default().with(&name("a:80"), &[place(one, 1), place(two, 1)]).unwrap();
        let answers = answers.with(&name("b:80"), &[place(two, 1), place(three, 1)]).unwrap();
        let names = [named("a:80", 7), named("b:80", 8), named("unknown:80", 9)];
        let fixed = BackendSettings::from(one.parse::<SocketAddr>().unwrap());
        let members = answers.members(&[fixed], &names);
        let members: Vec<_> = members.iter().map(|m| (m.address.to_string(), m.weight, m.cap)).collect();
        let cap = Some(Cap::Fixed(5));
        assert_eq!(members, [(one.into(), 1, None), (two.into(), 7, cap), (three.into(), 8, cap)]);
        let origin = |address: &str| answers.origin(&names, address.parse().unwrap()).map(Name::to_string);
        let found = [one, two, three, "10.0.0.4:80"].map(|address| origin(address).unwrap_or_default());
        assert_eq!(found, ["a:80", "a:80", "b:80", ""]);
    }

    #[test]
    fn records_have_priorities_and_weights() {
        let record = |target: &str, priority, weight| {
            let target = target.to_owned();
            ServiceRecord { target, port: 80, priority, weight }
        };
        let targets = |records: Vec<ServiceRecord>| {
            preferred(records).into_iter().map(|record| record.target).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(targets(vec![record("b.", 2, 1), record("a.", 1, 0), record("c.", 1, 9)]), "a. c.");
        assert_eq!(targets(vec![record(".", 0, 0)]), "");
        assert_eq!(targets(vec![record(".", 0, 0), record("a.", 1, 0)]), "a.");
        assert_eq!(targets(vec![]), "");
        // Weight of the settings, weights of the records, weights of the backends.
        let cases: [(u32, &[u32], &[u32]); 6] = [
            (1, &[10, 20], &[10, 20]),
            (3, &[10, 20], &[30, 60]),
            (1, &[0, 0], &[1, 1]),
            (2, &[0, 500], &[2, 1000]),
            (1, &[65_535, 32_768, 1], &[1000, 500, 1]),
            (1000, &[1, 2], &[500, 1000]),
        ];
        for (of_settings, records, expected) in cases {
            let heaviest = *records.iter().max().unwrap();
            let weights: Vec<_> = records.iter().map(|&one| scaled(of_settings, one, heaviest)).collect();
            assert_eq!(weights, expected, "{of_settings} {records:?}");
        }
    }
}
