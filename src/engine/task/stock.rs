//! smol's reactor, used as an ordinary application of smol uses it. All cores share one reactor, and an
//! `Async<TcpStream>` is registered again for every wait. The module exists to measure the cost of this design.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::{Async, LocalExecutor, Timer};

use super::core::{Core, CoreHandle, Reactor, launch};
use crate::app::{App, ListenerId};
use crate::cluster::{Backend, Freshness, IdlePool};
use crate::engine::acceptor::Acceptor;
use crate::engine::driver::{Backends, Connection};
use crate::engine::event_loop::room_at_once;
use crate::engine::listener::Bound;
use crate::engine::options::{Options, SWEEP};
use crate::engine::pressure::PressureLimit;
use crate::engine::readiness::Readiness;
use crate::engine::shared::Shared;
use crate::engine::transport::{Socket, Tcp};
use crate::engine::worker::WorkerState;
use crate::exchange::{Interest, Side};

/// The connections of one core on smol's reactor.
pub(super) struct Stock {
    kept: RefCell<IdlePool<Socket>>,
    pressure: PressureLimit,
    /// The idle clients of this core, and since when.
    idle: RefCell<HashMap<usize, Instant>>,
    /// The idle clients that must leave. Each one notices at the end of its wait, at most one sweep later.
    leaving: RefCell<HashSet<usize>>,
}

impl Stock {
    fn new(options: &Options) -> Self {
        let limits = &options.engine_limits;
        Stock {
            kept: RefCell::new(IdlePool::new(limits.idle_backend_connections)),
            pressure: PressureLimit::with_epoch(options.concurrency, 1, limits.in_flight_epoch),
            idle: RefCell::default(),
            leaving: RefCell::default(),
        }
    }

    /// As [`make_room`](crate::engine::event_loop::make_room) of the event loop.
    fn make_room(&self, now: Instant, most: usize) {
        let idle = self.idle.borrow();
        let mut long: Vec<_> = idle.iter().filter(|(_, since)| **since + SWEEP <= now).collect();
        long.sort_unstable_by_key(|(_, since)| **since);
        self.leaving.borrow_mut().extend(long.iter().take(most).map(|(client, _)| **client));
    }
}

/// Starts one core per worker. Returns a function that waits for their end.
///
/// # Errors
/// When the system cannot create a thread.
pub(super) fn start<A: App>(
    shared: &Arc<Shared<A>>,
    listeners: Vec<Bound>,
) -> io::Result<Box<dyn FnOnce() + Send>> {
    let (mut handles, mut inboxes) = (Vec::new(), Vec::new());
    for _ in 0..shared.counters.len() {
        let (sender, receiver) = smol::channel::unbounded();
        // A core waits on its channel, so a message wakes the core.
        handles.push(CoreHandle::new(sender, None));
        inboxes.push(receiver);
    }
    let cores: Arc<[CoreHandle]> = handles.into();
    let mut listeners = Some(listeners);
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let acceptor = match listeners.take() {
            Some(listeners) => Acceptor::new(listeners, None)?,
            None => Acceptor::without_listeners(),
        };
        let (shared, cores) = (Arc::clone(shared), Arc::clone(&cores));
        bodies.push(Box::new(move || {
            let executor = LocalExecutor::new();
            let stock = Stock::new(&shared.options);
            let core = Core::new(index, shared, stock, cores);
            smol::block_on(executor.run(serve(&core, &executor, acceptor, &inbox)));
        }));
    }
    launch(bodies)
}

/// The listeners, registered with smol's reactor.
#[derive(Default)]
struct Watched(Vec<(ListenerId, Async<TcpListener>)>);

impl Watched {
    /// Registers new listeners and drops removed listeners.
    fn update(&mut self, listeners: &[Bound]) {
        if listeners.iter().map(Bound::id).eq(self.0.iter().map(|(id, _)| *id)) {
            return;
        }
        let watch = |listener: &Bound| Async::new(listener.socket().try_clone()?);
        let watched = listeners.iter().filter_map(|listener| match watch(listener) {
            Ok(socket) => Some((listener.id(), socket)),
            Err(error) => {
                log::error!("cannot accept clients on {}: {error}", listener.address());
                None
            }
        });
        self.0 = watched.collect();
    }

