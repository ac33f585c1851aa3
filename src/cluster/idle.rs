//! A pool of connections to backends, kept for reuse.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::backend_id::BackendId;

/// Parked connections, with a maximum number per backend. The pool does no I/O. The caller gives each connection a key,
/// and closes the connections that the pool gives up.
#[derive(Debug)]
pub struct IdlePool<S> {
    /// Sorted by the backend's id.
    backends: Vec<Kept<S>>,
    max_per_backend: usize,
}

/// The connections of one backend. The connection that is parked for the longest time is first.
#[derive(Debug)]
struct Kept<S> {
    backend: Arc<Backend>,
    parked: VecDeque<Parked<S>>,
}

#[derive(Debug)]
struct Parked<S> {
    key: usize,
    since: Instant,
    stream: S,
}

impl<S> IdlePool<S> {
    /// Makes an empty pool for at most `max_per_backend` connections per backend.
    pub fn new(max_per_backend: usize) -> Self {
        IdlePool { backends: Vec::new(), max_per_backend }
    }

    /// Keeps a connection. Returns a connection that the caller must close. If the backend was removed, it is this
    /// connection. If the backend already has the maximum, it is the backend's oldest connection. For one backend,
    /// `now` must not go backwards.
    pub fn park(&mut self, backend: &Arc<Backend>, key: usize, stream: S, now: Instant) -> Option<S> {
        if backend.is_removed() {
            return Some(stream);
        }
        let at = self.position(backend.id()).unwrap_or_else(|at| {
            self.backends.insert(at, Kept { backend: Arc::clone(backend), parked: VecDeque::new() });
            at
        });
        let parked = &mut self.backends[at].parked;
        parked.push_back(Parked { key, since: now, stream });
        let oldest = if parked.len() > self.max_per_backend { parked.pop_front() } else { None };
        oldest.map(|parked| parked.stream)
    }

    /// Takes out the connection that was parked last. This connection is the least likely to be closed by the backend,
    /// and the older connections can expire.
    pub fn checkout(&mut self, backend: BackendId) -> Option<S> {
        let at = self.position(backend).ok()?;
        self.backends[at].parked.pop_back().map(|parked| parked.stream)
    }

    /// Takes out the connection with this key if `is_dead` is true for it. Searches all parked connections; this is
    /// rare, because few parked connections die.
    pub fn remove_if(&mut self, key: usize, mut is_dead: impl FnMut(&mut S) -> bool) -> Option<S> {
        self.backends
            .iter_mut()
            .find_map(|kept| {
                let at = kept.parked.iter().position(|parked| parked.key == key)?;
                if is_dead(&mut kept.parked[at].stream) { kept.parked.remove(at) } else { None }
            })
            .map(|parked| parked.stream)
    }

    /// Takes out every connection that is parked for longer than `kept_for`, and all connections of removed backends.
    pub fn expire(&mut self, now: Instant, kept_for: Duration) -> Vec<S> {
        let mut expired = Vec::new();
        for Kept { backend, parked } in &mut self.backends {
            let count = match backend.is_removed() {
                true => parked.len(),
                false => {
                    parked.partition_point(|parked| now.saturating_duration_since(parked.since) > kept_for)
                }
            };
            expired.extend(parked.drain(..count).map(|parked| parked.stream));
        }
        self.backends.retain(|kept| !kept.backend.is_removed());
        expired
    }

    /// Returns the number of parked connections.
    pub fn len(&self) -> usize {
        self.backends.iter().map(|kept| kept.parked.len()).sum()
    }

    /// True when no connection is parked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the index of the backend, or else the index at which to insert the backend.
    fn position(&self, backend: BackendId) -> Result<usize, usize> {
        self.backends.binary_search_by_key(&backend, |kept| kept.backend.id())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn backends<const N: usize>() -> [Arc<Backend>; N] {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        std::array::from_fn(|_| Backend::alone(address, Instant::now()))
    }

    #[test]
    fn the_last_parked_comes_first_and_the_oldest_makes_room() {
        let now = Instant::now();
        let [first, second] = backends();
        let mut pool = IdlePool::new(2);
        assert_eq!(pool.park(&first, 1, "a", now), None);
        assert_eq!(pool.park(&first, 2, "b", now), None);
        assert_eq!(pool.park(&second, 3, "other", now), None);
        assert_eq!(pool.park(&first, 4, "c", now), Some("a"));
        assert_eq!(pool.len(), 3);
        let out = [(); 3].map(|()| pool.checkout(first.id()));
        assert_eq!(out, [Some("c"), Some("b"), None]);
        assert_eq!(pool.checkout(second.id()), Some("other"));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_pool_of_no_room_gives_back_what_it_gets() {
        let [backend] = backends();
        let mut pool = IdlePool::new(0);
        assert_eq!(pool.park(&backend, 1, "a", Instant::now()), Some("a"));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_dead_one_is_taken_out_by_its_key() {
        let now = Instant::now();
        let [first, second] = backends();
        let mut pool = IdlePool::new(8);
        for (key, stream) in [(10, "a"), (11, "b"), (12, "c")] {
            assert_eq!(pool.park(&second, key, stream, now), None);
        }
        assert_eq!(pool.park(&first, 13, "d", now), None);
        assert_eq!(pool.remove_if(10, |_| false), None);
        let cases = [(11, Some("b")), (11, None), (13, Some("d")), (99, None), (10, Some("a"))];
        for (key, stream) in cases {
            assert_eq!(pool.remove_if(key, |_| true), stream, "key {key}");
        }
        assert_eq!(pool.checkout(second.id()), Some("c"));
    }

    #[test]
    fn what_was_parked_too_long_expires() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let [first, second] = backends();
        let mut pool = IdlePool::new(8);
        for (backend, stream, ms) in
            [(&first, "a", 0), (&second, "b", 5), (&first, "c", 10), (&second, "d", 15)]
        {
            assert_eq!(pool.park(backend, 0, stream, at(ms)), None);
        }
        let cases: [(u64, &[&str]); 4] = [(0, &[]), (6, &["a", "b"]), (10, &[]), (16, &["c", "d"])];
        for (before, expired) in cases {
            let now = at(100 + before);
            assert_eq!(pool.expire(now, Duration::from_millis(100)), expired, "before {before} ms");
        }
    }

    #[test]
    fn connections_of_a_removed_backend_are_neither_kept_nor_taken() {
        let now = Instant::now();
        let [removed, stays] = backends();
        let mut pool = IdlePool::new(8);
        assert_eq!(pool.park(&removed, 1, "a", now), None);
        assert_eq!(pool.park(&stays, 2, "b", now), None);
        removed.remove();
        assert_eq!(pool.park(&removed, 3, "c", now), Some("c"));
        assert_eq!(pool.expire(now, Duration::from_secs(60)), ["a"]);
        assert_eq!((pool.checkout(removed.id()), pool.checkout(stays.id())), (None, Some("b")));
    }
}
