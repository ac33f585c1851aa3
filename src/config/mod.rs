//! The configuration, in three steps: arguments or a file, checked settings, apps and options.
//!
//! | step | where | what |
//! |---|---|---|
//! | 1 | `cli` | the arguments of the command line; clap checks the form of each value |
//! | 1 | `file` | the configuration file; a key that is an argument too has the checks of the argument |
//! | 2 | [`Config`], [`Balance`], [`Balancer`], [`Serve`] | the settings as plain data; all other checks, with [`ConfigError`] as their error |
//! | 3 | [`Balancer::router`], [`Serve::files`], [`Balancer::options`] | the app and the options for [`engine::start`](crate::engine::start) |
//!
//! ```
//! use neraca::config::{self, Backends, Config};
//!
//! let words = ["neraca", "balance", "--backend", "127.0.0.1:9001", "--engine", "thread"];
//! match config::read(words.map(Into::into), 1024).unwrap() {
//!     Config::Balance(balance) => {
//!         let address: std::net::SocketAddr = "127.0.0.1:9001".parse().unwrap();
//!         assert_eq!(balance.backends, Backends::At(vec![neraca::cluster::BackendSettings::from(address)]));
//!         assert_eq!(balance.common.engine_limits.connections, 768);
//!     }
//!     _ => unreachable!(),
//! }
//!
//! let error = config::read(["neraca", "balance", "--demo", "--polcy"].map(Into::into), 1024).unwrap_err();
//! assert!(error.to_string().starts_with("error: unexpected argument '--polcy' found"));
//! ```
mod balancing;
mod check;
mod cli;
mod error;
mod file;
mod generate;
mod help;
mod meant;
mod operate;
mod plan;
mod refusal;
mod run;
mod tls;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use cli::{BalanceArguments, Command};
pub use error::ConfigError;
pub use file::{Report, check_text, schema};
pub use generate::{completions, manual};
pub use meant::{Backends, Balance, Common, Serve, Simulate};
pub use operate::{AccessLogSettings, AdminSettings, StatusOf};
pub use plan::{Balancer, Listener, Site, SiteCluster};
pub use refusal::Refusal;
pub use run::{CannotRoute, ListenerTerms};

/// The settings of one run of the program.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub enum Config {
    /// Forward requests to backends, as the command line says.
    Balance(Balance),
    /// Forward requests to backends, as a file says.
    File(Balancer, Report),
    /// Serve the files of a directory.
    Serve(Serve),
    /// Check a configuration file; None: print the JSON Schema of such files.
    Check(Option<PathBuf>),
    /// Show how a running balancer does.
    Status(StatusOf),
    /// Simulate a cluster.
    Simulate(Simulate),
    /// Print the completions of a shell.
    Completions(Shell),
    /// Write the manual pages into this directory.
    Man(PathBuf),
}

impl Config {
    /// Checks the arguments. `descriptors` is the number of files and sockets that the process may open.
    fn new(written: Command, descriptors: usize) -> Result<Config, ConfigError> {
        match written {
            Command::Balance(written) => Balance::new(written, descriptors).map(Config::Balance),
            Command::Serve(written) => Serve::new(written, descriptors).map(Config::Serve),
            Command::Check(written) => Ok(Config::Check(written.file)),
            Command::Status(written) => StatusOf::new(&written).map(Config::Status),
            Command::Simulate(written) => Simulate::new(written).map(Config::Simulate),
            Command::Completions { shell } => Ok(Config::Completions(shell)),
            Command::Man { directory } => Ok(Config::Man(directory)),
        }
    }
}

/// Reads and checks a command line, and the configuration file that it names. The first argument is the name of the
/// program. `descriptors` is the number of files and sockets that the process may open; the default limit of client
/// connections depends on it.
///
/// # Errors
/// When an argument or the file is wrong. Help and version are errors too; their exit code is 0.
pub fn read(arguments: impl IntoIterator<Item = OsString>, descriptors: usize) -> Result<Config, Refusal> {
    let command = cli::parse(arguments).map_err(Refusal::Arguments)?;
    let name = command.name();
    let refuse = |error: ConfigError| Refusal::Arguments(cli::refuse(name, &error));
    if let Command::Balance(BalanceArguments { config: Some(path), given, .. }) = &command {
        let text = read_file(path)?;
        let file = file::read(path, &text, given, descriptors).map_err(refuse)?;
        return match file.balancer {
            Some(balancer) => Ok(Config::File(balancer, file.report)),
            None => Err(Refusal::File(file.report)),
        };
    }
    Config::new(command, descriptors).map_err(refuse)
}

