//! `neraca-lab peers`: both engines beside other programs, and beside the floor, in every kind of work that they are
//! to be the fastest in.
//!
//! All are measured in turn, round after round, and compared within a round. It installs nothing and says what is
//! missing; what is missing is left out.

mod measure;
mod results;
mod rows;
mod subjects;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::child::Guard;
use measure::Bench;
use results::Results;
use rows::{Row, Work};
use subjects::{Found, Subject};

/// What is asked on the command line.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// Rounds of each row; the median of a single one says little
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds of each round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these rows, such as c1000,close,idle
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    rows: Vec<String>,
    /// Only these subjects, such as async,nginx,floor
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Another balancer that listens on 127.0.0.1:{port} and forwards to the ports {o1} {o2} {o3}
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Print Markdown
    #[arg(long)]
    markdown: bool,
    /// The balancer [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    neraca: Option<PathBuf>,
}

/// Descriptors that a row takes beyond two per connection.
const SPARE_DESCRIPTORS: u64 = 1000;

/// Measures and prints; the error is one line for a person.
pub(crate) fn run(arguments: &Peers) -> Result<(), String> {
    let rows = rows::chosen(&arguments.rows)?;
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = beside.parent().unwrap_or(Path::new("."));
    let neraca = arguments.neraca.clone().unwrap_or_else(|| beside.join("neraca"));
    let floor = beside.join("examples/floor");
    if !neraca.exists() {
        return Err(format!("{} is not there; cargo build --release", neraca.display()));
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = Found::look(cpus, &floor, &arguments.peer, &arguments.only)?;
    enough_descriptors(&rows)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    }
    let guard = Guard::start().map_err(|error| format!("the guard process: {error}"))?;
    let scratch = Scratch::new()?;
    let seconds = f64::from(arguments.seconds);
    let bench = Bench::start(&scratch.0, [&neraca, &floor], seconds, &guard, &stop)?;
    retain_right(&bench, &rows, &mut found)?;
    for line in &found.missing {
        eprintln!("left out: {line}");
    }
    eprintln!("{}", estimate(arguments, &rows, &found));
    let mut all = Vec::new();
    for row in rows {
        all.push(measure_row(&bench, row, &found, arguments.rounds)?);
    }
    print!("{}", table::render(&head(arguments, &found, cpus), &all, arguments.markdown));
    Ok(())
}

/// Leaves out who does not serve what is to be served.
fn retain_right(bench: &Bench<'_>, rows: &[Row], found: &mut Found) -> Result<(), String> {
    let Found { balancers, servers, missing, .. } = found;
    for (direct, subjects) in [(false, balancers), (true, servers)] {
        if rows.iter().any(|row| row.direct == direct) {
            let mut right = Vec::new();
            for subject in subjects.drain(..) {
                match bench.check(&subject) {
                    Ok(()) => right.push(subject),
                    Err(error) if is_ours(&subject) => return Err(format!("{}: {error}", subject.name)),
                    Err(error) => missing.push(format!("{}: {error}", subject.name)),
                }
            }
            *subjects = right;
        }
    }
    Ok(())
}

fn is_ours(subject: &Subject) -> bool {
    subject.kind != subjects::Kind::Peer
}

/// Every subject in every round, in alternating order: who comes first has no advantage over five rounds.
fn measure_row(bench: &Bench<'_>, row: Row, found: &Found, rounds: u32) -> Result<Results, String> {
    let subjects = subjects_of(&row, found);
    let mut results = Results { row, subjects, rounds: Vec::new() };
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..results.subjects.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut samples = vec![measure::Sample::new(); order.len()];
        let mut line = format!("{} {}/{rounds}:", row.id, round + 1);
        for n in order {
            let subject = &results.subjects[n];
            samples[n] =
                bench.measure(subject, row.work).map_err(|error| format!("{}: {error}", subject.name))?;
            let first = row.metrics()[0];
            let value = samples[n].get(&first).copied().unwrap_or(f64::NAN);
            line.push_str(&format!(" {} {value:.*}", subject.name, first.decimals()));
        }
        eprintln!("{line} {}", row.metrics()[0].title());
        results.rounds.push(samples);
    }
    Ok(results)
}

/// The floor has no memory to compare: it holds a backend connection for each client.
fn subjects_of(row: &Row, found: &Found) -> Vec<Subject> {
    let subjects = if row.direct { &found.servers } else { &found.balancers };
    let loaded = matches!(row.work, Work::Load { .. });
    subjects.iter().filter(|subject| loaded || subject.kind != subjects::Kind::Floor).cloned().collect()
}

/// A client and a backend connection for each of the row's connections must be possible, here and in what we start.
fn enough_descriptors(rows: &[Row]) -> Result<(), String> {
    let connections = |row: &Row| match row.work {
        Work::Load { connections, .. } | Work::Idle { connections } => u64::from(connections),
    };
    let needed = 2 * rows.iter().map(connections).max().unwrap_or(0) + SPARE_DESCRIPTORS;
    let most = getrlimit(Resource::Nofile).maximum;
    if let Some(most) = most.filter(|most| *most < needed) {
        return Err(format!(
            "{needed} open files are needed and {most} allowed; ulimit -n {needed} as root, or fewer rows"
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).map_err(|error| error.to_string())
}

fn estimate(arguments: &Peers, rows: &[Row], found: &Found) -> String {
    let runs: usize = rows.iter().map(|row| subjects_of(row, found).len()).sum();
    let seconds = runs as u64 * u64::from(arguments.rounds) * (u64::from(arguments.seconds) + 2);
    format!("{} rows, {} rounds: about {} minutes", rows.len(), arguments.rounds, seconds.div_ceil(60))
}

/// Machine, versions and date.
fn head(arguments: &Peers, found: &Found, cpus: usize) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpuinfo, release) = (read("/proc/cpuinfo"), read("/proc/sys/kernel/osrelease"));
    let model =
        cpuinfo.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()));
    let output = |words: &[&str]| {
        let output =
            Command::new(words[0]).args(&words[1..]).output().ok().filter(|output| output.status.success());
        output.map_or("unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut head = vec![
        format!("date: {}", output(&["date", "-u", "+%Y-%m-%d %H:%M UTC"])),
        format!("machine: {cpus} CPUs, {}, Linux {}", model.unwrap_or("unknown model"), release.trim()),
        format!("neraca: commit {}", output(&["git", "describe", "--always", "--dirty"])),
        format!("versions: {}", found.versions.join(", ")),
        format!(
            "medians of {} rounds of {} s, interleaved; ratios within a round",
            arguments.rounds, arguments.seconds
        ),
    ];
    head.extend(found.missing.iter().map(|line| format!("left out: {line}")));
    head
}

/// A directory of our own, readable by servers that give up their rights, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("neraca-peers-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
