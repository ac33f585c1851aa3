//! The gates decide whether a number can be trusted. Every gate answers valid, note or invalid. A note and an invalid
//! result have a reason. No cell is left out silently.

use std::collections::BTreeMap;

use itertools::Itertools;
use statrs::statistics::Statistics;

use crate::judge::record::{Gate, Judged, Load, Record, Validity, load, parse_strace};
use crate::judge::stats::{Ratio, Verdict, jain};
use crate::plans::model::{Cell, What};
use crate::plans::targets::{AGAIN, THREAD};
use crate::run::handshakes::Shaken;
use crate::run::raw::{Found, Raw, RawHandshakes, RawSystem, Role};

use Validity::{Invalid, Note, Valid};

const VALID: Judged = (Valid, String::new());

/// Returns invalid above `invalid`, a note above `note`, else valid.
fn above(value: f64, note: f64, invalid: f64, reason: String) -> Judged {
    match value {
        v if v > invalid => (Invalid, reason),
        v if v > note => (Note, reason),
        _ => VALID,
    }
}

/// Judges a cell by every gate that needs this cell only. [`across`] has the others.
pub(crate) fn judge(mut raw: Raw) -> Record {
    if matches!(&raw.found, Found::Syscalls { strace, .. } if parse_strace(strace).is_empty()) {
        raw.found = Found::Failed("strace wrote no table".into());
    }
    let mut record = Record { raw, gates: BTreeMap::new() };
    record.gates = match (&record.found, load(&record)) {
        (_, Some(load)) => results([
            (Gate::G1, Some(connections(load.cell))),
            (Gate::G2, Some(starvation(&load))),
            (Gate::G3, Some(conservation(&load))),
            (Gate::G4, Some(failures(&load))),
            (Gate::G5, Some(generator(&load))),
            (Gate::G7, Some(host(&load.system))),
            (Gate::G8, steady(&load)),
            (Gate::G10, Some(bodies(&load))),
        ]),
        (Found::Handshakes(found), _) => handshakes(found),
        _ => BTreeMap::new(),
    };
    record
}

/// Drops the gates without a verdict.
fn results<const N: usize>(judged: [(Gate, Option<Judged>); N]) -> BTreeMap<Gate, Judged> {
    judged.into_iter().filter_map(|(gate, judged)| Some((gate, judged?))).collect()
}

fn connections(cell: &Cell) -> Judged {
    let (asked, opened, threads) = (cell.connections, cell.opened(), cell.threads);
    let each = opened / threads;
    let said = format!("wrk opened {opened} connections, not {asked}: {each} on each of {threads} threads");
    above(f64::from(asked - opened), 0.0, f64::INFINITY, said)
}

/// Compares the connections with each other. A connection is starved when others get more than ten times as much.
/// Little's law alone does not show it: wrk's mean misses the answers that wrk corrects away, and the time to connect.
fn starvation(load: &Load<'_>) -> Judged {
    let Some(answers) = load.per_connection().filter(|answers| answers.len() > 10) else {
        return if load.cell.keep_alive {
            (Note, "the answers per connection are not known".into())
        } else {
            VALID
        };
    };
    let at = |fraction: f64| answers[(fraction * (answers.len() - 1) as f64).round() as usize];
    let (tenth, median) = (at(0.1), at(0.5));
    let jain = jain(&answers).unwrap_or(0.0);
    let is_severe = tenth * 10 < median || jain < 0.5;
    let verdict = match (is_severe, median < FEW_ANSWERS) {
        (true, true) => Note,
        (true, false) => Invalid,
        (false, false) if jain < 0.8 => Note,
        (false, _) => return VALID,
    };
    let mean_us = load.client.latency_us.get("mean").copied().flatten().unwrap_or(0.0);
    let said = format!(
        "the slowest tenth of the connections got at most {tenth} answers, the median {median} (Jain's index \
         {jain:.2}); rate x wrk's mean latency gives {:.0} of {} connections at work",
        load.requests_per_second() * mean_us / 1e6,
        load.cell.opened()
    );
    (verdict, said)
}

/// With fewer answers per connection, the start of wrk's many threads alone makes the connections uneven. A connection
/// without any answer still counts as failed (gate G4).
const FEW_ANSWERS: u64 = 20;

