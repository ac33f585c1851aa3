//! An engine without threads, sockets and clock. It runs the shipped driver over connections in memory.
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neraca::app::{App, Moment};
use neraca::cluster::Backend;
use neraca::engine::driver::{
    Connection, Endpoint, Listener, Load, Origin, PressureLimit, Readiness, Shared, Turn, WorkerState,
};
use neraca::engine::{ConcurrencyLimit, Options, Snapshot};
use neraca::exchange::{CloseReason, Interest, Side};
use neraca::http::buffer::BufferPool;

use super::chance::Pace;
use super::ports::{Owner, Ports};
use super::trace::Trace;
use super::wire::{SimLine, Wire};

/// Empty buffers of a worker at the start. They are all back when no connection has a request.
const SPARE_BUFFERS: usize = 4;

/// Most waits of one connection. Each ends by a byte, an end of a stream, or a deadline.
const WAITS_MAX: usize = 400_000;

/// How long a request counts as in flight for the pressure limit.
const EPOCH: Duration = Duration::from_millis(10);

pub const DATE: [u8; 29] = *b"Sun, 06 Nov 1994 08:49:37 GMT";

/// A worker, and when it woke up last.
struct Worker<V> {
    state: WorkerState<V, SimLine>,
    woken: Option<Instant>,
}

/// A client's connection at the engine.
struct Held {
    connection: Connection<SimLine>,
    client: usize,
    deadline: Instant,
    /// It waits in a run queue.
    queued: bool,
    /// It has no request.
    idle: bool,
    /// Its request waits in the queue of the cluster.
    in_queue: bool,
    waits: usize,
}

pub struct Engine<A: App> {
    pub app: Arc<A>,
    pub ports: Ports,
    trace: Trace,
    shared: Shared<A>,
    workers: Vec<Worker<A::View>>,
    listener: Arc<Listener>,
    /// By descriptor.
    connections: BTreeMap<usize, Held>,
    /// Descriptors of connections that are to run.
    runs: VecDeque<usize>,
    /// Descriptors of clients whose request has come and has not begun.
    waiting: VecDeque<usize>,
    /// The name of the event that a request waits because of the limit on requests in flight.
    held: &'static str,
    started: Instant,
    /// The connections that ended: which client's, and why.
    pub ended: Vec<(usize, CloseReason)>,
    /// The app delays answers: a connection may wait for a deadline only.
    pub delays: bool,
    /// Returns the number of requests in the queue of the cluster. A connection in the queue waits for its waker or its
    /// deadline. None when the app has no cluster.
    pub in_queue: Option<Box<dyn Fn() -> usize>>,
    /// Maximum requests in flight at each backend; None without a limit.
    pub cap: Option<u32>,
    /// A sweep came after the last change of the members.
    pub swept: bool,
}

impl<A: App> Engine<A> {
    pub fn new(app: Arc<A>, ports: Ports, options: Options, buffer_bytes: usize, now: Instant) -> Self {
        let trace = ports.trace.clone();
        let workers = (0..options.workers).map(|_| {
            let mut buffers = BufferPool::new(SPARE_BUFFERS, buffer_bytes);
            let made: Vec<_> = (0..SPARE_BUFFERS).map(|_| buffers.take()).collect();
            made.into_iter().for_each(|buffer| buffers.give(buffer));
            Worker { state: WorkerState::with_buffers(app.view(), buffers), woken: None }
        });
        Engine {
            workers: workers.collect(),
            ports,
            trace,
            held: match options.concurrency {
                ConcurrencyLimit::WhenSaturated(_) => "held while saturated",
                _ => "held",
            },
            listener: Listener::new(SocketAddr::from(([192, 0, 2, 9], 80)), options.listener.clone(), None),
            shared: Shared::new(Arc::clone(&app), options),
            app,
            connections: BTreeMap::new(),
            runs: VecDeque::new(),
            waiting: VecDeque::new(),
            started: now,
            ended: Vec::new(),
            delays: false,
            in_queue: None,
            cap: None,
            swept: true,
        }
    }

    /// Accepts a client's connection.
    pub fn accept(&mut self, wire: &Wire, client: usize, now: Instant) {
        let fd = wire.socket().fd;
        let address = SocketAddr::from(([192, 0, 2, 1], 5000 + client as u16));
        let endpoint = Endpoint::new(self.ports.line(wire, Side::Client));
        let deadline = now + self.listener.settings().limits.idle_timeout;
        let origin = Origin::new(address, Arc::clone(&self.listener));
        let connection = Connection::new(endpoint, origin, now);
        self.shared.opened(self.shared.counters(0));
        self.ports.own(fd, Owner::Client(fd));
        let held =
            Held { connection, client, deadline, queued: true, idle: false, in_queue: false, waits: 0 };
        assert!(self.connections.insert(fd, held).is_none(), "a descriptor has two connections");
        self.runs.push_back(fd);
    }

