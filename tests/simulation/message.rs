//! A strict and naive reader of messages, to judge what the exchange sends.

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub start: String,
    pub fields: Vec<(String, Vec<u8>)>,
    /// Decoded.
    pub body: Vec<u8>,
    pub trailers: Vec<u8>,
    /// Its end has come; None where only the end of the stream can tell.
    pub whole: Option<bool>,
    /// Bytes in the stream.
    pub len: usize,
}

impl Message {
    pub fn status(&self) -> u16 {
        assert!(self.start.starts_with("HTTP/1.1 "), "{}", self.start);
        self.start[9..12].parse().expect("three digits")
    }

    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_slice());
        assert!(found.next().is_none() || name == "via", "{name} comes twice");
        value
    }

    fn read_head(bytes: &[u8]) -> Option<Message> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let mut lines =
            bytes[..end - 4].split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let start = String::from_utf8(lines.next()?.to_vec()).expect("a start line in ASCII");
        let mut fields = Vec::new();
        for line in lines {
            let colon = line.iter().position(|&b| b == b':').expect("a colon");
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic), "{line:?}");
            assert!(value.iter().all(|b| *b >= b' ' || *b == b'\t'), "{line:?}");
            fields.push((String::from_utf8(name.to_vec()).expect("ASCII"), value.trim_ascii().to_vec()));
        }
        let bare = bytes[..end].iter().enumerate().any(|(n, b)| *b == b'\n' && bytes[n.max(1) - 1] != b'\r');
        assert!(!bare && !bytes[..end].contains(&0), "a bare line feed or NUL is passed on");
        Some(Message { start, fields, body: Vec::new(), trailers: Vec::new(), whole: Some(true), len: end })
    }

    /// Reads the body behind the head, which is `self.len` long.
    fn read_body(&mut self, bytes: &[u8], until_close: bool) {
        let rest = &bytes[self.len..];
        let length = self
            .field("content-length")
            .map(|v| String::from_utf8_lossy(v).parse::<usize>().expect("digits"));
        match (self.field("transfer-encoding").is_some(), length) {
            (true, length) => {
                assert_eq!((self.field("transfer-encoding"), length), (Some(&b"chunked"[..]), None));
                self.read_chunks(rest);
            }
            (false, Some(n)) => {
                self.whole = Some(rest.len() >= n);
                self.body = rest[..n.min(rest.len())].to_vec();
                self.len += self.body.len();
            }
            (false, None) if until_close => {
                self.whole = None;
                self.body = rest.to_vec();
                self.len = bytes.len();
            }
            (false, None) => {}
        }
    }

    fn read_chunks(&mut self, rest: &[u8]) {
        self.whole = Some(false);
        let mut at = 0;
        while let Some(line) = rest[at..].windows(2).position(|w| w == b"\r\n") {
            let digits = rest[at..at + line].split(|&b| b == b';').next().expect("one at least");
            let digits = String::from_utf8(digits.to_vec()).expect("hexadecimal");
            let n = usize::from_str_radix(digits.trim_end(), 16).expect("hexadecimal");
            at += line + 2;
            if n == 0 {
                let section = &rest[at..];
                let end = match section.starts_with(b"\r\n") {
                    true => Some(2),
                    false => section.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4),
                };
                if let Some(end) = end {
                    self.trailers = section[..end].to_vec();
                    self.whole = Some(true);
                    at += end;
                }
                break;
            }
            let data = &rest[at..rest.len().min(at + n)];
            self.body.extend_from_slice(data);
            at += data.len();
            let behind = &rest[at..rest.len().min(at + 2)];
            assert!(b"\r\n".starts_with(behind), "a chunk without its line end");
            at += behind.len();
            if data.len() < n || behind.len() < 2 {
                break;
            }
        }
        self.len += if self.whole == Some(true) { at } else { rest.len() };
    }
}

/// The first request of a stream, once its head is whole.
pub fn request(bytes: &[u8]) -> Option<Message> {
    let mut message = Message::read_head(bytes)?;
    assert!(
        message.start.ends_with(" HTTP/1.1") && message.start.split(' ').count() == 3,
        "{}",
        message.start
    );
    assert!(message.field("host").is_some(), "a request without Host");
    message.read_body(bytes, false);
    Some(message)
}

/// All responses of a stream, interim ones included. `heads` tells which of the final ones answer HEAD. What follows
/// a 101 is its body.
pub fn responses(bytes: &[u8], heads: &[bool]) -> Vec<Message> {
    let (mut messages, mut at, mut finals) = (Vec::<Message>::new(), 0, 0);
    while at < bytes.len() {
        let Some(mut message) = Message::read_head(&bytes[at..]) else { break };
        let status = message.status();
        let to_head = heads.get(finals).copied().unwrap_or(false);
        if status == 101 {
            message.body = bytes[at + message.len..].to_vec();
            (message.len, message.whole) = (bytes.len() - at, None);
        } else if status >= 200 && !to_head && status != 204 && status != 304 {
            message.read_body(&bytes[at..], true);
        }
        finals += usize::from(status >= 200);
        at += message.len;
        messages.push(message);
    }
    messages
}
