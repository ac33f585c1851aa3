//! A cluster of backends: its members, the policies that pick a backend, health, attempts, and kept connections. Pure:
//! no clock, no sockets.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

mod attempt;
mod backend;
mod health;
mod idle;
mod members;
mod policy;
mod queue;

pub use attempt::{Attempt, Outcome, Start, Tried};
pub(crate) use attempt::{Attempts, Next, Progress};
pub use backend::{AttemptCounts, AttemptEnd, Backend, BackendId, Failure};
pub use health::{EJECTED_FOR, SILENCES_MAX};
#[doc(hidden)]
pub use idle::IdlePool;
pub use members::Members;
pub use policy::{Policy, UnknownPolicy};
pub(crate) use queue::{Entered, Place};
pub use queue::{Permit, Queue};

/// A group of backends and the policy that picks one of them. All workers share it; a pick takes no lock.
#[derive(Debug)]
pub struct Cluster {
    policy: Policy,
    seed: u64,
    epoch: Instant,
    turn: AtomicU64,
    /// The generation of `members`.
    generation: AtomicU64,
    members: Mutex<Arc<Members>>,
    /// Limits the requests in flight, if a capacity was set.
    queue: Option<Arc<Queue>>,
}

impl Cluster {
    /// Makes a cluster in which every backend is healthy. The same seed makes the same choices. Times are stored as
    /// milliseconds since `epoch`, so every later `now` must not lie before `epoch`.
    pub fn new(addresses: &[SocketAddr], policy: Policy, seed: u64, epoch: Instant) -> Self {
        let members = Arc::new(Members::new(addresses, epoch));
        Cluster {
            policy,
            seed,
            epoch,
            turn: AtomicU64::new(0),
            generation: AtomicU64::new(members.generation()),
            members: Mutex::new(members),
            queue: None,
        }
    }

    /// Limits the cluster to `in_flight` requests at its backends and `waiting` requests in a queue. Without this call
    /// there is no limit.
    #[must_use]
    pub fn with_capacity(self, in_flight: usize, waiting: usize) -> Self {
        Cluster { queue: Some(Queue::new(in_flight, waiting)), ..self }
    }

