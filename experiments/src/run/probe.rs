//! The prober measures latency beside the load. It sends each request at its intended time, even when earlier responses
//! are late (open loop), and compares every body byte by byte. At each intended time it sends two requests: one on a new
//! connection, and one on a kept connection, as the load does. It opens as many kept connections as are in use at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde::{Deserialize, Serialize};

use crate::run::histogram::Histogram;
use crate::run::reply::{Reply, Verdict};

/// Priority of the prober's thread. A high priority makes the thread wait less for a CPU.
pub(crate) const NICE: i32 = -10;

/// Time for the last probes to end after the last probe was sent.
const GRACE: Duration = Duration::from_millis(1000);

/// Maximum number of probes in flight. A further probe fails as a timeout.
const UNDER_WAY: usize = 2000;

const TIMER: Token = Token(usize::MAX);

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

/// One request in flight.
struct Attempt {
    is_kept: bool,
    /// True when the server has closed the connection.
    closed: bool,
    stream: TcpStream,
    port: u16,
    intended: Instant,
    started: Instant,
    connected: Option<Instant>,
    sent_bytes: usize,
    sent: Option<Instant>,
    first: Option<Instant>,
    reply: Reply,
}

struct Session {
    spec: Spec,
    request: Vec<u8>,
    kept_request: Vec<u8>,
    /// Kept connections without a request: token, connection and local port.
    idle: Vec<(usize, TcpStream, u16)>,
    next_token: usize,
    poll: Poll,
    timer: OwnedFd,
    ports: Arc<Mutex<BTreeSet<u16>>>,
    attempts: BTreeMap<usize, Attempt>,
    raw: RawProbe,
}

impl Session {
    fn new(spec: Spec, ports: Arc<Mutex<BTreeSet<u16>>>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let request = request(&spec.path, spec.address);
        let kept_request =
            format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", spec.path, spec.address).into_bytes();
        let (idle, next_token) = (Vec::new(), 0);
        let raw = RawProbe { rate_hz: spec.rate_hz, ..RawProbe::default() };
        let attempts = BTreeMap::new();
        Ok(Session { spec, request, kept_request, idle, next_token, poll, timer, ports, attempts, raw })
    }

    fn run(mut self) -> io::Result<RawProbe> {
        let period = 1.0 / self.spec.rate_hz;
        let start = Instant::now();
        let intended = |n: u64| start + Duration::from_secs_f64(n as f64 * period);
        let last = (self.spec.seconds * self.spec.rate_hz) as u64;
        let end = intended(last) + GRACE;
        let mut events = Events::with_capacity(256);
        loop {
            let now = Instant::now();
            while self.raw.intended < last && intended(self.raw.intended) <= now {
                let at = intended(self.raw.intended);
                self.raw.intended += 1;
                self.launch(at, false);
                self.launch(at, true);
            }
            let sending = self.raw.intended < last;
            if !sending && (self.attempts.is_empty() || now >= end) {
                break;
            }
            self.wait(if sending { intended(self.raw.intended) } else { end }, &mut events)?;
            for event in &events {
                if event.token() != TIMER {
                    self.advance(event.token().0);
                }
            }
        }
        for attempt in self.attempts.values() {
            let times = if attempt.is_kept { &mut self.raw.kept } else { &mut self.raw.fresh };
            times.errors.timeout += 1;
        }
        Ok(self.raw)
    }

