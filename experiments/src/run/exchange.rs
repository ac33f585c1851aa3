//! Requests on non-blocking connections, for a client that runs on one thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::run::reply::{Reply, Verdict};

const TIMER: Token = Token(usize::MAX);

/// Waits for connections and for a time. A timerfd sets the time in nanoseconds, because the timeout of epoll is in
/// milliseconds.
pub(crate) struct Waiter {
    poll: Poll,
    timer: OwnedFd,
    events: Events,
    /// Space for received bytes.
    buffer: Vec<u8>,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Waiter { poll, timer, events: Events::with_capacity(1024), buffer: vec![0; 16 * 1024] })
    }

    /// Begins to open a connection. [`Waiter::wait`] returns its number.
    pub(crate) fn connect(&self, address: SocketAddr, number: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number), interest)?;
        Ok(stream)
    }

    /// Waits until a time. Returns the numbers of the connections with events.
    pub(crate) fn wait(&mut self, until: Instant) -> io::Result<Vec<usize>> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            result => result?,
        }
        let tokens = self.events.iter().map(mio::event::Event::token);
        Ok(tokens.filter(|token| *token != TIMER).map(|token| token.0).collect())
    }
}

/// One request in flight, with the times of its steps.
pub(crate) struct Exchange {
    pub(crate) stream: TcpStream,
    pub(crate) intended: Instant,
    /// True when the connection has served a request before.
    pub(crate) reused: bool,
    sent_bytes: usize,
    pub(crate) sent: Option<Instant>,
    /// Time of the first received byte.
    pub(crate) first: Option<Instant>,
    pub(crate) reply: Reply,
}

impl Exchange {
    /// Begins a request on a new connection, or on a `reused` one. A reused connection is writable already, so no event
    /// will come.
    pub(crate) fn new(stream: TcpStream, reused: bool, intended: Instant, body: &Arc<[u8]>) -> Self {
        let reply = Reply::new(Arc::clone(body));
        Exchange { stream, intended, reused, sent_bytes: 0, sent: None, first: None, reply }
    }

    /// Connects, writes and reads until the socket would block. Returns the verdict when the exchange has ended.
    pub(crate) fn advance(&mut self, request: &[u8], waiter: &mut Waiter) -> Option<Verdict> {
        while self.sent_bytes < request.len() {
            // The clock is read before the write, because the response may have arrived when the write returns.
            self.sent = Some(Instant::now());
            match self.stream.write(&request[self.sent_bytes..]) {
                Ok(n) => self.sent_bytes += n,
                Err(error) => match error.kind() {
                    // The socket would block until it is connected.
                    ErrorKind::WouldBlock => return None,
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Some(Verdict::Write),
                    _ if self.reused || self.sent_bytes > 0 => return Some(Verdict::Write),
                    _ => return Some(Verdict::Connect),
                },
            }
        }
        loop {
            match self.stream.read(&mut waiter.buffer) {
                Ok(n @ 1..) => {
                    self.first.get_or_insert_with(Instant::now);
                    if let Some(verdict) = self.reply.received(&waiter.buffer[..n]) {
                        return Some(verdict);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return self.reply.received(&[]),
            }
        }
    }
}

/// True when an idle connection is open and has no bytes.
pub(crate) fn is_silent(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Returns the microseconds between two times; 0 when the second is the earlier one.
pub(crate) fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}
