//! Request targets and authorities (RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use super::head::{HeadError, Method};

/// The authority, if the target carries one, and the target as an origin server gets it (RFC 9112 section 3.2).
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

/// A host with an optional port (RFC 3986 section 3.2), without user information, not empty; a comma, though the RFC
/// has it, is refused: it may come of two fields that were merged.
pub(super) fn is_authority(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port_follows = port.strip_prefix(':').map_or(port.is_empty(), is_port);
        return port_follows && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    !name.is_empty() && is_port(port) && is_registered_name(name.as_bytes())
}

fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn is_registered_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [b, rest @ ..] if b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(b) => rest,
            _ => return false,
        }
    }
}
