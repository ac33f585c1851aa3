//! The property of request heads: the meaning does not depend on the fragments, and is never ambiguous.
//!
//! Bit 0 of the flags selects small limits.

use neraca::http::framing::Framing;
use neraca::http::head::{FieldSlots, HeadError, HeadLimits, HeadScan, Method, RequestHead, Version};

use super::{Input, is_one_line, lines, values};

/// The meaning of a request head, to compare two readings of one head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    pub len: usize,
    pub method: Method,
    pub target: String,
    pub host: String,
    pub version: Version,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub upgrade: bool,
    pub takes_trailers: bool,
    pub fields: usize,
}

impl Meaning {
    /// Returns the meaning of a parsed head.
    pub fn of(head: &RequestHead<'_>) -> Self {
        Meaning {
            len: head.len,
            method: head.method,
            target: head.target.to_owned(),
            host: head.host.to_owned(),
            version: head.version,
            framing: head.framing,
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
            upgrade: head.upgrade,
            takes_trailers: head.takes_trailers,
            fields: head.fields.iter().count(),
        }
    }
}

/// Reads `message` while it grows to each length in `arrivals`.
fn read(
    message: &[u8],
    limits: &HeadLimits,
    arrivals: impl Iterator<Item = usize>,
) -> Result<Option<Meaning>, HeadError> {
    let mut scan = HeadScan::default();
    for end in arrivals {
        let mut slots = FieldSlots::new();
        if let Some(head) = scan.request(&message[..end], limits, &mut slots)? {
            check_head(&head, &message[..end]);
            return Ok(Some(Meaning::of(&head)));
        }
    }
    Ok(None)
}

/// Returns the limits that bit 0 of the flags selects.
pub fn limits(flags: u8) -> HeadLimits {
    match flags & 1 {
        0 => HeadLimits::default(),
        _ => HeadLimits { head_bytes: 200, request_line_bytes: 40 },
    }
}

/// Checks the property.
pub fn check(bytes: &[u8]) {
    let Some(input) = Input::from_bytes(bytes) else { return };
    let limits = limits(input.flags);
    let whole = read(input.message, &limits, [input.message.len()].into_iter());
    let in_pieces = read(input.message, &limits, input.arrivals());
    assert!(agree(&whole, &in_pieces), "whole {whole:?}, in pieces {in_pieces:?}");
    if let Ok(Some(meaning)) = whole {
        let alone = read(&input.message[..meaning.len], &limits, [meaning.len].into_iter());
        assert_eq!(alone, Ok(Some(meaning)), "the bytes behind a head change its meaning");
    }
}

/// True when two readings of one message agree. A fault in an unfinished head may be found later, when the head has
/// ended or doubled. If a head is too large and has another fault, either fault may be found first.
fn agree(whole: &Result<Option<Meaning>, HeadError>, in_pieces: &Result<Option<Meaning>, HeadError>) -> bool {
    let of_size = |error: &HeadError| matches!(error, HeadError::LineTooLong | HeadError::TooLarge);
    match (whole, in_pieces) {
        (Err(_), Ok(None)) => true,
        (Err(one), Err(other)) => one == other || of_size(one) || of_size(other),
        _ => whole == in_pieces,
    }
}

/// Compares a head with an independent reading of its lines.
fn check_head(head: &RequestHead<'_>, bytes: &[u8]) {
    let lines = lines(&bytes[..head.len]);
    assert_eq!(head.fields.iter().count(), lines.len() - 1, "a field more or less than lines");
    for field in head.fields.iter() {
        assert!(!field.name.is_empty() && is_one_line(field.name.as_bytes()) && is_one_line(field.value));
        assert!(!field.name.contains([' ', '\t', ':']), "white space or a colon in a field name");
    }
    assert!(head.target.bytes().all(|b| b.is_ascii_graphic() && b != b'#'), "{:?}", head.target);
    assert!(head.target.starts_with(['/', '?']) || (head.target == "*" && head.method == Method::Options));
    assert!(head.host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@,\\\"".contains(&b)), "{:?}", head.host);
    assert!(head.version == Version::Http10 || !head.host.is_empty());
    assert_ne!(head.method, Method::Connect);

    let hosts = values(&lines, "host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && head.version == Version::Http10));
    let (lengths, codings) = (values(&lines, "content-length"), values(&lines, "transfer-encoding"));
    assert!(lengths.is_empty() || codings.is_empty(), "both Content-Length and Transfer-Encoding");
    match head.framing {
        Framing::None => assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(n) => {
            assert!(codings.is_empty() && !lengths.is_empty());
            for element in lengths.iter().flat_map(|value| value.split(|&b| b == b',')) {
                let digits = str::from_utf8(element.trim_ascii()).expect("digits");
                assert!(digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse() == Ok(n), "{digits:?}");
            }
        }
        Framing::Chunked => {
            assert!(head.version == Version::Http11);
            assert!(codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked"), "{codings:?}");
        }
        Framing::UntilClose => panic!("a request that ends with its connection"),
    }
}
