//! The two engines: sockets, clocks, threads and tasks are on this floor and on no other.
//!
//! `thread` is a fixed pool of workers fed by a channel of ready work, `task` is an executor and a reactor per core.
//! Both run the same [`Exchange`](crate::exchange::Exchange) over the same links.

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

/// Which engine runs, with the choices that only this engine has.
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
    /// The pool of the textbooks: a worker takes one ready connection and holds its exchange to the end.
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

/// What wakes the tasks of the async engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReactorKind {
    /// An edge-triggered reactor of our own per core.
    #[default]
    Edge,
    /// smol's own, one for the process.
    Smol,
}

/// What the whole process may take.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// Client connections at once; beyond them none is accepted until one closes.
    pub connections: usize,
    /// Idle connections kept to each backend (in the async engine: by each worker).
    pub idle_backend_connections: usize,
    /// How long `stop` waits for requests under way.
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

/// How to run an app.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which engine.
    pub engine: Engine,
    /// Threads; at least 1.
    pub workers: usize,
    /// How many requests are at the backends at once.
    pub concurrency: ConcurrencyLimit,
    /// The settings of the listeners.
    pub listener: ListenerSettings,
    /// What the process may take.
    pub engine_limits: EngineLimits,
    /// Most bytes of a single read: less than a buffer only to see what that costs.
    pub receive_bytes: usize,
}

/// Processors that this process may use; at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How often deadlines are looked at: a deadline passes at most this much late.
const SWEEP: Duration = Duration::from_millis(200);

/// A running engine. Dropping it stops nothing: call `stop`, then `wait`.
pub struct EngineHandle {
    addresses: Vec<SocketAddr>,
    stop: Box<dyn Fn() + Send + Sync>,
    wait: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    stats: Box<dyn Fn() -> Snapshot + Send + Sync>,
}

impl EngineHandle {
    /// Where it listens, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting; what is running is answered with `Connection: close`, within the drain limit.
    pub fn stop(&self) {
        (self.stop)();
    }

    /// Returns when everything has ended after `stop`.
    pub fn wait(&self) {
        if let Some(wait) = self.wait.lock().take() {
            wait();
        }
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Snapshot {
        (self.stats)()
    }
}

/// Starts an engine over `app`.
///
/// # Errors
/// When a poller or a thread cannot be had from the system.
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

/// The two ends of a running engine: begin to stop, and wait for the end.
type Ends = (Box<dyn Fn() + Send + Sync>, Box<dyn FnOnce() + Send>);
