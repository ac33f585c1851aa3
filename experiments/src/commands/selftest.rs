//! The self-test of the laboratory. It measures servers with a known fault, and the laboratory must report the true
//! rate of each fault. For a server without a fault the laboratory must report nothing.

use crate::commands::mark;
use crate::judge::gates;
use crate::judge::record::{Gate, Validity, load};
use crate::plans::build::{FILES, ordinary};
use crate::plans::model::{Cell, Section, Target, What};
use crate::plans::targets::simple;
use crate::run::faulty::{Fault, POOL};
use crate::run::histogram::Histogram;
use crate::run::lab::{self, Trouble};
use crate::run::raw::Raw;

const CONNECTIONS: u32 = 50;

/// The faults: one of this number of answers or connections has the fault.
const FAULTS: [(Fault, u64); 7] = [
    (Fault::None, 1),
    (Fault::Status, 100),
    (Fault::Truncate, 100),
    (Fault::Silent, 10),
    (Fault::Pause, 1),
    (Fault::Close, 20),
    (Fault::Starve, 1),
];

/// Measures every fault. Returns true when all were reported correctly.
pub(crate) fn run() -> Result<bool, Trouble> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    // This program is the server, so it takes the place of the balancer.
    lab::with(&this, |lab| {
        let mut all_good = true;
        for (fault, every) in FAULTS {
            let (name, (path, body_bytes)) = (fault.name(), FILES[1]);
            let options = format!("--fault {name} --every {every} --body {{root}}/{path} --stats {{stats}}");
            let server = simple(&name, &format!("{{neraca}} faulty {options}"));
            let cell = Cell {
                section: Section::Servers,
                connections: CONNECTIONS,
                path: path.into(),
                body_bytes,
                seconds: if fault == Fault::Pause { 4.0 } else { 3.0 },
                ..ordinary(&name)
            };
            let raw = lab.measure(&Target { what: What::Server, ..server }, &cell)?;
            let (good, line) = judge(fault, 1.0 / every as f64, raw)?;
            println!("{name:<8} {:<4} {line}", mark(good));
            all_good &= good;
        }
        Ok(all_good)
    })
}

/// Compares the reported faults with the true ones, which are this share. Returns true when they agree, and a line about
/// both.
fn judge(fault: Fault, share: f64, raw: Raw) -> Result<(bool, String), String> {
    let record = gates::judge(raw);
    let load = load(&record).ok_or_else(|| format!("{}: {:?}", fault.name(), record.found))?;
    let counter = |name: &str| load.programs.target.as_ref().and_then(|t| t.total(name)).unwrap_or(0);
    let opened = u64::from(record.cell.opened());
    let (served, at_fault) = (counter("served"), counter("at_fault"));
    let has = |gate, verdict| record.gates.get(&gate).is_some_and(|(found, _)| *found == verdict);
    // A server counts its faults from its start, so the errors of the warm-up count too.
    let failures = load.warm.iter().fold(record.failures(), |sum, warm| sum + warm.errors);
    let (stalled, errors, fresh) = (failures.stalled, load.probe.errors(), &load.probe.fresh);
    // The reported faults must be the true faults, at this share of the answers.
    let rate = |reported: u64| {
        // Requests may be in flight when the client stops, so the counts may differ by this number.
        let slack = 2 * opened + 2;
        let is_near = |n: u64| reported.abs_diff(n) <= slack;
        let seen = reported as f64 / served.max(1) as f64;
        let has_share = (seen / share - 1.0).abs() < 0.1 || is_near((served as f64 * share) as u64);
        let (good, percent) = (reported > 0 && is_near(at_fault) && has_share, seen * 100.0);
        (good, format!("{at_fault} of {served} answers at fault, {reported} reported ({percent:.2} %)"))
    };
    let (good, said) = match fault {
        Fault::None => {
            let (failed, probes) = (failures.total(), errors.total());
            let passes = |gate| has(gate, Validity::Valid);
            let pass = [Gate::G1, Gate::G3, Gate::G4, Gate::G10].into_iter().all(passes);
            let said = format!("{served} answers, {failed} failures and {probes} failed probes reported");
            return Ok((pass && failed + probes == 0 && served > 0, said));
        }
        Fault::Pause => return Ok(pauses(&fresh.total_us)),
        Fault::Status => rate(failures.status + errors.status),
        Fault::Truncate => rate(failures.read + errors.truncated),
        Fault::Close => rate(failures.read + failures.write + errors.read),
        // Every connection beyond the pool counts as failed. Probes take places of the pool too.
        Fault::Starve => {
            let said = format!("{stalled} of {opened} connections reported as never answered");
            let said = format!("{said}; {POOL} workers hold a connection each");
            ((opened - POOL as u64..=opened).contains(&stalled), said)
        }
        // A tenth of the connections and of the probes is never answered.
        Fault::Silent => {
            let (intended, kept) = (load.probe.intended, load.probe.kept.errors.timeout);
            let probes = fresh.errors.timeout;
            let is_a_tenth = |n: u64, of: u64| (0.07..=0.13).contains(&(n as f64 / of.max(1) as f64));
            // A tenth of the connections of the warm-up was silent too.
            let truth = at_fault.saturating_sub(opened / 10);
            let good = (stalled + probes + kept).abs_diff(truth) <= 2;
            let said = format!(
                "{truth} connections never answered, reported {stalled} of {opened}, {probes} of {intended} \
                 probes on new connections, {kept} kept connections"
            );
            (good && is_a_tenth(stalled, opened) && is_a_tenth(probes, intended), said)
        }
        Fault::Slow => (false, "is not measured".into()),
    };
    Ok((good && has(Gate::G4, Validity::Invalid), said))
}

/// Checks that a fifth of the probes is slow, and that the slowest probe waits for the whole pause of 500 ms. A laboratory
/// that sends a probe only after the answer to the last one would report 1 %. A machine that stalls adds its own stalls, so
/// there is room above the fifth: one stall of 500 ms adds up to 12 %.
fn pauses(total_us: &Histogram) -> (bool, String) {
    let slow = total_us.count_from(100_000) as f64 / total_us.len().max(1) as f64;
    let longest = total_us.max() as f64 / 1e3;
    let good = (0.14..=0.4).contains(&slow) && (400.0..=2000.0).contains(&longest);
    let percent = slow * 100.0;
    let said = format!("{percent:.0} % of the probes took 100 ms and more (20 % are true)");
    (good, format!("{said}, {longest:.0} ms the longest"))
}
