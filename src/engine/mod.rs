//! The two engines. Only the engine and the layers above it use sockets, clocks and threads.
//!
//! `thread` is a fixed pool of workers that take ready connections from a queue. `task` is an executor and a reactor
//! per core. Both run the same [`Exchange`](crate::exchange::Exchange) over the same transport. The same event loop
//! reports to both (smol's reactor has its own).

mod acceptor;
mod active;
mod alarm;
mod atomic;
mod awake;
mod checker;
mod clock;
mod defaults;
mod discovery;
#[doc(hidden)]
pub mod driver;
mod entry;
mod event_loop;
mod handle;
mod handshakes;
mod listener;
mod options;
mod pauses;
mod preface;
mod pressure;
mod probe;
mod readiness;
mod resolver;
mod shared;
mod sockets;
mod spares;
mod stats;
mod table;
mod task;
mod thread;
mod timers;
mod transport;
mod worker;

pub use checker::Checker;
pub use discovery::Discovery;
pub use handle::{EngineHandle, start};
pub use listener::{Listeners, listen, more_descriptors};
pub use options::{Engine, EngineLimits, Handshakes, Options, Pool, ReactorKind, cores};
pub use pressure::ConcurrencyLimit;
pub use probe::reach;
pub use stats::Snapshot;
pub use transport::{Transform, TransformFactory};
