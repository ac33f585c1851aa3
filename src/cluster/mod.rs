//! Backends, the choice among them, their health, and the connections kept to them. Pure: no clock, no sockets.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

mod backend;
mod health;
mod idle;
mod policy;

pub use backend::{Backend, Lease, Tried};
pub use health::EJECTED_FOR;
pub use idle::IdlePool;
pub use policy::{Policy, UnknownPolicy};

/// The backends of one balancer and the way it chooses among them, shared by all workers without a lock.
#[derive(Debug)]
pub struct Cluster {
    backends: Box<[Arc<Backend>]>,
    policy: Policy,
    seed: u64,
    turn: AtomicU64,
}

impl Cluster {
    /// A cluster in which every backend counts as healthy. The same seed makes the same choices. No instant
    /// passed to it later lies before `epoch`: times are kept as milliseconds since then.
    pub fn new(addresses: &[SocketAddr], policy: Policy, seed: u64, epoch: Instant) -> Self {
        let backends = addresses.iter().enumerate();
        let backends = backends.map(|(id, &address)| Arc::new(Backend::new(id, address, epoch))).collect();
        Cluster { backends, policy, seed, turn: AtomicU64::new(0) }
    }

    /// The backends, each at the index that is its id.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// A backend that is not in `tried`, chosen by the policy among the available ones. When all of them are
    /// ejected it is the one whose ejection ends first: an ejection is a guess, and a client that is refused
    /// while some backend lives is worse than one more failed connect. None only when all were tried.
    pub fn pick(&self, tried: &Tried, now: Instant) -> Option<Lease> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let untried = self.backends.iter().filter(|b| !tried.contains(b.id()));
        let available = untried.clone().filter(|b| b.available(now));
        let picked = self.policy.pick(available, turn, self.seed);
        picked.or_else(|| untried.min_by_key(|b| b.ejected_until())).map(Lease::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(n: u16, policy: Policy, seed: u64, epoch: Instant) -> Cluster {
        let addresses: Vec<_> = (0..n).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect();
        Cluster::new(&addresses, policy, seed, epoch)
    }

    /// How often each backend is picked, every lease given back at once.
    fn shares(cluster: &Cluster, picks: usize, now: Instant) -> Vec<usize> {
        let mut shares = vec![0; cluster.backends().len()];
        for _ in 0..picks {
            shares[cluster.pick(&Tried::default(), now).unwrap().id()] += 1;
        }
        shares
    }

    #[test]
    fn the_available_ones_share_evenly_whoever_is_ejected() {
        let now = Instant::now();
        // policy, ejected ids, most a share may differ from the mean of 1000
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
                cluster.backends()[id].unreachable(now);
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
        let mut leases = Vec::new();
        for n in 1..=40 {
            leases.push(cluster.pick(&Tried::default(), now).unwrap());
            let counts: Vec<_> = cluster.backends().iter().map(|b| b.in_flight()).collect();
            assert_eq!(counts.iter().sum::<u32>(), n);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
        leases.retain(|lease| lease.id() != 2);
        let next: Vec<_> = (0..10).map(|_| cluster.pick(&Tried::default(), now).unwrap()).collect();
        assert!(next.iter().all(|lease| lease.id() == 2));
    }

    #[test]
    fn ties_are_broken_at_random_and_the_seed_replays_them() {
        let now = Instant::now();
        let sequence = |seed| {
            let cluster = cluster(3, Policy::LeastRequests, seed, now);
            (0..64).map(|_| cluster.pick(&Tried::default(), now).unwrap().id()).collect::<Vec<_>>()
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
                for backend in &cluster.backends()[..ejected] {
                    backend.unreachable(now);
                }
                let mut tried = Tried::default();
                let mut order = Vec::new();
                while let Some(lease) = cluster.pick(&tried, now) {
                    tried.insert(lease.id());
                    order.push(lease.id());
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
            cluster.backends()[id].unreachable(epoch + std::time::Duration::from_millis(ms));
        }
        let now = epoch + std::time::Duration::from_millis(40);
        assert_eq!(shares(&cluster, 5, now), [0, 5, 0]);
        cluster.backends()[2].succeeded();
        assert_eq!(shares(&cluster, 5, now), [0, 0, 5]);
    }

    #[test]
    fn no_backend_none_picked() {
        let now = Instant::now();
        assert!(cluster(0, Policy::RoundRobin, 0, now).pick(&Tried::default(), now).is_none());
        assert!(cluster(0, Policy::LeastRequests, 0, now).pick(&Tried::default(), now).is_none());
    }

    #[test]
    fn threads_that_pick_at_once_leak_no_count() {
        let now = Instant::now();
        let cluster = cluster(3, Policy::LeastRequests, 5, now);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut tried = Tried::default();
                        let first = cluster.pick(&tried, now).unwrap();
                        tried.insert(first.id());
                        let second = cluster.pick(&tried, now).unwrap();
                        assert!(first.in_flight() >= 1 && second.id() != first.id());
                    }
                });
            }
        });
        assert!(cluster.backends().iter().all(|b| b.in_flight() == 0));
    }
}
