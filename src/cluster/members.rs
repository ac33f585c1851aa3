//! The members of a cluster at one time.
use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;
use super::backend_id::BackendId;
use super::outliers;
use super::settings::BackendSettings;
use super::state::{ClusterState, Others};

/// The backends of a cluster: an immutable snapshot. Each worker holds a snapshot, and replaces the snapshot when the
/// generation has changed.
#[derive(Debug)]
pub struct Members {
    generation: u64,
    /// The lowest and the highest weight of a backend.
    weights: (u32, u32),
    backends: Box<[Arc<Backend>]>,
    /// The hash of each backend's address, side by side for the policies that read all of them.
    hashes: Box<[u64]>,
    cluster: Arc<ClusterState>,
}

impl Members {
    /// Makes the first snapshot of a cluster.
    pub(super) fn new(settings: &[BackendSettings], cluster: &Arc<ClusterState>) -> Self {
        let backends = settings.iter().map(|settings| Arc::new(Backend::new(settings, cluster))).collect();
        Members::numbered(0, settings, backends, cluster)
    }

    /// Makes the next snapshot, with the given settings. A backend whose address stays keeps its counters, its health
    /// and its connections. Returns the backends whose address is gone, too: mark them as removed once the snapshot is known.
    pub(super) fn replaced_by(&self, settings: &[BackendSettings]) -> (Self, Vec<Arc<Backend>>) {
        let mut old = self.backends.to_vec();
        // Connections of another protocol are connections to another backend.
        let is_same = |old: &Backend, new: &BackendSettings| {
            old.address() == new.address
                && old.proxy_protocol() == new.proxy_protocol
                && old.transform() == new.transform.as_ref()
        };
        let kept_or_new = |settings: &BackendSettings| match old.iter().position(|old| is_same(old, settings))
        {
            Some(at) => {
                let kept = old.swap_remove(at);
                kept.set(settings);
                kept
            }
            None => Arc::new(Backend::new(settings, &self.cluster)),
        };
        let backends = settings.iter().map(kept_or_new).collect();
        (Members::numbered(self.generation + 1, settings, backends, &self.cluster), old)
    }

    fn numbered(
        generation: u64,
        settings: &[BackendSettings],
        backends: Box<[Arc<Backend>]>,
        cluster: &Arc<ClusterState>,
    ) -> Self {
        let weights = || settings.iter().map(|settings| settings.weight);
        let weights = (weights().min().unwrap_or(1), weights().max().unwrap_or(1));
        let hashes = backends.iter().map(|backend| backend.hash()).collect();
        Members { generation, weights, backends, hashes, cluster: Arc::clone(cluster) }
    }

    /// Returns the number of this snapshot. A later snapshot has a higher number.
    pub fn generation(&self) -> u64 {
        self.generation
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

    fn may_eject(&self, now_ms: u64) -> bool {
        let out = self.backends.iter().filter(|backend| backend.is_out(now_ms)).count();
        let allowed = self.backends.len() * self.cluster.health.ejected_max_percent as usize / 100;
        out < allowed.max(1)
    }

    fn available(&self, now_ms: u64) -> (u32, u32) {
        let all = self.backends.iter().filter(|backend| !backend.is_draining());
        let available = all.clone().filter(|backend| !backend.is_out(now_ms)).count();
        (available as u32, all.count() as u32)
    }
}
