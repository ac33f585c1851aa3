//! A cluster of backends: its members, the policies that pick a backend, health, attempts, retries, and kept connections.
//! Pure: no clock, no sockets.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

mod attempt;
mod backend;
mod backend_id;
pub(crate) mod chance;
mod end;
mod health;
mod history;
mod idle;
mod idle_time;
mod latency;
mod limit;
mod members;
pub mod names;
mod outliers;
mod picks;
mod policy;
mod queue;
mod retries;
mod settings;
mod standing;
mod state;
mod sticky;

pub use attempt::{Admission, Attempt, Start};
pub(crate) use attempt::{Attempts, Next, Progress};
pub use backend::{AttemptCounts, Backend};
pub use backend_id::BackendId;
pub use end::{AttemptEnd, Failure, Outcome};
pub use health::SILENCES_MAX;
pub use health::active::CheckState;
pub use history::{History, Tried};
#[doc(hidden)]
pub use idle::{Freshness, IdlePool};
pub use members::Members;
pub use picks::{Considered, Exclusion, Picked};
pub(crate) use queue::Entered;
pub use queue::Slots;
pub use settings::{
    BackendSettings, Cap, CheckRequest, CheckSettings, ClusterSettings, HashKey, HealthSettings, Policy,
    RetrySettings, UnknownPolicy,
};
pub use sticky::{CookieName, InvalidSticky, Session, StickyKey, StickySettings};

/// A slot of a backend with a limit.
pub type Permit = queue::Permit<Backend>;
/// A place in the queue of a cluster.
pub(crate) type Place = queue::Place<Backend>;

use backend::WEIGHT_PARTS;
use policy::candidates::Candidates;
use queue::Queue;
use state::{ClusterState, Others};

/// A group of backends and the policy that picks one of them. All workers share it; a pick takes no lock.
#[derive(Debug)]
pub struct Cluster {
    state: Arc<ClusterState>,
    /// The generation of `members`.
    generation: AtomicU64,
    members: Mutex<Arc<Members>>,
    /// The requests that wait until a backend has room.
    queue: Arc<Queue<Backend>>,
}

impl Cluster {
    /// Makes a cluster of equal backends with the default settings. See [`Cluster::with_settings`].
    pub fn new(addresses: &[SocketAddr], policy: Policy, seed: u64, epoch: Instant) -> Self {
        let backends: Vec<BackendSettings> = addresses.iter().map(|&address| address.into()).collect();
        Cluster::with_settings(
            &backends,
            ClusterSettings { policy, ..ClusterSettings::default() },
            seed,
            epoch,
        )
    }

    /// Makes a cluster in which every backend is healthy. The same seed makes the same choices. Times are stored as
    /// milliseconds since `epoch`, so every later `now` must not lie before `epoch`.
    pub fn with_settings(
        backends: &[BackendSettings],
        settings: ClusterSettings,
        seed: u64,
        epoch: Instant,
    ) -> Self {
        let state = ClusterState::new(seed, epoch);
        let members = Arc::new(Members::new(backends, settings, &state));
        state.set_others(weak(&members), members.settings());
        let generation = AtomicU64::new(members.generation());
        Cluster { state, generation, members: Mutex::new(members), queue: Queue::new() }
    }

    /// Returns the seed and the epoch that the cluster was made with.
    pub(crate) fn origin(&self) -> (u64, Instant) {
        (self.state.seed, self.state.epoch)
    }

    /// Returns the number of requests that wait until a backend has room.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Sets the state of the backends that were never checked.
    pub fn begin_checks(&self, settings: &CheckSettings) {
        let members = self.members();
        let unchecked =
            members.backends().iter().filter(|backend| backend.check_state() == CheckState::Unchecked);
        unchecked.for_each(|backend| backend.begin_checks(settings));
    }

    /// Returns the number of retries that the budget has allowed, and the number that it has refused.
    pub fn retries(&self) -> (u64, u64) {
        self.state.retries.counts()
    }

    /// Replaces the members while requests run. A backend whose address stays keeps its counters, its health and its
    /// connections. A removed backend gets no new request. Its running requests go on to their end. The engine closes
    /// its kept connections at its next periodic check.
    pub fn replace<B: Clone + Into<BackendSettings>>(&self, backends: &[B]) {
        let backends: Vec<BackendSettings> = backends.iter().cloned().map(Into::into).collect();
        self.renew(&backends, None);
    }

