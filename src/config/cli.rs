//! Step 1: the arguments of the command line.
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgGroup, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;

use super::error::ConfigError;
use super::help::{self, BALANCE_EXAMPLES, CHECK_HELP, EXAMPLES, SERVE_EXAMPLES, simulate_help};
use super::operate::{AccessLogArguments, AdminArguments, StatusArguments};
use super::tls::{BackendTlsArguments, TlsArguments};
use super::value::{CheckKind, HostPort, WrittenBackend, backend, check, network, number, policy, resolver};
use crate::cluster::{
    CheckSettings, ClusterSettings, CookieName, HealthSettings, Policy, RetrySettings, StickyKey,
};
use crate::engine::EngineLimits;
use crate::exchange::Limits;
use crate::files::FilesLimits;
use crate::http::head::HeadLimits;

/// Positions in the list of `--help`. All other arguments have the order of their declaration.
const FIRST: usize = 0;
const LAST: usize = 900;
/// The heading of the switches for experiments.
const EXPERIMENTS: &str = "Experiments (for measurements only)";

/// An HTTP/1.1 load balancer and static file server with two interchangeable concurrency engines.
#[derive(Debug, Parser)]
#[command(name = "neraca", version, disable_help_subcommand = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub(super) enum Command {
    /// Forward HTTP requests to backends.
    #[command(after_help = BALANCE_EXAMPLES)]
    Balance(BalanceArguments),
    /// Serve the files of a directory over HTTP.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
    /// Check a configuration file, or print the JSON Schema of such files.
    #[command(after_help = CHECK_HELP)]
    Check(CheckFileArguments),
    /// Show how a running balancer does, as a table.
    Status(StatusArguments),
    /// Compare the policies over a simulated cluster.
    #[command(after_help = simulate_help())]
    Simulate(SimulateArguments),
    /// Print the completions of a shell.
    #[command(hide = true)]
    Completions {
        /// Shell that completes.
        shell: Shell,
    },
    /// Write the manual pages into a directory.
    #[command(hide = true)]
    Man {
        /// Directory for the pages.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Backends")]
#[command(group = ArgGroup::new("some_backends").args(["backends", "demo", "config"]).required(true))]
pub(super) struct BalanceArguments {
    /// Server to forward requests to; repeat it for each server. https://HOST:PORT is a server with TLS. A server with
    /// weight=2 gets twice as many requests as a server with weight=1, the default. A server with cap=N has at most N
    /// requests in flight; further requests wait.
    /// With cap=auto this number follows the latency of the server. With proxy-protocol=v1 or v2, each connection to the
    /// server begins with a header that names the client, and serves one request. A host name stands for all its addresses,
    /// and srv:NAME for the SRV records of a service. Names are looked up again and again.
    #[arg(long = "backend", value_name = "HOST:PORT[,OPTION=VALUE]...", value_parser = backend)]
    pub(super) backends: Vec<WrittenBackend>,
    /// DNS server to ask for the names of backends; without a port, port 53 [default: those of the system].
    #[arg(long, value_name = "IP[:PORT]", value_parser = resolver)]
    pub(super) resolver: Option<SocketAddr>,
    /// Start three file servers in this process and use them as backends.
    #[arg(long)]
    pub(super) demo: bool,
    /// Configuration file, for several listeners, clusters and routes. Arguments of the process, such as --engine, --workers
    /// and --admin, may stand beside it and win over the file.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The arguments that the command line says, for the reader of the file.
    #[arg(skip)]
    pub(super) given: Vec<GivenArgument>,
    /// Policy that picks the backend of a request: round-robin, least-requests, two-choices, random, peak-ewma,
    /// hash:source, hash:path, hash:header=NAME, hash:cookie=NAME or first.
    #[arg(long, default_value_t, value_parser = policy)]
    pub(super) policy: Policy,
    /// Keep each client at its backend: a response names the backend in a cookie with this name, and later requests with
    /// the cookie go to this backend while it works and has room.
    #[arg(long, value_name = "NAME", requires = "sticky_key", value_parser = CookieName::from_str)]
    pub(super) sticky: Option<CookieName>,
    /// Secret that hides the addresses of the backends in the cookie of --sticky. With the same key, sessions survive a
    /// restart, and several balancers share them.
    #[arg(long, value_name = "HEX", requires = "sticky", value_parser = StickyKey::from_str)]
    pub(super) sticky_key: Option<StickyKey>,
    /// Network of trusted proxies; repeat it for each network. Their Forwarded and X-Forwarded fields are kept. For all
    /// other clients these fields are removed, and X-Forwarded-For gets the client's address.
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Clients")]
    pub(super) trust: Vec<IpNet>,
    /// Network of proxies that send a header of the PROXY protocol (version 1 or 2) at the start of each connection;
    /// repeat it for each network. The client in the header counts as the client. Connections from other networks must not
    /// send a header.
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Clients")]
    pub(super) proxy_protocol: Vec<IpNet>,
    /// Send a Forwarded field (RFC 7239) beside the X-Forwarded fields, by the same rule.
    #[arg(long, help_heading = "Clients")]
    pub(super) forwarded: bool,
    /// Maximum requests in flight per core, while the CPUs are saturated. Further requests wait. 0 means no limit
    /// [default: 64; no limit with --reactor smol].
    #[arg(long, value_name = "N", value_parser = number, help_heading = "Engine", display_order = LAST)]
    pub(super) max_in_flight_per_core: Option<u64>,
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(flatten)]
    pub(super) backend_tls: BackendTlsArguments,
    #[command(flatten)]
    pub(super) backend_limits: BackendLimitArguments,
    #[command(flatten)]
    pub(super) health: HealthArguments,
    #[command(flatten)]
    pub(super) checks: CheckArguments,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

/// An argument as it stands on the command line.
#[derive(Debug, Clone)]
pub(super) struct GivenArgument {
    /// The identity of the argument, such as `max_in_flight_per_core`.
    pub(super) id: String,
    /// Its values; empty for a switch.
    pub(super) values: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct CheckFileArguments {
    /// Configuration file to check (`neraca balance --config`).
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    pub(super) file: Option<PathBuf>,
    /// Print the JSON Schema of configuration files, for editors.
    #[arg(long, conflicts_with = "file")]
    pub(super) schema: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Directory to serve.
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(super) root: PathBuf,
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(flatten)]
    pub(super) limits: FilesLimitArguments,
    #[command(flatten)]
    pub(super) experiments: FilesExperimentArguments,
}

#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// What happens to the backends; see the list below.
    #[arg(long, value_name = "NAME")]
    pub(super) scenario: String,
    /// Policy to simulate, or `all`; repeat it for each policy. Default: all; for auto-cap, least-requests.
    #[arg(long = "policy", value_name = "NAME|all")]
    pub(super) policies: Vec<String>,
    /// Number of runs for each policy.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number)]
    pub(super) seeds: u64,
    /// File for a plot of the latency over time, as SVG.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(super) svg: Option<PathBuf>,
    /// Print every pick of the run with this seed, instead of the table.
    #[arg(long, value_name = "SEED", value_parser = number, conflicts_with = "seeds")]
    pub(super) replay: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct CommonArguments {
    /// Address to accept clients on; repeat it for each address; port 0 means a free port [default: the sockets that
    /// systemd passes, else 127.0.0.1:8080].
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::from_str, display_order = FIRST,
          help_heading = "Clients")]
    pub(super) listen: Vec<HostPort>,
    /// File to append counters to, as one JSON object per line, every second and at the end.
    #[arg(long, value_name = "FILE", display_order = LAST, help_heading = "Logs and counters")]
    pub(super) stats: Option<PathBuf>,
    #[command(flatten)]
    pub(super) access_log: AccessLogArguments,
    #[command(flatten)]
    pub(super) tls: TlsArguments,
    #[command(flatten)]
    pub(super) engine: EngineArguments,
    #[command(flatten)]
    pub(super) process_limits: ProcessLimitArguments,
    #[command(flatten)]
    pub(super) limits: LimitArguments,
    #[command(flatten)]
    pub(super) experiments: ExperimentArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineArguments {
    /// Engine: a pool of worker threads, or tasks on one executor per core.
    #[arg(long, value_enum, default_value_t = EngineName::Async)]
    pub(super) engine: EngineName,
    /// Number of worker threads [default: 1 per core; with the textbook pool 2 per core, at least 4].
    #[arg(long, value_name = "N", value_parser = number)]
    pub(super) workers: Option<u64>,
    /// Thread engine: the pool of workers. In the textbook pool, a worker handles one request at a time and waits
    /// itself for the backend [default: crossbeam].
    #[arg(long, value_enum)]
    pub(super) pool: Option<PoolName>,
    /// Thread engine: maximum ready connections per job, when several workers are awake [default: 512 divided by the
    /// cores, at least 16].
    #[arg(long, value_name = "N", value_parser = number)]
    pub(super) batch: Option<u64>,
    /// Async engine: the reactor that reports ready sockets: an edge-triggered reactor per core, or smol's own reactor
    /// [default: edge].
    #[arg(long, value_enum)]
    pub(super) reactor: Option<ReactorName>,
}

