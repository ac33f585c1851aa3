//! Responses that Neraca makes itself.

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::digits;
use super::error::{ChunkError, HeadError};
use super::method::Method;
use super::rewrite::Persistence;

/// Bytes of a body or of field lines: static, shared or owned.
#[derive(Debug, Clone)]
pub enum Bytes {
    /// Bytes in the program.
    Static(&'static [u8]),
    /// Bytes that several answers share.
    Shared(Arc<[u8]>),
    /// Bytes of this answer only.
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Static(b) => b,
            Bytes::Shared(b) => b,
            Bytes::Owned(b) => b,
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// No body. A 204 or a 304 without a body has no Content-Length either.
    None,
    /// A part of bytes in memory.
    Bytes(Bytes, Range<usize>),
    /// A part of a file. The engine sends the file without reading it into a buffer.
    File(Arc<File>, Range<u64>),
}

impl Body {
    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Body::None => 0,
            Body::Bytes(_, range) => range.len() as u64,
            Body::File(_, range) => range.end.saturating_sub(range.start),
        }
    }

    /// True when the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A response that Neraca makes itself: status, fields and body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Field lines with their line ends, without Date, Connection and Content-Length.
    pub fields: Bytes,
    /// The body. The response to a HEAD has only the length of the body.
    pub body: Body,
    /// True to close the client's connection after this answer.
    pub close: bool,
}

impl Answer {
    /// Makes an answer with a short text/plain body: the status, its phrase and `message`.
    pub fn text(status: u16, message: impl fmt::Display) -> Answer {
        let text = format!("{status} {}: {message}\n", phrase(status)).into_bytes();
        let all = 0..text.len();
        let fields = Bytes::Static(b"Content-Type: text/plain; charset=utf-8\r\n");
        Answer { status, fields, body: Body::Bytes(Bytes::Owned(text), all), close: false }
    }

    /// Returns the same answer with `close` set.
    #[must_use]
    pub fn closing(self) -> Answer {
        Answer { close: true, ..self }
    }
}

/// Returns the answer to a request with an invalid head. The connection is closed, because the end of the request is
/// unknown.
pub(crate) fn refuse_head(error: HeadError) -> Answer {
    Answer::text(status_of(error), error).closing()
}

/// Returns the answer to a request with an invalid chunked body. The connection is closed.
pub(crate) fn refuse_chunks(error: ChunkError) -> Answer {
    Answer::text(400, error).closing()
}

