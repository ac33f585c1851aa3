//! Sockets that clients connect to.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};

/// Connections that the kernel keeps for us while we do not accept: a burst of a thousand clients must fit. The
/// kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

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
    /// Where they listen, with the ports that the kernel chose.
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

/// The next client, non-blocking from the start (one system call).
pub(super) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
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
