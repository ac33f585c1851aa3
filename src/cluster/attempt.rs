//! The attempts of a request, and the decision after a failed attempt.
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::backend_id::BackendId;
use super::end::{AttemptEnd, Failure, Outcome};
use super::history::{History, Tried};
use super::members::Members;
use super::queue::{Entered, Permit, Queue, Slots};

/// Maximum attempts of one request that reach a backend. A failed connect does not count: the backend did no work, and
/// each backend gets at most one failed connect per request.
const ATTEMPTS_MAX: u32 = 3;

/// A kept connection that the backend had already closed fails within this time: our bytes reach the backend, and its
/// reset comes back. A later failure says that the backend has worked on the request.
const STALE_WITHIN: Duration = Duration::from_millis(500);

/// One attempt at one backend. The backend counts the attempt as in flight until the attempt ends. Every attempt ends
/// exactly once: with its outcome, or as abandoned when the attempt is dropped.
#[derive(Debug)]
pub struct Attempt {
    backend: Arc<Backend>,
    started: Instant,
    status: Option<u16>,
    /// The time of the first byte of a response.
    first_byte: Option<Instant>,
    end: Option<AttemptEnd>,
    connection: Connection,
    /// The permit of a cluster with a limit, held until the attempt ends; and the slots in use when the attempt began.
    permit: Option<Permit<Backend>>,
    in_flight: u32,
    /// The number of the pick, if picks are watched.
    record: Option<u64>,
}

/// The backend connection of an attempt.
#[derive(Debug)]
enum Connection {
    /// There is none yet.
    Awaited,
    /// A new one, and the time from the begin of the attempt until it was established.
    New(Duration),
    /// A kept one, and the time for which it was idle before.
    Kept(Duration),
}

/// An attempt, or the way to the queue in which the request waits.
#[derive(Debug)]
pub enum Start {
    /// An attempt that has begun.
    Attempt(Attempt),
    /// No backend has room. The request enters the queue, waits until it has a permit, and then starts with this permit.
    Wait(Admission),
}

/// The way into the queue of a cluster.
#[derive(Debug)]
pub struct Admission {
    pub(super) queue: Arc<Queue<Backend>>,
    pub(super) members: Arc<Members>,
    pub(super) tried: Tried,
}

impl Admission {
    /// Enters the queue. `waker` is called once, when the request has a permit.
    pub(crate) fn enter(self, waker: Waker) -> Entered<Backend> {
        let Admission { queue, members, tried } = self;
        let find = || {
            let mut untried = members.backends().iter().filter(|backend| !tried.contains(backend.id()));
            untried.find(|backend| Slots::take(&***backend)).map(Arc::clone)
        };
        queue.enter(members.settings().waiting_max, tried.0.clone(), waker, find)
    }
}

impl Attempt {
    /// Begins an attempt without a permit.
    #[cfg(test)]
    pub(crate) fn new(backend: &Arc<Backend>, now: Instant) -> Self {
        Attempt::with(backend, None, None, now)
    }

    /// Begins an attempt that holds a permit until it ends. `record` is the number of the pick in the record of picks.
    #[inline]
    pub(super) fn with(
        backend: &Arc<Backend>,
        permit: Option<Permit<Backend>>,
        record: Option<u64>,
        now: Instant,
    ) -> Self {
        backend.count_start();
        let in_flight = if permit.is_some() { backend.slots_taken() } else { 0 };
        let (status, first_byte, end) = (None, None, None);
        Attempt {
            backend: Arc::clone(backend),
            started: now,
            status,
            first_byte,
            end,
            connection: Connection::Awaited,
            permit,
            in_flight,
            record,
        }
    }

    /// Returns the backend of the attempt, even after the end of the attempt.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Records that the attempt uses a kept connection that was idle for `idle`.
    pub(crate) fn note_reuse(&mut self, idle: Duration) {
        self.connection = Connection::Kept(idle);
    }

    /// Records that a new connection is established.
    pub(crate) fn note_connected(&mut self, now: Instant) {
        self.connection = Connection::New(now.saturating_duration_since(self.started));
    }

    /// Returns the time from the begin of the attempt until its connection was established. None for a kept connection, and
    /// without a connection.
    pub fn connect_time(&self) -> Option<Duration> {
        match self.connection {
            Connection::New(time) => Some(time),
            Connection::Awaited | Connection::Kept(_) => None,
        }
    }

