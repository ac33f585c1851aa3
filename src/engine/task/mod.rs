//! The async engine: per core one thread, one smol `LocalExecutor` and one reactor; a task per connection.
//!
//! The first core accepts, and keeps what it accepts until it is full. Once it is busy with more than a few connections,
//! idle ones are handed over until both cores are equally busy: with ten, two cores cost more than one. A connection
//! with a request on it stays where it is.

mod edge;
mod session;
mod stock;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender};

use super::driver::{Backends, Connection};
use super::listener::{Accepted, accept_waiting};
use super::pressure::PressureLimit;
use super::shared::AbortOnPanic;
use super::stats::Counters;
use super::transport::{Socket, Tcp};
use super::worker::WorkerState;
use super::{Ends, Listeners, ReactorKind, Shared};
use crate::app::{App, Moment};
use crate::cluster::{Backend, BackendId, IdlePool};
use crate::exchange::Interest;

/// The first core keeps so many to itself where cores do not tell how busy they are.
const KEPT_UNTOLD: usize = 128;
/// A core that computes for so many percent of the time, with so many connections, is better halved: 1.07 of the requests
/// of one core at 50 connections, 1.10 at 1000, but 0.81 at 10, where each core then wakes up for a single event.
const OVERLOADED_PERCENT: usize = 40;
const OVERLOADED_OPEN: usize = 32;
/// A core that computes for so many percent of the time has nothing to give to a new connection. Below that it keeps them:
/// connections for one request each cost 47 microseconds when they are dealt out at once and 39 when not.
const FULL_PERCENT: usize = 95;

/// What wakes tasks when a socket is ready.
trait Reactor: 'static {
    /// Tasks are woken one by one, not by a poll that reads the clock for all of them: every run reads it.
    const WAKES_SINGLY: bool;
    /// Cores tell how busy they are, and hand connections over.
    const HANDS_OVER: bool;

    /// Makes a connection one that it can wait for.
    fn wrap(&self, socket: Socket) -> io::Result<Socket>;

    /// Returns when a transfer of `interest` may be possible, the deadline has passed, or the core is stopping; what
    /// is known of the readiness is noted in the sockets.
    fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
    ) -> impl Future<Output = ()>;

    /// A new backend connection is at work for that client's descriptor.
    fn adopt(&self, socket: &Socket, client: usize);

    /// A backend connection goes into the pool; false when it is not worth keeping.
    fn park(&self, socket: &mut Socket) -> bool;

    /// A backend connection comes out of the pool; false when something has happened on it meanwhile.
    fn unpark(&self, socket: &mut Socket, client: usize) -> bool;

    /// Must come before a socket is closed: its number may be given out again at once.
    fn forget(&self, socket: &Socket);

    /// Watches it no longer, so that another core can.
    fn release(&self, socket: Socket) -> Option<Socket>;
}

/// What the tasks of one core share.
struct Core<A: App, R: Reactor> {
    index: usize,
    shared: Arc<Shared<A>>,
    reactor: R,
    worker: RefCell<WorkerState<A::View, Tcp>>,
    idle_backends: RefCell<IdlePool<Socket>>,
    pressure: PressureLimit,
    /// Connections of this core.
    open: Cell<usize>,
    /// How many of them are to be handed over, and to which core.
    excess: Cell<(usize, usize)>,
    /// A task gave way: the poller is asked before it goes on.
    yielded: Cell<bool>,
    /// The listeners of this core are closed.
    accepted_last: Cell<bool>,
    cores: Arc<[CoreHandle]>,
}

/// Where a core gets its connections, and how many it has.
struct CoreHandle {
    sender: Sender<Handoff>,
    /// Clients whose connections another thread wants to run.
    woken: Mutex<Vec<usize>>,
    open: AtomicUsize,
    /// Percent of the last sweep's time that it computed.
    busy: AtomicUsize,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl CoreHandle {
    fn is_overloaded(&self) -> bool {
        self.busy.load(Ordering::Relaxed) >= OVERLOADED_PERCENT
            && self.open.load(Ordering::Relaxed) >= OVERLOADED_OPEN
    }
}

/// A connection dealt to a core.
type Handoff = (Socket, SocketAddr);

/// The first core's part: accepting and dealing out.
struct Acceptor {
    listeners: Vec<TcpListener>,
    /// More clients may be waiting.
    accepting: bool,
    /// No descriptor or connection was left: accepting goes on at the next sweep.
    paused: bool,
}

pub(super) fn start<A: App>(
    shared: &Arc<Shared<A>>,
    reactor: ReactorKind,
    listeners: Listeners,
) -> io::Result<Ends> {
    match reactor {
        ReactorKind::Edge => edge::start(shared, listeners),
        ReactorKind::Smol => stock::start(shared, listeners),
    }
}

/// Spawns the threads; `bodies` run one core each.
fn launch<A: App>(
    shared: &Arc<Shared<A>>,
    cores: &Arc<[CoreHandle]>,
    bodies: Vec<Box<dyn FnOnce() + Send>>,
) -> io::Result<Ends> {
    let mut threads = Vec::new();
    for (index, body) in bodies.into_iter().enumerate() {
        let body = move || {
            let _guard = AbortOnPanic;
            body();
        };
        threads.push(thread::Builder::new().name(format!("core-{index}")).spawn(body)?);
    }
    let (shared, cores) = (Arc::clone(shared), Arc::clone(cores));
    let stop = move || {
        shared.set_draining(true);
        cores.iter().for_each(|handle| (handle.wake)());
    };
    let wait = move || {
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a core's thread panicked");
            }
        }
    };
    Ok((Box::new(stop), Box::new(wait)))
}

