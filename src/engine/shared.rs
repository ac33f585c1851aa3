//! The state that all workers of an engine share, for both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::Options;
use super::stats::Counters;
use crate::app::ListenerId;

/// The state that all workers of an engine share.
#[derive(Debug)]
pub struct Shared<A> {
    pub(super) app: Arc<A>,
    pub(super) options: Options,
    pub(super) listener: ListenerId,
    pub(super) counters: Box<[Counters]>,
    /// Open client connections.
    pub(super) open: AtomicUsize,
    pub(super) draining: AtomicBool,
    /// The drain limit has passed: the remaining connections end, and unfinished responses end with a reset.
    ending: AtomicBool,
    /// The listeners are closed, so no connection is accepted any more.
    accepted_last: AtomicBool,
}

impl<A> Shared<A> {
    /// The state of an engine that has not started.
    pub fn new(app: Arc<A>, options: Options) -> Self {
        Shared {
            app,
            counters: (0..options.workers.max(1)).map(|_| Counters::default()).collect(),
            options,
            listener: ListenerId::unused(),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            accepted_last: AtomicBool::new(false),
        }
    }

    /// The counters of one worker.
    pub fn counters(&self, worker: usize) -> &Counters {
        &self.counters[worker]
    }

    /// Counts an accepted client connection.
    pub fn opened(&self, counters: &Counters) {
        counters.accepted.add(1);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a closed client connection. Returns the number of open client connections.
    pub fn closed(&self) -> usize {
        self.open.fetch_sub(1, Ordering::SeqCst) - 1
    }

    /// Begins or ends a drain. During a drain, connections are closed after their response.
    pub fn set_draining(&self, on: bool) {
        self.draining.store(on, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Makes every connection end at its next run.
    pub fn end_all(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends the remaining connections once the drain limit has passed. `since` keeps the start of the drain from call
    /// to call.
    pub(super) fn limit_drain(&self, since: &mut Option<Instant>, now: Instant) {
        let since = *since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.options.engine_limits.drain {
            self.end_all();
        }
    }

    /// Records that the listeners are closed.
    /// Returns true the first time.
    pub(super) fn stop_accepting(&self) -> bool {
        !self.accepted_last.swap(true, Ordering::SeqCst)
    }

    /// True when no connection is open and no connection will be accepted. A connection on its way from one core to
    /// another counts as open, so no core ends before this connection has arrived.
    pub(super) fn is_over(&self) -> bool {
        self.accepted_last.load(Ordering::SeqCst) && self.open.load(Ordering::SeqCst) == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.options.engine_limits.connections
    }
}

/// Aborts the process when its thread panics outside of a connection. A panic inside a connection is caught and ends
/// only this connection. A process without its event loop would be alive and serve nobody.
pub(super) struct AbortOnPanic;

impl AbortOnPanic {
    /// Aborts the process.
    pub(super) fn abort() -> ! {
        log::error!("a worker panicked outside of a connection: the process aborts");
        std::process::abort();
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            AbortOnPanic::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_the_last_accepted_connection_is_closed() {
        let shared = Shared::new(Arc::new(()), Options::default());
        assert!(!shared.is_over(), "clients may come");
        shared.set_draining(true);
        assert!(!shared.is_over(), "the acceptor does not know of the drain yet");
        shared.open.fetch_add(1, Ordering::SeqCst);
        assert!(shared.stop_accepting() && !shared.stop_accepting());
        assert!(!shared.is_over(), "the last client may be on its way to its core");
        assert_eq!(shared.closed(), 0);
        assert!(shared.is_over());
    }
}
