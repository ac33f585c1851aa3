//! Step 2: the settings as plain data. This module makes every check except the check of a value's form.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::balancing::{checks, cluster};
use super::check::{TIMEOUT_MS, resolve, within};
use super::cli::{
    BackendLimitArguments, BalanceArguments, CommonArguments, EngineArguments, EngineName,
    FilesLimitArguments, LimitArguments, PoolName, ProcessLimitArguments, ReactorName, ServeArguments,
    SimulateArguments,
};
use super::error::ConfigError;
use super::operate::{AccessLogSettings, AdminSettings};
use super::tls::{self, HandshakesName};
use super::value::{HostPort, Scheme, WrittenBackend};
use crate::cluster::names::NamedBackends;
use crate::cluster::{BackendSettings, CheckSettings, ClusterSettings, Policy};
use crate::engine::{ConcurrencyLimit, Engine, EngineLimits, Handshakes, Pool, ReactorKind};
use crate::exchange::Limits;
use crate::files::FilesLimits;
use crate::http::buffer::BUFFER_BYTES;
use crate::http::head::HeadLimits;
use crate::simulate::Simulation;
use crate::tls::{BackendTls, Tls};

/// Without --listen and inherited sockets: an address that only this machine can reach.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const WORKERS: RangeInclusive<u64> = 1..=1024;
const BATCH: RangeInclusive<u64> = 1..=1024;
const DRAIN_SECONDS: RangeInclusive<u64> = 0..=86_400;
const DELAY_MS: RangeInclusive<u64> = 0..=600_000;
/// The minimum still allows an ordinary request. The maximum is one buffer, because a head must fit into one buffer.
const HEAD_BYTES: RangeInclusive<u64> = 512..=BUFFER_BYTES as u64;
const REQUEST_LINE_BYTES: RangeInclusive<u64> = 64..=BUFFER_BYTES as u64;
const RECEIVE_BYTES: RangeInclusive<u64> = 1..=BUFFER_BYTES as u64;
const CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
const IDLE_BACKEND_CONNECTIONS: RangeInclusive<u64> = 0..=1_000_000;
const IN_FLIGHT: RangeInclusive<u64> = 0..=1_000_000;
const SEEDS: RangeInclusive<u64> = 1..=1_000_000;
const SMALL_FILE_BYTES: RangeInclusive<u64> = 0..=1 << 30;
const MEMORY_BYTES: RangeInclusive<u64> = 0..=1 << 40;
const FILES: RangeInclusive<u64> = 1..=100_000_000;

/// A simulation: `neraca simulate`.
#[derive(Debug)]
pub struct Simulate {
    /// What to simulate.
    pub simulation: Simulation,
    /// The file for the plot.
    pub svg: Option<PathBuf>,
    /// The seed of the run whose picks are printed, instead of a table.
    pub replay: Option<u64>,
}

/// A balancer: `neraca balance`.
#[derive(Debug)]
pub struct Balance {
    /// Listeners, engine and limits.
    pub common: Common,
    /// The servers that get the requests.
    pub backends: Backends,
    /// The names of more servers.
    pub names: Vec<NamedBackends>,
    /// The DNS server for the names; None: those of the system.
    pub resolver: Option<SocketAddr>,
    /// The policy that picks the backend of a request, the health of backends, and retries.
    pub cluster: ClusterSettings,
    /// The active checks; None without checks.
    pub checks: Option<CheckSettings>,
    /// The networks of trusted proxies. The X-Forwarded fields of clients in these networks are kept.
    pub trust: Vec<IpNet>,
    /// The networks whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// True to send a Forwarded field beside the X-Forwarded fields.
    pub forwarded: bool,
    /// The limit on requests in flight.
    pub concurrency: ConcurrencyLimit,
    /// The admin listener; None without one.
    pub admin: Option<AdminSettings>,
    /// TLS of all listeners; None without TLS.
    pub tls: Option<Tls>,
    /// TLS of the backends that have a transform; None when there are none.
    pub backend_tls: Option<BackendTls>,
}

/// The backends of a balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backends {
    /// Servers with these settings; none when all servers have names.
    At(Vec<BackendSettings>),
    /// Three file servers that the program starts itself.
    Demo,
}

/// A file server: `neraca serve`.
#[derive(Debug)]
pub struct Serve {
    /// Listeners, engine and limits.
    pub common: Common,
    /// The directory to serve.
    pub root: PathBuf,
    /// The limits of the file server.
    pub limits: FilesLimits,
    /// TLS of all listeners; None without TLS.
    pub tls: Option<Tls>,
    /// The delay of every response (for experiments).
    pub delay: Duration,
    /// The file with faults on purpose (for experiments).
    pub faults: Option<PathBuf>,
    /// True to list the directory for every request (for experiments).
    pub list_directory: bool,
    /// True to read the file for every request (for experiments).
    pub read_file: bool,
}

