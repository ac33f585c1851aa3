//! Our own edge-triggered reactor, one per core. Each socket is registered once, and the reported readiness is kept
//! until a task asks. smol's reactor (`stock.rs`) registers a socket again for every wait, and all cores share it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll as Polled, Waker};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token};
use smol::LocalExecutor;
use smol::channel::Receiver;

use super::{Acceptor, Core, CoreHandle, Ends, Handoff, Listeners, Reactor, Shared};
use crate::app::App;
use crate::engine::SWEEP;
use crate::engine::clock::CpuTime;
use crate::engine::driver::{Backends, Connection};
use crate::engine::listener::{self, WAKE, is_listener};
use crate::engine::pressure::RETRY_AFTER;
use crate::engine::readiness::Readiness;
use crate::engine::timers::Timers;
use crate::engine::transport::{Socket, Tcp};
use crate::exchange::{Interest, Side};

/// Maximum readiness events per wake-up.
const EVENTS_MAX: usize = 256;

/// The receiver of a descriptor's readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Owner {
    #[default]
    Nobody,
    /// The task of the client with this descriptor.
    Client(u32),
    /// The pool of kept backend connections.
    Parked,
}

/// The state of one descriptor. 40 bytes, because each idle connection has a source.
#[derive(Debug, Default)]
struct Source {
    waker: Option<Waker>,
    /// Milliseconds since the reactor's start; 0 for none.
    deadline_ms: u64,
    owner: Owner,
    ready: Readiness,
    /// The descriptor is a client's connection that waits for a request.
    idle: bool,
}

pub(super) struct Edge {
    registry: Registry,
    /// The sources, indexed by descriptor.
    sources: RefCell<Vec<Source>>,
    timers: RefCell<Timers>,
    /// Clients whose request has arrived and has not begun. First in, first out.
    waiting: RefCell<VecDeque<usize>>,
    started: Instant,
}

/// Number of sources allocated at a time.
const SOURCES_AT_ONCE: usize = 1024;

pub(super) fn start<A: App>(shared: &Arc<Shared<A>>, listeners: Listeners) -> io::Result<Ends> {
    let (mut handles, mut inboxes) = (Vec::new(), Vec::new());
    for _ in 0..shared.counters.len() {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE)?;
        let (sender, receiver) = smol::channel::unbounded();
        let wake = move || {
            if let Err(error) = waker.wake() {
                log::error!("cannot wake a core: {error}");
            }
        };
        handles.push(CoreHandle {
            sender,
            woken: Default::default(),
            open: Default::default(),
            busy: Default::default(),
            wake: Box::new(wake),
        });
        inboxes.push((poll, receiver));
    }
    let cores: Arc<[CoreHandle]> = handles.into();
    let mut listeners = listeners.0;
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for (index, (poll, inbox)) in inboxes.into_iter().enumerate() {
        let listeners = std::mem::take(&mut listeners);
        listener::watch(&listeners, poll.registry())?;
        let registry = poll.registry().try_clone()?;
        let (shared, cores) = (Arc::clone(shared), Arc::clone(&cores));
        bodies.push(Box::new(move || {
            let edge = Edge {
                registry,
                sources: RefCell::default(),
                timers: RefCell::default(),
                waiting: RefCell::default(),
                started: Instant::now(),
            };
            let acceptor = Acceptor { accepting: !listeners.is_empty(), listeners, paused: false };
            serve(&Core::new(index, shared, edge, cores), poll, acceptor, &inbox);
        }));
    }
    super::launch(shared, &cores, bodies)
}

