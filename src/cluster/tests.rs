//! Tests of a cluster as a whole.
use super::*;
use crate::http::transform::TransformFactory;

fn cluster(n: u16, policy: Policy, seed: u64, epoch: Instant) -> Cluster {
    let addresses: Vec<_> = (0..n).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect();
    Cluster::new(&addresses, policy, seed, epoch)
}

/// The history of a request that these backends must not get.
fn without(tried: &Tried) -> History<'_> {
    History { tried, ..History::NONE }
}

/// Returns the index of the backend among the members.
fn place(cluster: &Cluster, backend: &Backend) -> usize {
    cluster.members().backends().iter().position(|b| b.id() == backend.id()).unwrap()
}

fn pick(cluster: &Cluster, now: Instant) -> Attempt {
    cluster.pick(&cluster.members(), &History::NONE, now).unwrap()
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
        let cluster = cluster(5, policy.clone(), 7, now);
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
    for policy in Policy::ALL {
        for ejected in 0..=4 {
            let cluster = cluster(4, policy.clone(), 3, now);
            let members = cluster.members();
            for backend in &members.backends()[..ejected] {
                backend.eject(now);
            }
            let mut tried = Tried::default();
            let mut order = Vec::new();
            while let Some(attempt) = cluster.pick(&members, &without(&tried), now) {
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
fn the_question_whether_a_retry_is_possible_moves_no_turn() {
    let now = Instant::now();
    let cluster = cluster(4, Policy::RoundRobin, 1, now);
    let members = cluster.members();
    let mut tried = Tried::default();
    let mut order = Vec::new();
    for reached in [false, true, true, true] {
        let history = History { tried: &tried, reached, ..History::NONE };
        let Some(Start::Attempt(attempt)) = cluster.start(&members, &history, &mut None, now) else {
            panic!("a backend is left");
        };
        order.push(place(&cluster, attempt.backend()));
        tried.insert(attempt.backend().id());
    }
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn an_adaptive_cap_rises_while_requests_wait_and_grants_them() {
    let epoch = Instant::now();
    let backend = BackendSettings { cap: Some(Cap::Auto), ..SocketAddr::from(([127, 0, 0, 1], 9000)).into() };
    let cluster =
        Cluster::with_settings(std::slice::from_ref(&backend), ClusterSettings::default(), 1, epoch);
    let members = cluster.members();
    let first = members.backends()[0].cap().unwrap();
    let mut running = Vec::new();
    let start =
        |permit: &mut Option<Permit>, now| cluster.start(&members, &History::NONE, permit, now).unwrap();
    for _ in 0..first {
        let Start::Attempt(attempt) = start(&mut None, epoch) else { panic!("there is room") };
        running.push(attempt);
    }
    let mut places: Vec<Place> = Vec::new();
    let mut ended = 0;
    // Each round ends all running requests after 10 ms, and two requests wait for each slot.
    for round in 1..=10 {
        let now = epoch + Duration::from_millis(10 * round);
        while places.len() < 2 * running.len() {
            let Start::Wait(admission) = start(&mut None, now) else { panic!("a request overtakes") };
            let Entered::Place(place) = admission.enter(std::task::Waker::noop().clone()) else {
                panic!("there is room although requests wait")
            };
            places.push(place);
        }
        for mut attempt in running.drain(..) {
            attempt.finish(AttemptEnd::Answered, now);
            ended += 1;
        }
        places.retain_mut(|place| {
            let mut permit = place.take();
            let granted = permit.is_some();
            if granted && let Start::Attempt(attempt) = start(&mut permit, now) {
                running.push(attempt);
            }
            !granted
        });
        assert!(!running.is_empty() && running.len() <= members.backends()[0].cap().unwrap() as usize);
    }
    let cap = members.backends()[0].cap().unwrap();
    assert!(cap >= 4 * first, "{first} at first, {cap} after {ended} requests");
    assert_eq!(running.len(), cap as usize, "waiting requests use all slots");
    drop((places, running));
    assert_eq!((members.backends()[0].slots_taken(), cluster.waiting()), (0, 0));
    // A new configuration ends the adaption.
    cluster.replace(&[BackendSettings { cap: Some(Cap::Fixed(7)), ..backend }]);
    assert_eq!(members.backends()[0].cap(), Some(7));
}

#[test]
fn no_backend_none_picked() {
    let now = Instant::now();
    for policy in Policy::ALL {
        let cluster = cluster(0, policy, 0, now);
        assert!(cluster.pick(&cluster.members(), &History::NONE, now).is_none());
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
                    let first = cluster.pick(&members, &without(&tried), now).unwrap();
                    tried.insert(first.backend().id());
                    let second = cluster.pick(&members, &without(&tried), now).unwrap();
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
fn a_backend_with_another_transform_is_another_backend() {
    let now = Instant::now();
    let factory = || TransformFactory::new(|| unreachable!("nobody connects"));
    let backend = |transform: Option<&TransformFactory>| BackendSettings {
        transform: transform.cloned(),
        ..addresses(&[1])[0].into()
    };
    let [first, second] = [factory(), factory()];
    let cluster = Cluster::with_settings(&[backend(Some(&first))], ClusterSettings::default(), 1, now);
    let id = || cluster.members().backends()[0].id();
    let mut before = id();
    for (transform, stays) in [(Some(&first), true), (Some(&second), false), (None, false), (None, true)] {
        cluster.replace(&[backend(transform)]);
        assert_eq!(id() == before, stays, "{transform:?}");
        before = id();
    }
}

#[test]
fn the_end_of_a_handshake_is_new_once() {
    let backend = Backend::alone(addresses(&[1])[0], Instant::now());
    let ends = [None, Some("a"), Some("a"), Some("b"), None, None, Some("b")];
    assert_eq!(ends.map(|end| backend.note_handshake(end)), [false, true, false, true, true, false, true]);
}

#[test]
fn new_settings_hold_at_once_and_the_backends_stay() {
    let now = Instant::now();
    let sticky = |name: &str| StickySettings {
        name: name.parse().unwrap(),
        key: "00112233445566778899aabbccddeeff".parse().unwrap(),
    };
    let health = HealthSettings { ejection: Duration::from_millis(1), ..HealthSettings::default() };
    let before = ClusterSettings { sticky: Some(sticky("a")), ..ClusterSettings::default() };
    // What changes.
    let cases = [
        ClusterSettings { policy: Policy::First, ..before.clone() },
        ClusterSettings { policy: Policy::PeakEwma, ..before.clone() },
        ClusterSettings { policy: Policy::Hash(HashKey::Header("a".to_owned())), ..before.clone() },
        ClusterSettings { health, ..before.clone() },
        ClusterSettings { retries: RetrySettings { answers: true, ..before.retries }, ..before.clone() },
        ClusterSettings { waiting_max: 7, ..before.clone() },
        ClusterSettings { sticky: Some(sticky("b")), ..before.clone() },
        ClusterSettings { sticky: None, ..before.clone() },
    ];
    let capped = |port| BackendSettings { cap: Some(Cap::Fixed(2)), ..addresses(&[port])[0].into() };
    for after in cases {
        let cluster = Cluster::with_settings(&[capped(1), capped(2)], before.clone(), 1, now);
        let (mut view, old) = (cluster.members(), cluster.members().backends().to_vec());
        old[1].eject(now);
        let running = [pick(&cluster, now), pick(&cluster, now)];
        cluster.apply(&[capped(1), capped(2), capped(3)], &after);
        assert!(cluster.refresh(&mut view), "{after:?}");
        assert_eq!((view.settings(), view.backends().len()), (&after, 3));
        let same = view.backends().iter().zip(&old).all(|(new, old)| Arc::ptr_eq(new, old));
        assert!(same && !old.iter().any(|backend| backend.is_removed()), "{after:?}");
        let now = now + Duration::from_millis(2);
        let states = [0, 1].map(|place: usize| old[place].exclusion(now));
        assert_eq!(states, [Some(Exclusion::Full), Some(Exclusion::Ejected)], "{after:?}");
        assert_eq!((old[0].in_flight(), old[0].slots_taken()), (2, 2), "{after:?}");
        // The only backend with room is the new one.
        assert_eq!(place(&cluster, pick(&cluster, now).backend()), 2, "{after:?}");
        let name = after.sticky.as_ref().map(|sticky| sticky.name.as_str().to_owned());
        assert_eq!(old[0].session_cookie().map(|(name, _)| name), name, "{after:?}");
        assert_eq!(view.session_cookie().is_some(), name.is_some());
        let (session, _) = cluster.resume(&view, old[0].session_cookie().map(|(_, value)| value), now);
        assert_eq!(session == Session::Unchanged, name.is_some(), "{after:?}");
        for mut attempt in running {
            attempt.finish(AttemptEnd::Answered, now);
        }
        assert_eq!((old[0].counts().answered, old[0].in_flight(), old[0].slots_taken()), (2, 0, 0));
        // A new ejection has the new length.
        old[0].eject(now);
        let ended = now + after.health.ejection;
        assert!(!old[0].available(now) && old[0].available(ended), "{after:?}");
        assert_eq!(before.health == after.health, !old[0].available(now + health.ejection));
    }
}

#[test]
fn waiting_requests_stay_in_a_queue_that_gets_shorter() {
    let now = Instant::now();
    let backend = |port| BackendSettings { cap: Some(Cap::Fixed(1)), ..addresses(&[port])[0].into() };
    let cluster = Cluster::with_settings(&[backend(1)], ClusterSettings::default(), 1, now);
    let running = pick(&cluster, now);
    let enter = || match cluster.start(&cluster.members(), &History::NONE, &mut None, now) {
        Some(Start::Wait(admission)) => admission.enter(std::task::Waker::noop().clone()),
        start => panic!("{start:?}"),
    };
    let mut places = [0; 2].map(|_| match enter() {
        Entered::Place(place) => place,
        entered => panic!("{entered:?}"),
    });
    cluster
        .apply(&[backend(1), backend(2)], &ClusterSettings { waiting_max: 1, ..ClusterSettings::default() });
    assert_eq!(cluster.waiting(), 2);
    assert!(matches!(enter(), Entered::Full));
    cluster.sweep(now);
    drop(running);
    let ports = places.each_mut().map(|place| place.take().unwrap().backend().address().port());
    assert_eq!(ports, [2, 1]);
}

#[test]
fn a_panic_follows_the_members_and_the_settings() {
    let now = Instant::now();
    let settings = |panic_percent| ClusterSettings {
        policy: Policy::RoundRobin,
        health: HealthSettings { panic_percent, ..HealthSettings::default() },
        ..ClusterSettings::default()
    };
    let four = addresses(&[1, 2, 3, 4]).into_iter().map(Into::into).collect::<Vec<BackendSettings>>();
    let cluster = Cluster::with_settings(&four, settings(50), 1, now);
    let used = || shares(&cluster, 40, now).iter().filter(|&&share| share > 0).count();
    cluster.members().backends()[..3].iter().for_each(|backend| backend.eject(now));
    assert_eq!(used(), 4);
    cluster.replace(&four);
    assert_eq!(used(), 4, "the same members");
    cluster.apply(&four, &settings(20));
    assert_eq!(used(), 1, "a quarter is enough");
    cluster.apply(&four, &settings(50));
    assert_eq!(used(), 4);
    cluster.replace(&four[2..]);
    assert_eq!(used(), 1, "one of two is enough");
}

#[test]
fn a_removed_backend_is_not_picked_from_an_old_snapshot() {
    let now = Instant::now();
    for policy in Policy::ALL {
        let cluster = Cluster::new(&addresses(&[1, 2]), policy, 1, now);
        let old = cluster.members();
        cluster.replace(&addresses(&[2]));
        for _ in 0..20 {
            let attempt = cluster.pick(&old, &History::NONE, now).unwrap();
            assert_eq!(attempt.backend().address(), addresses(&[2])[0]);
        }
        cluster.replace::<SocketAddr>(&[]);
        assert!(cluster.pick(&old, &History::NONE, now).is_none());
    }
}

#[test]
fn a_session_goes_to_the_backend_that_its_cookie_names_while_this_backend_takes_it() {
    let now = Instant::now();
    let settings = |key: &str| ClusterSettings {
        sticky: Some(StickySettings { name: "sid".parse().unwrap(), key: key.parse().unwrap() }),
        ..ClusterSettings::default()
    };
    const KEY: &str = "00112233445566778899aabbccddeeff";
    let members: Vec<_> = (0..3)
        .map(|i| BackendSettings {
            cap: Some(Cap::Fixed(1)),
            ..SocketAddr::from(([127, 0, 0, 1], 9000 + i)).into()
        })
        .collect();
    let value = |cluster: &Cluster, place: usize| {
        cluster.members().backends()[place].session_cookie().map(|(_, value)| value)
    };
    type Change = fn(&Cluster, Instant);
    // What happens to the backend, true when the session goes there, true when the session ends.
    let cases: [(&str, Change, bool, bool); 8] = [
        ("nothing", |_, _| (), true, false),
        ("ejected", |cluster, now| cluster.members().backends()[1].eject(now), false, true),
        ("draining", |cluster, _| cluster.members().backends()[1].drain(true), true, false),
        ("full", |cluster, _| assert!(cluster.members().backends()[1].take_slot()), false, false),
        (
            "draining and ejected",
            |cluster, now| {
                cluster.members().backends()[1].drain(true);
                cluster.members().backends()[1].eject(now);
            },
            false,
            true,
        ),
        (
            "all are ejected",
            |cluster, now| cluster.members().backends().iter().for_each(|backend| backend.eject(now)),
            true,
            false,
        ),
        ("removed", |cluster, _| cluster.replace(&[SocketAddr::from(([127, 0, 0, 1], 9000))]), false, true),
        (
            "moved in the list",
            |cluster, _| {
                let addresses = [9002, 9001].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
                cluster.replace(&addresses);
            },
            true,
            false,
        ),
    ];
    for (name, change, goes, ends) in cases {
        let cluster = Cluster::with_settings(&members, settings(KEY), 1, now);
        let cookie = value(&cluster, 1);
        change(&cluster, now);
        let (session, attempt) = cluster.resume(&cluster.members(), cookie, now);
        let port = attempt.as_ref().map(|attempt| attempt.backend().address().port());
        assert_eq!((port, session == Session::New), (goes.then_some(9001), ends), "{name}");
        if let Some(attempt) = &attempt {
            assert!(!session.begins_at(attempt.backend().id()), "{name}");
            let others = cluster.members();
            let mut others = others.backends().iter().filter(|one| one.id() != attempt.backend().id());
            assert!(others.all(|other| session.begins_at(other.id())), "{name}");
        }
    }
    let cluster = Cluster::with_settings(&members, settings(KEY), 1, now);
    for unknown in [None, Some(0), value(&cluster, 1).map(|value| value ^ 1)] {
        let (session, attempt) = cluster.resume(&cluster.members(), unknown, now);
        assert!(attempt.is_none() && session == Session::New, "{unknown:?}");
    }
    let other_key = Cluster::with_settings(&members, settings("00112233445566778899aabbccddee00"), 1, now);
    assert_ne!(value(&cluster, 1), value(&other_key, 1));
    assert_eq!(value(&Cluster::with_settings(&members, settings(KEY), 2, now), 1), value(&cluster, 1));
}

#[test]
fn beside_a_change_of_all_members_a_request_finds_a_backend() {
    let now = Instant::now();
    let sets = [9000, 9100].map(|port| [0, 1].map(|i| SocketAddr::from(([127, 0, 0, 1], port + i))));
    let cluster = Cluster::new(&sets[0], Policy::LeastRequests, 1, now);
    let changes = std::thread::scope(|scope| {
        let changing = scope.spawn(|| (0..5000).for_each(|n| cluster.replace(&sets[n % 2])));
        let (mut members, mut picks) = (cluster.members(), 0_u64);
        while !changing.is_finished() {
            while cluster.start(&members, &History::NONE, &mut None, now).is_none() {
                assert!(
                    cluster.refresh(&mut members),
                    "no backend in the current members, after {picks} picks"
                );
            }
            picks += 1;
        }
        changing.join()
    });
    changes.unwrap();
}
