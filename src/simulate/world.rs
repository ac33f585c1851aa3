//! One run of a simulated cluster: requests arrive, the shipped cluster decides, and backends of a scenario answer.
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::backend::{Job, Server, Sharing};
use super::scenario::Scenario;
use super::trace::{Ending, Trace};
use crate::cluster::chance::{Random, mix};
use crate::cluster::{
    Admission, Attempt, AttemptEnd, Attempts, Cluster, ClusterSettings, Entered, Failure, History, Members,
    Next, Permit, Place, Progress, Start,
};

/// Time for a request or a response to cross the network.
const CROSSING: u64 = 100;
/// The time after which an attempt without a response fails.
const RESPONSE_TIMEOUT: u64 = 1_000_000;
/// The time after which an attempt without a connection fails.
const CONNECT_TIMEOUT: u64 = 500_000;
/// The time after which a request leaves the queue of the cluster.
const QUEUE_TIMEOUT: u64 = 1_000_000;
/// The interval of the periodic work.
const SWEEP: u64 = 200_000;

/// What happens at a time. Times are microseconds since the start.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The next request arrives.
    Arrive,
    /// The connection of an attempt is made, and the request reaches the backend.
    Reach { request: usize, attempt: u64 },
    /// The connection of an attempt is refused.
    Refuse { request: usize, attempt: u64 },
    /// A backend has done a job.
    Done { backend: usize, job: Job },
    /// A backend that works on all requests at once has done the job of its current plan.
    Shared { backend: usize, plan: u64 },
    /// The response of an attempt arrives.
    Answer { request: usize, attempt: u64, failed: bool },
    /// An attempt has waited too long.
    Timeout { request: usize, attempt: u64, failure: Failure },
    /// A request has waited too long in the queue.
    QueueTimeout { request: usize, number: u64 },
    /// The checks of a backend are due.
    Check { backend: usize },
    /// The periodic work of the engine is due.
    Sweep,
}

/// An event with its time. Events at the same time happen in the order in which they were planned.
#[derive(Debug)]
struct Planned {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A request on its way.
#[derive(Debug)]
struct Request {
    arrived: u64,
    attempts: Attempts,
    attempt: Option<Attempt>,
    /// The place in the queue.
    waits: Option<Place>,
    /// The number of the current attempt. Events of earlier attempts are void.
    number: u64,
}

/// One simulated run.
#[derive(Debug)]
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    cluster: Cluster,
    members: Arc<Members>,
    servers: Vec<Server>,
    /// The same backends in a scenario in which they work on all requests at once.
    sharing: Vec<Sharing>,
    requests: Vec<Option<Request>>,
    free: Vec<usize>,
    events: BinaryHeap<Reverse<Planned>>,
    sequence: u64,
    epoch: Instant,
    now: u64,
    random: Random,
    trace: Trace,
    /// The requests whose wakers were called.
    woken: WokenList,
}

type WokenList = Arc<Mutex<VecDeque<usize>>>;

/// The waker of a waiting request.
struct Woken {
    place: usize,
    list: WokenList,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.list.lock().push_back(self.place);
    }
}

impl<'a> World<'a> {
    /// Makes a run. `epoch` is only a base for times; the run does not depend on it.
    pub(super) fn new(scenario: &'a Scenario, settings: ClusterSettings, seed: u64, epoch: Instant) -> Self {
        let backends = scenario.settings();
        let cluster = Cluster::with_settings(&backends, settings, seed, epoch);
        let members = cluster.members();
        let servers = backends.iter().map(|_| Server::new(scenario.slots)).collect();
        let sharing =
            scenario.thrashing.map(|part| backends.iter().map(move |_| Sharing::new(scenario.slots, part)));
        World {
            sharing: sharing.into_iter().flatten().collect(),
            scenario,
            cluster,
            servers,
            requests: Vec::new(),
            free: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            epoch,
            now: 0,
            random: Random::new(seed, mix(1)),
            trace: Trace::new(backends.len(), scenario.seconds),
            members,
            woken: WokenList::default(),
        }
    }

    /// Runs to the end of the scenario, and then until no request is under way.
    pub(super) fn run(self) -> Trace {
        self.run_and(|_| ())
    }

    /// Returns a line for each pick of the run, with what the policy knew.
    pub(super) fn replay(self) -> String {
        self.cluster.watch_picks(true);
        let (mut lines, mut next) = (String::new(), 0);
        self.run_and(|cluster| {
            for picked in cluster.picks_since(next) {
                next = picked.number + 1;
                let _ = writeln!(lines, "{picked}");
            }
        });
        lines
    }

