//! The prober measures latency beside the load. It sends each request at its intended time, even when earlier responses
//! are late (open loop), and compares every body byte by byte. At each intended time it sends two requests: one on a new
//! connection, and one on a kept connection, as the load does. It opens as many kept connections as are in use at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use serde::{Deserialize, Serialize};

use crate::run::exchange::{Exchange, NICE, Waiter, is_silent, micros};
use crate::run::histogram::Histogram;
use crate::run::reply::Verdict;

/// Time for the last probes to end after the last probe was sent.
const GRACE: Duration = Duration::from_millis(1000);

/// Maximum number of probes in flight. A further probe fails as a timeout.
const UNDER_WAY: usize = 2000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeErrors {
    pub(crate) connect: u64,
    /// The connection broke, or the response was not HTTP.
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Status other than 200.
    pub(crate) status: u64,
    /// No response in time.
    pub(crate) timeout: u64,
    /// The body ended before its announced length.
    pub(crate) truncated: u64,
    /// The body had the right length, but other bytes.
    pub(crate) corrupt: u64,
}

impl ProbeErrors {
    pub(crate) fn plus(&self, other: &Self) -> Self {
        ProbeErrors {
            connect: self.connect + other.connect,
            read: self.read + other.read,
            write: self.write + other.write,
            status: self.status + other.status,
            timeout: self.timeout + other.timeout,
            truncated: self.truncated + other.truncated,
            corrupt: self.corrupt + other.corrupt,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.connect + self.read + self.write + self.status + self.timeout + self.truncated + self.corrupt
    }
}

/// The results of the prober.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawProbe {
    pub(crate) rate_hz: f64,
    /// Requests on new connections, and as many on kept connections.
    pub(crate) intended: u64,
    pub(crate) fresh: Times,
    pub(crate) kept: Times,
    /// Kept connections that were opened.
    pub(crate) kept_connections: u64,
}

/// The results of the requests on one kind of connection, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) errors: ProbeErrors,
    /// Time to connect; 0 for a connection that was open.
    pub(crate) connect_us: Histogram,
    /// From writing the request to the first byte of the response.
    pub(crate) waiting_us: Histogram,
    /// From the intended time to the last byte.
    pub(crate) total_us: Histogram,
    /// The difference of the first response with a wrong status or body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) difference: Option<String>,
}

/// The request, its rate and the duration.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) body: Arc<[u8]>,
    pub(crate) rate_hz: f64,
    pub(crate) seconds: f64,
}

/// A prober that runs on its own thread.
#[derive(Debug)]
pub(crate) struct Prober {
    thread: JoinHandle<io::Result<RawProbe>>,
    ports: Arc<Mutex<BTreeSet<u16>>>,
}

impl Prober {
    pub(crate) fn start(spec: Spec) -> Self {
        let ports = Arc::new(Mutex::new(BTreeSet::new()));
        let shared = Arc::clone(&ports);
        let thread = thread::spawn(move || {
            let _ = rustix::process::setpriority_process(None, NICE);
            Session::new(spec, shared)?.run()
        });
        Prober { thread, ports }
    }

    /// Returns the local ports of the probes in flight, to tell them from the client's connections.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.ports.lock().map(|ports| ports.clone()).unwrap_or_default()
    }

    pub(crate) fn finish(self) -> io::Result<RawProbe> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the prober panicked")))
    }
}

/// Maximum number of kept connections. A further probe on a kept connection fails as a timeout.
const KEPT: u64 = 256;

struct Session {
    spec: Spec,
    request: Vec<u8>,
    kept_request: Vec<u8>,
    /// Kept connections without a request, by their number.
    idle: Vec<(usize, TcpStream)>,
    next_number: usize,
    waiter: Waiter,
    ports: Arc<Mutex<BTreeSet<u16>>>,
    /// The requests in flight, and whether their connection is a kept one.
    exchanges: BTreeMap<usize, (bool, Exchange)>,
    raw: RawProbe,
}

impl Session {
    fn new(spec: Spec, ports: Arc<Mutex<BTreeSet<u16>>>) -> io::Result<Self> {
        let request = request(&spec.path, spec.address);
        let kept_request = kept_request(&spec.path, spec.address);
        let raw = RawProbe { rate_hz: spec.rate_hz, ..RawProbe::default() };
        let (idle, exchanges, waiter) = (Vec::new(), BTreeMap::new(), Waiter::new()?);
        Ok(Session { spec, request, kept_request, idle, next_number: 0, waiter, ports, exchanges, raw })
    }

