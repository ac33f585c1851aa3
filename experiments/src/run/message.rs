//! A strict reader of one HTTP/1.1 message. The scripted backends read requests with it, the clients read responses.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use httparse::{EMPTY_HEADER, Header, Status};

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

/// Why there is no complete message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// The head is incomplete.
    Head,
    /// The head is complete, and bytes of the body are missing.
    Body,
    /// The bytes are no HTTP/1 message.
    Invalid,
}

/// A message, or why it is not complete.
pub(crate) type Progress = Result<Message, Unfinished>;

/// Returns what was parsed, or this when bytes are missing.
fn complete<T, E>(parsed: Result<Status<T>, E>, missing: Unfinished) -> Result<T, Unfinished> {
    match parsed {
        Ok(Status::Complete(found)) => Ok(found),
        Ok(Status::Partial) => Err(missing),
        Err(_) => Err(Unfinished::Invalid),
    }
}

const FIELDS: usize = 256;

/// Reads a request at the start of the bytes.
pub(crate) fn request(bytes: &[u8]) -> Progress {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let used = complete(head.parse(bytes), Unfinished::Head)?;
    let line = format!("{} {}", head.method.unwrap_or_default(), head.path.unwrap_or_default());
    Message::of_head(0, line, head.headers, head.version, used).with_body(bytes, false, false)
}

/// Serves a connection: reads its requests, and sends the answer of each. `respond` returns an answer, and true when the
/// connection stays open.
pub(crate) fn serve(
    mut stream: &TcpStream,
    mut respond: impl FnMut(Progress) -> (Vec<u8>, bool),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let progress = request(&received);
        if let Err(Unfinished::Head | Unfinished::Body) = progress {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                n => received.extend_from_slice(&buffer[..n]),
            }
            continue;
        }
        received.drain(..progress.as_ref().map_or(0, |message| message.bytes));
        let (answer, keep) = respond(progress);
        stream.write_all(&answer)?;
        if !keep {
            return Ok(());
        }
    }
}

/// Makes a response. The connection stays open when `keep` is true.
pub(crate) fn answer(status: &str, length: usize, body: &[u8], keep: bool) -> Vec<u8> {
    let close = if keep { "" } else { "Connection: close\r\n" };
    [format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{close}\r\n").as_bytes(), body].concat()
}

/// Reads a final response at the start of the bytes, and skips interim responses. `to_head` is true for the response
/// to a HEAD; `ended` is true when no byte follows.
pub(crate) fn response(bytes: &[u8], to_head: bool, ended: bool) -> Progress {
    let mut start = 0;
    loop {
        let mut fields = [EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let used = start + complete(head.parse(&bytes[start..]), Unfinished::Head)?;
        let status = head.code.unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            start = used;
            continue;
        }
        let message = Message::of_head(status, String::new(), head.headers, head.version, used);
        return message.with_body(bytes, to_head || matches!(status, 101 | 204 | 304), ended);
    }
}

impl Message {
    /// Makes a message without its body. Only HTTP/1.1 keeps a connection by default.
    fn of_head(status: u16, line: String, fields: &[Header<'_>], version: Option<u8>, bytes: usize) -> Self {
        let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
        let fields = fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
        Message { status, line, fields, body: Vec::new(), bytes, keep: version == Some(1) }
    }

    /// Reads the body, which follows the head (RFC 9112, section 6.3), unless the message `has_none`. A response without a
    /// length has a body that ends with the connection.
    fn with_body(mut self, bytes: &[u8], has_none: bool, ended: bool) -> Progress {
        let rest = &bytes[self.bytes..];
        let all = |name: &str| -> Vec<&str> {
            let named = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str()).collect()
        };
        let framed = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
            ([], []) => None,
            ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| Unfinished::Invalid)?;
                Some(rest.get(..length).map(|body| (body.to_vec(), length)).ok_or(Unfinished::Body))
            }
            ([], [coding]) if self.keep && coding.eq_ignore_ascii_case("chunked") => Some(dechunk(rest)),
            _ => return Err(Unfinished::Invalid),
        };
        let has_none = has_none || self.status == 0 && framed.is_none();
        let is_delimited = has_none || framed.is_some();
        (self.body, self.bytes) = match framed.filter(|_| !has_none) {
            Some(framed) => framed.map(|(body, length)| (body, self.bytes + length))?,
            None if has_none => (Vec::new(), self.bytes),
            None if ended => (rest.to_vec(), bytes.len()),
            None => return Err(Unfinished::Body),
        };
        let keep = self.keep && is_delimited || self.has("connection: keep-alive");
        self.keep = keep && !self.has("connection: close");
        Ok(self)
    }
}

/// Returns the decoded body and its length on the wire.
fn dechunk(bytes: &[u8]) -> Result<(Vec<u8>, usize), Unfinished> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (used, size) = complete(httparse::parse_chunk_size(&bytes[at..]), Unfinished::Body)?;
        at += used;
        if size == 0 {
            let mut trailers = [EMPTY_HEADER; FIELDS];
            let parsed = httparse::parse_headers(&bytes[at..], &mut trailers);
            return complete(parsed, Unfinished::Body).map(|(used, _)| (body, at + used));
        }
        let end =
            usize::try_from(size).ok().and_then(|size| at.checked_add(size)).ok_or(Unfinished::Invalid)?;
        let (Some(chunk), Some(after)) = (bytes.get(at..end), bytes.get(end..end + 2)) else {
            return Err(Unfinished::Body);
        };
        if after != b"\r\n" {
            return Err(Unfinished::Invalid);
        }
        body.extend_from_slice(chunk);
        at = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_line_fields_and_a_body() {
        let text = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET";
        let message = request(text).unwrap();
        assert_eq!((&*message.line, &*message.body, message.bytes), ("POST /x", &b"ok"[..], text.len() - 3));
        for (wanted, expected) in [("HOST", true), ("host: A", true), ("host: b", false), ("te", false)] {
            assert_eq!(message.has(wanted), expected, "{wanted}");
        }
        assert_eq!(request(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"), Err(Unfinished::Invalid));
        assert_eq!(request(b"GET / HT"), Err(Unfinished::Head));
    }
}
