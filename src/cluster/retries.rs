//! The budget of retries: a share of the recent requests, plus a small constant rate.
//!
//! The budget is a bucket of tokens. Each request pays a part of a token into the bucket, and each retry takes a token.
//! Tokens last for [`RetrySettings::WINDOW`]. So a burst of failures, such as the death of one backend, may be repeated
//! as a whole, and a cluster that fails for longer gets few retries. (The same idea is in Finagle's `RetryBudget`.)
use parking_lot::Mutex;

use super::settings::RetrySettings;

/// The budget of one cluster. Only retries touch it, so it costs other requests nothing.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    bucket: Mutex<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    tokens: f64,
    /// The time of the last look at the bucket, and the number of first attempts until then.
    at_ms: u64,
    requests: u64,
    allowed: u64,
    refused: u64,
}

impl Retries {
    /// Takes a token for one retry; false when there is none. `attempts` is the number of all attempts of the cluster
    /// so far, retries included.
    pub(super) fn take(&self, settings: &RetrySettings, attempts: u64, now_ms: u64) -> bool {
        let window = RetrySettings::WINDOW.as_secs_f64();
        let mut bucket = self.bucket.lock();
        // Only first attempts pay, or else retries would pay for retries.
        let requests = attempts.saturating_sub(bucket.allowed);
        let first = bucket.allowed + bucket.refused == 0;
        let passed = now_ms.saturating_sub(bucket.at_ms) as f64 / 1000.0;
        let new = requests.saturating_sub(bucket.requests) as f64;
        // Of the requests since the last look, only those of the last window count.
        let recent = if passed > window { new * window / passed } else { new };
        let seconds = if first { window } else { passed.min(window) };
        bucket.tokens *= 1.0 - (passed / window).min(1.0);
        bucket.tokens += recent * f64::from(settings.percent) / 100.0;
        bucket.tokens += seconds * f64::from(settings.per_second);
        (bucket.at_ms, bucket.requests) = (now_ms, requests);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
            bucket.allowed += 1;
        } else {
            bucket.refused += 1;
        }
        allowed
    }

    /// Returns the number of retries that the budget has allowed, and that it has refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        let bucket = self.bucket.lock();
        (bucket.allowed, bucket.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_attempts_and_a_burst_is_allowed() {
        // percent, per second, attempts per ms, retries tried per ms, allowed in 20 s at least and at most
        let cases = [
            (20, 0, 10, 10, 39_000, 41_000),
            (20, 10, 0, 1, 200, 310),
            (0, 0, 10, 10, 0, 0),
            (100, 0, 10, 10, 190_000, 200_000),
        ];
        for (percent, per_second, attempts, tries, least, most) in cases {
            let settings = RetrySettings { percent, per_second, answers: false };
            let retries = Retries::default();
            for ms in 0..20_000 {
                for _ in 0..tries {
                    let (allowed, _) = retries.counts();
                    retries.take(&settings, attempts * ms + allowed, ms);
                }
            }
            let (allowed, refused) = retries.counts();
            assert_eq!(allowed + refused, 20_000 * tries);
            assert!((least..=most).contains(&allowed), "{percent} % and {per_second}/s: {allowed}");
        }
        // One of three backends dies with 300 of 900 requests in flight, after ten seconds of 1000 requests/s.
        let (retries, settings) = (Retries::default(), RetrySettings::default());
        let allowed = (0..300).filter(|_| retries.take(&settings, 10_000, 10_000)).count();
        assert_eq!(allowed, 300);
    }
}