/// The settings that a balancer and a file server share.
#[derive(Debug)]
pub struct Common {
    /// The addresses to listen on; port 0 is a free port.
    pub listen: Vec<SocketAddr>,
    /// False when `listen` is the default. Then inherited sockets take its place.
    pub listen_is_given: bool,
    /// The engine, with its pool or its reactor.
    pub engine: Engine,
    /// Number of worker threads; at least 1.
    pub workers: usize,
    /// Where the handshakes of clients are computed.
    pub handshakes: Handshakes,
    /// The limits of one exchange.
    pub limits: Limits,
    /// The limits of the process.
    pub engine_limits: EngineLimits,
    /// The file to append the counters to.
    pub stats: Option<PathBuf>,
    /// The access log; None without one.
    pub log: Option<AccessLogSettings>,
    /// True to print a line for every request (for experiments).
    pub access_log: bool,
    /// Maximum bytes of one read (for experiments). None means the size of the buffer.
    pub receive_bytes: Option<usize>,
    /// True to keep all workers awake (for experiments).
    pub all_awake: bool,
}

impl Balance {
    pub(super) fn new(written: BalanceArguments, descriptors: usize) -> Result<Self, ConfigError> {
        let common = Common::new(&written.common, Some(&written.backend_limits), descriptors)?;
        let backend_tls = tls::of_backends(&written.backend_tls, &written.backends)?;
        let (backends, names) = distinct(&written.backends, backend_tls.as_ref())?;
        let backends = match (written.demo, written.backends.as_slice()) {
            (true, _) => Backends::Demo,
            (false, []) => return Err(ConfigError::NoBackends),
            (false, _) => Backends::At(backends),
        };
        let cluster = cluster(&written)?;
        let checks = checks(&written.checks)?;
        let concurrency = concurrency(written.max_in_flight_per_core, common.engine)?;
        let admin = AdminSettings::new(&written.admin)?;
        let tls = tls::tls(&written.common.tls)?;
        let BalanceArguments { trust, proxy_protocol, forwarded, resolver, .. } = written;
        Ok(Balance {
            common,
            backends,
            names,
            resolver,
            cluster,
            checks,
            trust,
            proxy_protocol,
            forwarded,
            concurrency,
            admin,
            tls,
            backend_tls,
        })
    }
}

impl Serve {
    pub(super) fn new(written: ServeArguments, descriptors: usize) -> Result<Self, ConfigError> {
        let common = Common::new(&written.common, None, descriptors)?;
        if !written.root.is_dir() {
            return Err(ConfigError::NotADirectory { argument: "--root <DIR>", value: written.root });
        }
        let limits = files_limits(&written.limits)?;
        let delay = within("--delay-ms <MS>", written.experiments.delay_ms, DELAY_MS)?;
        let tls = tls::tls(&written.common.tls)?;
        Ok(Serve {
            common,
            root: written.root,
            limits,
            tls,
            delay: Duration::from_millis(delay),
            faults: written.experiments.faults,
            list_directory: written.experiments.experiment_list_directory,
            read_file: written.experiments.experiment_read_file,
        })
    }
}

impl Simulate {
    pub(super) fn new(written: SimulateArguments) -> Result<Self, ConfigError> {
        let mut policies = Vec::new();
        for name in written.policies {
            match name.parse() {
                Ok(policy) => policies.push(policy),
                Err(_) if name == "all" => policies.extend(Policy::ALL),
                Err(error) => {
                    let expected = format!("{error}, or all");
                    return Err(ConfigError::Unknown {
                        argument: "--policy <NAME|all>",
                        value: name,
                        expected,
                    });
                }
            }
        }
        let seeds = within("--seeds <N>", written.seeds, SEEDS)?;
        let simulation = Simulation { scenario: written.scenario, policies, seeds };
        if let Err(error) = simulation.runs() {
            let (argument, value) = ("--scenario <NAME>", simulation.scenario);
            return Err(ConfigError::Unknown { argument, value, expected: error.to_string() });
        }
        Ok(Simulate { simulation, svg: written.svg, replay: written.replay })
    }
}

