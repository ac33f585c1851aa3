//! The async engine. Each core has one thread, one smol `LocalExecutor` and one reactor. Each connection has one task.
//!
//! The first core accepts connections, and keeps them while one core should be awake (`awake.rs`). When more cores should
//! be awake, a busy core hands idle connections over to the least busy core, until both cores are equally busy. A core
//! that should sleep gives its connections back. A connection with a running request stays on its core. smol's reactor
//! hands nothing over.

mod core;
mod edge;
mod handoff;
mod run;
mod stock;

use std::io;
use std::sync::Arc;

use super::listener::Bound;
use super::options::ReactorKind;
use super::shared::Shared;
use crate::app::App;

/// Starts the engine. Returns a function that waits for its end.
///
/// # Errors
/// When the system cannot create a poller or a thread.
pub(super) fn start<A: App>(
    shared: &Arc<Shared<A>>,
    reactor: ReactorKind,
    listeners: Vec<Bound>,
) -> io::Result<Box<dyn FnOnce() + Send>> {
    match reactor {
        ReactorKind::Edge => edge::start(shared, listeners),
        ReactorKind::Smol => stock::start(shared, listeners),
    }
}
