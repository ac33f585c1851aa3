//! Request targets and authorities (RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use super::digits;
use super::error::HeadError;
use super::method::Method;

/// Splits a target into its authority, if it has one, and the target for an origin server (RFC 9112 section 3.2).
pub(super) fn split_target(method: Method, target: &str) -> Result<(Option<&str>, &str), HeadError> {
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(if target.contains('#') { HeadError::Fragment } else { HeadError::BadTarget });
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" {
        return if method == Method::Options { Ok((None, target)) } else { Err(HeadError::BadTarget) };
    }
    let (scheme, rest) = target.split_once("://").ok_or(HeadError::BadTarget)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(HeadError::BadTarget);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority) {
        return Err(HeadError::BadHost);
    }
    match (path, method) {
        ("", Method::Options) => Ok((Some(authority), "*")),
        ("", _) => Ok((Some(authority), "/")),
        _ => Ok((Some(authority), path)),
    }
}

/// True for a host with an optional port (RFC 3986 section 3.2). An empty host and user information are refused. A
/// comma is refused too, because it may come from two merged Host fields; the RFC allows a comma.
pub(super) fn is_authority(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port_follows = port.strip_prefix(':').map_or(port.is_empty(), |port| is_port(port.as_bytes()));
        return port_follows && address.parse::<Ipv6Addr>().is_ok();
    }
    let mut name = authority.as_bytes();
    if name.first().is_none_or(|first| *first == b':') {
        return false;
    }
    loop {
        let end = name.iter().position(|b| !IN_NAMES[usize::from(*b)]).unwrap_or(name.len());
        name = match &name[end..] {
            [] => return true,
            [b':', port @ ..] => return is_port(port),
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            _ => return false,
        }
    }
}

fn is_port(port: &[u8]) -> bool {
    port.is_empty() || digits::parse(port).is_some_and(|port| port <= u64::from(u16::MAX))
}

/// The bytes of a registered name, by value. A percent sign needs a look at the two digits behind it.
const IN_NAMES: [bool; 256] = {
    let (mut table, others) = ([false; 256], b"-._~!$&'()*+;=");
    let mut at = 0;
    while at < 256 {
        table[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use HeadError::{BadHost, BadTarget, Fragment};

    #[test]
    fn targets_in_all_their_forms() {
        type Case = (Method, &'static str, Result<(Option<&'static str>, &'static str), HeadError>);
        let cases: &[Case] = &[
            (Method::Get, "/", Ok((None, "/"))),
            (Method::Get, "/a?b=c://d", Ok((None, "/a?b=c://d"))),
            (Method::Get, "//a/b", Ok((None, "//a/b"))),
            (Method::Options, "*", Ok((None, "*"))),
            (Method::Get, "*", Err(BadTarget)),
            (Method::Options, "*a", Err(BadTarget)),
            (Method::Get, "http://a", Ok((Some("a"), "/"))),
            (Method::Get, "HTTP://a:80/b?c", Ok((Some("a:80"), "/b?c"))),
            (Method::Get, "https://[::1]:8/", Ok((Some("[::1]:8"), "/"))),
            (Method::Get, "http://a?b", Ok((Some("a"), "?b"))),
            (Method::Options, "http://a", Ok((Some("a"), "*"))),
            (Method::Options, "http://a/", Ok((Some("a"), "/"))),
            (Method::Get, "http://", Err(BadHost)),
            (Method::Get, "http:///a", Err(BadHost)),
            (Method::Get, "http://u@a/", Err(BadHost)),
            (Method::Get, "http://a:b/", Err(BadHost)),
            (Method::Get, "ftp://a/", Err(BadTarget)),
            (Method::Get, "http:a", Err(BadTarget)),
            (Method::Get, "a/b", Err(BadTarget)),
            (Method::Get, "a:80", Err(BadTarget)),
            (Method::Get, "?a", Err(BadTarget)),
            (Method::Get, "/a#b", Err(Fragment)),
            (Method::Get, "/a b", Err(BadTarget)),
            (Method::Get, "/\u{e4}", Err(BadTarget)),
            (Method::Get, "/\u{7f}", Err(BadTarget)),
            (Method::Get, "/\t", Err(BadTarget)),
        ];
        for (method, target, expected) in cases {
            assert_eq!(split_target(*method, target), *expected, "{method:?} {target}");
        }
    }

    #[test]
    fn authorities() {
        let good = [
            "a",
            "a.b",
            "a:80",
            "a:",
            "A-b_c.~d",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:65535",
            "[::ffff:1.2.3.4]",
            "%41",
            "a!$&'()*+;=",
            "a:0",
        ];
        let bad = [
            "",
            ":80",
            "a b",
            "a,b",
            "u@a",
            "u:p@a",
            "a:b",
            "a:65536",
            "a:99999999999",
            "a:8:9",
            "a:+8",
            "a:-1",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::g]",
            "[::1]a",
            "[::1]:a",
            "[::1%25eth0]",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "%4",
            "%zz",
            "a\"",
            "a<b",
            "\u{e4}",
            "a\t",
            "a\u{0}",
        ];
        for authority in good {
            assert!(is_authority(authority), "{authority}");
        }
        for authority in bad {
            assert!(!is_authority(authority), "{authority}");
        }
    }
}
