//! The scenario `metastable` of `neraca simulate`: for three seconds all backends are six times slower.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Backend, State, random};
use crate::balancer::Balancer;
use crate::wire::{Client, spawn};
use crate::{Row, Setup};

const BACKENDS: usize = 10;
const SLOTS: usize = 1;
const WORK: Duration = Duration::from_millis(25);
const SLOWNESS: u32 = 6;
/// The begin and the end of the slow time, the end of the arrivals, and the last seconds, which decide.
const SLOW: Duration = Duration::from_secs(3);
const GOOD: Duration = Duration::from_secs(6);
const END: Duration = Duration::from_secs(40);
const LAST: Duration = Duration::from_secs(5);
/// Mean time between two requests.
const BETWEEN: Duration = Duration::from_micros(1_000_000 / 240);
/// Maximum requests in flight. A request takes at most three seconds, so there are at most about 720.
const CLIENTS: usize = 1200;
/// The response timeout of the scenario. Rule 3 of docs/balancing.md has no part in it.
const WORDS: &str = "--no-ejection --response-timeout-ms 1000";

pub(crate) fn run(setup: &Setup) -> io::Result<Vec<Row>> {
    let with = measure(setup, WORDS)?;
    let without = measure(setup, &format!("{WORDS} --retry-percent 100 --retries-per-second 1000000"))?;
    let good = |run: &Run| format!("{:.1} % of {}", run.last_good, run.last);
    Ok(vec![
        Row::new(
            "metastable, with the budget: good in the last 5 s",
            good(&with),
            ">= 99 %",
            with.last_good >= 99.0,
        ),
        Row::new("with the budget: errors, retries, p50", with.figures(), "", true),
        Row::new(
            "without the budget: good in the last 5 s",
            good(&without),
            "< 99 %",
            without.last_good < 99.0,
        ),
        Row::new("without the budget: errors, retries, p50", without.figures(), "", true),
    ])
}

struct Run {
    /// Requests of the last seconds, and the percentage of good responses to them.
    last: usize,
    last_good: f64,
    /// Percentage of requests without a good response.
    errors: f64,
    /// Attempts after the first, in percent of the requests.
    retries: f64,
    p50: Duration,
}

impl Run {
    fn figures(&self) -> String {
        format!("{:.1} %, {:.1} %, {:.1} ms", self.errors, self.retries, self.p50.as_secs_f64() * 1000.0)
    }
}

fn measure(setup: &Setup, words: &str) -> io::Result<Run> {
    let backends = Backend::several(BACKENDS, || State::working(WORK, Some(SLOTS)))?;
    let members = backends.iter().map(|backend| backend.address.to_string());
    let balancer = Balancer::start(setup, members, words)?;
    let address = balancer.address;
    let (arrive, arrivals) = sync_channel::<Instant>(CLIENTS);
    let arrivals = Arc::new(Mutex::new(arrivals));
    let (tell, told) = channel();
    for _ in 0..CLIENTS {
        let (arrivals, tell) = (Arc::clone(&arrivals), tell.clone());
        spawn(move || {
            let mut client = Client::new(address);
            loop {
                let next = arrivals.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(arrived) = next else { return };
                let status = client.get("/").status;
                let _ = tell.send((arrived, status, arrived.elapsed()));
            }
        });
    }
    drop(tell);
    let begun = Instant::now();
    let mut next = begun;
    while next < begun + END {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let slow = (begun + SLOW..begun + GOOD).contains(&next);
        let work = if slow { WORK * SLOWNESS } else { WORK };
        backends.iter().for_each(|backend| backend.state.work_us.store(work.as_micros() as u64, SeqCst));
        let _ = arrive.send(next);
        let uniform = random(&(1..=1 << 30)) as f64 / f64::from(1 << 30);
        next += BETWEEN.mul_f64(-uniform.ln());
    }
    drop(arrive);
    let replies: Vec<(Instant, u16, Duration)> = told.into_iter().collect();
    let attempts: u64 = backends.iter().map(|backend| backend.state.received.load(SeqCst)).sum();
    backends.iter().for_each(Backend::end);
    let good = |replies: &[&(Instant, u16, Duration)]| {
        let good = replies.iter().filter(|(_, status, _)| *status == 200).count();
        good as f64 * 100.0 / replies.len().max(1) as f64
    };
    let all: Vec<_> = replies.iter().collect();
    let last: Vec<_> = replies.iter().filter(|(arrived, _, _)| *arrived >= begun + END - LAST).collect();
    let mut times: Vec<Duration> = replies.iter().map(|(_, _, took)| *took).collect();
    times.sort_unstable();
    Ok(Run {
        last: last.len(),
        last_good: good(&last),
        errors: 100.0 - good(&all),
        retries: (attempts as f64 / all.len() as f64 - 1.0) * 100.0,
        p50: times[times.len() / 2],
    })
}
