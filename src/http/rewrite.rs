//! Rewrites heads before they are forwarded: removes hop-by-hop fields and sets forwarding fields (RFC 9110 section
//! 7.6).

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

use super::cookie::SetCookie;
use super::digits;
use super::fields::{Field, Fields, Name, upgrade_protocols};
use super::framing::Framing;
use super::list::elements;
use super::method::Version;
use super::request::RequestHead;
use super::response::ResponseHead;

/// The name of the field with the identity of a request.
pub const REQUEST_ID: &str = "X-Request-ID";

/// Bytes reserved for the fields that are added to a head.
const ADDED_BYTES: usize = 256;

/// The change of the body's coding between backend and client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// No change.
    Verbatim,
    /// Chunks are added: the backend ends the body by closing, and the client accepts chunks.
    Chunk,
    /// Chunks are removed: the client has HTTP/1.0.
    Dechunk,
}

/// The origin of a request, which the X-Forwarded fields report to the backend.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// True when the client's connection is encrypted.
    pub encrypted: bool,
    /// True when the client is a trusted proxy. Then its X-Forwarded fields are kept, and its address is appended.
    pub trusted: bool,
    /// True to write the same in a Forwarded field (RFC 7239) too.
    pub forwarded: bool,
    /// The value of X-Request-ID, which replaces a field of the client; None to leave that field as it is.
    pub id: Option<&'a [u8]>,
}

