//! One server of a cluster, with the counters of its attempts.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::backend_id::BackendId;
use super::chance::hash;
use super::end::{AttemptEnd, Failure, Outcome};
use super::health::active::{CheckState, Checked};
use super::health::window::Window;
use super::health::{Health, Phase};
use super::idle_time::IdleTime;
use super::latency::Latency;
use super::limit::{Limit, Sample};
use super::picks::Exclusion;
use super::queue::Slots;
use super::settings::{BackendSettings, Cap, CheckSettings};
use super::standing::{CAPPED, DOWN, DRAINING, REMOVED, Standing, Stands, Tally, UNSTEADY};
use super::state::ClusterState;
use crate::http::proxy_protocol::Version;
use crate::http::transform::TransformFactory;

/// One server of a cluster, with its health and the counters of its attempts.
// A pick reads the first fields of every backend, so they are in one cache line: all up to the first two fields of
// `health`. Two backends never share a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Backend {
    tally: Tally,
    standing: Standing,
    /// Maximum requests in flight; 0 without a limit. And the slots in use, which are counted only with a limit.
    cap: AtomicU32,
    taken: AtomicU32,
    latency: Latency,
    /// The next turn in the virtual time of `round-robin`.
    turn: AtomicU64,
    health: Health,
    id: BackendId,
    hash: u64,
    address: SocketAddr,
    proxy_protocol: Option<Version>,
    transform: Option<TransformFactory>,
    /// The reason why the last handshake of a transform failed; None after a good one.
    handshake_error: Mutex<Option<Box<str>>>,
    abandoned: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
    /// True when `cap` follows `limit`.
    adapts: AtomicBool,
    limit: Mutex<Limit>,
    window: Window,
    checked: Checked,
    idle_time: IdleTime,
    cluster: Arc<ClusterState>,
}

/// Parts of a weight of 1.
pub(crate) const WEIGHT_PARTS: u32 = 1024;

/// The counts of the attempts at one backend since it was added: one count per result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// Attempts that began.
    pub started: u64,
    /// Attempts that got a whole response.
    pub answered: u64,
    /// Attempts that ended as [`AttemptEnd::Abandoned`].
    pub abandoned: u64,
    /// Failed attempts by reason, in the order of [`Failure::ALL`].
    pub failed: [u64; Failure::ALL.len()],
}

impl AttemptCounts {
    /// Returns the number of attempts that failed with `failure`.
    pub fn failed(&self, failure: Failure) -> u64 {
        self.failed[failure as usize]
    }

    /// Returns the number of all attempts that ended.
    pub fn ended(&self) -> u64 {
        self.answered + self.abandoned + self.failed.iter().sum::<u64>()
    }
}

impl Backend {
    pub(super) fn new(settings: &BackendSettings, cluster: &Arc<ClusterState>) -> Self {
        let backend = Backend {
            tally: Tally::default(),
            standing: Standing::default(),
            id: BackendId::unused(),
            health: Health::default(),
            cap: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            latency: Latency::default(),
            turn: AtomicU64::new(0),
            hash: hash(settings.address.to_string().as_bytes()),
            address: settings.address,
            proxy_protocol: settings.proxy_protocol,
            transform: settings.transform.clone(),
            handshake_error: Mutex::default(),
            abandoned: AtomicU64::new(0),
            failed: Default::default(),
            adapts: AtomicBool::new(false),
            limit: Mutex::new(Limit::new(cluster.epoch)),
            window: Window::default(),
            checked: Checked::default(),
            idle_time: IdleTime::default(),
            cluster: Arc::clone(cluster),
        };
        backend.set(settings);
        backend
    }

    /// Makes a backend for a test, in a cluster of its own.
    #[cfg(test)]
    pub(super) fn alone(address: SocketAddr, epoch: Instant) -> Arc<Self> {
        Arc::new(Backend::new(&address.into(), &ClusterState::new(1, epoch)))
    }

    /// Returns the backend's identity.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Returns the address that the backend listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of attempts that have begun and have not ended.
    pub fn in_flight(&self) -> u32 {
        self.tally.in_flight()
    }

    /// Returns the counters of the attempts.
    pub fn counts(&self) -> AttemptCounts {
        let failed = std::array::from_fn(|kind| self.failed[kind].load(Relaxed));
        let abandoned = self.abandoned.load(Relaxed);
        let unanswered = abandoned + failed.iter().sum::<u64>();
        AttemptCounts {
            answered: self.tally.ended().saturating_sub(unanswered),
            abandoned,
            failed,
            started: self.tally.started(),
        }
    }

