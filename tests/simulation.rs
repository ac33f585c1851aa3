//! The shipped driver, exchange and cluster in a seeded world: connections in memory in place of sockets, and a clock
//! that only the world moves.
//!
//! `simulation/world.rs` has the loop, `engine.rs` the engine, `wire.rs` the connections, `peers.rs` the clients and
//! backends, `plots.rs` and `crowd.rs` the plots, `coding.rs` the transforms, `judge.rs` what must hold of every run, `last_look.rs`
//! the close of an idle connection while another thread stops the engine. `NERACA_SEED=n` repeats one
//! seed, `NERACA_SEEDS=n` runs n seeds, `NERACA_TRACE=1` prints the events of a run.

#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

#[path = "simulation/answers.rs"]
mod answers;
#[path = "simulation/cases.rs"]
mod cases;
#[path = "simulation/census.rs"]
mod census;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/coding.rs"]
mod coding;
mod corpus;
#[path = "simulation/crowd.rs"]
mod crowd;
#[path = "simulation/engine.rs"]
mod engine;
#[path = "simulation/judge.rs"]
mod judge;
#[path = "simulation/last_look.rs"]
mod last_look;
#[path = "harness/masked.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod masked;
#[path = "simulation/message.rs"]
mod message;
#[path = "simulation/peers.rs"]
mod peers;
#[path = "simulation/plots.rs"]
mod plots;
#[path = "simulation/ports.rs"]
mod ports;
#[path = "simulation/tls.rs"]
mod tls;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use neraca::exchange::CloseReason;
use proptest::prelude::*;

use corpus::{Fate, REQUESTS, RESPONSES, Reply};
use message::{Message, responses};
use peers::{Act, Fault, Job};
use std::sync::atomic::{AtomicU64, Ordering};

use census::Census;
use chance::{Pace, Rng};
use coding::Coding;
use wire::End;
use world::{Plot, Run, run};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn send(bytes: &[u8]) -> Act {
    Act::Send(bytes.to_vec())
}

/// The only response in it that is not interim, whole.
fn only(run: &Run) -> Message {
    let mut all = responses(run.received(), &[]);
    all.retain(|r| r.status() >= 200);
    assert_eq!(all.len(), 1, "{}", String::from_utf8_lossy(run.received()));
    assert_ne!(all[0].whole, Some(false));
    all.remove(0)
}

/// Where a message of that length is cut: everywhere, but of a long one at some two hundred places.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (0..=len).step_by(len / 200 + 1)
}

/// What can be compared of two runs: chunks may be cut elsewhere, the rest is the same.
fn essence(run: &Run, heads: &[bool]) -> (Vec<Message>, Vec<(Message, bool)>, CloseReason) {
    let bare = |mut message: Message| {
        message.len = 0;
        message
    };
    let got = responses(run.received(), heads).into_iter().map(bare).collect();
    // A connection is not kept while a note has no room.
    let reused = |seen: &peers::Seen| seen.reused && run.clients[0].marked.is_none();
    let seen = run.seen.iter().map(|seen| (bare(seen.message.clone()), reused(seen))).collect();
    (got, seen, run.reason())
}

#[test]
fn a_request_of_the_corpus_fares_the_same_wherever_it_is_cut() {
    for case in REQUESTS {
        let plot = |cut: usize| {
            let (first, then) = case.bytes.split_at(cut);
            Plot::new(
                vec![send(first), send(then), Act::AwaitFinals(1), Act::Leave(End::Eof)],
                vec![Job::get(HELLO)],
            )
        };
        let whole_run = run(&plot(0), Pace::Whole);
        let whole = whole_run.seen.iter().any(|seen| seen.message.whole == Some(true));
        let fate = match only(&whole_run).status() {
            200 if whole => Fate::Forwarded,
            status => Fate::Refused(status),
        };
        assert_eq!((fate, whole), (case.fate, case.fate == Fate::Forwarded), "{}", case.name);
        for cut in cuts(case.bytes.len()) {
            let cut_once = run(&plot(cut), Pace::Whole);
            let seen = |run: &Run| run.seen.iter().filter(|seen| seen.message.whole == Some(true)).count();
            assert_eq!(cut_once.received(), whole_run.received(), "{} cut at {cut}", case.name);
            assert_eq!(
                (seen(&cut_once), cut_once.reason()),
                (seen(&whole_run), whole_run.reason()),
                "{}",
                case.name
            );
        }
        let drip = run(&plot(0), Pace::Bytes);
        assert_eq!(drip.received(), whole_run.received(), "{} byte by byte", case.name);
    }
}

#[test]
fn a_response_of_the_corpus_fares_the_same_wherever_it_is_cut() {
    for case in RESPONSES {
        // BREW is not idempotent: there is one try.
        let method = if case.head { "HEAD" } else { "BREW" };
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let plot = |cut: usize| {
            let job = Job {
                method,
                ends: true,
                cut: Some(cut),
                faults: vec![Fault::None; 2],
                ..Job::get(case.bytes)
            };
            Plot::new(vec![send(&request), Act::AwaitFinals(1), Act::Leave(End::Eof)], vec![job])
        };
        let whole_run = run(&plot(0), Pace::Whole);
        let got = responses(whole_run.received(), &[case.head]);
        // What is found to be broken as soon as it comes does not leave at all.
        let reply = match got.last() {
            Some(last) if last.whole == Some(true) => Reply::Whole(last.status()),
            _ => Reply::Broken,
        };
        assert_eq!(
            (reply, whole_run.reason().is_abrupt()),
            (case.reply, case.reply == Reply::Broken),
            "{}",
            case.name
        );
        for cut in cuts(case.bytes.len()) {
            let cut_once = run(&plot(cut), Pace::Whole);
            let heads = &[case.head];
            let (left, right) = (essence(&cut_once, heads), essence(&whole_run, heads));
            // How much of a broken body still leaves is a matter of time.
            let same = if case.reply == Reply::Broken { left.2 == right.2 } else { left == right };
            assert!(same, "{} cut at {cut}", case.name);
        }
    }
}