/// Limits of the process.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct ProcessLimitArguments {
    #[arg(long, value_name = "N", value_parser = number,
          help = format!("Maximum client connections; beyond it, the longest idle clients are closed [default: {}, or 3/4 of the open files limit (ulimit -n) if that is less]",
                         EngineLimits::default().connections))]
    pub(super) connections: Option<u64>,
    /// Time for running requests to end after the first SIGTERM or SIGINT.
    #[arg(long, value_name = "SECONDS", default_value_t = EngineLimits::default().drain.as_secs(),
          value_parser = number, help_heading = "Timeouts")]
    pub(super) drain_seconds: u64,
}

/// Limits of client connections, their requests and their responses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Timeouts")]
pub(super) struct LimitArguments {
    /// Maximum size of a message head. A larger request head gets 431, a larger response head becomes 502.
    #[arg(long, value_name = "BYTES", default_value_t = HeadLimits::default().head_bytes as u64, value_parser = number,
          help_heading = "Limits")]
    pub(super) head_bytes: u64,
    /// Maximum size of a request line. A longer line gets 414.
    #[arg(long, value_name = "BYTES", default_value_t = HeadLimits::default().request_line_bytes as u64,
          value_parser = number, help_heading = "Limits")]
    pub(super) request_line_bytes: u64,
    /// Time to receive a whole request head; then 408.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().head_timeout), value_parser = number)]
    pub(super) head_timeout_ms: u64,
    /// Maximum time without a byte while the client sends a body (then 408) or reads a response (then a reset).
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().body_timeout), value_parser = number)]
    pub(super) body_timeout_ms: u64,
    /// Time to keep a client's connection open without a request.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().idle_timeout), value_parser = number)]
    pub(super) idle_timeout_ms: u64,
    /// After the last response a client may still send. Its bytes are discarded for this time, then the connection is
    /// closed.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().linger_timeout), value_parser = number)]
    pub(super) linger_timeout_ms: u64,
}

