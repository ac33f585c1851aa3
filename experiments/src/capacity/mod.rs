//! `neraca-lab capacity`: the highest rate of requests at which the latency of a balancer holds an objective, and the
//! ramp of latency and CPU time up to that rate and beyond.

mod page;
mod search;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use itertools::Itertools;
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
use search::{Objective, highest, objective};

/// The rates of the ramp, as shares of the capacity.
const RAMP: [f64; 9] = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25];
/// The columns of ramp.csv: the balancer, and the fields of [`Step`].
const COLUMNS: &str =
    "balancer offered_hz good_hz failed p50_ms p99_ms max_ms objective_ms late_ms cpus holds";
/// Maximum share of failed requests at a rate that holds.
const FAILED: f64 = 0.001;

/// The arguments of `neraca-lab capacity`.
#[derive(Debug, clap::Args)]
pub(crate) struct Capacity {
    /// The objective: a percentile of the latency and its limit
    #[arg(long, value_name = "pN=TIME", default_value = "p99=20ms", value_parser = objective)]
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
pub(crate) fn run(arguments: &Capacity) -> Result<PathBuf, Trouble> {
    let (chosen, setting) = arguments.choice.examine()?;
    let balancers = lab::with(&arguments.choice.neraca, |lab| {
        chosen.iter().map(|target| measure(lab, arguments, target)).collect()
    })?;
    let results = Results {
        setting,
        objective: arguments.slo.text.clone(),
        limit_ms: arguments.slo.limit.as_secs_f64() * 1e3,
        connections: arguments.connections,
        seconds: arguments.seconds,
        balancers,
    };
    Ok(write(arguments, results)?)
}

/// Measures one balancer: the search, then the ramp.
fn measure(lab: &Lab, arguments: &Capacity, target: &Target) -> Result<Found, Trouble> {
    let (server, _backends) = lab.both(target, &cell())?;
    let mut search = Vec::new();
    let capacity_hz = highest(|rate| {
        let step = step(lab, arguments, &server, rate)?;
        let Step { p99_ms, cpus, holds, .. } = step;
        let said = if holds { "holds" } else { "fails" };
        println!("  {rate:>7.0} requests/s  p99 {p99_ms:>8.2} ms  {cpus:.2} CPUs  {said}");
        search.push(step);
        Ok(holds)
    })?;
    let rates = capacity_hz.into_iter().flat_map(|rate| RAMP.map(|share| share * rate));
    let ramp = rates.map(|rate| step(lab, arguments, &server, rate)).collect::<Result<_, _>>()?;
    let rate = capacity_hz.map_or("no rate".into(), |hz| format!("{hz:.0} requests per second"));
    println!("{}: highest rate with {}: {rate}", target.title, arguments.slo.text);
    Ok(Found { name: target.id.clone(), title: target.title.clone(), capacity_hz, search, ramp })
}

/// Runs the load at a rate.
fn step(lab: &Lab, arguments: &Capacity, server: &Server, rate_hz: f64) -> Result<Step, Trouble> {
    let seconds = f64::from(arguments.seconds);
    let load = Cell { connections: arguments.connections, seconds, ..cell() };
    let ticks = || {
        let used = GroupCounters::of_group(server.program.group());
        used.user_ticks + used.system_ticks
    };
    let (before, start) = (ticks(), Instant::now());
    let tally = lab.generate(&load, server.address(), Pace::Open(rate_hz))?;
    let cpu_s = ticks().saturating_sub(before) as f64 / rustix::param::clock_ticks_per_second() as f64;
    let cpus = cpu_s / start.elapsed().as_secs_f64();
    let Objective { share, limit, .. } = arguments.slo;
    let (objective_ms, failed) = (tally.latency_ms(share), tally.intended - tally.good);
    let few_failed = tally.good > 0 && failed as f64 <= FAILED * tally.intended as f64;
    Ok(Step {
        offered_hz: rate_hz,
        good_hz: tally.good as f64 / seconds,
        failed,
        p50_ms: tally.latency_ms(0.5),
        p99_ms: tally.latency_ms(0.99),
        max_ms: tally.latency_us.max() as f64 / 1e3,
        objective_ms,
        late_ms: tally.late_us.value_at_quantile(0.99) as f64 / 1e3,
        cpus,
        holds: few_failed && objective_ms <= limit.as_secs_f64() * 1e3,
    })
}

/// Writes the files. Results of other balancers with the same machine, build and load stay.
fn write(arguments: &Capacity, mut results: Results) -> Result<PathBuf, String> {
    let directory = &arguments.out;
    fs::create_dir_all(directory).map_err(said(directory))?;
    let path = directory.join("capacity.json");
    let load = |of: &Results| (of.objective.clone(), of.connections, of.seconds);
    if let Ok(earlier) = read_json::<Results>(&path)
        && earlier.setting.difference(&results.setting).is_none()
        && load(&earlier) == load(&results)
    {
        keep_earlier(&mut results.balancers, earlier.balancers, |found| &found.name);
    }
    write_json(&path, &results)?;
    let row = |(name, step): (&String, &Step)| {
        let mut row = json!(step);
        row["balancer"] = json!(name);
        let values = row.as_object_mut().into_iter().flat_map(|row| row.values_mut());
        values.filter(|value| value.is_f64()).for_each(|value| *value = number(value.as_f64()));
        row
    };
    let steps = results.balancers.iter().flat_map(|found| found.ramp.iter().map(|step| (&found.name, step)));
    let path = directory.join("ramp.csv");
    fs::write(&path, csv(&COLUMNS.split(' ').collect_vec(), steps.map(row))).map_err(said(&path))?;
    report::write_page(directory, page::page(&results))
}
