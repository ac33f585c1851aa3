//! What follows from the measurements of a load.

use derive_more::Deref;

use crate::judge::record::Record;
use crate::plans::model::{Cell, What};
use crate::run::raw::{Found, RawLoad};
use crate::run::reply::Errors;

/// A measured load.
#[derive(Debug, Clone, Copy, Deref)]
pub(crate) struct Load<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) what: What,
    pub(crate) failures: Errors,
    #[deref(forward)]
    raw: &'a RawLoad,
}

/// Returns a load. None for other work, and for a cell that could not be measured.
pub(crate) fn load(record: &Record) -> Option<Load<'_>> {
    let Found::Load(raw) = &record.found else { return None };
    Some(Load { cell: &record.cell, what: record.what, failures: record.failures, raw })
}

impl Load<'_> {
    pub(crate) fn seconds(&self) -> f64 {
        self.client.duration_us as f64 / 1e6
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.client.requests as f64 / self.seconds()
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;
    use crate::run::histogram::Histogram;
    use crate::run::sockets::RawSockets;

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
        let record = Record::new(raw.clone());
        assert_eq!((record.failures.stalled, record.failures.total()), (9, 12));
        let quantiles = load(&record).unwrap().per_connection().unwrap();
        assert_eq!((quantiles.len(), quantiles[0], quantiles[50], quantiles[100]), (101, 0, 10, 30));
    }
}