    /// Returns when any of the listeners has a client. Never returns without listeners.
    async fn readable(&self) -> Option<Connection<Tcp>> {
        let mut waits: Vec<_> = self.0.iter().map(|(_, listener)| listener.readable()).collect();
        poll_fn(|cx| match waits.iter_mut().any(|wait| Pin::new(wait).poll(cx).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        None
    }
}

/// The main task of one core: new connections, and the sweep.
async fn serve<A: App>(
    core: &Rc<Core<A, Stock>>,
    executor: &LocalExecutor<'static>,
    mut acceptor: Acceptor,
    inbox: &Receiver<Connection<Tcp>>,
) {
    let mut drained_from = None;
    let mut watched = Watched::default();
    let mut sweep = Timer::interval(SWEEP);
    loop {
        core.worker.borrow_mut().wake_up(&*core.shared.app);
        core.counters().wakeups.add(1);
        // The sockets of removed listeners must be closed when their removal is reported.
        if core.shared.has_commands() || core.shared.is_stopping() {
            watched.0.clear();
        }
        acceptor.attend(&core.shared);
        if core.shared.is_over() {
            return;
        }
        if core.shared.is_stopping() {
            core.shared.limit_drain(&mut drained_from, Instant::now());
        }
        let to_leave = core.cores[core.index].to_leave.swap(0, Ordering::Relaxed);
        core.reactor.make_room(core.now(), to_leave);
        if acceptor.is_accepting() {
            // The message in its inbox wakes the other core.
            let full = acceptor.accept(&core.shared, core.counters(), |client| {
                core.deal(executor, client);
            });
            if full {
                let fullest = &core.cores[core.fullest_core()];
                let count = room_at_once(&core.shared.options);
                fullest.to_leave.fetch_add(count, Ordering::Relaxed);
            }
            smol::future::yield_now().await;
            continue;
        }
        let of_time = async {
            smol::stream::StreamExt::next(&mut sweep).await;
            core.shared.app.sweep(core.now());
            None
        };
        let of_others = async { inbox.recv().await.ok() };
        watched.update(acceptor.listeners());
        let of_listeners = async {
            match acceptor.is_paused() {
                true => std::future::pending().await,
                false => watched.readable().await,
            }
        };
        if let Some(connection) = of_listeners.or(of_others).or(of_time).await {
            core.admit(executor, connection);
        }
        acceptor.retry();
        acceptor.begin();
        let expired = core.reactor.kept.borrow_mut().expire(core.now());
        expired.into_iter().for_each(|socket| core.reactor.close_unused(socket));
    }
}

/// Waits for the transfers of `interest` on one side; forever when there are none.
async fn ready(socket: Option<&Socket>, side: Side, interest: Interest) -> Readiness {
    let Some(stream) = socket.and_then(|socket| socket.transport.as_smol()) else {
        return std::future::pending().await;
    };
    let (reads, writes) = (interest.contains(Interest::read(side)), interest.contains(Interest::write(side)));
    let read = async {
        match reads {
            // An error of the reactor shows at the next read.
            true => drop(stream.readable().await),
            false => std::future::pending().await,
        }
        Readiness::READABLE
    };
    let write = async {
        match writes {
            true => drop(stream.writable().await),
            false => std::future::pending().await,
        }
        Readiness::WRITABLE
    };
    read.or(write).await
}

impl Reactor for Stock {
    const HANDS_OVER: bool = false;

    fn admit(&self, client: Socket) -> io::Result<Socket> {
        into_smol(client)
    }

    /// Reads the clock, because smol wakes tasks one by one.
    fn begin_run<A: App>(
        &self,
        connection: &mut Connection<Tcp>,
        app: &A,
        worker: &mut WorkerState<A::View, Tcp>,
    ) {
        worker.wake_up(app);
        if self.leaving.borrow_mut().remove(&connection.client().fd()) {
            connection.leave();
        }
    }

    async fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
        now: Instant,
    ) {
        let client = connection.client().fd();
        match connection.is_idle() {
            true => *self.idle.borrow_mut().entry(client).or_insert(now),
            false => self.idle.borrow_mut().remove(&client).unwrap_or(now),
        };
        let (client, backend) = connection.ends();
        let none = Readiness::NONE;
        let of_client = async { (ready(Some(client), Side::Client, interest).await, none) };
        let of_backend = async { (none, ready(backend.as_deref(), Side::Backend, interest).await) };
        let of_time = async {
            // The wait is at most one sweep, so that a stop and a waker are noticed.
            Timer::at(deadline.min(Instant::now() + SWEEP)).await;
            (none, none)
        };
        let (of_client, of_backend) = of_backend.or(of_client).or(of_time).await;
        client.ready.insert(of_client);
        if let Ok(Some(_)) = client.transport.stream().take_error() {
            client.ready.insert(Readiness::BROKEN);
        }
        if let Some(socket) = backend {
            socket.ready.insert(of_backend);
        }
    }

    fn keep_yielded(&self, _: usize, waker: &Waker, _: &RefCell<VecDeque<usize>>) {
        waker.wake_by_ref();
    }

    fn forget(&self, client: usize) {
        self.idle.borrow_mut().remove(&client);
        self.leaving.borrow_mut().remove(&client);
    }

    fn release(&self, _: Socket) -> io::Result<Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn into_smol(socket: Socket) -> io::Result<Socket> {
    Ok(Socket { transport: socket.transport.into_smol()?, ..socket })
}

impl Backends<Tcp> for Stock {
    fn checkout(
        &self,
        backend: &Backend,
        freshness: Freshness,
        _: &Socket,
        now: Instant,
    ) -> Option<(Socket, Duration)> {
        loop {
            let (mut socket, idle) = self.kept.borrow_mut().checkout(backend, freshness, now)?;
            if socket.is_quiet() {
                return Some((socket, idle));
            }
            self.kept.borrow().note_dead(backend, idle, now);
        }
    }

    fn connect(&self, backend: &Backend, first: &[u8], _: &Socket) -> io::Result<(Socket, bool)> {
        let (socket, established) = Tcp::connect(backend.address(), backend.transform(), first)?;
        Ok((into_smol(socket)?, established))
    }

    fn park(&self, socket: Socket, backend: &Arc<Backend>, stated: Option<Duration>, now: Instant) {
        let fd = socket.fd();
        let oldest = self.kept.borrow_mut().park(backend, fd, socket, stated, now);
        if let Some(oldest) = oldest {
            self.close_unused(oldest);
        }
    }

    fn close(&self, _: Socket) {}

    fn pressure(&self) -> &PressureLimit {
        &self.pressure
    }

    /// No waker is needed: every wait ends after a sweep.
    fn waker(&self, _: &Socket) -> Waker {
        Waker::noop().clone()
    }
}
