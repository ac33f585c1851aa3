//! The state that the backends of one cluster share.
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::backend_id::BackendId;
use super::picks::Picks;
use super::retries::Retries;
use super::settings::{ClusterSettings, Policy};

/// What a backend asks about its cluster and the others in it. The members of the cluster answer.
pub(super) trait Others: fmt::Debug + Send + Sync {
    /// Returns the settings of the cluster.
    fn settings(&self) -> &ClusterSettings;

    /// Counts a failed response of a backend. True when its responses fail much more often than those of the others.
    fn note_failure(&self, backend: BackendId, now_ms: u64) -> bool;

    /// True when one more backend may be ejected.
    fn may_eject(&self) -> bool;

    /// Returns the number of backends that may be picked, and the number of all that are not draining.
    fn available(&self) -> (u32, u32);
}

/// What the backends of a cluster share, whatever its settings are. Nearly every pick and every attempt reads it, and few
/// write to it.
#[derive(Debug)]
pub(crate) struct ClusterState {
    pub(super) seed: u64,
    pub(super) epoch: Instant,
    /// What picks change.
    pub(super) changing: Changing,
    /// The settings that every attempt reads: true when a latency is of use, and the time of a slow start.
    measures_latency: AtomicBool,
    slow_start_ms: AtomicU64,
    /// The maximum time to keep a connection without a request.
    idle_timeout_ms: AtomicU64,
    pub(super) retries: Retries,
    pub(super) picks: Picks,
    /// The start of the window in which failed responses are counted, in milliseconds since the epoch.
    pub(super) window_since: Mutex<u64>,
    /// True when so few backends are available that all are used.
    panics: AtomicBool,
    /// The current members; they own this state, so the reference is weak.
    others: Mutex<Option<Weak<dyn Others>>>,
}

/// What picks change. It has a cache line of its own, because all workers read the rest of the state and nearly never
/// change it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Changing {
    /// The number of the next random pick.
    turn: AtomicU64,
    /// The virtual time of `round-robin`.
    pub(super) virtual_time: AtomicU64,
    /// The least latency of the candidates of the last pick of `peak-ewma`, in sixteenths of a microsecond.
    pub(super) least_latency: AtomicU32,
}

impl ClusterState {
    pub(super) fn new(seed: u64, epoch: Instant) -> Arc<Self> {
        Arc::new(ClusterState {
            seed,
            epoch,
            changing: Changing::default(),
            measures_latency: AtomicBool::new(false),
            slow_start_ms: AtomicU64::new(0),
            idle_timeout_ms: AtomicU64::new(u64::MAX),
            retries: Retries::default(),
            picks: Picks::default(),
            window_since: Mutex::new(0),
            panics: AtomicBool::new(false),
            others: Mutex::new(None),
        })
    }

    /// True when a latency is of use.
    #[inline]
    pub(super) fn measures_latency(&self) -> bool {
        self.measures_latency.load(Relaxed)
    }

    /// Returns the time of a slow start.
    pub(super) fn slow_start(&self) -> Duration {
        Duration::from_millis(self.slow_start_ms.load(Relaxed))
    }

    /// Returns the maximum time to keep a connection without a request.
    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.load(Relaxed))
    }

    /// Returns the number of the next random pick.
    pub(super) fn next_turn(&self) -> u64 {
        self.changing.turn.fetch_add(1, Relaxed)
    }

    /// Returns the milliseconds since the epoch.
    pub(super) fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }

    /// True when so few backends are available that all are used.
    pub(super) fn panics(&self) -> bool {
        self.panics.load(Relaxed)
    }

    /// Counts the available backends again, after a change of a backend's health, of the members or of the settings.
    pub(super) fn recount(&self) {
        if let Some(others) = self.others() {
            let (available, all) = others.available();
            let least = others.settings().health.panic_percent * all;
            self.panics.store(available * 100 < least, Relaxed);
        }
    }

    /// Takes over new members with their settings.
    pub(super) fn set_others(&self, others: Weak<dyn Others>, settings: &ClusterSettings) {
        self.set(settings);
        *self.others.lock() = Some(others);
        self.recount();
    }

    /// Takes over the settings that are read without the members.
    pub(super) fn set(&self, settings: &ClusterSettings) {
        self.measures_latency.store(settings.policy == Policy::PeakEwma, Relaxed);
        self.slow_start_ms.store(settings.health.slow_start.as_millis() as u64, Relaxed);
        self.idle_timeout_ms.store(settings.idle_timeout.as_millis() as u64, Relaxed);
    }

    /// Returns the current members; None while the cluster is made or dropped.
    pub(super) fn others(&self) -> Option<Arc<dyn Others>> {
        self.others.lock().as_ref().and_then(Weak::upgrade)
    }
}
