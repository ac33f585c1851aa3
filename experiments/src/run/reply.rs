//! Reads one response and compares it with the expected response. A body ends by a length, by chunks or with the
//! connection. This reader knows nothing else of HTTP.

use std::sync::Arc;

/// The verdict about a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// The response is not HTTP, or ended within the head.
    Broken,
    /// The status is not 200.
    Status,
    /// The body ended before its announced length.
    Truncated,
    /// The body is complete, but differs from the expected body.
    Corrupt,
}

/// A response that is being received.
#[derive(Debug)]
pub(crate) struct Reply {
    expected: Arc<[u8]>,
    bytes: Vec<u8>,
    head: Option<Head>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    end: usize,
    status: u16,
    length: Option<usize>,
    chunked: bool,
}

/// Maximum bytes of a head.
const HEAD_BYTES: usize = 64 * 1024;

impl Reply {
    pub(crate) fn new(expected: Arc<[u8]>) -> Self {
        Reply { expected, bytes: Vec::new(), head: None }
    }

    /// Takes received bytes. Returns the verdict when the response is complete or invalid.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.bytes.extend_from_slice(bytes);
        if self.head.is_none() {
            let Some(end) = self.bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
                return (self.bytes.len() > HEAD_BYTES).then_some(Verdict::Broken);
            };
            match parse_head(&self.bytes[..end]) {
                Some(head) => self.head = Some(Head { end: end + 4, ..head }),
                None => return Some(Verdict::Broken),
            }
        }
        let head = self.head?;
        let body = &self.bytes[head.end..];
        match (head.chunked, head.length) {
            (true, _) => dechunk(body).map(|body| self.judge(head, &body)),
            (false, Some(length)) => (body.len() >= length).then(|| self.judge(head, body)),
            (false, None) => None,
        }
    }

    /// Returns the verdict at the end of the connection.
    pub(crate) fn ended(&self) -> Verdict {
        match self.head {
            None => Verdict::Broken,
            Some(head) if head.chunked || head.length.is_some() => Verdict::Truncated,
            Some(head) => self.judge(head, &self.bytes[head.end..]),
        }
    }

    fn judge(&self, head: Head, body: &[u8]) -> Verdict {
        match head.status {
            200 if *body == *self.expected => Verdict::Good,
            200 => Verdict::Corrupt,
            _ => Verdict::Status,
        }
    }
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        let mut fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    };
    let length = match field("content-length") {
        Some(length) => Some(length.parse().ok()?),
        None => None,
    };
    let chunked = field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    Some(Head { end: 0, status, length, chunked })
}

/// Returns the decoded body; None while the last chunk is missing.
fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_what_it_says_however_it_is_cut() {
        let cases: [(&str, Verdict); 11] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Verdict::Good),
            ("HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello", Verdict::Good),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
                Verdict::Good,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhellO", Verdict::Corrupt),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhell", Verdict::Corrupt),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", Verdict::Truncated),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Verdict::Truncated),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 5\r\n\r\nhello", Verdict::Status),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", Verdict::Broken),
            ("SSH-2.0\r\n\r\n", Verdict::Broken),
            ("", Verdict::Broken),
        ];
        for (text, expected) in cases {
            for step in [1, 7, 1000] {
                let mut reply = Reply::new(Arc::from(&b"hello"[..]));
                let early = text.as_bytes().chunks(step).find_map(|part| reply.received(part));
                assert_eq!(early.unwrap_or_else(|| reply.ended()), expected, "{text:?} in steps of {step}");
            }
        }
    }
}
