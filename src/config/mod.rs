//! The command line, turned into plain data. Whatever is wrong with it is said in one line.
use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ipnet::IpNet;
use neraca::cluster::Policy;
use neraca::engine::{ConcurrencyLimit, Engine, EngineLimits, Options, Pool, ReactorKind, cores};
use neraca::exchange::Limits;
use neraca::files::FilesLimits;
use neraca::http::buffer::BUFFER_BYTES;
use neraca::http::head::HeadLimits;

mod value;

use value::{address, backend, choice, directory, network, number};

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Config {
    Balance(Balance),
    Serve(Serve),
}

/// `neraca balance`.
#[derive(Debug)]
pub(crate) struct Balance {
    pub(crate) common: Common,
    /// None: the demo's own.
    pub(crate) backends: Option<Vec<SocketAddr>>,
    pub(crate) policy: Policy,
    pub(crate) trust: Vec<IpNet>,
}

/// `neraca serve`.
#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) common: Common,
    pub(crate) root: PathBuf,
    pub(crate) limits: FilesLimits,
    pub(crate) delay: Duration,
    pub(crate) list_directory: bool,
    pub(crate) read_file: bool,
}

/// What both programs take.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) options: Options,
    pub(crate) stats: Option<PathBuf>,
    pub(crate) access_log: bool,
}

/// Why there is no configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A text that was asked for.
    Print(String),
    /// One line that says what is wrong.
    Refuse(String),
}

/// Reads the command line. `descriptors` is how many files and sockets the process may have open.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    descriptors: usize,
) -> Result<Config, Stop> {
    // A negative number is then the value of its argument, and refused as such.
    let negative = |argument: Arg| {
        let takes_values = argument.get_action().takes_values();
        argument.allow_negative_numbers(takes_values)
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(negative));
    let matches = command.try_get_matches_from(arguments);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| explain(&error))?;
    match cli.command {
        Command::Balance(arguments) => arguments.check(descriptors).map(Config::Balance),
        Command::Serve(arguments) => {
            let common = arguments.common.check(descriptors)?;
            let (root, limits) = (arguments.root, arguments.limits.of_files());
            Ok(Config::Serve(Serve {
                common,
                root,
                limits,
                delay: Duration::from_millis(arguments.delay_ms as u64),
                list_directory: arguments.experiment_list_directory,
                read_file: arguments.experiment_read_file,
            }))
        }
    }
}

/// An HTTP/1.1 load balancer and static file server with two interchangeable concurrency engines.
#[derive(Parser)]
#[command(name = "neraca", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Forward requests to backends.
    Balance(BalanceArguments),
    /// Serve the files of a directory.
    Serve(ServeArguments),
}

#[derive(Args)]
struct BalanceArguments {
    /// A server to forward to; give it once for each of them.
    #[arg(long = "backend", value_name = "HOST:PORT", value_parser = backend)]
    backends: Vec<SocketAddr>,
    /// How a backend is chosen.
    #[arg(long, default_value_t, value_parser = choice(&Policy::ALL.map(|policy| (policy.name(), policy))))]
    policy: Policy,
    /// Believe the X-Forwarded fields of clients within this network; may be given several times.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trust: Vec<IpNet>,
    /// Most requests that are at the backends for each core while the machine is short of processors, 0 for no limit;
    /// the others wait [default: 64, none with --reactor smol].
    #[arg(long, value_name = "N", value_parser = number(0..=1_000_000), help_heading = "Engine")]
    max_in_flight_per_core: Option<usize>,
    /// Start three static backends in this process and balance over them.
    #[arg(long)]
    demo: bool,
    #[command(flatten)]
    common: CommonArguments,
}

#[derive(Args)]
struct ServeArguments {
    /// The directory whose files are served.
    #[arg(long, value_name = "DIR", value_parser = directory)]
    root: PathBuf,
    /// Put every answer off for so many milliseconds, to stand for a backend that has work to do.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = number(0..=600_000),
          help_heading = "Experiments")]
    delay_ms: usize,
    /// List the directory for every request.
    #[arg(long, help_heading = "Experiments")]
    experiment_list_directory: bool,
    /// Read the file for every request.
    #[arg(long, help_heading = "Experiments")]
    experiment_read_file: bool,
    #[command(flatten)]
    common: CommonArguments,
    #[command(flatten)]
    limits: FilesLimitArguments,
}

