//! The settings of a cluster and of its backends: plain data.
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::sticky::StickySettings;
use crate::http::cookie::is_token;
use crate::http::proxy_protocol::Version;
use crate::http::transform::TransformFactory;

/// The settings of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// The address that the backend listens on.
    pub address: SocketAddr,
    /// The backend's share of the requests, relative to the others: 1 to [`BackendSettings::WEIGHT_MAX`]. Default: 1.
    pub weight: u32,
    /// Maximum requests in flight at the backend; further requests wait in the queue of the cluster. Default: no limit.
    pub cap: Option<Cap>,
    /// The version of the PROXY protocol in which each connection to the backend names the client. Such a connection
    /// serves one request. Default: none is sent, and connections are kept.
    pub proxy_protocol: Option<Version>,
    /// Makes the transform of each connection to the backend, such as TLS. Default: None, the bytes of connections are HTTP.
    pub transform: Option<TransformFactory>,
}

/// The limit on the requests in flight at a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// This number, at least 1.
    Fixed(u32),
    /// A number that follows the latency of the backend.
    Auto,
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cap::Fixed(number) => number.fmt(f),
            Cap::Auto => f.write_str("auto"),
        }
    }
}

impl BackendSettings {
    /// The highest weight.
    pub const WEIGHT_MAX: u32 = 1000;
}

impl From<SocketAddr> for BackendSettings {
    fn from(address: SocketAddr) -> Self {
        BackendSettings { address, weight: 1, cap: None, proxy_protocol: None, transform: None }
    }
}

/// The settings of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The rule that picks a backend.
    pub policy: Policy,
    /// The rules that eject a backend.
    pub health: HealthSettings,
    /// The budget of retries.
    pub retries: RetrySettings,
    /// Maximum requests that wait until a backend has room; the next one gets a 503. Default: 1024.
    pub waiting_max: usize,
    /// Maximum time to keep a connection to a backend without a request. When a backend states a shorter time or closes
    /// earlier, its connections are kept for less. Default: 60 s.
    pub idle_timeout: Duration,
    /// Sticky sessions. Default: None.
    pub sticky: Option<StickySettings>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        ClusterSettings {
            policy: Policy::default(),
            health: HealthSettings::default(),
            retries: RetrySettings::default(),
            waiting_max: 1024,
            idle_timeout: Duration::from_secs(60),
            sticky: None,
        }
    }
}

/// The budget of retries. Without a budget, retries multiply an outage: a cluster that is too slow gets each request
/// several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Retries allowed for each 100 requests of the last [`RetrySettings::WINDOW`]. Default: 20.
    pub percent: u32,
    /// Retries per second that are always allowed. Default: 10.
    pub per_second: u32,
    /// True to repeat an idempotent request without a body whose answer is 502, 503 or 504. Default: false.
    pub answers: bool,
}

impl RetrySettings {
    /// Time for which a request pays for retries.
    pub const WINDOW: Duration = Duration::from_secs(10);
}

impl Default for RetrySettings {
    fn default() -> Self {
        RetrySettings { percent: 20, per_second: 10, answers: false }
    }
}

/// The rules that eject a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// True to eject backends because of the results of requests. Default: true.
    pub passive: bool,
    /// Duration of the first ejection. Default: 1 s. So a dead backend costs one failed connect per second at first.
    pub ejection: Duration,
    /// Maximum duration of an ejection. Default: 10 s. A backend that was not ejected for this time begins again with
    /// the first duration.
    pub ejection_max: Duration,
    /// Maximum share of ejected backends, in percent; one backend may always be ejected. Failed connects do not count,
    /// because a refused connect is certain. Default: 50.
    pub ejected_max_percent: u32,
    /// When fewer backends than this share are available, all are used, in percent. When none is available, all are used
    /// in any case. Default: 10.
    pub panic_percent: u32,
    /// Time in which the share of a backend that returns grows to the full share. Default: 2 s.
    pub slow_start: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        HealthSettings {
            passive: true,
            ejection: Duration::from_secs(1),
            ejection_max: Duration::from_secs(10),
            ejected_max_percent: 50,
            panic_percent: 10,
            slow_start: Duration::from_secs(2),
        }
    }
}