    /// Records that a byte of a response has arrived.
    #[doc(hidden)]
    pub fn note_byte(&mut self, now: Instant) {
        self.first_byte.get_or_insert(now);
    }

    /// Records that the head of the final response has arrived.
    pub(crate) fn note_status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Ends the attempt; later calls do nothing. The end may eject the backend, or end its ejection: see
    /// [`HealthSettings`](super::HealthSettings).
    #[doc(hidden)]
    pub fn finish(&mut self, end: AttemptEnd, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        self.backend.count_end(end);
        let is_measured = self.in_flight > 0 || self.backend.measures_latency();
        if self.record.is_some() || is_measured && end != AttemptEnd::Abandoned {
            self.measure(end, now);
        }
        self.backend.note_end(end, self.status, self.started, now);
        if let AttemptEnd::Failed(Failure::Reset | Failure::EndedEarly) = end {
            self.note_stale(now);
        }
        self.permit = None;
    }

    /// Passes on what is known of the attempt, for the latency, the adaptive cap and the record of picks.
    #[cold]
    fn measure(&self, end: AttemptEnd, now: Instant) {
        self.backend.measure(self.outcome_of(end), self.started, self.in_flight, now);
        if let Some(record) = self.record {
            self.backend.note_outcome(record, self.outcome_of(end));
        }
    }

    /// Notes that the backend had closed the kept connection of the attempt, if it looks like this.
    #[cold]
    fn note_stale(&self, now: Instant) {
        let is_early = now.saturating_duration_since(self.started) <= STALE_WITHIN;
        if let Connection::Kept(idle) = self.connection
            && self.first_byte.is_none()
            && is_early
        {
            self.backend.note_idle_close(idle, None, now);
        }
    }

    /// Notes that the backend has accepted to change the protocol. The attempt goes on as a tunnel.
    #[cold]
    pub(crate) fn note_tunnel(&mut self, status: u16, now: Instant) {
        self.note_status(status);
        self.backend.note_success(self.started, now);
    }

    /// Ends the attempt as abandoned, if it has not ended. That end needs no time.
    #[cold]
    pub(crate) fn abandon(&mut self) {
        self.finish(AttemptEnd::Abandoned, self.started);
    }

    /// Returns the outcome, or None while the attempt is in flight.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end.map(|end| self.outcome_of(end))
    }

    fn outcome_of(&self, end: AttemptEnd) -> Outcome {
        let first_byte = self.first_byte.map(|at| at.saturating_duration_since(self.started));
        Outcome { end, status: self.status, first_byte }
    }
}

impl Drop for Attempt {
    #[inline]
    fn drop(&mut self) {
        if self.end.is_none() {
            self.abandon();
        }
    }
}

/// The progress of a request when its attempt fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The method is idempotent (RFC 9110 section 9.2.2).
    pub(crate) idempotent: bool,
    /// A byte of the request was sent on the connection that failed.
    pub(crate) sent: bool,
    /// Every sent byte of the request is still in our buffers.
    pub(crate) repeatable: bool,
    /// A whole head of a response arrived, final or interim, or bytes that are no head.
    pub(crate) answered: bool,
}

/// The decision after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt, at a backend that [`Attempts::find`] allows. The request may have to wait first:
    /// [`Start::Wait`].
    Again,
    /// No further attempt. The client gets an answer of ours, or the client's connection is closed.
    GiveUp,
}

/// The attempts of one request so far. This type alone decides whether a request is tried again.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Backends that never get this request again.
    excluded: Tried,
    /// Backends that failed after the connect. Such a backend gets this request again only when no other backend is
    /// left. The next attempt uses a new connection. A kept connection can fail although its backend is healthy.
    broken: Tried,
    /// Attempts that reached a backend.
    reached: u32,
    /// The hash of the request's key.
    key: Option<u64>,
}

