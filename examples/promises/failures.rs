//! A backend that fails at once, a backend that hangs, and all backends down and up again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::backend::{Backend, CHECK, State};
use crate::balancer::Balancer;
use crate::wire::{Client, Reply, spawn};
use crate::{Row, Setup};

const BACKENDS: usize = 3;
/// The backend that fails.
const FAILING: usize = 1;
const WORK: Duration = Duration::from_millis(2);
const CLIENTS: usize = 12;
const SLICE: Duration = Duration::from_millis(100);
const SLICES_PER_SECOND: usize = 10;
/// Time between two checks, and time for one check.
const INTERVAL: Duration = Duration::from_millis(200);

pub(crate) fn run(setup: &Setup) -> io::Result<Vec<Row>> {
    let mut rows = fails_at_once(setup)?;
    rows.extend(hangs(setup)?);
    rows.extend(all_down(setup)?);
    Ok(rows)
}

/// A backend answers 500 without any work for three seconds.
fn fails_at_once(setup: &Setup) -> io::Result<Vec<Row>> {
    const GOOD: usize = SLICES_PER_SECOND;
    const BAD: usize = 3 * SLICES_PER_SECOND;
    const AFTER: usize = 8 * SLICES_PER_SECOND;
    let site = Site::start(setup, "")?;
    let before = site.shares(GOOD);
    site.backends[FAILING].state.fails.store(true, SeqCst);
    let bad = site.shares(BAD);
    site.backends[FAILING].state.fails.store(false, SeqCst);
    let after = site.shares(AFTER);
    let replies = site.stop();
    let failed = replies.iter().filter(|reply| reply.status != 200).count();
    let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
    // The first slice after which every slice is low, and the first second in which the share is back.
    let low = bad.iter().rposition(|share| *share >= 5.0).map_or(0, |at| at + 1);
    let back = after.windows(SLICES_PER_SECOND).position(|second| mean(second) >= 25.0).unwrap_or(AFTER);
    let ms = |slices: usize| slices * SLICE.as_millis() as usize;
    let late = bad[SLICES_PER_SECOND..].iter().copied().fold(0.0, f64::max);
    Ok(vec![
        Row::new("instant 500s: share before, in percent", format!("{:.1}", mean(&before)), "33.3", true),
        Row::new(
            "share below 5 % in every slice of 100 ms, from",
            format!("{} ms on", ms(low)),
            "<= 1000 ms",
            low <= SLICES_PER_SECOND,
        ),
        Row::new(
            "greatest share in a slice after the first second",
            format!("{late:.1} %"),
            "< 5 %",
            late < 5.0,
        ),
        Row::new(
            "500s that clients got",
            format!("{failed} of {}", replies.len()),
            "< 1 %",
            failed * 100 < replies.len(),
        ),
        // At most the second ejection of 2 s is running, and the slow start takes 2 s.
        Row::new(
            "after it is well again: share at least 25 % from",
            format!("{} ms on", ms(back)),
            "<= 4500 ms",
            ms(back) <= 4500,
        ),
        Row::new(
            "share at the end, in percent",
            format!("{:.1}", mean(&after[AFTER - 20..])),
            "> 30",
            mean(&after[AFTER - 20..]) > 30.0,
        ),
    ])
}

/// A backend accepts connections and answers nothing for four seconds. Only the checks may find it.
fn hangs(setup: &Setup) -> io::Result<Vec<Row>> {
    let ms = INTERVAL.as_millis();
    let words = format!(
        "--no-ejection --response-timeout-ms 1000 --check {CHECK} --check-interval-ms {ms} --check-timeout-ms {ms}"
    );
    let site = Site::start(setup, &words)?;
    thread::sleep(Duration::from_secs(1));
    let state = &site.backends[FAILING].state;
    state.hangs.store(true, SeqCst);
    // Three checks fail; each begins within 1.1 intervals and takes one interval.
    thread::sleep(INTERVAL * 3 * 21 / 10 + INTERVAL);
    let down = state.received.load(SeqCst);
    thread::sleep(Duration::from_secs(2));
    let late = state.received.load(SeqCst) - down;
    state.hangs.store(false, SeqCst);
    let begun = Instant::now();
    let again = state.received.load(SeqCst);
    while state.received.load(SeqCst) == again && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    let back = begun.elapsed();
    let replies = site.stop();
    let failed = replies.iter().filter(|reply| reply.status != 200).count();
    // Two good checks bring it up.
    let wanted = INTERVAL * 2 * 11 / 10 + INTERVAL;
    Ok(vec![
        Row::new("a backend that hangs: requests after its checks have failed", late, "0", late == 0),
        Row::new("GETs that failed", format!("{failed} of {}", replies.len()), "0", failed == 0),
        Row::new(
            "it gets requests again after",
            format!("{} ms", back.as_millis()),
            format!("<= {} ms (2 checks)", wanted.as_millis()),
            back <= wanted,
        ),
    ])
}

