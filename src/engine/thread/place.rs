//! The thread engine's part of a slot in the table.

use parking_lot::Mutex;

use super::schedule::Schedule;
use crate::engine::driver::Connection;
use crate::engine::transport::Tcp;

/// A client's connection, and its place in the schedule of the workers. The worker that runs the connection locks it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) schedule: Schedule,
    pub(super) connection: Mutex<Option<Box<Connection<Tcp>>>>,
}

impl Default for Place {
    fn default() -> Self {
        Place { schedule: Schedule::new(), connection: Mutex::new(None) }
    }
}