impl Attempts {
    /// Records a failed attempt, and decides about the next attempt.
    ///
    /// A request that is not idempotent is repeated only when no byte of the request was sent. Otherwise the backend
    /// may have acted on the request (RFC 9110 section 9.2.2). A failed kept connection is no exception: the failure
    /// does not show whether the backend has read the request.
    pub(crate) fn failed(&mut self, backend: BackendId, failure: Failure, request: Progress) -> Next {
        if failure.is_of_connect() {
            self.excluded.insert(backend);
            return Next::Again;
        }
        self.reached += 1;
        let silent = matches!(failure, Failure::ResponseTimeout | Failure::Stalled);
        if silent || self.broken.contains(backend) {
            self.excluded.insert(backend);
        }
        self.broken.insert(backend);
        let allowed = request.repeatable && !request.answered && (request.idempotent || !request.sent);
        if allowed && self.reached < ATTEMPTS_MAX { Next::Again } else { Next::GiveUp }
    }

    /// Records an answer that says that the backend failed. True when the request may be repeated on another backend.
    pub(crate) fn failed_answer(&mut self, backend: BackendId) -> bool {
        self.reached += 1;
        self.excluded.insert(backend);
        self.reached < ATTEMPTS_MAX
    }

    /// Sets the hash of the request's key.
    pub(crate) fn set_key(&mut self, key: Option<u64>) {
        self.key = key;
    }

