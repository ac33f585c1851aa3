//! The choice of the requests that the access log tells of.
use super::RequestEnd;
use crate::cluster::chance::Random;

/// Chooses one of N requests at random. A regular choice could meet the same request of a regular client again and again.
#[derive(Debug, Clone)]
pub struct Sample {
    random: Random,
    one_of: u64,
}

impl Sample {
    /// Chooses one of `one_of` requests, which is at least 1. Workers need different seeds.
    pub fn new(one_of: u64, seed: u64) -> Self {
        Sample { random: Random::new(seed, 0), one_of }
    }

    /// True when the request is logged. A request with a status of 5xx, or with another end than
    /// [`Complete`](RequestEnd::Complete), is always logged.
    pub fn takes(&mut self, status: Option<u16>, end: RequestEnd) -> bool {
        let failed = end != RequestEnd::Complete || status.is_some_and(|status| status >= 500);
        failed || self.one_of == 1 || self.random.below(self.one_of) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_requests_is_logged() {
        const REQUESTS: u64 = 100_000;
        for one_of in [1, 2, 10, 1000] {
            for seed in [1, 2] {
                let mut sample = Sample::new(one_of, seed);
                let taken = (0..REQUESTS).filter(|_| sample.takes(Some(200), RequestEnd::Complete)).count();
                let expected = (REQUESTS / one_of) as f64;
                // Five standard deviations of the number.
                let most = 5.0 * (expected * (1.0 - 1.0 / one_of as f64)).sqrt();
                assert!((taken as f64 - expected).abs() <= most, "1 of {one_of}: {taken}");
            }
        }
    }

    #[test]
    fn a_sample_does_not_keep_step_with_a_pattern() {
        let mut sample = Sample::new(4, 1);
        let taken: Vec<u64> = (0..10_000).filter(|_| sample.takes(Some(200), RequestEnd::Complete)).collect();
        for rest in 0..4 {
            let of_rest = taken.iter().filter(|number| *number % 4 == rest).count();
            assert!((500..=750).contains(&of_rest), "rest {rest}: {of_rest} of {}", taken.len());
        }
    }

    #[test]
    fn every_request_that_failed_is_logged() {
        // status, end, always logged
        let cases = [
            (Some(200), RequestEnd::Complete, false),
            (Some(404), RequestEnd::Complete, false),
            (Some(500), RequestEnd::Complete, true),
            (Some(503), RequestEnd::Complete, true),
            (None, RequestEnd::ClientLost, true),
            (Some(200), RequestEnd::ClientLost, true),
            (Some(200), RequestEnd::Stalled, true),
            (Some(200), RequestEnd::CutOff, true),
        ];
        for (status, end, always) in cases {
            let mut sample = Sample::new(1_000_000_000, 7);
            let all = (0..1000).all(|_| sample.takes(status, end));
            assert_eq!(all, always, "{status:?} {end:?}");
        }
    }
}
