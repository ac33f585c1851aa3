//! The Keep-Alive field of a response (RFC 2068 section 19.7.1.1): `timeout=5, max=100`.

use std::time::Duration;

use super::digits;
use super::list::{elements, trim};

/// Returns the time for which the sender keeps the connection without a request. Zero when the sender takes no further
/// request (`max=0`). None when the field does not say.
pub(super) fn kept_for(value: &[u8]) -> Option<Duration> {
    let mut kept_for = None;
    for element in elements(value) {
        let mut parts = element.splitn(2, |&byte| byte == b'=').map(trim);
        let name = parts.next().unwrap_or_default();
        let number = parts.next().and_then(digits::parse);
        match number {
            Some(seconds) if name.eq_ignore_ascii_case(b"timeout") => {
                let stated = Duration::from_secs(seconds);
                kept_for = Some(kept_for.map_or(stated, |known: Duration| known.min(stated)));
            }
            Some(0) if name.eq_ignore_ascii_case(b"max") => return Some(Duration::ZERO),
            _ => {}
        }
    }
    kept_for
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_seconds_is_understood_and_the_rest_is_ignored() {
        let cases: [(&str, Option<u64>); 16] = [
            ("", None),
            ("5", None),
            ("timeout", None),
            ("timeout=", None),
            ("timeout=x", None),
            ("timeout=-1", None),
            ("timeout=1.5", None),
            ("timeout=\"5\"", None),
            ("timeout=99999999999999999999", None),
            ("max=100", None),
            ("timeout=5", Some(5)),
            ("max=100, Timeout = 5", Some(5)),
            ("timeout=7,timeout=5,timeout=6", Some(5)),
            ("timeout=0", Some(0)),
            ("timeout=5, max=0", Some(0)),
            ("timeout=18446744073709551615", Some(u64::MAX)),
        ];
        for (value, seconds) in cases {
            assert_eq!(kept_for(value.as_bytes()), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}