    /// Returns the queue of [`Cluster::with_capacity`]; None without a limit.
    pub fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.as_ref()
    }

    /// Replaces the members while requests run. A backend whose address stays keeps its counters, its health and its
    /// connections. A removed backend gets no new request. Its running requests go on to their end. The engine closes
    /// its kept connections at its next periodic check.
    pub fn replace(&self, addresses: &[SocketAddr]) {
        let mut members = self.members.lock();
        *members = Arc::new(members.replaced_by(addresses, self.epoch));
        self.generation.store(members.generation(), Ordering::Release);
    }

    /// Returns the number of the current snapshot of the members. Costs one atomic load.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the current members. Takes a lock, so a worker calls `members` only when the generation has changed.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.lock())
    }

    /// Brings a worker's snapshot up to date. Returns true when the snapshot was outdated.
    pub fn refresh(&self, members: &mut Arc<Members>) -> bool {
        let outdated = self.generation() != members.generation();
        if outdated {
            *members = self.members();
        }
        outdated
    }

    /// Begins an attempt like [`Cluster::pick`], or returns the queue when all permits are in use. A request that
    /// waited in the queue has a permit, and the attempt takes this permit. Returns None when no backend is left.
    pub fn start(
        &self,
        members: &Members,
        tried: &Tried,
        permit: &mut Option<Permit>,
        now: Instant,
    ) -> Option<Start> {
        if let (Some(queue), None) = (&self.queue, &permit) {
            *permit = queue.try_permit();
            if permit.is_none() {
                return Some(Start::Wait(Arc::clone(queue)));
            }
        }
        let mut attempt = self.pick(members, tried, now)?;
        attempt.hold(permit.take());
        Some(Start::Attempt(attempt))
    }

    /// Begins an attempt at a backend that is not in `tried`. The policy picks among the available backends. When every
    /// backend is ejected, the backend whose ejection ends first is picked. One more failed connect costs less than an
    /// error for the client. Returns None when no backend is left.
    pub fn pick(&self, members: &Members, tried: &Tried, now: Instant) -> Option<Attempt> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = members.backends().iter().filter(|b| !b.is_removed() && !tried.contains(b.id()));
        let available = untried.clone().filter(|b| b.available(now));
        let picked = self.policy.pick(available, turn, self.seed);
        let backend = picked.or_else(|| untried.min_by_key(|b| b.ejected_until()))?;
        Some(Attempt::new(backend, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(n: u16, policy: Policy, seed: u64, epoch: Instant) -> Cluster {
        let addresses: Vec<_> = (0..n).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect();
        Cluster::new(&addresses, policy, seed, epoch)
    }

    /// Returns the index of the backend among the members.
    fn place(cluster: &Cluster, backend: &Backend) -> usize {
        cluster.members().backends().iter().position(|b| b.id() == backend.id()).unwrap()
    }

    fn pick(cluster: &Cluster, now: Instant) -> Attempt {
        cluster.pick(&cluster.members(), &Tried::default(), now).unwrap()
    }

    /// Counts how often each backend is picked when every attempt ends at once.
    fn shares(cluster: &Cluster, picks: usize, now: Instant) -> Vec<usize> {
        let mut shares = vec![0; cluster.members().backends().len()];
        for _ in 0..picks {
            shares[place(cluster, pick(cluster, now).backend())] += 1;
        }
        shares
    }

    #[test]
    fn the_available_ones_share_evenly_whoever_is_ejected() {
        let now = Instant::now();
        // policy, ejected ids, maximum difference of a share from the mean of 1000
        let cases: [(Policy, &[usize], usize); 6] = [
            (Policy::RoundRobin, &[], 0),
            (Policy::RoundRobin, &[1], 0),
            (Policy::RoundRobin, &[0, 1, 4], 0),
            (Policy::LeastRequests, &[], 130),
            (Policy::LeastRequests, &[4], 130),
            (Policy::LeastRequests, &[1, 2, 3], 130),
        ];
        for (policy, ejected, most) in cases {
            let cluster = cluster(5, policy, 7, now);
            for &id in ejected {
                cluster.members().backends()[id].eject(now);
            }
            let shares = shares(&cluster, 1000 * (5 - ejected.len()), now);
            for (id, &share) in shares.iter().enumerate() {
                let expected: usize = if ejected.contains(&id) { 0 } else { 1000 };
                let allowed = if expected == 0 { 0 } else { most };
                assert!(expected.abs_diff(share) <= allowed, "{policy} without {ejected:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn least_requests_keeps_in_flight_counts_within_one() {
        let now = Instant::now();
        let cluster = cluster(4, Policy::LeastRequests, 1, now);
        let mut attempts = Vec::new();
        for n in 1..=40 {
            attempts.push(pick(&cluster, now));
            let counts: Vec<_> = cluster.members().backends().iter().map(|b| b.in_flight()).collect();
            assert_eq!(counts.iter().sum::<u32>(), n);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
        attempts.retain(|attempt| place(&cluster, attempt.backend()) != 2);
        let next: Vec<_> = (0..10).map(|_| pick(&cluster, now)).collect();
        assert!(next.iter().all(|attempt| place(&cluster, attempt.backend()) == 2));
    }

    #[test]
    fn ties_are_broken_at_random_and_the_seed_replays_them() {
        let now = Instant::now();
        let sequence = |seed| {
            let cluster = cluster(3, Policy::LeastRequests, seed, now);
            (0..64).map(|_| place(&cluster, pick(&cluster, now).backend())).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
        let repeats = sequence(1).windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!((8..40).contains(&repeats), "{repeats} of 63 picks repeat the one before, about 21 are due");
    }

    #[test]
    fn every_backend_is_offered_once_even_when_all_are_ejected() {
        let now = Instant::now();
        for policy in [Policy::RoundRobin, Policy::LeastRequests] {
            for ejected in 0..=4 {
                let cluster = cluster(4, policy, 3, now);
                let members = cluster.members();
                for backend in &members.backends()[..ejected] {
                    backend.eject(now);
                }
                let mut tried = Tried::default();
                let mut order = Vec::new();
                while let Some(attempt) = cluster.pick(&members, &tried, now) {
                    tried.insert(attempt.backend().id());
                    order.push(place(&cluster, attempt.backend()));
                }
                assert!(order[..4 - ejected].iter().all(|&id| id >= ejected), "{order:?}");
                order.sort_unstable();
                assert_eq!(order, [0, 1, 2, 3], "{policy}, {ejected} ejected");
            }
        }
    }

    #[test]
    fn among_the_ejected_the_one_that_returns_first_is_picked() {
        let epoch = Instant::now();
        let cluster = cluster(3, Policy::LeastRequests, 3, epoch);
        for (id, ms) in [(0, 30), (1, 10), (2, 20)] {
            cluster.members().backends()[id].eject(epoch + std::time::Duration::from_millis(ms));
        }
        let now = epoch + std::time::Duration::from_millis(40);
        assert_eq!(shares(&cluster, 5, now), [0, 5, 0]);
        cluster.members().backends()[2].restore();
        assert_eq!(shares(&cluster, 5, now), [0, 0, 5]);
    }

    #[test]
    fn no_backend_none_picked() {
        let now = Instant::now();
        for policy in Policy::ALL {
            let cluster = cluster(0, policy, 0, now);
            assert!(cluster.pick(&cluster.members(), &Tried::default(), now).is_none());
        }
    }

    #[test]
    fn threads_that_pick_at_once_leak_no_count() {
        let now = Instant::now();
        let cluster = cluster(3, Policy::LeastRequests, 5, now);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let members = cluster.members();
                    for _ in 0..1000 {
                        let mut tried = Tried::default();
                        let first = cluster.pick(&members, &tried, now).unwrap();
                        tried.insert(first.backend().id());
                        let second = cluster.pick(&members, &tried, now).unwrap();
                        assert!(first.backend().in_flight() >= 1);
                        assert_ne!(second.backend().id(), first.backend().id());
                    }
                });
            }
        });
        assert!(cluster.members().backends().iter().all(|b| b.in_flight() == 0));
    }

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    #[test]
    fn a_backend_that_stays_keeps_what_is_known_of_it() {
        let now = Instant::now();
        let cluster = Cluster::new(&addresses(&[1, 2, 3]), Policy::RoundRobin, 1, now);
        let mut view = cluster.members();
        assert!(!cluster.refresh(&mut view));
        let before = view.backends().to_vec();
        before[1].eject(now);
        let running = Attempt::new(&before[1], now);
        cluster.replace(&addresses(&[4, 2]));
        assert!(cluster.refresh(&mut view) && !cluster.refresh(&mut view));
        let after = view.backends();
        assert_eq!(after.iter().map(|b| b.address()).collect::<Vec<_>>(), addresses(&[4, 2]));
        assert!(Arc::ptr_eq(&after[1], &before[1]));
        assert!(after[1].in_flight() == 1 && !after[1].available(now));
        let removed = before.iter().chain(after).map(|b| b.is_removed()).collect::<Vec<_>>();
        assert_eq!(removed, [true, false, true, false, false]);
        drop(running);
        cluster.replace(&addresses(&[1]));
        assert_ne!(cluster.members().backends()[0].id(), before[0].id(), "an identity was used twice");
    }

    #[test]
    fn a_removed_backend_is_not_picked_from_an_old_snapshot() {
        let now = Instant::now();
        for policy in Policy::ALL {
            let cluster = Cluster::new(&addresses(&[1, 2]), policy, 1, now);
            let old = cluster.members();
            cluster.replace(&addresses(&[2]));
            for _ in 0..20 {
                let attempt = cluster.pick(&old, &Tried::default(), now).unwrap();
                assert_eq!(attempt.backend().address(), addresses(&[2])[0]);
            }
            cluster.replace(&[]);
            assert!(cluster.pick(&old, &Tried::default(), now).is_none());
        }
    }
}