/// The rules of active checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSettings {
    /// The request of a check; None checks only whether the backend accepts a connection.
    pub request: Option<CheckRequest>,
    /// The port that is checked, without TLS; None: the port of the backend, with TLS where requests have it.
    pub port: Option<u16>,
    /// Time from the start of a check to the start of the next. Each is up to a tenth shorter or longer, so that the
    /// checks of many balancers do not meet. Default: 2 s.
    pub interval: Duration,
    /// Time for a check; then it has failed. Default: 1 s.
    pub timeout: Duration,
    /// Number of good checks in a row after which a backend that was down is up. Default: 2.
    pub rise: u32,
    /// Number of failed checks in a row after which a backend that was up is down. Default: 3.
    pub fall: u32,
    /// False to give a new backend no request before a first good check. Default: true.
    pub initially_up: bool,
}

/// A check by a GET request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// The path with its query. It begins with a `/`.
    pub path: String,
    /// The value of the Host field; None: the address of the backend.
    pub host: Option<String>,
    /// The expected status; None: any from 200 to 399.
    pub status: Option<u16>,
    /// The text that the body must contain, within its first 64 KiB.
    pub contains: Option<String>,
}

impl Default for CheckSettings {
    fn default() -> Self {
        CheckSettings {
            request: None,
            port: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            initially_up: true,
        }
    }
}

/// The rule that picks one of the available backends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// The backends take turns.
    RoundRobin,
    /// The backend with the fewest requests in flight for its weight; among equals, a random one.
    #[default]
    LeastRequests,
    /// The better one of two random backends.
    TwoChoices,
    /// A random backend.
    Random,
    /// The backend with the least product of latency and requests in flight.
    PeakEwma,
    /// The backend that belongs to a key of the request.
    Hash(HashKey),
    /// The first backend that has room.
    First,
}

/// The part of a request that decides about its backend. A request without this part goes to a random backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The address of the client.
    Source,
    /// The path of the target, without the query.
    Path,
    /// The value of the first field with this name.
    Header(String),
    /// The value of the cookie with this name.
    Cookie(String),
}

impl Policy {
    /// Every policy that needs no name.
    pub const ALL: [Policy; 8] = [
        Policy::RoundRobin,
        Policy::LeastRequests,
        Policy::TwoChoices,
        Policy::Random,
        Policy::PeakEwma,
        Policy::Hash(HashKey::Source),
        Policy::Hash(HashKey::Path),
        Policy::First,
    ];
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::RoundRobin => f.write_str("round-robin"),
            Policy::LeastRequests => f.write_str("least-requests"),
            Policy::TwoChoices => f.write_str("two-choices"),
            Policy::Random => f.write_str("random"),
            Policy::PeakEwma => f.write_str("peak-ewma"),
            Policy::Hash(HashKey::Source) => f.write_str("hash:source"),
            Policy::Hash(HashKey::Path) => f.write_str("hash:path"),
            Policy::Hash(HashKey::Header(name)) => write!(f, "hash:header={name}"),
            Policy::Hash(HashKey::Cookie(name)) => write!(f, "hash:cookie={name}"),
            Policy::First => f.write_str("first"),
        }
    }
}

/// The error for an unknown policy name. Display lists the known names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of ")?;
        for policy in Policy::ALL {
            write!(f, "{policy}, ")?;
        }
        f.write_str("hash:header=NAME, hash:cookie=NAME")
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = |prefix| name.strip_prefix(prefix).filter(|&name| is_token(name)).map(str::to_owned);
        if let Some(name) = named("hash:header=") {
            return Ok(Policy::Hash(HashKey::Header(name)));
        }
        if let Some(name) = named("hash:cookie=") {
            return Ok(Policy::Hash(HashKey::Cookie(name)));
        }
        Policy::ALL.into_iter().find(|policy| policy.to_string() == name).ok_or(UnknownPolicy)
    }
}