/// Limits of backend connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Timeouts")]
pub(super) struct BackendLimitArguments {
    /// Time to connect to a backend. Then another backend is tried; if none is left, 504.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().connect_timeout), value_parser = number)]
    pub(super) connect_timeout_ms: u64,
    /// Maximum time without a byte while the balancer waits for the backend. If no byte of the response came, an
    /// idempotent request goes to another backend; if none is left, 504. Within a response, the client's connection is
    /// reset.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().response_timeout), value_parser = number)]
    pub(super) response_timeout_ms: u64,
    /// Time for a backend to answer `Expect: 100-continue`; then the balancer sends 100 Continue.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().continue_timeout), value_parser = number)]
    pub(super) continue_timeout_ms: u64,
    /// Maximum requests that wait until a backend has room (see cap=N); the next one gets 503.
    #[arg(long, value_name = "N", default_value_t = ClusterSettings::default().waiting_max as u64,
          value_parser = number, help_heading = "Limits")]
    pub(super) queue: u64,
    /// Time that a request waits until a backend has room; then 503.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().queue_timeout), value_parser = number)]
    pub(super) queue_timeout_ms: u64,
    /// Time to keep an upgraded connection (such as a WebSocket) open without traffic.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().tunnel_timeout), value_parser = number)]
    pub(super) tunnel_timeout_ms: u64,
    /// Maximum time to keep a backend connection open without a request. When a backend states a shorter time
    /// (Keep-Alive: timeout=N) or closes earlier, its connections are kept for less.
    #[arg(long, value_name = "MS", default_value_t = ms(ClusterSettings::default().idle_timeout),
          value_parser = number)]
    pub(super) backend_idle_timeout_ms: u64,
    /// Maximum idle connections kept per backend (async engine: per backend and worker).
    #[arg(long, value_name = "N", default_value_t = EngineLimits::default().idle_backend_connections as u64,
          value_parser = number, help_heading = "Limits")]
    pub(super) idle_backend_connections: u64,
}

