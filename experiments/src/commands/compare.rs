//! `neraca-lab compare`: two builds of the balancer, side by side, under the same load.
//!
//! Each round measures every cell once with both builds, one directly after the other. The order alternates from round
//! to round. A ratio is taken within a pair, so noise that affects both runs cancels out. Both balancers have the same
//! origins: one `neraca serve` of the new build.

mod base;
mod instructions;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::commands::peers::measure::{Bench, Sample};
use crate::commands::peers::rows::{self, Metric, Row, WARM_S};
use crate::plans::build::AROUND_S;
use crate::plans::model::Target;
use crate::plans::targets::{self, simple as target};
use crate::run::doctor;
use crate::run::lab::{self, Stopped, Trouble};
use verdict::Compared;

/// The arguments of `neraca-lab compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// The older build: a commit of this repository, or a program
    #[arg(long, value_name = "COMMIT|FILE")]
    base: String,
    /// The newer build
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    neraca: PathBuf,
    /// Count no instructions
    #[arg(long)]
    no_instructions: bool,
    /// Pairs of runs for each cell; more pairs give a narrower interval
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    pairs: u32,
    /// Measured seconds of each run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these cells: an engine (async), a load (c1000) or both (async-c1000)
    #[arg(long, value_delimiter = ',', value_name = "CELL")]
    only: Vec<String>,
    /// More arguments for the newer build
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    with: String,
}

/// The arguments of `neraca-lab instructions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Instructions {
    /// The older build: a commit of this repository
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
}

/// The loads of the comparison, by their names in the table of [`rows`].
const LOADS: [&str; 5] = ["c1000", "c100", "c10", "75k", "close"];
const ENGINES: [&str; 2] = [targets::THREAD, targets::ASYNC];

/// A balancer of either build. Contains only flags that both builds know.
const BALANCE: &str = "{BUILD} balance --engine ENGINE --listen 127.0.0.1:0 --backend 127.0.0.1:{o1} \
                       --backend 127.0.0.1:{o2} --backend 127.0.0.1:{o3}";

/// One load on one engine.
struct Cell {
    name: String,
    row: Row,
    /// The older build, then the newer build.
    builds: [Target; 2],
}

/// The cells that `only` selects; all cells when `only` is empty.
///
/// # Errors
/// When a word in `only` selects no cell. The error names the word.
fn cells(only: &[String], with: &str) -> Result<Vec<Cell>, String> {
    let loads = rows::chosen(&LOADS.map(String::from))?;
    let selects = |word: &str, engine: &str, row: &Row| {
        word == engine || word == row.id || word == format!("{engine}-{}", row.id)
    };
    let every = || ENGINES.into_iter().flat_map(|engine| loads.iter().map(move |row| (engine, row)));
    if let Some(wrong) = only.iter().find(|word| !every().any(|(engine, row)| selects(word, engine, row))) {
        return Err(format!(
            "there is no cell {wrong:?}; the engines are {}, the loads are {}",
            ENGINES.join(" "),
            LOADS.join(" ")
        ));
    }
    let build = |build: &str, engine: &str, more: &str| {
        let line = BALANCE.replace("BUILD", build).replace("ENGINE", engine);
        target(build, &format!("{line} {more}"), None)
    };
    let selected =
        every().filter(|(engine, row)| only.is_empty() || only.iter().any(|word| selects(word, engine, row)));
    Ok(selected
        .map(|(engine, row)| Cell {
            name: format!("{engine} {}", row.id),
            row: *row,
            builds: [build("base", engine, ""), build("new", engine, with)],
        })
        .collect())
}

/// Measures and prints. Returns true when the newer build is good enough.
pub(crate) fn run(arguments: &Compare, stop: &AtomicBool) -> Result<bool, Stopped> {
    let cells = cells(&arguments.only, &arguments.with)?;
    let diagnosis = doctor::examine(&arguments.neraca, None);
    if !diagnosis.fatal.is_empty() {
        return Err(Stopped::Refused(diagnosis.fatal.join("; ")));
    }
    let counts = !arguments.no_instructions && instructions::can_count();
    let base = base::find(&arguments.base, counts)?;
    let commit = diagnosis.neraca.as_ref().and_then(|binary| binary.commit.clone());
    println!("base: {}", base.name);
    println!("new: commit {}{}", commit.as_deref().unwrap_or("unknown"), more(&arguments.with));
    println!("origins: three addresses of `neraca serve --engine async` of the new build");
    let runs = cells.len() as u32 * arguments.pairs * 2;
    let minutes = (f64::from(runs) * (f64::from(arguments.seconds) + WARM_S + AROUND_S) / 60.0).ceil();
    println!(
        "{} cells, {} pairs of {} s: about {minutes} minutes",
        cells.len(),
        arguments.pairs,
        arguments.seconds
    );
    for warning in diagnosis.warnings.iter().filter(|line| line.contains('%')) {
        println!("warning: {warning}");
    }
    let compared = measure(arguments, &cells, &base.neraca, stop)?;
    print!("\n{}", verdict::table(&compared));
    let complaints: Vec<String> = compared.iter().flat_map(Compared::complaints).collect();
    for complaint in &complaints {
        println!("WORSE: {complaint}");
    }
    if counts {
        println!();
        instructions::report(base.exchange.as_ref(), &base::working_tree()?)?;
    }
    Ok(complaints.is_empty())
}

