//! The facts of `/status.json`.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::facts::{ConfigurationFacts, EngineFacts};
use super::past::{Past, Second, ms};
use crate::cluster::names::Name;
use crate::cluster::{AttemptEnd, Backend, Considered, Exclusion, Failure, Outcome, Picked};
use crate::observe::durations::Durations;
use crate::router::{NamedCluster, Router};

/// Number of picks that the status shows.
const PICKS: usize = 20;

/// How a balancer does at one moment.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The version of the program.
    pub version: &'static str,
    /// The name of the engine.
    pub engine: String,
    /// Number of workers.
    pub workers: usize,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// False during a drain.
    pub ready: bool,
    /// The reloads of the configuration file and the certificates; null without them.
    pub configuration: Option<ConfigurationFacts>,
    /// Where clients connect.
    pub listeners: Vec<SocketAddr>,
    /// Open client connections.
    pub clients: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that have failed: with 5xx, or without a whole response although the client had not left.
    pub failed: u64,
    /// The name of the policy; of several clusters, the names of their policies.
    pub policy: String,
    /// Requests that wait until a backend has room.
    pub waiting: usize,
    /// Retries that the budget has allowed.
    pub retries: u64,
    /// Retries that the budget has refused.
    pub retries_refused: u64,
    /// Lines of the access log that were dropped; null without an access log.
    pub access_log_dropped: Option<u64>,
    /// The backends.
    pub backends: Vec<BackendStatus>,
    /// The counters of all workers together.
    pub counters: BTreeMap<&'static str, u64>,
    /// The traffic of each of the last seconds, the oldest first.
    pub seconds: Vec<Second>,
    /// The last picks, the newest first. They are recorded only while somebody asks for the status.
    pub picks: Vec<PickStatus>,
}

/// How a backend does. `neraca status` reads it, too.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct BackendStatus {
    /// The name of the cluster.
    #[serde(default)]
    pub cluster: String,
    /// The address.
    pub address: String,
    /// The DNS name that the address comes from; null when the settings say the address.
    #[serde(default)]
    pub name: Option<String>,
    /// `healthy`, or the reason why it gets no request: `draining`, `down`, `ejected`, `probed` or `full`.
    pub state: String,
    /// The state in a sentence.
    pub reason: String,
    /// The weight.
    pub weight: u32,
    /// Maximum requests in flight; null without a limit.
    pub cap: Option<u32>,
    /// Requests in flight.
    pub in_flight: u32,
    /// Attempts so far.
    pub attempts: u64,
    /// Failed attempts so far, by reason, without zeros.
    pub failures: BTreeMap<String, u64>,
    /// Percent of all attempts of the cluster so far.
    pub share_percent: f64,
    /// Half of the responses began within so many milliseconds; null without a response.
    pub p50_ms: Option<f64>,
    /// 99 % of the responses began within so many milliseconds; null without a response.
    pub p99_ms: Option<f64>,
}

/// A pick, with what the policy knew of each backend.
#[derive(Debug, Serialize)]
pub struct PickStatus {
    number: u64,
    picked: SocketAddr,
    outcome: Option<String>,
    candidates: Vec<String>,
}

