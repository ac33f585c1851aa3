//! A reactor per core, edge-triggered: each socket is registered once, and what the poller said is kept until a task
//! asks. smol's own (`stock.rs`) registers anew for every wait and is shared by all cores.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll as Polled, Waker};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Poll, Registry, Token};
use smol::LocalExecutor;
use smol::channel::Receiver;

use super::{Core, Dealer, Dealt, Desk, Ends, Listeners, Reactor, Shared};
use crate::app::App;
use crate::engine::SWEEP;
use crate::engine::link::{ENDED, Link, READABLE, Readiness, WRITABLE, readiness};
use crate::exchange::{Interest, Side};

/// The token of the waker; listeners count down from below it, sockets use their descriptor.
const WAKE: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - 1;
/// Readiness events taken at a time.
const EVENTS_MAX: usize = 256;
/// Set beside the readiness when a deadline passed or the core is stopping.
const TIME: Readiness = 128;

/// Who is told that a descriptor is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Owner {
    #[default]
    Nobody,
    /// The task of that client's descriptor.
    Client(usize),
    /// The pool of that backend.
    Parked(usize),
}

/// What is known of one descriptor.
#[derive(Debug, Default)]
struct Source {
    ready: Readiness,
    owner: Owner,
    deadline: Option<Instant>,
    waker: Option<Waker>,
}

pub(super) struct Edge {
    registry: Registry,
    /// By descriptor.
    sources: RefCell<Vec<Source>>,
}

pub(super) fn start<A: App>(shared: &Arc<Shared<A>>, listeners: Listeners) -> io::Result<Ends> {
    let (mut desks, mut seats) = (Vec::new(), Vec::new());
    for _ in 0..shared.counters.len() {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE)?;
        let (sender, receiver) = smol::channel::unbounded();
        let wake = move || {
            if let Err(error) = waker.wake() {
                log::error!("cannot wake a core: {error}");
            }
        };
        desks.push(Desk { sender, open: Default::default(), wake: Box::new(wake) });
        seats.push((poll, receiver));
    }
    let cores: Arc<[Desk]> = desks.into();
    let mut listeners = listeners.0;
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for (index, (poll, dealt)) in seats.into_iter().enumerate() {
        let listeners = std::mem::take(&mut listeners);
        for (i, listener) in listeners.iter().enumerate() {
            let fd = listener.as_raw_fd();
            poll.registry().register(
                &mut SourceFd(&fd),
                Token(FIRST_LISTENER - i),
                mio::Interest::READABLE,
            )?;
        }
        let registry = poll.registry().try_clone()?;
        let (shared, cores) = (Arc::clone(shared), Arc::clone(&cores));
        bodies.push(Box::new(move || {
            let edge = Edge { registry, sources: RefCell::default() };
            let dealer = Dealer { accepting: !listeners.is_empty(), listeners, paused: false };
            serve(&Core::new(index, shared, edge, cores), poll, dealer, &dealt);
        }));
    }
    super::launch(shared, &cores, bodies)
}

/// One core's loop: run what is ready, then wait for more.
fn serve<A: App>(core: &Rc<Core<A, Edge>>, mut poll: Poll, mut dealer: Dealer, dealt: &Receiver<Dealt>) {
    let executor = LocalExecutor::new();
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut swept = Instant::now();
    let mut drained_from = None;
    loop {
        while executor.try_tick() {}
        if core.shared.is_draining() {
            dealer.listeners.clear();
            if core.open.get() == 0 && dealt.is_empty() {
                return;
            }
        }
        let most = if dealer.accepting { Duration::ZERO } else { SWEEP };
        if let Err(error) = poll.poll(&mut events, Some(most))
            && error.kind() != io::ErrorKind::Interrupted
        {
            log::error!("waiting for readiness failed: {error}");
        }
        core.clock.borrow_mut().tick();
        core.counters().wakeups.add(1);
        let now = core.now().instant;
        for event in &events {
            match event.token() {
                WAKE if core.shared.is_draining() => swept -= SWEEP,
                WAKE => {}
                Token(token) if token > FIRST_LISTENER - dealer.listeners.len() => dealer.accepting = true,
                Token(fd) => core.announce(fd, readiness(event)),
            }
        }
        core.take_dealt(&executor, dealt);
        if now.saturating_duration_since(swept) >= SWEEP {
            swept = now;
            dealer.accepting |= std::mem::take(&mut dealer.paused);
            if core.shared.is_draining() {
                let from = *drained_from.get_or_insert(now);
                let over = now.saturating_duration_since(from) >= core.shared.options.engine_limits.drain;
                core.shared.ending.fetch_or(over, std::sync::atomic::Ordering::Relaxed);
            }
            core.reactor.sweep(now, core.shared.is_draining());
            core.expire_parked();
        }
        if dealer.accepting && !dealer.listeners.is_empty() {
            core.accept(&executor, &mut dealer);
        }
    }
}