/// Counts and prints the instructions of a request.
pub(crate) fn instructions(arguments: &Instructions) -> Result<(), Stopped> {
    if !instructions::can_count() {
        return Err(Stopped::Refused("no instructions were counted".into()));
    }
    let mut older = Err("no base was given".to_owned());
    if let Some(base) = &arguments.base {
        let base = base::find(base, true)?;
        println!("base: {}", base.name);
        older = base.exchange;
    }
    Ok(instructions::report(older.as_ref(), &base::working_tree()?)?)
}

fn more(arguments: &str) -> String {
    if arguments.is_empty() { String::new() } else { format!(" with {arguments}") }
}

fn measure(
    arguments: &Compare,
    cells: &[Cell],
    base: &Path,
    stop: &AtomicBool,
) -> Result<Vec<Compared>, Stopped> {
    lab::with(&arguments.neraca, stop, |lab| {
        let programs = [("base", base), ("new", lab.neraca.as_path())];
        let any = cells[0].row.cell(0, 1.0);
        let bench = Bench::start(lab, programs, &target("origins", targets::BACKENDS, None), &any)?;
        for build in &cells[0].builds {
            bench.check(build, &any)?;
        }
        rounds(arguments, cells, &bench)
    })
}

fn rounds(arguments: &Compare, cells: &[Cell], bench: &Bench<'_>) -> Result<Vec<Compared>, Stopped> {
    let mut compared: Vec<Compared> = cells.iter().map(|cell| Compared::new(&cell.name)).collect();
    for round in 0..arguments.pairs {
        for (cell, compared) in cells.iter().zip(&mut compared) {
            let pair = pair(bench, cell, round, f64::from(arguments.seconds))?;
            let rates = pair.each_ref().map(|sample| sample.get(&Metric::Rate).copied().unwrap_or(f64::NAN));
            eprintln!(
                "{}/{} {}: {:.0} and {:.0} req/s",
                round + 1,
                arguments.pairs,
                cell.name,
                rates[0],
                rates[1]
            );
            compared.pairs.push(pair);
        }
    }
    Ok(compared)
}

/// Runs both builds, one directly after the other. Every second round starts with the newer build. A run that fails
/// counts as one failure.
fn pair(bench: &Bench<'_>, cell: &Cell, round: u32, seconds: f64) -> Result<[Sample; 2], Trouble> {
    let load = cell.row.cell(round as usize, seconds);
    let mut pair = [Sample::new(), Sample::new()];
    let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    for n in order {
        pair[n] = match bench.measure(&cell.builds[n], &load, 0.0) {
            Err(Trouble::Failed(said)) => {
                eprintln!("{} of {}: {said}", cell.builds[n].id, cell.name);
                Sample::from([(Metric::Failed, 1.0)])
            }
            measured => measured?,
        };
    }
    Ok(pair)
}

/// Checks the comparison itself: a build equals itself, and a build with a receive buffer of 64 bytes is worse. Returns
/// true when both verdicts are right.
pub(crate) fn selftest(neraca: &Path, stop: &AtomicBool) -> Result<bool, Stopped> {
    let mut good = true;
    for (with, expected) in [("", true), ("--experiment-receive-bytes 64", false)] {
        let arguments = Compare {
            base: neraca.display().to_string(),
            neraca: neraca.into(),
            no_instructions: true,
            pairs: SELFTEST_PAIRS,
            seconds: 1,
            only: vec!["c100".into()],
            with: with.into(),
        };
        let found = run(&arguments, stop)?;
        let said = if found { "not worse" } else { "worse" };
        println!("{}: a build against itself{} is called {said}\n", mark(found == expected), more(with));
        good &= found == expected;
    }
    Ok(good)
}

/// Number of pairs. With fewer pairs, the interval on a noisy machine can hide the slowed build.
const SELFTEST_PAIRS: u32 = 6;

fn mark(good: bool) -> &'static str {
    if good { "ok" } else { "BAD" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_selected_by_engine_load_or_both() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(ToString::to_string).collect();
            cells(&only, "").map(|cells| cells.iter().map(|cell| cell.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), LOADS.len() * ENGINES.len());
        assert_eq!(names(&["c10"]).unwrap(), ["thread c10", "async c10"]);
        assert_eq!(names(&["async-75k", "thread-c10"]).unwrap(), ["thread c10", "async 75k"]);
        assert_eq!(names(&["async"]).unwrap().len(), LOADS.len());
        assert!(names(&["c11"]).unwrap_err().contains("\"c11\""));
    }

    #[test]
    fn only_the_newer_build_gets_more_arguments() {
        let cells = cells(&["async-c10".into()], "--cores 1").unwrap();
        let [base, new] = cells[0].builds.each_ref().map(|build| build.command.join(" "));
        assert!(base.starts_with("{base} balance --engine async --listen"), "{base}");
        assert_eq!(new, base.replace("{base}", "{new}") + " --cores 1");
    }
}
