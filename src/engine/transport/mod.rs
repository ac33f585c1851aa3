//! Transports move bytes; readiness says which bytes may move.

mod tcp;

use std::fs::File;
use std::io;
use std::ops::Range;

use super::readiness::Readiness;

pub(super) use tcp::{Socket, Tcp};

/// What follows the bytes of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Nothing is known to follow.
    Unknown,
    /// The contents of a file: the bytes may leave in one packet with the first of them.
    File,
    /// The end of the connection, or of this direction: the bytes may leave in one packet with it.
    End,
}

/// A non-blocking connection that moves bytes. Each call removes from `ready` what it found exhausted, and fails with
/// `WouldBlock` when nothing moves.
pub trait Transport {
    /// Reads into `room`, which is not empty; 0 is the clean end of the stream.
    ///
    /// # Errors
    /// The stream is broken, or ended where it must not.
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize>;

    /// Writes both slices in order and returns the number of bytes taken. After `WouldBlock` the caller writes the same
    /// bytes again, with or without more behind them.
    ///
    /// # Errors
    /// The stream is broken.
    fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], follows: Follows) -> io::Result<usize>;

    /// Writes a part of a file and returns the number of bytes taken; 0 when the file is shorter than that.
    ///
    /// # Errors
    /// The stream is broken, or the file cannot be read.
    fn send_file(&mut self, ready: &mut Readiness, file: &File, range: Range<u64>) -> io::Result<usize>;

    /// True when a connection that was begun is established.
    ///
    /// # Errors
    /// The connection failed.
    fn established(&mut self, ready: &mut Readiness) -> io::Result<bool>;

    /// Ends the stream towards the peer: no more bytes will be written.
    fn shutdown(&mut self, ready: &mut Readiness);

    /// Makes the coming close a reset, so that the peer cannot take it for the end of a message.
    fn set_abrupt(&mut self);
}

/// One end of a connection: a transport, and what is known of its readiness.
#[derive(Debug)]
pub struct Endpoint<T> {
    /// Moves the bytes.
    pub transport: T,
    /// What is known of the readiness.
    pub ready: Readiness,
}

impl<T: Transport> Endpoint<T> {
    /// A connection whose readiness is not known: the first call tells.
    pub fn new(transport: T) -> Self {
        Endpoint { transport, ready: Readiness::READABLE | Readiness::WRITABLE }
    }

    /// Something may be there to read.
    pub fn is_readable(&self) -> bool {
        self.ready.intersects(Readiness::READABLE | Readiness::BUFFERED)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.ready.contains(Readiness::WRITABLE)
    }

    /// The peer is known to send no more.
    pub fn has_ended(&self) -> bool {
        self.ready.contains(Readiness::ENDED)
    }

    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.transport.read(&mut self.ready, room)
    }

    /// Writes the slices or, when they are empty, a part of the file that follows them.
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
}
