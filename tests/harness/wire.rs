//! A connection to which bytes are written as they are, and from which messages are read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::PATIENCE;

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    Reset,
}

/// A message as it came: its head to the empty line, its body without chunks, and its trailers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The lines behind the last chunk.
    pub(crate) trailers: String,
}

impl Message {
    /// Of a response.
    pub(crate) fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The values of the fields of that name, in order.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value of the one field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.fields(name);
        assert!(fields.len() < 2, "several fields {name}: {self:?}");
        fields.first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection and what was read from it beyond what was asked for.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, buffer: Vec::new() }
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Wire::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Writes as far as the peer lets it.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// No more will be written.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends the bytes and the end of the stream in one packet.
    pub(crate) fn send_and_end(mut self, bytes: impl AsRef<[u8]>) {
        SockRef::from(&self.stream).set_tcp_cork(true).unwrap();
        self.send(bytes);
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads more; how the stream ended when it did.
    fn fill(&mut self) -> Option<End> {
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part) {
            Ok(0) => Some(End::Eof),
            Ok(n) => {
                self.buffer.extend_from_slice(&part[..n]);
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(End::Reset),
            Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    fn need(&mut self) {
        if let Some(end) = self.fill() {
            panic!("{end:?} behind {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            self.need();
        }
        self.buffer.drain(..n).collect()
    }

    /// The bytes up to and with `mark`.
    fn take_through(&mut self, mark: &[u8]) -> String {
        let mut from = 0;
        loop {
            let found = self.buffer[from..].windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                return String::from_utf8_lossy(&self.take(from + at + mark.len())).into_owned();
            }
            from = self.buffer.len().saturating_sub(mark.len());
            self.need();
        }
    }

    /// The head of the next message.
    pub(crate) fn head(&mut self) -> Message {
        Message { head: self.take_through(b"\r\n\r\n"), ..Message::default() }
    }

    /// The next message, whole: its body by Content-Length or chunks, else none.
    pub(crate) fn message(&mut self) -> Message {
        let head = self.head();
        self.body_of(head)
    }

    /// The next response with a body that ends with the connection.
    pub(crate) fn message_until_close(&mut self) -> Message {
        let mut message = self.head();
        let (body, end) = self.rest();
        assert_eq!(end, End::Eof, "{message:?}");
        message.body = body;
        message
    }

    /// The same, its head being read already.
    pub(crate) fn body_of(&mut self, mut message: Message) -> Message {
        if message.field("Transfer-Encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                message.body.extend(chunk);
            }
            loop {
                let line = self.take_through(b"\r\n");
                if line == "\r\n" {
                    return message;
                }
                message.trailers.push_str(&line);
            }
        }
        let length = message.field("Content-Length").map_or(0, |value| value.parse().unwrap());
        message.body = self.take(length);
        message
    }

    /// The next chunk's data; empty for the last one, whose trailers are still to come.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let line = self.take_through(b"\r\n");
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{line:?}"));
        let data = self.take(size);
        if size > 0 {
            assert_eq!(self.take(2), b"\r\n");
        }
        data
    }

    /// All that still comes, and how it ends.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.fill() {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    /// The stream ends here and was not cut off.
    pub(crate) fn ends(&mut self) {
        let (rest, end) = self.rest();
        assert_eq!((String::from_utf8_lossy(&rest).as_ref(), end), ("", End::Eof));
    }

    /// Nothing more comes, whichever way the stream ends.
    pub(crate) fn is_gone(&mut self) {
        let (rest, _) = self.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// All that still comes, readable: without the values of Date, and with the way it ends.
    pub(crate) fn outcome(&mut self) -> String {
        let (bytes, end) = self.rest();
        let lines = bytes.split_inclusive(|&b| b == b'\n').map(|line| match line.starts_with(b"Date: ") {
            true => "Date: (now)\r\n".to_owned(),
            false => line.escape_ascii().to_string(),
        });
        format!("{}{end:?}", lines.collect::<String>())
    }
}
