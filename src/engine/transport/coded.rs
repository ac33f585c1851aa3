//! A transform between a transport and the exchange, as TLS is one.
//!
//! [`Coded`] is a transport over another transport. The exchange reads and writes plain bytes; the inner transport moves
//! encoded bytes. The engine knows no record and no handshake: a [`Transform`] encodes and decodes without I/O.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{Follows, Transport, is_temporary};
use crate::engine::readiness::Readiness;
use crate::exchange::{Interest, Side};

/// Maximum bytes of one read from the inner transport.
const READ_BYTES: usize = 16 * 1024;
/// Maximum plain bytes that are encoded for one write.
const WRITE_BYTES: usize = 16 * 1024;
/// Maximum decoded bytes, and maximum encoded bytes, that wait. Beyond this number no more bytes are read, so a peer
/// that does not take the transform's answers cannot fill the memory.
const WAITING_MAX_BYTES: usize = 64 * 1024;

/// Encodes and decodes the bytes of one connection. Does no I/O.
pub trait Transform: fmt::Debug + Send {
    /// Takes all bytes of `received`, and appends the plain bytes of each whole record to `plain`. The transform keeps
    /// the bytes of a record that is not whole. Bytes for the peer, for example of a handshake, are appended to `out`.
    ///
    /// # Errors
    /// The bytes are invalid. The connection is closed after `out` was sent.
    fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()>;

    /// Appends the encoding of `plain`, or of its first part, to `out`. Returns the number of plain bytes taken. Takes
    /// no byte while a handshake is not complete; then only the handshake's next message is appended. `plain` is empty
    /// when only the handshake should begin.
    ///
    /// # Errors
    /// The connection cannot be used any more.
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<usize>;

    /// Appends the end marker. Nothing is encoded afterwards.
    fn end(&mut self, out: &mut Vec<u8>);

    /// True while the handshake is not complete.
    fn is_handshaking(&self) -> bool;

    /// True when the peer's end marker was decoded. A stream that ends without the marker was cut off.
    fn peer_has_ended(&self) -> bool;
}

/// Makes a transform for each connection.
#[derive(Clone)]
pub struct TransformFactory(Arc<dyn Fn() -> Box<dyn Transform> + Send + Sync>);

impl TransformFactory {
    /// A factory that calls `make` for each connection.
    pub fn new(make: impl Fn() -> Box<dyn Transform> + Send + Sync + 'static) -> Self {
        TransformFactory(Arc::new(make))
    }
}

impl fmt::Debug for TransformFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransformFactory")
    }
}

/// A transport with or without a transform. A connection without a transform pays one branch per call and no memory.
#[derive(Debug)]
pub enum Layered<T> {
    /// The exchange's bytes are the transport's bytes.
    Plain(T),
    /// A transform stands between the transport and the exchange.
    Coded(Box<Coded<T>>),
}

impl<T> Layered<T> {
    /// Puts a new transform of the factory in front of a transport.
    pub fn new(inner: T, factory: Option<&TransformFactory>) -> Self {
        match factory {
            None => Layered::Plain(inner),
            Some(factory) => Layered::Coded(Box::new(Coded::new(inner, (factory.0)()))),
        }
    }

    /// The transport without its transform.
    pub fn inner(&self) -> &T {
        match self {
            Layered::Plain(inner) => inner,
            Layered::Coded(coded) => &coded.inner,
        }
    }

    /// Replaces the inner transport. The transform and its bytes stay.
    pub(super) fn try_map(self, map: impl FnOnce(T) -> io::Result<T>) -> io::Result<Self> {
        Ok(match self {
            Layered::Plain(inner) => Layered::Plain(map(inner)?),
            Layered::Coded(coded) => {
                let coded = *coded;
                Layered::Coded(Box::new(Coded { inner: map(coded.inner)?, ..coded }))
            }
        })
    }
}

impl<T: Transport> Transport for Layered<T> {
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Layered::Plain(inner) => inner.read(ready, room),
            Layered::Coded(coded) => coded.read(ready, room),
        }
    }

    fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], follows: Follows) -> io::Result<usize> {
        match self {
            Layered::Plain(inner) => inner.write(ready, slices, follows),
            Layered::Coded(coded) => coded.write(ready, slices, follows),
        }
    }

    fn send_file(&mut self, ready: &mut Readiness, file: &File, range: Range<u64>) -> io::Result<usize> {
        match self {
            Layered::Plain(inner) => inner.send_file(ready, file, range),
            Layered::Coded(coded) => coded.send_file(ready, file, range),
        }
    }

    fn established(&mut self, ready: &mut Readiness) -> io::Result<bool> {
        match self {
            Layered::Plain(inner) => inner.established(ready),
            Layered::Coded(coded) => coded.established(ready),
        }
    }

    fn shutdown(&mut self, ready: &mut Readiness) {
        match self {
            Layered::Plain(inner) => inner.shutdown(ready),
            Layered::Coded(coded) => coded.shutdown(ready),
        }
    }

    fn set_abrupt(&mut self) {
        match self {
            Layered::Plain(inner) => inner.set_abrupt(),
            Layered::Coded(coded) => coded.inner.set_abrupt(),
        }
    }

    fn progress(&mut self, ready: &mut Readiness) {
        if let Layered::Coded(coded) = self {
            coded.progress(ready);
        }
    }

    fn waits_for(&self, side: Side, interest: Interest) -> Interest {
        match self {
            Layered::Plain(_) => interest,
            Layered::Coded(coded) => coded.waits_for(side, interest),
        }
    }

    fn finish(&mut self, ready: &mut Readiness) -> bool {
        match self {
            Layered::Plain(_) => true,
            Layered::Coded(coded) => coded.finish(ready),
        }
    }
}

