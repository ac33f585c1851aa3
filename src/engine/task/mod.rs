//! The async engine. Each core has one thread, one smol `LocalExecutor` and one reactor. Each connection has one task.
//!
//! The first core accepts connections, and keeps them until the core is full. An overloaded core hands idle connections
//! over to the least busy core, until both cores are equally busy. A core with only a few connections keeps them: for
//! ten connections, two cores are slower than one. A connection with a running request stays on its core.

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

/// Number of connections that the first core keeps before it deals out, for a reactor whose cores do not report their
/// load.
const KEPT_UNTOLD: usize = 128;
/// A core with at least this CPU use in percent, and at least this number of connections, is overloaded. Splitting its
/// load over two cores gives 1.07 times the requests per second at 50 connections and 1.10 times at 1000. At 10
/// connections the split gives only 0.81 times, because each core then wakes up for a single event.
const OVERLOADED_PERCENT: usize = 40;
const OVERLOADED_OPEN: usize = 32;
/// A core with at least this CPU use in percent takes no new connection. Below this use the core keeps new connections.
/// A connection for one request costs 39 microseconds when its core keeps it, and 47 when it is dealt out at once.
const FULL_PERCENT: usize = 95;

/// A reactor wakes tasks when a socket is ready.
trait Reactor: 'static {
    /// Tasks are woken one by one, without a poll that reads the clock for all of them. So every run reads the clock.
    const WAKES_SINGLY: bool;
    /// Cores report their load, and hand connections over.
    const HANDS_OVER: bool;

    /// Prepares a connection for waits on this reactor.
    fn wrap(&self, socket: Socket) -> io::Result<Socket>;

    /// Returns when a transfer of `interest` may be possible, the deadline has passed, or the core is stopping. Records
    /// the readiness in the sockets.
    fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
    ) -> impl Future<Output = ()>;

    /// Assigns a new backend connection to a client's descriptor.
    fn adopt(&self, socket: &Socket, client: usize);

    /// Prepares a backend connection for the pool. False when the connection is not worth keeping.
    fn park(&self, socket: &mut Socket) -> bool;

    /// Takes a backend connection back from the pool. False when the connection has ended or has unread bytes.
    fn unpark(&self, socket: &mut Socket, client: usize) -> bool;

    /// Clears the state of a socket. Must be called before the socket is closed, because its descriptor's number may
    /// return at once.
    fn forget(&self, socket: &Socket);

    /// Stops watching a socket, so that another core can watch it. None when this fails.
    fn release(&self, socket: Socket) -> Option<Socket>;
}

/// The state that the tasks of one core share.
struct Core<A: App, R: Reactor> {
    index: usize,
    shared: Arc<Shared<A>>,
    reactor: R,
    worker: RefCell<WorkerState<A::View, Tcp>>,
    idle_backends: RefCell<IdlePool<Socket>>,
    pressure: PressureLimit,
    /// The number of open client connections of this core.
    open: Cell<usize>,
    /// The number of connections to hand over, and the core that gets them.
    excess: Cell<(usize, usize)>,
    /// A task has yielded. The core polls before the task continues.
    yielded: Cell<bool>,
    cores: Arc<[CoreHandle]>,
}

/// The inbox of a core, its number of connections, and its load.
struct CoreHandle {
    sender: Sender<Handoff>,
    /// Clients whose connections another thread wants to run.
    woken: Mutex<Vec<usize>>,
    open: AtomicUsize,
    /// CPU use between the last two sweeps, in percent.
    busy: AtomicUsize,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl CoreHandle {
    fn is_overloaded(&self) -> bool {
        self.busy.load(Ordering::Relaxed) >= OVERLOADED_PERCENT
            && self.open.load(Ordering::Relaxed) >= OVERLOADED_OPEN
    }
}

/// A connection for a core, with the client's address.
type Handoff = (Socket, SocketAddr);

/// The listeners of a core, and whether the core accepts. Only the first core has listeners.
struct Acceptor {
    listeners: Vec<TcpListener>,
    /// More clients may be waiting.
    accepting: bool,
    /// Accepting is paused until the next sweep, because a limit was reached or accepting failed.
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

/// Spawns the threads. Each of `bodies` runs one core.
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