impl<A: App> Core<A, Edge> {
    fn announce(&self, fd: usize, ready: Readiness) {
        let parked = self.reactor.announce(fd, ready);
        if let Some(backend) = parked {
            // Dead, or its backend speaks without being asked.
            let link = self.idle_backends.borrow_mut().remove(backend, fd);
            if let Some(link) = link {
                self.reactor.forget(&link);
            }
        }
    }
}

impl Edge {
    /// Notes what the poller said and wakes the owner; the backend's id when it is a parked connection.
    fn announce(&self, fd: usize, ready: Readiness) -> Option<usize> {
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(fd)?;
        source.ready |= ready;
        match source.owner {
            Owner::Client(client) => {
                if let Some(waker) = &sources.get(client)?.waker {
                    waker.wake_by_ref();
                }
                None
            }
            Owner::Parked(backend) => Some(backend),
            Owner::Nobody => None,
        }
    }

    /// Wakes every task whose deadline has passed, or all of them.
    fn sweep(&self, now: Instant, all: bool) {
        for source in self.sources.borrow_mut().iter_mut() {
            if let (true, Some(waker)) = (all || source.deadline.is_some_and(|at| at <= now), &source.waker) {
                source.ready |= TIME;
                waker.wake_by_ref();
            }
        }
    }

    fn own(&self, fd: usize, owner: Owner) {
        let mut sources = self.sources.borrow_mut();
        if sources.len() <= fd {
            sources.resize_with(fd + 1, Source::default);
        }
        sources[fd].owner = owner;
    }

    fn take_ready(&self, fd: usize) -> Readiness {
        self.sources.borrow_mut().get_mut(fd).map_or(0, |source| std::mem::take(&mut source.ready))
    }

    /// Registers a link for what is to be waited for and was not asked before.
    fn watch(&self, link: &mut Link<TcpStream>, side: Side, interest: Interest) -> io::Result<()> {
        let (before, wanted) = link.watch(side, interest);
        if before == wanted {
            return Ok(());
        }
        let fd = link.fd() as i32;
        let ready = match wanted & WRITABLE != 0 {
            true => mio::Interest::READABLE | mio::Interest::WRITABLE,
            false => mio::Interest::READABLE,
        };
        match before {
            0 => self.registry.register(&mut SourceFd(&fd), Token(link.fd()), ready),
            _ => self.registry.reregister(&mut SourceFd(&fd), Token(link.fd()), ready),
        }
    }

    /// Watches a side that is waited for; where the poller cannot, the first call on it will tell.
    fn prepare(&self, link: &mut Link<TcpStream>, side: Side, interest: Interest, client: usize) {
        if interest.concerns(side) {
            self.own(link.fd(), Owner::Client(client));
            if let Err(error) = self.watch(link, side, interest) {
                log::warn!("a connection cannot be watched: {error}");
                link.note(READABLE | WRITABLE | ENDED);
            }
        }
    }
}

impl Reactor for Edge {
    type Stream = TcpStream;

    fn wrap(&self, link: Link<TcpStream>) -> io::Result<Link<TcpStream>> {
        self.own(link.fd(), Owner::Nobody);
        Ok(link)
    }

    async fn wait(
        &self,
        client: &mut Link<TcpStream>,
        mut backend: Option<&mut Link<TcpStream>>,
        interest: Interest,
        deadline: Instant,
    ) {
        let fd = client.fd();
        self.prepare(client, Side::Client, interest, fd);
        if let Some(link) = backend.as_deref_mut() {
            self.prepare(link, Side::Backend, interest, fd);
        }
        self.own(fd, Owner::Client(fd));
        poll_fn(|cx| {
            let of_client = self.take_ready(fd);
            let of_backend = backend.as_ref().map_or(0, |link| self.take_ready(link.fd()));
            let mut sources = self.sources.borrow_mut();
            if of_client | of_backend != 0 {
                sources[fd].deadline = None;
                client.note(of_client);
                if let Some(link) = backend.as_deref_mut() {
                    link.note(of_backend);
                }
                return Polled::Ready(());
            }
            sources[fd].deadline = Some(deadline);
            match &mut sources[fd].waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Polled::Pending
        })
        .await;
    }

    fn park(&self, link: &mut Link<TcpStream>, backend: usize) -> bool {
        self.own(link.fd(), Owner::Parked(backend));
        self.watch(link, Side::Backend, Interest::READ_BACKEND).is_ok() && self.take_ready(link.fd()) == 0
    }

    fn unpark(&self, link: &mut Link<TcpStream>) -> bool {
        let ready = self.take_ready(link.fd());
        link.note(ready);
        ready & (READABLE | ENDED) == 0
    }

    fn forget(&self, link: &Link<TcpStream>) {
        if let Some(source) = self.sources.borrow_mut().get_mut(link.fd()) {
            *source = Source::default();
        }
    }
}