impl Common {
    pub(super) fn new(
        written: &CommonArguments,
        backend_limits: Option<&BackendLimitArguments>,
        descriptors: usize,
    ) -> Result<Self, ConfigError> {
        let engine = engine(&written.engine)?;
        let workers = match written.engine.workers {
            Some(n) => within("--workers <N>", n, WORKERS)? as usize,
            None => engine.default_workers(),
        };
        let receive_bytes = written.experiments.experiment_receive_bytes;
        let receive_bytes = receive_bytes
            .map(|n| within("--experiment-receive-bytes <BYTES>", n, RECEIVE_BYTES))
            .transpose()?;
        Ok(Common {
            listen_is_given: !written.listen.is_empty(),
            listen: match written.listen.as_slice() {
                [] => vec![DEFAULT_LISTEN],
                given => resolve_all("--listen <HOST:PORT>", given)?,
            },
            engine,
            workers,
            handshakes: handshakes(written.tls.handshakes, engine)?,
            limits: limits(&written.limits, backend_limits)?,
            engine_limits: engine_limits(&written.process_limits, backend_limits, descriptors)?,
            stats: written.stats.clone(),
            log: AccessLogSettings::new(&written.access_log)?,
            access_log: written.experiments.experiment_access_log,
            receive_bytes: receive_bytes.map(|n| n as usize),
            all_awake: written.experiments.experiment_all_awake,
        })
    }
}

/// Returns the engine with its pool or its reactor. Refuses an argument of the other engine.
pub(super) fn engine(written: &EngineArguments) -> Result<Engine, ConfigError> {
    let conflict = |argument, with, tip| Err(ConfigError::Conflict { argument, with, tip });
    let batch = match written.batch {
        Some(n) => within("--batch <N>", n, BATCH)? as usize,
        None => Pool::default_batch(),
    };
    let thread_only = "add '--engine thread'; the default engine is async";
    match (written.engine, written.pool.unwrap_or(PoolName::Crossbeam)) {
        (EngineName::Async, _) if written.pool.is_some() => {
            conflict("--pool <POOL>", "--engine async", thread_only)
        }
        (EngineName::Async, _) if written.batch.is_some() => {
            conflict("--batch <N>", "--engine async", thread_only)
        }
        (EngineName::Thread, _) if written.reactor.is_some() => {
            conflict("--reactor <REACTOR>", "--engine thread", "the thread engine has no choice of reactors")
        }
        (EngineName::Thread, PoolName::Textbook) if written.batch.is_some() => conflict(
            "--batch <N>",
            "--pool textbook",
            "a worker of the textbook pool takes one connection at a time",
        ),
        (EngineName::Async, _) => Ok(Engine::Async(match written.reactor {
            Some(ReactorName::Smol) => ReactorKind::Smol,
            Some(ReactorName::Edge) | None => ReactorKind::Edge,
        })),
        (EngineName::Thread, PoolName::Crossbeam) => Ok(Engine::Thread(Pool::Crossbeam { batch })),
        (EngineName::Thread, PoolName::Rayon) => Ok(Engine::Thread(Pool::Rayon { batch })),
        (EngineName::Thread, PoolName::Textbook) => Ok(Engine::Thread(Pool::Textbook)),
    }
}

/// Returns the limit on requests in flight. With smol's reactor no limit is possible, because a request cannot wait
/// unread in its socket.
pub(super) fn concurrency(written: Option<u64>, engine: Engine) -> Result<ConcurrencyLimit, ConfigError> {
    const ARGUMENT: &str = "--max-in-flight-per-core <N>";
    let limit = written.map(|n| within(ARGUMENT, n, IN_FLIGHT)).transpose()?;
    match (limit, engine) {
        (Some(1..), Engine::Async(ReactorKind::Smol)) => Err(ConfigError::Conflict {
            argument: ARGUMENT,
            with: "--reactor smol",
            tip: "'--reactor smol' supports no limit",
        }),
        (Some(0), _) | (None, Engine::Async(ReactorKind::Smol)) => Ok(ConcurrencyLimit::Unlimited),
        (Some(limit), _) => Ok(ConcurrencyLimit::WhenSaturated(limit as usize)),
        (None, _) => Ok(ConcurrencyLimit::default()),
    }
}

/// Returns where the handshakes of clients are computed. A connection of smol's reactor cannot be woken by another thread.
fn handshakes(written: HandshakesName, engine: Engine) -> Result<Handshakes, ConfigError> {
    match (written, engine) {
        (HandshakesName::Inline, _) => Ok(Handshakes::Inline),
        (HandshakesName::Pool, Engine::Async(ReactorKind::Smol)) => Err(ConfigError::Conflict {
            argument: "--handshakes <HANDSHAKES>",
            with: "--reactor smol",
            tip: "'--reactor smol' supports no pool of handshakes",
        }),
        (HandshakesName::Pool, _) => Ok(Handshakes::Pool),
    }
}

