//! Numbers as text, without the formatting machinery: these stand in every head.

/// Appends `n` in decimal.
pub(super) fn decimal(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
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
    fn numbers_are_written_as_the_formatter_writes_them() {
        for n in [0, 1, 9, 10, 15, 16, 99, 100, 255, 256, 4095, 65_536, u64::MAX / 16, u64::MAX] {
            let (mut dec, mut hex) = (Vec::new(), Vec::new());
            decimal(n, &mut dec);
            hexadecimal(n as usize, &mut hex);
            assert_eq!((dec, hex), (format!("{n}").into_bytes(), format!("{:x}", n as usize).into_bytes()));
        }
    }
}
