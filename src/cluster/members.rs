//! The members of a cluster at one time.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;

/// The backends of a cluster: an immutable snapshot. Each worker holds a snapshot, and replaces the snapshot when the
/// generation has changed.
#[derive(Debug)]
pub struct Members {
    generation: u64,
    backends: Box<[Arc<Backend>]>,
}

impl Members {
    /// Makes the first snapshot of a cluster.
    pub(super) fn new(addresses: &[SocketAddr], epoch: Instant) -> Self {
        let backends = addresses.iter().map(|&address| Arc::new(Backend::new(address, epoch))).collect();
        Members { generation: 0, backends }
    }

    /// Makes the next snapshot, with the given addresses. A backend whose address stays keeps its counters, its health
    /// and its connections. A backend whose address is gone is marked as removed.
    pub(super) fn replaced_by(&self, addresses: &[SocketAddr], epoch: Instant) -> Self {
        let mut old = self.backends.to_vec();
        let kept_or_new = |&address: &SocketAddr| match old.iter().position(|old| old.address() == address) {
            Some(at) => old.swap_remove(at),
            None => Arc::new(Backend::new(address, epoch)),
        };
        let backends = addresses.iter().map(kept_or_new).collect();
        old.iter().for_each(|gone| gone.remove());
        Members { generation: self.generation + 1, backends }
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
}
