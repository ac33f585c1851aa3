//! Tests of health: the state of one backend, and the rules over the backends of a cluster.
use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::cluster::{Attempt, AttemptEnd, Cluster, ClusterSettings, Failure, History, Policy, Tried};

const SETTINGS: HealthSettings = HealthSettings {
    passive: true,
    ejection: Duration::from_millis(1000),
    ejection_max: Duration::from_millis(5000),
    ejected_max_percent: 50,
    panic_percent: 10,
    slow_start: Duration::from_millis(1000),
};

#[test]
fn ejections_grow_up_to_a_limit_and_shrink_after_a_calm_time() {
    let health = Health::default();
    assert_eq!(health.phase(0), Phase::Healthy);
    // ejected at, ends at
    for (at, end) in
        [(0, 1000), (1000, 3000), (3100, 7100), (7100, 12_100), (17_000, 22_000), (27_001, 28_001)]
    {
        health.eject(at, &SETTINGS);
        health.eject(at + 1, &SETTINGS);
        assert_eq!(
            [at, end - 1, end].map(|ms| health.phase(ms)),
            [Phase::Ejected, Phase::Ejected, Phase::Probing]
        );
    }
}

#[test]
fn the_slow_start_does_not_end_the_calm_time() {
    // ejected again so long after the return, length of the second ejection
    for (after, length) in [(500, 2000), (3000, 2000), (5000, 2000), (5001, 1000)] {
        let health = Health::default();
        health.eject(100_000, &SETTINGS);
        assert!(health.note_success(101_000, 101_000));
        let again = 101_000 + after;
        health.share_of(1000, again, SETTINGS.slow_start);
        health.eject(again, &SETTINGS);
        let phases = [again + length - 1, again + length].map(|ms| health.phase(ms));
        assert_eq!(phases, [Phase::Ejected, Phase::Probing], "{after}");
    }
}

#[test]
fn a_response_ends_an_ejection_that_began_before_its_request() {
    // started, returns
    for (started, returns) in [(99, false), (100, true), (2000, true)] {
        let health = Health::default();
        health.eject(100, &SETTINGS);
        assert_eq!(health.note_success(started, 2000), returns, "{started}");
        assert_eq!(health.phase(2000) == Phase::Healthy, returns, "{started}");
    }
    assert!(!Health::default().note_success(0, 0), "it was not away");
}

#[test]
fn a_share_grows_after_a_return() {
    let health = Health::default();
    assert_eq!(health.share_of(1000, 0, SETTINGS.slow_start), 1000);
    health.eject(0, &SETTINGS);
    health.note_success(1500, 2000);
    let shares =
        [2000, 2100, 2500, 2900, 3000, 2100].map(|ms| health.share_of(1000, ms, SETTINGS.slow_start));
    assert_eq!(shares, [100, 200, 600, 1000, 1000, 1000]);
    health.eject(4000, &SETTINGS);
    health.note_success(6000, 6000);
    assert_eq!(health.share_of(1, 6000, SETTINGS.slow_start), 1, "nobody gets nothing");
    assert_eq!(health.share_of(7, 6000, Duration::ZERO), 7);
}

#[test]
fn silences_in_a_row_are_counted_and_a_response_starts_the_count_anew() {
    let health = Health::default();
    for _ in 0..10 {
        assert!((1..SILENCES_MAX).all(|_| !health.count_silence()));
        health.note_success(0, 0);
    }
    assert!((1..SILENCES_MAX).all(|_| !health.count_silence()));
    assert!(health.count_silence());
}

/// A cluster in simulated time. Each request takes a millisecond.
struct Site {
    cluster: Cluster,
    epoch: Instant,
    ms: u64,
}

impl Site {
    fn new(backends: u16, policy: Policy, health: HealthSettings) -> Self {
        let epoch = Instant::now();
        let addresses: Vec<_> =
            (0..backends).map(|n| SocketAddr::from(([127, 0, 0, 1], 9000 + n)).into()).collect();
        let settings = ClusterSettings { policy, health, ..ClusterSettings::default() };
        Site { cluster: Cluster::with_settings(&addresses, settings, 1, epoch), epoch, ms: 0 }
    }

    fn now(&self) -> Instant {
        self.epoch + Duration::from_millis(self.ms)
    }

    fn place(&self, attempt: &Attempt) -> usize {
        let members = self.cluster.members();
        members.backends().iter().position(|b| b.id() == attempt.backend().id()).unwrap()
    }