impl<A: App, R: Reactor> Core<A, R> {
    fn new(index: usize, shared: Arc<Shared<A>>, reactor: R, cores: Arc<[CoreHandle]>) -> Rc<Self> {
        let idle = IdlePool::new(shared.options.engine_limits.idle_backend_connections);
        let worker = RefCell::new(WorkerState::new(shared.app.view()));
        Rc::new(Core {
            pressure: PressureLimit::with_epoch(
                shared.options.concurrency,
                1,
                shared.options.engine_limits.in_flight_epoch,
            ),
            index,
            shared,
            reactor,
            worker,
            idle_backends: RefCell::new(idle),
            open: Cell::new(0),
            yielded: Cell::default(),
            accepted_last: Cell::default(),
            excess: Cell::default(),
            cores,
        })
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters[self.index]
    }

    fn now(&self) -> Moment {
        self.worker.borrow().clock.now()
    }

    /// Begins the task of a connection.
    fn admit(self: &Rc<Self>, executor: &LocalExecutor<'static>, (socket, address): Handoff) {
        self.open.set(self.open.get() + 1);
        match self.reactor.wrap(socket) {
            Ok(socket) => {
                let until = self.now().instant + self.shared.options.listener.limits.idle_timeout;
                let connection = Connection::new(socket, address, until);
                executor.spawn(session::run(Rc::clone(self), connection)).detach();
            }
            Err(error) => {
                log::warn!("a connection cannot be watched: {error}");
                self.counters().closed.add(1);
                self.closed();
            }
        }
    }

