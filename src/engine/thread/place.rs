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
    /// True while the next run of the connection may compute a part of a handshake.
    computes: AtomicBool,
    pub(super) connection: Mutex<Option<Box<Connection<Tcp>>>>,
}

impl Place {
    /// Takes in a connection that was just accepted. `computes` is true when a handshake is computed by the worker that runs
    /// the connection.
    pub(super) fn admit(&self, connection: Connection<Tcp>, computes: bool) {
        self.computes.store(computes && connection.is_handshaking(), Relaxed);
        *self.connection.lock() = Some(Box::new(connection));
    }

    /// True while the next run of the connection may compute a part of a handshake.
    pub(super) fn computes(&self) -> bool {
        self.computes.load(Relaxed)
    }

    /// Notes after a run how far the handshake of the connection is.
    pub(super) fn note_run(&self, connection: &Connection<Tcp>) {
        if self.computes() && !connection.is_handshaking() {
            self.computes.store(false, Relaxed);
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Place { schedule: Schedule::new(), computes: AtomicBool::new(false), connection: Mutex::new(None) }
    }
}