    /// Makes requests one after the other. `end` says what a backend does. Returns the requests of each backend.
    fn run(&mut self, requests: usize, end: impl Fn(usize) -> (AttemptEnd, u16)) -> Vec<usize> {
        let members = self.cluster.members();
        let mut counts = vec![0; members.backends().len()];
        for _ in 0..requests {
            let mut attempt = self.cluster.pick(&members, &History::NONE, self.now()).unwrap();
            let place = self.place(&attempt);
            counts[place] += 1;
            self.ms += 1;
            let (end, status) = end(place);
            attempt.note_status(status);
            attempt.finish(end, self.now());
        }
        counts
    }

    fn out(&self) -> Vec<usize> {
        let members = self.cluster.members();
        let out = |(place, backend): (usize, &std::sync::Arc<crate::cluster::Backend>)| {
            backend.is_ejected().then_some(place)
        };
        members.backends().iter().enumerate().filter_map(out).collect()
    }
}

const OK: (AttemptEnd, u16) = (AttemptEnd::Answered, 200);

#[test]
fn a_backend_whose_responses_fail_is_ejected_and_comes_back_when_it_heals() {
    let failures = [
        (AttemptEnd::Answered, 500),
        (AttemptEnd::Answered, 503),
        (AttemptEnd::Failed(Failure::Reset), 0),
        (AttemptEnd::Failed(Failure::BadResponse), 0),
    ];
    for failure in failures {
        for policy in [Policy::RoundRobin, Policy::LeastRequests, Policy::PeakEwma] {
            let mut site = Site::new(3, policy.clone(), HealthSettings::default());
            site.run(1000, |_| OK);
            let first = site.run(1000, |place| if place == 0 { failure } else { OK });
            assert!(first[0] <= 50, "{policy}, {failure:?}: {first:?} in the first second");
            let later = site.run(20_000, |place| if place == 0 { failure } else { OK });
            assert!(later[0] <= 10, "{policy}, {failure:?}: {later:?} later");
            site.run(20_000, |_| OK);
            let healed = site.run(3000, |_| OK);
            // One request at a time always goes to the backend that seems the fastest.
            let shared = healed[0] > 800 || policy == Policy::PeakEwma;
            assert!(site.out().is_empty() && shared, "{policy}, {failure:?}: {healed:?} when healed");
        }
    }
}

#[test]
fn a_request_that_fails_everywhere_ejects_nobody() {
    for failure in [(AttemptEnd::Answered, 500), (AttemptEnd::Failed(Failure::EndedEarly), 0)] {
        let mut site = Site::new(3, Policy::LeastRequests, HealthSettings::default());
        site.run(5000, |_| failure);
        assert_eq!(site.out(), [] as [usize; 0]);
    }
    // A status that speaks of the request, and a single backend.
    let mut site = Site::new(3, Policy::LeastRequests, HealthSettings::default());
    site.run(5000, |place| (AttemptEnd::Answered, if place == 0 { 501 } else { 200 }));
    assert_eq!(site.out(), [] as [usize; 0]);
    let mut site = Site::new(1, Policy::LeastRequests, HealthSettings::default());
    site.run(5000, |_| (AttemptEnd::Answered, 500));
    assert_eq!(site.out(), [] as [usize; 0]);
}

#[test]
fn the_share_of_ejected_backends_is_limited_and_a_dead_backend_does_not_count() {
    let fails = |bad: usize, end| move |place| if place < bad { end } else { OK };
    // backends, bad ones, what they do, the most that are ejected
    let cases = [
        (2, 1, (AttemptEnd::Answered, 500), 1),
        (4, 3, (AttemptEnd::Failed(Failure::ResponseTimeout), 0), 2),
        (3, 2, (AttemptEnd::Failed(Failure::ResponseTimeout), 0), 1),
        (4, 3, (AttemptEnd::Failed(Failure::Refused), 0), 3),
    ];
    for (backends, bad, end, expected) in cases {
        let mut site = Site::new(backends, Policy::RoundRobin, HealthSettings::default());
        site.run(100, fails(bad, end));
        assert_eq!(site.out().len(), expected, "{bad} of {backends}, {end:?}");
    }
}

#[test]
fn nobody_is_ejected_when_ejections_are_off() {
    let health = HealthSettings { passive: false, ..HealthSettings::default() };
    for failure in [Failure::Refused, Failure::ResponseTimeout, Failure::Reset] {
        let mut site = Site::new(3, Policy::RoundRobin, health);
        let counts = site.run(300, |place| if place == 0 { (AttemptEnd::Failed(failure), 0) } else { OK });
        assert_eq!(counts, [100, 100, 100], "{failure:?}");
    }
}

