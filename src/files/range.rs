//! The Range field (RFC 9110 section 14.2), limited to one range of bytes.
use std::ops::Range;

/// The part of some content that a Range field selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// The whole content. The field is invalid, or names several ranges; a server may ignore such a field.
    Whole,
    /// These bytes; at least one.
    Part(Range<u64>),
    /// The range lies outside the content (416).
    Unsatisfiable,
}

/// Returns the selection that the Range field `value` makes from content of `len` bytes.
pub(super) fn select(value: &[u8], len: u64) -> Selection {
    let Some((first, last)) = parse(value) else { return Selection::Whole };
    match (first, last) {
        (None, None) => Selection::Whole,
        (None, Some(0)) => Selection::Unsatisfiable,
        (None, Some(_)) if len == 0 => Selection::Whole,
        (None, Some(suffix)) => Selection::Part(len.saturating_sub(suffix)..len),
        (Some(first), Some(last)) if last < first => Selection::Whole,
        (Some(first), _) if first >= len => Selection::Unsatisfiable,
        (Some(first), last) => {
            Selection::Part(first..last.map_or(len, |last| len.min(last.saturating_add(1))))
        }
    }
}

/// Parses `bytes=first-last` into the two positions. When the first is missing, the last is the length of a suffix.
fn parse(value: &[u8]) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = std::str::from_utf8(value).ok()?.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim_matches([' ', '\t']).split_once('-')?;
    Some((position(first)?, position(last)?))
}

/// Parses a position. A number above 64 bits becomes the maximum; no digits give Some(None).
fn position(digits: &str) -> Option<Option<u64>> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::Selection::*;
    use super::*;

    #[test]
    fn one_range_is_selected() {
        let cases = [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=2-5", 10, Part(2..6)),
            ("Bytes=2-5", 10, Part(2..6)),
            ("bytes= 2-5\t", 10, Part(2..6)),
            ("bytes=2-", 10, Part(2..10)),
            ("bytes=2-99", 10, Part(2..10)),
            ("bytes=2-18446744073709551615", 10, Part(2..10)),
            ("bytes=2-99999999999999999999999", 10, Part(2..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-99", 10, Part(0..10)),
            ("bytes=9-9", 10, Part(9..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=5-2", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes", 10, Whole),
            ("", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=0-1,", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1--2", 10, Whole),
            ("bytes=0x1-2", 10, Whole),
            ("bytes=1 - 2", 10, Whole),
            ("bytes 0-1", 10, Whole),
            ("seconds=0-1", 10, Whole),
        ];
        for (value, len, expected) in cases {
            assert_eq!(select(value.as_bytes(), len), expected, "{value} of {len}");
        }
        assert_eq!(select(b"bytes=\xff-1", 10), Whole);
    }
}
