//! The backends of a simulation: a number of slots that work, and a queue in front of them.
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