/// All backends are down for two seconds.
fn all_down(setup: &Setup) -> io::Result<Vec<Row>> {
    let interval = Duration::from_millis(500);
    let words = format!("--check {CHECK} --check-interval-ms {}", interval.as_millis());
    let backends = Backend::several(BACKENDS, || State::working(WORK, None))?;
    let members = backends.iter().map(|backend| backend.address.to_string());
    let balancer = Balancer::start(setup, members, &words)?;
    let mut client = Client::new(balancer.address);
    thread::sleep(interval * 2);
    let before = client.get("/").status;
    backends.iter().for_each(Backend::bring_down);
    let begun = Instant::now();
    let (mut asked, mut wrong) = (0, 0);
    while begun.elapsed() < Duration::from_secs(2) {
        asked += 1;
        wrong += usize::from(client.get("/").status != 502);
        thread::sleep(Duration::from_millis(5));
    }
    backends.iter().try_for_each(Backend::bring_up)?;
    let begun = Instant::now();
    while client.get("/").status != 200 && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    let first = begun.elapsed();
    Ok(vec![
        Row::new("all backends down: status before", before, "200", before == 200),
        Row::new("not answered with 502 while they are down", format!("{wrong} of {asked}"), "0", wrong == 0),
        Row::new(
            "up again: first good response after",
            format!("{:.1} ms", first.as_secs_f64() * 1000.0),
            format!("<= {} ms (1 check)", interval.as_millis()),
            first <= interval,
        ),
    ])
}

/// Three backends, a balancer and clients that ask all the time.
struct Site {
    backends: Vec<Backend>,
    clients: Vec<JoinHandle<Vec<Reply>>>,
    stopped: Arc<AtomicBool>,
    _balancer: Balancer,
}

impl Site {
    fn start(setup: &Setup, words: &str) -> io::Result<Site> {
        let backends = Backend::several(BACKENDS, || State::working(WORK, None))?;
        let members = backends.iter().map(|backend| backend.address.to_string());
        let balancer = Balancer::start(setup, members, words)?;
        let (address, stopped) = (balancer.address, Arc::new(AtomicBool::new(false)));
        let clients = (0..CLIENTS).map(|n| {
            let stopped = Arc::clone(&stopped);
            spawn(move || {
                let (mut client, mut replies) = (Client::new(address), Vec::new());
                while !stopped.load(SeqCst) {
                    replies.push(client.get(&format!("/{n}/{}", replies.len())));
                }
                replies
            })
        });
        Ok(Site { backends, clients: clients.collect(), stopped, _balancer: balancer })
    }

    /// Returns the share of the failing backend in each slice of the time to come, in percent of the requests.
    fn shares(&self, slices: usize) -> Vec<f64> {
        let counts = || self.backends.iter().map(|backend| backend.state.received.load(SeqCst));
        let (mut before, mut next) = (counts().collect::<Vec<_>>(), Instant::now());
        let slice = |_| {
            next += SLICE;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let now: Vec<_> = counts().collect();
            let got: Vec<_> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
            before = now;
            got[FAILING] as f64 * 100.0 / got.iter().sum::<u64>().max(1) as f64
        };
        (0..slices).map(slice).collect()
    }

    /// Stops the clients. Returns all replies.
    fn stop(self) -> Vec<Reply> {
        self.stopped.store(true, SeqCst);
        self.clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect()
    }
}
