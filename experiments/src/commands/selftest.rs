//! The self-test of the laboratory. It measures servers with a known fault, and the laboratory must report the true
//! rate of each fault. For a server without a fault the laboratory must report nothing.

use std::sync::atomic::AtomicBool;

use crate::commands::{mark, name};
use crate::judge::derive::derive;
use crate::judge::record::{Failures, Measured};
use crate::judge::verdict::{Gate, GateResult, Validity};
use crate::plans::build::{FILES, ordinary};
use crate::plans::model::{Cell, Section, Target, What};
use crate::plans::targets::simple;
use crate::run::faulty::{Fault, POOL};
use crate::run::lab::{self, Stopped};
use crate::run::probe::{ProbeErrors, RawProbe};
use crate::run::raw::{Found, Raw};

const CONNECTIONS: u32 = 50;

/// Measures every fault. Returns true when all were reported correctly.
pub(crate) fn run(stop: &AtomicBool) -> Result<bool, Stopped> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    // This program is the server, so it takes the place of the balancer.
    lab::with(&this, stop, |lab| {
        let mut all_good = true;
        for fault in Fault::MEASURED {
            let raw = lab.measure(&target(fault), &cell(fault))?;
            let (good, line) = judge(fault, &raw)?;
            println!("{:<8} {:<4} {line}", name(fault), mark(good));
            all_good &= good;
        }
        Ok(all_good)
    })
}

fn target(fault: Fault) -> Target {
    let line =
        format!("{{neraca}} faulty --fault {} --body {{root}}/{} --stats {{stats}}", name(fault), FILES[1].0);
    Target { what: What::Server, ..simple(&name(fault), &line, None) }
}

fn cell(fault: Fault) -> Cell {
    let (path, body_bytes) = FILES[1];
    Cell {
        section: Section::Servers,
        connections: CONNECTIONS,
        path: path.into(),
        body_bytes,
        seconds: if fault == Fault::Pause { 4.0 } else { 3.0 },
        ..ordinary(&name(fault))
    }
}

/// True when the reported faults are the true faults, and a line about both.
type Verdict = (bool, String);

/// The true and the reported faults of a server.
struct Faults<'a> {
    /// Answers of the server, and those of them at fault.
    served: u64,
    at_fault: u64,
    /// Connections of the client.
    opened: u64,
    /// The reported failures, and the errors of all probes.
    failures: Failures,
    errors: ProbeErrors,
    probe: &'a RawProbe,
    gates: &'a [GateResult],
}

fn judge(fault: Fault, raw: &Raw) -> Result<Verdict, String> {
    let record = derive(raw);
    let (Measured::Load(load), Found::Load(found)) = (&record.measured, &raw.found) else {
        return Err(format!("{}: {:?}", name(fault), record.measured));
    };
    let mut failures = load.failures;
    // A server counts its faults from its start, so the errors of the warm-up count too.
    if let Some(warm) = &found.warm {
        failures.read += warm.errors.read;
        failures.write += warm.errors.write;
        failures.status += warm.errors.status;
    }
    let counter = |name: &str| load.target.as_ref().and_then(|t| t.whole.get(name)).copied().unwrap_or(0);
    let faults = Faults {
        served: counter("served"),
        at_fault: counter("at_fault"),
        opened: u64::from(record.cell.opened()),
        failures,
        errors: load.probe.errors,
        probe: &found.probe,
        gates: &record.gates,
    };
    Ok(faults.weigh(fault))
}

