//! One non-blocking connection, with what its owner knows of its readiness.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Registry, Token};
use rustix::fs::sendfile;
use rustix::net::sockopt::set_tcp_quickack;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::{Domain, SockRef, Socket, Type};

use crate::exchange::{Exchange, Interest, Side};
use crate::http::buffer::BufferPool;

use super::stats::Counters;

/// What a poller says of a descriptor, as a set of bits.
pub(super) type Readiness = u8;
pub(super) const READABLE: Readiness = 1;
pub(super) const WRITABLE: Readiness = 2;
/// The peer will send no more: a short read does not mean that all was read.
pub(super) const ENDED: Readiness = 4;

/// Bytes of a file that one call sends at most, so that a fast client does not hold up the others.
const SENDFILE_MAX_BYTES: u64 = 256 * 1024;

/// Half of the least receive window that Linux begins with: a sender of so many bytes may be waiting for room. With 100
/// connections that alone takes the 99th percentile of 75 KB from 37 to 7 ms, and 1 MB from 1.26 to 1.67 of HAProxy's
/// requests (thread; async 1.41 to 1.75).
const QUICKACK_MIN_BYTES: usize = 32 * 1024;

/// A socket as a reactor holds it.
pub(super) trait Stream: 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for smol::Async<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// A connection. Readiness is edge-triggered knowledge: it is dropped when a read comes back short or a write does
/// not take all, which saves the call that would only say `WouldBlock`.
#[derive(Debug)]
pub(super) struct Link<S = TcpStream> {
    stream: S,
    readable: bool,
    writable: bool,
    ended: bool,
    /// What a poller was asked to watch so far.
    watched: Readiness,
}

impl Link<TcpStream> {
    /// A connection whose readiness is not known: the first call tells.
    pub(super) fn new(stream: TcpStream) -> Self {
        Link { stream, readable: true, writable: true, ended: false, watched: 0 }
    }

    /// Begins a connection to `address`; true when it is established at once, as over loopback.
    pub(super) fn connect(address: SocketAddr) -> io::Result<(Self, bool)> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let mut link = Link::new(TcpStream::from(OwnedFd::from(socket)));
        let established = link.established()?;
        (link.readable, link.writable) = (false, established);
        Ok((link, established))
    }

    /// The same connection, held in another way.
    pub(super) fn map<S>(self, hold: impl FnOnce(TcpStream) -> io::Result<S>) -> io::Result<Link<S>> {
        let Link { stream, readable, writable, ended, watched } = self;
        Ok(Link { stream: hold(stream)?, readable, writable, ended, watched })
    }

    /// Registers it edge-triggered for what is to be waited for and was not asked before; what is ready already is
    /// told at once.
    pub(super) fn watch(&mut self, registry: &Registry, side: Side, interest: Interest) -> io::Result<()> {
        let writes = if interest.contains(Interest::write(side)) { WRITABLE } else { 0 };
        let wanted = self.watched | READABLE | writes;
        let before = std::mem::replace(&mut self.watched, wanted);
        if before == wanted {
            return Ok(());
        }
        let ready = match wanted & WRITABLE != 0 {
            true => mio::Interest::READABLE | mio::Interest::WRITABLE,
            false => mio::Interest::READABLE,
        };
        let (fd, token) = (self.stream.as_raw_fd(), Token(self.fd()));
        match before {
            0 => registry.register(&mut SourceFd(&fd), token, ready),
            _ => registry.reregister(&mut SourceFd(&fd), token, ready),
        }
    }

    /// The socket, which that poller watches no longer.
    pub(super) fn unwatch(self, registry: &Registry) -> io::Result<TcpStream> {
        if self.watched != 0 {
            registry.deregister(&mut SourceFd(&self.stream.as_raw_fd()))?;
        }
        Ok(self.stream)
    }
}

impl<S: Stream> Link<S> {
    /// The connection that was begun is there; an error when it failed.
    pub(super) fn established(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.tcp().take_error()? {
            return Err(error);
        }
        self.writable = self.stream.tcp().peer_addr().is_ok();
        Ok(self.writable)
    }

