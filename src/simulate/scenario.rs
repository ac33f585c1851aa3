//! The scenarios: what the backends do, how many requests arrive, and what the balancer promises.
use std::net::SocketAddr;
use std::time::Duration;

use super::backend::Behaviour;
use crate::cluster::chance::{Random, mix};
use crate::cluster::{BackendSettings, Cap, CheckSettings, ClusterSettings, HealthSettings, Policy};

/// A scenario. All scenarios have [`BACKENDS`] equal backends, apart from what `behaviour` says.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// One sentence for people.
    pub(super) about: &'static str,
    /// The seconds in which requests arrive.
    pub(super) seconds: u64,
    /// Mean of the requests per second.
    pub(super) rate: f64,
    /// Times as many requests arrive in the fifth of the time after the middle.
    pub(super) surge: f64,
    /// Requests that a backend works on at the same time; further requests wait at the backend.
    pub(super) slots: usize,
    /// When there are more requests than slots, the backend works on all of them at once, and loses this part of its speed
    /// for each `slots` requests too many. None: further requests wait.
    pub(super) thrashing: Option<f64>,
    /// Maximum requests in flight at a backend.
    pub(super) cap: Option<Cap>,
    /// Mean time that a backend needs for a request, of an exponential distribution.
    pub(super) service_ms: f64,
    /// The share of the requests that have the same key.
    pub(super) hot_share: f64,
    pub(super) checks: Option<CheckSettings>,
    pub(super) cluster: ClusterSettings,
    /// What a backend does at a time, in microseconds.
    pub(super) behaviour: fn(usize, u64) -> Behaviour,
    pub(super) promise: Promise,
}

/// What the balancer promises in a scenario. A broken promise is exit code 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Promise {
    /// The p99 of all policies is level within 5 %.
    Level,
    /// `least-requests` and `peak-ewma` have a p99 of at most a third of that of `round-robin`.
    AvoidsTheSlow,
    /// At most this share of the requests has no good response.
    Errors(f64),
    /// With the budget of retries the system recovers in each run.
    Recovers,
    /// For each number of slots, `cap=auto` is nearly as good as the best fixed cap.
    AutoFits,
}

pub(super) const BACKENDS: usize = 10;

/// The fixed caps that `auto-cap` compares, the numbers of slots, and the load: the share of all slots that are busy.
const CAPS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
const SLOTS: [usize; 4] = [2, 4, 8, 16];
const LOAD: f64 = 0.7;

const SECOND: u64 = 1_000_000;
const GOOD: Behaviour = Behaviour::GOOD;
/// Different keys of the requests that do not have the hot key.
const KEYS: u64 = 1000;

impl Scenario {
    fn base() -> Scenario {
        Scenario {
            name: "equal",
            about: "All backends are equal and have room: no policy may do harm.",
            seconds: 5,
            rate: 1000.0,
            surge: 1.0,
            slots: 64,
            thrashing: None,
            cap: Some(Cap::Fixed(64)),
            service_ms: 10.0,
            hot_share: 0.0,
            checks: None,
            cluster: ClusterSettings::default(),
            behaviour: |_, _| GOOD,
            promise: Promise::Level,
        }
    }

    /// Returns all scenarios.
    pub(super) fn all() -> Vec<Scenario> {
        [Scenario::of_speed(), Scenario::of_faults(), Scenario::of_load()].concat()
    }

    /// Backends of equal and of different speed.
    fn of_speed() -> Vec<Scenario> {
        let base = Scenario::base;
        vec![
            base(),
            Scenario {
                name: "one-slow",
                about: "One of ten backends needs ten times as long for each request.",
                slots: 4,
                cap: Some(Cap::Fixed(8)),
                behaviour: |place, _| Behaviour { slowness: if place == 0 { 10.0 } else { 1.0 }, ..GOOD },
                promise: Promise::AvoidsTheSlow,
                ..base()
            },
            Scenario {
                name: "gc-pauses",
                about: "Each backend stops for 200 ms every 2 s, one after the other.",
                slots: 8,
                cap: Some(Cap::Fixed(16)),
                behaviour: |place, now| {
                    let begin = (now / (2 * SECOND)) * 2 * SECOND + place as u64 * 200_000;
                    let paused = (begin..begin + 200_000).contains(&now);
                    Behaviour { paused_until: if paused { begin + 200_000 } else { 0 }, ..GOOD }
                },
                promise: Promise::Errors(0.001),
                ..base()
            },
            Scenario {
                name: "slow-connect",
                about: "One of ten backends needs 300 ms more to accept a connection.",
                slots: 4,
                cap: Some(Cap::Fixed(8)),
                behaviour: |place, _| Behaviour { connect_us: if place == 0 { 300_000 } else { 0 }, ..GOOD },
                promise: Promise::AvoidsTheSlow,
                ..base()
            },
        ]
    }