impl Faults<'_> {
    fn weigh(&self, fault: Fault) -> Verdict {
        let (failures, errors) = (&self.failures, &self.errors);
        match fault {
            Fault::None => self.weigh_none(),
            Fault::Status => self.weigh_rate(failures.status + errors.status, 0.01),
            Fault::Truncate => self.weigh_rate(failures.read + errors.truncated, 0.01),
            Fault::Close => self.weigh_rate(failures.read + failures.write + errors.read, 0.05),
            Fault::Starve => self.weigh_starvation(),
            Fault::Silent => self.weigh_silence(),
            Fault::Pause => self.weigh_pause(),
            _ => (false, "is not measured".into()),
        }
    }

    fn has(&self, gate: Gate, verdict: Validity) -> bool {
        self.gates.iter().any(|result| result.gate == gate && result.verdict == verdict)
    }

    /// Checks that nothing is reported.
    fn weigh_none(&self) -> Verdict {
        let (served, failures, errors) = (self.served, self.failures.total(), self.errors.total());
        let passes = |gate| self.has(gate, Validity::Valid);
        let good = failures + errors == 0 && served > 0;
        (
            good && [Gate::G1, Gate::G3, Gate::G4, Gate::G10].into_iter().all(passes),
            format!("{served} answers, {failures} failures and {errors} failed probes reported"),
        )
    }

    /// Checks that the reported faults are the true faults, at this rate, and that gate G4 fails.
    fn weigh_rate(&self, reported: u64, rate: f64) -> Verdict {
        let (served, at_fault) = (self.served, self.at_fault);
        // Requests may be in flight when the client stops, so the counts may differ by this number.
        let slack = 2 * self.opened + 2;
        let is_near = |n: u64| reported.abs_diff(n) <= slack;
        let seen = reported as f64 / served.max(1) as f64;
        let has_rate = (seen / rate - 1.0).abs() < 0.1 || is_near((served as f64 * rate) as u64);
        let percent = seen * 100.0;
        (
            reported > 0 && is_near(at_fault) && has_rate && self.has(Gate::G4, Validity::Invalid),
            format!("{at_fault} of {served} answers at fault, {reported} reported ({percent:.2} %)"),
        )
    }

    /// Checks that a tenth of the connections and of the probes is reported as never answered.
    fn weigh_silence(&self) -> Verdict {
        let (opened, stalled, intended) = (self.opened, self.failures.stalled, self.probe.intended);
        let [fresh, kept] = [&self.probe.fresh, &self.probe.kept].map(|times| times.errors.timeout);
        let is_a_tenth = |n: u64, of: u64| (0.07..=0.13).contains(&(n as f64 / of.max(1) as f64));
        // A tenth of the connections of the warm-up was silent too.
        let truth = self.at_fault.saturating_sub(opened / 10);
        let good = (stalled + fresh + kept).abs_diff(truth) <= 2 && self.has(Gate::G4, Validity::Invalid);
        (
            good && is_a_tenth(stalled, opened) && is_a_tenth(fresh, intended),
            format!(
                "{truth} connections never answered, reported {stalled} of {opened}, {fresh} of {intended} probes on \
                 new connections, {kept} kept connections"
            ),
        )
    }

    /// Checks that every connection beyond the pool counts as failed. Probes take places of the pool too.
    fn weigh_starvation(&self) -> Verdict {
        let (stalled, opened) = (self.failures.stalled, self.opened);
        let good = (opened - POOL as u64..=opened).contains(&stalled);
        let said = "connections reported as never answered";
        (
            good && self.has(Gate::G4, Validity::Invalid),
            format!("{stalled} of {opened} {said}; {POOL} workers hold a connection each"),
        )
    }

    /// Checks that a fifth of the probes is slow, and that the slowest probe waits for the whole pause of 500 ms.
    fn weigh_pause(&self) -> Verdict {
        let total_us = &self.probe.fresh.total_us;
        let slow = total_us.count_from(100_000) as f64 / total_us.count().max(1) as f64;
        let longest = total_us.max() as f64 / 1e3;
        let said = format!("probes took 100 ms and more (20 % are true), {longest:.0} ms the longest");
        (
            (0.14..=0.24).contains(&slow) && (400.0..=700.0).contains(&longest),
            format!("{:.0} % of the {said}", slow * 100.0),
        )
    }
}