/// Returns the limits of an exchange. For a file server the limits of backends keep their defaults.
pub(super) fn limits(
    written: &LimitArguments,
    backend: Option<&BackendLimitArguments>,
) -> Result<Limits, ConfigError> {
    let ms = |argument, n| within(argument, n, TIMEOUT_MS).map(Duration::from_millis);
    let head = HeadLimits {
        head_bytes: within("--head-bytes <BYTES>", written.head_bytes, HEAD_BYTES)? as usize,
        request_line_bytes: within(
            "--request-line-bytes <BYTES>",
            written.request_line_bytes,
            REQUEST_LINE_BYTES,
        )? as usize,
    };
    let limits = Limits {
        head,
        head_timeout: ms("--head-timeout-ms <MS>", written.head_timeout_ms)?,
        body_timeout: ms("--body-timeout-ms <MS>", written.body_timeout_ms)?,
        idle_timeout: ms("--idle-timeout-ms <MS>", written.idle_timeout_ms)?,
        linger_timeout: ms("--linger-timeout-ms <MS>", written.linger_timeout_ms)?,
        ..Limits::default()
    };
    let Some(backend) = backend else { return Ok(limits) };
    Ok(Limits {
        connect_timeout: ms("--connect-timeout-ms <MS>", backend.connect_timeout_ms)?,
        response_timeout: ms("--response-timeout-ms <MS>", backend.response_timeout_ms)?,
        queue_timeout: ms("--queue-timeout-ms <MS>", backend.queue_timeout_ms)?,
        tunnel_timeout: ms("--tunnel-timeout-ms <MS>", backend.tunnel_timeout_ms)?,
        continue_timeout: ms("--continue-timeout-ms <MS>", backend.continue_timeout_ms)?,
        ..limits
    })
}

/// Returns the limits of the process. By default a quarter of the descriptors is left for backend connections,
/// listeners and files. This is enough, because most client connections are idle and have no backend connection.
pub(super) fn engine_limits(
    written: &ProcessLimitArguments,
    backend: Option<&BackendLimitArguments>,
    descriptors: usize,
) -> Result<EngineLimits, ConfigError> {
    let defaults = EngineLimits::default();
    let connections = match written.connections {
        Some(n) => within("--connections <N>", n, CONNECTIONS)? as usize,
        None => (descriptors / 4 * 3).clamp(1, defaults.connections),
    };
    let idle_backend_connections = match backend.map(|backend| backend.idle_backend_connections) {
        Some(n) => within("--idle-backend-connections <N>", n, IDLE_BACKEND_CONNECTIONS)? as usize,
        None => defaults.idle_backend_connections,
    };
    let drain = within("--drain-seconds <SECONDS>", written.drain_seconds, DRAIN_SECONDS)?;
    let drain = Duration::from_secs(drain);
    Ok(EngineLimits { connections, idle_backend_connections, drain, ..EngineLimits::default() })
}

fn files_limits(written: &FilesLimitArguments) -> Result<FilesLimits, ConfigError> {
    Ok(FilesLimits {
        small_file_bytes: within("--small-file-bytes <BYTES>", written.small_file_bytes, SMALL_FILE_BYTES)?,
        memory_bytes: within("--memory-bytes <BYTES>", written.memory_bytes, MEMORY_BYTES)?,
        files: within("--files <N>", written.files, FILES)? as usize,
        ..FilesLimits::default()
    })
}

fn resolve_all(argument: &'static str, given: &[HostPort]) -> Result<Vec<SocketAddr>, ConfigError> {
    given.iter().map(|place| resolve(argument, place)).collect()
}

/// Returns the backends with an address and those with a name. Two backends with one address would have one name in metrics
/// and in drains.
fn distinct(
    given: &[WrittenBackend],
    tls: Option<&BackendTls>,
) -> Result<(Vec<BackendSettings>, Vec<NamedBackends>), ConfigError> {
    let argument = "--backend <HOST:PORT[,OPTION=VALUE]...>";
    let (mut backends, mut names) = (Vec::new(), Vec::new());
    for (at, written) in given.iter().enumerate() {
        let place = &written.place;
        if given[..at].iter().any(|known| known.place == *place) {
            let expected = format!("expected each backend once, and {place} is given twice");
            return Err(ConfigError::Unknown { argument, value: place.to_string(), expected });
        }
        let transform = match (written.scheme, tls) {
            (Some(Scheme::Https), Some(tls)) => {
                let unusable =
                    |expected| ConfigError::Unknown { argument, value: place.to_string(), expected };
                Some(tls.transform(&place.host()).map_err(unusable)?)
            }
            _ => None,
        };
        written.clone().add_to(transform, &mut backends, &mut names);
    }
    Ok((backends, names))
}
