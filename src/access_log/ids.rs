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

/// All digits of a half are computed at once, in one word with a digit in each byte.
fn hexadecimal(number: u64) -> [u8; 16] {
    let eight = |half: u64| {
        let fours = (half | (half << 16)) & 0x0000_ffff_0000_ffff;
        let twos = (fours | (fours << 8)) & 0x00ff_00ff_00ff_00ff;
        let digits = (twos | (twos << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
        // One for each digit above 9. Behind '9' come 39 other characters, then 'a'.
        let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        (digits + u64::from_ne_bytes([b'0'; 8]) + 39 * letters).to_be_bytes()
    };
    let mut text = [0; 16];
    text[..8].copy_from_slice(&eight(number >> 32));
    text[8..].copy_from_slice(&eight(number & 0xffff_ffff));
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

    #[test]
    fn digits_are_what_the_formatter_writes() {
        for number in [0, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX, 0xa0b1] {
            assert_eq!(hexadecimal(number), format!("{number:016x}").as_bytes(), "{number:x}");
        }
    }
}
