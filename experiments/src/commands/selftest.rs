//! The self-test of the laboratory. It measures servers with a known fault, and the laboratory must report the true
//! rate of each fault. For a server without a fault the laboratory must report nothing.

use std::sync::atomic::AtomicBool;

use clap::ValueEnum;

use crate::judge::derive::derive;
use crate::judge::record::{Load, Measured};
use crate::judge::verdict::{Gate, Validity};
use crate::plans::build::{FILES, ordinary};
use crate::plans::model::{Cell, Section, Target, What};
use crate::plans::targets::simple;
use crate::run::faulty::{Fault, POOL};
use crate::run::lab::{self, Stopped};
use crate::run::probe::RawProbe;
use crate::run::raw::{Found, Raw};
use crate::run::wrk::Client;

const CONNECTIONS: u32 = 50;

/// The comparison of the reported faults with the true faults.
struct Verdict {
    good: bool,
    line: String,
}

/// Measures every fault. Returns true when all were reported correctly.
pub(crate) fn run(stop: &AtomicBool) -> Result<bool, Stopped> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    // This program is the server, so it takes the place of the balancer.
    lab::with(&this, stop, |lab| {
        let mut all_good = true;
        for fault in &Fault::MEASURED {
            let cell = cell(*fault);
            let raw = lab.measure(&target(*fault), &cell)?;
            let verdict = judge(*fault, &cell, &raw)?;
            all_good &= verdict.good;
            println!("{:<8} {:<4} {}", name(*fault), if verdict.good { "ok" } else { "BAD" }, verdict.line);
        }
        Ok(all_good)
    })
}