    /// Takes the events of some sockets. True when some socket has events.
    pub fn poll(&mut self, pace: &mut Pace, now: Instant) -> bool {
        let mut any = false;
        for wire in self.ports.wires() {
            let mut socket = wire.socket();
            if !socket.has_events() || socket.closed.is_some() {
                continue;
            }
            any = true;
            if pace.happens(70) {
                let (fd, events) = (socket.fd, socket.take_events());
                drop(socket);
                if let Some(client) = self.ports.announce(fd, events, now) {
                    self.schedule(client, false);
                }
            }
        }
        any
    }

    /// Queues a connection, unless it is queued. An idle client's request has to wait for room.
    fn schedule(&mut self, fd: usize, due: bool) {
        let Some(held) = self.connections.get_mut(&fd).filter(|held| !held.queued) else { return };
        held.queued = true;
        match held.idle && !due {
            true => self.waiting.push_back(fd),
            false => self.runs.push_back(fd),
        }
    }

    /// A worker runs some of the queued connections. True when one was queued.
    pub fn run(&mut self, pace: &mut Pace, now: Instant) -> bool {
        let begun = self.ports.limit.permit(self.waiting.len());
        self.runs.extend(self.waiting.drain(..begun));
        if !self.waiting.is_empty() {
            self.trace.note("pressure", self.held, begun, self.waiting.len());
        }
        for fd in self.ports.take_woken() {
            self.trace.note("queue", "woken", fd, 0);
            self.schedule(fd, true);
        }
        if self.runs.is_empty() {
            return false;
        }
        let worker = pace.index(self.workers.len());
        let clients = self.connections.len();
        let Worker { state, woken } = &mut self.workers[worker];
        // A worker that woke up at this instant may go on with the view that it has.
        if *woken != Some(now) || pace.happens(50) {
            *woken = Some(now);
            state.wake_up_at(&*self.app, Moment { instant: now, date: DATE, clients });
        }
        while !self.runs.is_empty() {
            let at = pace.index(self.runs.len());
            let fd = self.runs.remove(at).expect("a place in the queue");
            self.run_one(fd, worker, now);
            if !pace.happens(70) {
                break;
            }
        }
        true
    }

    fn run_one(&mut self, fd: usize, worker: usize, now: Instant) {
        let mut held = self.connections.remove(&fd).expect("a queued connection");
        held.queued = false;
        held.connection.client().ready.insert(self.ports.take_ready(fd));
        if let Some(backend) = held.connection.backend() {
            backend.ready.insert(self.ports.take_ready(backend.transport.inner().fd()));
        }
        self.ports.begin_run(held.client, now);
        let (state, counters) = (&mut self.workers[worker].state, self.shared.counters(worker));
        match held.connection.run(&self.shared, &self.ports, state, counters) {
            Turn::Waits(interest, deadline) => {
                self.check_wait(fd, &mut held, interest, deadline, now);
                (held.deadline, held.idle) = (deadline, held.connection.is_idle());
                let in_queue = self.cap.is_some() && interest == Interest::NONE;
                if in_queue && !held.in_queue {
                    self.trace.note("queue", "waits", fd, 0);
                }
                held.in_queue = in_queue;
                held.waits += 1;
                assert!(held.waits < WAITS_MAX, "waits without end for {interest:?}");
                if held.idle {
                    self.trace.note("driver", "idle", fd, 0);
                }
                self.connections.insert(fd, held);
            }
            Turn::Yields => {
                self.trace.note("driver", "yields", fd, 0);
                held.queued = true;
                self.connections.insert(fd, held);
                self.runs.push_back(fd);
            }
            Turn::Ends(reason) => {
                self.trace.note("close", reason_name(reason), fd, 0);
                if held.in_queue && reason == CloseReason::ClientLost {
                    self.trace.note("queue", "client left", fd, 0);
                }
                if held.idle && reason == CloseReason::TimedOut {
                    let socket = held.connection.client().transport.inner().wire().socket();
                    assert!(
                        !socket.has_bytes(),
                        "a request that came before the close of its idle connection is lost"
                    );
                }
                self.ended.push((held.client, reason));
                held.connection.end(reason, &self.shared, &self.ports, state, counters);
                self.shared.closed();
            }
        }
    }