    /// A connection of this core has ended.
    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.cores[self.index].open.fetch_sub(1, Ordering::Relaxed);
        if self.shared.closed() == 0 && self.shared.is_draining() {
            self.wake_all();
        }
    }

    /// Makes every core look at the state of the engine.
    fn wake_all(&self) {
        self.cores.iter().for_each(|handle| (handle.wake)());
    }

    /// Ends accepting while the engine drains; true when this core has nothing left to wait for. The first core closes the
    /// listeners. Every core stays until the last connection of the engine is closed, because any core may still get one.
    fn is_drained(&self, listeners: &mut Vec<TcpListener>) -> bool {
        if !self.shared.is_draining() {
            return false;
        }
        if self.index == 0 && !self.accepted_last.replace(true) {
            listeners.clear();
            self.shared.stop_accepting();
            self.wake_all();
        }
        self.shared.is_over()
    }

    /// Takes what other cores dealt to this one.
    fn take_dealt(self: &Rc<Self>, executor: &LocalExecutor<'static>, inbox: &Receiver<Handoff>) {
        while let Ok(connection) = inbox.try_recv() {
            self.admit(executor, connection);
        }
    }

    /// The core for the next connection: the first that has something to give, else the one that has fewest.
    fn core_for_next(&self) -> usize {
        let open = |handle: &CoreHandle| handle.open.load(Ordering::Relaxed);
        let first = match R::HANDS_OVER {
            true => self.cores.iter().position(|handle| handle.busy.load(Ordering::Relaxed) < FULL_PERCENT),
            false => Some(self.index).filter(|own| open(&self.cores[*own]) < KEPT_UNTOLD),
        };
        let fewest = || (0..self.cores.len()).min_by_key(|core| open(&self.cores[*core]));
        first.or_else(fewest).unwrap_or(self.index)
    }

    /// Tells the other cores how busy this one was, and settles what it hands over: so much that it and the least busy
    /// one would have been equally busy, and nothing unless that one was busy for less than half as long.
    fn settle_load(&self, busy: usize) {
        self.cores[self.index].busy.store(busy, Ordering::Relaxed);
        let load = |core: &usize| self.cores[*core].busy.load(Ordering::Relaxed);
        let least = (0..self.cores.len()).min_by_key(load).unwrap_or(self.index);
        let excess = match load(&least) {
            other if self.cores[self.index].is_overloaded() && other < busy / 2 => {
                self.open.get() * (busy - other) / (2 * busy)
            }
            _ => 0,
        };
        self.excess.set((excess, least));
    }

    /// Gives an idle connection to the core that was settled on.
    fn hand_over(&self, connection: Connection<Tcp>) {
        let (excess, core) = self.excess.get();
        self.excess.set((excess.saturating_sub(1), core));
        let (socket, address) = connection.into_idle();
        let socket = self.reactor.release(socket);
        self.open.set(self.open.get() - 1);
        self.cores[self.index].open.fetch_sub(1, Ordering::Relaxed);
        self.cores[core].open.fetch_add(1, Ordering::Relaxed);
        // The socket is lost where the poller cannot let go of it. The other core takes its inbox until the engine ends.
        if socket.is_none_or(|socket| self.cores[core].sender.try_send((socket, address)).is_err()) {
            self.cores[core].open.fetch_sub(1, Ordering::Relaxed);
            self.counters().closed.add(1);
            if self.shared.closed() == 0 && self.shared.is_draining() {
                self.wake_all();
            }
        }
        (self.cores[core].wake)();
    }

    /// Accepts what is waiting, a bounded number at a time, and deals it out.
    fn accept(self: &Rc<Self>, executor: &LocalExecutor<'static>, acceptor: &mut Acceptor) {
        let mut dealt_to = vec![false; self.cores.len()];
        let accepted =
            accept_waiting(&acceptor.listeners, &self.shared, self.counters(), |stream, address| {
                let (core, socket) = (self.core_for_next(), Socket::accepted(stream));
                self.cores[core].open.fetch_add(1, Ordering::Relaxed);
                if core == self.index {
                    self.admit(executor, (socket, address));
                } else {
                    // No core ends while this connection is open.
                    let _ = self.cores[core].sender.try_send((socket, address));
                    dealt_to[core] = true;
                }
            });
        acceptor.accepting = accepted == Accepted::Some;
        acceptor.paused |= accepted == Accepted::Paused;
        for (core, _) in dealt_to.iter().enumerate().filter(|(_, inbox)| **inbox) {
            (self.cores[core].wake)();
        }
    }

    /// Closes backend connections that were parked for too long.
    fn expire_parked(&self) {
        let kept_for = self.shared.options.listener.limits.idle_timeout;
        let expired = self.idle_backends.borrow_mut().expire(self.now().instant, kept_for);
        for socket in expired {
            self.close(socket);
        }
    }
}

impl<A: App, R: Reactor> Backends<Tcp> for Core<A, R> {
    fn checkout(&self, backend: BackendId, client: &Socket) -> Option<Socket> {
        loop {
            let mut socket = self.idle_backends.borrow_mut().checkout(backend)?;
            if self.reactor.unpark(&mut socket, client.fd()) {
                return Some(socket);
            }
            self.close(socket);
        }
    }

    fn connect(&self, address: SocketAddr, client: &Socket) -> io::Result<(Socket, bool)> {
        let (socket, established) = Tcp::connect(address)?;
        let socket = self.reactor.wrap(socket)?;
        self.reactor.adopt(&socket, client.fd());
        Ok((socket, established))
    }

    fn park(&self, mut socket: Socket, backend: &Arc<Backend>, now: Instant) {
        if !self.reactor.park(&mut socket) {
            return self.close(socket);
        }
        let key = socket.fd();
        let oldest = self.idle_backends.borrow_mut().park(backend, key, socket, now);
        if let Some(oldest) = oldest {
            self.close(oldest);
        }
    }

    fn close(&self, socket: Socket) {
        self.reactor.forget(&socket);
    }

    fn pressure(&self) -> &PressureLimit {
        &self.pressure
    }

    fn waker(&self, client: &Socket) -> Waker {
        let cores = Arc::clone(&self.cores);
        Waker::from(Arc::new(ClientWaker { cores, core: self.index, fd: client.fd() }))
    }
}

/// Wakes the task of a client's descriptor and its core. A descriptor whose number has returned for another connection
/// makes that one run for nothing, which does no harm.
struct ClientWaker {
    cores: Arc<[CoreHandle]>,
    core: usize,
    fd: usize,
}

impl Wake for ClientWaker {
    fn wake(self: Arc<Self>) {
        let core = &self.cores[self.core];
        core.woken.lock().push(self.fd);
        (core.wake)();
    }
}
