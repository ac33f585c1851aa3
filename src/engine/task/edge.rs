//! Our own edge-triggered reactor, one per core. Each socket is registered once, and the reported readiness is kept
//! until a task asks. smol's reactor (`stock.rs`) registers a socket again for every wait, and all cores share it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{self, Waker};
use std::time::Instant;

use mio::Poll;
use smol::LocalExecutor;
use smol::channel::Receiver;

use super::core::{Core, CoreHandle, Reactor, launch};
use crate::app::App;
use crate::engine::acceptor::Acceptor;
use crate::engine::alarm::Alarm;
use crate::engine::awake::Awake;
use crate::engine::clock::Load;
use crate::engine::driver::{Connection, YIELDED_MAX};
use crate::engine::event_loop::{self, EventLoop, Sink, room_at_once};
use crate::engine::listener::{Arrival, Bound};
use crate::engine::shared::Shared;
use crate::engine::sockets::Sockets;
use crate::engine::transport::{Socket, Tcp};
use crate::engine::worker::WorkerState;
use crate::exchange::Interest;

/// Maximum readiness events per wake-up.
const EVENTS_MAX: usize = 256;

/// The waker of the task of a client's connection.
#[derive(Default)]
pub(super) struct TaskWaker {
    waker: Cell<Option<Waker>>,
    /// The client is in the list of clients whose tasks have yielded.
    is_listed: Cell<bool>,
}

impl TaskWaker {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    fn set(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Adds the client to the list, once.
    fn list(&self, client: usize, yielded: &RefCell<VecDeque<usize>>) {
        if !self.is_listed.replace(true) {
            yielded.borrow_mut().push_back(client);
        }
    }
}

/// Our own reactor: the sockets of one core.
type Edge = Sockets<TaskWaker>;

/// Starts one core per worker. Returns a function that waits for their end.
///
/// # Errors
/// When the system cannot create a poller or a thread.
pub(super) fn start<A: App>(
    shared: &Arc<Shared<A>>,
    listeners: Vec<Bound>,
) -> io::Result<Box<dyn FnOnce() + Send>> {
    let (mut handles, mut alarms, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..shared.counters.len() {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry())?;
        let (sender, receiver) = smol::channel::unbounded();
        handles.push(CoreHandle::new(sender, Some(Arc::clone(&alarm))));
        alarms.push(Arc::clone(&alarm));
        inboxes.push((poll, alarm, receiver));
    }
    shared.set_alarms(alarms.into());
    let cores: Arc<[CoreHandle]> = handles.into();
    let mut listeners = Some(listeners);
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for (index, (poll, alarm, inbox)) in inboxes.into_iter().enumerate() {
        let registry = poll.registry().try_clone()?;
        let acceptor = match listeners.take() {
            Some(listeners) => Acceptor::new(listeners, Some(registry.try_clone()?))?,
            None => Acceptor::without_listeners(),
        };
        let (shared, cores) = (Arc::clone(shared), Arc::clone(&cores));
        bodies.push(Box::new(move || {
            let edge = Edge::new(registry, alarm, &shared.options, 1);
            let core = Core::new(index, shared, edge, cores);
            serve(&core, EventLoop::new(poll, EVENTS_MAX, acceptor), &inbox);
        }));
    }
    launch(bodies)
}

/// The loop of one core: drives the event loop and runs the ready tasks.
fn serve<A: App>(core: &Rc<Core<A, Edge>>, mut event_loop: EventLoop, inbox: &Receiver<Connection<Tcp>>) {
    let executor = LocalExecutor::new();
    let (awake, dealt_to) = (Awake::new(core.cores.len()), vec![false; core.cores.len()]);
    let mut sink = CoreSink { core, executor: &executor, inbox, awake, dealt_to };
    let mut busy = false;
    loop {
        event_loop.turn(&mut sink, busy);
        sink.wake_dealt();
        if core.shared.is_over() {
            return;
        }
        while executor.try_tick() {}
        if event_loop.begin_waiting(&mut sink) {
            while executor.try_tick() {}
        }
        busy = core.run_yielded(&executor);
    }
}

impl<A: App> Core<A, Edge> {
    /// Runs some of the tasks that have yielded. True when there are more.
    fn run_yielded(&self, executor: &LocalExecutor<'static>) -> bool {
        for _ in 0..YIELDED_MAX {
            let Some(client) = self.yielded.borrow_mut().pop_front() else { break };
            let Some(slot) = self.reactor.table.slot(client) else { continue };
            slot.content.is_listed.set(false);
            slot.content.wake();
            while executor.try_tick() {}
        }
        !self.yielded.borrow().is_empty()
    }
}

/// Takes the reports of the event loop for a core.
struct CoreSink<'a, A: App> {
    core: &'a Rc<Core<A, Edge>>,
    executor: &'a LocalExecutor<'static>,
    inbox: &'a Receiver<Connection<Tcp>>,
    /// Decides how many cores should be awake. The first core alone asks it.
    awake: Awake,
    /// The cores that got a connection in this turn.
    dealt_to: Vec<bool>,
}