impl Status {
    pub(super) fn of(
        router: &Router,
        facts: &EngineFacts,
        past: &Past,
        uptime: Duration,
        now: Instant,
    ) -> Self {
        let (clusters, traffic) = (router.clusters(), router.traffic().unwrap_or_default());
        let backends = clusters.iter().flat_map(|one| {
            let members = one.cluster.members();
            let attempts = members.backends().iter().map(|backend| backend.counts().started).sum();
            let backends = members.backends().iter().map(|backend| {
                let durations = traffic.backends.get(&backend.id()).copied().unwrap_or_default();
                let name = one.origin(backend.address()).map(Name::to_string);
                let status = BackendStatus::of(backend, &one.name, attempts, &durations, now);
                BackendStatus { name, ..status }
            });
            backends.collect::<Vec<_>>()
        });
        let total = traffic.total();
        let (retries, retries_refused) = sum_of_retries(&clusters);
        let mut picks: Vec<_> = clusters.iter().flat_map(|one| one.cluster.picks_since(0)).collect();
        picks.sort_by_key(|picked| picked.at);
        let mut policies: Vec<_> =
            clusters.iter().map(|one| one.cluster.members().policy().to_string()).collect();
        policies.dedup();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            engine: facts.engine.clone(),
            workers: facts.workers.len(),
            uptime_s: uptime.as_secs_f64(),
            ready: facts.is_ready,
            configuration: facts.configuration.clone(),
            listeners: facts.listeners.iter().map(|(_, address)| *address).collect(),
            clients: facts.counter("accepted").saturating_sub(facts.counter("closed")),
            requests: total.total(),
            failed: total.failed(),
            policy: policies.join(", "),
            waiting: clusters.iter().map(|one| one.cluster.waiting()).sum(),
            retries,
            retries_refused,
            access_log_dropped: facts.access_log_dropped,
            backends: backends.collect(),
            counters: facts.counters().into_iter().map(|(name, _, value)| (name, value)).collect(),
            seconds: past.seconds(),
            picks: picks.iter().rev().take(PICKS).map(PickStatus::of).collect(),
        }
    }
}

impl BackendStatus {
    fn of(backend: &Backend, cluster: &str, all_attempts: u64, durations: &Durations, now: Instant) -> Self {
        let (counts, exclusion) = (backend.counts(), backend.exclusion(now));
        let failures = Failure::ALL.into_iter().map(|failure| (failure.to_string(), counts.failed(failure)));
        let failures: BTreeMap<_, _> = failures.filter(|(_, count)| *count > 0).collect();
        let quantile = |share| durations.quantile(share).map(ms);
        BackendStatus {
            cluster: cluster.to_owned(),
            address: backend.address().to_string(),
            name: None,
            state: exclusion.map_or_else(|| "healthy".to_owned(), |reason| reason.to_string()),
            reason: exclusion.map_or("gets requests", explain).to_owned(),
            weight: backend.weight(),
            cap: backend.cap(),
            in_flight: backend.in_flight(),
            attempts: counts.started,
            failures,
            share_percent: counts.started as f64 * 100.0 / all_attempts.max(1) as f64,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }
    }
}

/// Returns the retries that the budgets have allowed, and that they have refused.
pub(super) fn sum_of_retries(clusters: &[NamedCluster]) -> (u64, u64) {
    let retries = clusters.iter().map(|one| one.cluster.retries());
    retries.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Returns the state in a sentence without a subject.
fn explain(exclusion: Exclusion) -> &'static str {
    match exclusion {
        Exclusion::Removed => "belongs to the cluster no more",
        Exclusion::Draining => "gets no new requests, except of its sessions",
        Exclusion::Down => "fails its active checks",
        Exclusion::Ejected => "failed requests or connects, and is left out for some seconds",
        Exclusion::Probed => "gets one request at a time until a request works",
        Exclusion::Full => "has as many requests in flight as its cap",
        Exclusion::Tried => "has failed this request",
    }
}

impl PickStatus {
    fn of(picked: &Picked) -> Self {
        let described = |one: &Considered| {
            let knows = match one.weight {
                Ok(weight) => format!("{} in flight, weight {weight}", one.in_flight),
                Err(exclusion) => exclusion.to_string(),
            };
            let latency = one.latency.map(|latency| format!(", {:.1} ms", ms(latency)));
            format!("{}: {knows}{}", one.address, latency.unwrap_or_default())
        };
        PickStatus {
            number: picked.number,
            picked: picked.considered[picked.place].address,
            outcome: picked.outcome.map(outcome),
            candidates: picked.considered.iter().map(described).collect(),
        }
    }
}

fn outcome(outcome: Outcome) -> String {
    match (outcome.end, outcome.status) {
        (AttemptEnd::Answered, Some(status)) => status.to_string(),
        (AttemptEnd::Answered, None) => "answered".to_owned(),
        (AttemptEnd::Abandoned, _) => "abandoned".to_owned(),
        (AttemptEnd::Failed(failure), _) => failure.to_string(),
    }
}