/// The loop of one core: runs the ready tasks, then waits for readiness.
fn serve<A: App>(
    core: &Rc<Core<A, Edge>>,
    mut poll: Poll,
    mut acceptor: Acceptor,
    inbox: &Receiver<Handoff>,
) {
    let executor = LocalExecutor::new();
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut swept = Instant::now();
    let mut drained_from = None;
    let mut cpu_time = CpuTime::default();
    loop {
        let mut more = core.run_ready(&executor);
        if core.begin_waiting() {
            more |= core.run_ready(&executor);
        }
        if core.is_drained(&mut acceptor.listeners) {
            return;
        }
        let waits = !core.reactor.waiting.borrow().is_empty();
        let accepting = acceptor.accepting && !acceptor.listeners.is_empty();
        let most = match accepting || more || (waits && core.pressure.room() > 0) {
            true => Duration::ZERO,
            false => core
                .reactor
                .timers
                .borrow()
                .until_next(Instant::now(), if waits { RETRY_AFTER } else { SWEEP }),
        };
        if let Err(error) = poll.poll(&mut events, Some(most))
            && error.kind() != io::ErrorKind::Interrupted
        {
            log::error!("waiting for readiness failed: {error}");
        }
        core.worker.borrow_mut().wake_up(&*core.shared.app);
        core.counters().wakeups.add(1);
        let now = core.now().instant;
        for event in &events {
            match event.token() {
                WAKE => {
                    if core.shared.is_draining() {
                        swept -= SWEEP;
                    }
                    for fd in std::mem::take(&mut *core.cores[core.index].woken.lock()) {
                        core.announce(fd, Readiness::WOKEN);
                    }
                }
                token if is_listener(token, acceptor.listeners.len()) => acceptor.accepting = true,
                Token(fd) => core.announce(fd, Readiness::of_event(event)),
            }
        }
        core.pressure.tick(core.reactor.milliseconds(now));
        core.reactor.end_waits(now);
        core.take_dealt(&executor, inbox);
        if now.saturating_duration_since(swept) >= SWEEP {
            core.settle_load(cpu_time.percent_since(swept, now));
            if let Some(load) = core.worker.borrow_mut().run_queue.read(now) {
                core.pressure.note_load(load);
            }
            swept = now;
            acceptor.accepting |= std::mem::take(&mut acceptor.paused);
            if core.shared.is_draining() {
                core.shared.limit_drain(&mut drained_from, now);
            }
            core.reactor.sweep(now, core.shared.is_draining());
            core.expire_parked();
        }
        if acceptor.accepting && !acceptor.listeners.is_empty() {
            core.accept(&executor, &mut acceptor);
        }
    }
}

impl<A: App> Core<A, Edge> {
    /// Runs the woken tasks. True when a task yielded and more tasks may be ready.
    fn run_ready(&self, executor: &LocalExecutor<'static>) -> bool {
        while !self.yielded.take() {
            if !executor.try_tick() {
                return false;
            }
        }
        true
    }

    /// Wakes the waiting clients that the limit on requests in flight permits. False when no client was woken.
    fn begin_waiting(&self) -> bool {
        let mut waiting = self.reactor.waiting.borrow_mut();
        let begun = self.pressure.permit(waiting.len());
        let sources = self.reactor.sources.borrow();
        for fd in waiting.drain(..begun) {
            if let Some(Source { waker: Some(waker), .. }) = sources.get(fd) {
                waker.wake_by_ref();
            }
        }
        begun > 0
    }

    fn announce(&self, fd: usize, ready: Readiness) {
        if self.reactor.announce(fd, ready) {
            // A quiet connection is kept: its bytes were read before it was parked. Otherwise the connection is dead,
            // or its backend has sent bytes without a request.
            let dead = self.idle_backends.borrow_mut().remove_if(fd, |socket| !socket.is_quiet());
            if let Some(socket) = dead {
                self.close(socket);
            }
        }
    }
}

impl Edge {
    /// Records the reported readiness and wakes the owner. True when the descriptor is a parked backend connection.
    fn announce(&self, fd: usize, ready: Readiness) -> bool {
        let mut sources = self.sources.borrow_mut();
        let Some(source) = sources.get_mut(fd) else { return false };
        source.ready.insert(ready);
        match source.owner {
            Owner::Client(client) if client as usize == fd && source.idle => {
                source.idle = false;
                self.waiting.borrow_mut().push_back(fd);
                false
            }
            Owner::Client(client) => {
                if let Some(Source { waker: Some(waker), .. }) = sources.get(client as usize) {
                    waker.wake_by_ref();
                }
                false
            }
            Owner::Parked => true,
            Owner::Nobody => false,
        }
    }

    /// Wakes the tasks whose timer has ended.
    fn end_waits(&self, now: Instant) {
        let mut timers = self.timers.borrow_mut();
        while let Some(fd) = timers.take_due(now) {
            self.announce(fd, Readiness::WOKEN);
        }
    }

