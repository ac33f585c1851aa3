//! What follows from the measurements of one cell, without a verdict.

use derive_more::Deref;

use crate::plans::model::{Cell, What};
use crate::run::raw::{Found, Raw, RawLoad};
use crate::run::reply::Errors;

/// A measured load.
#[derive(Debug, Clone, Copy, Deref)]
pub(crate) struct Load<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) what: What,
    #[deref(forward)]
    raw: &'a RawLoad,
}

/// Returns a load. None for other work, and for a cell that could not be measured.
pub(crate) fn load(raw: &Raw) -> Option<Load<'_>> {
    match &raw.found {
        Found::Load(load) => Some(Load { cell: &raw.cell, what: raw.what, raw: load }),
        _ => None,
    }
}

impl Load<'_> {
    /// Returns the number of good answers. wrk counts late and wrong answers too, so these are subtracted.
    pub(crate) fn success(&self) -> u64 {
        self.client.requests.saturating_sub(self.client.errors.status + self.client.errors.timeout)
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.client.duration_us as f64 / 1e6
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.client.requests as f64 / self.seconds()
    }

    /// Returns the mean latency by Little's law: connections / rate. Independent of wrk's correction, but assumes that
    /// no connection is idle (gate G2).
    pub(crate) fn latency_ms(&self) -> f64 {
        f64::from(self.cell.opened()) / self.requests_per_second() * 1e3
    }

    /// Returns the failures of the client. The sum is the column *failed* of the tables.
    pub(crate) fn failures(&self) -> Errors {
        let silent_ms = (self.cell.seconds * 500.0) as u64;
        let sockets = self.sockets.as_ref();
        let stalled = sockets.map_or(0, |sockets| sockets.silent_ms.count_from(silent_ms) + sockets.unopened);
        Errors { stalled, ..self.client.errors }
    }

    /// Returns the answers per connection of the client: minimum, 99 percentiles, maximum. They are estimated from the
    /// received bytes and the mean length of an answer; the error is at most 1.6 %. None when the target closes each
    /// connection after its answer: then a connection is not a client.
    pub(crate) fn per_connection(&self) -> Option<Vec<u64>> {
        let received = &self.sockets.as_ref()?.received;
        let answer = self.client.bytes as f64 / self.client.requests.max(1) as f64;
        let answers = |bytes: &u64| (*bytes as f64 / answer.max(1.0)).round() as u64;
        let answers: Vec<u64> = received.quantiles(100).iter().map(answers).collect();
        let closes = answers.last() <= Some(&1) && self.client.requests > 2 * received.len();
        (!closes).then_some(answers)
    }

    /// Returns what the target has added to one of its counters, over the whole seconds within the measured time.
    pub(crate) fn added(&self, counter: &str) -> Option<u64> {
        self.programs.target.as_ref()?.added(counter, self.seconds())
    }

    /// Returns what the target has added to one of its counters for each request that it served.
    pub(crate) fn per_served(&self, counter: &str) -> Option<f64> {
        let (served, n) = (self.added("served")?, self.added(counter)?);
        (served > 0).then(|| n as f64 / served as f64)
    }
}

/// A row of the table of `strace -c`: a system call, how often it was called, and how often it returned an error (mostly
/// `WouldBlock`).
pub(crate) type Calls<'a> = (&'a str, u64, u64);

/// Parses the table of `strace -c`: % time, seconds, usecs/call, calls, errors (may be empty), name.
pub(crate) fn parse_strace(text: &str) -> Vec<Calls<'_>> {
    let row = |line| {
        let (calls, errors, name) = match str::split_whitespace(line).collect::<Vec<_>>()[..] {
            [_, _, _, calls, name] => (calls, "0", name),
            [_, _, _, calls, errors, name] => (calls, errors, name),
            _ => return None,
        };
        Some((name, calls.parse().ok()?, errors.parse().ok()?)).filter(|_| name != "total")
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;
    use crate::run::histogram::Histogram;
    use crate::run::sockets::RawSockets;

    #[test]
    fn the_table_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 46.38    0.061000           1     40000         5 recvfrom
 30.00    0.040000           1     20000           writev
------ ----------- ----------- --------- --------- ----------------
100.00    0.131000           1     60000         5 total
";
        assert_eq!(parse_strace(text), [("recvfrom", 40000, 5), ("writev", 20000, 0)]);
    }

    #[test]
    fn a_silent_connection_is_stalled() {
        let mut run = Run::new("smoke");
        let raw = run.load_of(|_| true);
        raw.cell.seconds = 4.0;
        let Found::Load(found) = &mut raw.found else { panic!("it is no load") };
        (found.client.requests, found.client.bytes) = (100, 1000);
        found.client.errors = Errors { connect: 1, status: 2, ..Errors::default() };
        found.sockets = Some(RawSockets {
            received: Histogram::of(&[0, 100, 206, 300]),
            silent_ms: Histogram::of(&[0, 1900, 2000, 3000]),
            unopened: 7,
        });
        let load = load(raw).unwrap();
        assert_eq!((load.failures().stalled, load.failures().total()), (9, 12));
        let quantiles = load.per_connection().unwrap();
        assert_eq!((quantiles.len(), quantiles[0], quantiles[50], quantiles[100]), (101, 0, 10, 30));
    }
}
