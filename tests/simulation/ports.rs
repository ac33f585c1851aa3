//! The sockets of a simulated engine: its descriptors, their owners, and the connections to backends.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use neraca::cluster::{Backend, Freshness, IdlePool};
use neraca::engine::driver::{Backends, Endpoint, Layered, PressureLimit, Readiness, Transport};
use neraca::exchange::{AttachError, Side};

use super::chance::Pace;
use super::coding::{Coder, Coding};
use super::masked::Role;
use super::peers::Conn;
use super::trace::Trace;
use super::wire::{Connect, End, SimLine, SimTransport, Wire};

type Socket = Endpoint<SimLine>;

/// Most calls for a backend connection in one run of a client's connection.
const ATTACHES_MAX: usize = 24;

/// Who is told that a descriptor is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The connection of that client's descriptor.
    Client(usize),
    Parked,
    Nobody,
}

/// One descriptor.
#[derive(Debug)]
struct Entry {
    wire: Wire,
    owner: Owner,
    ready: Readiness,
    /// The backend's address.
    address: Option<SocketAddr>,
}

/// What chance decides about connections to backends.
#[derive(Debug)]
pub struct Fortune {
    /// The results of the attempts to connect. Later attempts succeed.
    pub connects: VecDeque<Option<AttachError>>,
    /// How the kept connections die when they are used again. None: the connection lives.
    pub deaths: VecDeque<Option<End>>,
    pub pace: Pace,
    /// A transform of this kind stands between each connection and its exchange.
    pub transforms: Option<Coding>,
}

pub struct Ports {
    pub trace: Trace,
    pub limit: PressureLimit,
    /// By descriptor.
    entries: RefCell<Vec<Entry>>,
    pool: RefCell<IdlePool<Socket>>,
    pub fortune: RefCell<Fortune>,
    transforms: Option<Coding>,
    /// The backends' ends of all connections.
    pub conns: RefCell<Vec<Conn>>,
    /// The clients whose attempts met a failed connect or a dead connection.
    pub disturbed: RefCell<Vec<usize>>,
    woken: Arc<Woken>,
    /// The client whose connection runs, and the time.
    running: Cell<(usize, Instant)>,
    attaches: Cell<usize>,
}

/// The descriptors of clients that a waker woke.
#[derive(Debug, Default)]
struct Woken(Mutex<Vec<usize>>);

struct Client(usize, Arc<Woken>);

impl Wake for Client {
    fn wake(self: Arc<Self>) {
        self.1.0.lock().expect("no thread panicked").push(self.0);
    }
}

impl Ports {
    pub fn new(trace: &Trace, limit: PressureLimit, kept: usize, fortune: Fortune, now: Instant) -> Self {
        Ports {
            trace: trace.clone(),
            limit,
            entries: RefCell::default(),
            pool: RefCell::new(IdlePool::new(kept)),
            transforms: fortune.transforms,
            fortune: RefCell::new(fortune),
            conns: RefCell::default(),
            disturbed: RefCell::default(),
            woken: Arc::default(),
            running: Cell::new((0, now)),
            attaches: Cell::new(0),
        }
    }

    /// A new socket with the lowest free descriptor.
    pub fn open(&self, side: Side, address: Option<SocketAddr>, connect: Connect) -> Wire {
        let mut entries = self.entries.borrow_mut();
        let free = entries.iter().position(|entry| entry.wire.socket().closed.is_some());
        let fd = free.unwrap_or(entries.len());
        let role = if side == Side::Client { Role::Client } else { Role::Server };
        let coder = self.transforms.map(|coding| Coder::new(coding, role));
        let wire = Wire::new(fd, side, connect, &self.trace, coder);
        let entry = Entry { wire: wire.clone(), owner: Owner::Nobody, ready: Readiness::NONE, address };
        match free {
            Some(fd) => entries[fd] = entry,
            None => entries.push(entry),
        }
        wire
    }

    /// The sockets that have a descriptor.
    pub fn wires(&self) -> Vec<Wire> {
        self.entries.borrow().iter().map(|entry| entry.wire.clone()).collect()
    }

