//! Numbers by chance, which a seed repeats.

/// A small generator of pseudo-random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        (self.next() % (most as u64 + 1)) as usize
    }

    /// True in `percent` of 100 calls.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.up_to(99) < percent
    }

    pub fn pick<'s, T>(&mut self, from: &'s [T]) -> &'s T {
        &from[self.up_to(from.len() - 1)]
    }
}

/// How many bytes move at once, and whether the order of things is left to chance.
#[derive(Debug, Clone)]
pub enum Pace {
    /// All bytes that are there. Everything that can happen happens, in a fixed order.
    Whole,
    /// One byte. Everything that can happen happens, in a fixed order.
    Bytes,
    /// From none to a few thousand bytes. Some of what can happen happens, in any order.
    Chance(Rng),
}

impl Pace {
    /// A part of `most` bytes. Under [`Pace::Chance`] it is 0 now and then: nothing moves this time.
    pub fn share(&mut self, most: usize) -> usize {
        match self {
            Pace::Whole => most,
            Pace::Bytes => most.min(1),
            Pace::Chance(rng) => {
                let few = *rng.pick(&[0, 1, 2, 7, 60, 700, 5000, 100_000]);
                most.min(rng.up_to(few))
            }
        }
    }

    /// True in `percent` of 100 calls under [`Pace::Chance`], else always.
    pub fn happens(&mut self, percent: usize) -> bool {
        match self {
            Pace::Whole | Pace::Bytes => true,
            Pace::Chance(rng) => rng.chance(percent),
        }
    }

    /// A place in a list of `len`: any under [`Pace::Chance`], else the first.
    pub fn index(&mut self, len: usize) -> usize {
        match self {
            Pace::Whole | Pace::Bytes => 0,
            Pace::Chance(rng) => rng.up_to(len - 1),
        }
    }
}