/// Compares the counts of client, target and backends over the whole life of the target, with the warm-up and the probes.
/// The request that checks the body before the warm-up counts as a request of the client.
fn conservation(load: &Load<'_>) -> Judged {
    // The end of a run may cut off one request on each connection.
    let warm = load.warm.iter().map(|run| (run, load.cell.warm_up().opened()));
    let runs: Vec<_> = warm.chain([(&load.client, load.cell.opened())]).collect();
    let probes = [&load.probe.fresh, &load.probe.kept];
    let answered = 1
        + runs.iter().map(|(run, _)| run.requests).sum::<u64>()
        + probes.map(|times| times.total_us.len() + times.errors.status).iter().sum::<u64>();
    let cut = runs.iter().map(|(run, opened)| u64::from(*opened) + run.errors.broken()).sum::<u64>();
    let slack = cut + probes.map(|times| times.errors.total()).iter().sum::<u64>();
    let backends = load.programs.backends.as_ref().filter(|_| load.what == What::Balancer);
    let counts = [("the target", load.programs.target.as_ref()), ("the backends", backends)];
    let known = counts.iter().filter_map(|(who, counters)| Some((who, counters.as_ref()?.total("served")?)));
    let known: Vec<_> = known.collect();
    match known.iter().find(|(_, served)| served.abs_diff(answered) > slack + 2) {
        _ if known.is_empty() => (Note, "nobody but the client counted".into()),
        Some((who, served)) => (Invalid, format!("the client got {answered} answers, {who} served {served}")),
        None => VALID,
    }
}

/// A connection without any answer is only one failed request, but a lost client. So such connections have their own
/// limit.
fn failures(load: &Load<'_>) -> Judged {
    let (failures, opened) = (load.failures(), load.cell.opened());
    let (failed, stalled) = (failures.total(), failures.stalled);
    if stalled as f64 / f64::from(opened.max(1)) > 0.001 {
        return (Invalid, format!("{stalled} of {opened} connections were never answered"));
    }
    let share = failed as f64 / (load.client.requests + failed).max(1) as f64;
    above(share, 0.0, 0.001, format!("{failed} failed ({:.2} %)", share * 100.0))
}

/// Judges requests beside handshakes.
fn handshakes(found: &RawHandshakes) -> BTreeMap<Gate, Judged> {
    let Shaken { wanted, made, failed, ref reason } = found.handshakes;
    let (requests, intended) = (found.requests.errors.total(), found.intended);
    let share = (failed + requests) as f64 / (wanted + intended).max(1) as f64;
    let why = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let said = format!("{failed} of {wanted} handshakes and {requests} of {intended} requests failed{why}");
    let failures = above(share, 0.0, 0.001, said);
    let missed = wanted.saturating_sub(made) as f64 / wanted.max(1) as f64;
    let rate = above(missed, 0.01, 0.1, format!("only {made} of {wanted} handshakes were made in time"));
    results([(Gate::G4, Some(failures)), (Gate::G5, Some(rate)), (Gate::G7, Some(host(&found.system)))])
}

fn generator(load: &Load<'_>) -> Judged {
    let system = &load.system;
    let client = system.cpu_s(Role::Client).unwrap_or(0.0);
    let share = client / (system.seconds * f64::from(load.cell.threads).min(system.cpus as f64));
    let said = format!("wrk used {:.0} % of the CPU that its threads can have", share * 100.0);
    above(share, f64::INFINITY, 0.85, said)
}

fn host(system: &RawSystem) -> Judged {
    let percent = |seconds: f64| seconds / system.all_s().max(1e-9) * 100.0;
    let (steal, foreign) = (percent(system.host_s(|host| host.steal_ticks)), percent(system.foreign_s()));
    let swapped = system.host(|host| host.swapped_pages);
    let dropped = system.host(|host| host.listen_overflows).max(system.host(|host| host.listen_drops));
    let full = format!("a full listen queue dropped {dropped} connections");
    let checks = [
        above(steal, 1.0, 5.0, format!("{steal:.1} % of the CPU was stolen by other machines")),
        above(foreign, 5.0, 10.0, format!("other programs used {foreign:.1} % of the CPU")),
        above(swapped as f64, 0.0, 1000.0, format!("{swapped} pages were swapped")),
        above(dropped as f64, 0.0, f64::INFINITY, full),
    ];
    let worst = checks.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Valid);
    let reasons = checks.into_iter().map(|(_, reason)| reason).filter(|reason| !reason.is_empty());
    (worst, reasons.collect::<Vec<_>>().join("; "))
}

/// A shorter cell has too few whole seconds for a verdict about its steadiness. Gate G9 compares its blocks.
const STEADY_S: f64 = 4.0;

/// Compares the mean rates of the two halves of a run. The rates are per whole second.
fn steady(load: &Load<'_>) -> Option<Judged> {
    let counters = load.programs.target.as_ref().or(load.programs.backends.as_ref());
    let rates = counters.map(|counters| counters.rates(load.seconds())).into_iter().flatten();
    let rates: Vec<f64> = rates.map(|(_, rate)| rate).collect();
    if rates.contains(&0.0) {
        return Some((Invalid, "there was a second without an answer".into()));
    }
    if rates.len() < 2 {
        return (load.cell.seconds >= STEADY_S).then(|| (Note, "nobody counted by the second".into()));
    }
    let half = rates.len() / 2;
    let (first, second) = (rates[..half].mean(), rates[rates.len() - half..].mean());
    let drift = (second / first).ln().abs();
    Some(above(drift, 0.05, 0.2, format!("the halves differ: {first:.0} and {second:.0} requests/s")))
}

