//! The alarm of an event loop: other threads wake the loop, and name the clients that must run.

use std::sync::Arc;
use std::task::{Wake, Waker};

use mio::{Registry, Token};
use parking_lot::Mutex;

/// The token of an alarm.
pub(super) const ALARM: Token = Token(usize::MAX);

/// Wakes one event loop from any thread.
#[derive(Debug)]
pub(super) struct Alarm {
    waker: mio::Waker,
    /// Clients whose connections another thread wants to run.
    called: Mutex<Vec<usize>>,
}

impl Alarm {
    pub(super) fn new(registry: &Registry) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Alarm { waker: mio::Waker::new(registry, ALARM)?, called: Mutex::default() }))
    }

    /// Ends the current wait of the event loop, or its next wait.
    pub(super) fn ring(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake an event loop: {error}");
        }
    }

    /// Takes out the clients that were called.
    pub(super) fn take_called(&self) -> Vec<usize> {
        std::mem::take(&mut *self.called.lock())
    }

    /// A waker that runs the connection of a client's descriptor. If another connection has the descriptor's number by
    /// then, it runs once without need. This does no harm.
    pub(super) fn waker_of(self: &Arc<Self>, client: usize) -> Waker {
        Waker::from(Arc::new(Call { alarm: Arc::clone(self), client }))
    }
}

struct Call {
    alarm: Arc<Alarm>,
    client: usize,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.alarm.called.lock().push(self.client);
        self.alarm.ring();
    }
}
