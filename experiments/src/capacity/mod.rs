//! `neraca-lab capacity`: the highest rate of requests at which the latency of a balancer holds an objective, and the
//! ramp of latency and CPU time up to that rate and beyond.

mod page;
mod search;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;

use crate::grade::choice::{Choice, cell, keep_earlier};
use crate::plans::model::{Cell, Target};
use crate::report;
use crate::report::summary::{csv, number};
use crate::run::files::{read_json, said, write_json};
use crate::run::lab::{self, Lab, Server, Trouble};
use crate::run::load::Pace;
use crate::run::proc::GroupCounters;
use page::{Found, Results, Step};
use search::{Objective, highest};

/// The rates of the ramp, as shares of the capacity.
const RAMP: [f64; 9] = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25];
/// The columns of ramp.csv.
const COLUMNS: [&str; 11] = [
    "balancer",
    "offered_hz",
    "good_hz",
    "failed",
    "p50_ms",
    "p99_ms",
    "max_ms",
    "objective_ms",
    "late_ms",
    "cpus",
    "holds",
];
/// Maximum share of failed requests at a rate that holds.
const FAILED: f64 = 0.001;

/// The arguments of `neraca-lab capacity`.
#[derive(Debug, clap::Args)]
pub(crate) struct Capacity {
    /// The objective: a percentile of the latency and its limit
    #[arg(long, value_name = "pN=TIME", default_value = "p99=20ms")]
    slo: Objective,
    #[command(flatten)]
    choice: Choice,
    /// Kept connections of the client
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Measured seconds of each run, after half a second of warm-up
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Directory for capacity.json, ramp.csv, README.md, index.html and the plots
    #[arg(long, value_name = "DIR", default_value = "experiments/results/capacity")]
    out: PathBuf,
}

/// Measures the chosen balancers and writes the page. Returns its path.
pub(crate) fn run(arguments: &Capacity, stop: &AtomicBool) -> Result<PathBuf, Trouble> {
    let (chosen, setting) = arguments.choice.examine()?;
    let mut results = Results {
        setting,
        objective: arguments.slo.to_string(),
        limit_ms: arguments.slo.limit.as_secs_f64() * 1e3,
        connections: arguments.connections,
        seconds: arguments.seconds,
        balancers: Vec::new(),
    };
    lab::with(&arguments.choice.neraca, stop, |lab| {
        for target in &chosen {
            let found = Bench { lab, arguments, target, cell: cell() }.measure()?;
            let rate =
                found.capacity_hz.map_or("no rate".into(), |rate| format!("{rate:.0} requests per second"));
            println!("{}: highest rate with {}: {rate}", target.title, results.objective);
            results.balancers.push(found);
        }
        Ok(())
    })?;
    Ok(write(arguments, results)?)
}

/// The measurement of one balancer.
struct Bench<'l, 'g> {
    lab: &'l Lab<'g>,
    arguments: &'l Capacity,
    target: &'l Target,
    cell: Cell,
}

impl Bench<'_, '_> {
    fn measure(&self) -> Result<Found, Trouble> {
        let (server, _backends) = self.lab.both(self.target, &self.cell)?;
        let mut search = Vec::new();
        let capacity_hz = highest(|rate| {
            let step = self.step(&server, rate)?;
            let Step { p99_ms, cpus, holds, .. } = step;
            let said = if holds { "holds" } else { "fails" };
            println!("  {rate:>7.0} requests/s  p99 {p99_ms:>8.2} ms  {cpus:.2} CPUs  {said}");
            search.push(step);
            Ok::<_, Trouble>(holds)
        })?;
        let rates = capacity_hz.into_iter().flat_map(|rate| RAMP.map(|share| share * rate));
        let ramp = rates.map(|rate| self.step(&server, rate)).collect::<Result<_, _>>()?;
        let (name, title) = (self.target.id.clone(), self.target.title.clone());
        Ok(Found { name, title, capacity_hz, search, ramp })
    }

    /// Runs the load at a rate.
    fn step(&self, server: &Server<'_>, rate_hz: f64) -> Result<Step, Trouble> {
        let seconds = f64::from(self.arguments.seconds);
        let cell = Cell { connections: self.arguments.connections, seconds, ..self.cell.clone() };
        let spec = self.lab.spec(&cell, server.address()?, Pace::Open(rate_hz))?;
        let cpu_s = || {
            let counters = GroupCounters::of_group(server.program.group());
            let ticks = counters.user_ticks + counters.system_ticks;
            ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
        };
        let (before, start) = (cpu_s(), Instant::now());
        let tally = self.lab.generate(&spec)?;
        let cpus = (cpu_s() - before) / start.elapsed().as_secs_f64();
        let objective = self.arguments.slo;
        let objective_ms = tally.latency_ms(objective.share);
        let bad = tally.intended - tally.good;
        let holds = objective_ms <= objective.limit.as_secs_f64() * 1e3
            && (bad as f64) <= FAILED * tally.intended as f64
            && tally.good > 0;
        Ok(Step {
            offered_hz: rate_hz,
            good_hz: tally.good as f64 / spec.seconds,
            failed: bad,
            p50_ms: tally.latency_ms(0.5),
            p99_ms: tally.latency_ms(0.99),
            max_ms: tally.latency_us.max() as f64 / 1e3,
            objective_ms,
            late_ms: tally.late_us.value_at_quantile(0.99) as f64 / 1e3,
            cpus,
            holds,
        })
    }
}

/// Writes the files. Results of other balancers with the same machine, build and load stay.
fn write(arguments: &Capacity, mut results: Results) -> Result<PathBuf, String> {
    let directory = &arguments.out;
    fs::create_dir_all(directory).map_err(said(directory))?;
    let path = directory.join("capacity.json");
    if let Some(earlier) = read_json::<Results>(&path).ok().filter(|earlier| earlier.fits(&results)) {
        keep_earlier(&mut results.balancers, earlier.balancers, |found| &found.name);
    }
    let results = &results;
    write_json(&path, results)?;
    let row = |name: &str, step: &Step| {
        let mut row = json!(step);
        row["balancer"] = json!(name);
        let values = row.as_object_mut().into_iter().flat_map(|row| row.values_mut());
        values.filter(|value| value.is_f64()).for_each(|value| *value = number(value.as_f64()));
        row
    };
    let ramps =
        results.balancers.iter().flat_map(|found| found.ramp.iter().map(|step| row(&found.name, step)));
    let path = directory.join("ramp.csv");
    fs::write(&path, csv(&COLUMNS, ramps)).map_err(said(&path))?;
    report::write_page(directory, page::page(results))
}
