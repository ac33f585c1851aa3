//! HTTP/1.1 messages on blocking sockets: just enough for these checks, which know both ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time after which an answer counts as missing. It is longer than any limit of the balancer in these checks.
const PATIENCE: Duration = Duration::from_secs(20);
/// Stack of a thread. There are thousands of threads, and none of them needs much.
const STACK_BYTES: usize = 128 << 10;

/// Starts a thread with a small stack.
pub(crate) fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    started.unwrap_or_else(|error| panic!("cannot start a thread: {error}"))
}

/// The head of a message whose body was read too.
#[derive(Debug)]
pub(crate) struct Message {
    head: String,
}

impl Message {
    /// Returns a word of the first line.
    fn word(&self, n: usize) -> &str {
        self.head.split([' ', '\r']).nth(n).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// Returns the value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Reads the next message with its body, which needs a Content-Length. None at the end of the stream between two
/// messages.
pub(crate) fn read_message(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let ended = || io::Error::from(ErrorKind::UnexpectedEof);
    let end = loop {
        if let Some(at) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if read_more(stream, received)? == 0 {
            return if received.is_empty() { Ok(None) } else { Err(ended()) };
        }
    };
    let message = Message { head: String::from_utf8_lossy(&received[..end]).into_owned() };
    let length: usize = message.field("Content-Length").and_then(|n| n.parse().ok()).unwrap_or(0);
    while received.len() < end + length {
        if read_more(stream, received)? == 0 {
            return Err(ended());
        }
    }
    received.drain(..end + length);
    Ok(Some(message))
}

fn read_more(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; 2048];
    let count = stream.read(&mut bytes)?;
    received.extend_from_slice(&bytes[..count]);
    Ok(count)
}

/// A client with one connection, which is kept as long as possible.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

/// A response, or a failed exchange with status 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    /// Time from the first byte of the request to the end of the response or to the failure.
    pub(crate) took: Duration,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Client { address, stream: None }
    }

    /// Makes a request and waits for its response.
    pub(crate) fn ask(&mut self, request: &str) -> Reply {
        let begun = Instant::now();
        let answer = self.exchange(request);
        let took = begun.elapsed();
        let Ok(answer) = answer else {
            self.stream = None;
            return Reply { status: 0, retry_after: false, took };
        };
        if answer.field("Connection") == Some("close") {
            self.stream = None;
        }
        Reply { status: answer.status(), retry_after: answer.field("Retry-After").is_some(), took }
    }

    /// Makes a GET request.
    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    fn exchange(&mut self, request: &str) -> io::Result<Message> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                none.insert(stream)
            }
        };
        stream.write_all(request.as_bytes())?;
        let answer = read_message(stream, &mut Vec::new())?;
        answer.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}