#[derive(Args)]
struct CommonArguments {
    /// Where clients connect, port 0 for a free one; may be given several times.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// How work is put on cores: a pool of workers fed by a channel, or an executor with tasks on each core.
    #[arg(long, default_value = "async",
          value_parser = choice(&[("thread", EngineName::Thread), ("async", EngineName::Async)]))]
    engine: EngineName,
    /// Worker threads [default: one per core with async; two per core, at least 4, with thread].
    #[arg(long, value_name = "N", value_parser = number(1..=1024))]
    workers: Option<usize>,
    /// Thread engine: maximum ready connections per job [default: 512 divided by the cores, at least 16].
    #[arg(long, value_name = "N", value_parser = number(1..=1024), help_heading = "Engine")]
    batch: Option<usize>,
    /// Thread engine: the pool of workers. A worker of the textbook pool holds one exchange to its
    /// end [default: crossbeam].
    #[arg(long, help_heading = "Engine",
          value_parser = choice(&[("crossbeam", PoolName::Crossbeam), ("rayon", PoolName::Rayon),
                                  ("textbook", PoolName::Textbook)]))]
    pool: Option<PoolName>,
    /// Async engine: what waits for the sockets [default: edge].
    #[arg(long, help_heading = "Engine",
          value_parser = choice(&[("edge", ReactorKind::Edge), ("smol", ReactorKind::Smol)]))]
    reactor: Option<ReactorKind>,
    /// Append the counters to this file, one JSON object a line, every second and at the end.
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Print a line for every request.
    #[arg(long, help_heading = "Experiments")]
    experiment_access_log: bool,
    /// Read at most so many bytes at once [default: what the buffer holds].
    #[arg(long, value_name = "N", help_heading = "Experiments", value_parser = number(1..=BUFFER_BYTES))]
    experiment_receive_bytes: Option<usize>,
    #[command(flatten)]
    limits: LimitArguments,
}

/// Every limit and deadline, with its unit in its name.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Most bytes of a request or response head (431, 502).
    #[arg(long, value_name = "N", default_value_t = HeadLimits::default().head_bytes,
          value_parser = number(512..=BUFFER_BYTES))]
    head_bytes: usize,
    /// Most bytes of a request line (414).
    #[arg(long, value_name = "N", default_value_t = HeadLimits::default().request_line_bytes,
          value_parser = number(64..=BUFFER_BYTES))]
    request_line_bytes: usize,
    #[arg(long, value_name = "N", value_parser = number(1..=10_000_000),
          help = format!("Most client connections at once [default: {}, or three quarters of the descriptor limit]",
                         EngineLimits::default().connections))]
    connections: Option<usize>,
    /// Most idle connections kept to each backend (async engine: by each worker).
    #[arg(long, value_name = "N", default_value_t = EngineLimits::default().idle_backend_connections,
          value_parser = number(0..=1_000_000))]
    idle_backend_connections: usize,
    /// How long requests may still run after the first SIGTERM or SIGINT.
    #[arg(long, value_name = "N", default_value_t = EngineLimits::default().drain.as_secs() as usize,
          value_parser = number(0..=86_400))]
    drain_seconds: usize,
    /// From the first byte of a request to the end of its head (408).
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().head_timeout),
          value_parser = number(TIMEOUT_MS))]
    head_timeout_ms: usize,
    /// Between two parts of a body that the client sends or reads.
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().body_timeout),
          value_parser = number(TIMEOUT_MS))]
    body_timeout_ms: usize,
    /// For a new connection to a backend (the next backend, then 504).
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().connect_timeout),
          value_parser = number(TIMEOUT_MS))]
    connect_timeout_ms: usize,
    /// From the whole request to the response head, and between two parts of the response (504).
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().response_timeout),
          value_parser = number(TIMEOUT_MS))]
    response_timeout_ms: usize,
    /// For a client connection without a request on it.
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().idle_timeout),
          value_parser = number(TIMEOUT_MS))]
    idle_timeout_ms: usize,
    /// For a tunnel in which nothing moves.
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().tunnel_timeout),
          value_parser = number(TIMEOUT_MS))]
    tunnel_timeout_ms: usize,
    /// For a client to read the last answer before its connection is closed.
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().linger_timeout),
          value_parser = number(TIMEOUT_MS))]
    linger_timeout_ms: usize,
    /// For a backend to answer `Expect: 100-continue` before we do.
    #[arg(long, value_name = "N", default_value_t = ms(Limits::default().continue_timeout),
          value_parser = number(TIMEOUT_MS))]
    continue_timeout_ms: usize,
}

