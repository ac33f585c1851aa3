//! The IDs of the requests.

/// Makes IDs: 32 hexadecimal digits each.
#[derive(Debug)]
pub(super) struct Ids {
    /// The first half of each ID.
    first: [u8; 16],
    /// The base of the second half.
    seed: u64,
    /// The number of IDs so far.
    made: u64,
}

impl Ids {
    pub(super) fn new(first: u64, seed: u64) -> Self {
        Ids { first: hexadecimal(first), seed, made: 0 }
    }

    pub(super) fn next(&mut self) -> [u8; 32] {
        self.made = self.made.wrapping_add(1);
        // An odd factor gives another product for each number.
        let second = (self.seed ^ self.made).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.first);
        id[16..].copy_from_slice(&hexadecimal(second));
        id
    }
}

fn hexadecimal(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (two, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        two.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits_and_differ() {
        let mut ids = Ids::new(0x0123_4567_89ab_cdef, 7);
        let mut all: Vec<_> = (0..1000).map(|_| String::from_utf8(ids.next().to_vec()).unwrap()).collect();
        assert!(all.iter().all(|id| id.starts_with("0123456789abcdef")));
        assert!(all.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }
}
