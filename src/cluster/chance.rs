//! Seeded random numbers, and the hash of keys.

/// SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixing function. Each turn seeds its own random numbers. So
/// workers share only the turn counter.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    pub(crate) fn new(seed: u64, turn: u64) -> Self {
        Random(mix(seed ^ mix(turn)))
    }

    /// Returns 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(GAMMA);
        bits
    }

    /// Returns a number above 0 and at most 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        uniform(self.bits())
    }

    /// Returns a number from 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }
}

/// Makes random bits a number above 0 and at most 1.
pub(crate) fn uniform(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Mixes the bits of a number, so that similar numbers get hashes that differ in every bit.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns the hash of a key: FNV-1a, mixed. The hash is the same in every process, so several balancers send a key to
/// the same backend.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    mix(fnv)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mean = 9000 / n as u32;
            assert!(seen.iter().all(|&count: &u32| count.abs_diff(mean) < mean / 5), "below {n}: {seen:?}");
        }
    }

    #[test]
    fn a_hash_depends_on_every_byte() {
        let keys = ["", "a", "b", "ab", "ba", "127.0.0.1:80", "127.0.0.1:81"];
        let hashes: std::collections::BTreeSet<u64> = keys.iter().map(|key| hash(key.as_bytes())).collect();
        assert_eq!(hashes.len(), keys.len());
    }
}
