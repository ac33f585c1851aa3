//! The members and the settings of a cluster at one time.
use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;
use super::backend_id::BackendId;
use super::outliers;
use super::settings::{BackendSettings, ClusterSettings, Policy};
use super::state::{ClusterState, Others};

/// The backends and the settings of a cluster: an immutable snapshot. Each worker holds a snapshot, and replaces the
/// snapshot when the generation has changed.
#[derive(Debug)]
pub struct Members {
    generation: u64,
    settings: ClusterSettings,
    /// The lowest and the highest weight of a backend.
    weights: (u32, u32),
    backends: Box<[Arc<Backend>]>,
    /// The hash of each backend's address, side by side for the policies that read all of them.
    hashes: Box<[u64]>,
    /// The value of the session cookie that names each backend; empty without sticky sessions.
    cookies: Box<[u64]>,
    cluster: Arc<ClusterState>,
}

impl Members {
    /// Makes the first snapshot of a cluster.
    pub(super) fn new(
        backends: &[BackendSettings],
        settings: ClusterSettings,
        cluster: &Arc<ClusterState>,
    ) -> Self {
        let made = backends.iter().map(|backend| Arc::new(Backend::new(backend, cluster))).collect();
        Members::numbered(0, settings, backends, made, cluster)
    }

    /// Makes the next snapshot, with the given settings of the backends and of the cluster. A backend whose address stays
    /// keeps its counters, its health and its connections. Returns the backends whose address is gone, too: mark them as
    /// removed once the snapshot is known.
    pub(super) fn replaced_by(
        &self,
        backends: &[BackendSettings],
        settings: ClusterSettings,
    ) -> (Self, Vec<Arc<Backend>>) {
        let mut old = self.backends.to_vec();
        // Connections of another protocol are connections to another backend.
        let is_same = |old: &Backend, new: &BackendSettings| {
            old.address() == new.address
                && old.proxy_protocol() == new.proxy_protocol
                && old.transform() == new.transform.as_ref()
        };
        let kept_or_new = |backend: &BackendSettings| match old.iter().position(|old| is_same(old, backend)) {
            Some(at) => {
                let kept = old.swap_remove(at);
                kept.set(backend);
                kept
            }
            None => Arc::new(Backend::new(backend, &self.cluster)),
        };
        let made = backends.iter().map(kept_or_new).collect();
        (Members::numbered(self.generation + 1, settings, backends, made, &self.cluster), old)
    }

    fn numbered(
        generation: u64,
        settings: ClusterSettings,
        plans: &[BackendSettings],
        backends: Box<[Arc<Backend>]>,
        cluster: &Arc<ClusterState>,
    ) -> Self {
        let weights = || plans.iter().map(|plan| plan.weight);
        let weights = (weights().min().unwrap_or(1), weights().max().unwrap_or(1));
        let hashes = backends.iter().map(|backend| backend.hash()).collect();
        let sticky = settings.sticky.iter();
        let cookies = sticky.flat_map(|sticky| plans.iter().map(|plan| sticky.value(plan.address))).collect();
        Members { generation, settings, weights, backends, hashes, cookies, cluster: Arc::clone(cluster) }
    }

    /// Returns the number of this snapshot. A later snapshot has a higher number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the settings of the cluster.
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        &self.settings.policy
    }

    /// Returns the name of the session cookie; None without sticky sessions.
    pub fn session_cookie(&self) -> Option<&str> {
        self.settings.sticky.as_ref().map(|sticky| sticky.name.as_str())
    }

    /// Returns the backend that a session cookie with this value names.
    pub(super) fn named_by(&self, cookie: u64) -> Option<&Arc<Backend>> {
        self.cookies.iter().position(|&value| value == cookie).map(|at| &self.backends[at])
    }

    /// Returns the backends in the order of their addresses in [`Cluster::new`](super::Cluster::new) or
    /// [`Cluster::replace`](super::Cluster::replace).
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Returns the milliseconds since the epoch of the cluster.
    pub(super) fn ms(&self, now: Instant) -> u64 {
        self.cluster.ms(now)
    }

    /// Returns the highest weight of a backend.
    pub(super) fn weight_max(&self) -> u32 {
        self.weights.1
    }

    /// True when all backends have the same weight.
    pub(super) fn have_equal_weights(&self) -> bool {
        self.weights.0 == self.weights.1
    }

    /// Returns the hash of each backend's address, in the order of the backends.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }
}

impl Others for Members {
    fn note_failure(&self, backend: BackendId, now_ms: u64) -> bool {
        let backend = self.backends.iter().find(|one| one.id() == backend);
        let mut since_ms = self.cluster.window_since.lock();
        backend.is_some_and(|backend| outliers::note(backend, &self.backends, &mut since_ms, now_ms))
    }

    fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    fn may_eject(&self) -> bool {
        let out = self.backends.iter().filter(|backend| backend.is_out()).count();
        let allowed = self.backends.len() * self.settings.health.ejected_max_percent as usize / 100;
        out < allowed.max(1)
    }

    fn available(&self) -> (u32, u32) {
        let all = self.backends.iter().filter(|backend| !backend.is_draining());
        let available = all.clone().filter(|backend| !backend.is_out()).count();
        (available as u32, all.count() as u32)
    }
}