/// The limits of the file server, in the same list.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct FilesLimitArguments {
    /// Largest file that is kept in memory, in bytes.
    #[arg(long, value_name = "N", default_value_t = FilesLimits::default().small_file_bytes as usize,
          value_parser = number(0..=1 << 30))]
    small_file_bytes: usize,
    /// Most bytes of all files kept in memory.
    #[arg(long, value_name = "N", default_value_t = FilesLimits::default().memory_bytes as usize,
          value_parser = number(0..=1 << 40))]
    memory_bytes: usize,
    /// Most files and directories below the root.
    #[arg(long, value_name = "N", default_value_t = FilesLimits::default().files,
          value_parser = number(1..=100_000_000))]
    files: usize,
}

/// The engine's name on the command line.
#[derive(Debug, Clone, Copy)]
enum EngineName {
    Thread,
    Async,
}

/// The pool's name on the command line.
#[derive(Debug, Clone, Copy)]
enum PoolName {
    Crossbeam,
    Rayon,
    Textbook,
}

const TIMEOUT_MS: RangeInclusive<usize> = 1..=86_400_000;

fn ms(duration: Duration) -> usize {
    duration.as_millis() as usize
}

impl BalanceArguments {
    fn check(self, descriptors: usize) -> Result<Balance, Stop> {
        let backends = match (self.demo, self.backends.is_empty()) {
            (true, true) => None,
            (false, false) => Some(self.backends),
            (true, false) => {
                return Err(refuse("--demo", "brings its own backends, so it takes no --backend"));
            }
            (false, true) => {
                return Err(refuse("--backend", "is missing: give HOST:PORT at least once, or --demo"));
            }
        };
        let mut common = self.common.check(descriptors)?;
        common.options.concurrency = match (self.max_in_flight_per_core, common.options.engine) {
            (Some(1..), Engine::Async(ReactorKind::Smol)) => {
                return Err(refuse("--max-in-flight-per-core", "is taken only without --reactor smol"));
            }
            (Some(0), _) | (None, Engine::Async(ReactorKind::Smol)) => ConcurrencyLimit::Unlimited,
            (Some(most), _) => ConcurrencyLimit::WhenSaturated(most),
            (None, _) => ConcurrencyLimit::default(),
        };
        Ok(Balance { common, backends, policy: self.policy, trust: self.trust })
    }
}

impl CommonArguments {
    /// The engine with its own choices. An argument of the other engine is refused.
    fn engine(&self) -> Result<Engine, Stop> {
        let (other, of_the_other) = match self.engine {
            EngineName::Thread => ("async", [("--reactor", self.reactor.is_some()), ("", false)]),
            EngineName::Async => {
                ("thread", [("--pool", self.pool.is_some()), ("--batch", self.batch.is_some())])
            }
        };
        if let Some((argument, _)) = of_the_other.iter().find(|(_, given)| *given) {
            return Err(refuse(argument, &format!("is taken only with --engine {other}")));
        }
        let batch = self.batch.unwrap_or_else(|| default_batch(cores()));
        Ok(match (self.engine, self.pool.unwrap_or(PoolName::Crossbeam)) {
            (EngineName::Async, _) => Engine::Async(self.reactor.unwrap_or_default()),
            (EngineName::Thread, PoolName::Crossbeam) => Engine::Thread(Pool::Crossbeam { batch }),
            (EngineName::Thread, PoolName::Rayon) => Engine::Thread(Pool::Rayon { batch }),
            (EngineName::Thread, PoolName::Textbook) if self.batch.is_some() => {
                return Err(refuse("--batch", "is taken only without --pool textbook"));
            }
            (EngineName::Thread, PoolName::Textbook) => Engine::Thread(Pool::Textbook),
        })
    }

