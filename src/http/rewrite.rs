//! Heads as they are sent on: hop-by-hop fields removed, forwarding fields set (RFC 9110 section 7.6).

use std::io::Write;
use std::net::IpAddr;

use super::digits;
use super::fields::elements;
use super::framing::Framing;
use super::head::{Field, Name, RequestHead, ResponseHead, Version};

/// Room for what is added to a head beyond its own length.
const ADDED_BYTES: usize = 256;

/// How the body bytes change between the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As they came.
    Verbatim,
    /// Chunks are added (until-close towards HTTP/1.1).
    Chunk,
    /// Chunks are removed (chunked towards HTTP/1.0).
    Dechunk,
}

/// Appends the request head as the backend gets it. A trusted client's X-Forwarded fields are kept and added to.
pub fn request(head: &RequestHead<'_>, client: IpAddr, trusted: bool, out: &mut Vec<u8>) {
    out.reserve(head.len + 2 * head.host.len() + ADDED_BYTES);
    out.extend_from_slice(head.method_token.as_bytes());
    out.push(b' ');
    if head.target.starts_with('?') {
        out.push(b'/');
    }
    out.extend_from_slice(head.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(head.host.as_bytes());
    out.extend_from_slice(b"\r\n");
    let named = head.connection.names_others;
    let (mut forwarded_host, mut forwarded_proto) = (false, false);
    for field in head.fields() {
        match field.id {
            Name::Other if named && is_named(head.fields(), field.name) => {}
            Name::Other | Name::Trailer => line(&field, out),
            Name::Upgrade if head.upgrade => line(&field, out),
            Name::XForwardedHost if trusted => {
                forwarded_host = true;
                line(&field, out);
            }
            Name::XForwardedProto if trusted => {
                forwarded_proto = true;
                line(&field, out);
            }
            _ => {}
        }
    }
    framing(head.framing, out);
    if head.expects_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    out.extend_from_slice(match (head.takes_trailers, head.upgrade) {
        (true, true) => b"TE: trailers\r\nConnection: upgrade, TE\r\n",
        (true, false) => b"TE: trailers\r\nConnection: TE\r\n",
        (false, true) => b"Connection: upgrade\r\n",
        (false, false) => b"",
    });
    forwarded_for(head, client, trusted, out);
    if !forwarded_proto {
        out.extend_from_slice(b"X-Forwarded-Proto: http\r\n");
    }
    if !forwarded_host && !head.host.is_empty() {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        out.extend_from_slice(head.host.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    via(head.version, out);
    out.extend_from_slice(b"\r\n");
}

/// What the client is told about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: HTTP/1.1 keeps it.
    Implied,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: upgrade`, for 101.
    Upgrade,
}

impl Persistence {
    /// The Connection field that says it, as a line.
    pub(super) fn line(self) -> &'static [u8] {
        match self {
            Persistence::Implied => b"",
            Persistence::KeepAlive => b"Connection: keep-alive\r\n",
            Persistence::Close => b"Connection: close\r\n",
            Persistence::Upgrade => b"Connection: upgrade\r\n",
        }
    }
}

/// Appends the response head as the client gets it. Also for 1xx, to which nothing is added.
pub fn response(head: &ResponseHead<'_>, coding: Coding, persistence: Persistence, out: &mut Vec<u8>) {
    out.reserve(head.len + ADDED_BYTES);
    out.extend_from_slice(b"HTTP/1.1 ");
    digits::decimal(u64::from(head.status), out);
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let named = head.connection.names_others;
    // RFC 9110 section 15.5.22: a 426 carries Upgrade.
    let demands_upgrade = head.status == 426;
    for field in head.fields() {
        match field.id {
            Name::Other if named && is_named(head.fields(), field.name) => {}
            Name::Upgrade if persistence == Persistence::Upgrade || demands_upgrade => line(&field, out),
            Name::Trailer if coding != Coding::Dechunk => line(&field, out),
            Name::Other
            | Name::Expect
            | Name::Host
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedProto => line(&field, out),
            _ => {}
        }
    }
    if head.status >= 200 {
        framing(response_framing(head, coding), out);
        via(head.version, out);
    }
    if demands_upgrade {
        out.extend_from_slice(Persistence::Upgrade.line());
    }
    if head.status >= 200 || persistence == Persistence::Upgrade {
        out.extend_from_slice(persistence.line());
    }
    out.extend_from_slice(b"\r\n");
}

/// A response to HEAD and a 304 say how long the body would be (RFC 9110 section 8.6); a 204 has no such field.
fn response_framing(head: &ResponseHead<'_>, coding: Coding) -> Framing {
    match (coding, head.framing) {
        (Coding::Chunk, _) => Framing::Chunked,
        (Coding::Dechunk, _) => Framing::UntilClose,
        (Coding::Verbatim, Framing::None) if head.status != 204 => {
            head.content_length.map_or(Framing::None, Framing::Length)
        }
        (Coding::Verbatim, framing) => framing,
    }
}

/// One clean field says how the body ends, whatever the fields were that said it before.
fn framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Length(n) => {
            out.extend_from_slice(b"Content-Length: ");
            digits::decimal(n, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::None | Framing::UntilClose => {}
    }
}

fn line(field: &Field<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(field.value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a Connection field names the field (RFC 9110 section 7.6.1). Asked only about fields unknown to `Name`, so
/// that Host, the framing and the X-Forwarded fields cannot be taken away.
fn is_named<'b>(mut fields: impl Iterator<Item = Field<'b>>, name: &str) -> bool {
    fields.any(|field| {
        field.id == Name::Connection && elements(field.value).any(|e| e.eq_ignore_ascii_case(name.as_bytes()))
    })
}

fn forwarded_for(head: &RequestHead<'_>, client: IpAddr, trusted: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if trusted {
        for field in head.fields().filter(|f| f.id == Name::XForwardedFor && !f.value.is_empty()) {
            out.extend_from_slice(field.value);
            out.extend_from_slice(b", ");
        }
    }
    address(client, out);
    out.extend_from_slice(b"\r\n");
}

/// An IPv4 address that arrived on an IPv6 socket is written as what it is.
fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            for (n, octet) in v4.octets().into_iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                digits::decimal(u64::from(octet), out);
            }
        }
        IpAddr::V6(v6) => {
            let _infallible = write!(out, "{v6}");
        }
    }
}

/// A line of its own continues the list of those before (RFC 9110 section 5.3). It tells the version received.
fn via(received: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(match received {
        Version::Http10 => b"Via: 1.0 neraca\r\n",
        Version::Http11 => b"Via: 1.1 neraca\r\n",
    });
}
