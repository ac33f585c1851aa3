//! Decides which connection runs and which runs again. At most one worker runs a connection at a time.
//!
//! `tests/model.rs` checks two rules over many schedules of a few threads:
//! - One claim moves a connection from at rest to queued, and its caller queues exactly one run ([`Schedule::claim`]).
//! - The kernel may reuse a descriptor's number while a worker still runs the old connection. [`Schedule::rest`] is
//!   then false, and this worker also runs the new connection.
//!
//! The model compiles this file with the atomics of shuttle instead of those of `engine/atomic.rs`.

use super::super::atomic::{AtomicU8, Ordering};

const AT_REST: u8 = 0;
const QUEUED: u8 = 1;
const QUEUED_AGAIN: u8 = 2;

/// The place of one connection in the schedule of the workers.
#[derive(Debug)]
pub(crate) struct Schedule(AtomicU8);

impl Schedule {
    pub(crate) fn new() -> Self {
        Schedule(AtomicU8::new(AT_REST))
    }

    /// Asks for a run. True when the connection was at rest; then the caller must queue the connection.
    pub(crate) fn claim(&self) -> bool {
        let next = |run| match run {
            AT_REST => Some(QUEUED),
            QUEUED => Some(QUEUED_AGAIN),
            _ => None,
        };
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(AT_REST)
    }

    /// Ends a run, after which the connection waits or has ended. False when another thread asked for a run meanwhile;
    /// then the caller must run the connection again.
    pub(crate) fn rest(&self) -> bool {
        let rested = self.0.compare_exchange(QUEUED, AT_REST, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !rested {
            self.0.store(QUEUED, Ordering::SeqCst);
        }
        rested
    }
}
