//! Step 1: the arguments of the command line.
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::error::ConfigError;
use super::value::{HostPort, backend, network, number};
use crate::cluster::Policy;
use crate::engine::EngineLimits;
use crate::exchange::Limits;
use crate::files::FilesLimits;
use crate::http::head::HeadLimits;

const EXAMPLES: &str = "\
Examples:
  neraca balance --demo
  neraca balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080
  neraca serve --listen 127.0.0.1:9001 --root /srv/www

Log messages go to stderr. NERACA_LOG sets their level: off, error, warn (default), info, debug or trace.
Exit codes: 0 after SIGTERM or SIGINT, 1 if the program cannot run, 2 if an argument is wrong.";

const BALANCE_EXAMPLES: &str = "\
Examples:
  Try it: three backends in the same process
    neraca balance --demo
  Two backends, reachable from other machines
    neraca balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080
  The thread engine, behind a proxy in 10.0.0.0/8 that sets X-Forwarded-For
    neraca balance --engine thread --trust 10.0.0.0/8 --backend localhost:9001

The first SIGTERM or SIGINT lets running requests end, the second one ends the program at once.";

const SERVE_EXAMPLES: &str = "\
Examples:
  Serve a directory
    neraca serve --root /srv/www
  Two listeners on the thread engine, as backends for a balancer
    neraca serve --engine thread --listen 127.0.0.1:9001 --listen 127.0.0.1:9002 --root /srv/www

The first SIGTERM or SIGINT lets running requests end, the second one ends the program at once.";

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
pub(super) enum Command {
    /// Forward HTTP requests to backends.
    #[command(after_help = BALANCE_EXAMPLES)]
    Balance(BalanceArguments),
    /// Serve the files of a directory over HTTP.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("some_backends").args(["backends", "demo"]).required(true))]
pub(super) struct BalanceArguments {
    /// Server to forward requests to; repeat it for each server.
    #[arg(long = "backend", value_name = "HOST:PORT", value_parser = backend)]
    pub(super) backends: Vec<HostPort>,
    /// Start three file servers in this process and use them as backends.
    #[arg(long)]
    pub(super) demo: bool,
    /// Policy that picks the backend of a request.
    #[arg(long, default_value_t, value_parser = policy())]
    pub(super) policy: Policy,
    /// Network of trusted proxies; repeat it for each network. Their Forwarded and X-Forwarded fields are kept. For all
    /// other clients these fields are removed, and X-Forwarded-For gets the client's address.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub(super) trust: Vec<IpNet>,
    /// Maximum requests in flight per core, while the CPUs are saturated. Further requests wait. 0 means no limit
    /// [default: 64; no limit with --reactor smol].
    #[arg(long, value_name = "N", value_parser = number, help_heading = "Engine", display_order = LAST)]
    pub(super) max_in_flight_per_core: Option<u64>,
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(flatten)]
    pub(super) backend_limits: BackendLimitArguments,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Directory to serve.
    #[arg(long, value_name = "DIR")]
    pub(super) root: PathBuf,
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(flatten)]
    pub(super) limits: FilesLimitArguments,
    #[command(flatten)]
    pub(super) experiments: FilesExperimentArguments,
}

#[derive(Debug, Args)]
pub(super) struct CommonArguments {
    /// Address to accept clients on; repeat it for each address; port 0 means a free port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = HostPort::from_str,
          display_order = FIRST)]
    pub(super) listen: Vec<HostPort>,
    /// File to append counters to, as one JSON object per line, every second and at the end.
    #[arg(long, value_name = "FILE", display_order = LAST)]
    pub(super) stats: Option<PathBuf>,
    #[command(flatten)]
    pub(super) engine: EngineArguments,
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

/// Limits of client connections, their requests and their responses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArguments {
    #[arg(long, value_name = "N", value_parser = number,
          help = format!("Maximum client connections; beyond it, the longest idle clients are closed [default: {}, or 3/4 of the open files limit (ulimit -n) if that is less]",
                         EngineLimits::default().connections))]
    pub(super) connections: Option<u64>,
    /// Maximum size of a message head. A larger request head gets 431, a larger response head becomes 502.
    #[arg(long, value_name = "BYTES", default_value_t = HeadLimits::default().head_bytes as u64, value_parser = number)]
    pub(super) head_bytes: u64,
    /// Maximum size of a request line. A longer line gets 414.
    #[arg(long, value_name = "BYTES", default_value_t = HeadLimits::default().request_line_bytes as u64,
          value_parser = number)]
    pub(super) request_line_bytes: u64,
    /// Time to receive a whole request head; then 408.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().head_timeout), value_parser = number)]
    pub(super) head_timeout_ms: u64,
    /// Maximum time without a byte while the client sends a body (then 408) or reads a response (then a reset).
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().body_timeout), value_parser = number)]
    pub(super) body_timeout_ms: u64,
    /// Time to keep a client or backend connection open without a request.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().idle_timeout), value_parser = number)]
    pub(super) idle_timeout_ms: u64,
    /// After the last response a client may still send. Its bytes are discarded for this time, then the connection is
    /// closed.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().linger_timeout), value_parser = number)]
    pub(super) linger_timeout_ms: u64,
    /// Time for running requests to end after the first SIGTERM or SIGINT.
    #[arg(long, value_name = "SECONDS", default_value_t = EngineLimits::default().drain.as_secs(),
          value_parser = number)]
    pub(super) drain_seconds: u64,
}

/// Limits of backend connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
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
    /// Time to keep an upgraded connection (such as a WebSocket) open without traffic.
    #[arg(long, value_name = "MS", default_value_t = ms(Limits::default().tunnel_timeout), value_parser = number)]
    pub(super) tunnel_timeout_ms: u64,
    /// Maximum idle connections kept per backend (async engine: per backend and worker).
    #[arg(long, value_name = "N", default_value_t = EngineLimits::default().idle_backend_connections as u64,
          value_parser = number)]
    pub(super) idle_backend_connections: u64,
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
        }
    }
}

fn policy() -> impl TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(Policy::ALL.map(Policy::name)).try_map(|name| name.parse::<Policy>())
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Parses a command line and checks the form of each value.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    // Without this setting, clap parses "-1" as an argument, not as an invalid value.
    let negative = |argument: Arg| {
        let takes_values = argument.get_action().takes_values();
        argument.allow_negative_numbers(takes_values)
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(negative));
    let matches = command.try_get_matches_from(words)?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// Formats our own error as clap formats its errors.
pub(super) fn refuse(command: &str, error: &ConfigError) -> clap::Error {
    let kind = match error {
        ConfigError::Conflict { .. } => ErrorKind::ArgumentConflict,
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
