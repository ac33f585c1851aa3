//! The property of rewriting: a rewritten head has the meaning of the original, and no hop-by-hop field is forwarded.
//!
//! Bit 1 of the flags selects a request or a response. For a request, bit 0 makes the client trusted, and bit 2 makes
//! its connection encrypted. For a response, bit 0 selects the coding, bits 2 and 3 the method of the request, and bits
//! 4 and 5 the Connection field.

use std::net::{IpAddr, Ipv4Addr};

use neraca::http::framing::Framing;
use neraca::http::head::{FieldSlots, HeadLimits, HeadScan, Method, RequestHead, ResponseHead, Version};
use neraca::http::rewrite::{self, Coding, Origin, Persistence};

use super::{Input, lines, values};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// Limits that a rewritten head cannot exceed, although rewriting adds fields.
const WIDE: HeadLimits = HeadLimits { head_bytes: 256 * 1024, request_line_bytes: 64 * 1024 };

/// Hop-by-hop fields (RFC 9110 section 7.6.1), and a field of HTTP/2, which is not supported.
const NEVER_PASSED_ON: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// Checks the property.
pub fn check(bytes: &[u8]) {
    let Some(input) = Input::from_bytes(bytes) else { return };
    match input.flags & 2 {
        0 => check_request(&input),
        _ => check_response(&input),
    }
}

fn check_request(input: &Input<'_>) {
    let (trusted, mut slots, mut out) = (input.flags & 1 == 1, FieldSlots::new(), Vec::new());
    let head = HeadScan::default().request(input.message, &HeadLimits::default(), &mut slots);
    let Ok(Some(before)) = head else { return };
    let origin =
        Origin { client: CLIENT, encrypted: input.flags & 4 != 0, trusted, forwarded: false, id: None };
    rewrite::request(&before, &origin, &mut out);
    let lines = lines(&out);
    for name in NEVER_PASSED_ON {
        assert!(values(&lines, name).is_empty(), "{name} is passed on");
    }
    let forwarded_for = values(&lines, "x-forwarded-for");
    assert!(forwarded_for.len() == 1 && forwarded_for[0].ends_with(b"192.0.2.7"));
    if !trusted {
        assert_eq!(forwarded_for, [b"192.0.2.7"], "an untrusted client's address is believed");
        let own = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        for name in lines[1..].iter().map(|line| name(line)) {
            assert!(!is_forwarding(&name) || own.contains(&name.as_str()), "{name} of an untrusted client");
        }
    }
    // An HTTP/1.0 request without Host is forwarded with an empty Host, which our parser refuses.
    if before.host.is_empty() {
        return;
    }
    let mut slots = FieldSlots::new();
    let after = HeadScan::default().request(&out, &WIDE, &mut slots);
    let Ok(Some(after)) = after else {
        // Rewriting adds fields, and the number of fields is limited.
        assert!(before.fields.iter().count() > 100, "{after:?}\n{}", out.escape_ascii());
        return;
    };
    assert_eq!(after.len, out.len(), "a second message behind the head");
    same_request(&before, &after);
}

fn same_request(before: &RequestHead<'_>, after: &RequestHead<'_>) {
    assert_eq!((before.method, before.method_token), (after.method, after.method_token));
    assert_eq!(before.target.trim_start_matches('/'), after.target.trim_start_matches('/'));
    assert_eq!((before.host, before.framing), (after.host, after.framing));
    assert_eq!((before.upgrade, before.expects_continue), (after.upgrade, after.expects_continue));
    assert_eq!(before.takes_trailers, after.takes_trailers && after.connection.te);
    assert!(after.version == Version::Http11 && after.keep_alive && !after.connection.names_others);
    for field in after.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("upgrade")) {
        for element in field.value.split(|&b| b == b',') {
            assert!(!element.trim_ascii().eq_ignore_ascii_case(b"h2c"), "h2c is offered to the backend");
        }
    }
}

fn check_response(input: &Input<'_>) {
    let asked = [Method::Get, Method::Head, Method::Post, Method::Connect][usize::from(input.flags >> 2 & 3)];
    let persistences =
        [Persistence::Implied, Persistence::KeepAlive, Persistence::Close, Persistence::Upgrade];
    let persistence = persistences[usize::from(input.flags >> 4 & 3)];
    let (mut slots, mut out) = (FieldSlots::new(), Vec::new());
    let head = HeadScan::default().response(input.message, asked, &HeadLimits::default(), &mut slots);
    let Ok(Some(before)) = head else { return };
    if (persistence == Persistence::Upgrade) != (before.status == 101) {
        return;
    }
    let coding = match before.framing {
        Framing::UntilClose if input.flags & 1 == 0 => Coding::Chunk,
        Framing::Chunked if input.flags & 1 == 1 => Coding::Dechunk,
        _ => Coding::Verbatim,
    };
    rewrite::response(&before, coding, persistence, DATE, None, &mut out);
    let lines = lines(&out);
    for name in NEVER_PASSED_ON {
        assert!(name == "http2-settings" || values(&lines, name).is_empty(), "{name} is passed on");
    }
    let dates = (values(&lines, "date").len(), before.fields.get("date").is_some(), before.status >= 200);
    assert!(matches!(dates, (1, false, true) | (0, false, false) | (1.., true, _)), "Date: {dates:?}");
    let mut slots = FieldSlots::new();
    let after = HeadScan::default().response(&out, asked, &WIDE, &mut slots);
    let Ok(Some(after)) = after else {
        assert!(before.fields.iter().count() > 100, "{after:?}\n{}", out.escape_ascii());
        return;
    };
    assert_eq!(after.len, out.len(), "a second message behind the head");
    same_response(&before, &after, coding);
}

fn same_response(before: &ResponseHead<'_>, after: &ResponseHead<'_>, coding: Coding) {
    assert_eq!((before.status, before.reason), (after.status, after.reason));
    let framing = match coding {
        Coding::Verbatim => before.framing,
        Coding::Chunk => Framing::Chunked,
        Coding::Dechunk => Framing::UntilClose,
    };
    assert_eq!(after.framing, framing);
    assert!(!after.connection.names_others && !after.connection.te);
    if before.status >= 200 && before.status != 204 {
        assert!(after.content_length == before.content_length || coding == Coding::Chunk);
    } else {
        assert_eq!(after.content_length, None);
    }
}

/// Returns the name of a field line in lower case.
fn name(line: &[u8]) -> String {
    let name = line.split(|&b| b == b':').next().unwrap_or_default();
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// True for the name of a field that a proxy adds to describe a client.
fn is_forwarding(name: &str) -> bool {
    let name = name.replace('_', "-");
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}