fn name(fault: Fault) -> String {
    fault.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn target(fault: Fault) -> Target {
    let line =
        format!("{{neraca}} faulty --fault {} --body {{root}}/{} --stats {{stats}}", name(fault), FILES[1].0);
    Target { what: What::Server, ..simple(&name(fault), &line, None) }
}

fn cell(fault: Fault) -> Cell {
    let (path, body_bytes) = FILES[1];
    let seconds = if fault == Fault::Pause { 4.0 } else { 3.0 };
    let cell = ordinary(&name(fault));
    Cell {
        section: Section::Servers,
        connections: CONNECTIONS,
        path: path.into(),
        body_bytes,
        seconds,
        ..cell
    }
}

fn judge(fault: Fault, cell: &Cell, raw: &Raw) -> Result<Verdict, String> {
    let record = derive(raw);
    let (Measured::Load(load), Found::Load(found)) = (&record.measured, &raw.found) else {
        return Err(format!("{}: {:?}", name(fault), record.measured));
    };
    let load = with_warm_up(load, found.warm.as_ref());
    let gate = |gate| record.gates.iter().find(|result| result.gate == gate).map(|result| result.verdict);
    Ok(weigh(fault, cell, &load, &found.probe, gate))
}

/// Adds the errors of the warm-up, because a server counts its faults from its start.
fn with_warm_up(load: &Load, warm: Option<&Client>) -> Load {
    let mut load = load.clone();
    if let Some(warm) = warm {
        load.failures.read += warm.errors.read;
        load.failures.write += warm.errors.write;
        load.failures.status += warm.errors.status;
    }
    load
}

/// Compares the report with the true faults.
fn weigh(
    fault: Fault,
    cell: &Cell,
    load: &Load,
    probe: &RawProbe,
    gate: impl Fn(Gate) -> Option<Validity>,
) -> Verdict {
    let counts = Counts::of(load, cell);
    let (failures, errors) = (&load.failures, &load.probe.errors);
    match fault {
        Fault::None => Verdict {
            good: failures.total() + errors.total() == 0
                && counts.served > 0
                && [Gate::G1, Gate::G3, Gate::G4, Gate::G10].map(&gate) == [Some(Validity::Valid); 4],
            line: format!(
                "{} answers, {} failures and {} failed probes reported",
                counts.served,
                failures.total(),
                errors.total()
            ),
        },
        Fault::Status => counts.weigh(failures.status + errors.status, 0.01, gate),
        Fault::Truncate => counts.weigh(failures.read + errors.truncated, 0.01, gate),
        Fault::Close => counts.weigh(failures.read + failures.write + errors.read, 0.05, gate),
        Fault::Starve => weigh_starvation(cell, load, gate),
        Fault::Silent => weigh_silence(counts.at_fault, cell, load, probe, gate),
        Fault::Pause => weigh_pause(probe),
        _ => Verdict { good: false, line: "is not measured".into() },
    }
}

/// The counts of a server with a fault.
struct Counts {
    served: u64,
    at_fault: u64,
    /// Requests that may be in flight when the client stops. The counts may differ by this number.
    slack: u64,
}

impl Counts {
    fn of(load: &Load, cell: &Cell) -> Self {
        let counter = |name: &str| load.target.as_ref().and_then(|t| t.whole.get(name)).copied().unwrap_or(0);
        let slack = 2 * u64::from(cell.opened()) + 2;
        Counts { served: counter("served"), at_fault: counter("at_fault"), slack }
    }

    /// Checks that the reported faults are the true faults, at this rate, and that gate G4 fails.
    fn weigh(&self, reported: u64, rate: f64, gate: impl Fn(Gate) -> Option<Validity>) -> Verdict {
        let Counts { served, at_fault, slack } = *self;
        let seen = reported as f64 / served.max(1) as f64;
        let near =
            (seen / rate - 1.0).abs() < 0.1 || reported.abs_diff((served as f64 * rate) as u64) <= slack;
        Verdict {
            good: reported > 0
                && reported.abs_diff(at_fault) <= slack
                && near
                && gate(Gate::G4) == Some(Validity::Invalid),
            line: format!(
                "{at_fault} of {served} answers at fault, {reported} reported ({:.2} %)",
                seen * 100.0
            ),
        }
    }
}

/// Checks that a tenth of the connections and of the probes is reported as never answered.
fn weigh_silence(
    truth: u64,
    cell: &Cell,
    load: &Load,
    probe: &RawProbe,
    gate: impl Fn(Gate) -> Option<Validity>,
) -> Verdict {
    let (stalled, timeouts, kept) =
        (load.failures.stalled, probe.fresh.errors.timeout, probe.kept.errors.timeout);
    let share = stalled as f64 / f64::from(cell.opened());
    let probes = timeouts as f64 / probe.intended.max(1) as f64;
    let is_a_tenth = |share: f64| (0.07..=0.13).contains(&share);
    // A tenth of the connections of the warm-up was silent too.
    let truth = truth.saturating_sub(u64::from(cell.opened() / 10));
    Verdict {
        good: (stalled + timeouts + kept).abs_diff(truth) <= 2
            && is_a_tenth(share)
            && is_a_tenth(probes)
            && gate(Gate::G4) == Some(Validity::Invalid),
        line: format!(
            "{truth} connections never answered, reported {stalled} of {}, {timeouts} of {} probes on new \
             connections, {kept} kept connections",
            cell.opened(),
            probe.intended
        ),
    }
}

/// Checks that every connection beyond the pool counts as failed. Probes take places of the pool too.
fn weigh_starvation(cell: &Cell, load: &Load, gate: impl Fn(Gate) -> Option<Validity>) -> Verdict {
    let (stalled, opened) = (load.failures.stalled, u64::from(cell.opened()));
    Verdict {
        good: stalled >= opened - POOL as u64
            && stalled <= opened
            && gate(Gate::G4) == Some(Validity::Invalid),
        line: format!(
            "{stalled} of {opened} connections reported as never answered; {POOL} workers hold a connection each"
        ),
    }
}

/// Checks that a fifth of the probes is slow, and that the slowest probe waits for the whole pause of 500 ms.
fn weigh_pause(probe: &RawProbe) -> Verdict {
    let total_us = &probe.fresh.total_us;
    let slow = total_us.count_from(100_000) as f64 / total_us.count().max(1) as f64;
    let longest = total_us.max() as f64 / 1e3;
    Verdict {
        good: (0.14..=0.24).contains(&slow) && (400.0..=700.0).contains(&longest),
        line: format!(
            "{:.0} % of the probes took 100 ms and more (20 % are true), {longest:.0} ms the longest",
            slow * 100.0
        ),
    }
}