/// Appends the request head for the backend to `out`.
pub fn request(head: &RequestHead<'_>, origin: &Origin<'_>, out: &mut Vec<u8>) {
    let &Origin { client, encrypted, trusted, forwarded, id } = origin;
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
    for field in head.fields.iter() {
        match field.id {
            Name::Other if named && is_named(head.fields, field.name) => {}
            Name::Other if id.is_some() && field.name.eq_ignore_ascii_case(REQUEST_ID) => {}
            Name::Other | Name::Date | Name::Trailer => line(&field, out),
            Name::MaxForwards if head.max_forwards.is_none() => line(&field, out),
            Name::Upgrade if head.upgrade => upgrade(field.value, out),
            Name::Forwarding if trusted => line(&field, out),
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
    if let Some(remaining) = head.max_forwards {
        out.extend_from_slice(b"Max-Forwards: ");
        digits::decimal(remaining.saturating_sub(1), out);
        out.extend_from_slice(b"\r\n");
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
        out.extend_from_slice(match encrypted {
            true => b"X-Forwarded-Proto: https\r\n",
            false => b"X-Forwarded-Proto: http\r\n",
        });
    }
    if !forwarded_host && !head.host.is_empty() {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        out.extend_from_slice(head.host.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(id) = id {
        out.extend_from_slice(b"X-Request-ID: ");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
    }
    if forwarded {
        forwarded_element(head, client, encrypted, out);
    }
    via(head.version, out);
    out.extend_from_slice(b"\r\n");
}

/// The Connection field of a response, which says whether the client's connection is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// No Connection field: HTTP/1.1 keeps the connection.
    Implied,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: upgrade`, for 101.
    Upgrade,
}

impl Persistence {
    /// Returns the line of the Connection field.
    pub(super) fn line(self) -> &'static [u8] {
        match self {
            Persistence::Implied => b"",
            Persistence::KeepAlive => b"Connection: keep-alive\r\n",
            Persistence::Close => b"Connection: close\r\n",
            Persistence::Upgrade => b"Connection: upgrade\r\n",
        }
    }
}

/// Appends the response head for the client to `out`. A response without Date gets `date`, the current time (RFC 9110
/// section 6.6.1). `cookie` begins a session. No other field is added to an interim response (1xx).
pub fn response(
    head: &ResponseHead<'_>,
    coding: Coding,
    persistence: Persistence,
    date: &[u8; 29],
    cookie: Option<&SetCookie>,
    out: &mut Vec<u8>,
) {
    out.reserve(head.len + ADDED_BYTES);
    out.extend_from_slice(b"HTTP/1.1 ");
    digits::decimal(u64::from(head.status), out);
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let named = head.connection.names_others;
    // A 426 must have an Upgrade field (RFC 9110 section 15.5.22).
    let demands_upgrade = head.status == 426;
    let mut dated = false;
    for field in head.fields.iter() {
        match field.id {
            Name::Other if named && is_named(head.fields, field.name) => {}
            Name::Date => {
                dated = true;
                line(&field, out);
            }
            Name::Upgrade if persistence == Persistence::Upgrade || demands_upgrade => line(&field, out),
            Name::Trailer if coding != Coding::Dechunk => line(&field, out),
            Name::Other
            | Name::Expect
            | Name::Forwarding
            | Name::Host
            | Name::MaxForwards
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedProto => line(&field, out),
            _ => {}
        }
    }
    if head.status >= 200 {
        if !dated {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        framing(response_framing(head, coding), out);
        via(head.version, out);
    }
    if let Some(cookie) = cookie {
        cookie.write(out);
    }
    if demands_upgrade {
        out.extend_from_slice(Persistence::Upgrade.line());
    }
    if head.status >= 200 || persistence == Persistence::Upgrade {
        out.extend_from_slice(persistence.line());
    }
    out.extend_from_slice(b"\r\n");
}

/// Returns the framing for the response head. A response to HEAD and a 304 state the length that the body would have
/// (RFC 9110 section 8.6). A 204 states no length.
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

/// Writes one framing field. The received framing fields are not copied.
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

/// Writes an Upgrade field with the protocols that may be forwarded. Writes nothing when there are none.
#[inline(never)]
fn upgrade(value: &[u8], out: &mut Vec<u8>) {
    let mut separator: &[u8] = b"Upgrade: ";
    for protocol in upgrade_protocols(value) {
        out.extend_from_slice(separator);
        out.extend_from_slice(protocol);
        separator = b", ";
    }
    if separator == b", " {
        out.extend_from_slice(b"\r\n");
    }
}

/// True when a Connection field names the field (RFC 9110 section 7.6.1). Called only for fields that `Name` does not
/// know. So a Connection field cannot remove Host, the framing fields or the X-Forwarded fields.
#[inline(never)]
fn is_named(fields: Fields<'_>, name: &str) -> bool {
    fields.iter().any(|field| {
        field.id == Name::Connection && elements(field.value).any(|e| e.eq_ignore_ascii_case(name.as_bytes()))
    })
}

fn forwarded_for(head: &RequestHead<'_>, client: IpAddr, trusted: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if trusted {
        for field in head.fields.iter().filter(|f| f.id == Name::XForwardedFor && !f.value.is_empty()) {
            out.extend_from_slice(field.value);
            out.extend_from_slice(b", ");
        }
    }
    address(client, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes our element of the Forwarded field, on a line of its own behind those of trusted proxies. The lines are one list
/// (RFC 9110 section 5.3). Host and IPv6 address are quoted, because they may hold a colon (RFC 7239 sections 4 and 6).
#[inline(never)]
fn forwarded_element(head: &RequestHead<'_>, client: IpAddr, encrypted: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Forwarded: for=");
    match client.to_canonical() {
        v4 @ IpAddr::V4(_) => address(v4, out),
        v6 @ IpAddr::V6(_) => {
            out.extend_from_slice(b"\"[");
            address(v6, out);
            out.extend_from_slice(b"]\"");
        }
    }
    if !head.host.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(head.host.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(if encrypted { b";proto=https\r\n" } else { b";proto=http\r\n" });
}

/// Writes an address. An IPv4-mapped IPv6 address is written as an IPv4 address.
fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(v4) => digits::address(v4, out),
        IpAddr::V6(v6) => address_v6(v6, out),
    }
}

#[inline(never)]
fn address_v6(v6: Ipv6Addr, out: &mut Vec<u8>) {
    let _infallible = write!(out, "{v6}");
}

/// Writes our Via field with the version of the received message. The line extends the list of earlier Via lines (RFC
/// 9110 section 5.3).
fn via(received: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(match received {
        Version::Http10 => b"Via: 1.0 neraca\r\n",
        Version::Http11 => b"Via: 1.1 neraca\r\n",
    });
}

#[cfg(test)]
mod tests {
    use super::super::head::{FieldSlots, HeadLimits, HeadScan, Method};
    use super::*;
    use proptest::prelude::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 100));

    fn sent_on(text: &str, client: IpAddr, trusted: bool) -> Option<String> {
        let (mut slots, mut out) = (FieldSlots::new(), Vec::new());
        let head =
            HeadScan::default().request(text.as_bytes(), &HeadLimits::default(), &mut slots).ok()??;
        request(&head, &Origin { client, encrypted: false, trusted, forwarded: false, id: None }, &mut out);
        String::from_utf8(out).ok()
    }

    fn sent_back(text: &str, asked: Method, coding: Coding, persistence: Persistence) -> String {
        let (mut slots, mut out) = (FieldSlots::new(), Vec::new());
        let head = HeadScan::default().response(text.as_bytes(), asked, &HeadLimits::default(), &mut slots);
        response(&head.unwrap().unwrap(), coding, persistence, DATE, None, &mut out);
        String::from_utf8(out).unwrap()
    }

    const ADDED: &str = "X-Forwarded-For: 192.0.2.100\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 neraca\r\n\r\n";

    #[test]
    fn forwarded_says_the_same_as_the_other_fields() {
        let text = "GET / HTTP/1.1\r\nHost: a:80\r\nForwarded: for=10.0.0.1\r\n\r\n";
        // client, trusted, encrypted, the values
        let cases: [(&str, bool, bool, &[&str]); 4] = [
            ("192.0.2.1", false, false, &["for=192.0.2.1;host=\"a:80\";proto=http"]),
            ("::ffff:192.0.2.1", false, true, &["for=192.0.2.1;host=\"a:80\";proto=https"]),
            ("2001:db8::1", false, false, &["for=\"[2001:db8::1]\";host=\"a:80\";proto=http"]),
            ("192.0.2.1", true, false, &["for=10.0.0.1", "for=192.0.2.1;host=\"a:80\";proto=http"]),
        ];
        for (client, trusted, encrypted, values) in cases {
            let (mut slots, mut out) = (FieldSlots::new(), Vec::new());
            let head = HeadScan::default().request(text.as_bytes(), &HeadLimits::default(), &mut slots);
            let origin =
                Origin { client: client.parse().unwrap(), encrypted, trusted, forwarded: true, id: None };
            request(&head.unwrap().unwrap(), &origin, &mut out);
            let out = String::from_utf8(out).unwrap();
            let found: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("Forwarded: ")).collect();
            assert_eq!(found, values, "{client}");
        }
    }

    #[test]
    fn requests_as_the_backend_gets_them() {
        // (request line, fields after `Host: a`, forwarded head up to the forwarding fields)
        let cases: &[(&str, &str, &str)] = &[
            ("GET / HTTP/1.1", "", "GET / HTTP/1.1\r\nHost: a\r\n"),
            ("GET /b?c HTTP/1.1", "X:  y \r\n", "GET /b?c HTTP/1.1\r\nHost: a\r\nX: y\r\n"),
            ("GET http://a/b HTTP/1.1", "", "GET /b HTTP/1.1\r\nHost: a\r\n"),
            ("GET http://a?b HTTP/1.1", "", "GET /?b HTTP/1.1\r\nHost: a\r\n"),
            ("OPTIONS * HTTP/1.1", "", "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
            (
                "PUT / HTTP/1.1",
                "content-length: 007, 7\r\n",
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n",
            ),
            (
                "PUT / HTTP/1.1",
                "Content-Length: 7\r\nContent-Length: 7\r\n",
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n",
            ),
            (
                "PUT / HTTP/1.1",
                "TRANSFER-encoding: Chunked\r\nTrailer: X\r\n",
                "PUT / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n",
            ),
            (
                "GET / HTTP/1.1",
                "Connection: close, x-y\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nX-Y: z\r\nX-Z: y\r\nUpgrade: h2c\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX-Z: y\r\n",
            ),
            (
                "PUT / HTTP/1.1",
                "Connection: Host, Content-Length, Transfer-Encoding, X-Forwarded-For, x-forwarded-host, X-Forwarded-Proto\r\n\
                 Content-Length: 1\r\n",
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n",
            ),
            (
                "GET / HTTP/1.1",
                "Connection: a\r\nA: 1\r\nB: 2\r\nConnection: ,b ,\t\"\r\nC: 3\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nC: 3\r\n",
            ),
            (
                "GET / HTTP/1.1",
                "TE: gzip, trailers\r\nConnection: TE\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n",
            ),
            ("GET / HTTP/1.1", "TE: gzip\r\nConnection: TE\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
            (
                "GET / HTTP/1.1",
                "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
            ),
            (
                "GET / HTTP/1.1",
                "Upgrade: a\r\nTE: trailers\r\nConnection: Upgrade, TE\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nTE: trailers\r\nConnection: upgrade, TE\r\n",
            ),
            (
                "PUT / HTTP/1.1",
                "Expect: 100-Continue\r\nContent-Length: 1\r\n",
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n",
            ),
            ("GET / HTTP/1.1", "Expect: 100-continue\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
            (
                "GET / HTTP/1.1",
                "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-proto: https\r\nX-FORWARDED-HOST: evil\r\nVia: 1.1 b\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 b\r\n",
            ),
        ];
        for (line, fields, expected) in cases {
            let text = format!("{line}\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(sent_on(&text, CLIENT, false), Some(format!("{expected}{ADDED}")), "{text}");
        }
    }

    #[test]
    fn forwarding_fields_follow_the_client() {
        let of = |text: &str, client: &str, trusted| {
            let sent = sent_on(text, client.parse().unwrap(), trusted).unwrap();
            sent.split_inclusive('\n')
                .filter(|l| l.starts_with("X-F") || l.starts_with("x-f"))
                .collect::<String>()
        };
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-For:\r\n\
            X-Forwarded-For: ::3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\r\n";
        let trusted = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\
            X-Forwarded-For: 1.1.1.1, 2.2.2.2, ::3, 0.10.255.9\r\n";
        assert_eq!(of(text, "0.10.255.9", true), trusted);
        let own = "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n";
        assert_eq!(of(text, "2001:db8::1", false), own);
        assert_eq!(of("GET http://a HTTP/1.1\r\nHost: b\r\n\r\n", "2001:db8::1", true), own);
        let mapped = of("GET / HTTP/1.0\r\n\r\n", "::ffff:192.0.2.1", false);
        assert_eq!(mapped, "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n");
    }

    #[test]
    fn fields_that_tell_of_a_client_are_believed_only_of_a_trusted_one() {
        let forged = "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nx-real_ip: 1.1.1.1\r\nX-Forwarded-Port: 1\r\n\
            X-Forwarded-Server: s\r\nx-forwarded-prefix: /p\r\nX-Forwarded-Client-Cert: c\r\n\
            X_Forwarded_For: 1.1.1.1\r\nX-Forwarded_For: 1.1.1.1\r\nx_forwarded-host: h\r\nX_FORWARDED_PROTO: https\r\n";
        let honest = "X-Forward: a\r\nX-Forwarded: b\r\nXForwardedFor: c\r\nX-Real: d\r\nForwarded-By: e\r\n";
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}{honest}\r\n");
        let start = "GET / HTTP/1.1\r\nHost: a\r\n";
        assert_eq!(sent_on(&text, CLIENT, false), Some(format!("{start}{honest}{ADDED}")));
        assert_eq!(sent_on(&text, CLIENT, true), Some(format!("{start}{forged}{honest}{ADDED}")));
        // A Connection field cannot remove a field of a trusted proxy.
        let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: forwarded\r\nForwarded: for=b\r\n\r\n";
        let sent = format!("{start}Forwarded: for=b\r\n{ADDED}");
        assert_eq!(sent_on(text, CLIENT, true), Some(sent));
    }

    #[test]
    fn an_upgrade_to_http_2_is_not_passed_on() {
        let upgraded = "Upgrade: websocket\r\nConnection: upgrade\r\n";
        let cases = [
            ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAM\r\n", ""),
            ("Upgrade: H2C\r\nUpgrade: , h2c\r\nConnection: upgrade\r\n", ""),
            ("HTTP2-Settings: AAM\r\n", ""),
            ("Upgrade: websocket, h2c\r\nConnection: upgrade\r\n", upgraded),
            (
                "Upgrade: h2c,websocket\r\nConnection: upgrade, http2-settings\r\nHttp2-Settings: AAM\r\n",
                upgraded,
            ),
            ("Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: upgrade\r\n", upgraded),
            ("Upgrade: a/1, h2c, b\r\nConnection: upgrade\r\n", "Upgrade: a/1, b\r\nConnection: upgrade\r\n"),
            ("Upgrade: h2cx\r\nConnection: upgrade\r\n", "Upgrade: h2cx\r\nConnection: upgrade\r\n"),
        ];
        for (fields, expected) in cases {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let sent = format!("GET / HTTP/1.1\r\nHost: a\r\n{expected}{ADDED}");
            assert_eq!(sent_on(&text, CLIENT, false), Some(sent), "{fields}");
        }
    }

    #[test]
    fn an_old_request_becomes_a_new_one() {
        let sent = sent_on("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", CLIENT, false).unwrap();
        assert!(sent.starts_with("GET / HTTP/1.1\r\nHost: \r\nX-"), "{sent}");
        assert!(sent.ends_with("Via: 1.0 neraca\r\n\r\n"), "{sent}");
    }

    #[test]
    fn responses_as_the_client_gets_them() {
        use Coding::{Chunk, Dechunk, Verbatim};
        use Persistence::{Close, Implied, KeepAlive, Upgrade};
        type Case = (&'static str, Method, Coding, Persistence, &'static str);
        let get = Method::Get;
        let cases: &[Case] = &[
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 05\r\nKeep-Alive: 5\r\nConnection: close, x\r\nX: y\r\nY: z\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 200 OK\r\nY: z\r\nContent-Length: 5\r\nVia: 1.1 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.0 404 \r\nVia: 1.0 b\r\n\r\n",
                get,
                Chunk,
                Implied,
                "HTTP/1.1 404 \r\nVia: 1.0 b\r\nTransfer-Encoding: chunked\r\nVia: 1.0 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\n",
                get,
                Verbatim,
                Close,
                "HTTP/1.1 200 OK\r\nVia: 1.1 neraca\r\nConnection: close\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 200 OK\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\nVia: 1.1 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n",
                get,
                Dechunk,
                Close,
                "HTTP/1.1 200 OK\r\nVia: 1.1 neraca\r\nConnection: close\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Method::Head,
                Verbatim,
                KeepAlive,
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 neraca\r\nConnection: keep-alive\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Method::Head,
                Verbatim,
                Implied,
                "HTTP/1.1 200 OK\r\nVia: 1.1 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nVia: 1.1 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 204 No Content\r\nVia: 1.1 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", get, Verbatim, Close, "HTTP/1.1 100 Continue\r\n\r\n"),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nA: b\r\n\r\n",
                get,
                Verbatim,
                Upgrade,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nA: b\r\nConnection: upgrade\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 neraca\r\n\r\n",
            ),
            (
                "HTTP/1.1 426 Upgrade Required\r\nUpgrade: a\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
                get,
                Verbatim,
                Implied,
                "HTTP/1.1 426 Upgrade Required\r\nUpgrade: a\r\nContent-Length: 0\r\nVia: 1.1 neraca\r\n\
                 Connection: upgrade\r\n\r\n",
            ),
        ];
        for (text, asked, coding, persistence, expected) in cases {
            // The backend's own Date stays, so no Date is added.
            let dated = |head: &str| head.replacen("\r\n", "\r\nDate: b\r\n", 1);
            let sent = sent_back(&dated(text), *asked, *coding, *persistence);
            assert_eq!(sent, dated(expected), "{text}");
        }
    }

    #[test]
    fn a_response_without_date_gets_one() {
        let back = |text: &str| sent_back(text, Method::Get, Coding::Verbatim, Persistence::Implied);
        let date = str::from_utf8(DATE).unwrap();
        for status in ["200 OK", "204 No Content", "304 Not Modified", "502 Bad Gateway"] {
            let sent = back(&format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n"));
            assert!(sent.starts_with(&format!("HTTP/1.1 {status}\r\nA: b\r\nDate: {date}\r\n")), "{sent}");
            let sent = back(&format!("HTTP/1.1 {status}\r\ndate: then\r\nConnection: date\r\n\r\n"));
            assert!(sent.contains("\r\ndate: then\r\n") && !sent.contains(date), "{sent}");
        }
        for status in ["100 Continue", "103 Early Hints"] {
            assert_eq!(back(&format!("HTTP/1.1 {status}\r\n\r\n")), format!("HTTP/1.1 {status}\r\n\r\n"));
        }
    }

    #[test]
    fn a_response_that_begins_a_session_gets_a_cookie() {
        let cookie = SetCookie { name: "a".to_owned(), value: 1, secure: false };
        let line = "Set-Cookie: a=0000000000000001; Path=/; HttpOnly; SameSite=Lax\r\n";
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nDate: b\r\nSet-Cookie: b=c\r\n\r\n",
                Persistence::Close,
                format!(
                    "HTTP/1.1 200 OK\r\nDate: b\r\nSet-Cookie: b=c\r\nVia: 1.1 neraca\r\n{line}Connection: close\r\n\r\n"
                ),
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n",
                Persistence::Upgrade,
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n{line}Connection: upgrade\r\n\r\n"
                ),
            ),
        ];
        for (text, persistence, expected) in cases {
            let (mut slots, mut out) = (FieldSlots::new(), Vec::new());
            let head = HeadScan::default().response(
                text.as_bytes(),
                Method::Get,
                &HeadLimits::default(),
                &mut slots,
            );
            let head = head.unwrap().unwrap();
            response(&head, Coding::Verbatim, persistence, DATE, Some(&cookie), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn max_forwards_counts_down_for_trace_and_options() {
        let sent = |line: &str, value: &str| {
            let text = format!("{line}\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
            let sent = sent_on(&text, CLIENT, false).unwrap();
            let found = sent.lines().filter_map(|line| line.strip_prefix("Max-Forwards: "));
            found.map(str::to_owned).collect::<Vec<_>>()
        };
        for line in ["TRACE / HTTP/1.1", "OPTIONS * HTTP/1.1", "OPTIONS /a HTTP/1.0"] {
            assert_eq!((sent(line, "10"), sent(line, "007")), (vec!["9".into()], vec!["6".into()]), "{line}");
            assert_eq!(sent(line, "99999999999999999999"), [(u64::MAX - 1).to_string()], "{line}");
        }
        assert_eq!(
            (sent("GET / HTTP/1.1", "10"), sent("PUT / HTTP/1.1", "x")),
            (vec!["10".into()], vec!["x".into()])
        );
    }

    proptest! {
        #[test]
        fn what_is_sent_on_is_read_with_the_same_meaning(
            line in prop::sample::select(vec![
                "GET / HTTP/1.1", "POST /a?b HTTP/1.1", "PUT http://h:1/c HTTP/1.1", "OPTIONS http://h HTTP/1.0",
            ]),
            fields in prop::collection::vec(prop::sample::select(vec![
                "Connection: a, close\r\n", "A: b\r\n", "Connection: Host\r\n", "Content-Length: 5\r\n", "TE: trailers\r\n",
                "Transfer-Encoding: chunked\r\n", "Upgrade: a\r\n", "Connection: upgrade\r\n", "Expect: 100-continue\r\n",
                "X-Forwarded-For: c\r\n", "X:\r\n", "Keep-Alive: 1\r\n",
            ]), 0..8),
            trusted: bool,
        ) {
            let text = format!("{line}\r\nHost: a\r\n{}\r\n", fields.concat());
            let Some(sent) = sent_on(&text, CLIENT, trusted) else { return Ok(()) };
            let (mut slots, mut again) = (FieldSlots::new(), FieldSlots::new());
            let before = HeadScan::default().request(text.as_bytes(), &HeadLimits::default(), &mut slots);
            let after = HeadScan::default().request(sent.as_bytes(), &HeadLimits::default(), &mut again);
            let (before, after) = (before.unwrap().unwrap(), after.unwrap().unwrap());
            prop_assert_eq!(after.len, sent.len());
            prop_assert_eq!((before.method, before.target, before.host), (after.method, after.target, after.host));
            prop_assert_eq!((before.framing, before.upgrade), (after.framing, after.upgrade));
            prop_assert_eq!(before.expects_continue, after.expects_continue);
            prop_assert_eq!(before.takes_trailers, after.takes_trailers && after.connection.te);
            prop_assert!(after.keep_alive && !after.connection.names_others);
            prop_assert_eq!(after.fields.iter().filter(|f| f.id == Name::XForwardedFor).count(), 1);
            if before.connection.names_others && text.contains("Connection: a") {
                prop_assert_eq!(after.fields.get("A"), None);
            }
        }
    }
}