impl<A: App> CoreSink<'_, A> {
    /// Wakes the cores that got a connection. One wake-up per turn is enough.
    fn wake_dealt(&mut self) {
        for (handle, dealt) in self.core.cores.iter().zip(&mut self.dealt_to) {
            if std::mem::take(dealt) {
                handle.ring();
            }
        }
    }
}

impl<A: App> Sink for CoreSink<'_, A> {
    type App = A;
    type Content = TaskWaker;

    fn shared(&self) -> &Arc<Shared<A>> {
        &self.core.shared
    }

    fn sockets(&self) -> &Sockets<TaskWaker> {
        &self.core.reactor
    }

    fn worker(&self) -> usize {
        self.core.index
    }

    fn wake_up(&mut self) -> Instant {
        self.core.worker.borrow_mut().wake_up(&*self.core.shared.app);
        self.core.take_dealt(self.executor, self.inbox);
        let now = self.core.now();
        let to_leave = &self.core.cores[self.core.index].to_leave;
        if to_leave.load(Ordering::Relaxed) > 0 {
            let count = to_leave.swap(0, Ordering::Relaxed);
            event_loop::make_room(self, now, count);
        }
        now
    }

    /// The executor runs a woken task once, however often it was woken.
    fn claim(&mut self, _: usize) -> bool {
        true
    }

    fn queue(&mut self, client: usize) {
        if let Some(slot) = self.sockets().table.slot(client) {
            match slot.has_yielded() {
                true => slot.content.list(client, &self.core.yielded),
                false => slot.content.wake(),
            }
        }
    }

    fn admit(&mut self, client: Arrival) {
        if let Some(core) = self.core.deal(self.executor, client) {
            self.dealt_to[core] = true;
        }
    }

    fn make_room(&mut self, now: Instant) {
        let count = room_at_once(&self.core.shared.options);
        let fullest = self.core.fullest_core();
        if fullest == self.core.index {
            event_loop::make_room(self, now, count);
        } else {
            self.core.cores[fullest].to_leave.fetch_add(count, Ordering::Relaxed);
            self.core.cores[fullest].ring();
        }
    }

    fn sweep(&mut self, now: Instant) {
        let Some(load) = self.core.worker.borrow_mut().run_queue.read(now) else { return };
        let Core { index, cores, shared, reactor, .. } = &**self.core;
        reactor.pressure.note_load(load);
        cores[*index].report(load);
        if *index == 0 {
            let awake = &cores[..shared.awake()];
            shared.set_awake(self.awake.note(Load::mean(awake.iter().map(CoreHandle::load))));
        }
        self.core.settle_load();
    }
}

impl Reactor for Edge {
    const HANDS_OVER: bool = true;

    fn admit(&self, client: Socket) -> io::Result<Socket> {
        match Edge::admit(self, &client) {
            Some(_) => Ok(client),
            None => Err(rustix::io::Errno::MFILE.into()),
        }
    }

    fn begin_run<A: App>(&self, connection: &mut Connection<Tcp>, _: &A, _: &mut WorkerState<A::View, Tcp>) {
        Edge::begin_run(self, connection);
    }

    fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
        now: Instant,
    ) -> impl Future<Output = ()> {
        self.begin_wait(connection, interest, deadline, now);
        let client = connection.client().fd();
        poll_fn(move |cx| match self.table.slot(client) {
            Some(slot) if slot.is_waiting() => {
                slot.content.set(cx.waker());
                task::Poll::Pending
            }
            _ => task::Poll::Ready(()),
        })
    }

    fn keep_yielded(&self, client: usize, waker: &Waker, yielded: &RefCell<VecDeque<usize>>) {
        if let Some(slot) = self.table.slot(client) {
            slot.note_yield();
            slot.content.set(waker);
            slot.content.list(client, yielded);
        }
    }

    fn forget(&self, client: usize) {
        if let Some(slot) = self.table.slot(client) {
            slot.content.waker.take();
        }
    }

    fn release(&self, socket: Socket) -> io::Result<Socket> {
        Edge::release(self, socket)
    }
}
