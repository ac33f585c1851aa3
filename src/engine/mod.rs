//! The two engines. Only the engine and the layers above it use sockets, clocks and threads.
//!
//! `thread` is a fixed pool of workers fed by a channel of ready work. `task` is an executor and a reactor per core.
//! Both run the same [`Exchange`](crate::exchange::Exchange) over the same transport.

mod clock;
mod defaults;
#[doc(hidden)]
pub mod driver;
mod listener;
mod pressure;
mod readiness;
mod shared;
mod stats;
mod task;
mod thread;
mod timers;
mod transport;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::app::{App, ListenerSettings};

pub use listener::{Listeners, listen};
pub use pressure::ConcurrencyLimit;
use shared::Shared;
pub use stats::Snapshot;
pub use transport::{Transform, TransformFactory};

/// The choice of an engine, with the options of this engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A fixed pool of workers fed by a channel of ready work.
    Thread(Pool),
    /// An executor and a reactor per core.
    Async(ReactorKind),
}

/// The pool of the thread engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Our own workers on a crossbeam channel. A worker takes at most `batch` ready connections at once.
    Crossbeam {
        /// Ready connections per job; at least 1.
        batch: usize,
    },
    /// A rayon pool runs the same jobs.
    Rayon {
        /// Ready connections per job; at least 1.
        batch: usize,
    },
    /// The textbook pool: a worker takes one ready connection and holds the exchange to its end.
    Textbook,
}

impl Pool {
    /// Ready connections per job.
    pub(crate) fn batch(self) -> usize {
        match self {
            Pool::Crossbeam { batch } | Pool::Rayon { batch } => batch.max(1),
            Pool::Textbook => 1,
        }
    }
}

/// The reactor that wakes the tasks of the async engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReactorKind {
    /// Our own edge-triggered reactor, one per core.
    #[default]
    Edge,
    /// smol's reactor, one for the process.
    Smol,
}

/// The resource limits of the process.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// The maximum of open client connections. At the maximum the engine accepts no further connection until one closes.
    pub connections: usize,
    /// The maximum of idle connections per backend (in the async engine: per backend and worker).
    pub idle_backend_connections: usize,
    /// The time that requests in flight have to end after `stop`.
    pub drain: Duration,
    /// The time for which [`ConcurrencyLimit`] counts a request, and up to twice as long; at least 1 ms. An older request is not
    /// counted, so that a few slow requests do not delay the rest.
    pub in_flight_epoch: Duration,
}

impl Default for EngineLimits {
    fn default() -> Self {
        EngineLimits {
            connections: 65_536,
            idle_backend_connections: 1024,
            drain: Duration::from_secs(10),
            in_flight_epoch: pressure::EPOCH,
        }
    }
}

/// The options for running an app.
#[derive(Debug, Clone)]
pub struct Options {
    /// The engine.
    pub engine: Engine,
    /// The number of threads; at least 1.
    pub workers: usize,
    /// The limit on the requests in flight.
    pub concurrency: ConcurrencyLimit,
    /// The settings of the listeners.
    pub listener: ListenerSettings,
    /// The limits of the process.
    pub engine_limits: EngineLimits,
    /// Maximum bytes of a single read. Only experiments set less than a whole buffer, to measure the cost of small
    /// reads.
    pub receive_bytes: usize,
    /// Makes the transforms of the clients' connections. None: their bytes are HTTP.
    pub client_transform: Option<TransformFactory>,
    /// Makes the transforms of the connections to backends. None: their bytes are HTTP.
    pub backend_transform: Option<TransformFactory>,
}

/// The number of CPUs that this process may use; at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The interval of the sweep, which checks deadlines. A deadline is noticed at most one interval late.
const SWEEP: Duration = Duration::from_millis(200);

/// A running engine. Dropping it stops nothing: call `stop`, then `wait`.
pub struct EngineHandle {
    addresses: Vec<SocketAddr>,
    stop: Box<dyn Fn() + Send + Sync>,
    wait: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    stats: Box<dyn Fn() -> Snapshot + Send + Sync>,
}

impl EngineHandle {
    /// The addresses of the listeners, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting. Running requests are answered with `Connection: close`, within the drain limit.
    pub fn stop(&self) {
        (self.stop)();
    }

    /// Waits until all connections and threads have ended after `stop`.
    pub fn wait(&self) {
        if let Some(wait) = self.wait.lock().take() {
            wait();
        }
    }

    /// The counters of all workers since the start.
    pub fn stats(&self) -> Snapshot {
        (self.stats)()
    }
}

/// Starts an engine over `app`.
///
/// # Errors
/// When the system cannot create a poller or a thread.
pub fn start<A: App>(app: Arc<A>, listeners: Listeners, options: Options) -> io::Result<EngineHandle> {
    let shared = Arc::new(Shared::new(app, options));
    let addresses = listeners.addresses()?;
    let (stop, wait) = match shared.options.engine {
        Engine::Thread(pool) => thread::start(&shared, pool, listeners)?,
        Engine::Async(reactor) => task::start(&shared, reactor, listeners)?,
    };
    let stats = move || {
        let mut sum = Snapshot::default();
        shared.counters.iter().for_each(|counters| sum.add(counters));
        sum
    };
    Ok(EngineHandle { addresses, stop, wait: Mutex::new(Some(wait)), stats: Box::new(stats) })
}

/// Two functions of a running engine: the first begins to stop, the second waits for the end.
type Ends = (Box<dyn Fn() + Send + Sync>, Box<dyn FnOnce() + Send>);