/// Health of backends, and retries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Health and retries")]
pub(super) struct HealthArguments {
    /// Eject no backend because of failed requests.
    #[arg(long)]
    pub(super) no_ejection: bool,
    /// Duration of the first ejection of a backend that fails. Each further ejection takes twice as long.
    #[arg(long, value_name = "MS", default_value_t = ms(HealthSettings::default().ejection), value_parser = number)]
    pub(super) ejection_ms: u64,
    /// Maximum duration of an ejection.
    #[arg(long, value_name = "MS", default_value_t = ms(HealthSettings::default().ejection_max), value_parser = number)]
    pub(super) ejection_max_ms: u64,
    /// Maximum share of ejected backends; one backend may always be ejected. Refused connects do not count.
    #[arg(long, value_name = "PERCENT", default_value_t = HealthSettings::default().ejected_max_percent.into(),
          value_parser = number)]
    pub(super) ejected_max_percent: u64,
    /// When fewer backends than this share are available, all backends are used.
    #[arg(long, value_name = "PERCENT", default_value_t = HealthSettings::default().panic_percent.into(),
          value_parser = number)]
    pub(super) panic_percent: u64,
    /// Time in which the share of a backend that returns grows to its full share.
    #[arg(long, value_name = "MS", default_value_t = ms(HealthSettings::default().slow_start), value_parser = number)]
    pub(super) slow_start_ms: u64,
    /// Retries for each 100 requests of the last 10 s.
    #[arg(long, value_name = "PERCENT", default_value_t = RetrySettings::default().percent.into(),
          value_parser = number)]
    pub(super) retry_percent: u64,
    /// Retries per second that are always allowed.
    #[arg(long, value_name = "N", default_value_t = RetrySettings::default().per_second.into(), value_parser = number)]
    pub(super) retries_per_second: u64,
    /// Repeat an idempotent request without a body on another backend when its answer is 502, 503 or 504.
    #[arg(long)]
    pub(super) retry_answers: bool,
}

/// Active checks of backends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Checks")]
pub(super) struct CheckArguments {
    /// Check every backend again and again: `tcp` makes a connection, a path makes a GET request.
    #[arg(long, value_name = "tcp|/PATH", value_parser = check)]
    pub(super) check: Option<CheckKind>,
    /// Time from one check of a backend to the next; a tenth shorter or longer at random.
    #[arg(long, value_name = "MS", requires = "check", value_parser = number,
          default_value_t = ms(CheckSettings::default().interval))]
    pub(super) check_interval_ms: u64,
    /// Time for one check; then it has failed.
    #[arg(long, value_name = "MS", requires = "check", value_parser = number,
          default_value_t = ms(CheckSettings::default().timeout))]
    pub(super) check_timeout_ms: u64,
    /// Good checks in a row after which a backend that was down is up.
    #[arg(long, value_name = "N", requires = "check", value_parser = number,
          default_value_t = CheckSettings::default().rise.into())]
    pub(super) check_rise: u64,
    /// Failed checks in a row after which a backend that was up is down.
    #[arg(long, value_name = "N", requires = "check", value_parser = number,
          default_value_t = CheckSettings::default().fall.into())]
    pub(super) check_fall: u64,
    /// Port to check in place of the port of the backend, without TLS. A replica of Neraca answers `/ready` at its `--admin` port.
    #[arg(long, value_name = "PORT", requires = "check", value_parser = number)]
    pub(super) check_port: Option<u64>,
    /// Expected status [default: any from 200 to 399].
    #[arg(long, value_name = "STATUS", requires = "check", value_parser = number)]
    pub(super) check_status: Option<u64>,
    /// Text that the body must contain, within the first 64 KiB of the response.
    #[arg(long, value_name = "TEXT", requires = "check")]
    pub(super) check_contains: Option<String>,
    /// Value of the Host field [default: the address of the backend].
    #[arg(long, value_name = "HOST", requires = "check")]
    pub(super) check_host: Option<String>,
    /// Send no request to a backend before its first good check.
    #[arg(long, requires = "check")]
    pub(super) check_first: bool,
}

/// Limits of the file server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct FilesLimitArguments {
    /// Maximum size of a file that is kept in memory.
    #[arg(long, value_name = "BYTES", default_value_t = FilesLimits::default().small_file_bytes, value_parser = number)]
    pub(super) small_file_bytes: u64,
    /// Maximum size of all files kept in memory.
    #[arg(long, value_name = "BYTES", default_value_t = FilesLimits::default().memory_bytes, value_parser = number)]
    pub(super) memory_bytes: u64,
    /// Maximum number of files and directories below the root. The program does not start with more.
    #[arg(long, value_name = "N", default_value_t = FilesLimits::default().files as u64, value_parser = number)]
    pub(super) files: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = EXPERIMENTS)]
