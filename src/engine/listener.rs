//! Listeners: their sockets, their identity and their settings, and what an accepted connection knows of its listener.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;
use socket2::{Domain, SockRef, Type};

use super::handshakes::HandshakePool;
use super::options::Options;
use super::preface::Preface;
use super::transport::{Socket, TransformFactory};
use crate::app::{Client, ListenerId, ListenerSettings};

/// Maximum connections in the kernel's accept queue. A burst of a thousand clients must fit. The kernel reduces the
/// number to net.core.somaxconn.
pub(super) const BACKLOG: i32 = 4096;

/// The token of all listeners: after an event the engine accepts from each of them.
pub(super) const LISTENERS: Token = Token(usize::MAX - 1);

/// The identity, the address and the settings of a listener.
#[derive(Debug)]
pub struct Listener {
    id: ListenerId,
    address: SocketAddr,
    settings: ListenerSettings,
    transform: Option<TransformFactory>,
}

impl Listener {
    /// A listener with an identity of its own. `transform` makes the transforms of its connections.
    pub fn new(
        address: SocketAddr,
        settings: ListenerSettings,
        transform: Option<TransformFactory>,
    ) -> Arc<Self> {
        Arc::new(Listener { id: ListenerId::unused(), address, settings, transform })
    }

    /// The identity.
    pub fn id(&self) -> ListenerId {
        self.id
    }

    /// The settings.
    pub fn settings(&self) -> &ListenerSettings {
        &self.settings
    }
}

/// The origin of a client's connection: its addresses and its listener. Small, because each idle connection has one.
#[derive(Debug)]
pub struct Origin {
    address: IpAddr,
    port: u16,
    /// What most connections do not need.
    more: Option<Box<MoreAddresses>>,
    listener: Arc<Listener>,
}

#[derive(Debug, Default)]
struct MoreAddresses {
    /// Our own address of the connection, if the listener is bound to all addresses of the machine.
    local: Option<SocketAddr>,
    /// The client's address that a proxy has reported.
    reported: Option<SocketAddr>,
    /// The header of the PROXY protocol, until it is whole.
    preface: Option<Preface>,
}

impl Origin {
    /// The origin of a connection from `address`.
    pub fn new(address: SocketAddr, listener: Arc<Listener>) -> Self {
        let preface = || MoreAddresses { preface: Some(Preface::default()), ..MoreAddresses::default() };
        let more = listener.settings.expects_proxy_header(address.ip()).then(|| Box::new(preface()));
        Origin { address: address.ip(), port: address.port(), more, listener }
    }

    /// The listener that accepted the connection.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// The address that the connection comes from.
    pub(super) fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// True until the header of the PROXY protocol is whole; false on a connection without one.
    pub(super) fn awaits_preface(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.preface.is_some())
    }

    /// The header of the PROXY protocol, until it is whole.
    pub(super) fn preface(&mut self) -> Option<&mut Preface> {
        self.more.as_mut()?.preface.as_mut()
    }

    /// Records the client that the whole header reports.
    pub(super) fn end_preface(&mut self, client: Option<SocketAddr>) {
        if let Some(more) = &mut self.more {
            (more.preface, more.reported) = (None, client);
        }
    }

    /// The facts about the client for an app.
    pub fn client(&self) -> Client<'_> {
        let (local, reported) = match &self.more {
            None => (None, None),
            Some(more) => (more.local, more.reported),
        };
        let local = Some(local.unwrap_or(self.listener.address));
        let encrypted = self.listener.transform.is_some();
        Client {
            local,
            reported,
            encrypted,
            ..Client::new(self.peer(), self.listener.id, &self.listener.settings)
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Arrival {
    stream: TcpStream,
    origin: Origin,
}

impl Arrival {
    /// The socket, with the transform that the listener makes for it, and the origin. A pool computes the handshake of the
    /// transform.
    pub(super) fn into_parts(self, pool: Option<&HandshakePool>) -> (Socket, Origin) {
        let transform = self.origin.listener.transform.as_ref().map(|factory| match pool {
            None => factory.make(),
            Some(pool) => pool.wrap(factory.make()),
        });
        (Socket::accepted(self.stream, transform), self.origin)
    }
}

/// A listener with its socket.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Arc<TcpListener>,
    listener: Arc<Listener>,
}

/// Bound listeners, not yet used by an engine.
#[derive(Debug, Default)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    /// The settings and the transforms of the first listeners. All others have those of the engine's options.
    settings: Vec<(ListenerSettings, Option<TransformFactory>)>,
}

/// Binds each address.
///
/// # Errors
/// When an address is in use or not local. The message contains the address.
pub fn listen(addresses: &[SocketAddr]) -> io::Result<Listeners> {
    let mut listeners = Listeners::default();
    addresses.iter().try_for_each(|address| listeners.bind(*address))?;
    Ok(listeners)
}

impl Listeners {
    /// Binds an address and adds the listener.
    ///
    /// # Errors
    /// When the address is in use or not local. The message contains the address.
    pub fn bind(&mut self, address: SocketAddr) -> io::Result<()> {
        self.sockets.push(bind(address)?);
        Ok(())
    }

