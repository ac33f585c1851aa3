//! Listening sockets: binding, registering and accepting, for both engines.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};

use super::Shared;
use super::stats::Counters;

/// Maximum connections in the kernel's accept queue. A burst of a thousand clients must fit. The kernel reduces the
/// number to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Maximum connections accepted at a time from one listener. The bound keeps a flood of new clients from delaying the
/// existing clients.
const ACCEPTED_AT_ONCE: usize = 64;

/// The token of an engine's waker. The tokens of listeners count down from just below this token. The token of a socket
/// is its descriptor.
pub(super) const WAKE: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - 1;

/// Bound listeners, not yet used by an engine.
#[derive(Debug)]
pub struct Listeners(pub(super) Vec<TcpListener>);

/// Binds each address.
///
/// # Errors
/// When an address is in use or not local. The message contains the address.
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
    /// When the kernel cannot report the address of a socket.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }
}

/// Binds one address and listens. TCP_NODELAY is set here, because on Linux every accepted connection inherits the
/// option.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Registers the listeners with a poller. [`is_listener`] recognizes their tokens.
pub(super) fn watch(listeners: &[TcpListener], registry: &Registry) -> io::Result<()> {
    listeners.iter().enumerate().try_for_each(|(i, listener)| {
        registry.register(&mut SourceFd(&listener.as_raw_fd()), Token(FIRST_LISTENER - i), Interest::READABLE)
    })
}

/// True for the token of a listener. `listeners` is the number of listeners.
pub(super) fn is_listener(token: Token, listeners: usize) -> bool {
    token != WAKE && token.0 > FIRST_LISTENER - listeners
}

/// The result of accepting the waiting clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    All,
    /// More clients may be waiting. The existing clients come first.
    Some,
    /// The limit of connections or descriptors is reached, or accepting failed. The engine tries again at the next
    /// sweep.
    Paused,
}

/// Accepts waiting clients, a bounded number at a time, and passes each client to `admit`. Each client is counted as
/// open before `admit` is called.
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

/// Accepts the next client. One system call also makes the socket non-blocking.
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

/// True when the system has no descriptor or memory left for one more connection. A later attempt may succeed.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}
