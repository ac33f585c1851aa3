//! The gates decide whether a number can be trusted. Every gate answers valid, note or invalid. A note and an invalid
//! result have a reason. No cell is left out silently.

use std::collections::BTreeMap;

use crate::judge::record::{Load, Measured, Record};
use crate::judge::stats::{Ratio, Verdict, jain};
use crate::judge::verdict::{Gate, GateResult, Validity};
use crate::plans::model::{Cell, What, Work};
use crate::plans::targets::{AGAIN, THREAD};
use crate::run::raw::Role;

use Validity::{Invalid, Note, Valid};

/// Verdict and reason, still without the gate's name.
type Judged = (Validity, String);

fn valid() -> Judged {
    (Valid, String::new())
}

/// Returns invalid above `invalid`, a note above `note`, else valid.
fn above(value: f64, note: f64, invalid: f64, reason: impl FnOnce() -> String) -> Judged {
    match value {
        v if v > invalid => (Invalid, reason()),
        v if v > note => (Note, reason()),
        _ => valid(),
    }
}

/// Evaluates every gate that needs one cell only.
pub(crate) fn judge(cell: &Cell, measured: &Measured) -> Vec<GateResult> {
    let Measured::Load(load) = measured else { return Vec::new() };
    let judged = [
        (Gate::G1, Some(connections(cell))),
        (Gate::G2, Some(starvation(cell, load))),
        (Gate::G3, Some(conservation(load))),
        (Gate::G4, Some(failures(cell, load))),
        (Gate::G5, Some(generator(cell, load))),
        (Gate::G7, Some(host(load))),
        (Gate::G8, steady(cell, load)),
        (Gate::G10, Some(bodies(load))),
    ];
    let known = judged.into_iter().filter_map(|(gate, judged)| Some((gate, judged?)));
    known.map(|(gate, (verdict, reason))| GateResult { gate, verdict, reason }).collect()
}

/// Returns the worst verdict. A cell without numbers is invalid.
pub(crate) fn validity(gates: &[GateResult], measured: &Measured) -> Validity {
    let worst = gates.iter().map(|gate| gate.verdict).max().unwrap_or(Valid);
    if matches!(measured, Measured::Failed { .. }) { Invalid } else { worst }
}

fn connections(cell: &Cell) -> Judged {
    let (asked, opened) = (cell.connections, cell.opened());
    if opened == asked {
        return valid();
    }
    (
        Note,
        format!(
            "wrk opened {opened} connections, not {asked}: {} on each of {} threads",
            opened / cell.threads,
            cell.threads
        ),
    )
}

/// Compares the connections with each other. A connection is starved when others get more than ten times as much.
/// Little's law alone does not show it: wrk's mean misses the answers that wrk corrects away, and the time to connect.
fn starvation(cell: &Cell, load: &Load) -> Judged {
    let Some(answers) = load.per_connection.as_ref().filter(|answers| answers.len() > 10) else {
        return if cell.keep_alive {
            (Note, "the answers per connection are not known".into())
        } else {
            valid()
        };
    };
    let at = |fraction| quantile_u64(answers, fraction);
    let (tenth, median) = (at(0.1), at(0.5));
    let jain = jain(answers).unwrap_or(0.0);
    let said = || {
        let mean_us = load.client.latency_us.get("mean").copied().flatten().unwrap_or(0.0);
        format!(
            "the slowest tenth of the connections got at most {tenth} answers, the median {median} (Jain's index \
             {jain:.2}); rate x wrk's mean latency gives {:.0} of {} connections at work",
            load.requests_per_second() * mean_us / 1e6,
            cell.opened()
        )
    };
    let severe = tenth * 10 < median || jain < 0.5;
    match median < FEW_ANSWERS {
        true if severe => (Note, said()),
        false if severe => (Invalid, said()),
        false if jain < 0.8 => (Note, said()),
        _ => valid(),
    }
}

/// With fewer answers per connection, the start of wrk's many threads alone makes the connections uneven. A connection
/// without any answer still counts as failed (gate G4).
const FEW_ANSWERS: u64 = 20;

