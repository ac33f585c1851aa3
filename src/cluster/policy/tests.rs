//! Properties of the policies over many picks and seeds.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{
    Attempt, AttemptEnd, BackendSettings, Cluster, ClusterSettings, Failure, HashKey, History, Members,
    Policy, UnknownPolicy, chance,
};

/// Makes a cluster with a backend for each weight.
fn cluster(weights: &[u32], policy: Policy, seed: u64, epoch: Instant) -> Cluster {
    let address = |n| SocketAddr::from(([127, 0, 0, 1], 9000 + n as u16));
    let settings = weights.iter().enumerate();
    let backends: Vec<_> =
        settings.map(|(n, &weight)| BackendSettings { weight, ..address(n).into() }).collect();
    Cluster::with_settings(&backends, ClusterSettings { policy, ..ClusterSettings::default() }, seed, epoch)
}

fn place(members: &Members, attempt: &Attempt) -> usize {
    members.backends().iter().position(|b| b.id() == attempt.backend().id()).unwrap()
}

/// Counts the picks of each backend. The last `running` attempts stay in flight.
fn shares(cluster: &Cluster, picks: usize, running: usize, now: Instant) -> Vec<usize> {
    let members = cluster.members();
    let mut shares = vec![0; members.backends().len()];
    let mut attempts = std::collections::VecDeque::new();
    for n in 0..picks {
        let attempt = cluster.pick(&members, &History::with_key(Some(chance::mix(n as u64))), now).unwrap();
        shares[place(&members, &attempt)] += 1;
        attempts.push_back(attempt);
        if attempts.len() > running {
            attempts.pop_front();
        }
    }
    shares
}

#[test]
fn shares_follow_the_weights() {
    let now = Instant::now();
    let weights = [1, 1, 2, 4];
    for policy in Policy::ALL.into_iter().filter(|policy| *policy != Policy::First) {
        for running in [0, 80] {
            if running == 0 && policy == Policy::PeakEwma {
                continue; // One request at a time goes to the backend with the least cost, every time.
            }
            let shares = shares(&cluster(&weights, policy.clone(), 3, now), 8000, running, now);
            for (share, weight) in shares.iter().zip(weights) {
                let expected = 1000 * weight as usize;
                // Two choices cannot give a backend more than it is drawn for, so it levels large weights.
                let allowed = match policy {
                    Policy::RoundRobin => 1,
                    Policy::TwoChoices => expected / 4 + 100,
                    _ => expected / 8,
                };
                assert!(share.abs_diff(expected) <= allowed, "{policy}, {running} running: {shares:?}");
            }
        }
    }
}

#[test]
fn the_first_backend_gets_all_while_it_is_available() {
    let now = Instant::now();
    let cluster = cluster(&[1, 1, 1], Policy::First, 1, now);
    assert_eq!(shares(&cluster, 30, 9, now), [30, 0, 0]);
    cluster.members().backends()[0].eject(now);
    assert_eq!(shares(&cluster, 30, 9, now), [0, 30, 0]);
}

#[test]
fn the_turns_of_a_heavy_backend_lie_apart() {
    let now = Instant::now();
    let cluster = cluster(&[5, 1, 1], Policy::RoundRobin, 1, now);
    let members = cluster.members();
    let turns: Vec<_> =
        (0..14).map(|_| place(&members, &cluster.pick(&members, &History::NONE, now).unwrap())).collect();
    assert_eq!(turns[..7], turns[7..], "the turns repeat");
    for window in turns.windows(3) {
        assert!(window.contains(&0), "{turns:?}");
    }
}

#[test]
fn a_backend_that_was_away_does_not_get_the_turns_that_it_missed() {
    let epoch = Instant::now();
    let cluster = cluster(&[1, 1], Policy::RoundRobin, 1, epoch);
    cluster.members().backends()[0].eject(epoch);
    assert_eq!(shares(&cluster, 1000, 0, epoch), [0, 1000]);
    let later = epoch + Duration::from_secs(60);
    shares(&cluster, 1, 0, later);
    let members = cluster.members();
    members.backends()[0].note_success(later, later);
    let much_later = later + Duration::from_secs(60);
    let counts = shares(&cluster, 10, 0, much_later);
    assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
}

