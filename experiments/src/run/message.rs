//! A strict reader of one HTTP/1.1 message. The scripted backends read requests with it, the clients read responses.

use std::io::{self, Read};

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The status of a response; 0 for a request.
    pub(crate) status: u16,
    /// The method and target of a request; empty for a response.
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    /// The body without its chunks.
    pub(crate) body: Vec<u8>,
    /// Bytes of the whole message on the wire.
    pub(crate) bytes: usize,
    /// True when another message can follow on the connection.
    pub(crate) keep: bool,
}

impl Message {
    /// True when a field has this name; and, after a colon, this value. Upper and lower case are equal.
    pub(crate) fn has(&self, wanted: &str) -> bool {
        let (name, value) = wanted.split_once(':').map_or((wanted, None), |(n, v)| (n, Some(v.trim())));
        self.fields.iter().any(|(n, v)| {
            n.eq_ignore_ascii_case(name) && value.is_none_or(|value| v.eq_ignore_ascii_case(value))
        })
    }
}

/// The state of a message of which some bytes have arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Bytes are missing. `status` is 0 while the head is incomplete.
    Partial {
        status: u16,
    },
    /// The bytes are no HTTP/1 message.
    Invalid,
    Done(Message),
}

/// The end of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Length(usize),
    Chunks,
    Close,
}

const FIELDS: usize = 256;

/// Reads a request at the start of the bytes.
pub(crate) fn request(bytes: &[u8]) -> Progress {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let used = match head.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Progress::Partial { status: 0 },
        Err(_) => return Progress::Invalid,
    };
    let line = format!("{} {}", head.method.unwrap_or_default(), head.path.unwrap_or_default());
    let message = Message::of_head(0, line, head.headers, head.version, used);
    let Ok(end) = message.end() else { return Progress::Invalid };
    message.with_body(bytes, end.unwrap_or(End::Length(0)), false)
}

/// Reads the next request of a connection. `received` keeps the bytes that follow it. None at the end of the connection.
pub(crate) fn next_request(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<Option<Progress>> {
    let mut buffer = [0; 4096];
    loop {
        match request(received) {
            Progress::Partial { .. } => match stream.read(&mut buffer)? {
                0 => return Ok(None),
                n => received.extend_from_slice(&buffer[..n]),
            },
            Progress::Done(message) => {
                received.drain(..message.bytes);
                return Ok(Some(Progress::Done(message)));
            }
            Progress::Invalid => return Ok(Some(Progress::Invalid)),
        }
    }
}

/// Reads a final response at the start of the bytes, and skips interim responses. `to_head` is true for the response
/// to a HEAD; `ended` is true when no byte follows.
pub(crate) fn response(bytes: &[u8], to_head: bool, ended: bool) -> Progress {
    let mut start = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let used = match head.parse(&bytes[start..]) {
            Ok(httparse::Status::Complete(used)) => start + used,
            Ok(httparse::Status::Partial) => return Progress::Partial { status: 0 },
            Err(_) => return Progress::Invalid,
        };
        let status = head.code.unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            start = used;
            continue;
        }
        let message = Message::of_head(status, String::new(), head.headers, head.version, used);
        let Ok(end) = message.end() else { return Progress::Invalid };
        let end = if to_head || matches!(status, 101 | 204 | 304) { Some(End::Length(0)) } else { end };
        return message.with_body(bytes, end.unwrap_or(End::Close), ended);
    }
}

impl Message {
    /// Makes a message without its body. Only HTTP/1.1 keeps a connection by default.
    fn of_head(
        status: u16,
        line: String,
        fields: &[httparse::Header<'_>],
        version: Option<u8>,
        bytes: usize,
    ) -> Self {
        let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
        let fields = fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
        Message { status, line, fields, body: Vec::new(), bytes, keep: version == Some(1) }
    }

    /// Finds the end of the body in the head (RFC 9112, section 6.3). None when the head says nothing.
    fn end(&self) -> Result<Option<End>, ()> {
        let all = |name: &str| -> Vec<&str> {
            let named = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str()).collect()
        };
        match (&all("content-length")[..], &all("transfer-encoding")[..]) {
            ([], []) => Ok(None),
            ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map(|length| Some(End::Length(length))).map_err(|_| ())
            }
            ([], [coding]) if self.keep && coding.eq_ignore_ascii_case("chunked") => Ok(Some(End::Chunks)),
            _ => Err(()),
        }
    }

    /// Reads the body, which follows the head.
    fn with_body(mut self, bytes: &[u8], end: End, ended: bool) -> Progress {
        let rest = &bytes[self.bytes..];
        let found = match end {
            End::Length(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
            End::Chunks => match dechunk(rest) {
                Ok(found) => found,
                Err(()) => return Progress::Invalid,
            },
            End::Close => ended.then(|| (rest.to_vec(), rest.len())),
        };
        let Some((body, length)) = found else { return Progress::Partial { status: self.status } };
        (self.body, self.bytes) = (body, self.bytes + length);
        let keep = self.keep && end != End::Close || self.has("connection: keep-alive");
        self.keep = keep && !self.has("connection: close");
        Progress::Done(self)
    }
}

/// Returns the decoded body and its length on the wire; None while bytes are missing.
fn dechunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (used, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        at += used;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; FIELDS];
            return match httparse::parse_headers(&bytes[at..], &mut trailers) {
                Ok(httparse::Status::Complete((used, _))) => Ok(Some((body, at + used))),
                Ok(httparse::Status::Partial) => Ok(None),
                Err(_) => Err(()),
            };
        }
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size)).ok_or(())?;
        let (Some(chunk), Some(after)) = (bytes.get(at..end), bytes.get(end..end + 2)) else {
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err(());
        }
        body.extend_from_slice(chunk);
        at = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_end_as_their_fields_say() {
        let cases: [(&str, bool, &str); 10] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", false, "200 ok keep"),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "200 ok close"),
            ("HTTP/1.1 200 OK\r\n\r\nok", true, "200 ok close"),
            ("HTTP/1.1 200 OK\r\n\r\nok", false, "partial 200"),
            ("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 None\r\n\r\n", false, "204  keep"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nA: b\r\n\r\n",
                false,
                "200 ok keep",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", true, "partial 200"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay", false, "invalid"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false, "invalid"),
            ("HTTP/1.1 200 OK\r\nContent-Le", true, "partial 0"),
        ];
        for (text, ended, expected) in cases {
            let found = match response(text.as_bytes(), false, ended) {
                Progress::Partial { status } => format!("partial {status}"),
                Progress::Invalid => "invalid".into(),
                Progress::Done(message) => {
                    let end = if message.keep { "keep" } else { "close" };
                    format!("{} {} {end}", message.status, String::from_utf8_lossy(&message.body))
                }
            };
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_request_has_a_line_fields_and_a_body() {
        let text = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET";
        let Progress::Done(message) = request(text) else { panic!("not complete") };
        assert_eq!(
            (message.line.as_str(), &message.body[..], message.bytes),
            ("POST /x", &b"ok"[..], text.len() - 3)
        );
        for (wanted, expected) in [("HOST", true), ("host: A", true), ("host: b", false), ("te", false)] {
            assert_eq!(message.has(wanted), expected, "{wanted}");
        }
        assert_eq!(request(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"), Progress::Invalid);
        assert_eq!(request(b"GET / HT"), Progress::Partial { status: 0 });
    }
}
