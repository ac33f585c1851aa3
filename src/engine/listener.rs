//! Sockets that clients connect to, and what both engines do with them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};

use super::Shared;
use super::stats::Counters;

/// Connections that the kernel keeps for us while we do not accept: a burst of a thousand clients must fit. The
/// kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Connections accepted at a time, so that a flood of them does not hold up those that are there.
const ACCEPTED_AT_ONCE: usize = 64;

/// The token of an engine's waker; listeners count down from below it, sockets use their descriptor.
pub(super) const WAKE: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - 1;

/// Bound listeners, before an engine takes them.
#[derive(Debug)]
pub struct Listeners(pub(super) Vec<TcpListener>);

/// Binds each address.
///
/// # Errors
/// With the address in the message when it is in use or not ours.
pub fn listen(addresses: &[SocketAddr]) -> io::Result<Listeners> {
    let bind_one = |address: &SocketAddr| {
        bind(*address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
    };
    addresses.iter().map(bind_one).collect::<io::Result<_>>().map(Listeners)
}

impl Listeners {
    /// The addresses of the listeners, with the ports that the kernel chose.
    ///
    /// # Errors
    /// When the kernel does not tell the address of a socket.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }
}

/// TCP_NODELAY is set here, for Linux hands it down to every accepted connection.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Registers them with a poller, which tells of them with tokens that [`is_listener`] knows.
pub(super) fn watch(listeners: &[TcpListener], registry: &Registry) -> io::Result<()> {
    listeners.iter().enumerate().try_for_each(|(i, listener)| {
        registry.register(&mut SourceFd(&listener.as_raw_fd()), Token(FIRST_LISTENER - i), Interest::READABLE)
    })
}

/// True for the token of one of so many listeners.
pub(super) fn is_listener(token: Token, listeners: usize) -> bool {
    token != WAKE && token.0 > FIRST_LISTENER - listeners
}

/// What became of the clients that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    All,
    /// More may be waiting; those that are there come first.
    Some,
    /// The limit of connections or descriptors is reached, or the system failed: worth a try at the next sweep.
    Paused,
}

/// Accepts what waits, a bounded number at a time. Each counts as open when it is given to `admit`.
pub(super) fn accept_waiting<A>(
    listeners: &[TcpListener],
    shared: &Shared<A>,
    counters: &Counters,
    mut admit: impl FnMut(TcpStream, SocketAddr),
) -> Accepted {
    let mut accepted = Accepted::All;
    for listener in listeners {
        for left in (0..ACCEPTED_AT_ONCE).rev() {
            if shared.is_full() {
                counters.accept_paused.add(1);
                return Accepted::Paused;
            }
            match accept(listener) {
                Ok((stream, address)) => {
                    shared.opened(counters);
                    admit(stream, address);
                    if left == 0 {
                        accepted = Accepted::Some;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The client left before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !is_exhausted(&error) {
                        log::warn!("accepting failed: {error}");
                    }
                    counters.accept_paused.add(1);
                    return Accepted::Paused;
                }
            }
        }
    }
    accepted
}

/// The next client, non-blocking from the start (one system call).
fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, address): (OwnedFd, _) =
        rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|any| SocketAddr::try_from(any).ok());
    let stream = TcpStream::from(socket);
    let address = match address {
        Some(address) => address,
        None => stream.peer_addr()?,
    };
    Ok((stream, address))
}

/// The system has no descriptor or memory left for one more connection; it may have later.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}