    fn check(self, descriptors: usize) -> Result<Common, Stop> {
        let engine = self.engine()?;
        let options = Options {
            engine,
            workers: self.workers.unwrap_or_else(|| default_workers(engine)),
            concurrency: ConcurrencyLimit::Unlimited,
            limits: self.limits.of_exchange(),
            engine_limits: self.limits.of_engine(descriptors),
            receive_bytes: self.experiment_receive_bytes.unwrap_or(usize::MAX),
        };
        Ok(Common { listen: self.listen, options, stats: self.stats, access_log: self.experiment_access_log })
    }
}

impl LimitArguments {
    fn of_exchange(&self) -> Limits {
        let ms = |n| Duration::from_millis(n as u64);
        Limits {
            head: HeadLimits { head_bytes: self.head_bytes, request_line_bytes: self.request_line_bytes },
            head_timeout: ms(self.head_timeout_ms),
            body_timeout: ms(self.body_timeout_ms),
            connect_timeout: ms(self.connect_timeout_ms),
            response_timeout: ms(self.response_timeout_ms),
            idle_timeout: ms(self.idle_timeout_ms),
            tunnel_timeout: ms(self.tunnel_timeout_ms),
            linger_timeout: ms(self.linger_timeout_ms),
            continue_timeout: ms(self.continue_timeout_ms),
        }
    }

    /// A quarter of the descriptors stays for backends, listeners and files: of many clients most are idle.
    fn of_engine(&self, descriptors: usize) -> EngineLimits {
        EngineLimits {
            connections: self
                .connections
                .unwrap_or((descriptors / 4 * 3).clamp(1, EngineLimits::default().connections)),
            idle_backend_connections: self.idle_backend_connections,
            drain: Duration::from_secs(self.drain_seconds as u64),
        }
    }
}

impl FilesLimitArguments {
    fn of_files(&self) -> FilesLimits {
        FilesLimits {
            copies_bytes: FilesLimits::default().copies_bytes,
            small_file_bytes: self.small_file_bytes as u64,
            memory_bytes: self.memory_bytes as u64,
            files: self.files,
        }
    }
}

/// Tasks never block, so one worker a core is enough; workers of the thread engine do.
fn default_workers(engine: Engine) -> usize {
    match engine {
        Engine::Thread(_) => (2 * cores()).max(4),
        Engine::Async(_) => cores(),
    }
}

/// With two cores, another worker costs more than it gains until 256 connections are ready at once (measured there; for
/// more cores it is a guess that the pool should wake up sooner).
fn default_batch(cores: usize) -> usize {
    (512 / cores).max(16)
}

fn refuse(argument: &str, what: &str) -> Stop {
    Stop::Refuse(format!("{argument}: {what}"))
}

/// One line out of the several that clap would write.
fn explain(error: &clap::Error) -> Stop {
    let context = |kind| error.get(kind).map(text).unwrap_or_default();
    // "--policy <POLICY>" names its value too.
    let argument = context(ContextKind::InvalidArg);
    let argument = argument.split(' ').next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    let reason = std::error::Error::source(error).map(ToString::to_string);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Print(error.render().to_string()),
        ErrorKind::InvalidValue if value.is_empty() => refuse(argument, "takes a value, and none was given"),
        ErrorKind::InvalidValue => {
            let takes = context(ContextKind::ValidValue);
            refuse(&format!("{argument} {value:?}"), &format!("takes {takes}"))
        }
        ErrorKind::ValueValidation => {
            refuse(&format!("{argument} {value:?}"), &reason.unwrap_or_else(|| "takes another value".into()))
        }
        ErrorKind::UnknownArgument => {
            let near = context(ContextKind::SuggestedArg);
            let near = if near.is_empty() {
                "--help lists those there are".into()
            } else {
                format!("{near} is near")
            };
            refuse(&format!("{argument:?}"), &format!("is no argument of this command; {near}"))
        }
        ErrorKind::MissingRequiredArgument => refuse(argument, "is missing; --help says what it takes"),
        ErrorKind::ArgumentConflict => refuse(argument, "is taken only once"),
        ErrorKind::InvalidSubcommand => {
            let given = context(ContextKind::InvalidSubcommand);
            refuse(&format!("{given:?}"), "is no command; there are balance and serve")
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stop::Refuse("a command is missing: balance or serve; --help says more".into())
        }
        _ => {
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default();
            Stop::Refuse(line.strip_prefix("error: ").unwrap_or(line).into())
        }
    }
}

