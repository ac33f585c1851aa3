//! The state that the backends of one cluster share.
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::backend_id::BackendId;
use super::picks::Picks;
use super::retries::Retries;
use super::settings::{ClusterSettings, HealthSettings, Policy};
use super::sticky::StickySettings;

/// What a backend asks about the others of its cluster. The members of the cluster answer.
pub(super) trait Others: fmt::Debug + Send + Sync {
    /// Counts a failed response of a backend. True when its responses fail much more often than those of the others.
    fn note_failure(&self, backend: BackendId, now_ms: u64) -> bool;

    /// True when one more backend may be ejected.
    fn may_eject(&self, now_ms: u64) -> bool;

    /// Returns the number of backends that may be picked, and the number of all that are not draining.
    fn available(&self, now_ms: u64) -> (u32, u32);
}

/// What the backends of a cluster share. Nearly every pick and every attempt reads it, and few write to it.
#[derive(Debug)]
pub(crate) struct ClusterState {
    pub(super) policy: Policy,
    pub(super) health: HealthSettings,
    pub(super) seed: u64,
    pub(super) epoch: Instant,
    /// What picks change.
    pub(super) changing: Changing,
    /// True when a latency is of use.
    pub(super) measures_latency: bool,
    pub(super) retries: Retries,
    pub(super) repeats_answers: bool,
    pub(super) picks: Picks,
    pub(super) sticky: Option<StickySettings>,
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
    pub(super) fn new(settings: ClusterSettings, seed: u64, epoch: Instant) -> Arc<Self> {
        Arc::new(ClusterState {
            measures_latency: settings.policy == Policy::PeakEwma,
            policy: settings.policy,
            health: settings.health,
            seed,
            epoch,
            changing: Changing::default(),
            retries: Retries::new(settings.retries),
            repeats_answers: settings.retries.answers,
            picks: Picks::default(),
            sticky: settings.sticky,
            window_since: Mutex::new(0),
            panics: AtomicBool::new(false),
            others: Mutex::new(None),
        })
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

    /// Forgets a panic, because the members are new. The next change of a backend's health counts again.
    pub(super) fn end_panic(&self) {
        self.panics.store(false, Relaxed);
    }

    /// Counts the available backends again, after a change of a backend's health.
    pub(super) fn recount(&self, now_ms: u64) {
        if let Some(others) = self.others() {
            let (available, all) = others.available(now_ms);
            self.panics.store(available * 100 < self.health.panic_percent * all, Relaxed);
        }
    }

    pub(super) fn set_others(&self, others: Weak<dyn Others>) {
        *self.others.lock() = Some(others);
    }

    /// Returns the current members; None while the cluster is made or dropped.
    pub(super) fn others(&self) -> Option<Arc<dyn Others>> {
        self.others.lock().as_ref().and_then(Weak::upgrade)
    }
}
