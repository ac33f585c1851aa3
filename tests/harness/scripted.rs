//! Backends that do as the test says.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpListener as AsyncListener;
use socket2::SockRef;

use super::PATIENCE;
use super::wire::Wire;

/// A backend whose connections the test accepts and answers itself.
#[derive(Debug)]
pub(crate) struct Backend {
    listener: TcpListener,
}

impl Backend {
    pub(crate) fn start() -> Self {
        Backend::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// On an address of before.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
        Backend { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The balancer's next connection.
    pub(crate) fn accept(&self) -> Wire {
        Wire::new(self.listener.accept().expect("the balancer does not connect").0)
    }

    /// Whether a connection is waiting that was not accepted.
    pub(crate) fn is_untouched(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let untouched = self.listener.accept().is_err();
        self.listener.set_nonblocking(false).unwrap();
        untouched
    }
}

/// An address to which nothing listens.
pub(crate) fn nobody() -> SocketAddr {
    Backend::start().address()
}

/// A reply of an automatic backend: how long after the request it comes, and its bytes.
pub(crate) type Reply = (Duration, &'static [u8]);

/// A backend on which `reply` answers a head by its target, or says nothing, on any number of connections. It does not
/// look at bodies, and lives as long as the process.
pub(crate) fn automatic(reply: fn(&str) -> Option<Reply>) -> SocketAddr {
    let listener = smol::block_on(AsyncListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    SockRef::from(&listener).listen(4096).unwrap();
    std::thread::spawn(move || {
        let executor = smol::LocalExecutor::new();
        smol::block_on(executor.run(async {
            while let Ok((stream, _)) = listener.accept().await {
                executor.spawn(reply_to(stream, reply)).detach();
            }
        }));
    });
    address
}

async fn reply_to(mut stream: smol::net::TcpStream, reply: fn(&str) -> Option<Reply>) {
    let (mut part, mut seen) = ([0; 2048], Vec::new());
    while let Ok(n @ 1..) = stream.read(&mut part).await {
        seen.extend_from_slice(&part[..n]);
        while let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = seen.drain(..at + 4).collect();
            let target = String::from_utf8_lossy(&head).split(' ').nth(1).map(str::to_owned);
            let Some((delay, response)) = target.and_then(|target| reply(&target)) else { continue };
            if !delay.is_zero() {
                smol::Timer::after(delay).await;
            }
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
    }
}