    /// Calls `start` with the history that the next attempt needs. The first call avoids every backend that has failed
    /// this request. If it finds no backend, the second call avoids only the backends that never get this request again.
    pub(crate) fn find<T>(&self, mut start: impl FnMut(&History<'_>) -> Option<T>) -> Option<T> {
        let mut all = self.excluded.clone();
        all.extend(self.broken.0.iter().copied());
        let history = |tried| History { tried, key: self.key, reached: self.reached > 0 };
        start(&history(&all)).or_else(|| start(&history(&self.excluded)))
    }

    /// True when an attempt has failed after its connect. The next attempt then needs a new connection, not a kept
    /// connection.
    pub(crate) fn need_new_connection(&self) -> bool {
        self.reached > 0
    }

    /// Forgets all attempts, for the next request.
    pub(crate) fn clear(&mut self) {
        self.excluded.0.clear();
        self.broken.0.clear();
        (self.reached, self.key) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::panic::AssertUnwindSafe;

    use super::*;
    use crate::cluster::HealthSettings;

    const GET: Progress = Progress { idempotent: true, sent: true, repeatable: true, answered: false };
    const POST: Progress = Progress { idempotent: false, ..GET };

    /// Returns the backends that the next attempt avoids at first, and in the end.
    fn tried(attempts: &Attempts) -> [Tried; 2] {
        let mut sets = Vec::new();
        attempts.find(|history| {
            sets.push(history.tried.clone());
            None::<()>
        });
        sets.try_into().expect("two calls")
    }

    fn backend(epoch: Instant) -> Arc<Backend> {
        Backend::alone(SocketAddr::from(([127, 0, 0, 1], 80)), epoch)
    }

    #[test]
    fn attempts_count_up_and_down() {
        let now = Instant::now();
        let backend = backend(now);
        let first = Attempt::new(&backend, now);
        let mut second = Attempt::new(&backend, now);
        assert_eq!(backend.in_flight(), 2);
        drop(first);
        assert_eq!(backend.in_flight(), 1);
        second.finish(AttemptEnd::Answered, now);
        assert_eq!(backend.in_flight(), 0);
        drop(second);
        assert_eq!(backend.in_flight(), 0);
    }

    #[test]
    fn an_attempt_is_abandoned_by_a_panic_too() {
        let now = Instant::now();
        let backend = backend(now);
        let held = Arc::clone(&backend);
        let result = std::panic::catch_unwind(AssertUnwindSafe(move || {
            let _attempt = Attempt::new(&held, now);
            std::panic::resume_unwind(Box::new("an exchange broke"));
        }));
        assert!(result.is_err());
        assert_eq!((backend.in_flight(), backend.counts().abandoned), (0, 1));
    }

    #[test]
    fn every_end_is_counted_once_by_its_kind() {
        let now = Instant::now();
        let backend = backend(now);
        let failures = Failure::ALL.map(AttemptEnd::Failed);
        for end in [AttemptEnd::Answered, AttemptEnd::Abandoned].into_iter().chain(failures) {
            let mut attempt = Attempt::new(&backend, now);
            attempt.finish(end, now);
            attempt.finish(AttemptEnd::Abandoned, now);
        }
        let counts = backend.counts();
        assert_eq!((counts.started, counts.ended()), (10, 10));
        assert_eq!((counts.answered, counts.abandoned, counts.failed), (1, 1, [1; 8]));
        for (kind, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, kind);
            assert_eq!(counts.failed(failure), 1);
        }
    }

    #[test]
    fn failed_connects_and_silence_eject_and_a_response_ends_the_ejection() {
        use AttemptEnd::{Answered, Failed};
        let start = Instant::now();
        // ends in this order, available at once, available when an ejection has ended
        let cases: [(&[AttemptEnd], bool, bool); 9] = [
            (&[Answered], true, true),
            (&[Failed(Failure::Reset)], true, true),
            (&[Failed(Failure::Local)], true, true),
            (&[Failed(Failure::Refused)], false, true),
            (&[Failed(Failure::Refused), Failed(Failure::Reset)], false, true),
            (&[Failed(Failure::ConnectTimeout), Answered], true, true),
            (&[Failed(Failure::ResponseTimeout); 2], true, true),
            (&[Failed(Failure::ResponseTimeout), Failed(Failure::Stalled), Answered], true, true),
            (&[Failed(Failure::ResponseTimeout); 3], false, true),
        ];
        for (ends, at_once, later) in cases {
            let backend = backend(start);
            for &end in ends {
                Attempt::new(&backend, start).finish(end, start);
            }
            assert_eq!(backend.available(start), at_once, "{ends:?}");
            let after = start + HealthSettings::default().ejection + Duration::from_millis(1);
            assert_eq!(backend.available(after), later, "{ends:?}");
        }
    }

    #[test]
    fn tried_is_a_set() {
        let mut tried = Tried::default();
        assert_eq!(tried.0.capacity(), 0);
        let ids = [0, 1, 2].map(|_| backend(Instant::now()).id());
        for id in [ids[2], ids[0], ids[2]] {
            tried.insert(id);
        }
        assert_eq!(tried.0, [ids[2], ids[0]]);
        assert!(tried.contains(ids[0]) && tried.contains(ids[2]) && !tried.contains(ids[1]));
    }

    #[test]
    fn an_outcome_has_status_and_time_of_the_first_byte() {
        let start = Instant::now();
        let mut attempt = Attempt::new(&backend(start), start);
        assert_eq!(attempt.outcome(), None);
        for ms in [5, 9] {
            attempt.note_byte(start + Duration::from_millis(ms));
        }
        attempt.note_status(503);
        attempt.finish(AttemptEnd::Answered, start);
        attempt.finish(AttemptEnd::Abandoned, start);
        let first_byte = Some(Duration::from_millis(5));
        let outcome = Outcome { end: AttemptEnd::Answered, status: Some(503), first_byte };
        assert_eq!(attempt.outcome(), Some(outcome));
    }

    #[test]
    fn only_a_new_connection_has_a_connect_time() {
        let start = Instant::now();
        let mut attempt = Attempt::new(&backend(start), start);
        assert_eq!(attempt.connect_time(), None);
        attempt.note_connected(start + Duration::from_millis(3));
        assert_eq!(attempt.connect_time(), Some(Duration::from_millis(3)));
        attempt.note_reuse(Duration::from_secs(1));
        assert_eq!(attempt.connect_time(), None);
    }

    #[test]
    fn a_kept_connection_that_fails_at_once_without_a_byte_teaches_the_idle_time() {
        use AttemptEnd::{Abandoned, Answered, Failed};
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // idle time in ms, a byte came, the end and its time in ms, true when the idle time is learnt
        let cases = [
            (Some(300), false, Failed(Failure::Reset), 20, true),
            (Some(300), false, Failed(Failure::EndedEarly), 500, true),
            (Some(300), false, Failed(Failure::Reset), 501, false),
            (Some(300), true, Failed(Failure::Reset), 20, false),
            (Some(300), false, Failed(Failure::ResponseTimeout), 20, false),
            (Some(300), false, Answered, 20, false),
            (Some(300), false, Abandoned, 20, false),
            (None, false, Failed(Failure::Reset), 20, false),
        ];
        for (idle, byte, end, ms, learnt) in cases {
            let backend = backend(start);
            let mut attempt = Attempt::new(&backend, start);
            idle.into_iter().for_each(|idle| attempt.note_reuse(Duration::from_millis(idle)));
            if byte {
                attempt.note_byte(at(10));
            }
            attempt.finish(end, at(ms));
            backend.settle_idle_time(at(ms + 100));
            let expected = learnt.then_some(Duration::from_millis(300));
            assert_eq!(backend.idle_time(), expected, "{idle:?} {byte} {end:?} after {ms} ms");
        }
    }

    #[test]
    fn what_follows_a_failure() {
        use Failure::{
            BadResponse, ConnectTimeout, EndedEarly, Local, Refused, Reset, ResponseTimeout, Stalled,
        };
        let (again, give_up) = (Next::Again, Next::GiveUp);
        let answered = Progress { answered: true, ..GET };
        let gone = Progress { repeatable: false, ..GET };
        let unsent = Progress { sent: false, ..POST };
        let cases: [(&[Failure], [Progress; 5], [Next; 5]); 4] = [
            // No byte of the request was sent, so any request is repeated.
            (
                &[Refused, ConnectTimeout, Local],
                [GET, POST, unsent, GET, POST],
                [again, again, again, again, again],
            ),
            (
                &[Reset, EndedEarly, ResponseTimeout],
                [GET, unsent, POST, answered, gone],
                [again, again, give_up, give_up, give_up],
            ),
            (
                &[ResponseTimeout],
                [GET, POST, Progress { repeatable: false, ..unsent }, answered, unsent],
                [again, give_up, give_up, give_up, again],
            ),
            // These failures come after the head of a response.
            (&[BadResponse, Stalled], [answered; 5], [give_up; 5]),
        ];
        let id = backend(Instant::now()).id();
        for (failures, requests, nexts) in cases {
            for &failure in failures {
                for (request, next) in requests.into_iter().zip(nexts) {
                    let mut attempts = Attempts::default();
                    assert_eq!(attempts.failed(id, failure, request), next, "{failure:?} {request:?}");
                    assert_eq!(attempts.need_new_connection(), !failure.is_of_connect());
                }
            }
        }
    }

    #[test]
    fn a_failed_answer_is_repeated_elsewhere_and_counts_as_an_attempt() {
        let ids = [0; 3].map(|_| backend(Instant::now()).id());
        let mut attempts = Attempts::default();
        assert!(attempts.failed_answer(ids[0]));
        assert!(tried(&attempts).iter().all(|tried| tried.contains(ids[0])));
        assert_eq!(attempts.failed(ids[1], Failure::Reset, GET), Next::Again);
        assert!(!attempts.failed_answer(ids[2]), "a fourth attempt");
    }

    #[test]
    fn three_attempts_reach_a_backend_and_failed_connects_do_not_count() {
        let ids = [0; 9].map(|_| backend(Instant::now()).id());
        let mut attempts = Attempts::default();
        for id in &ids[..6] {
            assert_eq!(attempts.failed(*id, Failure::Refused, GET), Next::Again);
        }
        assert_eq!(attempts.failed(ids[6], Failure::Reset, GET), Next::Again);
        assert_eq!(attempts.failed(ids[7], Failure::ResponseTimeout, GET), Next::Again);
        assert_eq!(attempts.failed(ids[8], Failure::Reset, GET), Next::GiveUp);
        attempts.clear();
        assert!(!attempts.need_new_connection() && tried(&attempts) == [Tried::default(), Tried::default()]);
    }

    #[test]
    fn a_backend_that_broke_off_gets_the_request_once_more_when_no_other_is_left() {
        let id = backend(Instant::now()).id();
        let mut attempts = Attempts::default();
        attempts.failed(id, Failure::EndedEarly, GET);
        let [first, then] = tried(&attempts);
        assert!(first.contains(id) && !then.contains(id));
        attempts.failed(id, Failure::EndedEarly, GET);
        assert!(tried(&attempts).iter().all(|tried| tried.contains(id)));
        let mut attempts = Attempts::default();
        attempts.failed(id, Failure::ResponseTimeout, GET);
        assert!(tried(&attempts).iter().all(|tried| tried.contains(id)), "a silent backend is asked again");
    }
}
