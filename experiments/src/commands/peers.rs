//! `neraca-lab peers` compares both engines with other programs and with the byte pump, in every row that has a goal.
//!
//! Every round measures all subjects in turn, and ratios are taken within a round. The command installs nothing. A
//! program that is not installed is reported and left out.

pub(crate) mod measure;
mod results;
pub(crate) mod rows;
pub(crate) mod subjects;
mod table;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use crate::plans::build::AROUND_S;
use crate::plans::model::Work;
use crate::plans::targets::simple as target;
use crate::run::doctor::{self, Diagnosis};
use crate::run::child::Program;
use crate::run::lab::{self, Lab, Stopped, Trouble};
use measure::{Bench, Sample};
use results::Results;
use rows::{Against, Metric, Row, WARM_S};
use subjects::{Found, Kind, ORIGINS, Subject};

/// The arguments of `neraca-lab peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {
    /// Rounds of each row; a single round says little
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds of each round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these rows, such as c1000,close,idle
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    rows: Vec<String>,
    /// Only these subjects, such as async,nginx,byte-pump
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Another balancer that listens on 127.0.0.1:{port} and forwards to the ports {o1} {o2} {o3}
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Run a busy loop under nice beside every measurement, as on a machine that others use too
    #[arg(long)]
    disturb: bool,
    /// Print Markdown
    #[arg(long)]
    markdown: bool,
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    neraca: PathBuf,
    /// The byte pump: copies bytes and parses nothing
    #[arg(long, value_name = "FILE", default_value = "target/release/examples/byte_pump")]
    byte_pump: PathBuf,
}

/// Descriptors that a row needs in addition to two per connection.
const SPARE_DESCRIPTORS: u64 = 1000;

/// Measures and prints.
pub(crate) fn run(arguments: &Peers, stop: &AtomicBool) -> Result<(), Stopped> {
    let rows = rows::chosen(&arguments.rows)?;
    let Peers { neraca, byte_pump, .. } = arguments;
    let diagnosis = doctor::examine(neraca, None);
    if !diagnosis.fatal.is_empty() {
        return Err(Stopped::Refused(diagnosis.fatal.join("; ")));
    }
    enough_descriptors(&rows, diagnosis.host.descriptors)?;
    let mut found = Found::look(diagnosis.host.cpus, byte_pump, &arguments.peer, &arguments.only)?;
    lab::with(neraca, stop, |lab| {
        let origins = target("origins", "nginx -e stderr -c {conf}", Some(ORIGINS.into()));
        let disturbance = arguments.disturb.then(|| disturb(lab)).transpose()?;
        let any = rows[0].cell(0, 1.0);
        let bench = Bench::start(lab, [("byte_pump", byte_pump.as_path())], &origins, &any)?;
        retain_right(&bench, &rows, &mut found)?;
        for line in &found.missing {
            eprintln!("left out: {line}");
        }
        eprintln!("{}", estimate(arguments, &rows, &found));
        let mut all = Vec::new();
        for row in rows {
            all.push(measure_row(&bench, row, &mut found, arguments)?);
        }
        drop(disturbance);
        print!("{}", table::render(&head(arguments, &found, &diagnosis), &all, arguments.markdown));
        Ok(())
    })
}

/// Starts a busy loop under `nice`, in a session of its own.
fn disturb<'a>(lab: &Lab<'a>) -> Result<Program<'a>, String> {
    let words = ["nice", "sh", "-c", "while :; do :; done"];
    let [out, err] = ["disturb.out", "disturb.err"].map(|name| lab.scratch.join(name));
    Program::start(&words, &[], &out, &err, lab.guard).map_err(|error| format!("the disturbance: {error}"))
}