    pub fn own(&self, fd: usize, owner: Owner) {
        self.entries.borrow_mut()[fd].owner = owner;
    }

    pub fn take_ready(&self, fd: usize) -> Readiness {
        std::mem::replace(&mut self.entries.borrow_mut()[fd].ready, Readiness::NONE)
    }

    pub fn is_ready(&self, fd: usize) -> bool {
        self.entries.borrow()[fd].ready != Readiness::NONE
    }

    /// Notes the events of a descriptor. Returns the client's descriptor that is to run.
    pub fn announce(&self, fd: usize, events: Readiness, now: Instant) -> Option<usize> {
        let owner = {
            let mut entries = self.entries.borrow_mut();
            entries[fd].ready.insert(events);
            entries[fd].owner
        };
        match owner {
            Owner::Client(client) => Some(client),
            Owner::Parked => {
                self.drop_parked(fd, now);
                None
            }
            Owner::Nobody => None,
        }
    }

    /// The clients' descriptors that were woken since the last call.
    pub fn take_woken(&self) -> Vec<usize> {
        std::mem::take(&mut self.woken.0.lock().expect("no thread panicked"))
    }

    /// The client of this descriptor was woken and has not run since.
    pub fn is_woken(&self, fd: usize) -> bool {
        self.woken.0.lock().expect("no thread panicked").contains(&fd)
    }

    pub fn begin_run(&self, client: usize, now: Instant) {
        self.running.set((client, now));
        self.attaches.set(0);
    }

    /// Closes connections that were parked for too long, and those of removed backends.
    pub fn expire(&self, now: Instant) {
        let expired = self.pool.borrow_mut().expire(now);
        for socket in expired {
            self.trace.note("pool", "expired", socket.transport.inner().fd(), 0);
            self.close_unused(socket);
        }
    }

    /// Closes all parked connections, as the end of the process does.
    pub fn close_parked(&self) {
        self.expire(self.running.get().1 + Duration::from_secs(1 << 20));
        assert!(self.pool.borrow().is_empty(), "a parked connection does not expire");
    }

    fn drop_parked(&self, fd: usize, now: Instant) {
        let dead = self.pool.borrow_mut().remove_if(fd, now, |socket| !is_quiet(socket));
        if let Some(socket) = dead {
            self.trace.note("pool", "dead", fd, 0);
            self.close(socket);
        }
    }

    /// The engine's end of a connection.
    pub fn line(&self, wire: &Wire, side: Side) -> SimLine {
        let role = if side == Side::Client { Role::Server } else { Role::Client };
        Layered::new(SimTransport::new(wire), self.transforms.map(|coding| coding.make(role)))
    }

    fn disturb(&self) {
        self.disturbed.borrow_mut().push(self.running.get().0);
    }

    fn count_attach(&self) {
        self.attaches.set(self.attaches.get() + 1);
        assert!(self.attaches.get() < ATTACHES_MAX, "attaches without end");
    }
}

/// True when no byte for the exchange and no end has arrived since the last read.
fn is_quiet(socket: &mut Socket) -> bool {
    match &mut socket.transport {
        Layered::Plain(transport) => transport.is_quiet(),
        Layered::Coded(coded) => coded.is_quiet(&mut socket.ready),
    }
}

impl Backends<SimLine> for Ports {
    fn checkout(
        &self,
        backend: &Backend,
        freshness: Freshness,
        client: &Socket,
        now: Instant,
    ) -> Option<(Socket, Duration)> {
        self.count_attach();
        let (mut socket, idle) = self.pool.borrow_mut().checkout(backend, freshness, now)?;
        let fd = socket.transport.inner().fd();
        // The poller has told the pool of every event that it took.
        let quiet =
            socket.transport.inner().is_quiet() || socket.transport.inner().wire().socket().has_events();
        assert!(quiet, "a parked connection with an end or bytes that are known");
        self.trace.note("pool", "checkout", fd, 0);
        self.own(fd, Owner::Client(client.transport.inner().fd()));
        socket.ready.insert(self.take_ready(fd));
        let dies = self.fortune.borrow_mut().deaths.pop_front().flatten();
        let mut conns = self.conns.borrow_mut();
        let conn = conns.iter_mut().find(|conn| conn.wire.is(socket.transport.inner().wire()));
        let conn = conn.expect("a connection in use");
        let has_left = socket.transport.inner().wire().socket().has_left();
        if dies.is_some() || has_left || conn.closes_later() {
            self.disturb();
        }
        conn.dies = dies;
        drop(conns);
        Some((socket, idle))
    }

