//! Seeded random numbers, and the hash of keys.
use std::net::IpAddr;

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

/// Returns the natural logarithm of [`uniform`], with an error below 1e-9. A larger number never has a smaller logarithm.
/// Only operations that IEEE 754 rounds exactly are used, so the result is the same on every machine. (The logarithm of
/// the standard library may differ between machines.)
pub(crate) fn ln_uniform(bits: u64) -> f64 {
    /// The square root of 1/2.
    const ROOT: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let bits = uniform(bits).to_bits();
    // The number is mantissa * 2^exponent, and the mantissa is from the root of 1/2 to the root of 2.
    let exponent = (bits as i64 - ROOT as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << 52));
    let part = (mantissa - 1.0) / (mantissa + 1.0);
    let square = part * part;
    let series =
        1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * (1.0 / 9.0))));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * part * series
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

/// Returns the hash of an address. An IPv4 address that is written as an IPv6 address has the same hash (RFC 4291 section
/// 2.5.5.2): a listener for both sees such addresses.
pub(crate) fn hash_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_address_does_not_depend_on_the_listener() {
        let hash = |address: &str| hash_address(address.parse().unwrap());
        assert_eq!(hash("192.0.2.1"), hash("::ffff:192.0.2.1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8::2"));
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
    fn the_logarithm_is_close_and_ascends() {
        let cases = [0, 1 << 11, u64::MAX, u64::MAX / 2, u64::MAX / 3, u64::MAX / 10 * 7, 1 << 40];
        let random = (0..10_000).map(|n| mix(n) >> (n % 50));
        let mut numbers: Vec<u64> = cases.into_iter().chain(random).collect();
        numbers.sort_unstable();
        for &bits in &numbers {
            let exact = uniform(bits).ln();
            assert!((ln_uniform(bits) - exact).abs() < 1e-9, "{bits}: {} and {exact}", ln_uniform(bits));
        }
        assert!(numbers.windows(2).all(|pair| ln_uniform(pair[0]) <= ln_uniform(pair[1])));
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
