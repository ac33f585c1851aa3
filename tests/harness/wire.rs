//! A connection to which bytes are written as they are, and from which messages are read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;

use super::PATIENCE;
use super::coding::Coder;

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    Reset,
    /// The stream ended without the end marker of its transform.
    Cut,
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
    /// Encodes and decodes, if the engine's end has a transform.
    transform: Option<Arc<Mutex<Coder>>>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, buffer: Vec::new(), transform: None }
    }

    /// With this transform, unless None. Returns when the handshake is complete; None when it fails.
    pub(crate) fn with_transform(stream: TcpStream, coder: Option<Coder>) -> Option<Self> {
        let mut wire = Wire::new(stream);
        wire.transform = coder.map(|coder| Arc::new(Mutex::new(coder)));
        while wire.transform.as_ref().is_some_and(|transform| transform.lock().is_handshaking()) {
            wire.try_send([]).ok()?;
            wire.try_fill().ok().filter(Option::is_none)?;
        }
        // The last message of the handshake may wait for bytes to send.
        wire.try_send([]).ok()?;
        Some(wire)
    }

    /// The same connection once more, for another thread. Bytes are read by one of the two only.
    pub(crate) fn another(&self) -> Self {
        let mut wire = Wire::new(self.stream.try_clone().unwrap());
        wire.transform.clone_from(&self.transform);
        wire
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Wire::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Writes as far as the peer lets it.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        match &self.transform {
            None => self.stream.write_all(bytes),
            Some(transform) => {
                let out = transform.lock().encode(bytes)?;
                self.stream.write_all(&out)
            }
        }
    }

    /// No more will be written.
    pub(crate) fn finish(&self) {
        let shut = self.try_finish();
        // A peer that has closed answers an end marker with a reset.
        assert!(shut.is_ok() || self.transform.is_some(), "{shut:?}");
    }

    /// The same to a peer that may be gone.
    pub(crate) fn try_finish(&self) -> io::Result<()> {
        self.send_end_marker();
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sends the end marker of the transform, once.
    fn send_end_marker(&self) {
        let Some(transform) = &self.transform else { return };
        let out = transform.lock().end();
        // The peer may be gone.
        let _ = (&self.stream).write_all(&out);
    }

    /// Ends the stream without its end marker.
    pub(crate) fn cut_off(&self) {
        self.transform.iter().for_each(|transform| transform.lock().forget_end());
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends the bytes and the end of the stream in one packet.
    pub(crate) fn send_and_end(mut self, bytes: impl AsRef<[u8]>) {
        SockRef::from(&self.stream).set_tcp_cork(true).unwrap();
        self.send(bytes);
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.transform.iter().for_each(|transform| transform.lock().forget_end());
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads more; how the stream ended when it did.
    fn fill(&mut self) -> Option<End> {
        match self.try_fill() {
            Ok(end) => end,
            Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    fn try_fill(&mut self) -> io::Result<Option<End>> {
        let mut part = [0; 16 * 1024];
        match (self.stream.read(&mut part), &self.transform) {
            (Ok(0), Some(transform)) if !transform.lock().peer_has_ended() => Ok(Some(End::Cut)),
            (Ok(0), _) => Ok(Some(End::Eof)),
            (Ok(n), None) => {
                self.buffer.extend_from_slice(&part[..n]);
                Ok(None)
            }
            (Ok(n), Some(transform)) => {
                let mut out = Vec::new();
                transform.lock().decode(&part[..n], &mut self.buffer, &mut out)?;
                self.stream.write_all(&out)?;
                Ok(None)
            }
            (Err(error), _) if error.kind() == ErrorKind::ConnectionReset => Ok(Some(End::Reset)),
            (Err(error), _) if error.kind() == ErrorKind::Interrupted => Ok(None),
            (Err(error), _) => Err(error),
        }
    }

    /// Reads until the bytes end with `mark`, and forgets them. False when the stream ends or fails before.
    pub(crate) fn comes_to(&mut self, mark: &[u8]) -> bool {
        while !self.buffer.ends_with(mark) {
            if !matches!(self.try_fill(), Ok(None)) {
                return false;
            }
        }
        self.buffer.clear();
        true
    }

    /// True when neither a byte nor the end comes within this time.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut part = [0; 16 * 1024];
        let silent = loop {
            if !self.buffer.is_empty() {
                break false;
            }
            match self.stream.peek(&mut part) {
                Ok(0) => break false,
                Ok(_) => assert_eq!(self.fill(), None),
                Err(error) => break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
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

/// Closing a connection is a clean end, as for any client.
impl Drop for Wire {
    fn drop(&mut self) {
        if self.transform.as_ref().is_some_and(|transform| Arc::strong_count(transform) == 1) {
            self.send_end_marker();
        }
    }
}