    fn run(mut self) -> io::Result<RawProbe> {
        let period = 1.0 / self.spec.rate_hz;
        let start = Instant::now();
        let intended = |n: u64| start + Duration::from_secs_f64(n as f64 * period);
        let last = (self.spec.seconds * self.spec.rate_hz) as u64;
        let end = intended(last) + GRACE;
        loop {
            let now = Instant::now();
            while self.raw.intended < last && intended(self.raw.intended) <= now {
                let at = intended(self.raw.intended);
                self.raw.intended += 1;
                self.launch(at, false);
                self.launch(at, true);
            }
            let sending = self.raw.intended < last;
            if !sending && (self.exchanges.is_empty() || now >= end) {
                break;
            }
            let until = if sending { intended(self.raw.intended) } else { end };
            for number in self.waiter.wait(until)? {
                self.advance(number);
            }
        }
        for is_kept in self.exchanges.values().map(|(is_kept, _)| *is_kept).collect::<Vec<_>>() {
            self.times(is_kept).errors.timeout += 1;
        }
        Ok(self.raw)
    }

    fn times(&mut self, is_kept: bool) -> &mut Times {
        if is_kept { &mut self.raw.kept } else { &mut self.raw.fresh }
    }

    fn launch(&mut self, intended: Instant, is_kept: bool) {
        if is_kept && let Some((number, stream)) = self.idle.pop() {
            let exchange = Exchange::on(stream, intended, &self.spec.body);
            self.exchanges.insert(number, (is_kept, exchange));
            return self.advance(number);
        }
        if self.exchanges.len() >= UNDER_WAY || (is_kept && self.raw.kept_connections >= KEPT) {
            self.times(is_kept).errors.timeout += 1;
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let opened = Exchange::open(&self.waiter, self.spec.address, number, intended, &self.spec.body);
        let Ok(exchange) = opened else {
            self.times(is_kept).errors.connect += 1;
            return;
        };
        self.raw.kept_connections += u64::from(is_kept);
        if let (Ok(mut ports), Some(port)) = (self.ports.lock(), exchange.port()) {
            ports.insert(port);
        }
        self.exchanges.insert(number, (is_kept, exchange));
    }

    fn advance(&mut self, number: usize) {
        let Some((is_kept, exchange)) = self.exchanges.get_mut(&number) else {
            // The server may have closed an idle connection.
            return self.idle.retain(|(idle, stream)| *idle != number || is_silent(stream));
        };
        let request = if *is_kept { &self.kept_request } else { &self.request };
        let Some(verdict) = exchange.advance(request, &mut self.waiter) else { return };
        let Some((is_kept, exchange)) = self.exchanges.remove(&number) else { return };
        self.count(is_kept, &exchange, verdict);
        let port = exchange.port();
        match exchange.into_kept().filter(|_| is_kept && verdict == Verdict::Good) {
            Some(stream) => self.idle.push((number, stream)),
            None => {
                if let (Ok(mut ports), Some(port)) = (self.ports.lock(), port) {
                    ports.remove(&port);
                }
            }
        }
    }

    fn count(&mut self, is_kept: bool, exchange: &Exchange, verdict: Verdict) {
        let times = self.times(is_kept);
        if matches!(verdict, Verdict::Status | Verdict::Corrupt) {
            times.difference.get_or_insert_with(|| exchange.reply.difference());
        }
        let errors = &mut times.errors;
        match verdict {
            Verdict::Connect => errors.connect += 1,
            Verdict::Write => errors.write += 1,
            Verdict::Broken => errors.read += 1,
            Verdict::Status => errors.status += 1,
            Verdict::Truncated => errors.truncated += 1,
            Verdict::Corrupt => errors.corrupt += 1,
            Verdict::Good => {
                let steps = (exchange.connected, exchange.sent, exchange.first);
                if let (Some(connected), Some(sent), Some(first)) = steps {
                    times.connect_us.record(micros(exchange.started, connected));
                    times.waiting_us.record(micros(sent, first));
                    times.total_us.record(micros(exchange.intended, Instant::now()));
                }
            }
        }
    }
}

/// Makes a request for one file on its own connection.
pub(crate) fn request(path: &str, address: SocketAddr) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Makes a request for one file on a connection that stays open.
pub(crate) fn kept_request(path: &str, address: SocketAddr) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers with an empty body. Closes a connection when the request asks for it.
    fn serve(mut stream: std::net::TcpStream) {
        let mut buffer = [0; 1000];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            if buffer[..n].windows(5).any(|window| window == b"close") {
                return;
            }
        }
    }

    #[test]
    fn requests_go_out_on_new_and_on_kept_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        let spec = Spec { address, path: "x".into(), body: Arc::from([]), rate_hz: 200.0, seconds: 0.2 };
        let raw = Prober::start(spec).finish().unwrap();
        assert_eq!((raw.intended, raw.fresh.total_us.count(), raw.kept.total_us.count()), (40, 40, 40));
        assert!((1..40).contains(&raw.kept_connections), "{raw:?}");
        assert_eq!(raw.fresh.errors.total() + raw.kept.errors.total(), 0);
    }
}
