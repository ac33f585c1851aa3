//! What is recorded of simulated runs.
use crate::cluster::Members;
use crate::observe::histogram::Histogram;

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A good response.
    Good,
    /// A response with status 500.
    Failed,
    /// No response: no attempt was left, or none was allowed.
    Unanswered,
}

/// The records of one run, or of several runs after a merge.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// Microseconds from the arrival to the end of each request, failed requests included.
    pub(super) latencies: Histogram,
    /// The same by the second of the arrival.
    pub(super) by_second: Vec<Histogram>,
    /// Requests without a good response, by the second of the arrival.
    pub(super) errors_by_second: Vec<u64>,
    /// Retries that the budget allowed.
    pub(super) retries: u64,
    /// Picks of each backend.
    pub(super) picks: Vec<u64>,
    /// The most requests in flight at one backend at one time.
    pub(super) peak: u32,
    /// Attempts that never ended. Always 0, or a counter leaks.
    pub(super) leaks: u64,
    /// Runs whose last seconds had good responses, and all runs.
    pub(super) recovered: u64,
    pub(super) runs: u64,
}

/// Seconds at the end of a run that decide whether the system has recovered, and the share of good responses there.
const LAST_SECONDS: usize = 5;
const RECOVERED: f64 = 0.99;

impl Trace {
    pub(super) fn new(backends: usize, seconds: u64) -> Self {
        Trace {
            by_second: vec![Histogram::default(); seconds as usize],
            errors_by_second: vec![0; seconds as usize],
            picks: vec![0; backends],
            ..Trace::default()
        }
    }

    /// Counts a pick. `in_flight` counts the picked request too.
    pub(super) fn pick(&mut self, backend: usize, in_flight: u32) {
        self.picks[backend] += 1;
        self.peak = self.peak.max(in_flight);
    }

    pub(super) fn end_request(&mut self, arrived: u64, now: u64, ending: Ending) {
        let (latency, second) = (now - arrived, (arrived / 1_000_000) as usize);
        self.latencies.add(latency);
        self.by_second[second].add(latency);
        self.errors_by_second[second] += u64::from(ending != Ending::Good);
    }

    /// Ends a run.
    pub(super) fn end(&mut self, members: &Members, retries: u64) {
        (self.retries, self.runs) = (retries, 1);
        self.leaks = members.backends().iter().map(|backend| u64::from(backend.in_flight())).sum();
        let last = self.by_second.len().saturating_sub(LAST_SECONDS);
        let total: u64 = self.by_second[last..].iter().map(Histogram::total).sum();
        let errors: u64 = self.errors_by_second[last..].iter().sum();
        self.recovered = u64::from(errors as f64 <= total as f64 * (1.0 - RECOVERED));
    }

    /// Adds another run of the same scenario.
    pub(super) fn merge(mut self, other: &Trace) -> Trace {
        self.latencies.merge(&other.latencies);
        self.by_second.iter_mut().zip(&other.by_second).for_each(|(mine, theirs)| mine.merge(theirs));
        add(&mut self.errors_by_second, &other.errors_by_second);
        add(&mut self.picks, &other.picks);
        self.retries += other.retries;
        self.peak = self.peak.max(other.peak);
        self.leaks += other.leaks;
        self.recovered += other.recovered;
        self.runs += other.runs;
        self
    }

    /// Returns the share of requests without a good response.
    pub(super) fn error_share(&self) -> f64 {
        let errors: u64 = self.errors_by_second.iter().sum();
        errors as f64 / self.latencies.total().max(1) as f64
    }

    /// Returns a quantile of the latency in milliseconds.
    pub(super) fn latency_ms(&self, share: f64) -> f64 {
        self.latencies.quantile(share).unwrap_or(0) as f64 / 1000.0
    }

    /// Returns the share of each backend.
    pub(super) fn shares(&self) -> Vec<f64> {
        let sum = self.picks.iter().sum::<u64>().max(1) as f64;
        self.picks.iter().map(|&picks| picks as f64 / sum).collect()
    }
}

fn add(mine: &mut [u64], theirs: &[u64]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
}