    fn connect(&self, backend: &Backend, _: &[u8], client: &Socket) -> io::Result<(Socket, bool)> {
        self.count_attach();
        let mut fortune = self.fortune.borrow_mut();
        let error = fortune.connects.pop_front().flatten();
        if error.is_some() {
            self.disturb();
        }
        let at_once = fortune.pace.happens(50);
        // A handshake that fails is a failed connect, too.
        let breaks = self.transforms.is_some() && error.is_some() && fortune.pace.happens(50);
        let connect = match (error, at_once) {
            (Some(AttachError::TimedOut | AttachError::Refused), _) if breaks => Connect::Soon,
            (None, true) => Connect::Done,
            (None, false) => Connect::Soon,
            (Some(AttachError::TimedOut), _) => Connect::Never,
            (Some(AttachError::Refused), false) => Connect::Refused,
            (Some(AttachError::Refused), true) => return Err(ErrorKind::ConnectionRefused.into()),
            (Some(AttachError::Exhausted), _) => return Err(rustix::io::Errno::MFILE.into()),
            (Some(AttachError::Local), _) => return Err(rustix::io::Errno::ADDRNOTAVAIL.into()),
        };
        let wire = self.open(Side::Backend, Some(backend.address()), connect);
        if breaks && connect == Connect::Soon {
            let end = if at_once { End::Torn } else { End::Reset };
            wire.socket().break_handshake(Some(end).filter(|_| error == Some(AttachError::Refused)));
        }
        drop(fortune);
        let fd = wire.socket().fd;
        self.trace.note("pool", "connect", fd, connect as usize);
        self.own(fd, Owner::Client(client.transport.inner().fd()));
        self.conns.borrow_mut().push(Conn::new(wire.clone()));
        let mut socket = Endpoint::new(self.line(&wire, Side::Backend));
        socket.ready = Readiness::NONE;
        let established = socket.transport.established(&mut socket.ready)?;
        Ok((socket, established))
    }

    fn park(&self, socket: Socket, backend: &Arc<Backend>, stated: Option<Duration>, now: Instant) {
        let fd = socket.transport.inner().fd();
        assert!(!socket.transport.inner().wire().socket().shut, "parked behind an end");
        assert!(!socket.has_ended(), "parked with a known end");
        assert_eq!(self.entries.borrow()[fd].address, Some(backend.address()), "parked at another backend");
        self.trace.note("pool", "park", fd, 0);
        self.own(fd, Owner::Parked);
        let may_have_bytes = socket.ready.contains(Readiness::READABLE);
        let oldest = self.pool.borrow_mut().park(backend, fd, socket, stated, now);
        if let Some(oldest) = oldest {
            self.trace.note("pool", if backend.is_removed() { "removed" } else { "full" }, fd, 0);
            self.close_unused(oldest);
        }
        if self.is_ready(fd) || may_have_bytes {
            self.take_ready(fd);
            self.drop_parked(fd, now);
        }
    }

    fn close(&self, socket: Socket) {
        self.own(socket.transport.inner().fd(), Owner::Nobody);
        self.take_ready(socket.transport.inner().fd());
    }

    fn pressure(&self) -> &PressureLimit {
        &self.limit
    }

    fn waker(&self, client: &Socket) -> Waker {
        Arc::new(Client(client.transport.inner().fd(), Arc::clone(&self.woken))).into()
    }
}