/// Leaves out every peer that serves a wrong body. A wrong body of our engines is an error.
fn retain_right(bench: &Bench<'_>, rows: &[Row], found: &mut Found) -> Result<(), Stopped> {
    let Found { balancers, servers, missing, .. } = found;
    for (direct, subjects) in [(false, balancers), (true, servers)] {
        let Some(row) = rows.iter().find(|row| row.direct == direct) else { continue };
        let mut right = Vec::new();
        for subject in subjects.drain(..) {
            match bench.check(&subject.target, &row.cell(0, 1.0)) {
                Ok(()) => right.push(subject),
                Err(Trouble::Failed(said)) if subject.kind == Kind::Peer => {
                    missing.push(format!("{}: {said}", subject.name));
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
        *subjects = right;
    }
    Ok(())
}

/// Measures every subject in every round. The order alternates, so no subject is always the first. A subject that fails
/// in a round gets one failure for this round.
fn measure_row(
    bench: &Bench<'_>,
    row: Row,
    found: &mut Found,
    arguments: &Peers,
) -> Result<Results, Stopped> {
    let mut results = Results { row, subjects: subjects_of(&row, found), rounds: Vec::new() };
    let first = row.metrics()[0];
    for round in 0..arguments.rounds {
        let cell = row.cell(round as usize, f64::from(arguments.seconds));
        let mut order: Vec<usize> = (0..results.subjects.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut samples = vec![Sample::new(); order.len()];
        for n in order {
            let subject = &results.subjects[n];
            samples[n] = match bench.measure(&subject.target, &cell, row.probe_hz) {
                Ok(sample) => sample,
                Err(Trouble::Failed(said)) => {
                    found.missing.push(format!("{} in a round of {}: {said}", subject.name, row.id));
                    Sample::from([(Metric::Failed, 1.0)])
                }
                Err(trouble) => return Err(trouble.into()),
            };
        }
        let value = |sample: &Sample| sample.get(&first).copied().unwrap_or(f64::NAN);
        let values = results.subjects.iter().zip(&samples);
        let values = values.map(|(s, sample)| format!("{} {:.*}", s.name, first.decimals(), value(sample)));
        let values = values.collect::<Vec<_>>().join(", ");
        eprintln!("{} {}/{}, {}: {values}", row.id, round + 1, arguments.rounds, first.title());
        results.rounds.push(samples);
    }
    Ok(results)
}

/// Returns the subjects of a row: the engines, the peers, and what else the goals of the row compare them with.
fn subjects_of(row: &Row, found: &Found) -> Vec<Subject> {
    let subjects = if row.direct { &found.servers } else { &found.balancers };
    let asks = |against| row.goals.iter().any(|goal| goal.against == against);
    let counts = |subject: &&Subject| match subject.kind {
        Kind::BytePump => asks(Against::BytePump),
        Kind::FixedThread | Kind::FixedAsync => asks(Against::BestFixed),
        Kind::Thread | Kind::Async | Kind::Peer => true,
    };
    subjects.iter().filter(counts).cloned().collect()
}

/// Checks that the descriptor limit allows a client and a backend connection for each connection of a row.
fn enough_descriptors(rows: &[Row], most: u64) -> Result<(), String> {
    for row in rows {
        let needed = 2 * u64::from(row.connections) + SPARE_DESCRIPTORS;
        if most < needed {
            let remedy = format!("raise `ulimit -Hn` to {needed} or choose other rows");
            return Err(format!("{} needs {needed} open files and {most} are allowed; {remedy}", row.id));
        }
    }
    Ok(())
}

fn estimate(arguments: &Peers, rows: &[Row], found: &Found) -> String {
    let runs: usize = rows.iter().map(|row| subjects_of(row, found).len()).sum();
    let each = f64::from(arguments.seconds) + WARM_S + AROUND_S;
    let minutes = (runs as f64 * f64::from(arguments.rounds) * each / 60.0).ceil();
    format!(
        "{} rows, {} rounds of {} s: about {minutes} minutes",
        rows.len(),
        arguments.rounds,
        arguments.seconds
    )
}

/// Returns the head of the report: date, machine, versions, and the subjects that were left out.
fn head(arguments: &Peers, found: &Found, diagnosis: &Diagnosis) -> Vec<String> {
    let host = &diagnosis.host;
    let commit = diagnosis.neraca.as_ref().and_then(|neraca| neraca.commit.as_deref());
    let mut head = vec![
        format!("date: {}", humantime::format_rfc3339_seconds(SystemTime::now())),
        format!("machine: {}, {} CPUs, {} MB, Linux {}", host.cpu, host.cpus, host.memory_mb, host.kernel),
        format!("neraca: commit {}", commit.unwrap_or("unknown")),
        format!("others: {}", found.versions.join(", ")),
        format!(
            "medians of {} interleaved rounds of {} s, wrk on the same machine; ratios are taken within a round",
            arguments.rounds, arguments.seconds
        ),
    ];
    head.extend(
        arguments.disturb.then(|| "disturbed: a busy loop under nice runs beside every measurement".into()),
    );
    head.extend(
        diagnosis.warnings.iter().filter(|line| line.contains('%')).map(|line| format!("warning: {line}")),
    );
    head.extend(found.missing.iter().map(|line| format!("left out: {line}")));
    head
}
