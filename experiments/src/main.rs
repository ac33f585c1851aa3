//! `neraca-lab` measures the two engines, and reports how far the numbers can be trusted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use commands::{bench, check, compare, selftest};
use report::words::Lang;
use run::lab::Trouble;
use run::{doctor, faulty};

mod capacity;
mod commands;
mod grade;
mod judge;
mod plans;
mod report;
mod run;

/// Measures Neraca's engines against each other and against other balancers.
#[derive(Parser)]
#[command(name = "neraca-lab", version, disable_help_subcommand = true)]
enum Command {
    /// Check whether this machine is ready to measure, and print what to do if not.
    Doctor(bench::Common),
    /// Measure. Resumes a run that was interrupted.
    Run(bench::Bench),
    /// Compare two builds of Neraca under the same load; exit code 1 when the newer build is worse.
    Compare(compare::Compare),
    /// Check the comparison: measure a build against itself, and against itself slowed down.
    CompareSelftest {
        /// The program under test.
        #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
        neraca: PathBuf,
    },
    /// Give any HTTP/1.1 load balancer a scorecard of 100 points, and write a page about it.
    Grade(grade::Grade),
    /// Find the highest rate of requests at which the latency holds an objective.
    Capacity(capacity::Capacity),
    /// Count the instructions of a request in two builds with callgrind.
    Instructions {
        /// The older build: a commit of this repository.
        #[arg(long, value_name = "COMMIT")]
        base: Option<String>,
    },
    /// Make the summary, tables, plots and pages from the raw results.
    Report {
        /// A run's directory [default: the newest under experiments/results].
        directory: Option<PathBuf>,
        /// Language of the page and of the verdicts; the parts of the Indonesian page are in English.
        #[arg(long, value_enum, default_value = "en")]
        lang: Lang,
    },
    /// Recompute the summary from the raw results, and fail on any difference.
    Check {
        /// A run's directory [default: the newest under experiments/results].
        directory: Option<PathBuf>,
    },
    /// Check the laboratory: measure servers with known faults, and compare the report with the faults.
    Selftest,
    /// A server with a known fault, for the self-test.
    #[command(hide = true)]
    Faulty(faulty::Faulty),
}

fn main() -> ExitCode {
    let (said, code) = match run(Command::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Trouble::Interrupted(said)) => (said, 130),
        Err(Trouble::Failed(said) | Trouble::Broken(said)) => (said, 1),
    };
    eprintln!("neraca-lab: {said}");
    ExitCode::from(code)
}

fn run(command: Command) -> Result<(), Trouble> {
    match command {
        Command::Doctor(common) => {
            let diagnosis = doctor::examine(&common.neraca, common.host.as_deref());
            diagnosis.lines().iter().for_each(|line| println!("{line}"));
            require(diagnosis.fatal.is_empty(), "the machine is not ready")
        }
        Command::Run(options) => bench::run(&options),
        Command::Compare(options) => require(
            compare::run(&options)?,
            "the newer build is worse beyond the interval, or something failed",
        ),
        Command::CompareSelftest { neraca } => {
            require(compare::selftest(&neraca)?, "the comparison gave a wrong verdict")
        }
        Command::Grade(options) => show("scorecards", &grade::run(&options)?),
        Command::Capacity(options) => show("capacity", &capacity::run(&options)?),
        Command::Instructions { base } => compare::instructions(base.as_deref()),
        Command::Report { directory, lang } => show("report", &report::run(directory.as_deref(), lang)?),
        Command::Check { directory } => {
            show("every number agrees with the raw files", &check::run(directory.as_deref())?)
        }
        Command::Selftest => require(selftest::run()?, "a fault was not reported correctly"),
        Command::Faulty(options) => Ok(faulty::serve(options).map_err(|error| error.to_string())?),
    }
}

/// Refuses with the message `no` unless `good` is true.
fn require(good: bool, no: &str) -> Result<(), Trouble> {
    if good { Ok(()) } else { Err(Trouble::Broken(no.into())) }
}

fn show(what: &str, path: &Path) -> Result<(), Trouble> {
    println!("{what}: {}", path.display());
    Ok(())
}
