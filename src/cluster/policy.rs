//! The policies that pick a backend. A policy sees the available backends and the number of the pick.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::backend::Backend;

/// The rule that picks one of the available backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// The backends take turns.
    RoundRobin,
    /// The backend with the fewest requests in flight; among equals, a random one.
    #[default]
    LeastRequests,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Policy; 2] = [Policy::RoundRobin, Policy::LeastRequests];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Policy::RoundRobin => "round-robin",
            Policy::LeastRequests => "least-requests",
        }
    }

    /// Picks one of `candidates`; None when there are none. `turn` is the number of the pick. The same seed and the
    /// same turn make the same pick.
    pub(super) fn pick<'a, I>(self, candidates: I, turn: u64, seed: u64) -> Option<&'a Arc<Backend>>
    where
        I: Iterator<Item = &'a Arc<Backend>> + Clone,
    {
        match self {
            Policy::RoundRobin => round_robin(candidates, turn),
            Policy::LeastRequests => least_requests(candidates, Random::new(seed, turn)),
        }
    }
}

/// Counts turns over the candidates only. If ejected backends counted too, the backend after an ejected one would get a
/// double share.
fn round_robin<'a, I>(mut candidates: I, turn: u64) -> Option<&'a Arc<Backend>>
where
    I: Iterator<Item = &'a Arc<Backend>> + Clone,
{
    let count = candidates.clone().count() as u64;
    let nth = turn.checked_rem(count)? as usize;
    // Another worker may eject a backend between the count and the pick. Then any candidate will do.
    candidates.clone().nth(nth).or_else(|| candidates.next())
}

/// Picks in one pass. The n-th of equal candidates replaces the earlier pick with probability 1/n, so equal candidates
/// are equally likely. Without the random pick all workers would pick the same idle backend.
fn least_requests<'a>(
    candidates: impl Iterator<Item = &'a Arc<Backend>>,
    mut random: Random,
) -> Option<&'a Arc<Backend>> {
    let mut picked = None;
    let (mut least, mut equals) = (u32::MAX, 0);
    for backend in candidates {
        let in_flight = backend.in_flight();
        if picked.is_none() || in_flight < least {
            (picked, least, equals) = (Some(backend), in_flight, 1);
        } else if in_flight == least {
            equals += 1;
            if random.below(equals) == 0 {
                picked = Some(backend);
            }
        }
    }
    picked
}

/// SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixing function. Each turn seeds its own random numbers. So
/// workers share only the turn counter.
struct Random(u64);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    fn new(seed: u64, turn: u64) -> Self {
        Random(mix(seed ^ mix(turn)))
    }

    /// A number from 0 to `n` - 1.
    fn below(&mut self, n: u32) -> u32 {
        let bits = mix(self.0) >> 32;
        self.0 = self.0.wrapping_add(GAMMA);
        ((bits * u64::from(n)) >> 32) as u32
    }
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for an unknown policy name. Display lists the known names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is one of ")?;
        for (i, policy) in Policy::ALL.iter().enumerate() {
            write!(f, "{}{policy}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name).ok_or(UnknownPolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        for name in ["", "roundrobin", "Round-Robin", "least-requests "] {
            assert_eq!(name.parse::<Policy>(), Err(UnknownPolicy), "{name:?}");
        }
        assert_eq!(UnknownPolicy.to_string(), "it is one of round-robin, least-requests");
    }

    #[test]
    fn mix_is_splitmix64() {
        // The first outputs of the published generator seeded with 1234567.
        let outputs: Vec<u64> =
            (0..3).map(|i| mix(1_234_567_u64.wrapping_add(GAMMA.wrapping_mul(i)))).collect();
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_reach_it() {
        for n in 1..=9 {
            let mut seen = vec![0; n as usize];
            for turn in 0..9000 {
                seen[Random::new(42, turn).below(n) as usize] += 1;
            }
            let mean = 9000 / n;
            assert!(seen.iter().all(|&count: &u32| count.abs_diff(mean) < mean / 5), "below {n}: {seen:?}");
        }
    }
}
