//! Comma-separated lists in field values.

/// Returns the elements of a list, without empty elements (RFC 9110 section 5.6.1).
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Removes leading and trailing spaces and tabs. No other byte is white space (RFC 9110 section 5.6.3).
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_trimmed_and_empty_elements_are_left_out() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ,\t, ", &[]),
            ("a", &["a"]),
            ("a b,\tc ", &["a b", "c"]),
            (",a,,b,", &["a", "b"]),
            ("\u{b}a", &["\u{b}a"]),
        ];
        for (list, expected) in cases {
            let found: Vec<_> = elements(list.as_bytes()).map(|e| str::from_utf8(e).unwrap()).collect();
            assert_eq!(found, *expected, "{list:?}");
        }
    }
}
