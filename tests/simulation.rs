//! The exchange, driven by a seeded world in place of sockets and clocks.
//!
//! `NERACA_SEED=n` replays one seed, `NERACA_SEEDS=n` runs that many.

#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

#[path = "simulation/answers.rs"]
mod answers;
#[path = "simulation/cases.rs"]
mod cases;
mod corpus;
#[path = "simulation/message.rs"]
mod message;
#[path = "simulation/peers.rs"]
mod peers;
#[path = "simulation/plots.rs"]
mod plots;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use neraca::exchange::CloseReason;
use proptest::prelude::*;

use corpus::{Fate, REQUESTS, RESPONSES, Reply};
use message::{Message, responses};
use peers::{Act, Fault, Job, Seen};
use plots::Due;
use wire::{End, Pace, Rng};
use world::{Plot, Run, run};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn send(bytes: &[u8]) -> Act {
    Act::Send(bytes.to_vec())
}

/// The only response in it that is not interim, whole.
fn only(run: &Run) -> Message {
    let mut all = responses(&run.received, &[]);
    all.retain(|r| r.status() >= 200);
    assert_eq!(all.len(), 1, "{}", String::from_utf8_lossy(&run.received));
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
    let got = responses(&run.received, heads).into_iter().map(bare).collect();
    let seen = run.seen.iter().map(|seen| (bare(seen.message.clone()), seen.reused)).collect();
    (got, seen, run.reason)
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
        let concurrency = run(&plot(0), Pace::Whole);
        let whole = concurrency.seen.iter().any(|seen| seen.message.whole == Some(true));
        let fate = match only(&concurrency).status() {
            200 if whole => Fate::Forwarded,
            status => Fate::Refused(status),
        };
        assert_eq!((fate, whole), (case.fate, case.fate == Fate::Forwarded), "{}", case.name);
        for cut in cuts(case.bytes.len()) {
            let cut_once = run(&plot(cut), Pace::Whole);
            let seen = |run: &Run| run.seen.iter().filter(|seen| seen.message.whole == Some(true)).count();
            assert_eq!(cut_once.received, concurrency.received, "{} cut at {cut}", case.name);
            assert_eq!(
                (seen(&cut_once), cut_once.reason),
                (seen(&concurrency), concurrency.reason),
                "{}",
                case.name
            );
        }
        let drip = run(&plot(0), Pace::Bytes);
        assert_eq!(drip.received, concurrency.received, "{} byte by byte", case.name);
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
        let concurrency = run(&plot(0), Pace::Whole);
        let got = responses(&concurrency.received, &[case.head]);
        // What is found to be broken as soon as it comes does not leave at all.
        let reply = match got.last() {
            Some(last) if last.whole == Some(true) => Reply::Whole(last.status()),
            _ => Reply::Broken,
        };
        assert_eq!(
            (reply, concurrency.reason.is_abrupt()),
            (case.reply, case.reply == Reply::Broken),
            "{}",
            case.name
        );
        for cut in cuts(case.bytes.len()) {
            let cut_once = run(&plot(cut), Pace::Whole);
            let heads = &[case.head];
            let (left, right) = (essence(&cut_once, heads), essence(&concurrency, heads));
            // How much of a broken body still leaves is a matter of time.
            let same = if case.reply == Reply::Broken { left.2 == right.2 } else { left == right };
            assert!(same, "{} cut at {cut}", case.name);
        }
    }
}

/// Tells which seed broke.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with NERACA_SEED={}", self.0);
        }
    }
}

/// Judges every seed that is asked for.
fn sweep(count: u64, judge: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("NERACA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NERACA_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let _announce = Announce(seed);
        judge(seed);
    }
}

#[test]
fn in_peace_every_fragmentation_brings_the_same_bytes() {
    sweep(6000, |seed| {
        let mut rng = Rng::new(seed);
        let (plot, mut dues) = plots::peaceful(&mut rng);
        dues.truncate(plots::served(&dues));
        let heads: Vec<_> = plot.jobs.iter().map(|job| job.method == "HEAD").collect();
        let concurrency = run(&plot, Pace::Whole);
        let in_parts = run(&plot, Pace::Chance(rng));
        let (got, seen, reason) = essence(&in_parts, &heads);
        let finals: Vec<_> = got.iter().filter(|r| r.status() >= 200 || r.status() == 101).collect();
        let statuses = |of: &[&Message]| of.iter().map(|r| r.status()).collect::<Vec<_>>();
        assert_eq!(statuses(&finals), dues.iter().map(|due| due.status).collect::<Vec<_>>(), "{reason:?}");
        for (response, due) in finals.iter().zip(&dues) {
            assert_eq!(response.status(), due.status);
            assert!(response.body == due.body, "another body");
            assert_eq!(response.trailers, due.trailers);
            assert_ne!(response.whole, Some(false));
        }
        assert_eq!(got.len(), dues.iter().map(|due| due.interims + 1).sum::<usize>(), "interim responses");
        for (message, _) in &seen {
            let job = job_of(&plot, message);
            let body = if plot.jobs[job].tunnel { &[] } else { plot.jobs[job].body.as_slice() };
            assert!(message.whole == Some(true) && message.body == body, "another body at the backend");
        }
        assert!(!reason.is_abrupt(), "{reason:?}");
        assert!((got, seen, reason) == essence(&concurrency, &heads), "fragments make a difference");
    });
}

