//! The options of an engine, and the constants that all of its parts share.

use std::time::Duration;

use super::pressure::{self, ConcurrencyLimit};
use super::transport::TransformFactory;
use crate::app::ListenerSettings;

/// The choice of an engine, with the options of this engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A fixed pool of workers that take ready connections from a queue.
    Thread(Pool),
    /// An executor per core, with a reactor of its own or with smol's.
    Async(ReactorKind),
}

/// The pool of the thread engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Our own workers on a crossbeam channel. A job has at most `batch` ready connections.
    Crossbeam {
        /// Ready connections per job; at least 1.
        batch: usize,
    },
    /// A rayon pool runs the same jobs.
    Rayon {
        /// Ready connections per job; at least 1.
        batch: usize,
    },
    /// The textbook pool: a worker takes one ready connection. While a backend is attached, the worker itself waits for
    /// the sockets.
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
    /// smol's reactor, one for the process. It exists to measure the cost of this design.
    Smol,
}

/// Where the cryptography of a client's handshake is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handshakes {
    /// In the run of the connection. In the async engine the other connections of the core wait meanwhile.
    #[default]
    Inline,
    /// On threads of its own, one for each worker. The connection is parked meanwhile. With smol's reactor as `Inline`,
    /// because a connection there cannot be woken by another thread.
    Pool,
}

/// The resource limits of an engine.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// The maximum of open client connections. At the maximum, the clients that have been idle for the longest time make
    /// room for new clients. If no client is idle, new clients wait.
    pub connections: usize,
    /// The maximum of idle connections per backend (in the async engine: per backend and worker).
    pub idle_backend_connections: usize,
    /// The time that requests in flight have to end after `stop`.
    pub drain: Duration,
    /// The epoch of [`ConcurrencyLimit`]; at least 1 ms. A request is counted for one to two epochs. An older request
    /// is not counted, so that a few slow requests do not delay the rest.
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
    /// The number of threads; at least 1. The engine wakes as many of them as the load needs.
    pub workers: usize,
    /// The limit on the requests in flight.
    pub concurrency: ConcurrencyLimit,
    /// The settings of the listeners that the engine starts with.
    pub listener: ListenerSettings,
    /// The resource limits.
    pub engine_limits: EngineLimits,
    /// Maximum bytes of a single read. Only experiments set less than a whole buffer, to measure the cost of small
    /// reads.
    pub receive_bytes: usize,
    /// True to keep all workers awake at all times. Only experiments do so, to measure what a worker costs that is not
    /// needed.
    pub all_awake: bool,
    /// Makes a transform, for example for encryption, for each client connection of the listeners that the engine
    /// starts with. None: the bytes on the sockets are HTTP.
    pub client_transform: Option<TransformFactory>,
    /// Where the handshakes of clients with a transform are computed.
    pub handshakes: Handshakes,
}

/// The number of CPUs that this process may use; at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The interval of the sweep, which checks deadlines. A deadline is noticed at most one interval late.
pub(super) const SWEEP: Duration = Duration::from_millis(200);