pub(super) struct ExperimentArguments {
    /// Print one line for every request.
    #[arg(long)]
    pub(super) experiment_access_log: bool,
    /// Maximum size of one read [default: the size of the buffer].
    #[arg(long, value_name = "BYTES", value_parser = number)]
    pub(super) experiment_receive_bytes: Option<u64>,
    /// Keep all workers awake, whatever the load.
    #[arg(long)]
    pub(super) experiment_all_awake: bool,
}

/// Experiments with the file server.
#[derive(Debug, Args)]
#[command(next_help_heading = EXPERIMENTS)]
pub(super) struct FilesExperimentArguments {
    /// Delay every response, like a backend with work to do.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = number)]
    pub(super) delay_ms: u64,
    /// File with faults on purpose, read again when it changes. Each line is NAME=NUMBER; the names are delay-ms,
    /// random-delay-ms, first-delay-ms (of each connection), slots (requests worked on at a time), fail-percent,
    /// fail-status, silent-percent, cut-percent, close-percent and close-after (requests).
    #[arg(long, value_name = "FILE")]
    pub(super) faults: Option<PathBuf>,
    /// List the directory for every request.
    #[arg(long)]
    pub(super) experiment_list_directory: bool,
    /// Read the file for every request.
    #[arg(long)]
    pub(super) experiment_read_file: bool,
}

/// The engine's name on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EngineName {
    Thread,
    Async,
}

/// The pool's name on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PoolName {
    Crossbeam,
    Rayon,
    Textbook,
}

/// The reactor's name on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ReactorName {
    Edge,
    Smol,
}

impl Command {
    /// The subcommand's name on the command line.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Command::Balance(_) => "balance",
            Command::Serve(_) => "serve",
            Command::Check(_) => "check",
            Command::Status(_) => "status",
            Command::Simulate(_) => "simulate",
            Command::Completions { .. } => "completions",
            Command::Man { .. } => "man",
        }
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Parses a command line and checks the form of each value.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let line = help::asked(command(), &words)?;
    let matches = line.clone().try_get_matches_from(words)?;
    let mut command = Cli::from_arg_matches(&matches)?.command;
    if let (Command::Balance(written), Some(("balance", matches))) = (&mut command, matches.subcommand()) {
        let arguments = line.find_subcommand("balance").into_iter().flat_map(clap::Command::get_arguments);
        let said = |argument: &&Arg| {
            matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        };
        written.given = arguments.filter(said).map(|argument| given(argument, matches)).collect();
    }
    Ok(command)
}

fn given(argument: &Arg, matches: &ArgMatches) -> GivenArgument {
    let id = argument.get_id().to_string();
    let values = match argument.get_action().takes_values() {
        true => matches.get_raw(&id).into_iter().flatten().map(OsString::from).collect(),
        false => Vec::new(),
    };
    GivenArgument { id, values }
}

/// Returns the arguments of the program.
pub(super) fn command() -> clap::Command {
    // Without this setting, clap parses "-1" as an argument, not as an invalid value.
    let negative = |argument: Arg| {
        let takes_values = argument.get_action().takes_values();
        argument.allow_negative_numbers(takes_values)
    };
    Cli::command().mut_subcommands(|command| command.mut_args(negative))
}

/// Returns the arguments of `neraca balance`, for the reader of the configuration file.
pub(super) fn balance() -> clap::Command {
    BalanceArguments::augment_args(clap::Command::new("balance"))
}

/// Formats our own error as clap formats its errors.
pub(super) fn refuse(command: &str, error: &ConfigError) -> clap::Error {
    let kind = match error {
        ConfigError::Conflict { .. } | ConfigError::BesideFile { .. } => ErrorKind::ArgumentConflict,
        ConfigError::NoBackends => ErrorKind::MissingRequiredArgument,
        _ => ErrorKind::ValueValidation,
    };
    let tip = error.tip().map(|tip| format!("\n\n  tip: {tip}")).unwrap_or_default();
    let mut cli = Cli::command();
    cli.build();
    let message = format!("{error}{tip}");
    match cli.find_subcommand_mut(command) {
        Some(command) => command.error(kind, message),
        None => cli.error(kind, message),
    }
}