/// Returns the answer to a TRACE or OPTIONS request with `Max-Forwards: 0` (RFC 9110 section 7.6.2). The answer to
/// OPTIONS lists the forwarded methods. TRACE gets a 501, as from nginx: a reflected request would show the client the
/// fields that earlier proxies added.
pub(crate) fn to_last_hop(method: Method) -> Answer {
    match method {
        Method::Options => {
            let fields = Bytes::Static(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n");
            Answer { status: 204, fields, body: Body::None, close: false }
        }
        _ => Answer::text(501, "TRACE with Max-Forwards: 0 is not supported"),
    }
}

fn status_of(error: HeadError) -> u16 {
    match error {
        HeadError::LineTooLong => 414,
        HeadError::Expectation => 417,
        HeadError::TooLarge | HeadError::TooManyFields | HeadError::TooManyOptions => 431,
        HeadError::Connect | HeadError::UnknownCoding => 501,
        HeadError::Version => 505,
        HeadError::BadCoding
        | HeadError::BadFieldName
        | HeadError::BadFieldValue
        | HeadError::BadHost
        | HeadError::BadLength
        | HeadError::BadLineEnd
        | HeadError::BadMaxForwards
        | HeadError::BadStartLine
        | HeadError::BadTarget
        | HeadError::CodingInHttp10
        | HeadError::EmptyLines
        | HeadError::Fragment
        | HeadError::LengthAndCoding
        | HeadError::LengthsDiffer
        | HeadError::NoHost
        | HeadError::SeveralHosts => 400,
    }
}

/// Returns the standard reason phrase of a status code; empty for an unknown code.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Appends the head of `answer` to `out`: status line, fields, Content-Length, Date, and a Connection field for
/// `persistence`.
pub(crate) fn write_head(answer: &Answer, persistence: Persistence, date: &[u8; 29], out: &mut Vec<u8>) {
    out.reserve(answer.fields.len() + 192);
    out.extend_from_slice(b"HTTP/1.1 ");
    digits::decimal(u64::from(answer.status), out);
    out.push(b' ');
    out.extend_from_slice(phrase(answer.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&answer.fields);
    // A 1xx and a 204 have no Content-Length; a 304 has the length of the 200 response (RFC 9110 section 8.6).
    let has_length = match answer.status {
        100..=199 | 204 => false,
        304 => !matches!(answer.body, Body::None),
        _ => true,
    };
    if has_length {
        out.extend_from_slice(b"Content-Length: ");
        digits::decimal(answer.body.len(), out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(persistence.line());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn head(answer: &Answer, persistence: Persistence) -> String {
        let mut out = Vec::new();
        write_head(answer, persistence, DATE, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn invalid_requests_become_status_codes() {
        let cases = [
            (refuse_head(HeadError::SeveralHosts), 400, HeadError::SeveralHosts.to_string()),
            (refuse_head(HeadError::LengthAndCoding), 400, HeadError::LengthAndCoding.to_string()),
            (refuse_head(HeadError::LineTooLong), 414, HeadError::LineTooLong.to_string()),
            (refuse_head(HeadError::Expectation), 417, HeadError::Expectation.to_string()),
            (refuse_head(HeadError::TooLarge), 431, HeadError::TooLarge.to_string()),
            (refuse_head(HeadError::TooManyFields), 431, HeadError::TooManyFields.to_string()),
            (refuse_head(HeadError::Connect), 501, HeadError::Connect.to_string()),
            (refuse_head(HeadError::UnknownCoding), 501, HeadError::UnknownCoding.to_string()),
            (refuse_head(HeadError::Version), 505, HeadError::Version.to_string()),
            (refuse_chunks(ChunkError::BadSize), 400, ChunkError::BadSize.to_string()),
        ];
        for (made, status, reason) in cases {
            assert_eq!((made.status, made.close), (status, true), "{reason}");
            let Body::Bytes(text, all) = made.body else { panic!("{reason} has no text") };
            let expected = format!("{status} {}: {reason}\n", phrase(status));
            assert_eq!(&text[all], expected.as_bytes());
            assert!(!phrase(status).is_empty());
        }
    }

    #[test]
    fn the_last_hop_answers_itself() {
        let options = head(&to_last_hop(Method::Options), Persistence::Implied);
        assert!(options.starts_with("HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, "), "{options}");
        let trace = to_last_hop(Method::Trace);
        assert_eq!((trace.status, trace.close), (501, false));
    }

    #[test]
    fn an_answer_has_a_complete_head() {
        let expected = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 37\r\n\
            Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n";
        assert_eq!(head(&refuse_head(HeadError::SeveralHosts), Persistence::Close), expected);
    }

    #[test]
    fn the_length_is_told_where_a_body_may_be() {
        let file = || Arc::new(File::open("Cargo.toml").unwrap());
        let octets = || Body::Bytes(Bytes::Shared(Arc::from(&b"0123456789"[..])), 2..9);
        let cases = [
            (200, Body::None, Some(0)),
            (301, Body::None, Some(0)),
            (405, Body::None, Some(0)),
            (204, Body::None, None),
            (304, Body::None, None),
            (100, Body::None, None),
            (204, octets(), None),
            (304, octets(), Some(7)),
            (200, octets(), Some(7)),
            (206, Body::File(file(), 10..5_000_000_000), Some(4_999_999_990)),
        ];
        for (status, body, length) in cases {
            let made = Answer { status, fields: Bytes::Static(b"A: b\r\n"), body, close: false };
            let length = length.map(|n: u64| format!("Content-Length: {n}\r\n")).unwrap_or_default();
            let phrase = phrase(status);
            let expected = format!(
                "HTTP/1.1 {status} {phrase}\r\nA: b\r\n{length}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
            );
            assert_eq!(head(&made, Persistence::Implied), expected);
        }
    }

    #[test]
    fn every_answer_is_one_that_we_would_believe() {
        use super::super::head::{FieldSlots, HeadLimits, HeadScan, Method};
        for status in [400, 502, 503] {
            for persistence in [Persistence::Implied, Persistence::KeepAlive, Persistence::Close] {
                let (made, mut slots) = (Answer::text(status, "a reason"), FieldSlots::new());
                let text = head(&made, persistence);
                let read = HeadScan::default().response(
                    text.as_bytes(),
                    Method::Get,
                    &HeadLimits::default(),
                    &mut slots,
                );
                let read = read.unwrap().unwrap();
                assert_eq!((read.status, read.content_length), (made.status, Some(made.body.len())));
                assert_eq!(read.keep_alive, persistence != Persistence::Close);
            }
        }
    }
}
