//! A load generator on one thread and many kept connections.
//!
//! In the open loop each request has an intended time. If no connection is free then, the request waits, and its latency
//! still counts from the intended time. So a slow server cannot slow the clients down and hide its own delays
//! (coordinated omission).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;

use crate::run::exchange::{Exchange, NICE, Waiter, is_silent, micros};
use crate::run::reply::Verdict;

/// Maximum time for the requests in flight to end after the last intended time.
const GRACE: Duration = Duration::from_millis(1500);
/// Time until a connection that could not be opened is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// The times of the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Each connection sends its next request when its last request has ended.
    Closed,
    /// Requests come at random times, independent of each other (a Poisson process), with this mean rate per second.
    Open(f64),
}

/// The load: one request, sent often.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) address: SocketAddr,
    /// Bytes of the request.
    pub(crate) request: Vec<u8>,
    /// The expected body.
    pub(crate) body: Arc<[u8]>,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// Seconds that are not counted, before the counted seconds.
    pub(crate) warm_s: f64,
    pub(crate) seconds: f64,
}

/// The counted requests.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) intended: u64,
    pub(crate) good: u64,
    /// Refused or broken connections, responses that end early, and status codes other than 200.
    pub(crate) failed: u64,
    /// Complete responses with a wrong body.
    pub(crate) wrong: u64,
    /// Requests without a response at the end.
    pub(crate) unanswered: u64,
    /// Microseconds from the intended time to the last byte of a good response. An unanswered request counts with the
    /// time that it has waited.
    pub(crate) latency_us: Histogram<u64>,
    /// Microseconds from the intended time until the generator looks for a free connection: its own delay.
    pub(crate) late_us: Histogram<u64>,
    /// Good responses of each connection.
    pub(crate) answers: Vec<u64>,
}

impl Tally {
    fn new(connections: usize) -> Self {
        let empty = || Histogram::new_with_max(600_000_000, 3).expect("3 digits are valid");
        let answers = vec![0; connections];
        let (latency_us, late_us) = (empty(), empty());
        Tally { intended: 0, good: 0, failed: 0, wrong: 0, unanswered: 0, latency_us, late_us, answers }
    }

    /// Returns the latency in milliseconds that this share of the requests does not exceed.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        self.latency_us.value_at_quantile(share) as f64 / 1e3
    }

    /// Returns the share of the intended requests that got a good response within a time.
    pub(crate) fn good_within(&self, time: Duration) -> f64 {
        let late = |us| self.latency_us.count_between(0, us);
        let good = late(time.as_micros() as u64).min(self.good);
        good as f64 / self.intended.max(1) as f64
    }
}

/// A connection: idle, with a request in flight, or closed.
#[derive(Default)]
struct Slot {
    idle: Option<TcpStream>,
    exchange: Option<Exchange>,
    /// True when the connection of the exchange has served a request before.
    reused: bool,
}

/// Runs the load on a thread of its own, whose priority is higher where that is allowed.
pub(crate) fn run(spec: &Spec) -> io::Result<Tally> {
    let panicked = |_| Err(io::Error::other("the load generator panicked"));
    thread::scope(|scope| {
        let work = || {
            let _ = rustix::process::setpriority_process(None, NICE);
            Generator::new(spec)?.run()
        };
        scope.spawn(work).join().unwrap_or_else(panicked)
    })
}

struct Generator<'a> {
    spec: &'a Spec,
    waiter: Waiter,
    slots: Vec<Slot>,
    /// Connections without a request. The one that has been idle for the longest time is used first, so all are used.
    free: VecDeque<usize>,
    /// Connections that get their next request at a time, in order (closed loop).
    due: VecDeque<(Instant, usize)>,
    /// Intended times that wait for a connection (open loop).
    backlog: VecDeque<Instant>,
    counted_from: Instant,
    tally: Tally,
}

impl<'a> Generator<'a> {
    fn new(spec: &'a Spec) -> io::Result<Self> {
        let now = Instant::now();
        let all = 0..spec.connections;
        Ok(Generator {
            spec,
            waiter: Waiter::new()?,
            slots: all.clone().map(|_| Slot::default()).collect(),
            free: if spec.pace == Pace::Closed { VecDeque::new() } else { all.clone().collect() },
            due: if spec.pace == Pace::Closed { all.map(|n| (now, n)).collect() } else { VecDeque::new() },
            backlog: VecDeque::new(),
            counted_from: now + Duration::from_secs_f64(spec.warm_s),
            tally: Tally::new(spec.connections),
        })
    }

    fn run(mut self) -> io::Result<Tally> {
        let end = self.counted_from + Duration::from_secs_f64(self.spec.seconds);
        let (next, rate_hz) = match self.spec.pace {
            Pace::Closed => (None, 0.0),
            Pace::Open(rate_hz) => (Some(Instant::now()), rate_hz),
        };
        let mut times = Times { next, rate_hz, rng: Rng(1) };
        loop {
            let now = Instant::now();
            while let Some(intended) = times.take_until(now.min(end)) {
                if intended >= self.counted_from {
                    self.tally.late_us.saturating_record(micros(intended, now));
                }
                self.backlog.push_back(intended);
            }
            self.begin(now, end);
            let busy = self.slots.len() - self.free.len() - self.due.len();
            let over = now >= end && (self.spec.pace == Pace::Closed || busy == 0 && self.backlog.is_empty());
            if over || now >= end + GRACE {
                break;
            }
            let next = self.due.front().map(|(at, _)| *at).into_iter().chain(times.next);
            let until =
                next.filter(|at| *at < end).min().unwrap_or(if now < end { end } else { end + GRACE });
            for number in self.waiter.wait(until)? {
                self.advance(number);
            }
        }
        let now = Instant::now();
        let waiting = self.slots.iter().filter_map(|slot| slot.exchange.as_ref()).map(|e| e.intended);
        let waiting = waiting.chain(self.backlog.iter().copied());
        for intended in waiting.filter(|at| *at >= self.counted_from) {
            self.tally.unanswered += 1;
            self.tally.latency_us.saturating_record(micros(intended, now));
        }
        self.tally.intended = self.tally.good + self.tally.wrong + self.tally.failed + self.tally.unanswered;
        Ok(self.tally)
    }

