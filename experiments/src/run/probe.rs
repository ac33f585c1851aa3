//! The prober measures latency beside the load. It sends each request at its intended time, even when earlier responses
//! are late (open loop). Each request has its own connection, and every body is compared byte by byte.

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
    pub(crate) fn total(&self) -> u64 {
        self.connect + self.read + self.write + self.status + self.timeout + self.truncated + self.corrupt
    }
}

/// The results of the prober.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawProbe {
    pub(crate) rate_hz: f64,
    pub(crate) intended: u64,
    pub(crate) errors: ProbeErrors,
    pub(crate) connect_us: Histogram,
    pub(crate) waiting_us: Histogram,
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

/// One request in flight.
struct Attempt {
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
        let raw = RawProbe { rate_hz: spec.rate_hz, ..RawProbe::default() };
        Ok(Session { spec, request, poll, timer, ports, attempts: BTreeMap::new(), raw })
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
                self.launch(intended(self.raw.intended));
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
        self.raw.errors.timeout += self.attempts.len() as u64;
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

    fn launch(&mut self, intended: Instant) {
        let id = self.raw.intended as usize;
        self.raw.intended += 1;
        if self.attempts.len() >= UNDER_WAY {
            self.raw.errors.timeout += 1;
            return;
        }
        let started = Instant::now();
        let opened = TcpStream::connect(self.spec.address).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(id), interest)?;
            let port = stream.local_addr()?.port();
            Ok((stream, port))
        });
        let Ok((stream, port)) = opened else {
            self.raw.errors.connect += 1;
            return;
        };
        if let Ok(mut ports) = self.ports.lock() {
            ports.insert(port);
        }
        let (connected, sent, first) = (None, None, None);
        let reply = Reply::new(Arc::clone(&self.spec.body));
        let attempt =
            Attempt { stream, port, intended, started, connected, sent_bytes: 0, sent, first, reply };
        self.attempts.insert(id, attempt);
    }

    fn advance(&mut self, id: usize) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let Some(end) = attempt.advance(&self.request) else { return };
        let Some(attempt) = self.attempts.remove(&id) else { return };
        if let Ok(mut ports) = self.ports.lock() {
            ports.remove(&attempt.port);
        }
        self.count(&attempt, end);
    }

    fn count(&mut self, attempt: &Attempt, end: End) {
        if matches!(end, End::Reply(Verdict::Status | Verdict::Corrupt)) {
            self.raw.difference.get_or_insert_with(|| attempt.reply.difference());
        }
        let errors = &mut self.raw.errors;
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
                    self.raw.connect_us.record(micros(attempt.started, connected));
                    self.raw.waiting_us.record(micros(sent, first));
                    self.raw.total_us.record(micros(attempt.intended, Instant::now()));
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
                Ok(0) => return Some(End::Reply(self.reply.ended())),
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
