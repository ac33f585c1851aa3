//! Checks promises of docs/balancing.md with `neraca balance` over real sockets and in real time, on both engines.
//!
//! The backends count what they receive, so the program does not trust the counters of the balancer. It prints one line
//! for each promise. The exit code is 1 when a promise is broken.
//!
//!     cargo run --release --example promises -- [caps|failures|metastable|torture]...

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod backend;
mod balancer;
mod caps;
mod failures;
mod metastable;
mod torture;
mod wire;

/// Checks promises of docs/balancing.md over sockets.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to check; all but torture if nothing is given
    #[arg(value_enum)]
    checks: Vec<Check>,
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    neraca: PathBuf,
    /// Only this engine
    #[arg(long, value_name = "NAME", value_parser = ["thread", "async"])]
    engine: Option<String>,
    /// Only this policy [default: the program's default]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Another build, for torture: the program may answer at most a tenth of its POSTs with 502
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// Seconds of torture for each engine
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// A cap holds, nobody waits while there is room, and the queue keeps its deadline
    Caps,
    /// A backend fails at once, a backend hangs, all backends are down
    Failures,
    /// A system that was overloaded recovers with the budget of retries, and not without it
    Metastable,
    /// Backends close kept connections at random, and one at a time is killed
    Torture,
}

/// What to measure.
#[derive(Debug, Clone)]
struct Setup {
    program: PathBuf,
    engine: String,
    policy: Option<String>,
    base: Option<PathBuf>,
    seconds: u64,
}

/// One promise: what was found, what is wanted, and whether the promise was kept.
struct Row {
    promise: &'static str,
    found: String,
    wanted: String,
    kept: bool,
}

impl Row {
    fn new(promise: &'static str, found: impl ToString, wanted: impl ToString, kept: bool) -> Row {
        Row { promise, found: found.to_string(), wanted: wanted.to_string(), kept }
    }
}

fn main() -> ExitCode {
    // The process of a backend of the torture.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, port, log] = words.as_slice()
        && command == torture::BACKEND
    {
        return torture::serve(port, log);
    }
    let mut arguments = Arguments::parse();
    if arguments.checks.is_empty() {
        arguments.checks = vec![Check::Caps, Check::Failures, Check::Metastable];
    }
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("promises: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes all checks on all engines. Returns true when every promise was kept.
fn run(arguments: &Arguments) -> io::Result<bool> {
    let engines = arguments.engine.as_ref().map_or(vec!["thread", "async"], |engine| vec![engine.as_str()]);
    let mut good = true;
    println!("{:<7} {:<66} {:>28}  {:<24}", "engine", "promise", "found", "wanted");
    for check in &arguments.checks {
        for engine in &engines {
            let setup = Setup {
                program: arguments.neraca.clone(),
                engine: (*engine).to_owned(),
                policy: arguments.policy.clone(),
                base: arguments.base.clone(),
                seconds: arguments.seconds,
            };
            let rows = match check {
                Check::Caps => caps::run(&setup),
                Check::Failures => failures::run(&setup),
                Check::Metastable => metastable::run(&setup),
                Check::Torture => torture::run(&setup),
            }?;
            for Row { promise, found, wanted, kept } in rows {
                let verdict = if kept { "kept" } else { "BROKEN" };
                println!("{engine:<7} {promise:<66} {found:>28}  {wanted:<24} {verdict}");
                good &= kept;
            }
        }
    }
    Ok(good)
}
