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

/// The numbers below 100 with two digits each, one behind the other.
const PAIRS: [u8; 200] = {
    let (mut pairs, mut n) = ([0; 200], 0);
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

/// The last two digits of `n`.
fn pair(n: u64) -> &'static [u8] {
    let at = (n % 100) as usize * 2;
    &PAIRS[at..at + 2]
}

/// Appends `n` in decimal.
pub(crate) fn decimal(mut n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        return out.push(b'0' + n as u8);
    }
    let len = n.ilog10() as usize + 1;
    let (mut digits, mut at) = ([0; 20], len);
    while at > 1 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(pair(n));
        n /= 100;
    }
    if at == 1 {
        digits[0] = b'0' + n as u8;
    }
    append(digits, len, out);
}

/// Appends the first `len` bytes. The copy of a whole array needs no call, unlike the copy of a part.
fn append<const N: usize>(text: [u8; N], len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(&text);
    out.truncate(end);
}

/// Appends an address.
pub(crate) fn address(address: Ipv4Addr, out: &mut Vec<u8>) {
    let (mut text, mut len) = ([0; 16], 0);
    for octet in address.octets() {
        let (digits, digits_len) = octet_and_dot(octet);
        // The next octet overwrites what stands behind the digits.
        text[len..len + 4].copy_from_slice(&digits);
        len += digits_len;
    }
    append(text, len - 1, out);
}

/// An octet with a dot behind it, and their length. Not inlined, because the loop over the octets is unrolled.
#[inline(never)]
fn octet_and_dot(octet: u8) -> ([u8; 4], usize) {
    let digits = [b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10, b'.'];
    let skipped = usize::from(octet < 100) + usize::from(octet < 10);
    // The digits move to the front at once.
    let moved = u32::from_le_bytes(digits) >> (8 * skipped);
    (moved.to_le_bytes(), 4 - skipped)
}

/// Appends the last two digits of `n`, with a zero before one digit.
pub(crate) fn two(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(pair(n));
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
    fn numbers_are_written_as_the_formatter_writes_them() {
        for n in [0, 1, 9, 10, 15, 16, 99, 100, 255, 256, 999, 1000, 4095, 65_536, u64::MAX / 16, u64::MAX] {
            let (mut dec, mut hex) = (Vec::new(), Vec::new());
            decimal(n, &mut dec);
            hexadecimal(n as usize, &mut hex);
            assert_eq!(parse(&dec), Some(n));
            assert_eq!((dec, hex), (format!("{n}").into_bytes(), format!("{:x}", n as usize).into_bytes()));
        }
    }
}