    /// Replaces the members and the settings while requests run. What [`Cluster::replace`] keeps is kept. A request that has
    /// picked its backend does not notice. Requests that wait in the queue stay there, also when the new queue is shorter. An
    /// ejection that has begun ends at its time.
    pub fn apply(&self, backends: &[BackendSettings], settings: &ClusterSettings) {
        self.renew(backends, Some(settings));
    }

    /// None: the settings stay.
    fn renew(&self, backends: &[BackendSettings], settings: Option<&ClusterSettings>) {
        let mut members = self.members.lock();
        let settings = settings.unwrap_or(members.settings()).clone();
        let (next, gone) = members.replaced_by(backends, settings);
        *members = Arc::new(next);
        self.state.set_others(weak(&members), members.settings());
        self.generation.store(members.generation(), Ordering::Release);
        // A worker that finds only removed backends must see that its snapshot is outdated.
        gone.iter().for_each(|backend| backend.remove());
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

    /// Begins an attempt like [`Cluster::pick`], or returns the way into the queue when no backend has room. A request
    /// that waited in the queue has a permit, and the attempt uses this permit. Returns None when no backend is left, or
    /// when the budget allows no retry.
    pub fn start(
        &self,
        members: &Arc<Members>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: Instant,
    ) -> Option<Start> {
        if let Some(permit) = permit.take()
            && !permit.backend().is_removed()
        {
            let backend = Arc::clone(permit.backend());
            return Some(Start::Attempt(Attempt::with(&backend, Some(permit), None, now)));
        }
        let candidates = self.candidates(members, history.tried, now);
        self.allow(candidates, history)?;
        // A newcomer does not overtake those who wait.
        let overtakes = self.queue.waiting() > 0;
        let attempt = if overtakes { None } else { self.find(candidates, history, now) };
        match attempt {
            Some(attempt) => Some(Start::Attempt(attempt)),
            None => self.wait(candidates, members),
        }
    }

    /// Returns the way into the queue; None when no backend is left.
    #[cold]
    fn wait(&self, candidates: Candidates<'_>, members: &Arc<Members>) -> Option<Start> {
        if !is_possible(candidates) {
            return None;
        }
        let (queue, members) = (Arc::clone(&self.queue), Arc::clone(members));
        Some(Start::Wait(Admission { queue, members, tried: candidates.tried.clone() }))
    }

    /// Begins an attempt at the backend that a session cookie with this value names. None when the value names no backend,
    /// or when the backend is out or full. Then the policy picks ([`Cluster::start`]). A full backend keeps the session.
    pub fn resume(&self, members: &Members, value: Option<u64>, now: Instant) -> (Session, Option<Attempt>) {
        let candidates = self.candidates(members, History::NONE.tried, now);
        let takes = |backend: &&Arc<Backend>| backend.takes_session(candidates.now_ms(), candidates.panic);
        let Some(backend) = value.and_then(|value| members.named_by(value)).filter(takes) else {
            return (Session::New, None);
        };
        // A newcomer does not overtake those who wait.
        let overtakes = self.queue.waiting() > 0;
        match if overtakes { None } else { self.begin(candidates, backend, now) } {
            Some(attempt) => (Session::At(backend.id()), Some(attempt)),
            None => (Session::Unchanged, None),
        }
    }

    /// Begins an attempt at a backend that was not tried and that has room. The policy picks among the available
    /// backends. When no backend is available, or so few that the cluster is in a panic
    /// ([`HealthSettings::panic_percent`]), the policy picks among all backends. A failed attempt more costs less than an
    /// error for the client. Returns None when no backend is left, or when the budget allows no retry ([`RetrySettings`]).
    pub fn pick(&self, members: &Members, history: &History<'_>, now: Instant) -> Option<Attempt> {
        let candidates = self.candidates(members, history.tried, now);
        self.allow(candidates, history)?;
        self.find(candidates, history, now)
    }

    fn candidates<'a>(&self, members: &'a Members, tried: &'a Tried, now: Instant) -> Candidates<'a> {
        Candidates { members, tried, now, panic: self.state.panics(), full: false }
    }

    /// Lets the policy choose. When there is no candidate, ejected backends are candidates too.
    fn choose<'a>(&self, candidates: Candidates<'a>, history: &History<'_>) -> Option<&'a Arc<Backend>> {
        let pick = |candidates| policy::pick(&candidates, history.key, &self.state);
        pick(candidates).or_else(|| {
            // A full backend is available: the request waits for it rather than try one that is out.
            let is_full = Candidates { full: true, ..candidates }.any();
            if is_full { None } else { pick(Candidates { panic: true, ..candidates }) }
        })
    }

    /// Returns None when the attempt would be a retry that the budget does not allow, or that has no backend left.
    fn allow(&self, candidates: Candidates<'_>, history: &History<'_>) -> Option<()> {
        if !history.reached {
            return Some(());
        }
        // Without a backend the retry costs nothing.
        if !is_possible(candidates) {
            return None;
        }
        let attempts = candidates.members.backends().iter().map(|backend| backend.started()).sum();
        let settings = &candidates.members.settings().retries;
        self.state.retries.take(settings, attempts, candidates.now_ms()).then_some(())
    }

    /// Finds a backend with room, and begins an attempt. None when no backend has room.
    #[inline]
    fn find(&self, candidates: Candidates<'_>, history: &History<'_>, now: Instant) -> Option<Attempt> {
        loop {
            let backend = self.choose(candidates, history)?;
            // Another worker may have taken the last slot. Then the policy chooses again.
            if let Some(attempt) = self.begin(candidates, backend, now) {
                return Some(attempt);
            }
        }
    }

    /// Begins an attempt at this backend. None when it has no room.
    #[inline(always)] // An attempt is large, so it is made in its place.
    fn begin(&self, candidates: Candidates<'_>, backend: &Arc<Backend>, now: Instant) -> Option<Attempt> {
        let is_capped = backend.cap().is_some();
        if is_capped && !backend.take_slot() {
            return None;
        }
        let record = self.state.picks.are_watched().then(|| self.explain(candidates, backend));
        let permit = is_capped.then(|| Permit::of(&self.queue, backend));
        Some(Attempt::with(backend, permit, record, now))
    }

    /// Records a pick, before its attempt begins. Returns its number.
    fn explain(&self, candidates: Candidates<'_>, picked: &Arc<Backend>) -> u64 {
        // The slot of the picked backend is already taken.
        let judge = |candidates: Candidates<'_>, one: &Arc<Backend>| {
            let full = one.id() == picked.id();
            Candidates { full, ..candidates }.judge(one).map(|one| one.weight as f32 / WEIGHT_PARTS as f32)
        };
        // A session goes to a draining backend without a panic.
        let out = |reason| reason != Exclusion::Draining;
        let panic = candidates.panic || judge(candidates, picked).is_err_and(out);
        let candidates = Candidates { panic, ..candidates };
        let backends = candidates.members.backends();
        let considered = backends.iter().map(|one| Considered {
            address: one.address(),
            in_flight: one.in_flight(),
            weight: judge(candidates, one),
            latency: one.latency().average(),
        });
        self.state.picks.add(Picked {
            number: 0,
            at: Duration::from_millis(candidates.now_ms()),
            place: backends.iter().position(|one| one.id() == picked.id()).unwrap_or_default(),
            panic,
            considered: considered.collect(),
            outcome: None,
        })
    }

