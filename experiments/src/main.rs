//! `neraca-lab` measures the two engines, and reports how far the numbers can be trusted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use commands::{bench, chaos, check, compare, selftest};
use report::words::Lang;
use run::faulty::{self, Fault};
use run::lab::Stopped;
use run::{child, doctor};

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
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check whether this machine is ready to measure, and print what to do if not.
    Doctor {
        #[command(flatten)]
        common: bench::Common,
    },
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
    /// Give one of three backends at a time a fault, and count the failed GETs; exit code 1 when a GET fails.
    Chaos(chaos::Chaos),
    /// Give any HTTP/1.1 load balancer a scorecard of 100 points, and write a page about it.
    Grade(grade::Grade),
    /// Find the highest rate of requests at which the latency holds an objective.
    Capacity(capacity::Capacity),
    /// Count the instructions of a request in two builds with callgrind.
    Instructions(compare::Instructions),
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
    Faulty {
        #[arg(long, value_enum)]
        fault: Fault,
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        #[arg(long)]
        body: PathBuf,
        #[arg(long)]
        stats: PathBuf,
    },
    /// Kill the process groups named on stdin when it ends.
    #[command(hide = true)]
    Guard { scratch: PathBuf },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Doctor { common } => {
            let diagnosis = doctor::examine(&common.neraca, common.host.as_deref());
            for line in diagnosis.lines() {
                println!("{line}");
            }
            if diagnosis.fatal.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Run(options) => until_stopped(|stop| bench::run(&options, stop)),
        Command::Compare(compare) => until_judged(
            |stop| compare::run(&compare, stop),
            "the newer build is worse beyond the interval, or something failed",
        ),
        Command::CompareSelftest { neraca } => {
            until_judged(|stop| compare::selftest(&neraca, stop), "the comparison gave a wrong verdict")
        }
        Command::Chaos(chaos) => until_judged(|stop| chaos::run(&chaos, stop), "GETs failed"),
        Command::Grade(grade) => until_stopped(|stop| {
            println!("scorecards: {}", grade::run(&grade, stop)?.display());
            Ok(())
        }),
        Command::Capacity(capacity) => until_stopped(|stop| {
            println!("capacity: {}", capacity::run(&capacity, stop)?.display());
            Ok(())
        }),
        Command::Instructions(instructions) => until_stopped(|_| compare::instructions(&instructions)),
        Command::Report { directory, lang } => match report::run(directory.as_deref(), lang) {
            Ok(page) => {
                println!("report: {}", page.display());
                ExitCode::SUCCESS
            }
            Err(said) => complain(&said, 1),
        },
        Command::Check { directory } => match check::run(directory.as_deref()) {
            Ok(results) => {
                println!("{}: every number agrees with the raw files", results.display());
                ExitCode::SUCCESS
            }
            Err(said) => complain(&said, 1),
        },
        Command::Selftest => until_judged(selftest::run, "a fault was not reported correctly"),
        Command::Faulty { fault, listen, body, stats } => match faulty::serve(fault, listen, &body, &stats) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string(), 1),
        },
        Command::Guard { scratch } => {
            child::guard(std::io::stdin().lock(), &scratch);
            ExitCode::SUCCESS
        }
    }
}

/// Runs work that a signal may interrupt and that returns true or false. `no` is the message for false.
fn until_judged(work: impl FnOnce(&AtomicBool) -> Result<bool, Stopped>, no: &str) -> ExitCode {
    until_stopped(|stop| if work(stop)? { Ok(()) } else { Err(Stopped::Refused(no.into())) })
}

/// Runs work that a signal may interrupt.
fn until_stopped(work: impl FnOnce(&AtomicBool) -> Result<(), Stopped>) -> ExitCode {
    match stop_flag().map(|stop| work(&stop)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Stopped::Interrupted(said))) => complain(&said, 130),
        Ok(Err(Stopped::Refused(said))) => complain(&said, 1),
        Err(error) => complain(&error.to_string(), 1),
    }
}

fn complain(said: &str, code: u8) -> ExitCode {
    eprintln!("neraca-lab: {said}");
    ExitCode::from(code)
}

/// Returns a flag that the first SIGINT or SIGTERM sets. The second signal ends the process.
fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