fn job_of(plot: &Plot, message: &Message) -> usize {
    let id = message.field("x-id").and_then(|id| String::from_utf8_lossy(id).parse().ok());
    id.filter(|id| *id < plot.jobs.len()).unwrap_or(0)
}

#[test]
fn in_trouble_nothing_is_repeated_invented_or_passed_off_as_whole() {
    sweep(20_000, |seed| {
        let mut rng = Rng::new(seed);
        let (plot, dues) = plots::troubled(&mut rng);
        let run = run(&plot, Pace::Chance(rng));
        let heads: Vec<_> = plot.jobs.iter().map(|job| job.method == "HEAD").collect();
        let mut finals = responses(&run.received, &heads);
        finals.retain(|r| r.status() >= 200 || r.status() == 101);
        let statuses: Vec<_> = finals.iter().map(Message::status).collect();
        if plot.jobs.last().is_some_and(|job| job.tunnel) {
            // Without consent to a tunnel, what was sent into it is a request, and a bad one.
            finals.truncate(plot.jobs.len());
        }
        assert!(finals.len() <= plot.jobs.len(), "{statuses:?} for {} requests", plot.jobs.len());
        for (n, response) in finals.iter().enumerate() {
            judge_response(response, &plot.jobs[n], &dues[n], &run, n, n + 1 == finals.len());
        }
        for (id, job) in plot.jobs.iter().enumerate() {
            let tries: Vec<_> = run.seen.iter().filter(|seen| seen.job == id).collect();
            judge_tries(&tries, job);
        }
    });
}

fn judge_response(response: &Message, job: &Job, due: &Due, run: &Run, id: usize, last: bool) {
    assert!(last || response.whole == Some(true), "a response behind one that is not whole");
    let ended = !run.reason.is_abrupt() && run.reason != CloseReason::ClientLost;
    let whole = response.whole == Some(true) || (response.whole.is_none() && ended);
    let Some(from) = response.field("x-job").or((response.status() == 101).then_some(b"101")) else {
        assert!(response.status() >= 400, "an answer of ours: {response:?}");
        return;
    };
    assert!(from == b"101" || from == id.to_string().as_bytes(), "the response to another request");
    assert_eq!(response.status(), due.status);
    assert!(due.body.starts_with(&response.body), "a body that nobody sent");
    let cut_by_end = job.faults.iter().any(|fault| matches!(fault, Fault::Cut(_, End::Eof))) && due.unframed;
    let sizes = (response.body.len(), due.body.len(), response.whole, run.reason);
    let fine = !whole || cut_by_end || job.tunnel || response.body == due.body;
    assert!(fine, "truncated, and it looks whole: {sizes:?} {:?}", response.start);
}

fn judge_tries(tries: &[&Seen], job: &Job) {
    assert!(tries.len() <= 3, "sent {} times", tries.len());
    let idempotent = !matches!(job.method, "POST" | "BREW");
    for (place, pair) in tries.windows(2).enumerate() {
        let [first, second] = pair else { unreachable!("a window of two") };
        assert!(idempotent, "{} sent once more", job.method);
        assert!(!second.reused, "sent once more on a kept connection");
        let answered = matches!(job.faults.get(place), Some(Fault::Cut(1.., End::Eof)));
        assert!(!answered || first.message.whole != Some(true), "sent once more behind a byte of an answer");
    }
    for seen in tries {
        let (message, body) = (&seen.message, if job.tunnel { &[] } else { job.body.as_slice() });
        assert!(body.starts_with(&message.body), "a body that nobody sent");
        assert!(message.whole != Some(true) || message.body == body, "a request cut short looks whole");
    }
}

#[test]
fn mutants_of_the_corpus_end_and_what_is_sent_on_is_valid() {
    sweep(10_000, |seed| {
        let mut rng = Rng::new(seed);
        let request = mutant(rng.pick(REQUESTS).bytes, &mut rng);
        let reply = mutant(rng.pick(RESPONSES).bytes, &mut rng);
        let job = Job { ends: rng.chance(50), early: rng.chance(50), ..Job::get(&reply) };
        let program = vec![send(&request), Act::AwaitFinals(1), Act::Leave(End::Eof)];
        let run = run(&Plot::new(program, vec![job]), Pace::Chance(rng));
        let _valid = responses(&run.received, &[]);
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
        let _valid = responses(&run.received, &[]);
    }
}