    /// Begins or ends the record of picks. It costs something for each request, so it is off at first.
    pub fn watch_picks(&self, watched: bool) {
        self.state.picks.watch(watched);
    }

    /// Returns the last picks with this number and later, with their reasons, the oldest first; at most 256.
    pub fn picks_since(&self, number: u64) -> Vec<Picked> {
        self.state.picks.since(number)
    }

    /// Serves waiting requests after changes that no attempt has made: the end of an ejection, a good check, new members.
    /// Call it now and then; it costs one atomic load while nobody waits.
    pub fn sweep(&self, now: Instant) {
        if self.queue.waiting() == 0 {
            return;
        }
        let (members, tried) = (self.members(), Tried::default());
        let candidates = self.candidates(&members, &tried, now);
        let is_any = Candidates { full: true, ..candidates }.any();
        let candidates = Candidates { panic: candidates.panic || !is_any, ..candidates };
        for backend in members.backends().iter().filter(|one| candidates.judge(one).is_ok()) {
            while self.queue.waiting() > 0 && backend.take_slot() && self.queue.grant(backend) {
                // One request finds out whether the backend works again.
                if backend.is_ejected() && !candidates.panic {
                    break;
                }
            }
        }
    }
}

/// True when a backend is left, which may be full or out.
fn is_possible(candidates: Candidates<'_>) -> bool {
    Candidates { full: true, panic: true, ..candidates }.any()
}

impl Drop for Cluster {
    /// Marks the backends as removed, so that the engine closes their kept connections.
    fn drop(&mut self) {
        self.members.get_mut().backends().iter().for_each(|backend| backend.remove());
    }
}

fn weak(members: &Arc<Members>) -> Weak<dyn Others> {
    let weak: Weak<Members> = Arc::downgrade(members);
    weak
}

#[cfg(test)]
mod tests;