fn bodies(load: &Load<'_>) -> Judged {
    let (errors, probes) = (load.probe.errors(), 2 * load.probe.intended);
    let (wrong, failed) = (errors.truncated + errors.corrupt, errors.total());
    if wrong > 0 {
        let [fresh, kept] = [&load.probe.fresh, &load.probe.kept].map(|times| times.difference.as_ref());
        let difference = fresh.or(kept).map_or_else(String::new, |said| format!(": {said}"));
        return (Invalid, format!("{wrong} of {probes} probes got a wrong body{difference}"));
    }
    above(failed as f64 / probes.max(1) as f64, 0.0, 0.01, format!("{failed} of {probes} probes failed"))
}

/// Evaluates the gates that need other cells. The keys are the cells' `seq`.
pub(crate) fn across(records: &[Record]) -> BTreeMap<usize, BTreeMap<Gate, Judged>> {
    let loads = records.iter().filter_map(load);
    let direct = loads.clone().filter(|load| load.what == What::Server && load.cell.delay_ms == 0);
    let direct: Vec<Load<'_>> = direct.collect();
    let alike = loads.into_group_map_by(|load| (load.cell.section, load.cell.load()));
    let mut found = BTreeMap::new();
    for alike in alike.values() {
        let control = control(alike);
        let rates = alike.iter().map(|load| (&load.cell.target, load.requests_per_second())).into_group_map();
        for load in alike {
            let gates = results([
                (Gate::G6, ceiling(load, &direct)),
                (Gate::G9, repeatable(&rates[&load.cell.target])),
                (Gate::G11, control.clone()),
            ]);
            found.insert(load.cell.seq, gates);
        }
    }
    found
}

/// Compares the rate of a balancer with the best direct rate for the same file and the same kind of connections. If
/// possible, the number of connections is the same too. A cell with a delayed backend has no ceiling.
fn ceiling(load: &Load<'_>, direct: &[Load<'_>]) -> Option<Judged> {
    let cell = load.cell;
    if load.what == What::Server || cell.delay_ms > 0 {
        return None;
    }
    let is_alike = |c: &Cell| c.path == cell.path && c.keep_alive == cell.keep_alive;
    let alike = direct.iter().filter(|direct| is_alike(direct.cell));
    // The same number of connections first, then the higher rate.
    let of = |direct: &Load<'_>| (direct.cell.connections == cell.connections, direct.requests_per_second());
    let (_, most) = alike.map(of).max_by(|(a, x), (b, y)| a.cmp(b).then(x.total_cmp(y)))?;
    let share = load.requests_per_second() / most;
    let said = format!("{:.0} % of the direct rate: client or servers are the limit", share * 100.0);
    Some(above(share, 0.8, 0.95, said))
}

/// Compares the rates of the same measurement in all blocks.
fn repeatable(rates: &[f64]) -> Option<Judged> {
    let variation = rates.std_dev() / rates.mean();
    let said = format!("{} repetitions vary by {:.0} %", rates.len(), variation * 100.0);
    (rates.len() > 1).then(|| above(variation, 0.15, 0.3, said))
}

