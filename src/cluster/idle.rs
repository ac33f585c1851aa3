//! A pool of connections to backends, kept for reuse.
//!
//! A connection is kept at most for the time that its backend has stated, less a margin, and for three quarters of the
//! time that was learnt from the backend's closes.
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

/// The kept connections that a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Any connection: the request may be repeated.
    Any,
    /// A connection that has been idle for at most three quarters of the time for which it is kept. The request may not be
    /// repeated, so the backend must not close the connection now. If the backend closes connections right after a
    /// response, the connection has also been idle for 2 ms.
    Recent,
}

/// The margin below the time that a backend has stated: the response and the close need some time on their way. At most
/// half of the stated time.
const MARGIN: Duration = Duration::from_secs(1);

/// A backend that closes a connection right after a response has closed it by then. After 5 ms, nearly every POST needed a
/// new connection beside such backends.
const SETTLED: Duration = Duration::from_millis(2);

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
    /// The time that the backend has stated, less the margin.
    kept_for: Duration,
    stream: S,
}

impl<S> Parked<S> {
    fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// The time for which a connection may be kept because of what its backend does: three quarters of the learnt time. So
/// the backend does not close the connection while a request is on its way.
fn most_of(backend: &Backend) -> Duration {
    backend.idle_time().map_or(Duration::MAX, |learnt| learnt * 3 / 4)
}

/// Takes out a connection that [`Freshness::Recent`] allows, with its idle time. Of several, the one that was parked last.
fn checkout_recent<S>(
    backend: &Backend,
    parked: &mut VecDeque<Parked<S>>,
    now: Instant,
) -> Option<(S, Duration)> {
    let allowed = match backend.closes_early(now) {
        true => parked.partition_point(|one| one.idle(now) >= SETTLED),
        false => parked.len(),
    };
    let place = allowed.checked_sub(1)?;
    let last = &parked[place];
    let (most, idle) = (last.kept_for.min(most_of(backend)), last.idle(now));
    let is_allowed = idle <= most / 4 * 3;
    is_allowed.then(|| parked.remove(place)).flatten().map(|parked| (parked.stream, idle))
}

impl<S> IdlePool<S> {
    /// Makes an empty pool for at most `max_per_backend` connections per backend.
    pub fn new(max_per_backend: usize) -> Self {
        IdlePool { backends: Vec::new(), max_per_backend }
    }

    /// Keeps a connection. Returns a connection that the caller must close. If the backend was removed, it is this
    /// connection. If the backend already has the maximum, it is the backend's oldest connection. `stated` is the time
    /// for which the backend keeps the connection, if the backend has stated it. Each worker has a clock of its
    /// own. So the times of one backend are in order only to within a wake-up of a worker.
    pub fn park(
        &mut self,
        backend: &Arc<Backend>,
        key: usize,
        stream: S,
        stated: Option<Duration>,
        now: Instant,
    ) -> Option<S> {
        if backend.is_removed() {
            return Some(stream);
        }
        let at = self.position(backend.id()).unwrap_or_else(|at| {
            self.backends.insert(at, Kept { backend: Arc::clone(backend), parked: VecDeque::new() });
            at
        });
        let parked = &mut self.backends[at].parked;
        let kept_for = stated.map_or(Duration::MAX, |stated| stated - MARGIN.min(stated / 2));
        parked.push_back(Parked { key, since: now, kept_for, stream });
        let oldest = if parked.len() > self.max_per_backend { parked.pop_front() } else { None };
        oldest.map(|parked| parked.stream)
    }

    /// Takes out the connection that was parked last of those that `freshness` allows, with its idle time. This connection
    /// is the least likely to be closed by the backend, and the older connections can expire. None when no connection is
    /// allowed, or when the connection has been idle for too long.
    pub fn checkout(
        &mut self,
        backend: &Backend,
        freshness: Freshness,
        now: Instant,
    ) -> Option<(S, Duration)> {
        let at = self.position(backend.id()).ok()?;
        let parked = &mut self.backends[at].parked;
        if freshness == Freshness::Recent {
            return checkout_recent(backend, parked, now);
        }
        let last = parked.back()?;
        let idle = last.idle(now);
        if idle > last.kept_for.min(most_of(backend)) {
            return None;
        }
        parked.pop_back().map(|last| (last.stream, idle))
    }

    /// Takes out the connection with this key if `is_dead` is true for it: its backend has closed it. Searches all parked
    /// connections; this is rare, because few parked connections die.
    pub fn remove_if(
        &mut self,
        key: usize,
        now: Instant,
        mut is_dead: impl FnMut(&mut S) -> bool,
    ) -> Option<S> {
        for Kept { backend, parked } in &mut self.backends {
            let Some(at) = parked.iter().position(|parked| parked.key == key) else { continue };
            if !is_dead(&mut parked[at].stream) {
                return None;
            }
            let dead = parked.remove(at)?;
            backend.note_idle_close(dead.idle(now), Some(parked.len()), now);
            return Some(dead.stream);
        }
        None
    }

