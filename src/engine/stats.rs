//! Counters: one set a worker, written by it alone, added up when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one worker counts up and others read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Without a locked instruction: there is one writer.
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What one worker has counted since the start.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct Counters {
            $(pub(super) $name: Counter,)+
        }

        /// The counters of all workers, added up, since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Snapshot {
            /// Adds the counters of one worker.
            pub fn add(&mut self, counters: &Counters) {
                $(self.$name += counters.$name.0.load(Relaxed);)+
            }

            /// One JSON object on one line.
            pub fn to_json(&self) -> String {
                let fields = [$(format!("\"{}\":{}", stringify!($name), self.$name),)+];
                format!("{{{}}}", fields.join(","))
            }
        }
    };
}

counters! {
    /// Client connections accepted.
    accepted,
    /// Client connections closed, whatever the reason.
    closed,
    /// Requests answered whole, whoever made the answer.
    served,
    /// Client connections broken off in the middle of a response.
    broken,
    /// Backend connections made.
    connected,
    /// Requests that got a kept backend connection.
    reused,
    /// Backend connections that could not be had.
    unreachable,
    /// Calls that found a socket not ready.
    would_blocks,
    /// Returns from waiting for readiness, or for work.
    wakeups,
    /// Jobs taken from the channel (thread engine).
    jobs,
    /// Time those jobs lay in the channel, in nanoseconds.
    queue_wait_ns,
    /// Times a listener could not accept for want of descriptors or connections.
    accept_paused,
    /// Exchanges that panicked.
    panics,
}
