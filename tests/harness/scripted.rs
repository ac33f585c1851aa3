//! Backends that do as the test says.

use std::collections::HashMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use neraca::cluster::BackendSettings;
use parking_lot::Mutex;
use smol::future::FutureExt;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpListener as AsyncListener;
use socket2::{Domain, SockRef, Socket, Type};

use super::coding::{Coder, Coding};
use super::masked::Role;
use super::wire::Wire;
use super::{CROSSBEAM, PATIENCE, Variant};

/// A backend whose connections the test accepts and answers itself.
#[derive(Debug)]
pub(crate) struct Backend {
    listener: TcpListener,
    /// Its connections have a transform of this kind.
    coding: Option<Coding>,
}

impl Backend {
    pub(crate) fn start(variant: Variant) -> Self {
        Backend::at(SocketAddr::from(([127, 0, 0, 1], 0)), variant)
    }

    /// On a reserved address.
    pub(crate) fn at(address: SocketAddr, variant: Variant) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
        Backend { listener, coding: variant.transforms }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Its settings in a cluster.
    pub(crate) fn settings(&self) -> BackendSettings {
        Variant { transforms: self.coding, ..CROSSBEAM }.backend(self.address())
    }

    /// The balancer's next connection.
    pub(crate) fn accept(&self) -> Wire {
        self.accept_behind(0).1
    }

    /// The balancer's next connection, and its first bytes, which come before a handshake.
    pub(crate) fn accept_behind(&self, first: usize) -> (Vec<u8>, Wire) {
        let mut stream = self.listener.accept().expect("the balancer does not connect").0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = vec![0; first];
        stream.read_exact(&mut bytes).expect("the first bytes do not come");
        (bytes, Wire::with_transform(stream, self.coder()).expect("the handshake fails"))
    }

    /// The balancer's next connection with a request. The balancer's first look at a backend is a connection without a byte.
    pub(crate) fn accept_request(&self) -> Wire {
        loop {
            let stream = self.listener.accept().expect("the balancer does not connect").0;
            if stream.peek(&mut [0]).expect("the connection breaks") > 0 {
                return Wire::with_transform(stream, self.coder()).expect("the handshake fails");
            }
        }
    }

    fn coder(&self) -> Option<Coder> {
        self.coding.map(|coding| coding.coder(Role::Server))
    }

    /// Whether a connection is waiting that was not accepted.
    pub(crate) fn is_untouched(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let untouched = self.listener.accept().is_err();
        self.listener.set_nonblocking(false).unwrap();
        untouched
    }
}

/// An address that nobody else is given while this lives, and on which nothing listens but a `Backend::at` it.
#[derive(Debug)]
pub(crate) struct Reserved(Socket);

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Reserved(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

/// A reply of an automatic backend: how long after the request it comes, and its bytes.
pub(crate) type Reply = (Duration, &'static [u8]);

/// A backend on which `reply` answers a head by its target, or says nothing, on any number of connections. It does not
/// look at bodies, and lives as long as the process.
pub(crate) fn automatic(variant: Variant, reply: fn(&str) -> Option<Reply>) -> SocketAddr {
    automatic_on(TcpListener::bind("127.0.0.1:0").unwrap(), variant, reply)
}

/// The same on a listener of the test.
pub(crate) fn automatic_on(
    listener: TcpListener,
    variant: Variant,
    reply: fn(&str) -> Option<Reply>,
) -> SocketAddr {
    SockRef::from(&listener).listen(4096).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = AsyncListener::try_from(listener).unwrap();
    std::thread::spawn(move || {
        let executor = smol::LocalExecutor::new();
        smol::block_on(executor.run(async {
            while let Ok((stream, _)) = listener.accept().await {
                let transform = variant.transforms.map(|coding| coding.coder(Role::Server));
                executor.spawn(reply_to(stream, transform, reply)).detach();
            }
        }));
    });
    address
}

async fn reply_to(
    mut stream: smol::net::TcpStream,
    mut transform: Option<Coder>,
    reply: fn(&str) -> Option<Reply>,
) {
    let (mut part, mut seen) = ([0; 2048], Vec::new());
    while let Ok(n @ 1..) = stream.read(&mut part).await {
        match &mut transform {
            None => seen.extend_from_slice(&part[..n]),
            Some(transform) => {
                let mut out = Vec::new();
                let decoded = transform.decode(&part[..n], &mut seen, &mut out);
                if decoded.is_err() || stream.write_all(&out).await.is_err() {
                    return;
                }
            }
        }
        while let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = seen.drain(..at + 4).collect();
            let target = String::from_utf8_lossy(&head).split(' ').nth(1).map(str::to_owned);
            let Some((delay, response)) = target.and_then(|target| reply(&target)) else { continue };
            if !delay.is_zero() {
                smol::Timer::after(delay).await;
            }
            let out;
            let response = match &mut transform {
                None => response,
                Some(transform) => {
                    out = transform.encode(response).expect("a complete handshake");
                    &out
                }
            };
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
    }
}

/// A backend that closes each connection after some time without a request. It lives as long as the process.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    pub(crate) address: SocketAddr,
    /// How often each request line came.
    pub(crate) seen: Arc<Mutex<HashMap<String, u32>>>,
}

impl Closing {
    /// `idle` is the time of the n-th wait. For `window` before it closes, the backend does not read: requests that come
    /// then are lost, as are those that cross a close on a network with this round-trip time.
    pub(crate) fn start(idle: fn(u64) -> Duration, window: Duration) -> Self {
        let listener = smol::block_on(AsyncListener::bind("127.0.0.1:0")).unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::default());
        let backend = Closing { address, seen };
        let own = backend.clone();
        std::thread::spawn(move || {
            let executor = smol::LocalExecutor::new();
            smol::block_on(executor.run(async {
                let waits = std::rc::Rc::new(std::cell::Cell::new(0));
                while let Ok((stream, _)) = listener.accept().await {
                    let (own, waits) = (own.clone(), std::rc::Rc::clone(&waits));
                    let next = move || {
                        waits.set(waits.get() + 1);
                        idle(waits.get())
                    };
                    executor.spawn(async move { own.serve(stream, next, window).await }).detach();
                }
            }));
        });
        backend
    }

    async fn serve(&self, mut stream: smol::net::TcpStream, next: impl Fn() -> Duration, window: Duration) {
        let mut part = [0; 2048];
        loop {
            let read = async { stream.read(&mut part).await.unwrap_or(0) };
            let idle = async {
                smol::Timer::after(next()).await;
                0
            };
            let n = read.or(idle).await;
            if n == 0 {
                smol::Timer::after(window).await;
                return;
            }
            let text = String::from_utf8_lossy(&part[..n]);
            let line = text.lines().next().unwrap_or_default().to_owned();
            *self.seen.lock().entry(line).or_default() += 1;
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}