/// A transport over another transport, with a transform in between. Its queues own no memory while they are empty.
#[derive(Debug)]
pub struct Coded<T> {
    inner: T,
    transform: Box<dyn Transform>,
    /// Decoded bytes that the exchange has not read.
    plain: Queue,
    /// Encoded bytes that the inner transport has not taken.
    out: Queue,
    /// Plain bytes whose encoding is in `out`. They count as written when `out` is empty, so that the exchange takes no
    /// byte for sent that is not.
    unreported: usize,
    /// The inner transport is established.
    connected: bool,
    /// Nothing can be encoded before more bytes are decoded.
    blocked: bool,
    /// Our end marker is in `out` or was sent.
    ended: bool,
    /// The inner transport is shut down when `out` is empty.
    shuts: bool,
    /// Reading failed: the stream is invalid or was cut off.
    read_error: Option<ErrorKind>,
    /// Writing failed. Bytes that the peer sent before may still be read.
    write_error: Option<ErrorKind>,
    /// A read has returned the end of the stream or its error.
    told: bool,
}

impl<T> Coded<T> {
    fn new(inner: T, transform: Box<dyn Transform>) -> Self {
        Coded {
            inner,
            transform,
            plain: Queue::default(),
            out: Queue::default(),
            unreported: 0,
            connected: false,
            blocked: false,
            ended: false,
            shuts: false,
            read_error: None,
            write_error: None,
            told: false,
        }
    }

    /// True when the stream is over for the exchange once `plain` is empty.
    fn is_over(&self) -> bool {
        self.read_error.is_some() || self.transform.peer_has_ended()
    }

    /// True when no more bytes may be decoded before a queue has become shorter.
    fn is_crowded(&self) -> bool {
        self.plain.len() > WAITING_MAX_BYTES || self.out.len() > WAITING_MAX_BYTES
    }

    fn fail_read(&mut self, error: ErrorKind, ready: &mut Readiness) {
        self.read_error.get_or_insert(error);
        self.note_buffered(ready);
    }

    /// Records whether a read returns something without the inner transport. A known end of the stream counts.
    fn note_buffered(&self, ready: &mut Readiness) {
        ready.set(Readiness::BUFFERED, !self.plain.is_empty() || (self.is_over() && !self.told));
        if self.is_over() {
            ready.insert(Readiness::ENDED);
        }
    }

    fn make_end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) && self.write_error.is_none() {
            self.transform.end(&mut self.out.bytes);
        }
    }

    /// A wait for a write is a wait for a read while the handshake needs a message of the peer. Bytes in `out` always
    /// wait for a write.
    fn waits_for(&self, side: Side, mut interest: Interest) -> Interest {
        let (read, write) = (Interest::read(side), Interest::write(side));
        if self.blocked && interest.contains(write) {
            interest.set(write, false);
            interest.set(read, true);
        }
        if self.is_crowded() {
            interest.set(read, false);
        }
        if !self.out.is_empty() {
            interest.set(write, true);
        }
        interest
    }
}

