//! Transports, which move the bytes of connections.

mod coded;
mod layered;
mod queue;
mod tcp;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::task::Waker;

use super::readiness::Readiness;
use crate::exchange::{Interest, Side};

pub use crate::http::transform::{Transform, TransformFactory};
pub use coded::Coded;
pub use layered::Layered;
pub(super) use tcp::{Socket, Tcp};

/// A hint for one write: the data that follow the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Nothing is known to follow.
    Unknown,
    /// The contents of a file. The bytes may leave in one packet with the start of the file.
    File,
    /// The end of the connection, or of this direction. The bytes may leave in one packet with the FIN.
    End,
}

/// A non-blocking connection that moves bytes. A call that finds the socket empty or full removes this readiness. A
/// call that moves no byte fails with `WouldBlock`.
pub trait Transport {
    /// Reads into `room`, which must not be empty. Returns 0 at the clean end of the stream.
    ///
    /// # Errors
    /// The stream is broken, or has ended too early.
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize>;

    /// Looks at bytes that have arrived, without taking them. Below a transform. Returns 0 at the end of the stream.
    ///
    /// # Errors
    /// The stream is broken.
    fn peek(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize>;

    /// Reads into `room` as [`read`](Transport::read) does, but below a transform.
    ///
    /// # Errors
    /// The stream is broken.
    fn read_encoded(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        self.read(ready, room)
    }

    /// Writes both slices in order and returns the number of bytes taken. After `WouldBlock` the caller writes the same
    /// bytes again, with or without more bytes behind them.
    ///
    /// # Errors
    /// The stream is broken.
    fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], follows: Follows) -> io::Result<usize>;

    /// Writes a part of a file and returns the number of bytes taken. Returns 0 when the file ends before `range`.
    ///
    /// # Errors
    /// The stream is broken, or the file cannot be read.
    fn send_file(&mut self, ready: &mut Readiness, file: &File, range: Range<u64>) -> io::Result<usize>;

    /// True when a new connection is established, with its handshake if the transport has one.
    ///
    /// # Errors
    /// The connection failed.
    fn established(&mut self, ready: &mut Readiness) -> io::Result<bool>;

    /// Ends the stream towards the peer: no more bytes will be written.
    fn shutdown(&mut self, ready: &mut Readiness);

    /// Makes the later close a reset. The peer cannot mistake a reset for the end of a message.
    fn set_abrupt(&mut self);

    /// Sends waiting bytes that the transport itself made, for example for a handshake.
    fn progress(&mut self, _ready: &mut Readiness) {}

    /// True while the handshake of a transform is not complete.
    fn is_handshaking(&self) -> bool {
        false
    }

    /// Returns the transform in front of the transport, if there is one.
    fn transform(&self) -> Option<&dyn Transform> {
        None
    }

    /// True while a part of the handshake is left for another thread, see [`Transform::work`].
    fn has_work(&self) -> bool {
        false
    }

    /// Begins this work, or looks whether it is done; true when it is. `waker` runs the connection again then.
    fn work(&mut self, _ready: &mut Readiness, _waker: &Waker) -> bool {
        false
    }

    /// The socket transfers to wait for when the exchange waits for `interest`. A transport with a handshake may have
    /// to read before it can write, or to write before it can read.
    fn waits_for(&self, _side: Side, interest: Interest) -> Interest {
        interest
    }

    /// Sends the end marker of a transport that has one. False while the socket has not taken all bytes.
    fn finish(&mut self, _ready: &mut Readiness) -> bool {
        true
    }
}

/// True when the transfer may succeed later.
pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// One end of a connection: a transport and its recorded readiness.
#[derive(Debug)]
pub struct Endpoint<T> {
    /// Moves the bytes.
    pub transport: T,
    /// The recorded readiness.
    pub ready: Readiness,
}

impl<T: Transport> Endpoint<T> {
    /// An end with unknown readiness. The first read and the first write find the readiness.
    pub fn new(transport: T) -> Self {
        Endpoint { transport, ready: Readiness::READABLE | Readiness::WRITABLE }
    }

    /// True when there may be bytes to read.
    pub fn is_readable(&self) -> bool {
        self.ready.intersects(Readiness::READABLE | Readiness::BUFFERED)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.ready.contains(Readiness::WRITABLE)
    }

    /// True when the peer is known to send no more.
    pub fn has_ended(&self) -> bool {
        self.ready.contains(Readiness::ENDED)
    }

    pub(super) fn peek(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.transport.peek(&mut self.ready, room)
    }

    /// Reads below a transform.
    pub(super) fn read_encoded(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.transport.read_encoded(&mut self.ready, room)
    }

    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.transport.read(&mut self.ready, room)
    }

    /// Writes the slices, or a part of the file when the slices are empty.
    pub(super) fn write(
        &mut self,
        slices: [&[u8]; 2],
        file: Option<(&File, Range<u64>)>,
        last: bool,
    ) -> io::Result<usize> {
        let follows = match file {
            Some((file, range)) if slices[0].is_empty() && slices[1].is_empty() => {
                return self.transport.send_file(&mut self.ready, file, range);
            }
            Some(_) => Follows::File,
            None if last => Follows::End,
            None => Follows::Unknown,
        };
        self.transport.write(&mut self.ready, slices, follows)
    }

    pub(super) fn established(&mut self) -> io::Result<bool> {
        self.transport.established(&mut self.ready)
    }

    pub(super) fn shutdown(&mut self) {
        self.transport.shutdown(&mut self.ready);
    }

    pub(super) fn progress(&mut self) {
        self.transport.progress(&mut self.ready);
    }

    pub(super) fn work(&mut self, waker: &Waker) -> bool {
        self.transport.work(&mut self.ready, waker)
    }

    /// Sends the end marker. False while the socket has not taken all bytes.
    pub(super) fn finish(&mut self) -> bool {
        self.transport.finish(&mut self.ready)
    }

    /// The socket transfers to wait for when the exchange waits for `interest`.
    pub(super) fn waits_for(&self, side: Side, interest: Interest) -> Interest {
        self.transport.waits_for(side, interest)
    }

    /// True when nothing is left to read or to send, so that another request may use the connection.
    pub(super) fn is_reusable(&self) -> bool {
        !self.ready.intersects(Readiness::ENDED | Readiness::BUFFERED)
            && self.waits_for(Side::Backend, Interest::NONE) == Interest::NONE
    }
}
