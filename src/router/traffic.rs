//! The finished requests of a balancer: each worker counts its own, and a reader adds the counts up.
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::app::{Client, Finished, ListenerId};
use crate::cluster::{AttemptEnd, BackendId};
use crate::observe::durations::Durations;
use crate::observe::requests::Requests;

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// The requests of each listener.
    pub listeners: BTreeMap<ListenerId, Requests>,
    /// The time from the begin of an attempt to the first byte of its response, for each backend. A request with more
    /// than one attempt counts only its last one.
    pub backends: BTreeMap<BackendId, Durations>,
}

impl Traffic {
    /// Counts a finished request.
    fn add(&mut self, client: &Client<'_>, request: &Finished<'_>) {
        let is_tunnel = request.status == Some(101);
        let duration = (!is_tunnel).then(|| request.duration());
        count(&mut self.listeners, client.listener, |requests| {
            requests.add(request.status, request.end, duration);
        });
        if let Some(attempt) = request.attempt
            && let Some(outcome) = attempt.outcome()
            && outcome.end == AttemptEnd::Answered
            && let Some(first_byte) = outcome.first_byte
        {
            count(&mut self.backends, attempt.backend().id(), |durations| durations.add(first_byte));
        }
    }

    fn merge(&mut self, other: &Traffic) {
        for (listener, requests) in &other.listeners {
            self.listeners.entry(*listener).or_default().merge(requests);
        }
        for (backend, durations) in &other.backends {
            self.backends.entry(*backend).or_default().merge(durations);
        }
    }

    /// Returns the requests of all listeners.
    pub fn total(&self) -> Requests {
        let mut total = Requests::default();
        self.listeners.values().for_each(|requests| total.merge(requests));
        total
    }
}

/// Changes the counts of a key. They are nearly always there, so only the first time pays for an entry of the map.
fn count<K: Ord, V: Default>(counts: &mut BTreeMap<K, V>, key: K, add: impl FnOnce(&mut V)) {
    match counts.get_mut(&key) {
        Some(counts) => add(counts),
        None => add(counts.entry(key).or_default()),
    }
}

/// The counts of one worker. Only this worker and a reader of the counts take the lock.
#[derive(Debug, Default)]
pub(super) struct OfWorker(Mutex<Traffic>);

impl OfWorker {
    pub(super) fn add(&self, client: &Client<'_>, request: &Finished<'_>) {
        self.0.lock().add(client, request);
    }
}

/// The counts of all workers.
#[derive(Debug, Default)]
pub(super) struct AllTraffic(Mutex<Vec<Arc<OfWorker>>>);

impl AllTraffic {
    /// Makes the counts of one more worker.
    pub(super) fn of_new_worker(&self) -> Arc<OfWorker> {
        let counts = Arc::default();
        self.0.lock().push(Arc::clone(&counts));
        counts
    }

    pub(super) fn sum(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.0.lock().iter().for_each(|worker| sum.merge(&worker.0.lock()));
        sum
    }
}