/// Checks a configuration file as [`read`] does. Returns its errors and warnings.
///
/// # Errors
/// When the file cannot be read.
pub fn check(path: &Path, descriptors: usize) -> Result<Report, Refusal> {
    Ok(check_text(path, &read_file(path)?, descriptors))
}

fn read_file(path: &Path) -> Result<String, Refusal> {
    std::fs::read_to_string(path).map_err(|error| Refusal::unreadable(path, &error))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::cluster::Policy;
    use crate::engine::{ConcurrencyLimit, Engine, EngineLimits, Handshakes, Pool, ReactorKind};
    use crate::exchange::Limits;
    use crate::files::FilesLimits;

    fn read_line(line: &str) -> Result<Config, Refusal> {
        let words = std::iter::once("neraca").chain(line.split_whitespace());
        read(words.map(OsString::from), 1000)
    }

    fn balance(line: &str) -> Balance {
        match read_line(&format!("balance {line}")) {
            Ok(Config::Balance(balance)) => balance,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn serve(line: &str) -> Serve {
        match read_line(&format!("serve --root {} {line}", env!("CARGO_MANIFEST_DIR"))) {
            Ok(Config::Serve(serve)) => serve,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_argument_that_is_not_given_has_its_default() {
        let config = balance("--backend 127.0.0.1:9000");
        assert_eq!(
            config.backends,
            Backends::At(vec!["127.0.0.1:9000".parse::<SocketAddr>().unwrap().into()])
        );
        assert_eq!(config.cluster.policy, Policy::LeastRequests);
        assert_eq!(config.concurrency, ConcurrencyLimit::WhenSaturated(64));
        let common = config.common;
        assert_eq!(common.listen, ["127.0.0.1:8080".parse().unwrap()]);
        assert!(!common.listen_is_given && balance("--demo --listen 127.0.0.1:8080").common.listen_is_given);
        assert_eq!(common.engine, Engine::Async(ReactorKind::Edge));
        assert_eq!(common.engine_limits.connections, 750);
        assert_eq!(common.engine_limits.drain, EngineLimits::default().drain);
        for common in [common, serve("").common] {
            assert_eq!(format!("{:?}", common.limits), format!("{:?}", Limits::default()));
        }
        assert_eq!(balance("--demo").backends, Backends::Demo);
    }

    #[test]
    fn an_engine_has_only_its_own_choices() {
        let batch = Pool::default_batch();
        for (line, engine) in [
            ("--engine thread", Engine::Thread(Pool::Crossbeam { batch })),
            ("--engine thread --pool rayon --batch 1", Engine::Thread(Pool::Rayon { batch: 1 })),
            ("--engine thread --pool textbook", Engine::Thread(Pool::Textbook)),
            ("--engine async --reactor smol", Engine::Async(ReactorKind::Smol)),
        ] {
            assert_eq!(balance(&format!("--demo {line}")).common.engine, engine, "{line}");
        }
    }

    #[test]
    fn handshakes_are_computed_where_the_operator_says() {
        for (line, handshakes) in [
            ("", Handshakes::Inline),
            ("--handshakes inline --reactor smol", Handshakes::Inline),
            ("--handshakes pool", Handshakes::Pool),
            ("--handshakes pool --engine thread --pool textbook", Handshakes::Pool),
        ] {
            assert_eq!(balance(&format!("--demo {line}")).common.handshakes, handshakes, "{line}");
            assert_eq!(serve(line).options().handshakes, handshakes, "{line}");
        }
    }

    #[test]
    fn a_name_is_kept_and_not_looked_up() {
        let config = balance("--backend h.invalid:80,cap=3 --backend 127.0.0.1:1 --resolver 127.0.0.1:8600");
        let names: Vec<_> = config.names.iter().map(|one| (one.name.to_string(), one.cap)).collect();
        assert_eq!(names, [("h.invalid:80".to_owned(), Some(crate::cluster::Cap::Fixed(3)))]);
        assert_eq!(config.resolver, Some("127.0.0.1:8600".parse().unwrap()));
        let Backends::At(backends) = &config.backends else { panic!("{:?}", config.backends) };
        assert_eq!(backends.len(), 1);
    }

    #[test]
    fn a_backend_with_https_has_tls_and_another_one_has_not() {
        let line = "--backend https://127.0.0.1:1,weight=2 --backend http://127.0.0.1:2 --backend 127.0.0.1:3 \
                    --backend https://web.example --backend web.example:1 --backend-tls-insecure";
        let config = balance(line);
        let Backends::At(backends) = &config.backends else { panic!("{:?}", config.backends) };
        let with_tls: Vec<_> = backends.iter().map(|one| (one.weight, one.transform.is_some())).collect();
        assert_eq!(with_tls, [(2, true), (1, false), (1, false)]);
        let names: Vec<_> =
            config.names.iter().map(|one| (one.name.to_string(), one.transform.is_some())).collect();
        assert_eq!(names, [("web.example:443".to_owned(), true), ("web.example:1".to_owned(), false)]);
        assert!(config.backend_tls.unwrap().settings().insecure);
        assert!(balance("--backend http://127.0.0.1:2").backend_tls.is_none());
    }

    #[test]
    fn sessions_have_a_name_and_a_key() {
        assert_eq!(balance("--demo").cluster.sticky, None);
        let line = "--demo --sticky sid --sticky-key 00112233445566778899AABBCCDDEEFF";
        let sticky = balance(line).cluster.sticky.unwrap();
        let key = "00112233445566778899aabbccddeeff".parse();
        assert_eq!((sticky.name.as_str(), Ok(sticky.key)), ("sid", key));
    }

    #[test]
    fn a_limit_of_requests_in_flight_is_taken_where_it_works() {
        for (line, concurrency) in [
            ("--max-in-flight-per-core 0", ConcurrencyLimit::Unlimited),
            ("--max-in-flight-per-core 7", ConcurrencyLimit::WhenSaturated(7)),
            ("--reactor smol", ConcurrencyLimit::Unlimited),
            ("--reactor smol --max-in-flight-per-core 0", ConcurrencyLimit::Unlimited),
        ] {
            assert_eq!(balance(&format!("--demo {line}")).concurrency, concurrency, "{line}");
        }
        assert_eq!(serve("").common.options().concurrency, ConcurrencyLimit::Unlimited);
    }

    #[test]
    fn an_argument_that_is_given_is_taken() {
        let config = balance(
            "--engine thread --pool rayon --batch 1 --workers 3 --listen 127.0.0.1:0 --listen [::1]:0 \
             --backend 127.0.0.1:1 --backend 127.0.0.1:2 --policy round-robin --trust 10.0.0.0/8 \
             --trust 192.0.2.1 --connections 7 --drain-seconds 0 --head-bytes 1024 --head-timeout-ms 5",
        );
        let Backends::At(backends) = config.backends.clone() else { panic!("{:?}", config.backends) };
        let (listen, policy) = (config.common.listen.len(), config.cluster.policy.clone());
        let options = config.balancer(&backends).options();
        assert_eq!(options.engine, Engine::Thread(Pool::Rayon { batch: 1 }));
        assert_eq!((options.workers, options.engine_limits.connections), (3, 7));
        assert_eq!(
            (options.listener.limits.head.head_bytes, options.listener.limits.head_timeout.as_millis()),
            (1024, 5)
        );
        assert!(options.engine_limits.drain.is_zero());
        assert_eq!(listen, 2);
        assert_eq!((backends[0].address.port(), backends[1].address.port()), (1, 2));
        assert_eq!(policy, Policy::RoundRobin);
        assert_eq!(options.listener.trust, ["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()]);
    }

    #[test]
    fn the_file_server_takes_a_root_and_limits_of_its_own() {
        let defaults = FilesLimits::default();
        let cases = [
            ("", defaults),
            ("--memory-bytes 5 --files 9", FilesLimits { memory_bytes: 5, files: 9, ..defaults }),
            ("--small-file-bytes 0", FilesLimits { small_file_bytes: 0, ..defaults }),
        ];
        for (options, limits) in cases {
            let serve = serve(options);
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            assert_eq!((serve.root, serve.limits), (root, limits), "{options}");
        }
    }

    #[test]
    fn experiments_are_off_until_asked_for() {
        let off = balance("--demo").common;
        assert_eq!(
            (off.access_log, off.options().receive_bytes, off.options().all_awake),
            (false, usize::MAX, false)
        );
        let on =
            balance("--demo --experiment-access-log --experiment-receive-bytes 32 --experiment-all-awake")
                .common;
        assert_eq!((on.access_log, on.options().receive_bytes, on.options().all_awake), (true, 32, true));
        for (options, listed, read) in [
            ("", false, false),
            ("--experiment-list-directory", true, false),
            ("--experiment-read-file", false, true),
        ] {
            let serve = serve(options);
            assert_eq!((serve.list_directory, serve.read_file), (listed, read), "{options}");
        }
    }

    /// The first paragraph of a message names the argument and what was expected.
    #[test]
    fn an_error_names_the_argument_and_what_was_expected() {
        let demo = "balance --demo";
        let cases = [
            ("fly", "unrecognized subcommand 'fly'"),
            (
                "balance",
                "the following required arguments were not provided: <--backend <HOST:PORT[,OPTION=VALUE]...>|--demo|--config <FILE>>",
            ),
            ("serve", "the following required arguments were not provided: --root <DIR>"),
            (
                "serve --root /no/such/place",
                "invalid value '/no/such/place' for '--root <DIR>': expected an existing directory",
            ),
            (
                "balance --demo --backend 127.0.0.1:1",
                "the argument '--demo' cannot be used with '--backend <HOST:PORT[,OPTION=VALUE]...>'",
            ),
            (
                "balance --backend 127.0.0.1",
                "invalid value '127.0.0.1' for '--backend <HOST:PORT[,OPTION=VALUE]...>': expected HOST:PORT",
            ),
            (
                "balance --backend h..invalid:80",
                "invalid value 'h..invalid:80' for '--backend <HOST:PORT[,OPTION=VALUE]...>': expected HOST:PORT",
            ),
            ("balance --backend 127.0.0.1:1,cost=2", "found the option 'cost=2'"),
            ("balance --backend 127.0.0.1:1 --backend 127.0.0.1:1,weight=2", "expected each backend once"),
            (
                "balance --backend web:1 --backend WEB:1",
                "expected each backend once, and web:1 is given twice",
            ),
            (
                &format!("{demo} --resolver dns.example"),
                "invalid value 'dns.example' for '--resolver <IP[:PORT]>': expected the address of a DNS server",
            ),
            (
                &format!("{demo} --engine fibre"),
                "invalid value 'fibre' for '--engine <ENGINE>' [possible values: thread, async]",
            ),
            (
                &format!("{demo} --policy best"),
                "invalid value 'best' for '--policy <POLICY>': expected one of round-robin, least-requests, ",
            ),
            (
                &format!("{demo} --pool rayon"),
                "the argument '--pool <POOL>' cannot be used with '--engine async'",
            ),
            (&format!("{demo} --batch 2"), "the argument '--batch <N>' cannot be used with '--engine async'"),
            (
                &format!("{demo} --engine thread --pool textbook --batch 2"),
                "the argument '--batch <N>' cannot be used with '--pool textbook'",
            ),
            (
                &format!("{demo} --engine thread --reactor edge"),
                "the argument '--reactor <REACTOR>' cannot be used with '--engine thread'",
            ),
            (
                &format!("{demo} --reactor smol --max-in-flight-per-core 1"),
                "the argument '--max-in-flight-per-core <N>' cannot be used with '--reactor smol'",
            ),
            (
                &format!("{demo} --reactor smol --handshakes pool"),
                "the argument '--handshakes <HANDSHAKES>' cannot be used with '--reactor smol'",
            ),
            (
                &format!("{demo} --workers 0"),
                "invalid value '0' for '--workers <N>': expected a whole number from 1 to 1024",
            ),
            (&format!("{demo} --workers"), "a value is required for '--workers <N>' but none was supplied"),
            (
                &format!("{demo} --head-bytes -1"),
                "invalid value '-1' for '--head-bytes <BYTES>': expected a whole number",
            ),
            (
                &format!("{demo} --trust 10.0.0.0/33"),
                "invalid value '10.0.0.0/33' for '--trust <CIDR>': expected a network or an address",
            ),
            (
                &format!("{demo} --tls-cert a.pem"),
                "the following required arguments were not provided: --tls-key <FILE>",
            ),
            (
                &format!("{demo} --tls-cert a.pem --tls-cert b.pem --tls-key c.pem"),
                "invalid value 'b.pem' for '--tls-cert <FILE>': expected as many --tls-cert as --tls-key",
            ),
            (
                &format!("{demo} --tls-cert a.pem --tls-key b.pem --tls-key c.pem"),
                "invalid value 'c.pem' for '--tls-key <FILE>': expected as many --tls-cert as --tls-key",
            ),
            (
                &format!("{demo} --tls-cert no/such.pem --tls-key Cargo.toml"),
                "invalid value 'no/such.pem' for '--tls-cert <FILE>': cannot read it: ",
            ),
            (
                &format!("{demo} --tls-minimum-version 1.3"),
                "the following required arguments were not provided: --tls-key <FILE> --tls-cert <FILE>",
            ),
            (
                &format!("{demo} --tls-cert a --tls-key b --tls-client-certificates required"),
                "the following required arguments were not provided: --tls-client-ca <FILE>",
            ),
            (
                "serve --root / --tls-key Cargo.toml",
                "the following required arguments were not provided: --tls-cert <FILE>",
            ),
            (
                "serve --root / --tls-cert Cargo.toml",
                "the following required arguments were not provided: --tls-key <FILE>",
            ),
            (
                "serve --root / --tls-cert no/such.pem --tls-key Cargo.toml",
                "invalid value 'no/such.pem' for '--tls-cert <FILE>': cannot read it: ",
            ),
            (
                "serve --root / --reactor smol --handshakes pool",
                "the argument '--handshakes <HANDSHAKES>' cannot be used with '--reactor smol'",
            ),
            (
                &format!("{demo} --backend-ca Cargo.toml"),
                "the argument '--backend-ca <FILE>' cannot be used with 'backends without TLS'",
            ),
            (
                "balance --backend 127.0.0.1:1 --backend-tls-insecure",
                "the argument '--backend-tls-insecure' cannot be used with 'backends without TLS'",
            ),
            (
                "balance --backend http://127.0.0.1:1 --backend-server-name a",
                "the argument '--backend-server-name <NAME>' cannot be used with 'backends without TLS'",
            ),
            (
                "balance --backend https://127.0.0.1:1 --backend-ca no/such.pem",
                "invalid value 'no/such.pem' for '--backend-ca <FILE>': cannot read it: ",
            ),
            (
                "balance --backend https://127.0.0.1:1 --backend-ca Cargo.toml --backend-tls-insecure",
                "the argument '--backend-ca <FILE>' cannot be used with '--backend-tls-insecure'",
            ),
            (
                "balance --backend https://127.0.0.1:1 --backend-tls-insecure --backend-server-name a..b",
                "invalid value 'a..b' for '--backend-server-name <NAME>': expected a host name or an IP address",
            ),
            (
                "balance --backend https://srv:_https._tcp --backend-tls-insecure",
                "expected the name of the server too",
            ),
            (
                &format!("{demo} --check up"),
                "invalid value 'up' for '--check <tcp|/PATH>': expected tcp, or a path that begins with a /",
            ),
            (
                &format!("{demo} --check tcp --check-status 200"),
                "the argument '--check-status <STATUS>' cannot be used with '--check tcp'",
            ),
            (
                &format!("{demo} --check-rise 2"),
                "the following required arguments were not provided: --check",
            ),
            (
                "simulate --scenario none",
                "invalid value 'none' for '--scenario <NAME>': expected one of equal, one-slow, ",
            ),
            (
                "simulate --scenario equal --policy best",
                "invalid value 'best' for '--policy <NAME|all>': expected one of round-robin, ",
            ),
            (
                &format!("{demo} --sticky a --sticky-key 1"),
                "invalid value '1' for '--sticky-key <HEX>': expected 32 hexadecimal digits, such as ",
            ),
            (
                &format!("{demo} --sticky a=b"),
                "invalid value 'a=b' for '--sticky <NAME>': expected the name of a cookie: ",
            ),
            (
                &format!("{demo} --sticky a"),
                "the following required arguments were not provided: --sticky-key <HEX>",
            ),
            (&format!("{demo} --polcy x"), "unexpected argument '--polcy' found"),
            (&format!("{demo} stray"), "unexpected argument 'stray' found"),
            (&format!("{demo} --demo"), "the argument '--demo' cannot be used multiple times"),
            (&format!("{demo} --demo=yes"), "unexpected value 'yes' for '--demo'"),
        ];
        for (line, expected) in cases {
            let error = read_line(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(first.starts_with("error: ") && first.contains(expected), "{line}: {text}");
            assert!(text.ends_with("\nFor more information, try '--help'.\n"), "{line}: {text}");
        }
    }

    #[test]
    fn an_error_says_what_to_do_where_that_is_known() {
        for (line, tip) in [
            ("--polcy x", "a similar argument exists: '--policy'"),
            ("--engine asink", "a similar value exists: 'async'"),
            ("--pool rayon", "add '--engine thread'"),
        ] {
            let text = read_line(&format!("balance --demo {line}")).unwrap_err().to_string();
            assert!(text.contains(&format!("\n\n  tip: {tip}")), "{line}: {text}");
            assert!(!text.contains("Usage:") || text.contains("Usage: neraca balance "), "{line}: {text}");
        }
    }

    /// Our own errors name an argument as clap does, and each number has a range.
    #[test]
    fn each_number_that_is_too_large_is_refused_by_its_name() {
        for (command, required) in [
            ("balance", "--demo --check / --admin [::1]:0 --access-log -"),
            ("serve", "--root / --access-log -"),
        ] {
            let help = read_line(&format!("{command} --help all")).unwrap_err().to_string();
            let numbers = ["N", "MS", "BYTES", "SECONDS"];
            let arguments = help.lines().map(str::trim).filter_map(|line| {
                let argument = line.split("  ").next()?;
                let (name, value) = argument.split_once(' ')?;
                let value = value.strip_prefix('<')?.strip_suffix('>')?;
                (name.starts_with("--") && numbers.contains(&value)).then_some((argument, name))
            });
            let arguments: Vec<_> = arguments.collect();
            assert!(arguments.len() > 10, "{command}: {arguments:?}");
            for (argument, name) in arguments {
                let line = format!("{command} {required} --engine thread {name} {}", u64::MAX);
                let text = read_line(&line).expect_err(name).to_string();
                let expected = format!("for '{argument}': expected a whole number from ");
                assert!(text.contains(&expected), "{line}: {text}");
            }
        }
    }

    #[test]
    fn a_balancer_needs_backends_wherever_its_configuration_comes_from() {
        let text = ConfigError::NoBackends.to_string();
        assert_eq!(text, "no backends: expected '--backend <HOST:PORT>' or '--demo'");
    }

    #[test]
    fn help_and_version_are_printed() {
        let cases = [
            ("", "Usage: neraca <COMMAND>"),
            ("--help", "serve"),
            ("--version", env!("CARGO_PKG_VERSION")),
            ("balance --help timeouts", "--response-timeout-ms"),
            ("serve --help", "Options:"),
        ];
        for (line, expected) in cases {
            let error = read_line(line).expect_err(line);
            assert_eq!(error.exit_code(), if line.is_empty() { 2 } else { 0 }, "{line}");
            let text = error.to_string();
            assert!(text.contains(expected), "{line}: {text}");
        }
    }
}
