//! Derives the record of a cell from what was measured. No other input is used, so the record is always the same.

use std::collections::BTreeMap;

use crate::judge::gates;
use crate::judge::record::{Conservation, Counted, Load, Measured, Record, Syscalls};
use crate::plans::model::{Cell, What};
use crate::run::counters::RawCounters;
use crate::run::raw::{Found, Raw, RawLoad};
use crate::run::reply::Errors;
use crate::run::sockets::RawSockets;
use crate::run::wrk::Client;

/// Derives the record of one cell.
pub(crate) fn derive(raw: &Raw) -> Record {
    let cell = raw.cell.clone();
    let measured = match &raw.found {
        Found::Failed(reason) => Measured::Failed { reason: reason.clone() },
        Found::Load(load) => Measured::Load(Box::new(of_load(load, &cell, raw.what))),
        Found::Handshakes(found) => Measured::Handshakes(found.clone()),
        Found::Idle(idle) => Measured::Idle(idle.clone()),
        Found::Profile { folded, .. } => Measured::Profile(folded.clone()),
        Found::Syscalls { client, strace } => match parse_strace(strace) {
            (calls, _) if calls.is_empty() => Measured::Failed { reason: "strace wrote no table".into() },
            (calls, errors) => Measured::Syscalls(Syscalls { requests: client.requests, calls, errors }),
        },
    };
    let gates = gates::judge(&cell, &measured);
    let validity = gates::validity(&gates, &measured);
    Record { cell, commands: raw.commands.clone(), measured, gates, validity }
}

fn of_load(raw: &RawLoad, cell: &Cell, what: What) -> Load {
    let RawLoad { client, probe, system, programs, sockets, .. } = raw;
    let is_balancer = what == What::Balancer;
    let end = client.duration_us as f64 / 1e6;
    let derive = |raw: &Option<RawCounters>| raw.as_ref().and_then(|raw| counted(raw, end));
    let (target, backends) = (derive(&programs.target), derive(&programs.backends));
    let sockets = sockets.as_ref().filter(|_| cell.keep_alive);
    Load {
        conservation: conservation(raw, cell, target.as_ref(), backends.as_ref().filter(|_| is_balancer)),
        per_connection: sockets.and_then(|sockets| per_connection(sockets, client)),
        probe: probe.clone(),
        failures: failures(client, sockets, cell),
        system: system.clone(),
        target,
        backends,
        client: client.clone(),
    }
}

/// Returns the counts of the whole rows between 0 and `end` seconds.
fn counted(raw: &RawCounters, end: f64) -> Option<Counted> {
    let named = |values: &[u64]| raw.names.iter().cloned().zip(values.iter().copied()).collect();
    let whole = named(&raw.rows.last()?.1);
    let inside: Vec<_> = raw.rows.iter().filter(|(at, _)| (0.0..=end).contains(at)).collect();
    let mut found = Counted { during: BTreeMap::new(), whole, series: Vec::new() };
    let (Some((_, first)), Some((_, last))) = (inside.first(), inside.last()) else {
        return Some(found);
    };
    found.during = named(&first.iter().zip(last).map(|(a, b)| b.saturating_sub(*a)).collect::<Vec<_>>());
    let served = raw.names.iter().position(|name| name == "served")?;
    for pair in inside.windows(2) {
        let [(begin, before), (end, after)] = [pair[0], pair[1]];
        let n = after.get(served)?.saturating_sub(*before.get(served)?);
        if end - begin > 0.5 {
            found.series.push((*end, n as f64 / (end - begin)));
        }
    }
    Some(found)
}

fn failures(client: &Client, sockets: Option<&RawSockets>, cell: &Cell) -> Errors {
    let silent_ms = (cell.seconds * 500.0) as u64;
    let stalled = sockets.map_or(0, |sockets| sockets.silent_ms.count_from(silent_ms) + sockets.unopened);
    Errors { stalled, ..client.errors }
}

/// Returns quantiles of the answers per connection, estimated from the received bytes and the mean length of an answer.
/// None when the target closes each connection after its answer: then a connection is not a client.
fn per_connection(sockets: &RawSockets, client: &Client) -> Option<Vec<u64>> {
    let answer = client.bytes as f64 / client.requests.max(1) as f64;
    let answers = |bytes: &u64| (*bytes as f64 / answer.max(1.0)).round() as u64;
    let answers: Vec<u64> = sockets.received.quantiles(100).iter().map(answers).collect();
    let closes = answers.last() <= Some(&1) && client.requests > 2 * sockets.received.len();
    (!closes).then_some(answers)
}

