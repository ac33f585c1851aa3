//! A backend on plain sockets, with a thread for each connection. It counts its requests, and it misbehaves as it is
//! told.
//!
//! `neraca serve --faults` is not enough here. These checks need a real queue in front of the slots, connections that
//! close without a notice, the counts of a backend that is killed, and answers to POST.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wire::{Message, read_message, spawn};

/// The path of active checks. Checks do not count as requests, and they need no slot.
pub(crate) const CHECK: &str = "/up";
/// Time between two looks at a state that changes.
const LOOK: Duration = Duration::from_millis(5);

/// The closes of a backend that keeps no connection for long. Each connection has its own random values.
#[derive(Debug, Clone)]
pub(crate) struct Closes {
    /// Requests until the close.
    pub(crate) requests: RangeInclusive<u64>,
    /// Milliseconds without a request until the close.
    pub(crate) idle_ms: RangeInclusive<u64>,
}

/// The behaviour and the counts of a backend.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Work for each request, in microseconds.
    pub(crate) work_us: AtomicU64,
    /// Answers 500 without any work.
    pub(crate) fails: AtomicBool,
    /// Accepts connections and answers nothing. When this ends, the connections that waited are closed.
    pub(crate) hangs: AtomicBool,
    /// Requests that arrived, without checks.
    pub(crate) received: AtomicU64,
    /// Requests that have arrived and have no answer yet.
    in_flight: AtomicU64,
    /// The maximum of `in_flight`.
    pub(crate) peak: AtomicU64,
    /// The limit on requests that are worked on at a time.
    slots: Option<Slots>,
    closes: Option<Closes>,
    /// The file for the target of each POST.
    log: Option<File>,
    /// The open connections by number. So they can be closed from another thread.
    connections: Mutex<HashMap<u64, Arc<TcpStream>>>,
    accepted: AtomicU64,
    is_down: AtomicBool,
}

impl State {
    /// Makes a backend that needs this time for each request, and works on `slots` requests at a time.
    pub(crate) fn working(work: Duration, slots: Option<usize>) -> Self {
        let work_us = AtomicU64::new(work.as_micros() as u64);
        State { work_us, slots: slots.map(Slots::new), ..State::default() }
    }

    /// Makes a backend that answers at once, closes connections, and writes the target of each POST into `log`.
    pub(crate) fn closing(closes: Closes, log: File) -> Self {
        State { closes: Some(closes), log: Some(log), ..State::default() }
    }
}

/// A running backend.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) state: Arc<State>,
    pub(crate) address: SocketAddr,
}

impl Backend {
    /// Starts a backend. Port 0 means a free port.
    pub(crate) fn start(port: u16, state: State) -> io::Result<Backend> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let backend = Backend { address: listener.local_addr()?, state: Arc::new(state) };
        backend.accept(listener);
        Ok(backend)
    }

    /// Starts several backends of one kind on free ports.
    pub(crate) fn several(count: usize, state: impl Fn() -> State) -> io::Result<Vec<Backend>> {
        (0..count).map(|_| Backend::start(0, state())).collect()
    }

    /// Closes the listener and all connections.
    pub(crate) fn bring_down(&self) {
        self.state.is_down.store(true, SeqCst);
        // Wakes the thread that accepts. This connection is the last one.
        let _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            thread::sleep(LOOK);
        }
        for connection in lock(&self.state.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Ends all work at once and closes everything. Returns when no connection is left.
    pub(crate) fn end(&self) {
        self.state.work_us.store(0, SeqCst);
        self.bring_down();
        while !lock(&self.state.connections).is_empty() {
            thread::sleep(LOOK);
        }
    }

    /// Listens again, after [`bring_down`](Backend::bring_down).
    pub(crate) fn bring_up(&self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address)?;
        self.state.is_down.store(false, SeqCst);
        self.accept(listener);
        Ok(())
    }

    fn accept(&self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                if state.is_down.load(SeqCst) {
                    return;
                }
                let number = state.accepted.fetch_add(1, SeqCst);
                let stream = Arc::new(stream);
                lock(&state.connections).insert(number, Arc::clone(&stream));
                let state = Arc::clone(&state);
                spawn(move || {
                    let _ = state.converse(&stream);
                    lock(&state.connections).remove(&number);
                });
            }
        });
    }
}

impl State {
    /// Answers the requests of a connection until the connection must be closed.
    fn converse(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut left = u64::MAX;
        if let Some(Closes { requests, idle_ms }) = &self.closes {
            left = random(requests);
            stream.set_read_timeout(Some(Duration::from_millis(random(idle_ms))))?;
        }
        let mut received = Vec::new();
        while let Some(message) = read_message(&mut stream, &mut received)? {
            let is_check = message.target() == CHECK;
            if !is_check {
                self.received.fetch_add(1, SeqCst);
                self.note_post(&message)?;
            }
            if self.hangs.load(SeqCst) {
                while self.hangs.load(SeqCst) {
                    thread::sleep(LOOK);
                }
                return Ok(());
            }
            let fails = self.fails.load(SeqCst);
            if !fails && !is_check {
                self.work();
            }
            let status = if fails { "500 Internal Server Error" } else { "200 OK" };
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").as_bytes())?;
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the target of a POST into the log. The kernel keeps what was written when the process is killed.
    fn note_post(&self, message: &Message) -> io::Result<()> {
        match &self.log {
            Some(log) if message.method() == "POST" => {
                (&*log).write_all(format!("{}\n", message.target()).as_bytes())
            }
            _ => Ok(()),
        }
    }

    /// Works on one request, when a slot is free. The request counts as in flight until its answer is sent.
    fn work(&self) {
        let in_flight = self.in_flight.fetch_add(1, SeqCst) + 1;
        self.peak.fetch_max(in_flight, SeqCst);
        let slot = self.slots.as_ref().map(Slots::take);
        // The work depends on the time at which it begins, not on the time at which the request arrived.
        let work = Duration::from_micros(self.work_us.load(SeqCst));
        if !work.is_zero() {
            thread::sleep(work);
        }
        drop(slot);
        self.in_flight.fetch_sub(1, SeqCst);
    }
}

/// The slots of a backend: requests wait in order. A request keeps its place when its client has gone.
#[derive(Debug)]
struct Slots(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    free: usize,
    waiting: VecDeque<Sender<()>>,
}

impl Slots {
    fn new(free: usize) -> Self {
        Slots(Mutex::new(Waiting { free, waiting: VecDeque::new() }))
    }

    /// Waits for a slot. The slot is free again when the returned value is dropped.
    fn take(&self) -> Slot<'_> {
        let mut state = lock(&self.0);
        if state.free > 0 {
            state.free -= 1;
        } else {
            let (sender, turn) = channel();
            state.waiting.push_back(sender);
            drop(state);
            let _ = turn.recv();
        }
        Slot(self)
    }
}

#[derive(Debug)]
struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        match state.waiting.pop_front() {
            Some(next) => drop(next.send(())),
            None => state.free += 1,
        }
    }
}

/// Locks a mutex. A thread that panicked leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a random number of a range.
pub(crate) fn random(range: &RangeInclusive<u64>) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    range.start() + RandomState::new().hash_one(0) % (range.end() - range.start() + 1)
}
