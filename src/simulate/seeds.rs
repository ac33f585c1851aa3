//! Kept seeds: each test repeats a run that showed a defect. The comment says what the defect was. Without the fix the test
//! fails.
use std::time::Instant;

use super::backend::Behaviour;
use super::scenario::Scenario;
use super::trace::Trace;
use super::world::World;
use super::{Policy, find};
use crate::cluster::{Cap, ClusterSettings};

const SECOND: u64 = 1_000_000;

fn run(scenario: &Scenario, policy: Policy, seed: u64) -> Trace {
    let settings = ClusterSettings { policy, ..scenario.cluster.clone() };
    World::new(scenario, settings, seed, Instant::now()).run()
}

/// The first requests came faster than backends for two requests could work. The adaptive cap compared the latency only with
/// latencies of this overload, doubled up to 16, and stayed too high: the p99 was 795 ms.
#[test]
fn an_adaptive_cap_does_not_double_within_an_overload() {
    let variants = find("auto-cap").unwrap().variants();
    let of_two = |one: &&Scenario| one.slots == 2 && one.cap == Some(Cap::Auto);
    let scenario = Scenario { seconds: 10, ..variants.iter().find(of_two).unwrap().clone() };
    let trace = run(&scenario, Policy::LeastRequests, 32);
    assert!(trace.latency_ms(0.99) < 400.0, "p99 {} ms", trace.latency_ms(0.99));
}

/// A backend that failed again after its slow start had ended, but soon after its return, was ejected for only one second each
/// time. It got 8 % of the requests.
#[test]
fn a_backend_that_fails_again_and_again_is_ejected_for_longer() {
    let scenario = Scenario {
        seconds: 60,
        behaviour: |place, now| {
            // It fails for a tenth of a second every five seconds, so it works when it is probed.
            let fails = place == 0 && now >= 20 * SECOND && now % (5 * SECOND) < SECOND / 10;
            Behaviour { fails: f64::from(u8::from(fails)), ..Behaviour::GOOD }
        },
        ..find("one-fails-fast").unwrap()
    };
    let trace = run(&scenario, Policy::LeastRequests, 1);
    assert!(trace.shares()[0] < 0.06, "{:?}", trace.shares());
}

/// A backend that had failed for a second got no request with `peak-ewma` later, when there was little load: its estimate
/// never came near those of the others.
#[test]
fn a_backend_that_failed_once_comes_back_with_peak_ewma() {
    let scenario = Scenario {
        seconds: 30,
        rate: 50.0,
        behaviour: |place, now| {
            let fails = place == 0 && now < SECOND;
            Behaviour { fails: f64::from(u8::from(fails)), ..Behaviour::GOOD }
        },
        ..find("one-fails-fast").unwrap()
    };
    let trace = run(&scenario, Policy::PeakEwma, 1);
    assert!(trace.shares()[0] > 0.03, "{:?}", trace.shares());
}