fn quantile_u64(sorted: &[u64], fraction: f64) -> u64 {
    let at = (fraction * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(0)
}

fn conservation(load: &Load) -> Judged {
    let Some(c) = load.conservation else { return (Note, "nobody but the client counted".into()) };
    let slack = c.slack + 2;
    for (who, served) in [("the target", c.target), ("the backends", c.backends)] {
        if let Some(served) = served.filter(|served| served.abs_diff(c.client) > slack) {
            return (Invalid, format!("the client got {} answers, {who} served {served}", c.client));
        }
    }
    valid()
}

/// A connection without any answer is only one failed request, but a lost client. So such connections have their own
/// limit.
fn failures(cell: &Cell, load: &Load) -> Judged {
    let (failed, stalled) = (load.failures.total(), load.failures.stalled);
    let clients = stalled as f64 / f64::from(cell.opened().max(1));
    if clients > 0.001 {
        return (Invalid, format!("{stalled} of {} connections were never answered", cell.opened()));
    }
    let share = failed as f64 / (load.client.requests + failed).max(1) as f64;
    above(share, 0.0, 0.001, || format!("{failed} failed ({:.2} %)", share * 100.0))
}

fn generator(cell: &Cell, load: &Load) -> Judged {
    let cpu = |role| load.roles.get(&role).map_or(0.0, |used| used.user_s + used.system_s);
    let client = cpu(Role::Client);
    let most = load.host.seconds * f64::from(cell.threads).min(load.host.cpus as f64);
    if client > 0.85 * most {
        return (
            Invalid,
            format!("wrk used {:.0} % of the CPU that its threads can have", client / most * 100.0),
        );
    }
    valid()
}

fn host(load: &Load) -> Judged {
    let host = &load.host;
    let percent = |seconds: f64| seconds / (host.seconds * host.cpus as f64).max(1e-9) * 100.0;
    let (steal, foreign) = (percent(host.steal_s), percent(host.foreign_s));
    let overflows = host.listen_overflows.max(host.listen_drops);
    let checks = [
        above(steal, 1.0, 5.0, || format!("{steal:.1} % of the CPU was stolen by other machines")),
        above(foreign, 5.0, 10.0, || format!("other programs used {foreign:.1} % of the CPU")),
        above(host.swapped_pages as f64, 0.0, 1000.0, || {
            format!("{} pages were swapped", host.swapped_pages)
        }),
        above(overflows as f64, 0.0, f64::INFINITY, || {
            format!("a full listen queue dropped {overflows} connections")
        }),
    ];
    worst(checks)
}

/// A shorter cell has too few whole seconds for a verdict about its steadiness. Gate G9 compares its blocks.
const STEADY_S: f64 = 4.0;

/// Compares the mean rates of the two halves of a run. The rates are per whole second.
fn steady(cell: &Cell, load: &Load) -> Option<Judged> {
    let counted = load.target.as_ref().or(load.backends.as_ref());
    let rates: Vec<f64> =
        counted.into_iter().flat_map(|counted| &counted.series).map(|(_, rate)| *rate).collect();
    if rates.contains(&0.0) {
        return Some((Invalid, "there was a second without an answer".into()));
    }
    if rates.len() < 2 {
        let said = || (Note, "nobody counted by the second".into());
        return (cell.seconds >= STEADY_S).then(said);
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let half = rates.len() / 2;
    let (first, second) = (mean(&rates[..half]), mean(&rates[rates.len() - half..]));
    let drift = (second / first).ln().abs();
    Some(above(drift, 0.05, 0.2, || format!("the halves differ: {first:.0} and {second:.0} requests/s")))
}

fn bodies(load: &Load) -> Judged {
    let errors = &load.probe.errors;
    let wrong = errors.truncated + errors.corrupt;
    if wrong > 0 {
        let difference = load.probe.difference.as_ref().map_or_else(String::new, |said| format!(": {said}"));
        return (
            Invalid,
            format!("{wrong} of {} probes got a wrong body{difference}", 2 * load.probe.intended),
        );
    }
    let failed = errors.total();
    let share = failed as f64 / (2 * load.probe.intended).max(1) as f64;
    above(share, 0.0, 0.01, || format!("{failed} of {} probes failed", 2 * load.probe.intended))
}

/// Returns the worst verdict, with every reason.
fn worst<const N: usize>(checks: [Judged; N]) -> Judged {
    let verdict = checks.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Valid);
    let reasons: Vec<String> =
        checks.into_iter().map(|(_, reason)| reason).filter(|r| !r.is_empty()).collect();
    (verdict, reasons.join("; "))
}

/// Evaluates the gates that need other cells. The keys are the cells' `seq`; `what` returns what a target does.
pub(crate) fn across(
    records: &[Record],
    what: impl Fn(&str) -> Option<What>,
) -> BTreeMap<usize, Vec<GateResult>> {
    let loads: Vec<(&Cell, &Load)> = records.iter().filter_map(load_of).collect();
    let direct = |cell: &Cell| what(&cell.target) == Some(What::Server) && cell.delay_ms == 0;
    let direct: Vec<(&Cell, &Load)> = loads.iter().copied().filter(|(cell, _)| direct(cell)).collect();
    let mut alike: BTreeMap<_, Vec<(&Cell, &Load)>> = BTreeMap::new();
    for (cell, load) in loads {
        let (Cell { section, connections, threads, delay_ms, keep_alive, body_bytes, .. }, load) =
            (cell, load);
        let key = (section, connections, threads, delay_ms, keep_alive, body_bytes);
        alike.entry(key).or_default().push((cell, load));
    }
    let mut results = BTreeMap::new();
    for alike in alike.values() {
        let control = control(alike);
        let mut repeated: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (cell, load) in alike {
            repeated.entry(&cell.target).or_default().push(load.requests_per_second());
        }
        for (cell, load) in alike {
            let forwards = what(&cell.target) == Some(What::Balancer);
            let judged = [
                (Gate::G6, if forwards { ceiling(cell, load, &direct) } else { None }),
                (Gate::G9, repeatable(&repeated[cell.target.as_str()])),
                (Gate::G11, control.clone()),
            ];
            let known = judged.into_iter().filter_map(|(gate, judged)| Some((gate, judged?)));
            let gates = known.map(|(gate, (verdict, reason))| GateResult { gate, verdict, reason }).collect();
            results.insert(cell.seq, gates);
        }
    }
    results
}

fn load_of(record: &Record) -> Option<(&Cell, &Load)> {
    match &record.measured {
        Measured::Load(load) if record.cell.work == Work::Load => Some((&record.cell, load)),
        _ => None,
    }
}

/// Compares a rate with the best direct rate for the same file and the same kind of connections. If possible, the
/// number of connections is the same too. A cell with a delayed backend has no ceiling.
fn ceiling(cell: &Cell, load: &Load, direct: &[(&Cell, &Load)]) -> Option<Judged> {
    if cell.delay_ms > 0 {
        return None;
    }
    let alike = |other: &Cell| other.path == cell.path && other.keep_alive == cell.keep_alive;
    let best = |same_connections: bool| {
        let matching = direct.iter().filter(|(other, _)| {
            alike(other) && (!same_connections || other.connections == cell.connections)
        });
        matching.map(|(_, load)| load.requests_per_second()).max_by(f64::total_cmp)
    };
    let most = best(true).or_else(|| best(false))?;
    let share = load.requests_per_second() / most;
    Some(above(share, 0.8, 0.95, || {
        format!("{:.0} % of the direct rate: client or servers are the limit", share * 100.0)
    }))
}

/// Compares the rates of the same measurement in all blocks.
fn repeatable(rates: &[f64]) -> Option<Judged> {
    if rates.len() < 2 {
        return None;
    }
    let n = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / n;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let cv = variance.sqrt() / mean;
    Some(above(cv, 0.15, 0.3, || format!("{n} repetitions vary by {:.0} %", cv * 100.0)))
}

/// Evaluates the control of a load: the thread engine against itself, block by block.
fn control(alike: &[(&Cell, &Load)]) -> Option<Judged> {
    let of = |target: &'static str| move |(cell, _): &&(&Cell, &Load)| cell.target == target;
    let thread: Vec<_> = alike.iter().filter(of(THREAD)).collect();
    let ratio = |(again, load): &(&Cell, &Load)| {
        let (_, other) = thread.iter().find(|(thread, _)| thread.block == again.block)?;
        Some(load.requests_per_second() / other.requests_per_second())
    };
    let ratios: Vec<f64> = alike.iter().filter(of(AGAIN)).filter_map(ratio).collect();
    let ratio = Ratio::of_blocks(&ratios)?;
    match ratio.verdict() {
        Verdict::TooFew => None,
        Verdict::Within(_) => Some(valid()),
        Verdict::Faster(..) | Verdict::Slower(..) => {
            let (low, high) = ratio.interval?;
            Some((Note, format!("the same engine twice differs: {low:.3} to {high:.3}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::record::{Conservation, Counted, Failures, HostUse, Probe, Use};
    use crate::plans::build::ordinary as cell;
    use crate::run::histogram::Distribution;
    use crate::run::probe::ProbeErrors;
    use crate::run::wrk::{Client, ClientErrors};

    /// A load that passes every gate: 100 connections, 10000 requests/s of 10 ms each, on an idle machine.
    fn good() -> Load {
        let latency_us = BTreeMap::from([("mean".into(), Some(10_000.0))]);
        let rates = vec![(1.0, 10_000.0), (2.0, 10_000.0), (3.0, 10_000.0), (4.0, 10_000.0)];
        let client = Client {
            duration_us: 4_000_000,
            requests: 40_000,
            bytes: 1,
            errors: ClientErrors::default(),
            latency_us,
        };
        let times = Distribution::default();
        Load {
            client,
            probe: Probe {
                rate_hz: 50.0,
                intended: 200,
                ok: 200,
                errors: ProbeErrors::default(),
                connect_us: times.clone(),
                waiting_us: times.clone(),
                total_us: times.clone(),
                kept_waiting_us: times,
                kept_connections: 1,
                difference: None,
            },
            failures: Failures::default(),
            roles: BTreeMap::from([(Role::Client, Use { user_s: 1.0, ..Use::default() })]),
            host: HostUse { seconds: 4.0, cpus: 2, idle_s: 4.0, ..HostUse::default() },
            target: Some(Counted {
                seconds: 3.0,
                during: BTreeMap::new(),
                whole: BTreeMap::new(),
                series: rates,
            }),
            backends: None,
            conservation: Some(Conservation {
                client: 40_000,
                target: Some(40_050),
                backends: None,
                slack: 100,
            }),
            per_connection: Some(vec![400; 101]),
        }
    }

    type Change = fn(&mut Cell, &mut Load);

    #[test]
    fn each_gate_has_its_reason() {
        let cases: [(&str, Gate, Validity, Change); 23] = [
            ("900 connections", Gate::G1, Note, |cell, _| (cell.connections, cell.threads) = (100, 30)),
            ("at most 3 answers", Gate::G2, Invalid, |_, load| {
                load.per_connection = Some([[3; 20].as_slice(), &[400; 81]].concat());
            }),
            ("Jain's index 0.7", Gate::G2, Note, |_, load| {
                load.per_connection = Some([[40; 50].as_slice(), &[200; 51]].concat());
            }),
            // With a few answers per connection, an uneven split is a remark.
            ("at most 1 answers", Gate::G2, Note, |_, load| {
                load.per_connection = Some([[1; 20].as_slice(), &[12; 81]].concat());
            }),
            ("", Gate::G2, Valid, |_, load| {
                load.per_connection = Some([[4; 50].as_slice(), &[19; 51]].concat());
            }),
            ("nobody counted", Gate::G8, Note, |_, load| load.target.as_mut().unwrap().series.truncate(1)),
            ("not known", Gate::G2, Note, |_, load| load.per_connection = None),
            // wrk's mean says that 75 of 100 connections were at work, but all got the same.
            ("", Gate::G2, Valid, |_, load| load.client.requests = 30_000),
            ("", Gate::G2, Valid, |cell, load| (cell.keep_alive, load.per_connection) = (false, None)),
            ("served 39000", Gate::G3, Invalid, |_, load| {
                load.conservation.as_mut().unwrap().target = Some(39_000);
            }),
            ("backends served", Gate::G3, Invalid, |_, load| {
                load.conservation.as_mut().unwrap().backends = Some(1);
            }),
            ("nobody", Gate::G3, Note, |_, load| load.conservation = None),
            ("1 failed", Gate::G4, Note, |_, load| load.failures.read = 1),
            ("400 failed (0.99 %)", Gate::G4, Invalid, |_, load| load.failures.read = 400),
            ("never answered", Gate::G4, Invalid, |_, load| load.failures.stalled = 1),
            ("wrk used", Gate::G5, Invalid, |_, load| {
                load.roles.get_mut(&Role::Client).unwrap().user_s = 7.5;
            }),
            ("", Gate::G5, Valid, |_, load| load.host.idle_s = 0.1),
            ("stolen", Gate::G7, Invalid, |_, load| load.host.steal_s = 1.0),
            ("other programs", Gate::G7, Note, |_, load| load.host.foreign_s = 0.6),
            ("listen queue", Gate::G7, Note, |_, load| load.host.listen_overflows = 5),
            ("without an answer", Gate::G8, Invalid, |_, load| {
                load.target.as_mut().unwrap().series[1].1 = 0.0;
            }),
            ("halves", Gate::G8, Note, |_, load| load.target.as_mut().unwrap().series[3].1 = 12_000.0),
            ("wrong body", Gate::G10, Invalid, |_, load| load.probe.errors.truncated = 1),
        ];
        for (reason, gate, verdict, change) in cases {
            let (mut cell, mut load) = (cell("thread"), good());
            change(&mut cell, &mut load);
            let gates = judge(&cell, &Measured::Load(Box::new(load)));
            let result = gates.iter().find(|result| result.gate == gate).unwrap();
            assert_eq!(result.verdict, verdict, "{reason}: {gates:?}");
            let expected = if gate == Gate::G1 { "opened 90 connections, not 100" } else { reason };
            assert!(result.reason.contains(expected), "{reason}: {gates:?}");
        }
        // A short cell has no verdict about its steadiness.
        let (mut short, mut load) = (cell("thread"), good());
        short.seconds = 2.0;
        load.target.as_mut().unwrap().series.truncate(1);
        let gates = judge(&short, &Measured::Load(Box::new(load)));
        assert!(gates.iter().all(|result| result.gate != Gate::G8 && result.verdict == Valid), "{gates:?}");
        let measured = Measured::Load(Box::new(good()));
        let gates = judge(&cell("thread"), &measured);
        assert_eq!(validity(&gates, &measured), Valid, "{gates:?}");
        assert_eq!(validity(&[], &Measured::Failed { reason: String::new() }), Invalid);
    }

    fn record(seq: usize, target: &str, block: usize, requests: u64) -> Record {
        let (mut cell, mut load) = (cell(target), good());
        (cell.seq, cell.block, cell.section) = (seq, block, crate::plans::model::Section::Assignment);
        load.client.requests = requests;
        Record {
            cell,
            started: String::new(),
            commands: BTreeMap::new(),
            measured: Measured::Load(Box::new(load)),
            gates: Vec::new(),
            validity: Valid,
        }
    }

    fn found(records: &[Record], seq: usize, gate: Gate) -> Option<(Validity, String)> {
        let what = |target: &str| match target {
            "direct" => Some(What::Server),
            _ => Some(What::Balancer),
        };
        let results = across(records, what);
        results[&seq].iter().find(|r| r.gate == gate).map(|r| (r.verdict, r.reason.clone()))
    }

    #[test]
    fn a_balancer_is_held_against_the_direct_rate() {
        for (requests, expected) in [(50_000, Valid), (90_000, Note), (99_000, Invalid)] {
            let records = [record(0, "direct", 0, 100_000), record(1, "thread", 0, requests)];
            assert_eq!(
                found(&records, 1, Gate::G6).map(|(verdict, _)| verdict),
                Some(expected),
                "{requests}"
            );
            assert_eq!(found(&records, 0, Gate::G6), None);
        }
        assert_eq!(found(&[record(1, "thread", 0, 5)], 1, Gate::G6), None);
    }

    #[test]
    fn repetitions_are_compared_with_their_like() {
        let records = [
            record(0, "thread", 0, 100),
            record(1, "thread", 1, 140),
            record(2, "async", 0, 100),
            record(3, "async", 1, 101),
            record(4, "again", 0, 1),
        ];
        let cases = [(0, Some(Note)), (1, Some(Note)), (2, Some(Valid)), (4, None)];
        for (seq, expected) in cases {
            assert_eq!(found(&records, seq, Gate::G9).map(|(verdict, _)| verdict), expected, "{seq}");
        }
    }

    #[test]
    fn the_control_needs_blocks_and_must_enclose_one() {
        let blocks = |count: usize, again: fn(usize) -> u64| -> Vec<Record> {
            let pair =
                |b: usize| [record(2 * b, "thread", b, 1000), record(2 * b + 1, "thread-again", b, again(b))];
            (0..count).flat_map(pair).collect()
        };
        let verdict = |records: &[Record]| found(records, 0, Gate::G11).map(|(verdict, _)| verdict);
        assert_eq!(verdict(&blocks(3, |_| 1100)), None);
        assert_eq!(verdict(&blocks(6, |b| 1100 + b as u64)), Some(Note));
        assert_eq!(verdict(&blocks(6, |b| 990 + 5 * b as u64)), Some(Valid));
    }
}
