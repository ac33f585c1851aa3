//! A client on one thread with many connections: the load of `capacity` and `grade`, and the prober beside other loads.
//!
//! In the open loop each request has an intended time. If no connection is free then, the request waits, and its latency
//! still counts from the intended time. So a slow server cannot slow the clients down and hide its own delays
//! (coordinated omission).

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, iter};

use fastrand::Rng;
use hdrhistogram::Histogram as Fine;
use mio::net::TcpStream;
use serde::{Deserialize, Serialize};

use crate::plans::model::Cell;
use crate::run::exchange::{Exchange, Waiter, is_silent, micros};
use crate::run::histogram::Histogram;
use crate::run::reply::{Errors, Verdict};

/// Priority of the client's thread. A high priority makes the thread wait less for a CPU.
pub(crate) const NICE: i32 = -10;
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
    /// This number of requests per second, at equal intervals.
    Steady(f64),
}

/// The load: one request, sent often, on the connections and for the seconds of a cell.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) cell: Cell,
    pub(crate) address: SocketAddr,
    /// The expected body.
    pub(crate) body: Arc<[u8]>,
    pub(crate) pace: Pace,
    /// Local ports of all connections, which the load adds.
    pub(crate) ports: Arc<Mutex<BTreeSet<u16>>>,
}

/// The times of the good responses in microseconds, and the failures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    pub(crate) errors: Errors,
    /// From writing the request to the first byte of the response.
    pub(crate) waiting_us: Histogram,
    /// From the intended time to the last byte.
    pub(crate) total_us: Histogram,
    /// The difference of the first response with a wrong status or body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) difference: Option<String>,
}

/// The counted requests.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) intended: u64,
    pub(crate) good: u64,
    pub(crate) times: Times,
    /// Microseconds from the intended time to the last byte of a good response. An unanswered request counts with the
    /// time that it has waited.
    pub(crate) latency_us: Fine<u64>,
    /// Microseconds from the intended time until the generator looks for a free connection: its own delay.
    pub(crate) late_us: Fine<u64>,
    /// Good responses of each connection.
    pub(crate) answers: Vec<u64>,
}

impl Tally {
    /// Counts the end of a request.
    fn count(&mut self, connection: usize, exchange: Option<&Exchange>, verdict: Verdict, now: Instant) {
        self.times.errors.count(verdict);
        match (exchange, verdict) {
            (Some(exchange), Verdict::Status | Verdict::Corrupt) => {
                self.times.difference.get_or_insert_with(|| exchange.reply.difference());
            }
            (Some(Exchange { intended, sent: Some(sent), first: Some(first), .. }), Verdict::Good) => {
                self.good += 1;
                self.answers[connection] += 1;
                self.latency_us.saturating_record(micros(*intended, now));
                self.times.waiting_us.record(micros(*sent, *first));
                self.times.total_us.record(micros(*intended, now));
            }
            _ => {}
        }
    }

    /// Returns the latency in milliseconds that this share of the requests does not exceed.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        self.latency_us.value_at_quantile(share) as f64 / 1e3
    }

    /// Returns the share of the intended requests that got a good response within a time.
    pub(crate) fn good_within(&self, time: Duration) -> f64 {
        let good = self.latency_us.count_between(0, time.as_micros() as u64).min(self.good);
        good as f64 / self.intended.max(1) as f64
    }
}

/// Makes a request for one file. The connection may stay open when `keep` is true.
pub(crate) fn request(path: &str, address: SocketAddr, keep: bool) -> Vec<u8> {
    let close = if keep { "" } else { "Connection: close\r\n" };
    format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n{close}\r\n").into_bytes()
}

/// A connection: idle, with a request in flight, or closed.
#[derive(Default)]
struct Slot {
    idle: Option<TcpStream>,
    exchange: Option<Exchange>,
}

/// Starts the load on a thread of its own, whose priority is higher where that is allowed.
pub(crate) fn start(spec: Spec) -> JoinHandle<io::Result<Tally>> {
    thread::spawn(move || {
        let _ = rustix::process::setpriority_process(None, NICE);
        Generator::new(spec)?.run()
    })
}

/// Waits for the end of a load.
pub(crate) fn finish(load: JoinHandle<io::Result<Tally>>) -> io::Result<Tally> {
    load.join().unwrap_or_else(|_| Err(io::Error::other("the load generator panicked")))
}

struct Generator {
    spec: Spec,
    request: Vec<u8>,
    waiter: Waiter,
    slots: Vec<Slot>,
    /// Connections without a request, each with the time from which it can be used, in the order of their use.
    free: VecDeque<(Instant, usize)>,
    /// Intended times that wait for a connection (open loop).
    backlog: VecDeque<Instant>,
    start: Instant,
    counted_from: Instant,
    tally: Tally,
}

