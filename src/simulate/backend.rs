//! The backends of a simulation: slots that work with a queue in front of them, or a backend that works on all requests at
//! once.
use std::collections::VecDeque;

/// One unit of work: an attempt of a request, and the time that it needs at a backend without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) request: usize,
    pub(super) attempt: u64,
    pub(super) time: u64,
}

/// A backend. It works on every request to the end, also when nobody waits for the response any more.
#[derive(Debug)]
pub(super) struct Server {
    free: usize,
    waiting: VecDeque<Job>,
}

impl Server {
    pub(super) fn new(slots: usize) -> Self {
        Server { free: slots, waiting: VecDeque::new() }
    }

    pub(super) fn enter(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Takes the next job if a slot is free.
    pub(super) fn start(&mut self) -> Option<Job> {
        let job = if self.free > 0 { self.waiting.pop_front() } else { None };
        self.free -= usize::from(job.is_some());
        job
    }

    /// Frees the slot of a job.
    pub(super) fn finish(&mut self) {
        self.free += 1;
    }
}

/// A backend that works on all its requests at once. Up to `slots` requests do not disturb each other. More requests share
/// the speed of `slots`, and they waste a part of the speed: the more, the larger the part.
#[derive(Debug)]
pub(super) struct Sharing {
    slots: usize,
    thrashing: f64,
    /// The jobs, with the work that remains in microseconds.
    jobs: Vec<(Job, f64)>,
    /// The time up to which the work is counted.
    counted: u64,
    /// The number of the current plan: a plan is void when another job comes or goes.
    plan: u64,
}

impl Sharing {
    pub(super) fn new(slots: usize, thrashing: f64) -> Self {
        Sharing { slots, thrashing, jobs: Vec::new(), counted: 0, plan: 0 }
    }

    /// Returns the speed of each job, relative to the speed of a job that is alone.
    fn speed(&self) -> f64 {
        let surplus = self.jobs.len().saturating_sub(self.slots) as f64 / self.slots as f64;
        1.0 / (1.0 + surplus) / (1.0 + self.thrashing * surplus)
    }

    fn count(&mut self, now: u64) {
        let done = (now - self.counted) as f64 * self.speed();
        self.jobs.iter_mut().for_each(|(_, work)| *work -= done);
        self.counted = now;
    }

    pub(super) fn enter(&mut self, job: Job, now: u64) {
        self.count(now);
        self.jobs.push((job, job.time as f64));
    }

    /// Returns the time until the next job is done, and the number of this plan; None without a job.
    pub(super) fn plan(&mut self) -> Option<(u64, u64)> {
        self.plan += 1;
        let least = self.jobs.iter().map(|&(_, work)| work).min_by(f64::total_cmp)?;
        Some(((least.max(0.0) / self.speed()).ceil() as u64, self.plan))
    }

    /// Takes the job that is done, unless the plan is void.
    pub(super) fn finish(&mut self, plan: u64, now: u64) -> Option<Job> {
        if plan != self.plan {
            return None;
        }
        self.count(now);
        let done = (0..self.jobs.len()).min_by(|&a, &b| self.jobs[a].1.total_cmp(&self.jobs[b].1))?;
        Some(self.jobs.swap_remove(done).0)
    }
}

/// What a backend does at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Behaviour {
    /// Factor of the time for each request.
    pub(super) slowness: f64,
    /// Share of the requests that get a 500 at once.
    pub(super) fails: f64,
    /// True when connections are refused.
    pub(super) refuses: bool,
    /// Additional time to connect.
    pub(super) connect_us: u64,
    /// The time until which no work is done; 0 for no pause.
    pub(super) paused_until: u64,
}

impl Behaviour {
    /// A backend without faults.
    pub(super) const GOOD: Behaviour =
        Behaviour { slowness: 1.0, fails: 0.0, refuses: false, connect_us: 0, paused_until: 0 };
}
