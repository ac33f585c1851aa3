//! Connections to backends kept for reuse.
use std::collections::VecDeque;
use std::time::Instant;

/// Kept connections, bounded for each backend. It knows nothing of what a connection is: whoever parks one says by
/// which key it is known, and closes what comes out of here unused.
#[derive(Debug)]
pub struct IdlePool<S> {
    /// Of each backend, longest parked first.
    backends: Vec<VecDeque<Parked<S>>>,
    most_per_backend: usize,
}

#[derive(Debug)]
struct Parked<S> {
    key: usize,
    since: Instant,
    stream: S,
}

impl<S> IdlePool<S> {
    /// An empty pool.
    pub fn new(most_per_backend: usize) -> Self {
        IdlePool { backends: Vec::new(), most_per_backend }
    }

    /// Keeps a connection. When there is no room for one more, the one parked longest comes out. Instants of one
    /// backend do not go backwards from call to call.
    pub fn park(&mut self, backend: usize, key: usize, stream: S, now: Instant) -> Option<S> {
        if self.backends.len() <= backend {
            self.backends.resize_with(backend + 1, VecDeque::new);
        }
        let parked = &mut self.backends[backend];
        parked.push_back(Parked { key, since: now, stream });
        let oldest = if parked.len() > self.most_per_backend { parked.pop_front() } else { None };
        oldest.map(|parked| parked.stream)
    }

    /// The connection parked last: the one least likely to have been closed, while the others can grow old.
    pub fn checkout(&mut self, backend: usize) -> Option<S> {
        self.backends.get_mut(backend)?.pop_back().map(|parked| parked.stream)
    }

    /// Takes out the connection known as `key` when it is dead.
    pub fn remove_if(&mut self, backend: usize, key: usize, is_dead: impl Fn(&S) -> bool) -> Option<S> {
        let parked = self.backends.get_mut(backend)?;
        let at = parked.iter().position(|parked| parked.key == key && is_dead(&parked.stream))?;
        parked.remove(at).map(|parked| parked.stream)
    }

    /// Takes out every connection parked before that instant.
    pub fn expire(&mut self, before: Instant) -> Vec<S> {
        let mut expired = Vec::new();
        for parked in &mut self.backends {
            let count = parked.partition_point(|parked| parked.since < before);
            expired.extend(parked.drain(..count).map(|parked| parked.stream));
        }
        expired
    }

    /// How many connections are parked.
    pub fn len(&self) -> usize {
        self.backends.iter().map(VecDeque::len).sum()
    }

    /// True when none is parked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_parked_comes_first_and_the_oldest_makes_room() {
        let now = Instant::now();
        let mut pool = IdlePool::new(2);
        assert_eq!(pool.park(0, 1, "a", now), None);
        assert_eq!(pool.park(0, 2, "b", now), None);
        assert_eq!(pool.park(1, 3, "other", now), None);
        assert_eq!(pool.park(0, 4, "c", now), Some("a"));
        assert_eq!(pool.len(), 3);
        assert_eq!([pool.checkout(0), pool.checkout(0), pool.checkout(0)], [Some("c"), Some("b"), None]);
        assert_eq!(pool.checkout(1), Some("other"));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_pool_of_no_room_gives_back_what_it_gets() {
        let mut pool = IdlePool::new(0);
        assert_eq!(pool.park(0, 1, "a", Instant::now()), Some("a"));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_dead_one_is_taken_out_by_its_key() {
        let now = Instant::now();
        let mut pool = IdlePool::new(8);
        for (key, stream) in [(10, "a"), (11, "b"), (12, "c")] {
            assert_eq!(pool.park(1, key, stream, now), None);
        }
        assert_eq!(pool.remove_if(1, 10, |_| false), None);
        let cases = [(1, 11, Some("b")), (1, 11, None), (0, 10, None), (1, 99, None), (1, 10, Some("a"))];
        for (backend, key, stream) in cases {
            assert_eq!(pool.remove_if(backend, key, |_| true), stream, "backend {backend}, key {key}");
        }
        assert_eq!(pool.checkout(1), Some("c"));
    }

    #[test]
    fn what_was_parked_too_long_expires() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pool = IdlePool::new(8);
        for (backend, stream, ms) in [(0, "a", 0), (1, "b", 5), (0, "c", 10), (1, "d", 15)] {
            assert_eq!(pool.park(backend, 0, stream, at(ms)), None);
        }
        let cases: [(u64, &[&str]); 4] = [(0, &[]), (6, &["a", "b"]), (10, &[]), (16, &["c", "d"])];
        for (before, expired) in cases {
            assert_eq!(pool.expire(at(before)), expired, "before {before} ms");
        }
    }
}
