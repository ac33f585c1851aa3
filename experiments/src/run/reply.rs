//! Reads one response and compares it with the expected response.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use derive_more::{Add, Sum};
use serde::{Deserialize, Serialize};

use crate::run::message::{self, Message, Unfinished};

/// Maximum time that [`ask`] waits for the next bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The verdict about an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// The connection was not opened.
    Connect,
    /// The request was not sent.
    Write,
    /// The response is not HTTP, or ended within the head.
    Broken,
    /// The status is not 200.
    Status,
    /// The body ended before its announced length.
    Truncated,
    /// The body is complete, but differs from the expected body.
    Corrupt,
}

/// Failures by class. An observer leaves the classes that it cannot see at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Add, Sum, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Errors {
    pub(crate) connect: u64,
    /// The connection broke, or the response was not HTTP.
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Status other than 200; in the counts of wrk, status 400 and above.
    pub(crate) status: u64,
    /// No response in time.
    pub(crate) timeout: u64,
    /// Connections of wrk that received nothing during the last half of the measured time, wherever they got stuck: in
    /// the listen queue, accepted, or half way.
    pub(crate) stalled: u64,
    /// The body ended before its announced length.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) truncated: u64,
    /// The body had the right length, but other bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) corrupt: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Errors {
    /// Counts the end of an exchange.
    pub(crate) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Good => {}
            Verdict::Connect => self.connect += 1,
            Verdict::Write => self.write += 1,
            Verdict::Broken => self.read += 1,
            Verdict::Status => self.status += 1,
            Verdict::Truncated => self.truncated += 1,
            Verdict::Corrupt => self.corrupt += 1,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.broken() + self.status + self.timeout + self.stalled + self.truncated + self.corrupt
    }

    /// Returns the number of connections that could not be used to their end.
    pub(crate) fn broken(&self) -> u64 {
        self.connect + self.read + self.write
    }
}

/// A response that is being received.
#[derive(Debug)]
pub(crate) struct Reply {
    expected: Arc<[u8]>,
    bytes: Vec<u8>,
    message: Option<Message>,
    /// True when the server has closed the connection.
    closed: bool,
}

impl Reply {
    pub(crate) fn new(expected: Arc<[u8]>) -> Self {
        Reply { expected, bytes: Vec::new(), message: None, closed: false }
    }

    /// Takes received bytes, which are none at the end of the connection. Returns the verdict when it is certain.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.bytes.extend_from_slice(bytes);
        self.closed = bytes.is_empty();
        let message = match message::response(&self.bytes, false, self.closed) {
            Ok(message) => self.message.insert(message),
            Err(Unfinished::Invalid) => return Some(Verdict::Broken),
            Err(Unfinished::Head) => return self.closed.then_some(Verdict::Broken),
            Err(Unfinished::Body) => return self.closed.then_some(Verdict::Truncated),
        };
        Some(match message.status {
            200 if message.body == *self.expected => Verdict::Good,
            200 => Verdict::Corrupt,
            _ => Verdict::Status,
        })
    }

    /// True when the response is complete, nothing follows it, and the connection stays open.
    pub(crate) fn keeps(&self) -> bool {
        let keeps = |message: &Message| message.keep && message.bytes == self.bytes.len();
        !self.closed && self.message.as_ref().is_some_and(keeps)
    }

    /// Describes how the response differs from the expected one.
    pub(crate) fn difference(&self) -> String {
        let Some(message) = &self.message else { return "expected a complete response".into() };
        let (expected, got) = (self.expected.len(), message.body.len());
        match message.status {
            200 if expected != got => format!("expected {expected} bytes, got {got}"),
            200 => format!("expected other bytes, although the length of {got} bytes is right"),
            status => format!("expected status 200, got {status}"),
        }
    }
}

/// Sends one request and reads the whole response.
pub(crate) fn ask(stream: &mut TcpStream, request: &[u8], body: &Arc<[u8]>) -> io::Result<(Verdict, Reply)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut reply = Reply::new(Arc::clone(body));
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = stream.read(&mut buffer)?;
        if let Some(verdict) = reply.received(&buffer[..n]) {
            return Ok((verdict, reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_what_it_says_however_it_is_cut() {
        // A response with `|` for the end of a line, the verdict, whether another request can follow, and the difference.
        let cases = [
            ("HTTP/1.1 200 OK|Content-Length: 5||hello", Verdict::Good, true, ""),
            ("HTTP/1.0 200 OK|Content-Length: 5||hello", Verdict::Good, false, ""),
            ("HTTP/1.0 200 OK|Server: x||hello", Verdict::Good, false, ""),
            ("HTTP/1.1 200 OK||hello", Verdict::Good, false, ""),
            ("HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|he|3;x|llo|0||", Verdict::Good, true, ""),
            ("HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|0|A: b||", Verdict::Good, true, ""),
            ("HTTP/1.1 200 OK|content-length: 5||hellO", Verdict::Corrupt, true, "expected other bytes"),
            ("HTTP/1.1 200 OK|content-length: 4||hell", Verdict::Corrupt, true, "expected 5 bytes, got 4"),
            ("HTTP/1.1 200 OK|content-length: 5||hell", Verdict::Truncated, false, ""),
            ("HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|", Verdict::Truncated, false, ""),
            ("HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|0|", Verdict::Truncated, false, ""),
            ("HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|hello", Verdict::Broken, false, ""),
            ("HTTP/1.1 200 OK|Content-Length: 5|Transfer-Encoding: chunked||", Verdict::Broken, false, ""),
            (
                "HTTP/1.1 503 Busy|content-length: 5||hello",
                Verdict::Status,
                true,
                "expected status 200, got 503",
            ),
            ("HTTP/1.1 103 Hints||HTTP/1.1 204 None||", Verdict::Status, true, ""),
            ("HTTP/1.1 200 OK|content-length: 5|", Verdict::Broken, false, ""),
            ("HTTP/1.1 200 OK|content-le", Verdict::Broken, false, ""),
            ("SSH-2.0||", Verdict::Broken, false, ""),
            ("", Verdict::Broken, false, ""),
        ];
        for (text, expected, keeps, difference) in cases {
            for step in [1, 7, 1000] {
                let mut reply = Reply::new(Arc::from(&b"hello"[..]));
                let bytes = text.replace('|', "\r\n").into_bytes();
                let early = bytes.chunks(step).find_map(|part| reply.received(part));
                let verdict = early.or_else(|| reply.received(b""));
                assert_eq!((verdict, reply.keeps()), (Some(expected), keeps), "{text:?} in steps of {step}");
                assert!(reply.difference().starts_with(difference), "{text:?}: {}", reply.difference());
            }
        }
        let mut reply = Reply::new(Arc::from(&b"ok"[..]));
        let verdict = reply.received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP");
        assert_eq!((verdict, reply.keeps()), (Some(Verdict::Good), false), "bytes follow");
    }
}