#[test]
fn two_choices_are_two_backends_and_the_busier_one_is_never_picked() {
    let now = Instant::now();
    for seed in 0..200 {
        let cluster = cluster(&[1, 1], Policy::TwoChoices, seed, now);
        let members = cluster.members();
        let busy = cluster.pick(&members, &History::NONE, now).unwrap();
        for _ in 0..50 {
            let other = cluster.pick(&members, &History::NONE, now).unwrap();
            assert_ne!(other.backend().id(), busy.backend().id(), "seed {seed}");
        }
    }
}

#[test]
fn a_key_keeps_its_backend_and_only_the_keys_of_a_lost_backend_move() {
    let now = Instant::now();
    let cluster = cluster(&[1, 2, 3, 1, 1], Policy::Hash(HashKey::Path), 1, now);
    let members = cluster.members();
    let owners = |members: &Members| -> Vec<usize> {
        let owner = |key| {
            let attempt = cluster.pick(members, &History::with_key(Some(chance::mix(key))), now).unwrap();
            usize::from(attempt.backend().address().port())
        };
        (0..2000).map(owner).collect()
    };
    let before = owners(&members);
    assert_eq!(before, owners(&members));
    let kept: Vec<SocketAddr> =
        members.backends().iter().map(|b| b.address()).filter(|address| address.port() != 9002).collect();
    let settings: Vec<BackendSettings> = kept
        .iter()
        .map(|&address| BackendSettings {
            weight: if address.port() == 9001 { 2 } else { 1 },
            ..address.into()
        })
        .collect();
    cluster.replace(&settings);
    let after = owners(&cluster.members());
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == 9002, "a key moved from {before} to {after}");
    }
}

#[test]
fn a_hot_key_does_not_exceed_the_load_bound() {
    let now = Instant::now();
    let cluster = cluster(&[1, 1, 2], Policy::Hash(HashKey::Path), 1, now);
    let members = cluster.members();
    let mut attempts = Vec::new();
    for sum in 1..=400_u32 {
        attempts.push(cluster.pick(&members, &History::with_key(Some(7)), now).unwrap());
        for (backend, weight) in members.backends().iter().zip([1, 1, 2]) {
            let bound = (125 * sum * weight).div_ceil(400);
            assert!(
                backend.in_flight() <= bound,
                "{} of {sum} in flight, at most {bound}",
                backend.in_flight()
            );
        }
    }
}

#[test]
fn a_request_without_a_key_goes_to_a_random_backend() {
    let now = Instant::now();
    let cluster = cluster(&[1, 1, 1], Policy::Hash(HashKey::Path), 1, now);
    let members = cluster.members();
    let mut seen = [0; 3];
    for _ in 0..300 {
        seen[place(&members, &cluster.pick(&members, &History::NONE, now).unwrap())] += 1;
    }
    assert!(seen.iter().all(|&count| count > 60), "{seen:?}");
}

#[test]
fn peak_ewma_avoids_slow_and_failing_backends_and_asks_again_later() {
    let epoch = Instant::now();
    let at = |ms| epoch + Duration::from_millis(ms);
    // What the first backend does; the others answer within 10 ms.
    for bad in [AttemptEnd::Answered, AttemptEnd::Failed(Failure::Reset)] {
        let cluster = cluster(&[1, 1, 1], Policy::PeakEwma, 5, epoch);
        let members = cluster.members();
        let mut picked = [0; 3];
        for n in 0..600_u64 {
            let mut attempt = cluster.pick(&members, &History::NONE, at(n)).unwrap();
            let first = place(&members, &attempt);
            picked[first] += 1;
            let (end, latency) = match (first, bad) {
                (0, AttemptEnd::Answered) => (bad, 500),
                (0, _) => (bad, 1),
                _ => (AttemptEnd::Answered, 10),
            };
            attempt.note_byte(at(n + latency));
            attempt.finish(end, at(n + latency));
        }
        assert!(picked[0] <= 10, "{bad:?}: {picked:?}");
        // Two other backends that are busy make the idle one worth a try when its latency is nearly forgotten.
        let running: Vec<_> =
            (0..40).map(|_| cluster.pick(&members, &History::NONE, at(120_000)).unwrap()).collect();
        let first = running.iter().filter(|attempt| place(&members, attempt) == 0).count();
        assert!(first > 5, "{bad:?}: {first} of 40");
    }
}