    /// Notes that a connection that was taken out is closed by its backend.
    pub fn note_dead(&self, backend: &Backend, idle: Duration, now: Instant) {
        let parked = self.position(backend.id()).map_or(0, |at| self.backends[at].parked.len());
        backend.note_idle_close(idle, Some(parked), now);
    }

    /// Takes out every connection that is parked for longer than the settings of its cluster allow or than its own time, and
    /// all connections of removed backends.
    pub fn expire(&mut self, now: Instant) -> Vec<S> {
        let mut expired = Vec::new();
        for Kept { backend, parked } in &mut self.backends {
            backend.settle_idle_time(now);
            let most = (!backend.is_removed()).then(|| backend.idle_timeout().min(most_of(backend)));
            let stays = |one: &Parked<S>| most.is_some_and(|most| one.idle(now) <= most.min(one.kept_for));
            if parked.iter().all(stays) {
                continue;
            }
            for one in std::mem::take(parked) {
                match stays(&one) {
                    true => parked.push_back(one),
                    false => expired.push(one.stream),
                }
            }
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
    #[inline(never)]
    fn position(&self, backend: BackendId) -> Result<usize, usize> {
        self.backends.binary_search_by_key(&backend, |kept| kept.backend.id())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::settings::ClusterSettings;
    use super::super::state::ClusterState;
    use super::*;

    fn backends<const N: usize>() -> [Arc<Backend>; N] {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        std::array::from_fn(|_| Backend::alone(address, Instant::now()))
    }

    /// Makes a backend in a cluster whose connections are kept for this time.
    fn kept_for(idle_timeout: Duration) -> Arc<Backend> {
        let cluster = ClusterState::new(1, Instant::now());
        cluster.set(&ClusterSettings { idle_timeout, ..ClusterSettings::default() });
        Arc::new(Backend::new(&SocketAddr::from(([127, 0, 0, 1], 80)).into(), &cluster))
    }

    fn checkout(pool: &mut IdlePool<&'static str>, backend: &Backend, now: Instant) -> Option<&'static str> {
        pool.checkout(backend, Freshness::Any, now).map(|(stream, _)| stream)
    }

    #[test]
    fn the_last_parked_comes_first_and_the_oldest_makes_room() {
        let now = Instant::now();
        let [first, second] = backends();
        let mut pool = IdlePool::new(2);
        assert_eq!(pool.park(&first, 1, "a", None, now), None);
        assert_eq!(pool.park(&first, 2, "b", None, now), None);
        assert_eq!(pool.park(&second, 3, "other", None, now), None);
        assert_eq!(pool.park(&first, 4, "c", None, now), Some("a"));
        assert_eq!(pool.len(), 3);
        let out = [(); 3].map(|()| checkout(&mut pool, &first, now));
        assert_eq!(out, [Some("c"), Some("b"), None]);
        assert_eq!(checkout(&mut pool, &second, now), Some("other"));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_pool_of_no_room_gives_back_what_it_gets() {
        let [backend] = backends();
        let mut pool = IdlePool::new(0);
        assert_eq!(pool.park(&backend, 1, "a", None, Instant::now()), Some("a"));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_dead_one_is_taken_out_by_its_key() {
        let now = Instant::now();
        let [first, second] = backends();
        let mut pool = IdlePool::new(8);
        for (key, stream) in [(10, "a"), (11, "b"), (12, "c")] {
            assert_eq!(pool.park(&second, key, stream, None, now), None);
        }
        assert_eq!(pool.park(&first, 13, "d", None, now), None);
        assert_eq!(pool.remove_if(10, now, |_| false), None);
        let cases = [(11, Some("b")), (11, None), (13, Some("d")), (99, None), (10, Some("a"))];
        for (key, stream) in cases {
            assert_eq!(pool.remove_if(key, now, |_| true), stream, "key {key}");
        }
        assert_eq!(checkout(&mut pool, &second, now), Some("c"));
    }

    #[test]
    fn what_was_parked_too_long_expires() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let [brief, long] = [100, 200].map(|ms| kept_for(Duration::from_millis(ms)));
        let mut pool = IdlePool::new(8);
        for (backend, stream, ms) in [(&brief, "a", 0), (&long, "b", 5), (&brief, "c", 10), (&long, "d", 15)]
        {
            assert_eq!(pool.park(backend, 0, stream, None, at(ms)), None);
        }
        let cases: [(u64, &[&str]); 6] =
            [(100, &[]), (106, &["a"]), (110, &[]), (205, &["c"]), (206, &["b"]), (216, &["d"])];
        for (ms, expired) in cases {
            assert_eq!(pool.expire(at(ms)), expired, "after {ms} ms");
        }
    }

    #[test]
    fn connections_of_a_removed_backend_are_neither_kept_nor_taken() {
        let now = Instant::now();
        let [removed, stays] = backends();
        let mut pool = IdlePool::new(8);
        assert_eq!(pool.park(&removed, 1, "a", None, now), None);
        assert_eq!(pool.park(&stays, 2, "b", None, now), None);
        removed.remove();
        assert_eq!(pool.park(&removed, 3, "c", None, now), Some("c"));
        assert_eq!(pool.expire(now), ["a"]);
        assert_eq!((checkout(&mut pool, &removed, now), checkout(&mut pool, &stays, now)), (None, Some("b")));
    }

    #[test]
    fn a_request_that_is_not_repeated_gets_a_recently_used_connection() {
        use Freshness::{Any, Recent};
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // Time that the backend states in seconds, idle time of the connection that it has closed in ms, idle time in ms,
        // the request, true when the connection is used.
        let cases = [
            (None, None, 3_600_000, Recent, true),
            (Some(5), None, 3000, Recent, true),
            (Some(5), None, 3001, Recent, false),
            (Some(5), None, 4000, Any, true),
            (Some(5), None, 4001, Any, false),
            (Some(1), None, 500, Any, true),
            (Some(1), None, 376, Recent, false),
            (Some(u64::MAX), None, 3_600_000, Recent, true),
            (None, Some(400), 300, Any, true),
            (None, Some(400), 301, Any, false),
            (None, Some(400), 225, Recent, true),
            (None, Some(400), 226, Recent, false),
            (Some(5), Some(400), 226, Recent, false),
            (Some(1), Some(4000), 376, Recent, false),
        ];
        for (stated, learnt, idle, freshness, used) in cases {
            let backend = Backend::alone(SocketAddr::from(([127, 0, 0, 1], 80)), start);
            if let Some(learnt) = learnt {
                backend.note_idle_close(Duration::from_millis(learnt), Some(1), at(0));
                backend.settle_idle_time(at(100));
            }
            let mut pool = IdlePool::new(8);
            assert_eq!(pool.park(&backend, 1, "a", stated.map(Duration::from_secs), at(100)), None);
            let idle = Duration::from_millis(idle);
            let expected = used.then_some(("a", idle));
            let found = pool.checkout(&backend, freshness, at(100) + idle);
            assert_eq!(found, expected, "{stated:?} s, {learnt:?} ms, {idle:?}, {freshness:?}");
        }
    }

    #[test]
    fn beside_early_closes_a_request_that_is_not_repeated_gets_a_settled_connection() {
        use Freshness::{Any, Recent};
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // idle time of a close in ms, the request, the connection that it gets; they have been idle for 9, 6 and 1 ms
        let cases = [(9, Recent, "6 ms"), (9, Any, "1 ms"), (10, Recent, "1 ms")];
        for (closed, freshness, expected) in cases {
            let [backend] = [Backend::alone(SocketAddr::from(([127, 0, 0, 1], 80)), start)];
            let mut pool = IdlePool::new(8);
            for (stream, ms) in [("9 ms", 91), ("6 ms", 94), ("1 ms", 99)] {
                assert_eq!(pool.park(&backend, 0, stream, None, at(ms)), None);
            }
            backend.note_idle_close(Duration::from_millis(closed), Some(3), at(100));
            let found = pool.checkout(&backend, freshness, at(100)).map(|(stream, _)| stream);
            assert_eq!(found, Some(expected), "a close after {closed} ms, {freshness:?}");
            if expected == "6 ms" {
                let rest = [(); 2].map(|()| pool.checkout(&backend, freshness, at(100)).map(|(s, _)| s));
                assert_eq!(rest, [Some("9 ms"), None]);
            }
        }
    }

    #[test]
    fn a_connection_expires_at_its_own_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let backend = kept_for(Duration::from_secs(60));
        let mut pool = IdlePool::new(8);
        for (stream, stated) in [("9 s", Some(9)), ("2 s", Some(2)), ("option", None)] {
            assert_eq!(pool.park(&backend, 0, stream, stated.map(Duration::from_secs), at(0)), None);
        }
        let cases: [(u64, &[&str]); 4] =
            [(1000, &[]), (1001, &["2 s"]), (8001, &["9 s"]), (60_001, &["option"])];
        for (ms, expired) in cases {
            assert_eq!(pool.expire(at(ms)), expired, "after {ms} ms");
        }
    }

    #[test]
    fn closes_of_the_backend_teach_its_pool() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let [backend] = [Backend::alone(SocketAddr::from(([127, 0, 0, 1], 80)), start)];
        let mut pool = IdlePool::new(8);
        for key in 0..3 {
            assert_eq!(pool.park(&backend, key, "a", None, at(0)), None);
        }
        // One is closed in the pool, another is found dead when it is taken out.
        assert_eq!(pool.remove_if(1, at(400), |_| true), Some("a"));
        let (_, idle) = pool.checkout(&backend, Freshness::Any, at(420)).unwrap();
        pool.note_dead(&backend, idle, at(420));
        assert_eq!(backend.idle_time(), None);
        assert_eq!(pool.expire(at(600)), ["a"], "older than three quarters of 400 ms");
        assert_eq!(backend.idle_time(), Some(Duration::from_millis(400)));
    }
}