    /// Checks what must hold when a connection waits: somebody will wake it.
    fn check_wait(&self, fd: usize, held: &mut Held, interest: Interest, deadline: Instant, now: Instant) {
        assert!(deadline > now, "waits for {interest:?} with a deadline that has passed");
        let in_queue = self.in_queue.as_ref().is_some_and(|waiting| waiting() > 0 || self.ports.is_woken(fd));
        assert!(self.delays || in_queue || interest != Interest::NONE, "waits for nothing");
        let ports = &self.ports;
        let check = |end: &Endpoint<SimLine>, side| {
            let fd = end.transport.inner().fd();
            let (reads, writes) =
                (interest.contains(Interest::read(side)), interest.contains(Interest::write(side)));
            let known = end.ready.contains(Readiness::READABLE) || ports.is_ready(fd);
            let socket = end.transport.inner().wire().socket();
            assert!(!socket.end_is_due(), "waits behind the last bytes");
            assert!(!reads || !end.ready.contains(Readiness::BUFFERED), "waits for bytes that are decoded");
            assert!(
                !reads || known || !socket.has_unread() || socket.has_events(),
                "readiness to read is lost"
            );
            let known = ports.is_ready(fd) || socket.has_events() || socket.will_report_room();
            assert!(!writes || known, "readiness to write is lost");
        };
        check(held.connection.client(), Side::Client);
        match held.connection.backend() {
            Some(end) => check(end, Side::Backend),
            None => assert!(!interest.concerns(Side::Backend), "{interest:?} without a backend"),
        }
    }

    /// The time has moved on: deadlines, parked connections, old requests.
    pub fn sweep(&mut self, now: Instant) {
        self.ports.limit.tick(now.duration_since(self.started).as_millis() as u64);
        let due: Vec<_> =
            self.connections.iter().filter(|(_, held)| held.deadline <= now).map(|(fd, _)| *fd).collect();
        due.into_iter().for_each(|fd| self.schedule(fd, true));
        self.ports.expire(now);
        self.app.sweep(now);
        self.swept = true;
    }

    /// A worker has read its load.
    pub fn note_load(&self, load: Load) {
        let limit = &self.ports.limit;
        let before = limit.room() == usize::MAX;
        limit.note_load(load);
        match (before, limit.room() == usize::MAX) {
            (true, false) => self.trace.note("pressure", "limited", 0, 0),
            (false, true) => self.trace.note("pressure", "lifted", 0, 0),
            _ => {}
        }
    }

    /// Checks the queue of the cluster, whose members have these backends.
    pub fn check_queue(&self, backends: &[Arc<Backend>]) {
        let (Some(cap), Some(waiting)) = (self.cap, &self.in_queue) else { return };
        for backend in backends {
            assert!(backend.in_flight() <= backend.slots_taken(), "a request in flight without a slot");
            assert!(backend.slots_taken() <= cap, "more slots than there are");
        }
        // A request that has failed somewhere may wait for another backend. And the sweep finds the room that no request
        // has made, such as a new member.
        let nobody_failed = backends.iter().all(|backend| backend.counts().failed == [0; 8]);
        if self.swept && nobody_failed {
            let has_room = |backend: &&Arc<Backend>| !backend.is_removed() && backend.slots_taken() < cap;
            let free = backends.iter().filter(has_room).count();
            assert!(waiting() == 0 || free == 0, "a request waits beside a free slot");
        }
    }

    /// Begins a drain: every connection runs once.
    pub fn drain(&mut self) {
        self.shared.stop();
        let all: Vec<_> = self.connections.keys().copied().collect();
        all.into_iter().for_each(|fd| self.schedule(fd, true));
    }

    /// Breaks off every connection.
    pub fn end_all(&mut self) {
        self.shared.end_all();
        let all: Vec<_> = self.connections.keys().copied().collect();
        all.into_iter().for_each(|fd| self.schedule(fd, true));
    }

    /// When something is to happen although no peer does anything.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines = self.connections.values().map(|held| held.deadline);
        let epoch = (!self.waiting.is_empty()).then(|| now + EPOCH);
        deadlines.chain(epoch).min()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// True when no connection has a request.
    pub fn is_idle(&self) -> bool {
        self.connections.values().all(|held| held.idle && !held.queued)
    }

    /// Checks that no buffer is missing. Call it when no connection has a request. Buffers of several workers mix, so
    /// only those of a single worker are counted.
    pub fn check_buffers(&self) {
        if let [worker] = self.workers.as_slice() {
            assert_eq!(worker.state.buffers().len(), SPARE_BUFFERS, "a buffer was not given back");
        }
    }

    pub fn counters(&self) -> Snapshot {
        (0..self.workers.len()).map(|worker| Snapshot::of(self.shared.counters(worker))).sum()
    }
}

/// The limit of requests in flight of a run.
pub fn pressure(limit: ConcurrencyLimit) -> PressureLimit {
    PressureLimit::new(limit, 1)
}

fn reason_name(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Done => "done",
        CloseReason::ClientLost => "client lost",
        CloseReason::TimedOut => "timed out",
        CloseReason::Stalled => "stalled",
        CloseReason::Truncated => "truncated",
    }
}