#[test]
fn peak_ewma_tries_a_failed_backend_again_when_there_is_little_load() {
    let epoch = Instant::now();
    let at = |ms| epoch + Duration::from_millis(ms);
    let cluster = cluster(&[1, 1, 1], Policy::PeakEwma, 5, epoch);
    let members = cluster.members();
    // A request each 10 ms, one at a time, takes 2 to 6 ms. The first backend fails in the first second.
    let mut picked = [0; 3];
    for n in 0..2_000 {
        let mut attempt = cluster.pick(&members, &History::NONE, at(10 * n)).unwrap();
        let first = place(&members, &attempt);
        let fails = first == 0 && n < 100;
        attempt.note_byte(at(10 * n + 2 + n * 7 % 5));
        let end = if fails { AttemptEnd::Failed(Failure::Reset) } else { AttemptEnd::Answered };
        attempt.finish(end, at(10 * n + 7));
        picked[first] += usize::from(n >= 1_200);
    }
    assert!(picked[0] > 200, "its share of 800 requests after twelve seconds: {picked:?}");
}

#[test]
fn picks_of_many_threads_keep_exact_turns_nearly_exact() {
    let now = Instant::now();
    let cluster = cluster(&[1, 2, 3], Policy::RoundRobin, 1, now);
    let counts: Vec<std::sync::atomic::AtomicU64> = (0..3).map(|_| AtomicCount::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let members = cluster.members();
                for _ in 0..3000 {
                    let attempt = cluster.pick(&members, &History::NONE, now).unwrap();
                    counts[place(&members, &attempt)].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    for (count, expected) in counts.iter().zip([2000, 4000, 6000_u64]) {
        let count = count.load(std::sync::atomic::Ordering::Relaxed);
        assert!(count.abs_diff(expected) <= expected / 20, "{count} of {expected}");
    }
}

type AtomicCount = std::sync::atomic::AtomicU64;

#[test]
fn a_draw_finds_the_only_candidate_among_many() {
    let now = Instant::now();
    for policy in Policy::ALL {
        let cluster = cluster(&[1; 200], policy.clone(), 9, now);
        let members = cluster.members();
        for backend in &members.backends()[..199] {
            backend.drain(true);
        }
        let attempt = cluster.pick(&members, &History::NONE, now).unwrap();
        assert_eq!(place(&members, &attempt), 199, "{policy}");
        members.backends()[199].drain(true);
        assert!(cluster.pick(&members, &History::NONE, now).is_none(), "{policy}");
    }
}

#[test]
fn a_seed_repeats_all_picks() {
    let now = Instant::now();
    for policy in Policy::ALL {
        let run = |seed| {
            let cluster = cluster(&[1, 2, 3], policy.clone(), seed, now);
            let members: Arc<Members> = cluster.members();
            (0..200)
                .map(|_| place(&members, &cluster.pick(&members, &History::NONE, now).unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(4), run(4), "{policy}");
    }
}

#[test]
fn names_are_parsed_as_they_are_printed() {
    let named = ["hash:header=X-User", "hash:cookie=session"].map(|name| name.parse().unwrap());
    for policy in Policy::ALL.into_iter().chain(named) {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    for name in
        ["", "roundrobin", "Round-Robin", "least-requests ", "hash:", "hash:header=", "hash:cookie=a b"]
    {
        assert_eq!(name.parse::<Policy>(), Err(UnknownPolicy), "{name:?}");
    }
    assert!(UnknownPolicy.to_string().starts_with("expected one of round-robin, least-requests, "));
}