    /// Adds a socket that listens already, such as one from another process. The length of its accept queue stays.
    ///
    /// # Errors
    /// When the kernel refuses to change the options of the socket.
    pub fn adopt(&mut self, socket: TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// The addresses of the listeners, with the ports that the kernel chose.
    ///
    /// # Errors
    /// When the kernel cannot report the address of a socket.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// Gives the first listeners settings and transforms of their own, in the order of the listeners. All others get those of the
    /// options.
    #[must_use]
    pub fn with_settings(self, settings: Vec<(ListenerSettings, Option<TransformFactory>)>) -> Self {
        Listeners { settings, ..self }
    }

    /// Gives each listener an identity, its settings and its transform.
    ///
    /// # Errors
    /// When the kernel cannot report the address of a socket.
    pub(super) fn with_options(self, options: &Options) -> io::Result<Vec<Bound>> {
        let usual = std::iter::repeat_with(|| (options.listener.clone(), options.client_transform.clone()));
        let settings = self.settings.into_iter().chain(usual);
        let bound = |(socket, (settings, transform))| Bound::new(socket, settings, transform);
        self.sockets.into_iter().zip(settings).map(bound).collect()
    }
}

impl Bound {
    /// Binds an address for a new listener.
    ///
    /// # Errors
    /// When the address is in use or not local. The message contains the address.
    pub(super) fn bind(
        address: SocketAddr,
        settings: ListenerSettings,
        transform: Option<TransformFactory>,
    ) -> io::Result<Self> {
        Bound::new(bind(address)?, settings, transform)
    }

    fn new(
        socket: TcpListener,
        settings: ListenerSettings,
        transform: Option<TransformFactory>,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Bound { socket: Arc::new(socket), listener: Listener::new(address, settings, transform) })
    }

    pub(super) fn id(&self) -> ListenerId {
        self.listener.id
    }

    /// The address, with the port that the kernel chose.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Replaces the settings. Connections that are open keep the old ones.
    pub(super) fn configure(&mut self, settings: ListenerSettings, transform: Option<TransformFactory>) {
        let Listener { id, address, .. } = *self.listener;
        self.listener = Arc::new(Listener { id, address, settings, transform });
    }

    /// True when its connections have a transform.
    pub(super) fn has_transform(&self) -> bool {
        self.listener.transform.is_some()
    }

    pub(super) fn socket(&self) -> &Arc<TcpListener> {
        &self.socket
    }

    /// Registers the listener edge-triggered with a poller.
    pub(super) fn watch(&self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), LISTENERS, Interest::READABLE)
    }

    /// Ends [`Bound::watch`].
    pub(super) fn unwatch(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.socket.as_raw_fd()))
    }

    /// Accepts the next client. One system call also makes the socket non-blocking.
    pub(super) fn accept(&self) -> io::Result<Arrival> {
        let (socket, address): (OwnedFd, _) =
            rustix::net::acceptfrom_with(&*self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let address = address.and_then(|any| SocketAddr::try_from(any).ok());
        let stream = TcpStream::from(socket);
        let address = match address {
            Some(address) => address,
            None => stream.peer_addr()?,
        };
        let mut origin = Origin::new(address, Arc::clone(&self.listener));
        if self.listener.address.ip().is_unspecified() {
            origin.more.get_or_insert_default().local = Some(stream.local_addr()?);
        }
        Ok(Arrival { stream, origin })
    }

    /// True when a client waits to be accepted.
    pub(super) fn has_waiting(&self) -> bool {
        let mut fds = [PollFd::new(&*self.socket, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

/// Binds one address and listens. TCP_NODELAY is set here, because on Linux every accepted connection inherits the
/// option.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|error: io::Error| {
        let remedy = remedy(&error, address);
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{remedy}"))
    })
}

/// Returns what an operator can do when an address cannot be bound, to follow the error; empty if it is not known.
fn remedy(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "; stop the program that listens there ('ss -ltnp sport = :{port}' shows it), or choose another port"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            let any = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
            format!("; give an address of this machine, or {any}:{port} for all of them")
        }
        io::ErrorKind::PermissionDenied => format!(
            "; let systemd open port {port} (neraca.socket), or allow the program to do it ('setcap \
             cap_net_bind_service=+ep FILE'), or choose a port from 1024 on"
        ),
        _ => more_descriptors(error).to_owned(),
    }
}

/// Returns what an operator can do when an error says that the process has too few descriptors, to follow the error; else
/// an empty text.
pub fn more_descriptors(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) {
        true => {
            "; allow more open files: 'ulimit -n 65536' before the start, or LimitNOFILE= in the unit of systemd"
        }
        false => "",
    }
}

/// True when the system has no descriptor or memory left for one more connection. A later attempt may succeed.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_comes_with_a_remedy() {
        let taken = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let in_use = bind(taken.local_addr().unwrap()).unwrap_err();
        assert!(
            in_use.kind() == io::ErrorKind::AddrInUse && in_use.to_string().contains("another port"),
            "{in_use}"
        );
        // An address for documentation is on no machine.
        let foreign = bind(([192, 0, 2, 7], 0).into()).unwrap_err().to_string();
        assert!(foreign.contains("or 0.0.0.0:0 for all of them"), "{foreign}");
        for (errno, expected) in [
            (rustix::io::Errno::ACCESS, "or choose a port from 1024 on"),
            (rustix::io::Errno::MFILE, "LimitNOFILE= in the unit of systemd"),
            (rustix::io::Errno::INVAL, ""),
        ] {
            let remedy = remedy(&errno.into(), ([127, 0, 0, 1], 80).into());
            assert!(
                remedy.ends_with(expected) && remedy.is_empty() == expected.is_empty(),
                "{errno}: {remedy}"
            );
        }
    }
}