impl Generator {
    fn new(spec: Spec) -> io::Result<Self> {
        let start = Instant::now();
        let connections = spec.cell.connections as usize;
        let fine = Fine::new_with_max(600_000_000, 3).expect("3 digits are valid");
        let (latency_us, late_us, answers) = (fine.clone(), fine, vec![0; connections]);
        Ok(Generator {
            request: request(&spec.cell.path, spec.address, spec.cell.keep_alive),
            waiter: Waiter::new()?,
            slots: (0..connections).map(|_| Slot::default()).collect(),
            free: (0..connections).map(|number| (start, number)).collect(),
            backlog: VecDeque::new(),
            start,
            counted_from: start + Duration::from_secs_f64(spec.cell.warm_s),
            tally: Tally { intended: 0, good: 0, times: Times::default(), latency_us, late_us, answers },
            spec,
        })
    }

    fn run(mut self) -> io::Result<Tally> {
        let end = self.counted_from + Duration::from_secs_f64(self.spec.cell.seconds);
        let is_closed = self.spec.pace == Pace::Closed;
        let mut arrivals = arrivals(self.start, self.spec.pace).peekable();
        loop {
            let now = Instant::now();
            while let Some(intended) = arrivals.next_if(|at| *at < now.min(end)) {
                if intended >= self.counted_from {
                    self.tally.late_us.saturating_record(micros(intended, now));
                }
                self.backlog.push_back(intended);
            }
            self.begin(now, end);
            let is_idle = self.free.len() == self.slots.len() && self.backlog.is_empty();
            let over = now >= end && (is_closed || is_idle);
            if over || now >= end + GRACE {
                break;
            }
            let next =
                if is_closed { self.free.front().map(|(at, _)| *at) } else { arrivals.peek().copied() };
            let last = if now < end { end } else { end + GRACE };
            let until = next.filter(|at| *at < end).unwrap_or(last);
            for number in self.waiter.wait(until)? {
                self.advance(number);
            }
        }
        let now = Instant::now();
        let waiting = self.slots.iter().filter_map(|slot| slot.exchange.as_ref()).map(|e| e.intended);
        let waiting = waiting.chain(self.backlog.iter().copied());
        for intended in waiting.filter(|at| *at >= self.counted_from) {
            self.tally.times.errors.timeout += 1;
            self.tally.latency_us.saturating_record(micros(intended, now));
        }
        self.tally.intended = self.tally.good + self.tally.times.errors.total();
        Ok(self.tally)
    }

    /// Gives requests to free connections.
    fn begin(&mut self, now: Instant, end: Instant) {
        while let Some(&(_, number)) = self.free.front().filter(|(at, _)| *at <= now) {
            let intended = match self.spec.pace {
                Pace::Closed => Some(now).filter(|now| *now < end),
                Pace::Open(_) | Pace::Steady(_) => self.backlog.pop_front(),
            };
            let Some(intended) = intended else { break };
            self.free.pop_front();
            match self.slots[number].idle.take() {
                None => self.open(number, intended),
                Some(stream) => {
                    let exchange = Exchange::new(stream, true, intended, &self.spec.body);
                    self.slots[number].exchange = Some(exchange);
                    self.advance(number);
                }
            }
        }
    }

    fn open(&mut self, number: usize, intended: Instant) {
        let opened = {
            // Nobody reads the ports between the begin of a connection and the note of its port.
            let mut ports = self.spec.ports.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = self.waiter.connect(self.spec.address, number);
            opened.inspect(|stream| ports.extend(stream.local_addr().map(|address| address.port())))
        };
        match opened {
            Ok(stream) => {
                self.slots[number].exchange = Some(Exchange::new(stream, false, intended, &self.spec.body));
            }
            Err(_) => self.finish(number, intended, None, Verdict::Connect),
        }
    }

    fn advance(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let Some(mut exchange) = slot.exchange.take() else {
            // An idle connection that has bytes or has ended is of no more use.
            slot.idle = slot.idle.take().filter(is_silent);
            return;
        };
        let Some(verdict) = exchange.advance(&self.request, &mut self.waiter) else {
            slot.exchange = Some(exchange);
            return;
        };
        // A kept connection was closed before the response: the request goes out again on a new connection.
        if exchange.reused && exchange.first.is_none() {
            return self.open(number, exchange.intended);
        }
        self.finish(number, exchange.intended, Some(exchange), verdict);
    }