/// Tells how to repeat a seed that failed.
struct Announce<'a>(&'a str, u64);

impl Drop for Announce<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Announce(test, seed) = self;
            eprintln!("repeat with: NERACA_SEED={seed} cargo test --test simulation {test}");
        }
    }
}

/// Judges every seed that is asked for, on all cores. Returns the sum of what `judge` counted, unless fewer seeds than
/// `count` were asked for.
fn sweep(count: u64, judge: impl Fn(u64) -> Census + Sync) -> Option<Census> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("NERACA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NERACA_SEEDS").unwrap_or(count),
    };
    let enough = seeds.end - seeds.start >= count;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut sum = Census::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            let _announce = Announce(test, seed);
            census::add(&mut sum, judge(seed));
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let mut sum = Census::new();
        for worker in workers {
            census::add(&mut sum, worker.join().expect("a seed failed"));
        }
        enough.then_some(sum)
    })
}

#[test]
fn in_peace_every_fragmentation_brings_the_same_bytes() {
    sweep(1000, |seed| {
        let mut rng = Rng::new(seed);
        let (plot, dues) = plots::peaceful(&mut rng);
        let heads: Vec<_> = plot.jobs.iter().map(|job| job.method == "HEAD").collect();
        let whole_run = run(&plot, Pace::Whole);
        let in_parts = run(&plot, Pace::Chance(rng));
        judge::undisturbed(&in_parts.clients[0], &dues);
        let (got, seen, reason) = essence(&in_parts, &heads);
        for (message, _) in &seen {
            let job = job_of(&plot, message);
            let body = if plot.jobs[job].tunnel { &[] } else { plot.jobs[job].body.as_slice() };
            assert!(message.whole == Some(true) && message.body == body, "another body at the backend");
        }
        assert!((got, seen, reason) == essence(&whole_run, &heads), "fragments make a difference");
        Census::new()
    });
}

fn job_of(plot: &Plot, message: &Message) -> usize {
    let id = message.field("x-id").and_then(|id| String::from_utf8_lossy(id).parse().ok());
    id.filter(|id| *id < plot.jobs.len()).unwrap_or(0)
}

#[test]
fn in_trouble_nothing_is_repeated_invented_or_passed_off_as_whole() {
    sweep(3500, |seed| {
        let mut rng = Rng::new(seed);
        let (plot, dues) = plots::troubled(&mut rng);
        let run = run(&plot, Pace::Chance(rng));
        judge::client(&run.clients[0], &plot.jobs, &dues);
        plot.jobs.iter().for_each(|job| judge::attempts(&run, job));
        Census::new()
    });
}

#[test]
fn mutants_of_the_corpus_end_and_what_is_sent_on_is_valid() {
    sweep(2000, |seed| {
        let mut rng = Rng::new(seed);
        let request = mutant(rng.pick(REQUESTS).bytes, &mut rng);
        let reply = mutant(rng.pick(RESPONSES).bytes, &mut rng);
        let job = Job { ends: rng.chance(50), early: rng.chance(50), ..Job::get(&reply) };
        let program = vec![send(&request), Act::AwaitFinals(1), Act::Leave(End::Eof)];
        let transforms = rng.chance(plots::WITH_TRANSFORMS_PERCENT).then_some(Coding::Masked);
        let run = run(&Plot { transforms, ..Plot::new(program, vec![job]) }, Pace::Chance(rng));
        let _valid = responses(run.received(), &[]);
        Census::new()
    });
}

/// The message with a few bytes changed, taken out, doubled or swapped.
fn mutant(message: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..rng.up_to(3) {
        let at = rng.up_to(bytes.len());
        let n = rng.up_to(8).min(bytes.len() - at);
        match rng.up_to(3) {
            0 => drop(bytes.drain(at..at + n)),
            1 => bytes.insert(at, *rng.pick(b"\r\n\0 :;,0a\xff")),
            2 => {
                let part = bytes[at..at + n].to_vec();
                let to = rng.up_to(bytes.len());
                bytes.splice(to..to, part);
            }
            _ if at < bytes.len() => bytes[at] = rng.next() as u8,
            _ => {}
        }
    }
    bytes
}

/// Parts of messages, so that what is put together of them at random goes deep.
const TOKENS: [&[u8]; 28] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"PUT http://a/b HTTP/1.0\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404 No\r\n",
    b"HTTP/1.1 103 Early Hints\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 204 None\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: x\r\n",
    b"Expect: 100-continue\r\n",
    b"Trailer: X\r\n",
    b"TE: trailers\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\n",
    b"\0",
    b" ",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        9 => prop::sample::select(TOKENS.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..14).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn whatever_both_sides_say_it_ends_and_what_is_sent_on_is_valid(
        fields in soup(), request in soup(), reply in soup(), head in any::<bool>(), ends in any::<bool>(), seed in any::<u64>(),
    ) {
        let start: &[u8] = if head { b"GET / HTTP/1.1\r\nHost: a\r\n" } else { b"" };
        let reply = [if head { &b"HTTP/1.1 200 OK\r\n"[..] } else { b"" }, &reply].concat();
        let program = vec![send(&[start, &fields, &request].concat()), Act::Leave(End::Eof)];
        let job = Job { ends, early: !ends, ..Job::get(&reply) };
        let run = run(&Plot::new(program, vec![job]), Pace::Chance(Rng::new(seed)));
        let _valid = responses(run.received(), &[]);
    }
}