/// Evaluates the control of a load: the thread engine against itself, block by block.
fn control(alike: &[Load<'_>]) -> Option<Judged> {
    let of = |target: &'static str| alike.iter().filter(move |load| load.cell.target == target);
    let ratio = |again: &Load<'_>| {
        let thread = of(THREAD).find(|thread| thread.cell.block == again.cell.block)?;
        Some(again.requests_per_second() / thread.requests_per_second())
    };
    let ratio = Ratio::of_blocks(of(AGAIN).filter_map(ratio))?;
    let (low, high) = ratio.interval?;
    match ratio.verdict() {
        Verdict::TooFew => None,
        Verdict::Within(_) => Some(VALID),
        _ => Some((Note, format!("the same engine twice differs: {low:.3} to {high:.3}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::record::GATES;
    use crate::plans::build::ordinary as cell;
    use crate::plans::model::Section;
    use crate::run::histogram::Histogram;
    use crate::run::sockets::RawSockets;

    /// A load that passes every gate: 100 connections, 10000 requests/s of 10 ms each, on an idle machine.
    fn good() -> Value {
        let mut raw: Value = serde_json::from_str(include_str!("good_load.json")).unwrap();
        raw["cell"] = json!(cell("thread"));
        let (received, silent_ms) = (Histogram::of(&[400; 101]), Histogram::default());
        raw["found"]["load"]["sockets"] = json!(RawSockets { received, silent_ms, unopened: 0 });
        raw
    }

    fn judged(raw: Value) -> Record {
        judge(serde_json::from_value(raw).unwrap())
    }

    /// A change of the good load or its cell, and the verdict of one gate about it.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        #[serde(default, rename = "why")]
        _why: String,
        gate: Gate,
        /// None when the gate has no verdict.
        verdict: Option<Validity>,
        /// A part of the reason.
        #[serde(default)]
        reason: String,
        /// New values by their JSON pointers.
        #[serde(default)]
        set: BTreeMap<String, Value>,
        /// Answers per connection: (number of quantiles, answers).
        #[serde(default)]
        answers: Vec<(usize, u64)>,
    }

    #[test]
    fn each_gate_has_its_description_and_its_reason() {
        assert_eq!(GATES.len(), Gate::G11 as usize + 1);
        let cases: Vec<Case> = serde_json::from_str(include_str!("gate_cases.json")).unwrap();
        assert_eq!(cases.len(), 25);
        for case in cases {
            let mut changed = good();
            for (pointer, value) in &case.set {
                *changed.pointer_mut(pointer).unwrap() = value.clone();
            }
            if !case.answers.is_empty() {
                // An answer has one byte.
                let received = case.answers.iter().flat_map(|&(n, answers)| vec![answers; n]).collect_vec();
                changed["found"]["load"]["sockets"]["received"] = json!(Histogram::of(&received));
            }
            let gates = judged(changed).gates;
            let result = gates.get(&case.gate);
            assert_eq!(result.map(|(verdict, _)| *verdict), case.verdict, "{case:?}: {gates:?}");
            assert!(result.is_none_or(|(_, said)| said.contains(&case.reason)), "{case:?}: {gates:?}");
            // A shorter cell without a verdict about its steadiness has no other fault.
            assert!(result.is_some() || gates.values().all(|judged| *judged == VALID), "{gates:?}");
        }
        let mut record = judged(good());
        assert_eq!(record.validity(), Valid, "{record:?}");
        record.raw.found = Found::Failed(String::new());
        assert_eq!(record.validity(), Invalid);
    }

    fn record(seq: usize, target: &str, block: usize, requests: u64) -> Record {
        let mut raw = good();
        raw["cell"] = json!(Cell { seq, block, section: Section::Assignment, ..cell(target) });
        raw["what"] = json!(if target == "direct" { What::Server } else { What::Balancer });
        raw["found"]["load"]["client"]["requests"] = json!(requests);
        judged(raw)
    }

    /// Targets with their block and their requests per second. Expected of some of them: the verdict of one gate.
    type Across<'a> = (Gate, &'a [(&'a str, usize, u64)], &'a [(usize, Option<Validity>)]);

    #[test]
    fn a_cell_is_held_against_the_direct_rate_its_repetitions_and_the_control() {
        let pairs = |again: &[u64]| {
            let pair = |(b, rate): (usize, &u64)| [("thread", b, 1000), ("thread-again", b, *rate)];
            again.iter().enumerate().flat_map(pair).collect::<Vec<_>>()
        };
        let repeated =
            [("thread", 0, 100), ("thread", 1, 140), ("async", 0, 100), ("async", 1, 101), ("again", 0, 1)];
        let cases: [Across<'_>; 8] = [
            (Gate::G6, &[("direct", 0, 100_000), ("thread", 0, 50_000)], &[(0, None), (1, Some(Valid))]),
            (Gate::G6, &[("direct", 0, 100_000), ("thread", 0, 90_000)], &[(0, None), (1, Some(Note))]),
            (Gate::G6, &[("direct", 0, 100_000), ("thread", 0, 99_000)], &[(0, None), (1, Some(Invalid))]),
            (Gate::G6, &[("thread", 0, 5)], &[(0, None)]),
            (Gate::G9, &repeated, &[(0, Some(Note)), (1, Some(Note)), (2, Some(Valid)), (4, None)]),
            // The control needs blocks, and its interval must contain 1.
            (Gate::G11, &pairs(&[1100; 3]), &[(0, None)]),
            (Gate::G11, &pairs(&[1100, 1101, 1102, 1103, 1104, 1105]), &[(0, Some(Note))]),
            (Gate::G11, &pairs(&[990, 995, 1000, 1005, 1010, 1015]), &[(0, Some(Valid))]),
        ];
        for (gate, rates, expected) in cases {
            let cells = rates.iter().enumerate();
            let records = cells.map(|(seq, &(target, block, rate))| record(seq, target, block, rate));
            let found = across(&records.collect_vec());
            for (seq, verdict) in expected {
                let result = found[seq].get(&gate).map(|(verdict, _)| *verdict);
                assert_eq!(result, *verdict, "{gate:?} {seq}: {rates:?}");
            }
        }
    }
}