    /// Starts the task of a connection.
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

    /// Counts a connection of this core that has ended.
    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.cores[self.index].open.fetch_sub(1, Ordering::Relaxed);
        if self.shared.closed() == 0 && self.shared.is_draining() {
            self.wake_all();
        }
    }

    /// Wakes every core, which then checks the state of the engine.
    fn wake_all(&self) {
        self.cores.iter().for_each(|handle| (handle.wake)());
    }

    /// Ends accepting while the engine drains. True when this core may end. The first core closes the listeners. Every
    /// core stays until the last connection of the engine is closed, because any core may still get a connection.
    fn is_drained(&self, listeners: &mut Vec<TcpListener>) -> bool {
        if !self.shared.is_draining() {
            return false;
        }
        if self.index == 0 && self.shared.stop_accepting() {
            listeners.clear();
            self.wake_all();
        }
        self.shared.is_over()
    }

    /// Takes the connections that other cores sent to this core.
    fn take_dealt(self: &Rc<Self>, executor: &LocalExecutor<'static>, inbox: &Receiver<Handoff>) {
        while let Ok(connection) = inbox.try_recv() {
            self.admit(executor, connection);
        }
    }

    /// The core for the next connection: the first core that is not full, else the core with the fewest connections.
    fn core_for_next(&self) -> usize {
        let open = |handle: &CoreHandle| handle.open.load(Ordering::Relaxed);
        let first = match R::HANDS_OVER {
            true => self.cores.iter().position(|handle| handle.busy.load(Ordering::Relaxed) < FULL_PERCENT),
            false => Some(self.index).filter(|own| open(&self.cores[*own]) < KEPT_UNTOLD),
        };
        let fewest = || (0..self.cores.len()).min_by_key(|core| open(&self.cores[*core]));
        first.or_else(fewest).unwrap_or(self.index)
    }

    /// Reports the load of this core, and sets the number of connections to hand over. The number makes this core and
    /// the least busy core equally busy. The number is zero unless this core is overloaded and the least busy core has
    /// less than half the load of this core.
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

    /// Gives an idle connection to the core that `settle_load` chose.
    fn hand_over(&self, connection: Connection<Tcp>) {
        let (excess, core) = self.excess.get();
        self.excess.set((excess.saturating_sub(1), core));
        let (socket, address) = connection.into_idle();
        let socket = self.reactor.release(socket);
        self.open.set(self.open.get() - 1);
        self.cores[self.index].open.fetch_sub(1, Ordering::Relaxed);
        self.cores[core].open.fetch_add(1, Ordering::Relaxed);
        // The socket is lost if the poller cannot release it. The other core reads its inbox until the engine ends.
        if socket.is_none_or(|socket| self.cores[core].sender.try_send((socket, address)).is_err()) {
            self.cores[core].open.fetch_sub(1, Ordering::Relaxed);
            self.counters().closed.add(1);
            if self.shared.closed() == 0 && self.shared.is_draining() {
                self.wake_all();
            }
        }
        (self.cores[core].wake)();
    }

    /// Accepts waiting clients, a bounded number at a time, and deals them out to the cores.
    fn accept(self: &Rc<Self>, executor: &LocalExecutor<'static>, acceptor: &mut Acceptor) {
        let mut dealt_to = vec![false; self.cores.len()];
        let accepted =
            accept_waiting(&acceptor.listeners, &self.shared, self.counters(), |stream, address| {
                let transform = self.shared.options.client_transform.as_ref();
                let (core, socket) = (self.core_for_next(), Socket::accepted(stream, transform));
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
            self.close_unused(socket);
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
        let (socket, established) = Tcp::connect(address, self.shared.options.backend_transform.as_ref())?;
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
            self.close_unused(oldest);
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

/// Wakes the task of a client's descriptor and its core. If the descriptor's number has returned for another
/// connection, the other connection runs once for nothing, which does no harm.
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
