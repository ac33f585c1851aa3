//! Counters. Each worker writes its own set, and a reader adds the sets up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one worker increases and other threads read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n` without a locked instruction, because only one thread writes.
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one worker since the start.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct Counters {
            $(pub(super) $name: Counter,)+
        }

        /// The sum of the counters of all workers since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl std::iter::Sum for Snapshot {
            fn sum<I: Iterator<Item = Snapshot>>(snapshots: I) -> Self {
                snapshots.fold(Snapshot::default(), |sum, one| Snapshot { $($name: sum.$name + one.$name,)+ })
            }
        }

        impl Snapshot {
            /// The counters of one worker.
            pub fn of(counters: &Counters) -> Self {
                Snapshot { $($name: counters.$name.0.load(Relaxed),)+ }
            }

            /// The name, the description and the value of each counter.
            pub fn named(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name),)+]
            }

            /// The counters as one JSON object on one line.
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
    /// Requests with a complete response, from a backend or of our own.
    served,
    /// Client connections closed in the middle of a response.
    broken,
    /// Backend connections made.
    connected,
    /// Requests that got a kept backend connection.
    reused,
    /// Backend connections that could not be made.
    unreachable,
    /// Calls that found a socket not ready.
    would_blocks,
    /// Wake-ups: returns from a wait for readiness or for work.
    wakeups,
    /// Jobs taken from the channel (thread engine).
    jobs,
    /// Time that the jobs waited in the channel (thread engine).
    queue_wait_ns,
    /// Pauses in accepting, because a limit of connections or descriptors was reached or accepting failed.
    accept_paused,
    /// Exchanges that panicked.
    panics,
}