    /// Counts the end of a request and makes its connection free. There is no exchange without a connection.
    fn finish(&mut self, number: usize, intended: Instant, exchange: Option<Exchange>, verdict: Verdict) {
        let now = Instant::now();
        if intended >= self.counted_from {
            self.tally.count(number, exchange.as_ref(), verdict, now);
        }
        let kept = exchange.filter(|exchange| self.spec.cell.keep_alive && exchange.reply.keeps());
        self.slots[number].idle = kept.map(|exchange| exchange.stream);
        match (self.spec.pace, verdict) {
            // The connection that has been idle for the longest time is used first, so all are used.
            (Pace::Open(_), _) => self.free.push_back((intended, number)),
            // As few connections are opened as are in use at once.
            (Pace::Steady(_), _) => self.free.push_front((intended, number)),
            (Pace::Closed, Verdict::Good | Verdict::Corrupt) => self.free.push_front((now, number)),
            // The queue stays in order closely enough: a failure waits a little longer.
            (Pace::Closed, _) => self.free.push_back((now + AGAIN, number)),
        }
    }
}

/// Returns the intended times of the open loop, from a start. There are none in the closed loop.
fn arrivals(start: Instant, pace: Pace) -> impl Iterator<Item = Instant> {
    let mut rng = Rng::with_seed(1);
    let first = Some(start).filter(|_| pace != Pace::Closed);
    iter::successors(first, move |last| {
        let seconds = match pace {
            Pace::Closed => return None,
            Pace::Open(rate_hz) => exponential(&mut rng) / rate_hz,
            Pace::Steady(rate_hz) => 1.0 / rate_hz,
        };
        Some(*last + Duration::from_secs_f64(seconds))
    })
}

/// Returns a random number with an exponential distribution and the mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::run::origin::{BODY, Origins};

    /// A share of exp(-t) of the times is longer than t.
    #[test]
    fn random_times_have_an_exponential_distribution() {
        let mut rng = Rng::with_seed(7);
        let times: Vec<f64> = (0..1_000_000).map(|_| exponential(&mut rng)).collect();
        for t in [0.01, 0.1, 1.0, 4.0, 7.0] {
            let longer = times.iter().filter(|time| **time > t).count() as f64 / times.len() as f64;
            assert!((longer / f64::exp(-t) - 1.0).abs() < 0.1, "{t}: {longer}");
        }
    }

    #[test]
    fn every_request_has_one_end() {
        let raw = |text: &'static str| Some(text.as_bytes());
        let cases = [
            (None, "good"),
            (None, "connect"),
            (raw("HTTP/1.0 200 OK\r\n\r\nok"), "good"),
            (raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"), "corrupt"),
            (raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), "truncated"),
            (raw("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nok"), "status"),
        ];
        let (closed, random, steady) = (Pace::Closed, Pace::Open(200.0), Pace::Steady(200.0));
        for (pace, keep) in [(closed, true), (random, true), (steady, true), (steady, false)] {
            for (answer, expected) in cases {
                let origins = Origins::start(&[0]).unwrap();
                origins.reset(answer);
                let cell = Cell { connections: 30, keep_alive: keep, seconds: 0.1, ..Cell::default() };
                // Nobody listens on port 1.
                let port = if expected == "connect" { 1 } else { origins.ports[0] };
                let address = ([127, 0, 0, 1], port).into();
                let body = Arc::from(BODY.as_bytes());
                let spec = Spec { cell, address, body, pace, ports: Arc::default() };
                let tally = finish(start(spec.clone())).unwrap();
                let errors = tally.times.errors;
                let mut ends = json!(errors);
                ends["good"] = json!(tally.good);
                let mut counted: BTreeMap<String, u64> = serde_json::from_value(ends).unwrap();
                counted.retain(|end, count| *count > 0 && end != "timeout");
                assert_eq!(counted.keys().collect::<Vec<_>>(), [expected], "{pace:?} {answer:?}: {tally:?}");
                let answers = tally.answers.iter().sum::<u64>();
                assert_eq!((answers, tally.times.total_us.len()), (tally.good, tally.good));
                assert_eq!(tally.times.difference.is_some(), errors.corrupt + errors.status > 0, "{tally:?}");
                if pace == steady {
                    assert_eq!(tally.intended, 20);
                    // Only a connection that is kept carries more than one request.
                    let opened = spec.ports.lock().unwrap().len();
                    let is_kept = keep && (expected, answer) == ("good", None);
                    assert_eq!(opened < 20, is_kept, "{opened} connections for {answer:?}");
                }
            }
        }
    }
}