    /// Backends that fail.
    fn of_faults() -> Vec<Scenario> {
        let base = || Scenario { slots: 4, cap: Some(Cap::Fixed(8)), ..Scenario::base() };
        vec![
            Scenario {
                name: "one-fails-fast",
                about: "From second 1 to 4, one of ten backends answers 500 at once.",
                behaviour: |place, now| {
                    let fails = place == 0 && (SECOND..4 * SECOND).contains(&now);
                    Behaviour { fails: f64::from(u8::from(fails)), ..GOOD }
                },
                promise: Promise::Errors(0.01),
                ..base()
            },
            Scenario {
                name: "rolling-restart",
                about: "The backends restart one after the other; each refuses connections for 300 ms.",
                behaviour: |place, now| {
                    let begin = place as u64 * 400_000 + 500_000;
                    Behaviour { refuses: (begin..begin + 300_000).contains(&now), ..GOOD }
                },
                promise: Promise::Errors(0.0),
                ..base()
            },
            Scenario {
                name: "hanging",
                about: "From second 1 to 4, one of ten backends accepts requests and does not answer. Checks run.",
                checks: Some(CheckSettings {
                    interval: Duration::from_millis(200),
                    fall: 2,
                    ..CheckSettings::default()
                }),
                behaviour: |place, now| {
                    let hangs = place == 0 && (SECOND..4 * SECOND).contains(&now);
                    Behaviour { paused_until: if hangs { 4 * SECOND } else { 0 }, ..GOOD }
                },
                promise: Promise::Errors(0.0),
                ..base()
            },
        ]
    }

    /// Requests that come unevenly, or that are too many.
    fn of_load() -> Vec<Scenario> {
        let base = || Scenario { slots: 4, cap: Some(Cap::Fixed(8)), ..Scenario::base() };
        vec![
            Scenario {
                name: "hot-key",
                about: "Every third request has the same key.",
                hot_share: 0.33,
                promise: Promise::Errors(0.001),
                ..base()
            },
            Scenario {
                name: "overload",
                about: "Half more requests arrive than the backends can carry. The queue is bounded.",
                seconds: 3,
                rate: 6000.0,
                // Two thirds can be carried at best.
                promise: Promise::Errors(0.35),
                ..base()
            },
            Scenario {
                name: "metastable",
                about: "For 3 s all backends are six times slower. Requests that time out are repeated.",
                seconds: 40,
                rate: 240.0,
                slots: 1,
                cap: None,
                service_ms: 25.0,
                behaviour: |_, now| {
                    let slow = (3 * SECOND..6 * SECOND).contains(&now);
                    Behaviour { slowness: if slow { 6.0 } else { 1.0 }, ..GOOD }
                },
                cluster: ClusterSettings {
                    health: HealthSettings { passive: false, ..HealthSettings::default() },
                    ..ClusterSettings::default()
                },
                promise: Promise::Recovers,
                ..base()
            },
            Scenario {
                name: "auto-cap",
                about: "Backends that thrash beyond k requests at a time, with each cap; by default only least-requests.",
                seconds: 40,
                rate: 2000.0,
                surge: 1.15,
                thrashing: Some(0.4),
                promise: Promise::AutoFits,
                ..base()
            },
        ]
    }

    /// Returns the systems that are compared: in nearly all scenarios one.
    pub(super) fn variants(&self) -> Vec<Scenario> {
        if self.promise != Promise::AutoFits {
            return vec![self.clone()];
        }
        let caps = || CAPS.map(Cap::Fixed).into_iter().chain([Cap::Auto]);
        let variant = |slots: usize, cap| {
            // The same load for each number of slots.
            let service_ms = LOAD * 1000.0 * (BACKENDS * slots) as f64 / self.rate;
            Scenario { slots, cap: Some(cap), service_ms, ..self.clone() }
        };
        SLOTS.into_iter().flat_map(|slots| caps().map(move |cap| variant(slots, cap))).collect()
    }

    /// Returns the requests per second at a time, in microseconds.
    pub(super) fn rate_at(&self, now: u64) -> f64 {
        let fifth = self.seconds * SECOND / 5;
        let surges = (fifth * 5 / 2..fifth * 7 / 2).contains(&now);
        if surges { self.rate * self.surge } else { self.rate }
    }

    /// Returns the policies that are compared when the caller names none.
    pub(super) fn policies(&self) -> Vec<Policy> {
        match self.promise {
            Promise::AutoFits => vec![Policy::LeastRequests],
            _ => Policy::ALL.to_vec(),
        }
    }

    pub(super) fn settings(&self) -> Vec<BackendSettings> {
        let address = |n: usize| SocketAddr::from(([127, 0, 0, 1], 9000 + n as u16));
        (0..BACKENDS).map(|n| BackendSettings { cap: self.cap, ..address(n).into() }).collect()
    }

    pub(super) fn behaviour(&self, backend: usize, now: u64) -> Behaviour {
        (self.behaviour)(backend, now)
    }

    /// Returns the hash of the key of a request.
    pub(super) fn key(&self, random: &mut Random) -> u64 {
        let is_hot = random.uniform() <= self.hot_share;
        mix(if is_hot { 0 } else { 1 + random.below(KEYS) })
    }
}