    pub(super) fn fd(&self) -> usize {
        self.stream.tcp().as_raw_fd() as usize
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Adds what a poller said.
    pub(super) fn note(&mut self, ready: Readiness) {
        self.readable |= ready & (READABLE | ENDED) != 0;
        self.writable |= ready & WRITABLE != 0;
        self.ended |= ready & ENDED != 0;
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// The poller has said that the peer will send no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Nothing has come since the last read: asked of the system, for where no poller watches, and where its word may
    /// be of bytes that were read before it came.
    pub(super) fn is_quiet(&self) -> bool {
        let result = self.stream.tcp().peek(&mut [0]);
        matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// No more bytes will be written.
    pub(super) fn shutdown(&self) {
        // It fails only where the connection is gone already, which the next read tells.
        let _ = self.stream.tcp().shutdown(Shutdown::Write);
    }

    /// When it is closed it will be reset, so that the peer cannot take the end for the end of a message.
    pub(super) fn set_abrupt(&self) {
        // It fails only where the connection is gone already.
        let _ = SockRef::from(self.stream.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }

    /// The slices or, when they are empty, a part of the file that leaves behind them. The `last` bytes wait for the end
    /// of the connection, to leave in one packet with it: for a connection per request that saves 4 to 5 of 35
    /// microseconds, and the client a packet.
    fn write(
        &mut self,
        slices: [&[u8]; 2],
        file: Option<(&File, Range<u64>)>,
        last: bool,
    ) -> io::Result<usize> {
        let most = slices[0].len() + slices[1].len();
        let mut flags = SendFlags::NOSIGNAL;
        match file {
            Some((file, range)) if most == 0 => return self.write_file(file, range),
            // The head is to leave in one packet with the first of the file.
            Some(_) => flags |= SendFlags::MORE,
            None => flags.set(SendFlags::MORE, last),
        }
        let tcp = self.stream.tcp();
        let result = match (slices[0].is_empty(), slices[1].is_empty()) {
            (_, true) => send(tcp, slices[0], flags),
            (true, false) => send(tcp, slices[1], flags),
            (false, false) => {
                sendmsg(tcp, &slices.map(IoSlice::new), &mut SendAncillaryBuffer::default(), flags)
            }
        };
        self.writable = result == Ok(most);
        Ok(result?)
    }

    /// It blocks for as long as the disk takes: neither the kernel nor smol has a readiness for files, and what is
    /// served is nearly always in the page cache. Less than asked for may mean a full socket or the end of the file; the
    /// next call tells.
    fn write_file(&mut self, file: &File, range: Range<u64>) -> io::Result<usize> {
        let most = (range.end - range.start).min(SENDFILE_MAX_BYTES);
        let result = sendfile(self.stream.tcp(), file, Some(&mut { range.start }), most as usize);
        self.writable = result.is_ok();
        Ok(result?)
    }

    /// What emptied the socket in one large piece is acknowledged at once: the sender's window may be used up, and an
    /// acknowledgement that the kernel puts off holds up the rest for 40 ms.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (tcp, most) = (self.stream.tcp(), room.len());
        let result = recv(tcp, room, RecvFlags::empty()).map(|(n, _)| n);
        self.readable = matches!(result, Ok(n) if n == most || (self.ended && n > 0));
        if matches!(result, Ok(n) if (QUICKACK_MIN_BYTES..most).contains(&n)) {
            // It fails only where the connection is gone already, which the next read tells.
            let _ = set_tcp_quickack(tcp, true);
        }
        Ok(result?)
    }
}

/// Makes every transfer of `interest` that can be made now, writes first; false when none could. A read takes at most
/// `receive_bytes`.
pub(super) fn transfer<S: Stream>(
    exchange: &mut Exchange,
    interest: Interest,
    client: &mut Link<S>,
    mut backend: Option<&mut Link<S>>,
    buffers: &mut BufferPool,
    receive_bytes: usize,
    counters: &Counters,
) -> bool {
    let mut moved = false;
    for side in [Side::Backend, Side::Client] {
        let Some(link) = of(side, client, &mut backend) else { continue };
        if interest.contains(Interest::write(side)) && link.writable {
            match link.write(exchange.pending(side), exchange.file(side), exchange.is_last(side)) {
                Err(error) if is_temporary(&error) => counters.would_blocks.add(1),
                result => {
                    moved = true;
                    exchange.sent(side, result);
                }
            }
        }
    }
    for side in [Side::Backend, Side::Client] {
        let Some(link) = of(side, client, &mut backend) else { continue };
        if interest.contains(Interest::read(side)) && link.readable {
            let room = exchange.room(side, buffers);
            let most = room.len().min(receive_bytes);
            match link.read(&mut room[..most]) {
                Err(error) if is_temporary(&error) => counters.would_blocks.add(1),
                result => {
                    moved = true;
                    exchange.received(side, result);
                }
            }
        }
    }
    moved
}

fn of<'l, S>(
    side: Side,
    client: &'l mut Link<S>,
    backend: &'l mut Option<&mut Link<S>>,
) -> Option<&'l mut Link<S>> {
    match side {
        Side::Client => Some(client),
        Side::Backend => backend.as_deref_mut(),
    }
}

/// What a poller's event says.
pub(super) fn readiness(event: &mio::event::Event) -> Readiness {
    let mut ready = if event.is_readable() { READABLE } else { 0 };
    ready |= if event.is_writable() { WRITABLE } else { 0 };
    if event.is_read_closed() || event.is_error() {
        ready |= READABLE | ENDED;
    }
    if event.is_write_closed() || event.is_error() {
        ready |= WRITABLE;
    }
    ready
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
