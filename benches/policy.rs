//! Benchmarks of picking a backend: every policy, with few and with many backends that have requests in flight.

use std::fmt;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use divan::Bencher;
use neraca::cluster::{AttemptEnd, Cluster, History, Policy};

mod common;

#[derive(Clone)]
struct Case {
    policy: Policy,
    backends: u16,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:>3} backends", self.policy, self.backends)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let policies = Policy::ALL.into_iter();
    policies.flat_map(|policy| [3, 16, 256].map(|backends| Case { policy: policy.clone(), backends }))
}

fn main() {
    common::run();
}

#[divan::bench(args = cases(), sample_size = 100)]
fn pick(bencher: Bencher, case: &Case) {
    let now = Instant::now();
    let addresses: Vec<_> =
        (0..case.backends).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect();
    let cluster = Cluster::new(&addresses, case.policy.clone(), 1, now);
    let members = cluster.members();
    let pick = || cluster.pick(&members, &History::NONE, now).unwrap();
    // Most backends get a latency, and in the end each has about one request in flight.
    for ms in (0..10).cycle().take(usize::from(case.backends) * 10) {
        let (mut attempt, end) = (pick(), now + Duration::from_millis(ms));
        attempt.note_byte(end);
        attempt.finish(AttemptEnd::Answered, end);
    }
    let _in_flight: Vec<_> = (0..case.backends).map(|_| pick()).collect();
    bencher.bench(|| cluster.pick(&members, black_box(&History::NONE), now).unwrap().backend().id());
}