/// Compares the counts of client, target and backends. The request that checks the body before the warm-up counts as a
/// request of the client.
fn conservation(
    raw: &RawLoad,
    cell: &Cell,
    target: Option<&Counted>,
    backends: Option<&Counted>,
) -> Option<Conservation> {
    let served = |counted: Option<&Counted>| counted?.whole.get("served").copied();
    // The end of a run may cut off one request on each connection.
    let warm = raw.warm.iter().map(|run| (run, cell.warm_up().opened()));
    let runs: Vec<_> = warm.chain([(&raw.client, cell.opened())]).collect();
    let answered = runs.iter().map(|(run, _)| run.requests).sum::<u64>();
    let cut = runs.iter().map(|(run, opened)| u64::from(*opened) + run.errors.broken()).sum::<u64>();
    let probes = [&raw.probe.fresh, &raw.probe.kept];
    let conservation = Conservation {
        client: 1 + answered + probes.map(|t| t.total_us.len() + t.errors.status).iter().sum::<u64>(),
        target: served(target),
        backends: served(backends),
        slack: cut + probes.map(|times| times.errors.total()).iter().sum::<u64>(),
    };
    (conservation.target.is_some() || conservation.backends.is_some()).then_some(conservation)
}

/// Parses the table of `strace -c`: % time, seconds, usecs/call, calls, errors (may be empty), name.
fn parse_strace(text: &str) -> (BTreeMap<String, u64>, u64) {
    let (mut calls, mut errors) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (count, failed, name) = match words[..] {
            [_, _, _, count, name] => (count, "0", name),
            [_, _, _, count, failed, name] => (count, failed, name),
            _ => continue,
        };
        if let (Ok(count), Ok(failed)) = (count.parse::<u64>(), failed.parse::<u64>())
            && name != "total"
        {
            *calls.entry(name.to_owned()).or_insert(0) += count;
            errors += failed;
        }
    }
    (calls, errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::build::ordinary as cell;
    use crate::run::histogram::Histogram;

    #[test]
    fn the_table_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 46.38    0.061000           1     40000         5 recvfrom
 30.00    0.040000           1     20000           writev
------ ----------- ----------- --------- --------- ----------------
100.00    0.131000           1     60000         5 total
";
        let (calls, errors) = parse_strace(text);
        assert_eq!(calls, BTreeMap::from([("recvfrom".into(), 40000), ("writev".into(), 20000)]));
        assert_eq!(errors, 5);
    }

    #[test]
    fn only_whole_rows_inside_the_run_count() {
        let rows = [(-0.5, 5), (0.5, 10), (1.5, 110), (2.5, 310), (3.5, 320), (3.6, 333)];
        let raw = RawCounters {
            names: vec!["accepted".into(), "served".into()],
            rows: rows.iter().map(|(at, n)| (*at, vec![1, *n])).collect(),
        };
        let found = counted(&raw, 3.0).unwrap();
        assert_eq!((found.during["served"], found.during["accepted"], found.whole["served"]), (300, 0, 333));
        assert_eq!(found.series, [(1.5, 100.0), (2.5, 200.0)]);
        assert_eq!((found.per_request("served"), found.per_request("jobs")), (Some(1.0), None));
        let empty = counted(&raw, 0.1).unwrap();
        assert!(empty.during.is_empty() && empty.series.is_empty());
        assert_eq!(counted(&RawCounters::default(), 1.0), None);
    }

    #[test]
    fn a_silent_connection_is_stalled() {
        let client: Client = serde_json::from_str(
            r#"{"duration_us":4000000,"requests":100,"bytes":1000,"latency_us":{},
                "errors":{"connect":1,"read":0,"write":0,"status":2,"timeout":0}}"#,
        )
        .unwrap();
        let cell = Cell { seconds: 4.0, ..cell("thread") };
        let sockets = RawSockets {
            received: Histogram::of(&[0, 100, 206, 300]),
            silent_ms: Histogram::of(&[0, 1900, 2000, 3000]),
            unopened: 7,
        };
        let failures = failures(&client, Some(&sockets), &cell);
        assert_eq!((failures.stalled, failures.total()), (9, 12));
        let quantiles = per_connection(&sockets, &client).unwrap();
        assert_eq!((quantiles.len(), quantiles[0], quantiles[50], quantiles[100]), (101, 0, 10, 30));
    }
}