    /// Returns the number of attempts that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.tally.ended()
    }

    /// Returns the number of attempts that have begun.
    pub(super) fn started(&self) -> u64 {
        self.tally.started()
    }

    /// True when the backend may get a request.
    pub fn available(&self, now: Instant) -> bool {
        self.weight_for(self.cluster.ms(now), false).is_ok()
    }

    /// Returns the reason why the backend gets no request now; None when it may get one.
    pub fn exclusion(&self, now: Instant) -> Option<Exclusion> {
        let full = (!self.has_room()).then_some(Exclusion::Full);
        self.weight_for(self.cluster.ms(now), false).err().or(full)
    }

    /// Returns the weight for a pick, in parts of 1/[`WEIGHT_PARTS`], in the usual case: the backend is healthy, gets its full
    /// share, and has room. None says nothing; see [`Backend::weight_for`].
    pub(super) fn usual_weight(&self, full: bool) -> Option<u32> {
        let stands = self.standing.get();
        let is_usual = !stands.has(REMOVED | DRAINING | DOWN | UNSTEADY)
            && (!stands.has(CAPPED) || full || self.has_room());
        is_usual.then(|| stands.weight() * WEIGHT_PARTS)
    }

    /// Returns the weight for a pick, in parts of 1/[`WEIGHT_PARTS`], or the reason why the backend may not be picked. In a
    /// panic, a backend that is ejected or down may be picked too.
    pub(super) fn weight_for(&self, now_ms: u64, panic: bool) -> Result<u32, Exclusion> {
        let stands = self.standing.get();
        if stands.has(DRAINING) && !stands.has(REMOVED) {
            return Err(Exclusion::Draining);
        }
        self.weight_with(stands, now_ms, panic)
    }

    /// True when the backend takes a request of a session that it serves. Sessions go on while the backend is draining.
    pub(super) fn takes_session(&self, now_ms: u64, panic: bool) -> bool {
        self.weight_with(self.standing.get(), now_ms, panic).is_ok()
    }

    /// Returns the weight, whether the backend is draining or not.
    fn weight_with(&self, stands: Stands, now_ms: u64, panic: bool) -> Result<u32, Exclusion> {
        if stands.has(REMOVED) {
            return Err(Exclusion::Removed);
        }
        if stands.has(DOWN) && !panic {
            return Err(Exclusion::Down);
        }
        let parts = stands.weight() * WEIGHT_PARTS;
        if !stands.has(UNSTEADY) {
            return Ok(parts);
        }
        match self.health.phase(now_ms) {
            Phase::Ejected if !panic => return Err(Exclusion::Ejected),
            Phase::Probing if !panic && self.in_flight() > 0 => return Err(Exclusion::Probed),
            _ => {}
        }
        let share = self.health.share_of(parts, now_ms, self.cluster.slow_start());
        if self.health.is_calm() {
            self.standing.mark(UNSTEADY, false);
            // Another worker may have ejected the backend meanwhile. It ejects first, and sets the flag then.
            if !self.health.is_calm() {
                self.standing.mark(UNSTEADY, true);
            }
        }
        Ok(share)
    }

    /// True when the backend is ejected, probed or down, and the others carry its requests.
    pub(super) fn is_out(&self) -> bool {
        self.standing.get().has(REMOVED | DRAINING | DOWN) || self.health.is_disturbed()
    }

    /// Returns the version of the PROXY protocol in which each connection to the backend names the client.
    pub fn proxy_protocol(&self) -> Option<Version> {
        self.proxy_protocol
    }

    /// Returns what makes the transform of each connection to the backend; None when their bytes are HTTP.
    pub fn transform(&self) -> Option<&TransformFactory> {
        self.transform.as_ref()
    }

    /// Notes how the handshake of a transform ended: the reason of its failure, or None. Returns true when the one before
    /// ended in another way, so that a log tells each reason once.
    pub fn note_handshake(&self, error: Option<&str>) -> bool {
        let last = std::mem::replace(&mut *self.handshake_error.lock(), error.map(Into::into));
        last.as_deref() != error
    }

    /// Returns the backend's weight.
    pub fn weight(&self) -> u32 {
        self.standing.get().weight()
    }

    /// Changes what a new configuration changes.
    pub(super) fn set(&self, settings: &BackendSettings) {
        self.standing.set_weight(settings.weight);
        let limit = self.limit.lock();
        let cap = match settings.cap {
            None => 0,
            Some(Cap::Fixed(cap)) => cap,
            Some(Cap::Auto) => limit.get(),
        };
        self.adapts.store(settings.cap == Some(Cap::Auto), Relaxed);
        self.cap.store(cap, Relaxed);
        self.standing.mark(CAPPED, cap > 0);
    }

    /// Returns the maximum of requests in flight; None without a limit.
    pub fn cap(&self) -> Option<u32> {
        Some(self.cap.load(Relaxed)).filter(|&cap| cap > 0)
    }

    /// Returns the slots of a limit that are in use. A slot that a waiting request was granted is in use.
    pub fn slots_taken(&self) -> u32 {
        self.taken.load(SeqCst)
    }

    /// True when a request may be sent at once.
    pub(super) fn has_room(&self) -> bool {
        let cap = self.cap.load(Relaxed);
        cap == 0 || self.taken.load(Relaxed) < cap
    }

    /// Takes a slot of a backend with a limit. False when all are in use.
    pub(super) fn take_slot(&self) -> bool {
        let cap = self.cap.load(Relaxed);
        self.taken
            .fetch_update(SeqCst, SeqCst, |taken| (taken < cap || cap == 0).then_some(taken + 1))
            .is_ok()
    }

    /// Returns the time after which the backend closes a connection without a request, as learnt from such closes; None
    /// when nothing is known.
    pub fn idle_time(&self) -> Option<Duration> {
        self.idle_time.learnt()
    }

    /// Returns the maximum time to keep a connection without a request, as the settings of the cluster say.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.cluster.idle_timeout()
    }

    /// True when the backend has closed a connection right after a response lately.
    pub(super) fn closes_early(&self, now: Instant) -> bool {
        self.idle_time.closes_early(self.cluster.ms(now))
    }

    /// Notes that the backend has closed a connection that was idle for `idle`. `parked` is the number of connections that
    /// are still parked; None when it is not known.
    pub(super) fn note_idle_close(&self, idle: Duration, parked: Option<usize>, now: Instant) {
        self.idle_time.note_close(idle, parked, self.cluster.ms(now));
    }

    /// Brings the learnt time up to date.
    pub(super) fn settle_idle_time(&self, now: Instant) {
        self.idle_time.settle(self.cluster.ms(now));
    }

    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    pub(super) fn turn(&self) -> &AtomicU64 {
        &self.turn
    }

    /// Returns the hash of the address.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the name and the value of the session cookie that names the backend; None without sticky sessions. Takes a
    /// lock: only the first response of a session needs it.
    pub(crate) fn session_cookie(&self) -> Option<(String, u64)> {
        let others = self.cluster.others()?;
        let sticky = others.settings().sticky.as_ref()?;
        Some((sticky.name.as_str().to_owned(), sticky.value(self.address)))
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// True when the backend does not belong to its cluster any more.
    pub fn is_removed(&self) -> bool {
        self.standing.get().has(REMOVED)
    }

    pub(super) fn remove(&self) {
        self.standing.mark(REMOVED, true);
    }

    /// True when the backend gets no new requests, but ends its running requests. Requests of its sticky sessions still
    /// come.
    pub fn is_draining(&self) -> bool {
        self.standing.get().has(DRAINING)
    }

    /// Begins or ends draining.
    pub fn drain(&self, draining: bool) {
        self.standing.mark(DRAINING, draining);
    }

    /// Returns what the active checks say.
    pub fn check_state(&self) -> CheckState {
        self.checked.state()
    }

    /// Sets the state before the first check.
    pub(super) fn begin_checks(&self, settings: &CheckSettings) {
        self.checked.begin(settings.initially_up);
        self.apply_check_state();
    }

    /// Forgets the results of active checks, because the backend is checked no more.
    pub(crate) fn end_checks(&self) {
        self.checked.end();
        self.apply_check_state();
    }

    /// Notes the result of an active check. Returns the new state when the state has changed.
    pub fn note_check(&self, good: bool, settings: &CheckSettings) -> Option<CheckState> {
        let changed = self.checked.note(good, settings);
        if changed.is_some() {
            self.apply_check_state();
        }
        changed
    }

    fn apply_check_state(&self) {
        self.standing.mark(DOWN, self.checked.state() == CheckState::Down);
        self.cluster.recount();
    }

    /// Ejects the backend, as a failed connect does.
    pub(crate) fn eject(&self, now: Instant) {
        let settings = self.cluster.others().map(|others| others.settings().health).unwrap_or_default();
        if settings.passive {
            self.health.eject(self.cluster.ms(now), &settings);
            self.standing.mark(UNSTEADY, true);
            self.cluster.recount();
        }
    }

    /// True when the latency of each attempt is of use: see [`Backend::measure`].
    #[inline]
    pub(super) fn measures_latency(&self) -> bool {
        self.cluster.measures_latency()
    }

    /// Notes the latency of an attempt. `in_flight` is the number of slots in use when it began; 0 without a cap.
    pub(super) fn measure(&self, outcome: Outcome, started: Instant, in_flight: u32, now: Instant) {
        let latency = outcome.first_byte.unwrap_or_else(|| now.saturating_duration_since(started));
        if self.cluster.measures_latency() && outcome.end != AttemptEnd::Abandoned {
            let failed = outcome.end != AttemptEnd::Answered || is_failed_status(outcome.status);
            self.latency.add(latency, failed, self.cluster.ms(now));
        }
        if in_flight > 0 && self.adapts.load(Relaxed) {
            self.adapt(outcome, Sample { in_flight, started, latency, failed: false }, now);
        }
    }

    /// Notes the outcome of an attempt in the record of picks.
    pub(super) fn note_outcome(&self, record: u64, outcome: Outcome) {
        self.cluster.picks.end(record, outcome);
    }

    /// Notes what the end of an attempt says about the health of the backend. The attempt is already counted.
    #[inline]
    pub(super) fn note_end(&self, end: AttemptEnd, status: Option<u16>, started: Instant, now: Instant) {
        match end {
            AttemptEnd::Answered if !is_failed_status(status) => self.note_success(started, now),
            AttemptEnd::Answered => self.note_failed_response(now),
            AttemptEnd::Failed(failure) => self.note_failure(failure, now),
            AttemptEnd::Abandoned => {}
        }
    }

    fn note_failure(&self, failure: Failure, now: Instant) {
        match failure {
            Failure::Refused | Failure::ConnectTimeout => self.eject(now),
            Failure::ResponseTimeout | Failure::Stalled => {
                if self.health.count_silence() {
                    self.eject_if_others_carry(now);
                }
            }
            Failure::Reset | Failure::EndedEarly | Failure::BadResponse => self.note_failed_response(now),
            Failure::Local => {}
        }
    }

    /// Adapts the limit after an attempt. The slot of the attempt comes back later, and the queue then looks for room.
    fn adapt(&self, outcome: Outcome, sample: Sample, now: Instant) {
        let failed = match outcome.end {
            AttemptEnd::Answered => matches!(outcome.status, Some(429 | 503 | 504)),
            // These ends say nothing of the load of the backend.
            AttemptEnd::Abandoned | AttemptEnd::Failed(Failure::Local | Failure::Refused) => return,
            AttemptEnd::Failed(_) => true,
        };
        let mut limit = self.limit.lock();
        limit.note(Sample { failed, ..sample }, now);
        self.cap.store(limit.get(), Relaxed);
    }

    /// Notes a good response to a request that began at `started`. It may end an ejection.
    #[inline]
    pub(super) fn note_success(&self, started: Instant, now: Instant) {
        if self.health.has_troubles() {
            self.recover(started, now);
        }
    }

    #[cold]
    fn recover(&self, started: Instant, now: Instant) {
        if self.health.note_success(self.cluster.ms(started), self.cluster.ms(now)) {
            self.window.begin(self.ended());
            self.cluster.recount();
        }
    }

    fn note_failed_response(&self, now: Instant) {
        let now_ms = self.cluster.ms(now);
        match self.health.phase(now_ms) {
            Phase::Ejected => {}
            Phase::Probing => self.eject(now),
            Phase::Healthy => {
                let others = self.cluster.others();
                if others.is_some_and(|others| others.note_failure(self.id, now_ms)) {
                    self.eject_if_others_carry(now);
                }
            }
        }
    }

    /// Ejects the backend, unless too many others are out already.
    fn eject_if_others_carry(&self, now: Instant) {
        let others = self.cluster.others();
        if others.is_none_or(|others| others.may_eject()) {
            self.eject(now);
        }
    }

    /// True while the backend is ejected, or gets one request at a time after an ejection.
    pub fn is_ejected(&self) -> bool {
        self.health.is_disturbed()
    }

    #[inline]
    pub(super) fn count_start(&self) {
        self.tally.begin();
    }

    /// Counts the end of an attempt. An answered attempt changes only the tally: `counts` computes the answered attempts
    /// as the ended attempts minus the abandoned and failed attempts.
    #[inline]
    pub(super) fn count_end(&self, end: AttemptEnd) {
        match end {
            AttemptEnd::Answered => {}
            AttemptEnd::Abandoned => _ = self.abandoned.fetch_add(1, Relaxed),
            AttemptEnd::Failed(failure) => _ = self.failed[failure as usize].fetch_add(1, Relaxed),
        }
        self.tally.end();
    }
}

impl Slots for Backend {
    type Id = BackendId;

    fn id(&self) -> BackendId {
        self.id
    }

    /// Takes a slot for a waiting request, unless the backend is out. The periodic check of the queue looks at backends
    /// that are out.
    fn take(&self) -> bool {
        !self.standing.get().has(REMOVED | DRAINING | DOWN) && !self.health.is_disturbed() && self.take_slot()
    }

    fn give(&self) {
        self.taken.fetch_sub(1, SeqCst);
    }
}

/// True for a response that says that the backend failed. 501 and 505 are about the request.
fn is_failed_status(status: Option<u16>) -> bool {
    matches!(status, Some(500 | 502 | 503 | 504))
}
