//! Parses and writes numbers as text. Every head has numbers, and this code is faster than the formatter of the
//! standard library.

use std::net::Ipv4Addr;

/// Parses a decimal number. None unless every byte is a digit and the number fits 64 bits.
pub(super) fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        if !b.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}

/// The eight digits of `n`, which is below 10^8, with zeros before a short number. The first digit is the lowest byte.
/// All digits are computed at once, in one word: two parts of four digits, then four parts of two, then eight of one.
fn eight(n: u64) -> u64 {
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    // The factors replace divisions by 100 and by 10. They are exact for numbers of four and of two digits.
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

/// Makes texts of eight digits.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The first `len` bytes of a word are a text; the first byte is the lowest. The copy of a whole word needs no call, unlike
/// the copy of a part, and the next text overwrites the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    pub(crate) bytes: [u8; 8],
    pub(crate) len: usize,
}

impl Word {
    /// The text without the first `skipped` of its eight bytes.
    fn skip(text: u64, skipped: u32) -> Self {
        Word { bytes: (text >> (8 * skipped)).to_le_bytes(), len: 8 - skipped as usize }
    }

    fn append(self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// Numbers below this one have eight digits at most.
const EIGHT_DIGITS: u64 = 100_000_000;

/// `n` in decimal; None when `n` has more than eight digits.
pub(crate) fn short(n: u64) -> Option<Word> {
    match n {
        0..10 => Some(Word { bytes: [b'0' + n as u8, 0, 0, 0, 0, 0, 0, 0], len: 1 }),
        10..EIGHT_DIGITS => {
            let digits = eight(n);
            Some(Word::skip(digits | ZEROS, digits.trailing_zeros() / 8))
        }
        _ => None,
    }
}

/// Appends `n` in decimal.
pub(crate) fn decimal(n: u64, out: &mut Vec<u8>) {
    match short(n) {
        Some(word) => word.append(out),
        None => {
            decimal(n / EIGHT_DIGITS, out);
            out.extend_from_slice(&(eight(n % EIGHT_DIGITS) | ZEROS).to_le_bytes());
        }
    }
}

/// Appends six digits of `n`, which is below 10^6, with zeros before a short number.
pub(crate) fn six(n: u64, out: &mut Vec<u8>) {
    Word::skip(eight(n) | ZEROS, 2).append(out);
}

/// Appends two digits of `n`, which is below 100, with a zero before one digit.
pub(crate) fn two(n: u64, out: &mut Vec<u8>) {
    Word::skip(eight(n) | ZEROS, 6).append(out);
}

/// The text of each octet with a dot behind it; the first byte is the lowest.
const OCTETS: [u32; 256] = {
    let (mut octets, mut n) = ([0; 256], 0);
    while n < 256 {
        let octet = n as u8;
        let digits = [b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10, b'.'];
        octets[n] = u32::from_le_bytes(digits) >> (8 * (4 - octet_len(octet)));
        n += 1;
    }
    octets
};

/// The length of an octet with a dot behind it.
const fn octet_len(octet: u8) -> usize {
    2 + (octet > 9) as usize + (octet > 99) as usize
}

/// Appends an address.
pub(crate) fn address(address: Ipv4Addr, out: &mut Vec<u8>) {
    let [first, second] = octets(address);
    first.append(out);
    second.append(out);
    out.truncate(out.len() - 1);
}

/// The four octets of an address, each with a dot behind it, in two parts.
#[inline]
pub(crate) fn octets(address: Ipv4Addr) -> [Word; 2] {
    let [a, b, c, d] = address.octets();
    [(a, b), (c, d)].map(|(first, second)| {
        let [one, two] = [first, second].map(|octet| u64::from(OCTETS[usize::from(octet)]));
        let len = octet_len(first);
        Word { bytes: (one | (two << (8 * len))).to_le_bytes(), len: len + octet_len(second) }
    })
}

/// Appends `n` in hexadecimal.
pub(super) fn hexadecimal(n: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - n.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(n >> (4 * digit)) & 15]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_formatter_writes_them() {
        for octet in 0..=255 {
            let (v4, mut out) = (Ipv4Addr::new(octet, 255 - octet, octet / 2, octet / 25), Vec::new());
            address(v4, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), v4.to_string());
        }
    }

    #[test]
    fn digits_of_a_fixed_number() {
        for n in 0..1_000_000 {
            let digits = (eight(99_000_000 + n) | ZEROS).to_le_bytes();
            assert_eq!(digits, format!("99{n:06}").as_bytes());
        }
        let mut out = Vec::new();
        six(42, &mut out);
        two(7, &mut out);
        assert_eq!(out, b"00004207");
    }

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        let powers = (0..64).map(|power| 1 << power).chain((0..20).map(|power| 10_u64.pow(power)));
        for n in powers.flat_map(|power| [power - 1, power, power + power / 3]).chain([u64::MAX]) {
            let (mut dec, mut hex) = (Vec::new(), Vec::new());
            decimal(n, &mut dec);
            hexadecimal(n as usize, &mut hex);
            assert_eq!(parse(&dec), Some(n));
            assert_eq!((dec, hex), (format!("{n}").into_bytes(), format!("{:x}", n as usize).into_bytes()));
        }
    }
}