    /// Runs, and calls `look` after each event.
    fn run_and(mut self, mut look: impl FnMut(&Cluster)) -> Trace {
        self.after(0, Event::Arrive);
        self.after(SWEEP, Event::Sweep);
        if let Some(checks) = &self.scenario.checks {
            self.cluster.begin_checks(checks);
            let interval = checks.interval.as_micros() as u64;
            for backend in 0..self.servers.len() {
                self.after(
                    interval * (backend as u64 + 1) / self.servers.len() as u64,
                    Event::Check { backend },
                );
            }
        }
        while let Some(Reverse(planned)) = self.events.pop() {
            self.now = planned.at;
            self.handle(planned.event);
            self.wake();
            look(&self.cluster);
        }
        let (retries, _) = self.cluster.retries();
        self.trace.end(&self.members, retries);
        self.trace
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now)
    }

    fn after(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Planned { at: self.now + time, sequence: self.sequence, event }));
    }

    fn is_over(&self) -> bool {
        self.now >= self.scenario.seconds * 1_000_000
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Reach { request, attempt } => self.reach(request, attempt),
            Event::Refuse { request, attempt } if self.is_current(request, attempt) => {
                self.fail(request, Failure::Refused, false);
            }
            Event::Done { backend, job } => self.done(backend, job),
            Event::Shared { backend, plan } => self.share(backend, plan),
            Event::Answer { request, attempt, failed } if self.is_current(request, attempt) => {
                self.answer(request, failed);
            }
            Event::Timeout { request, attempt, failure } if self.is_current(request, attempt) => {
                self.fail(request, failure, failure == Failure::ResponseTimeout);
            }
            Event::QueueTimeout { request, number } => {
                let waits = self.requests[request].as_ref().is_some_and(|known| known.waits.is_some());
                if waits && self.is_current(request, number) {
                    self.end(request, Ending::Unanswered);
                }
            }
            Event::Check { backend } => self.check(backend),
            Event::Sweep => {
                self.cluster.sweep(self.instant());
                if !self.is_over() || self.cluster.waiting() > 0 {
                    self.after(SWEEP, Event::Sweep);
                }
            }
            // The attempt has ended before.
            Event::Refuse { .. } | Event::Answer { .. } | Event::Timeout { .. } => {}
        }
    }

    fn is_current(&self, request: usize, attempt: u64) -> bool {
        self.requests[request].as_ref().is_some_and(|request| request.number == attempt)
    }

    fn arrive(&mut self) {
        if self.is_over() {
            return;
        }
        let pause = exponential(&mut self.random) / self.scenario.rate_at(self.now) * 1e6;
        self.after(pause as u64, Event::Arrive);
        let key = self.scenario.key(&mut self.random);
        let mut attempts = Attempts::default();
        attempts.set_key(Some(key));
        let request = Request { arrived: self.now, attempts, attempt: None, waits: None, number: 0 };
        let place = match self.free.pop() {
            Some(place) => {
                self.requests[place] = Some(request);
                place
            }
            None => {
                self.requests.push(Some(request));
                self.requests.len() - 1
            }
        };
        let start =
            self.cluster.start(&self.members, &History::with_key(Some(key)), &mut None, self.instant());
        self.begin(place, start);
    }

    /// Goes on with an attempt, or ends the request when there is none.
    fn begin(&mut self, place: usize, start: Option<Start>) {
        let attempt = match start {
            Some(Start::Attempt(attempt)) => attempt,
            Some(Start::Wait(admission)) => return self.wait(place, admission),
            None => return self.end(place, Ending::Unanswered),
        };
        let backend = self.place_of(&attempt);
        // No event is planned between two attempts with the same number.
        let number = self.sequence + 1;
        let Some(request) = &mut self.requests[place] else { return };
        let in_flight = attempt.backend().in_flight();
        (request.attempt, request.number) = (Some(attempt), number);
        self.trace.pick(backend, in_flight);
        let behaviour = self.scenario.behaviour(backend, self.now);
        let (request, attempt) = (place, number);
        if behaviour.refuses {
            return self.after(2 * CROSSING, Event::Refuse { request, attempt });
        }
        self.after(3 * CROSSING + behaviour.connect_us, Event::Reach { request, attempt });
        if behaviour.connect_us >= CONNECT_TIMEOUT {
            let failure = Failure::ConnectTimeout;
            self.after(CONNECT_TIMEOUT, Event::Timeout { request, attempt, failure });
        } else {
            let failure = Failure::ResponseTimeout;
            self.after(RESPONSE_TIMEOUT, Event::Timeout { request, attempt, failure });
        }
    }

    /// Enters the queue of the cluster.
    fn wait(&mut self, place: usize, admission: Admission) {
        let waker = Waker::from(Arc::new(Woken { place, list: Arc::clone(&self.woken) }));
        match admission.enter(waker) {
            Entered::Permit(permit) => self.resume(place, permit),
            Entered::Place(waits) => {
                let number = self.sequence + 1;
                let Some(request) = &mut self.requests[place] else { return };
                (request.waits, request.number) = (Some(waits), number);
                self.after(QUEUE_TIMEOUT, Event::QueueTimeout { request: place, number });
            }
            Entered::Full => self.end(place, Ending::Unanswered),
        }
    }

    /// Begins the attempts of all waiting requests that were granted a slot.
    fn wake(&mut self) {
        loop {
            let next = self.woken.lock().pop_front();
            let Some(place) = next else { return };
            let Some(request) = &mut self.requests[place] else { continue };
            if let Some(permit) = request.waits.as_mut().and_then(Place::take) {
                request.waits = None;
                self.resume(place, permit);
            }
        }
    }

    fn resume(&mut self, place: usize, permit: Permit) {
        let now = self.instant();
        let Some(request) = &mut self.requests[place] else { return };
        let mut permit = Some(permit);
        let start =
            request.attempts.find(|history| self.cluster.start(&self.members, history, &mut permit, now));
        self.begin(place, start);
    }

    fn place_of(&self, attempt: &Attempt) -> usize {
        let id = attempt.backend().id();
        self.members.backends().iter().position(|backend| backend.id() == id).unwrap_or_default()
    }

    fn reach(&mut self, request: usize, attempt: u64) {
        let Some(known) = self.requests[request].as_ref().filter(|known| known.number == attempt) else {
            return;
        };
        let Some(backend) = known.attempt.as_ref().map(|attempt| self.place_of(attempt)) else { return };
        let behaviour = self.scenario.behaviour(backend, self.now);
        if behaviour.fails > 0.0 && self.random.uniform() <= behaviour.fails {
            return self.after(2 * CROSSING, Event::Answer { request, attempt, failed: true });
        }
        let mean = self.scenario.service_ms * 1000.0;
        let time = (exponential(&mut self.random) * mean) as u64;
        let job = Job { request, attempt, time };
        if let Some(sharing) = self.sharing.get_mut(backend) {
            sharing.enter(job, self.now);
            return self.plan(backend);
        }
        self.servers[backend].enter(job);
        self.start_work(backend);
    }

    fn plan(&mut self, backend: usize) {
        if let Some((time, plan)) = self.sharing[backend].plan() {
            self.after(time, Event::Shared { backend, plan });
        }
    }

    fn share(&mut self, backend: usize, plan: u64) {
        if let Some(job) = self.sharing[backend].finish(plan, self.now) {
            let Job { request, attempt, .. } = job;
            self.after(CROSSING, Event::Answer { request, attempt, failed: false });
            self.plan(backend);
        }
    }

    /// Begins waiting jobs while a slot of the backend is free.
    fn start_work(&mut self, backend: usize) {
        let slowness = self.scenario.behaviour(backend, self.now).slowness;
        while let Some(job) = self.servers[backend].start() {
            self.after((job.time as f64 * slowness) as u64, Event::Done { backend, job });
        }
    }

    fn done(&mut self, backend: usize, job: Job) {
        let paused_until = self.scenario.behaviour(backend, self.now).paused_until;
        if paused_until > self.now {
            return self.after(paused_until - self.now, Event::Done { backend, job });
        }
        self.servers[backend].finish();
        self.after(CROSSING, Event::Answer { request: job.request, attempt: job.attempt, failed: false });
        self.start_work(backend);
    }

    fn answer(&mut self, place: usize, failed: bool) {
        let now = self.instant();
        let Some(request) = &mut self.requests[place] else { return };
        if let Some(attempt) = &mut request.attempt {
            attempt.note_byte(now);
            attempt.note_status(if failed { 500 } else { 200 });
            attempt.finish(AttemptEnd::Answered, now);
        }
        self.end(place, if failed { Ending::Failed } else { Ending::Good });
    }

    fn fail(&mut self, place: usize, failure: Failure, sent: bool) {
        let now = self.instant();
        let Some(request) = &mut self.requests[place] else { return };
        let Some(mut attempt) = request.attempt.take() else { return };
        attempt.finish(AttemptEnd::Failed(failure), now);
        let progress = Progress { idempotent: true, sent, repeatable: true, answered: false };
        let next = request.attempts.failed(attempt.backend().id(), failure, progress);
        drop(attempt);
        let start = match next {
            Next::Again => {
                request.attempts.find(|history| self.cluster.start(&self.members, history, &mut None, now))
            }
            Next::GiveUp => None,
        };
        self.begin(place, start);
    }

    fn end(&mut self, place: usize, ending: Ending) {
        if let Some(request) = self.requests[place].take() {
            self.trace.end_request(request.arrived, self.now, ending);
            self.free.push(place);
        }
    }

    fn check(&mut self, place: usize) {
        let Some(checks) = &self.scenario.checks else { return };
        if self.is_over() {
            return;
        }
        let interval = checks.interval.as_micros() as u64;
        let behaviour = self.scenario.behaviour(place, self.now);
        let good = !behaviour.refuses
            && behaviour.fails < 1.0
            && behaviour.connect_us < CONNECT_TIMEOUT
            && behaviour.paused_until <= self.now;
        self.members.backends()[place].note_check(good, checks);
        self.after(interval, Event::Check { backend: place });
    }
}

/// Returns a number of the exponential distribution with mean 1.
fn exponential(random: &mut Random) -> f64 {
    -random.uniform().ln()
}