    /// Gives requests to free connections.
    fn begin(&mut self, now: Instant, end: Instant) {
        while self.due.front().is_some_and(|(at, _)| *at <= now && now < end) {
            let Some((_, slot)) = self.due.pop_front() else { break };
            self.send(slot, now);
        }
        while let (Some(&intended), Some(&slot)) = (self.backlog.front(), self.free.front()) {
            self.backlog.pop_front();
            self.free.pop_front();
            self.send(slot, intended);
        }
    }

    fn send(&mut self, number: usize, intended: Instant) {
        let slot = &mut self.slots[number];
        let Some(stream) = slot.idle.take() else { return self.open(number, intended) };
        slot.reused = true;
        slot.exchange = Some(Exchange::on(stream, intended, &self.spec.body));
        self.advance(number);
    }

    fn open(&mut self, number: usize, intended: Instant) {
        self.slots[number].reused = false;
        match Exchange::open(&self.waiter, self.spec.address, number, intended, &self.spec.body) {
            Ok(exchange) => self.slots[number].exchange = Some(exchange),
            Err(_) => self.finish(number, intended, Verdict::Connect),
        }
    }

    fn advance(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let Some(mut exchange) = slot.exchange.take() else {
            // An idle connection that has bytes or has ended is of no more use.
            slot.idle = slot.idle.take().filter(is_silent);
            return;
        };
        let Some(verdict) = exchange.advance(&self.spec.request, &mut self.waiter) else {
            slot.exchange = Some(exchange);
            return;
        };
        let (intended, is_unanswered) = (exchange.intended, exchange.first.is_none());
        // A kept connection was closed before the response: the request goes out again on a new connection.
        if slot.reused && is_unanswered {
            return self.open(number, intended);
        }
        slot.idle = exchange.into_kept();
        self.finish(number, intended, verdict);
    }

    /// Counts the end of a request and makes its connection free.
    fn finish(&mut self, number: usize, intended: Instant, verdict: Verdict) {
        let now = Instant::now();
        let is_complete = matches!(verdict, Verdict::Good | Verdict::Corrupt);
        if intended >= self.counted_from {
            match verdict {
                Verdict::Good => {
                    self.tally.good += 1;
                    self.tally.answers[number] += 1;
                    self.tally.latency_us.saturating_record(micros(intended, now));
                }
                Verdict::Corrupt => self.tally.wrong += 1,
                _ => self.tally.failed += 1,
            }
        }
        match self.spec.pace {
            Pace::Open(_) => self.free.push_back(number),
            Pace::Closed if is_complete => self.due.push_front((now, number)),
            // The queue stays in order closely enough: a failure waits a little longer.
            Pace::Closed => self.due.push_back((now + AGAIN, number)),
        }
    }
}

/// The intended times of the open loop.
struct Times {
    /// None in the closed loop.
    next: Option<Instant>,
    rate_hz: f64,
    rng: Rng,
}

impl Times {
    /// Returns the next intended time if it is before `now`.
    fn take_until(&mut self, now: Instant) -> Option<Instant> {
        let intended = self.next.filter(|next| *next < now)?;
        self.next = Some(intended + Duration::from_secs_f64(exponential(&mut self.rng) / self.rate_hz));
        Some(intended)
    }
}

/// Random numbers with a seed (SplitMix64), which are the same on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Returns a random number with an exponential distribution and the mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    const STEPS: u64 = 1 << 53;
    -(1.0 - (rng.next() % STEPS) as f64 / STEPS as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::origin::{BODY, Origins};

    #[test]
    fn every_request_has_one_end() {
        let raw = |text: &'static str| Some(text.as_bytes());
        let cases = [
            (None, "good"),
            (raw("HTTP/1.0 200 OK\r\n\r\nok"), "good"),
            (raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"), "wrong"),
            (raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), "failed"),
            (raw("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nok"), "failed"),
        ];
        for pace in [Pace::Closed, Pace::Open(200.0)] {
            for (answer, expected) in cases {
                let origins = Origins::start(&[0]).unwrap();
                origins.reset(answer);
                let tally = run(&Spec {
                    address: ([127, 0, 0, 1], origins.ports[0]).into(),
                    request: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
                    body: Arc::from(BODY.as_bytes()),
                    connections: 3,
                    pace,
                    warm_s: 0.0,
                    seconds: 0.1,
                });
                let tally = tally.unwrap();
                let ends = [("good", tally.good), ("wrong", tally.wrong), ("failed", tally.failed)];
                for (end, count) in ends {
                    assert_eq!(count > 0, end == expected, "{pace:?} {answer:?}: {tally:?}");
                }
                assert_eq!(tally.answers.iter().sum::<u64>(), tally.good);
            }
        }
    }
}