#[test]
fn when_nearly_all_are_out_all_are_used() {
    let health = HealthSettings { panic_percent: 40, ..HealthSettings::default() };
    // of 5: the ejected, the backends that get requests, those that stay out when the panic has ended
    for (ejected, used, out) in [(0, 5, 0), (2, 3, 2), (3, 2, 3), (4, 5, 3), (5, 5, 3)] {
        let mut site = Site::new(5, Policy::RoundRobin, health);
        let members = site.cluster.members();
        members.backends()[..ejected].iter().for_each(|backend| backend.eject(site.now()));
        let attempts: Vec<_> =
            (0..20).map(|_| site.cluster.pick(&members, &History::NONE, site.now()).unwrap()).collect();
        let places: std::collections::BTreeSet<_> = attempts.iter().map(|one| site.place(one)).collect();
        assert_eq!(places.len(), used, "{ejected} ejected");
        // Each response ends the ejection of its backend, until enough are available.
        drop(attempts);
        site.run(20, |_| OK);
        assert_eq!(site.out().len(), out, "{ejected} ejected");
    }
}

#[test]
fn after_an_ejection_one_request_at_a_time_is_let_through() {
    let mut site = Site::new(2, Policy::LeastRequests, HealthSettings::default());
    let members = site.cluster.members();
    members.backends()[0].eject(site.now());
    site.ms = 1000;
    let mut tried = Tried::default();
    tried.insert(members.backends()[1].id());
    let history = History { tried: &tried, ..History::NONE };
    let mut first = site.cluster.pick(&members, &History::NONE, site.now()).unwrap();
    if site.place(&first) != 0 {
        first = site.cluster.pick(&members, &History::NONE, site.now()).unwrap();
    }
    assert_eq!(site.place(&first), 0);
    let others: Vec<_> =
        (0..9).map(|_| site.cluster.pick(&members, &History::NONE, site.now()).unwrap()).collect();
    assert!(others.iter().all(|attempt| site.place(attempt) == 1));
    // Without another backend even that one is used.
    assert_eq!(site.place(&site.cluster.pick(&members, &history, site.now()).unwrap()), 0);
    first.finish(AttemptEnd::Answered, site.now());
    assert!(site.out().is_empty());
}

#[test]
fn a_removed_or_draining_backend_is_not_used_in_a_panic() {
    let site = Site::new(2, Policy::LeastRequests, HealthSettings::default());
    let members = site.cluster.members();
    members.backends()[0].eject(site.now());
    members.backends()[1].drain(true);
    for _ in 0..5 {
        let attempt = site.cluster.pick(&members, &History::NONE, site.now()).unwrap();
        assert_eq!(site.place(&attempt), 0);
    }
    members.backends()[0].drain(true);
    assert!(site.cluster.pick(&members, &History::NONE, site.now()).is_none());
    members.backends()[1].drain(false);
    assert!(site.cluster.pick(&members, &History::NONE, site.now()).is_some());
}

#[test]
fn picks_are_explained_while_somebody_watches() {
    let site = Site::new(3, Policy::LeastRequests, HealthSettings::default());
    let members = site.cluster.members();
    let pick = || site.cluster.pick(&members, &History::NONE, site.now()).unwrap();
    let unwatched = pick();
    assert_eq!(site.cluster.picks_since(0), []);
    site.cluster.watch_picks(true);
    members.backends()[1].eject(site.now());
    members.backends()[2].drain(true);
    let mut attempt = pick();
    drop(pick());
    attempt.note_status(404);
    attempt.finish(AttemptEnd::Answered, site.now());
    let picks = site.cluster.picks_since(0);
    let lines: Vec<_> = picks.iter().map(ToString::to_string).collect();
    let first = site.place(&unwatched);
    let in_flight = |earlier: u32| earlier + u32::from(first == 0);
    let expected = [0, 1].map(|n| format!("       0 ms: backend 0 of {}* ejected draining", in_flight(n)));
    assert_eq!(lines, expected);
    let ends: Vec<_> =
        picks.iter().map(|picked| picked.outcome.map(|outcome| (outcome.end, outcome.status))).collect();
    assert_eq!(ends, [Some((AttemptEnd::Answered, Some(404))), Some((AttemptEnd::Abandoned, None))]);
    // The record is short, and forgotten when nobody watches.
    (0..300).for_each(|_| drop(pick()));
    assert_eq!((site.cluster.picks_since(0).len(), site.cluster.picks_since(300).len()), (256, 2));
    site.cluster.watch_picks(false);
    assert_eq!(site.cluster.picks_since(0), []);
}