    /// Wakes every task whose deadline has passed, or all tasks.
    fn sweep(&self, now: Instant, all: bool) {
        let now_ms = self.milliseconds(now);
        for source in self.sources.borrow_mut().iter_mut() {
            let due = all || (source.deadline_ms != 0 && source.deadline_ms <= now_ms);
            if let (true, Some(waker)) = (due, &source.waker) {
                source.ready.insert(Readiness::WOKEN);
                waker.wake_by_ref();
            }
        }
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    fn own(&self, fd: usize, owner: Owner) {
        let mut sources = self.sources.borrow_mut();
        if sources.len() <= fd {
            let more = fd + SOURCES_AT_ONCE - sources.len();
            sources.reserve_exact(more);
            sources.resize_with(fd + 1, Source::default);
        }
        sources[fd].owner = owner;
    }

    fn take_ready(&self, fd: usize) -> Readiness {
        self.sources
            .borrow_mut()
            .get_mut(fd)
            .map_or(Readiness::NONE, |source| std::mem::take(&mut source.ready))
    }

    /// Registers a socket for a wait. If the registration fails, the socket counts as ready, and the next read or write
    /// finds its state.
    fn watch(&self, socket: &mut Socket, side: Side, interest: Interest) {
        let (token, writes) = (Token(socket.fd()), interest.contains(Interest::write(side)));
        if let Err(error) = socket.watch(&self.registry, token, writes) {
            log::warn!("a connection cannot be watched: {error}");
            socket.ready.insert(Readiness::READABLE | Readiness::WRITABLE | Readiness::ENDED);
        }
    }
}

impl Reactor for Edge {
    const WAKES_SINGLY: bool = false;
    const HANDS_OVER: bool = true;

    fn wrap(&self, socket: Socket) -> io::Result<Socket> {
        self.own(socket.fd(), Owner::Client(socket.fd() as u32));
        Ok(socket)
    }

    fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
    ) -> impl Future<Output = ()> {
        let watches_client = connection.watches_client(interest);
        let (client, backend) = connection.ends();
        if watches_client {
            self.watch(client, Side::Client, interest);
        }
        if let Some(socket) = backend
            && interest.concerns(Side::Backend)
        {
            self.watch(socket, Side::Backend, interest);
        }
        if interest == Interest::NONE {
            self.timers.borrow_mut().add(deadline, connection.client().fd());
        }
        let deadline_ms = self.milliseconds(deadline) + 1;
        poll_fn(move |cx| self.poll_wait(connection, deadline_ms, cx.waker()))
    }

    fn adopt(&self, socket: &Socket, client: usize) {
        self.own(socket.fd(), Owner::Client(client as u32));
    }

    fn park(&self, socket: &mut Socket) -> bool {
        self.own(socket.fd(), Owner::Parked);
        socket.watch(&self.registry, Token(socket.fd()), false).is_ok()
            && (self.take_ready(socket.fd()) == Readiness::NONE || socket.is_quiet())
    }

    fn unpark(&self, socket: &mut Socket, client: usize) -> bool {
        self.own(socket.fd(), Owner::Client(client as u32));
        let ready = self.take_ready(socket.fd());
        socket.ready.insert(ready);
        !ready.contains(Readiness::READABLE) || socket.is_quiet()
    }

    fn forget(&self, socket: &Socket) {
        if let Some(source) = self.sources.borrow_mut().get_mut(socket.fd()) {
            *source = Source::default();
        }
    }

    fn release(&self, mut socket: Socket) -> Option<Socket> {
        self.forget(&socket);
        match socket.unwatch(&self.registry) {
            Ok(()) => Some(socket),
            Err(error) => {
                log::warn!("a connection cannot be handed over: {error}");
                None
            }
        }
    }
}

impl Edge {
    fn poll_wait(&self, connection: &mut Connection<Tcp>, deadline_ms: u64, waker: &Waker) -> Polled<()> {
        let (client_end, backend_end) = connection.ends();
        let client = client_end.fd();
        let of_client = self.take_ready(client);
        let of_backend = backend_end.as_ref().map_or(Readiness::NONE, |socket| self.take_ready(socket.fd()));
        let mut sources = self.sources.borrow_mut();
        if of_client | of_backend != Readiness::NONE {
            sources[client].deadline_ms = 0;
            client_end.ready.insert(of_client);
            if let Some(socket) = backend_end {
                socket.ready.insert(of_backend);
            }
            return Polled::Ready(());
        }
        sources[client].deadline_ms = deadline_ms;
        sources[client].idle = connection.is_idle();
        match &mut sources[client].waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Polled::Pending
    }
}
