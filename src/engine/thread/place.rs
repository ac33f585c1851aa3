//! The thread engine's part of a slot in the table.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::schedule::Schedule;
use crate::engine::driver::Connection;
use crate::engine::transport::Tcp;

/// A client's connection, and its place in the schedule of the workers. The worker that runs the connection locks it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) schedule: Schedule,
    /// True until the first run of a connection that computes its handshake itself.
    computes: AtomicBool,
    pub(super) connection: Mutex<Option<Box<Connection<Tcp>>>>,
}

impl Place {
    /// Takes in a connection that was just accepted. `computes` is true when its first run computes a handshake.
    pub(super) fn admit(&self, connection: Connection<Tcp>, computes: bool) {
        self.computes.store(computes, Relaxed);
        *self.connection.lock() = Some(Box::new(connection));
    }

    /// True when the next run is the first one, and computes a handshake. The messages behind the first one cost little.
    pub(super) fn begins_to_compute(&self) -> bool {
        self.computes.load(Relaxed) && self.computes.swap(false, Relaxed)
    }
}

impl Default for Place {
    fn default() -> Self {
        Place { schedule: Schedule::new(), computes: AtomicBool::new(false), connection: Mutex::new(None) }
    }
}
