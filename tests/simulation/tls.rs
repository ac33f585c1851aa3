//! Runs over real records of TLS, cut by chance anywhere. They bring the same plain bytes as runs without TLS.
use super::census::Census;
use super::chance::{Pace, Rng};
use super::coding::Coding;
use super::corpus::{REQUESTS, RESPONSES, Reply};
use super::message::{Message, responses};
use super::peers::{Act, Fault, Job};
use super::wire::End;
use super::world::{Plot, Run, run};
use super::{HELLO, essence, judge, plots, send, sweep};

fn version(rng: &mut Rng) -> Option<Coding> {
    Some(*rng.pick(&[Coding::Tls12, Coding::Tls13]))
}

/// What a backend saw, but not on which connection: TLS may keep a connection from being used again.
fn messages(seen: Vec<(Message, bool)>) -> Vec<Message> {
    seen.into_iter().map(|(message, _)| message).collect()
}

#[test]
fn records_of_tls_in_any_fragments_bring_the_plain_bytes() {
    sweep(120, |seed| {
        let mut rng = Rng::new(seed);
        let (plot, dues) = plots::peaceful(&mut rng);
        let heads: Vec<_> = plot.jobs.iter().map(|job| job.method == "HEAD").collect();
        let plain = run(&Plot { transforms: None, ..plot.clone() }, Pace::Whole);
        let coded = run(&Plot { transforms: version(&mut rng), ..plot }, Pace::Chance(rng));
        judge::undisturbed(&coded.clients[0], &dues);
        assert_eq!(coded.clients[0].marked, Some(true), "an end without close_notify");
        let compared = |run: &Run| {
            let (got, seen, reason) = essence(run, &heads);
            (got, messages(seen), reason)
        };
        assert!(compared(&coded) == compared(&plain), "TLS makes a difference");
        Census::new()
    });
}

#[test]
fn a_seed_repeats_its_run_over_tls() {
    for seed in 0..8 {
        for version in [Coding::Tls12, Coding::Tls13] {
            let trace = || {
                let mut rng = Rng::new(seed);
                let (plot, _) = plots::troubled(&mut rng);
                run(&Plot { transforms: Some(version), ..plot }, Pace::Chance(rng)).trace
            };
            assert_eq!(trace(), trace(), "{seed} {version:?}");
        }
    }
}

#[test]
fn in_trouble_nothing_is_passed_off_as_whole_over_tls() {
    sweep(120, |seed| {
        let mut rng = Rng::new(seed);
        let (plot, dues) = plots::troubled(&mut rng);
        let run = run(&Plot { transforms: version(&mut rng), ..plot.clone() }, Pace::Chance(rng));
        judge::client(&run.clients[0], &plot.jobs, &dues);
        plot.jobs.iter().for_each(|job| judge::attempts(&run, job));
        Census::new()
    });
}

#[test]
fn the_corpus_fares_the_same_over_tls() {
    sweep((REQUESTS.len() + RESPONSES.len()) as u64, |seed| {
        let mut rng = Rng::new(seed);
        let place = seed as usize % (REQUESTS.len() + RESPONSES.len());
        let (plot, heads, is_broken) = match REQUESTS.get(place) {
            Some(case) => {
                let program = vec![send(case.bytes), Act::AwaitFinals(1), Act::Leave(End::Eof)];
                (Plot::new(program, vec![Job::get(HELLO)]), [false], false)
            }
            None => {
                let case = &RESPONSES[place - REQUESTS.len()];
                // BREW is not idempotent: there is one try.
                let method = if case.head { "HEAD" } else { "BREW" };
                let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
                let job = Job { method, ends: true, faults: vec![Fault::None; 2], ..Job::get(case.bytes) };
                let program = vec![send(&request), Act::AwaitFinals(1), Act::Leave(End::Eof)];
                (Plot::new(program, vec![job]), [case.head], case.reply == Reply::Broken)
            }
        };
        let plain = run(&plot, Pace::Whole);
        for pace in [Pace::Whole, Pace::Chance(rng.clone())] {
            let coded = run(&Plot { transforms: version(&mut rng), ..plot.clone() }, pace);
            assert_eq!(coded.reason(), plain.reason(), "case {place}");
            // How much of a broken body still leaves is a matter of time.
            if !is_broken {
                let got = |run: &Run| {
                    let bare = |message| Message { len: 0, ..message };
                    responses(run.received(), &heads).into_iter().map(bare).collect::<Vec<_>>()
                };
                assert_eq!(got(&coded), got(&plain), "case {place}");
            }
        }
        Census::new()
    });
}
