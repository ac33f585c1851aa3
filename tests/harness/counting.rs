//! A backend that counts its requests and can be killed, and the metrics of a balancer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::wire::Wire;

/// A backend that counts each request whose whole head has come. It lives until it is killed or dropped.
#[derive(Debug)]
pub(crate) struct Counting {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seen: u64,
    /// The targets below `/hold` that wait for [`Counting::release`].
    held: Vec<String>,
    is_released: bool,
    is_dead: bool,
    connections: Vec<(TcpStream, JoinHandle<()>)>,
}

impl Counting {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { listener, state: Mutex::default(), changed: Condvar::new() });
        let own = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while let Ok((stream, _)) = own.listener.accept() {
                let (other, shared) = (stream.try_clone().unwrap(), Arc::clone(&own));
                let server = thread::spawn(move || shared.serve(stream));
                own.state.lock().connections.push((other, server));
            }
        });
        Counting { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of requests so far.
    pub(crate) fn seen(&self) -> u64 {
        self.shared.state.lock().seen
    }

    /// The targets of the requests that wait for `release`.
    pub(crate) fn held(&self) -> Vec<String> {
        self.shared.state.lock().held.clone()
    }

    /// Answers the requests below `/hold`, and those that follow.
    pub(crate) fn release(&self) {
        self.shared.state.lock().is_released = true;
        self.shared.changed.notify_all();
    }

    /// Closes the listener and breaks all connections.
    pub(crate) fn kill(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        SockRef::from(&self.shared.listener).shutdown(Shutdown::Both).unwrap();
        acceptor.join().unwrap();
        let connections = {
            let mut state = self.shared.state.lock();
            state.is_dead = true;
            std::mem::take(&mut state.connections)
        };
        self.shared.changed.notify_all();
        for (stream, server) in connections {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            // The peer may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
            server.join().unwrap();
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    /// Serves one connection. The bytes of a body are read as a part of the next head, which does no harm.
    fn serve(&self, mut stream: TcpStream) {
        let (mut part, mut bytes) = ([0; 4096], Vec::new());
        while let Ok(n @ 1..) = stream.read(&mut part) {
            bytes.extend_from_slice(&part[..n]);
            while let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = bytes.drain(..at + 4).collect();
                let head = String::from_utf8_lossy(&head);
                let Some(response) = self.response(head.split(' ').nth(1).unwrap()) else { return };
                if stream.write_all(response).is_err() {
                    return;
                }
            }
        }
    }

    /// Counts a request and returns its response. None when the backend dies before.
    fn response(&self, target: &str) -> Option<&'static [u8]> {
        let mut state = self.state.lock();
        state.seen += 1;
        if target.starts_with("/hold") {
            state.held.push(target.to_owned());
            while !state.is_released && !state.is_dead {
                self.changed.wait(&mut state);
            }
        }
        let response: &[u8] = match target {
            _ if state.is_dead => return None,
            "/never" => b"",
            "/half" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            "/missing" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        Some(response)
    }
}

/// The answer of an admin listener to `GET /metrics`.
pub(crate) fn metrics(admin: SocketAddr) -> String {
    let mut client = Wire::connect(admin);
    client.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    client.message().text().to_owned()
}

/// The sum of the samples of this metric whose labels contain `labels`.
pub(crate) fn metric(text: &str, name: &str, labels: &str) -> u64 {
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let samples =
        samples.filter(|(found, _)| (found.is_empty() || found.starts_with('{')) && found.contains(labels));
    samples.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}