    /// Waits for events until a time. A timerfd sets the time in nanoseconds, because the timeout of epoll is in
    /// milliseconds.
    fn wait(&mut self, until: Instant, events: &mut Events) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        match self.poll.poll(events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn times(&mut self, is_kept: bool) -> &mut Times {
        if is_kept { &mut self.raw.kept } else { &mut self.raw.fresh }
    }

    fn launch(&mut self, intended: Instant, is_kept: bool) {
        let started = Instant::now();
        if is_kept && let Some((token, stream, port)) = self.idle.pop() {
            let connected = Some(started);
            self.begin(token, stream, port, (intended, started, connected), is_kept);
            // The connection is writable already, so no event will come.
            return self.advance(token);
        }
        if self.attempts.len() >= UNDER_WAY || (is_kept && self.raw.kept_connections >= KEPT) {
            self.times(is_kept).errors.timeout += 1;
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        let opened = TcpStream::connect(self.spec.address).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(token), interest)?;
            let port = stream.local_addr()?.port();
            Ok((stream, port))
        });
        let Ok((stream, port)) = opened else {
            self.times(is_kept).errors.connect += 1;
            return;
        };
        self.raw.kept_connections += u64::from(is_kept);
        if let Ok(mut ports) = self.ports.lock() {
            ports.insert(port);
        }
        self.begin(token, stream, port, (intended, started, None), is_kept);
    }

    fn begin(
        &mut self,
        token: usize,
        stream: TcpStream,
        port: u16,
        (intended, started, connected): (Instant, Instant, Option<Instant>),
        is_kept: bool,
    ) {
        let reply = Reply::new(Arc::clone(&self.spec.body));
        let (sent_bytes, sent, first, closed) = (0, None, None, false);
        let attempt = Attempt {
            is_kept,
            closed,
            stream,
            port,
            intended,
            started,
            connected,
            sent_bytes,
            sent,
            first,
            reply,
        };
        self.attempts.insert(token, attempt);
    }

    fn advance(&mut self, token: usize) {
        let Some(attempt) = self.attempts.get_mut(&token) else {
            // The server has closed an idle connection, unless nothing can be read.
            let is_open = |stream: &TcpStream| {
                stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            };
            return self.idle.retain(|(idle, stream, _)| *idle != token || is_open(stream));
        };
        let request = if attempt.is_kept { &self.kept_request } else { &self.request };
        let Some(end) = attempt.advance(request) else { return };
        let Some(attempt) = self.attempts.remove(&token) else { return };
        self.count(&attempt, &end);
        if attempt.is_kept && !attempt.closed && matches!(end, End::Reply(Verdict::Good)) {
            self.idle.push((token, attempt.stream, attempt.port));
        } else if let Ok(mut ports) = self.ports.lock() {
            ports.remove(&attempt.port);
        }
    }

    fn count(&mut self, attempt: &Attempt, end: &End) {
        let times = self.times(attempt.is_kept);
        if matches!(end, End::Reply(Verdict::Status | Verdict::Corrupt)) {
            times.difference.get_or_insert_with(|| attempt.reply.difference());
        }
        let errors = &mut times.errors;
        match end {
            End::Connect => errors.connect += 1,
            End::Write => errors.write += 1,
            End::Reply(Verdict::Broken) => errors.read += 1,
            End::Reply(Verdict::Status) => errors.status += 1,
            End::Reply(Verdict::Truncated) => errors.truncated += 1,
            End::Reply(Verdict::Corrupt) => errors.corrupt += 1,
            End::Reply(Verdict::Good) => {
                let micros =
                    |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros() as u64;
                if let (Some(connected), Some(sent), Some(first)) =
                    (attempt.connected, attempt.sent, attempt.first)
                {
                    times.connect_us.record(micros(attempt.started, connected));
                    times.waiting_us.record(micros(sent, first));
                    times.total_us.record(micros(attempt.intended, Instant::now()));
                }
            }
        }
    }
}

/// Makes a request for one file on its own connection.
pub(crate) fn request(path: &str, address: SocketAddr) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The end of an attempt.
enum End {
    Connect,
    Write,
    Reply(Verdict),
}

impl Attempt {
    /// Connects, writes and reads until the socket would block. Returns the end of the attempt, if it has ended.
    fn advance(&mut self, request: &[u8]) -> Option<End> {
        if self.connected.is_none() {
            match self.stream.take_error() {
                Ok(None) => {}
                _ => return Some(End::Connect),
            }
            match self.stream.peer_addr() {
                Ok(_) => self.connected = Some(Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return None,
                Err(_) => return Some(End::Connect),
            }
        }
        while self.sent_bytes < request.len() {
            // The clock is read before the write, because the response may have arrived when the write returns.
            self.sent = Some(Instant::now());
            match self.stream.write(&request[self.sent_bytes..]) {
                Ok(n) => self.sent_bytes += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some(End::Write),
            }
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    return Some(End::Reply(self.reply.ended()));
                }
                Ok(n) => {
                    self.first.get_or_insert_with(Instant::now);
                    if let Some(verdict) = self.reply.received(&buffer[..n]) {
                        return Some(End::Reply(verdict));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some(End::Reply(self.reply.ended())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
