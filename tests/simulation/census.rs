//! What occurred over all seeds: each kind of event, fault, answer and counter, or else a reason why not.
use std::collections::BTreeMap;

use neraca::cluster::Failure;

use super::message::responses;
use super::peers::Fault;
use super::wire::End;
use super::world::Run;

/// How often each kind occurred, by "group: name".
pub type Census = BTreeMap<String, u64>;

/// The kinds that must occur, by group. The counters of the engine come on top.
const EXPECTED: [(&str, &[&str]); 11] = [
    (
        "client",
        &[
            "arrived",
            "ended",
            "reset",
            "room",
            "read",
            "write",
            "write part",
            "shutdown",
            "close",
            "reset by us",
            "leaves",
            "leaves joined",
            "closed marked",
            "closed unmarked",
        ],
    ),
    (
        "backend",
        &[
            "connected",
            "refused",
            "arrived",
            "ended",
            "reset",
            "room",
            "read",
            "write",
            "write part",
            "shutdown",
            "close",
            "leaves",
            "leaves joined",
            "closed marked",
            "closed unmarked",
            "breaks handshake",
        ],
    ),
    ("pool", &["checkout", "connect", "park", "expired", "dead", "full", "removed"]),
    ("driver", &["idle", "yields"]),
    ("queue", &["waits", "woken", "client left"]),
    ("pressure", &["held", "held while saturated", "limited", "lifted"]),
    ("close", &["done", "client lost", "timed out", "stalled", "truncated"]),
    ("world", &["client", "drain", "end all", "load", "replace"]),
    (
        "fault",
        &[
            "leave",
            "leave by reset",
            "leave torn",
            "cut torn",
            "cut",
            "cut by reset",
            "silent",
            "deaf",
            "stall",
            "slow",
            "garbage",
            "close behind",
            "close later",
        ],
    ),
    (
        "answer",
        &[
            "400",
            "408",
            "502",
            "503: no backend is available",
            "503: no backend was free in time",
            "503: no connection to a backend can be made",
            "503: overloaded",
            "503: too many requests wait for a backend",
            "504",
        ],
    ),
    ("attempt", &["answered", "abandoned"]),
];

/// Kinds that cannot occur here, each with the reason.
const EXEMPT: [(&str, &str); 5] = [
    ("counter: wakeups", "the simulated engine has no poller"),
    ("counter: jobs", "the simulated engine has no channel"),
    ("counter: queue_wait_ns", "the simulated engine has no channel"),
    ("counter: accept_paused", "the simulated engine has no listener"),
    ("counter: panics", "a panic fails the seed"),
];

/// The census of one run.
pub fn of_run(run: Run) -> Census {
    let mut census: Census =
        run.census.iter().map(|((group, name), n)| (format!("{group}: {name}"), *n)).collect();
    let mut count = |group: &str, name: &str, n: u64| {
        if n > 0 {
            *census.entry(format!("{group}: {name}")).or_default() += n;
        }
    };
    for seen in &run.seen {
        count("fault", fault_name(seen.fault), 1);
    }
    for counts in &run.attempts {
        count("attempt", "answered", counts.answered);
        count("attempt", "abandoned", counts.abandoned);
        for failure in Failure::ALL {
            count("attempt", &format!("{failure:?}"), counts.failed(failure));
        }
    }
    for response in run.clients.iter().flat_map(|got| responses(&got.received, &got.heads)) {
        if response.status() >= 400 && response.field("x-job").is_none() {
            let text = String::from_utf8_lossy(&response.body);
            // The answer to HEAD has no text.
            match (response.status(), text.trim_end().split_once(": ")) {
                (503, Some((_, reason))) => count("answer", &format!("503: {reason}"), 1),
                (status, _) => count("answer", &status.to_string(), 1),
            }
        }
    }
    for (name, n) in counters(&run) {
        count("counter", &name, n);
    }
    census
}

/// The counters of the engine by name.
fn counters(run: &Run) -> Vec<(String, u64)> {
    let json = run.counters.to_json();
    let pairs = json.trim_matches(['{', '}']).split(',').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(name, n)| (name.trim_matches('"').to_owned(), n.parse().expect("a number"))).collect()
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "none",
        Fault::Leave(End::Eof) => "leave",
        Fault::Leave(End::Reset) => "leave by reset",
        Fault::Leave(End::Torn) => "leave torn",
        Fault::Cut(_, End::Torn) => "cut torn",
        Fault::Cut(_, End::Eof) => "cut",
        Fault::Cut(_, End::Reset) => "cut by reset",
        Fault::Silent => "silent",
        Fault::Deaf => "deaf",
        Fault::Stall(_) => "stall",
        Fault::Slow(_) => "slow",
        Fault::Garbage => "garbage",
        Fault::CloseBehind => "close behind",
        Fault::CloseLater(_) => "close later",
    }
}

/// Adds one census to another.
pub fn add(sum: &mut Census, census: Census) {
    census.into_iter().for_each(|(kind, n)| *sum.entry(kind).or_default() += n);
}

/// Checks that every kind occurred, except the exempted ones, which must not occur. `NERACA_CENSUS=1` prints the census.
pub fn check(census: &Census) {
    if std::env::var_os("NERACA_CENSUS").is_some() {
        census.iter().for_each(|(kind, n)| eprintln!("{n:>10} {kind}"));
    }
    let counters = neraca::engine::Snapshot::default().to_json();
    let counters = counters.trim_matches(['{', '}']).split(',').filter_map(|pair| pair.split_once(':'));
    let mut expected: Vec<String> =
        counters.map(|(name, _)| format!("counter: {}", name.trim_matches('"'))).collect();
    expected.extend(Failure::ALL.map(|failure| format!("attempt: {failure:?}")));
    for (group, names) in EXPECTED {
        expected.extend(names.iter().map(|name| format!("{group}: {name}")));
    }
    let exempt = |kind: &str| EXEMPT.iter().any(|(name, _)| *name == kind);
    let missing: Vec<_> =
        expected.iter().filter(|kind| !census.contains_key(*kind) && !exempt(kind)).collect();
    assert!(missing.is_empty(), "never occurred: {missing:?}");
    for (kind, reason) in EXEMPT {
        assert!(!census.contains_key(kind), "{kind} occurred, although {reason}");
    }
}