impl<T: Transport> Coded<T> {
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.plain.is_empty() {
                let n = room.len().min(self.plain.len());
                room[..n].copy_from_slice(&self.plain.rest()[..n]);
                self.plain.advance(n);
                self.note_buffered(ready);
                return Ok(n);
            }
            if self.is_over() {
                return self.tell_end(ready);
            }
            if !ready.contains(Readiness::READABLE) || self.is_crowded() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.fill(ready);
        }
    }

    /// The end of the stream, or its error, once.
    fn tell_end(&mut self, ready: &mut Readiness) -> io::Result<usize> {
        ready.remove(Readiness::READABLE | Readiness::BUFFERED);
        match self.read_error {
            _ if std::mem::replace(&mut self.told, true) => Err(ErrorKind::WouldBlock.into()),
            Some(error) => Err(error.into()),
            None => Ok(0),
        }
    }

    fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], follows: Follows) -> io::Result<usize> {
        if self.unreported == 0 {
            self.flush(ready)?;
            self.unreported = self.encode(ready, slices)?;
            let most = slices[0].len() + slices[1].len();
            if follows == Follows::End && self.unreported == most {
                self.make_end();
            }
        }
        self.flush(ready)?;
        Ok(std::mem::take(&mut self.unreported))
    }

    /// Encodes the first bytes of the slices into `out`, which is empty. Advances the handshake first.
    fn encode(&mut self, ready: &mut Readiness, slices: [&[u8]; 2]) -> io::Result<usize> {
        loop {
            let mut taken = 0;
            for slice in slices {
                let part = &slice[..slice.len().min(WRITE_BYTES - taken)];
                let n = self.transform.encode(part, &mut self.out.bytes)?;
                taken += n;
                if n < slice.len() {
                    break;
                }
            }
            if taken > 0 {
                return Ok(taken);
            }
            self.await_peer(ready)?;
        }
    }

    /// Sends our message of the handshake, and reads messages of the peer.
    fn await_peer(&mut self, ready: &mut Readiness) -> io::Result<()> {
        self.flush(ready)?;
        if self.is_over() {
            return Err(self.read_error.unwrap_or(ErrorKind::UnexpectedEof).into());
        }
        if !ready.contains(Readiness::READABLE) || self.is_crowded() {
            self.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.fill(ready);
        Ok(())
    }

    /// Reads a part of the file and writes it: the kernel cannot encode it. A part that was encoded is not read again.
    fn send_file(&mut self, ready: &mut Readiness, file: &File, range: Range<u64>) -> io::Result<usize> {
        if self.unreported > 0 {
            return self.write(ready, [&[], &[]], Follows::Unknown);
        }
        let mut part = vec![0; (range.end - range.start).min(WRITE_BYTES as u64) as usize];
        match file.read_at(&mut part, range.start)? {
            0 => Ok(0),
            n => self.write(ready, [&part[..n], &[]], Follows::Unknown),
        }
    }

    /// True when the inner transport is established and the handshake is complete.
    fn established(&mut self, ready: &mut Readiness) -> io::Result<bool> {
        self.connected = self.connected || self.inner.established(ready)?;
        if !self.connected {
            return Ok(false);
        }
        while self.transform.is_handshaking() {
            self.transform.encode(&[], &mut self.out.bytes)?;
            match self.await_peer(ready) {
                Ok(()) => {}
                Err(error) if is_temporary(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends the end marker, then shuts the inner transport down.
    fn shutdown(&mut self, ready: &mut Readiness) {
        self.shuts = true;
        self.finish(ready);
    }

    fn finish(&mut self, ready: &mut Readiness) -> bool {
        self.make_end();
        !matches!(self.flush(ready), Err(error) if is_temporary(&error))
    }

    fn progress(&mut self, ready: &mut Readiness) {
        if !self.out.is_empty() {
            // A later write returns the error.
            let _ = self.flush(ready);
        }
    }

    /// True when the peer has sent no plain byte and no end since the last read. Reads and decodes all that has
    /// arrived, because a record of the transform's own is no byte for the exchange.
    pub fn is_quiet(&mut self, ready: &mut Readiness) -> bool {
        ready.insert(Readiness::READABLE);
        while ready.contains(Readiness::READABLE) && !ready.contains(Readiness::BUFFERED) {
            self.fill(ready);
        }
        !ready.contains(Readiness::BUFFERED) && self.out.is_empty()
    }

    /// Reads once from the inner transport, and decodes.
    fn fill(&mut self, ready: &mut Readiness) {
        let mut part = [0; READ_BYTES];
        match self.inner.read(ready, &mut part) {
            Ok(0) => self.fail_read(ErrorKind::UnexpectedEof, ready),
            Ok(n) => self.decode(&part[..n], ready),
            Err(error) if is_temporary(&error) => {}
            Err(error) => self.fail_read(error.kind(), ready),
        }
    }

    fn decode(&mut self, received: &[u8], ready: &mut Readiness) {
        self.blocked = false;
        let result = self.transform.decode(received, &mut self.plain.bytes, &mut self.out.bytes);
        // Bytes that the inner transport does not take now are sent when it is writable.
        self.progress(ready);
        match result {
            Ok(()) => self.note_buffered(ready),
            Err(error) => self.fail_read(error.kind(), ready),
        }
    }

    /// Sends all of `out`, or fails.
    fn flush(&mut self, ready: &mut Readiness) -> io::Result<()> {
        if let Some(error) = self.write_error {
            return Err(error.into());
        }
        while !self.out.is_empty() {
            if !ready.contains(Readiness::WRITABLE) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let follows = if self.ended { Follows::End } else { Follows::Unknown };
            match self.inner.write(ready, [self.out.rest(), &[]], follows) {
                Ok(n) => self.out.advance(n),
                Err(error) if is_temporary(&error) => return Err(error),
                Err(error) => {
                    self.write_error = Some(error.kind());
                    self.out = Queue::default();
                    return Err(error);
                }
            }
        }
        if std::mem::take(&mut self.shuts) {
            self.inner.shutdown(ready);
        }
        Ok(())
    }
}

/// Bytes that are appended at the back and taken from the front. Owns no memory when all bytes are taken.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    taken: usize,
}

impl Queue {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn advance(&mut self, n: usize) {
        self.taken += n;
        if self.is_empty() {
            *self = Queue::default();
        }
    }
}