fn text(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(strings) => strings.join(" or "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Config, Stop> {
        let words = std::iter::once("neraca").chain(line.split_whitespace());
        read(words.map(OsString::from), 1000)
    }

    fn balance(line: &str) -> Balance {
        match read_line(&format!("balance {line}")) {
            Ok(Config::Balance(balance)) => balance,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_more_cores_the_smaller_a_batch() {
        for (cores, batch) in [(1, 512), (2, 256), (4, 128), (32, 16), (64, 16)] {
            assert_eq!(default_batch(cores), batch, "{cores}");
        }
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let config = balance("--backend 127.0.0.1:9000");
        assert_eq!(config.backends, Some(vec!["127.0.0.1:9000".parse().unwrap()]));
        assert_eq!(config.policy, Policy::LeastRequests);
        assert_eq!(config.common.listen, ["127.0.0.1:8080".parse().unwrap()]);
        let options = config.common.options;
        assert_eq!(options.engine, Engine::Async(ReactorKind::Edge));
        assert_eq!(options.engine_limits.connections, 750);
        assert_eq!(format!("{:?}", options.limits), format!("{:?}", Limits::default()));
        assert_eq!(options.engine_limits.drain, EngineLimits::default().drain);
        assert_eq!(options.concurrency, ConcurrencyLimit::WhenSaturated(64));
        assert!(balance("--demo").backends.is_none());
        for (line, engine) in [
            ("--engine thread", Engine::Thread(Pool::Crossbeam { batch: default_batch(cores()) })),
            ("--engine thread --pool textbook", Engine::Thread(Pool::Textbook)),
        ] {
            assert_eq!(balance(&format!("--demo {line}")).common.options.engine, engine, "{line}");
        }
    }

    #[test]
    fn what_is_given_is_taken() {
        let config = balance(
            "--engine thread --pool rayon --batch 1 --workers 3 --listen 127.0.0.1:0 --listen [::1]:0 \
             --backend 127.0.0.1:1 --backend localhost:2 --policy round-robin --trust 10.0.0.0/8 \
             --trust 192.0.2.1 --connections 7 --drain-seconds 0 --head-bytes 1024 --head-timeout-ms 5",
        );
        let options = &config.common.options;
        assert_eq!(options.engine, Engine::Thread(Pool::Rayon { batch: 1 }));
        assert_eq!((options.workers, options.engine_limits.connections), (3, 7));
        assert_eq!((options.limits.head.head_bytes, options.limits.head_timeout.as_millis()), (1024, 5));
        assert!(options.engine_limits.drain.is_zero());
        assert_eq!(config.common.listen.len(), 2);
        let backends = config.backends.unwrap();
        assert_eq!((backends[0].port(), backends[1].port()), (1, 2));
        assert!(backends[1].ip().is_loopback());
        assert_eq!(config.policy, Policy::RoundRobin);
        assert_eq!(config.trust, ["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()]);
    }

    #[test]
    fn the_file_server_takes_a_root_and_limits_of_its_own() {
        let root = env!("CARGO_MANIFEST_DIR");
        let defaults = FilesLimits::default();
        let cases = [
            ("", defaults),
            ("--memory-bytes 5 --files 9", FilesLimits { memory_bytes: 5, files: 9, ..defaults }),
            ("--small-file-bytes 0", FilesLimits { small_file_bytes: 0, ..defaults }),
        ];
        for (options, limits) in cases {
            match read_line(&format!("serve --root {root} {options}")) {
                Ok(Config::Serve(serve)) => {
                    assert_eq!((serve.root, serve.limits), (PathBuf::from(root), limits), "{options}");
                }
                other => panic!("{options}: {other:?}"),
            }
        }
    }

    #[test]
    fn experiments_are_off_until_asked_for() {
        let off = balance("--demo").common;
        assert_eq!((off.access_log, off.options.receive_bytes), (false, usize::MAX));
        let on = balance("--demo --experiment-access-log --experiment-receive-bytes 32").common;
        assert_eq!((on.access_log, on.options.receive_bytes), (true, 32));
        let root = env!("CARGO_MANIFEST_DIR");
        for (options, listed, read) in [
            ("", false, false),
            ("--experiment-list-directory", true, false),
            ("--experiment-read-file", false, true),
        ] {
            match read_line(&format!("serve --root {root} {options}")) {
                Ok(Config::Serve(serve)) => {
                    assert_eq!((serve.list_directory, serve.read_file), (listed, read), "{options}");
                }
                other => panic!("{options}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let demo = "balance --demo";
        let cases = [
            ("", "a command is missing"),
            ("fly", "\"fly\": is no command; there are balance and serve"),
            ("balance", "--backend: is missing: give HOST:PORT at least once, or --demo"),
            ("serve", "--root: is missing"),
            ("serve --root /no/such/place", "--root \"/no/such/place\": takes a directory that exists"),
            ("balance --demo --backend 127.0.0.1:1", "--demo: brings its own backends"),
            ("balance --backend 127.0.0.1", "--backend \"127.0.0.1\": takes HOST:PORT"),
            ("balance --backend http://127.0.0.1:80", "--backend \"http://127.0.0.1:80\": takes HOST:PORT"),
            ("balance --backend :80", "--backend \":80\": takes HOST:PORT"),
            ("balance --backend h:99999", "--backend \"h:99999\": takes HOST:PORT"),
            ("balance --backend h.invalid:80", "and this host is not known"),
            ("balance --backend 127.0.0.1:1,weight=2", "\"weight=2\" is no option of a backend"),
            (&format!("{demo} --engine fibre"), "--engine \"fibre\": takes thread or async"),
            (&format!("{demo} --policy best"), "--policy \"best\": takes round-robin or least-requests"),
            (&format!("{demo} --pool rayon"), "--pool: is taken only with --engine thread"),
            (&format!("{demo} --batch 2"), "--batch: is taken only with --engine thread"),
            (
                &format!("{demo} --engine thread --pool textbook --batch 2"),
                "--batch: is taken only without --pool textbook",
            ),
            (
                &format!("{demo} --engine thread --reactor edge"),
                "--reactor: is taken only with --engine async",
            ),
            (
                &format!("{demo} --reactor smol --max-in-flight-per-core 1"),
                "--max-in-flight-per-core: is taken only without --reactor smol",
            ),
            (&format!("{demo} --workers 0"), "--workers \"0\": takes a whole number from 1 to 1024"),
            (&format!("{demo} --workers"), "--workers: takes a value, and none was given"),
            (&format!("{demo} --head-bytes -1"), "--head-bytes \"-1\": takes a whole number from 512"),
            (
                &format!("{demo} --trust 10.0.0.0/33"),
                "--trust \"10.0.0.0/33\": takes a network or an address",
            ),
            (&format!("{demo} --polcy x"), "\"--polcy\": is no argument of this command; --policy is near"),
            (&format!("{demo} stray"), "\"stray\": is no argument of this command"),
            (&format!("{demo} --demo"), "--demo: is taken only once"),
            (&format!("{demo} --demo=yes"), "--demo"),
        ];
        for (line, expected) in cases {
            match read_line(line) {
                Err(Stop::Refuse(said)) => {
                    assert!(said.contains(expected), "{line}: {said}");
                    assert!(!said.contains('\n'), "{line}: {said}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_and_version_are_printed() {
        let cases = [
            ("--help", "serve"),
            ("--version", env!("CARGO_PKG_VERSION")),
            ("balance --help", "--response-timeout-ms"),
            ("serve --help", "Limits:"),
        ];
        for (line, expected) in cases {
            match read_line(line) {
                Err(Stop::Print(said)) => assert!(said.contains(expected), "{line}: {said}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
