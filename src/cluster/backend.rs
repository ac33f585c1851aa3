//! One server, and the guard that counts the requests it has.
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use super::health::Health;

/// One server of a cluster. Aligned to a cache line: a count that changes slows no reader of its neighbour.
#[derive(Debug)]
#[repr(align(64))]
pub struct Backend {
    id: usize,
    address: SocketAddr,
    in_flight: AtomicU32,
    health: Health,
}

impl Backend {
    pub(super) fn new(id: usize, address: SocketAddr, epoch: Instant) -> Self {
        Backend { id, address, in_flight: AtomicU32::new(0), health: Health::new(epoch) }
    }

    /// Its index in the cluster.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that it has been given and has not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// It may be given a request.
    pub fn available(&self, now: Instant) -> bool {
        self.health.is_healthy(now)
    }

    /// A connection to it could not be had: it is ejected for [`super::EJECTED_FOR`].
    pub fn unreachable(&self, now: Instant) {
        self.health.eject(now);
    }

    /// It answered: an ejection ends.
    pub fn succeeded(&self) {
        self.health.restore();
    }

    /// When its ejection ends, in milliseconds since the epoch of the cluster; 0 without one.
    pub(super) fn ejected_until(&self) -> u64 {
        self.health.ejected_until()
    }
}

/// A backend counted as having one request more for as long as this is held, however the request ends.
#[derive(Debug)]
pub struct Lease(Arc<Backend>);

impl Lease {
    /// Counts one request more.
    pub fn new(backend: &Arc<Backend>) -> Self {
        backend.in_flight.fetch_add(1, Relaxed);
        Lease(Arc::clone(backend))
    }
}

impl Deref for Lease {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The backends one request has been given in vain. Allocates nothing while it is empty, as it nearly always is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried(Vec<usize>);

impl Tried {
    /// Adds the backend of that id.
    pub fn insert(&mut self, id: usize) {
        if !self.contains(id) {
            self.0.push(id);
        }
    }

    /// That backend was tried.
    pub fn contains(&self, id: usize) -> bool {
        self.0.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Arc<Backend> {
        Arc::new(Backend::new(3, SocketAddr::from(([127, 0, 0, 1], 80)), Instant::now()))
    }

    #[test]
    fn leases_count_up_and_down() {
        let backend = backend();
        let first = Lease::new(&backend);
        let second = Lease::new(&backend);
        assert_eq!((backend.in_flight(), first.id(), second.in_flight()), (2, 3, 2));
        drop(first);
        assert_eq!(backend.in_flight(), 1);
        drop(second);
        assert_eq!(backend.in_flight(), 0);
    }

    #[test]
    fn a_lease_is_given_back_by_a_panic_too() {
        let backend = backend();
        let held = Arc::clone(&backend);
        let result = std::panic::catch_unwind(move || {
            let _lease = Lease::new(&held);
            std::panic::resume_unwind(Box::new("an exchange broke"));
        });
        assert!(result.is_err());
        assert_eq!(backend.in_flight(), 0);
    }

    #[test]
    fn tried_is_a_set() {
        let mut tried = Tried::default();
        assert_eq!(tried.0.capacity(), 0);
        for id in [4, 0, 4] {
            tried.insert(id);
        }
        assert_eq!(tried.0, [4, 0]);
        assert!(tried.contains(0) && tried.contains(4) && !tried.contains(1));
    }
}
