//! Counts of finished requests by status and by end.
use std::time::Duration;

use super::durations::Durations;

/// The end of a request, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEnd {
    /// The whole response was sent, or a tunnel ended.
    Complete,
    /// The client left before the whole response was sent.
    ClientLost,
    /// The client did not send or read in time, or the backend stopped in the middle of a response.
    Stalled,
    /// The response was cut off: the backend broke it off, or the engine stopped.
    CutOff,
}

impl RequestEnd {
    /// All ends, in the order of their numbers.
    pub const ALL: [RequestEnd; 4] =
        [RequestEnd::Complete, RequestEnd::ClientLost, RequestEnd::Stalled, RequestEnd::CutOff];

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            RequestEnd::Complete => "complete",
            RequestEnd::ClientLost => "client_lost",
            RequestEnd::Stalled => "stalled",
            RequestEnd::CutOff => "cut_off",
        }
    }
}

/// The kinds of a status: none, and 1xx to 5xx.
const KINDS: usize = 6;

/// Counts of finished requests, for example those of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    counts: [[u64; RequestEnd::ALL.len()]; KINDS],
    /// The time from the first bytes of each request to its end. Tunnels are not in it.
    pub durations: Durations,
}

impl Requests {
    /// Counts a finished request. `duration` is None for a tunnel.
    pub fn add(&mut self, status: Option<u16>, end: RequestEnd, duration: Option<Duration>) {
        let kind = usize::from(status.unwrap_or(0) / 100).min(KINDS - 1);
        self.counts[kind][end as usize] += 1;
        duration.into_iter().for_each(|duration| self.durations.add(duration));
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Requests) {
        let mine = self.counts.iter_mut().flatten();
        mine.zip(other.counts.iter().flatten()).for_each(|(mine, theirs)| *mine += theirs);
        self.durations.merge(&other.durations);
    }

    /// Returns the number of requests.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Returns the number of requests that failed: with a status of 5xx, or without a whole response although the client
    /// had not left.
    pub fn failed(&self) -> u64 {
        let failed = self.counts().filter(|(class, end, _)| {
            *class == "5xx" || matches!(end, RequestEnd::Stalled | RequestEnd::CutOff)
        });
        failed.map(|(.., count)| count).sum()
    }

    /// Returns the number of requests of each class of status ("none", "1xx" and so on) and each end, without zeros.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, RequestEnd, u64)> {
        const CLASSES: [&str; KINDS] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let classes = CLASSES.iter().zip(&self.counts);
        let all = classes.flat_map(|(class, ends)| {
            RequestEnd::ALL.iter().zip(ends).map(move |(end, count)| (*class, *end, *count))
        });
        all.filter(|(.., count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_class_and_end() {
        use RequestEnd::{ClientLost, Complete, CutOff, Stalled};
        // status, end, class, failed
        let cases = [
            (Some(200), Complete, "2xx", false),
            (Some(101), Complete, "1xx", false),
            (Some(304), Complete, "3xx", false),
            (Some(404), Complete, "4xx", false),
            (Some(502), Complete, "5xx", true),
            (Some(502), ClientLost, "5xx", true),
            (None, ClientLost, "none", false),
            (Some(200), ClientLost, "2xx", false),
            (Some(200), CutOff, "2xx", true),
            (None, Stalled, "none", true),
            (Some(999), Complete, "5xx", true),
        ];
        let mut all = Requests::default();
        for (status, end, class, failed) in cases {
            let mut one = Requests::default();
            one.add(status, end, Some(Duration::from_millis(1)));
            assert_eq!(one.counts().collect::<Vec<_>>(), [(class, end, 1)]);
            assert_eq!((one.total(), one.failed()), (1, u64::from(failed)), "{status:?} {end:?}");
            all.merge(&one);
        }
        assert_eq!((all.total(), all.failed(), all.durations.total()), (11, 5, 11));
    }
}
