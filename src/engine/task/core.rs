//! The state of one core, and what the cores know of each other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::thread;
use std::time::Instant;

use smol::channel::Sender;

use crate::app::App;
use crate::engine::alarm::Alarm;
use crate::engine::clock::Load;
use crate::engine::driver::{Backends, Connection};
use crate::engine::shared::{AbortOnPanic, Shared};
use crate::engine::stats::Counters;
use crate::engine::transport::{Socket, Tcp};
use crate::engine::worker::WorkerState;
use crate::exchange::Interest;

/// A reactor wakes tasks when a socket is ready, and makes and keeps the connections to backends.
pub(super) trait Reactor: Backends<Tcp> + 'static {
    /// True when cores report their load and hand idle connections over.
    const HANDS_OVER: bool;

    /// Prepares a client's socket for waits on this reactor.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    fn admit(&self, client: Socket) -> io::Result<Socket>;

    /// Begins a run: adds the known readiness to both ends of the connection.
    fn begin_run<A: App>(
        &self,
        connection: &mut Connection<Tcp>,
        app: &A,
        worker: &mut WorkerState<A::View, Tcp>,
    );

    /// Returns when a transfer of `interest` may be possible, when the deadline has passed, or when another thread has
    /// called the connection.
    fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
        now: Instant,
    ) -> impl Future<Output = ()>;

    /// Keeps a task that yields: adds its client to `yielded`, or wakes the task so that it runs after other tasks.
    fn keep_yielded(&self, client: usize, waker: &Waker, yielded: &RefCell<VecDeque<usize>>);

    /// Ends the waits of a client that is closed or released.
    fn forget(&self, client: usize);

    /// Stops watching a socket, so that another core can watch it.
    ///
    /// # Errors
    /// When the reactor cannot release the socket.
    fn release(&self, socket: Socket) -> io::Result<Socket>;
}

/// The state that the tasks of one core share.
pub(super) struct Core<A: App, R: Reactor> {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared<A>>,
    pub(super) reactor: R,
    pub(super) worker: RefCell<WorkerState<A::View, Tcp>>,
    /// The number of open client connections of this core.
    pub(super) open: Cell<usize>,
    /// The number of connections to hand over, and the core that gets them.
    pub(super) excess: Cell<(usize, usize)>,
    /// The clients whose tasks have yielded. First in, first out.
    pub(super) yielded: RefCell<VecDeque<usize>>,
    pub(super) cores: Arc<[CoreHandle]>,
}

/// The inbox of a core, its number of connections, and its load.
pub(super) struct CoreHandle {
    pub(super) sender: Sender<Connection<Tcp>>,
    /// The alarm of the core's event loop. None with smol's reactor, where a message wakes the core.
    pub(super) alarm: Option<Arc<Alarm>>,
    pub(super) open: AtomicUsize,
    /// The load between the last two sweeps, in percent: the share of `ready`, and the share of `waited`.
    load: [AtomicU64; 2],
    /// The number of idle clients that the core must close to make room for new clients.
    pub(super) to_leave: AtomicUsize,
}

impl CoreHandle {
    pub(super) fn new(sender: Sender<Connection<Tcp>>, alarm: Option<Arc<Alarm>>) -> Self {
        CoreHandle {
            sender,
            alarm,
            open: AtomicUsize::new(0),
            load: Default::default(),
            to_leave: AtomicUsize::new(0),
        }
    }

    /// Reports the load of the core. Another core may read a mix of two reports, which the next report corrects.
    pub(super) fn report(&self, load: Load) {
        self.load[0].store(load.ready, Ordering::Relaxed);
        self.load[1].store(load.waited, Ordering::Relaxed);
    }

    /// The last reported load.
    pub(super) fn load(&self) -> Load {
        let [ready, waited] = self.load.each_ref().map(|part| part.load(Ordering::Relaxed));
        Load { ready, waited }
    }

    pub(super) fn ring(&self) {
        if let Some(alarm) = &self.alarm {
            alarm.ring();
        }
    }
}

impl<A: App, R: Reactor> Core<A, R> {
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared<A>>,
        reactor: R,
        cores: Arc<[CoreHandle]>,
    ) -> Rc<Self> {
        let worker = RefCell::new(WorkerState::new(shared.app.view()));
        Rc::new(Core {
            index,
            shared,
            reactor,
            worker,
            open: Cell::new(0),
            excess: Cell::default(),
            yielded: RefCell::default(),
            cores,
        })
    }

    pub(super) fn counters(&self) -> &Counters {
        self.shared.counters(self.index)
    }

    pub(super) fn now(&self) -> Instant {
        self.worker.borrow().now()
    }
}

/// Spawns the threads. Each of `bodies` runs one core. Returns a function that waits for their end.
///
/// # Errors
/// When the system cannot create a thread.
pub(super) fn launch(bodies: Vec<Box<dyn FnOnce() + Send>>) -> io::Result<Box<dyn FnOnce() + Send>> {
    let mut threads = Vec::new();
    for (index, body) in bodies.into_iter().enumerate() {
        let body = move || {
            let _guard = AbortOnPanic;
            body();
        };
        threads.push(thread::Builder::new().name(format!("core-{index}")).spawn(body)?);
    }
    Ok(Box::new(move || {
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a core's thread panicked");
            }
        }
    }))
}
