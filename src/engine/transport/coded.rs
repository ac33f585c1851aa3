//! A transform, such as TLS, between a transport and the exchange.
//!
//! [`Coded`] is a transport over another transport. The exchange reads and writes plain bytes; the inner transport moves
//! encoded bytes. The engine knows no record and no handshake: a [`Transform`] encodes and decodes without I/O.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::task::{Poll, Waker};

use super::queue::Queue;
use super::{Follows, Transport, is_temporary};
use crate::engine::readiness::Readiness;
use crate::exchange::{Interest, Side};
use crate::http::transform::Transform;

/// Maximum bytes of one read from the inner transport.
const READ_BYTES: usize = 16 * 1024;
/// Maximum plain bytes that are encoded for one write.
const WRITE_BYTES: usize = 16 * 1024;
/// The limit of waiting bytes in each of the two queues, decoded and encoded. Reading stops above it. Beyond this
/// number no more bytes are read, so a peer that does not take the transform's answers cannot fill the memory.
const WAITING_MAX_BYTES: usize = 64 * 1024;

/// A transport over another transport, with a transform in between. Its queues own no memory while they are empty.
#[derive(Debug)]
pub struct Coded<T> {
    pub(super) inner: T,
    pub(super) transform: Box<dyn Transform>,
    /// Decoded bytes that the exchange has not read.
    plain: Queue,
    /// Encoded bytes that the inner transport has not taken.
    pub(super) out: Queue,
    /// Plain bytes whose encoding is in `out`, and which do not count as written yet. When the inner transport has
    /// taken a part of `out`, all bytes but one count as written. So the exchange knows that bytes were sent. The last
    /// byte counts when `out` is empty. So a response does not end before all of it is sent.
    unreported: usize,
    /// The inner transport is established.
    connected: bool,
    /// `out` is held back until the first part of a file is encoded behind it.
    held: bool,
    /// Nothing can be encoded before more bytes are decoded.
    blocked: bool,
    /// The transform works on another thread, see [`Transform::work`].
    pub(super) has_work: bool,
    /// The inner transport may have bytes that were not read because of this work.
    has_more: bool,
    /// Our end marker is in `out` or was sent.
    ended: bool,
    /// The inner transport is shut down when `out` is empty.
    shuts: bool,
    /// Reading failed: the stream is invalid or was cut off.
    read_error: Option<ErrorKind>,
    /// What the transform said when it could not decode, until the handshake tells.
    reason: Option<io::Error>,
    /// Writing failed. Bytes that the peer sent before may still be read.
    write_error: Option<ErrorKind>,
    /// A read has returned the end of the stream or its error.
    told: bool,
}

impl<T> Coded<T> {
    /// Replaces the inner transport.
    pub(super) fn try_map(self, map: impl FnOnce(T) -> io::Result<T>) -> io::Result<Self> {
        Ok(Coded { inner: map(self.inner)?, ..self })
    }

    pub(super) fn new(inner: T, transform: Box<dyn Transform>) -> Self {
        Coded {
            inner,
            transform,
            plain: Queue::default(),
            out: Queue::default(),
            unreported: 0,
            connected: false,
            held: false,
            blocked: false,
            has_work: false,
            has_more: false,
            ended: false,
            shuts: false,
            read_error: None,
            reason: None,
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

    /// During a handshake, the transport waits to read, even if the exchange wants to write. Bytes in `out` always wait
    /// for a write.
    #[inline(never)]
    pub(super) fn waits_for(&self, side: Side, mut interest: Interest) -> Interest {
        let (read, write) = (Interest::read(side), Interest::write(side));
        if self.blocked && interest.contains(write) {
            interest.set(write, false);
        }
        if self.blocked || self.transform.is_handshaking() {
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
    #[inline(never)]
    pub(super) fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
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
            if self.has_work {
                // The connection is not readable before the work is done.
                self.has_more |= ready.contains(Readiness::READABLE);
                ready.remove(Readiness::READABLE);
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

    #[inline(never)]
    pub(super) fn write(
        &mut self,
        ready: &mut Readiness,
        slices: [&[u8]; 2],
        follows: Follows,
    ) -> io::Result<usize> {
        if self.unreported == 0 {
            if !std::mem::take(&mut self.held) {
                self.flush(ready)?;
            }
            self.unreported = self.encode(ready, slices)?;
            let is_all = self.unreported == slices[0].len() + slices[1].len();
            match follows {
                Follows::End if is_all => self.make_end(),
                Follows::File if is_all && self.write_error.is_none() => {
                    self.held = true;
                    return Ok(std::mem::take(&mut self.unreported));
                }
                Follows::End | Follows::File | Follows::Unknown => {}
            }
        }
        match self.flush(ready) {
            Ok(()) => Ok(std::mem::take(&mut self.unreported)),
            Err(error) if is_temporary(&error) && self.out.taken > 0 && self.unreported > 1 => {
                Ok(std::mem::replace(&mut self.unreported, 1) - 1)
            }
            Err(error) => Err(error),
        }
    }

    /// Encodes the first bytes of the slices into `out`. Advances the handshake first.
    fn encode(&mut self, ready: &mut Readiness, slices: [&[u8]; 2]) -> io::Result<usize> {
        loop {
            let first = &slices[0][..slices[0].len().min(WRITE_BYTES)];
            let second = &slices[1][..slices[1].len().min(WRITE_BYTES - first.len())];
            let taken = self.transform.encode([first, second], &mut self.out.bytes)?;
            if taken > 0 {
                return Ok(taken);
            }
            self.await_peer(ready)?;
        }
    }

    /// Sends our message of the handshake, and reads messages of the peer.
    fn await_peer(&mut self, ready: &mut Readiness) -> io::Result<()> {
        match self.flush(ready) {
            // Why the handshake failed says more than that the peer does not take our last message.
            Err(error) if self.reason.is_none() || is_temporary(&error) => return Err(error),
            Err(_) | Ok(()) => {}
        }
        if self.is_over() {
            let error = self.read_error.unwrap_or(ErrorKind::UnexpectedEof);
            return Err(self.reason.take().unwrap_or_else(|| error.into()));
        }
        if !ready.contains(Readiness::READABLE) || self.is_crowded() || self.has_work {
            self.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.fill(ready);
        Ok(())
    }

    /// Reads a part of the file and writes it: the kernel cannot encode it. A part that was encoded is not read again.
    #[inline(never)]
    pub(super) fn send_file(
        &mut self,
        ready: &mut Readiness,
        file: &File,
        range: Range<u64>,
    ) -> io::Result<usize> {
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
    pub(super) fn established(&mut self, ready: &mut Readiness) -> io::Result<bool> {
        self.connected = self.connected || self.inner.established(ready)?;
        if !self.connected {
            return Ok(false);
        }
        while self.transform.is_handshaking() {
            self.transform.encode([&[], &[]], &mut self.out.bytes)?;
            match self.await_peer(ready) {
                Ok(()) => {}
                Err(error) if is_temporary(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends the end marker, then shuts the inner transport down.
    pub(super) fn shutdown(&mut self, ready: &mut Readiness) {
        self.shuts = true;
        self.finish(ready);
    }

    pub(super) fn finish(&mut self, ready: &mut Readiness) -> bool {
        self.make_end();
        !matches!(self.flush(ready), Err(error) if is_temporary(&error))
    }

    /// Reads what has arrived once more. A close with unread bytes would be a reset, which can overtake the last bytes
    /// that were sent. The peer's end marker can be such unread bytes.
    pub(super) fn discard_arrived(&mut self, ready: &mut Readiness) {
        if !self.is_over() && !self.has_work {
            self.fill(ready);
        }
    }

    #[inline(never)]
    pub(super) fn progress(&mut self, ready: &mut Readiness) {
        if !self.out.is_empty() {
            // A later write returns the error.
            let _ = self.flush(ready);
        }
    }

    /// True when the peer has sent no plain byte and no end since the last read. Reads and decodes all that has
    /// arrived. Records without plain bytes do not count.
    pub fn is_quiet(&mut self, ready: &mut Readiness) -> bool {
        if self.is_over() {
            return false;
        }
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
        let before = self.out.bytes.len();
        let result = self.transform.decode(received, &mut self.plain.bytes, &mut self.out.bytes);
        self.decoded(before, result, ready);
    }

    /// Begins the work of the transform on another thread, or takes its result over. True when it is done.
    pub(super) fn work(&mut self, ready: &mut Readiness, waker: &Waker) -> bool {
        let before = self.out.bytes.len();
        let work = self.transform.work(waker, &mut self.plain.bytes, &mut self.out.bytes);
        let Poll::Ready(result) = work else { return false };
        self.has_work = false;
        if std::mem::take(&mut self.has_more) {
            ready.insert(Readiness::READABLE);
        }
        self.decoded(before, result, ready);
        true
    }

    /// Handles the result of decoding. `out` had `before` bytes before it.
    fn decoded(&mut self, before: usize, result: io::Result<()>, ready: &mut Readiness) {
        self.blocked = false;
        if self.ended {
            // Nothing may follow the end marker.
            self.out.bytes.truncate(before);
        }
        // Bytes that the inner transport does not take now are sent when it is writable.
        self.progress(ready);
        match result {
            Ok(()) => self.note_buffered(ready),
            Err(error) if is_temporary(&error) => self.has_work = true,
            Err(error) => {
                self.fail_read(error.kind(), ready);
                self.reason = Some(error);
            }
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

#[cfg(test)]
mod tests {
    use super::super::Layered;
    use super::*;

    /// A transform with records of a length byte and up to nine shifted bytes. A byte above nine is a message of its
    /// own: the handshake ends with `H`, which the transform asks for with `h`, and the stream ends with `E`.
    #[derive(Debug, Default)]
    struct Shift {
        partial: Vec<u8>,
        asked: bool,
        greeted: bool,
        ended: bool,
    }

    impl Transform for Shift {
        fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
            self.partial.extend_from_slice(received);
            while let Some(first) = self.partial.first().copied() {
                let len = 1 + usize::from(first) * usize::from(first < 10);
                let Some(record) = self.partial.get(1..len) else { break };
                plain.extend(record.iter().map(|byte| byte - 1));
                self.partial.drain(..len);
                match first {
                    b'H' => self.greeted = true,
                    b'E' => self.ended = true,
                    b'?' => out.push(b'!'),
                    1..10 => {}
                    _ => return Err(ErrorKind::InvalidData.into()),
                }
            }
            Ok(())
        }

        fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
            let plain = plain.concat();
            if !std::mem::replace(&mut self.asked, true) {
                out.push(b'h');
            }
            if !self.greeted {
                return Ok(0);
            }
            for record in plain.chunks(9) {
                out.push(record.len() as u8);
                out.extend(record.iter().map(|byte| byte + 1));
            }
            Ok(plain.len())
        }

        fn end(&mut self, out: &mut Vec<u8>) {
            out.push(b'E');
        }

        fn is_handshaking(&self) -> bool {
            !self.greeted
        }

        fn peer_has_ended(&self) -> bool {
            self.ended
        }
    }

    /// Leaves the handshake to another thread, which is done at the second look.
    #[derive(Debug, Default)]
    struct Lazy {
        inner: Shift,
        received: Vec<u8>,
        is_begun: bool,
    }

    impl Transform for Lazy {
        fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
            if !self.inner.is_handshaking() {
                return self.inner.decode(received, plain, out);
            }
            assert!(self.received.is_empty(), "more bytes during the work");
            self.received.extend_from_slice(received);
            Err(ErrorKind::WouldBlock.into())
        }

        fn work(&mut self, _: &Waker, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Poll<io::Result<()>> {
            match std::mem::replace(&mut self.is_begun, true) {
                false => Poll::Pending,
                true => Poll::Ready(self.inner.decode(&self.received, plain, out)),
            }
        }

        fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
            self.inner.encode(plain, out)
        }

        fn end(&mut self, out: &mut Vec<u8>) {
            self.inner.end(out);
        }

        fn is_handshaking(&self) -> bool {
            self.inner.is_handshaking()
        }

        fn peer_has_ended(&self) -> bool {
            self.inner.peer_has_ended()
        }
    }

    /// An inner transport in memory.
    #[derive(Debug, Default)]
    struct Pipe {
        arrived: Vec<u8>,
        at_end: bool,
        written: Vec<u8>,
        /// The room for writes.
        room: usize,
        broken: bool,
        shut: bool,
        abrupt: bool,
    }

    impl Transport for Pipe {
        fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
            let n = self.arrived.len().min(room.len());
            room[..n].copy_from_slice(&self.arrived[..n]);
            self.arrived.drain(..n);
            ready.set(Readiness::READABLE, n == room.len());
            if n == 0 && !self.at_end { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
        }

        fn peek(&mut self, _: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
            let n = self.arrived.len().min(room.len());
            room[..n].copy_from_slice(&self.arrived[..n]);
            Ok(n)
        }

        fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], _: Follows) -> io::Result<usize> {
            assert!(!self.shut, "a write behind the end");
            if self.broken {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let bytes = slices.concat();
            let n = bytes.len().min(self.room);
            self.room -= n;
            self.written.extend_from_slice(&bytes[..n]);
            ready.set(Readiness::WRITABLE, n == bytes.len());
            if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
        }

        fn send_file(&mut self, _: &mut Readiness, _: &File, _: Range<u64>) -> io::Result<usize> {
            unreachable!("the kernel cannot encode a file")
        }

        fn established(&mut self, _: &mut Readiness) -> io::Result<bool> {
            Ok(true)
        }

        fn shutdown(&mut self, _: &mut Readiness) {
            self.shut = true;
        }

        fn set_abrupt(&mut self) {
            self.abrupt = true;
        }
    }

    struct Rig {
        line: Layered<Pipe>,
        ready: Readiness,
    }

    impl Rig {
        /// A connection before its handshake.
        fn new() -> Self {
            Rig::with(Box::<Shift>::default())
        }

        fn with(transform: Box<dyn Transform>) -> Self {
            let line = Layered::new(Pipe { room: usize::MAX, ..Pipe::default() }, Some(transform));
            Rig { line, ready: Readiness::WRITABLE }
        }

        /// A connection behind its handshake.
        fn greeted() -> Self {
            let mut rig = Rig::new();
            rig.arrive(b"H");
            assert!(rig.line.established(&mut rig.ready).unwrap());
            assert_eq!(std::mem::take(&mut rig.pipe().written), b"h");
            rig
        }

        fn coded(&mut self) -> &mut Coded<Pipe> {
            let Layered::Coded(coded) = &mut self.line else { panic!("a transform") };
            coded
        }

        fn pipe(&mut self) -> &mut Pipe {
            &mut self.coded().inner
        }

        fn arrive(&mut self, bytes: &[u8]) {
            self.pipe().arrived.extend_from_slice(bytes);
            self.ready.insert(Readiness::READABLE);
        }

        fn end(&mut self) {
            self.pipe().at_end = true;
            self.ready.insert(Readiness::READABLE);
        }

        fn give_room(&mut self, room: usize) {
            self.pipe().room = room;
            self.ready.insert(Readiness::WRITABLE);
        }

        fn read(&mut self, most: usize) -> Result<Vec<u8>, ErrorKind> {
            let mut room = vec![0; most];
            let n = self.line.read(&mut self.ready, &mut room).map_err(|error| error.kind())?;
            room.truncate(n);
            Ok(room)
        }

        fn write(&mut self, bytes: &[u8], follows: Follows) -> Result<usize, ErrorKind> {
            self.line.write(&mut self.ready, [bytes, &[]], follows).map_err(|error| error.kind())
        }

        fn work(&mut self) -> bool {
            self.line.work(&mut self.ready, Waker::noop())
        }

        fn waits_for(&self, interest: Interest) -> Interest {
            self.line.waits_for(Side::Client, interest)
        }

        /// The queues own no memory.
        fn is_small(&mut self) -> bool {
            let coded = self.coded();
            coded.plain.bytes.capacity() + coded.out.bytes.capacity() == 0
        }
    }

    #[test]
    fn decoded_bytes_count_as_readable_until_they_are_read() {
        let mut rig = Rig::greeted();
        rig.arrive(b"\x03bcd\x02ef\x02g");
        assert_eq!(rig.read(4), Ok(b"abcd".to_vec()));
        assert!(rig.ready.contains(Readiness::BUFFERED) && !rig.ready.contains(Readiness::READABLE));
        assert_eq!(rig.read(9), Ok(b"e".to_vec()), "a short read");
        assert!(!rig.ready.contains(Readiness::BUFFERED));
        rig.arrive(b"h");
        assert_eq!(rig.read(9), Ok(b"fg".to_vec()), "the other half of a record");
        assert!(rig.is_small());
    }

    #[test]
    fn the_last_byte_of_a_write_counts_when_all_its_records_are_sent() {
        let mut rig = Rig::greeted();
        rig.give_room(0);
        assert_eq!(rig.write(b"abc", Follows::Unknown), Err(ErrorKind::WouldBlock));
        rig.give_room(2);
        assert_eq!(rig.write(b"abc", Follows::Unknown), Ok(2), "a part was sent");
        assert_eq!(rig.write(b"cd", Follows::Unknown), Err(ErrorKind::WouldBlock));
        assert_eq!(rig.waits_for(Interest::READ_CLIENT), {
            let mut both = Interest::READ_CLIENT;
            both.set(Interest::WRITE_CLIENT, true);
            both
        });
        rig.give_room(9);
        assert_eq!(rig.write(b"cd", Follows::Unknown), Ok(1), "the bytes of the first call");
        assert_eq!(rig.write(b"d", Follows::Unknown), Ok(1));
        assert_eq!(rig.pipe().written, b"\x03bcd\x01e");
        assert!(rig.is_small());
        let large = vec![b'a'; 3 * WRITE_BYTES];
        rig.give_room(usize::MAX);
        assert_eq!(rig.write(&large, Follows::End), Ok(WRITE_BYTES));
        assert!(!rig.pipe().written.ends_with(b"E"), "more bytes follow");
    }

    #[test]
    fn a_write_waits_for_a_read_during_the_handshake() {
        let mut rig = Rig::new();
        assert_eq!(rig.waits_for(Interest::NONE), Interest::READ_CLIENT);
        assert_eq!(rig.write(b"a", Follows::Unknown), Err(ErrorKind::WouldBlock));
        assert_eq!(rig.pipe().written, b"h");
        assert_eq!(rig.waits_for(Interest::WRITE_CLIENT), Interest::READ_CLIENT);
        rig.arrive(b"H\x01y");
        assert_eq!(rig.write(b"a", Follows::Unknown), Ok(1));
        assert_eq!(rig.waits_for(Interest::WRITE_CLIENT), Interest::WRITE_CLIENT);
        assert!(rig.ready.contains(Readiness::BUFFERED), "bytes behind the handshake");
        assert_eq!(rig.read(9), Ok(b"x".to_vec()));
    }

    #[test]
    fn nothing_is_read_while_another_thread_works() {
        // the bytes that another thread decodes, what a read returns afterwards, what was sent
        let cases = [
            (&b"H"[..], Ok(b"x".to_vec()), &b""[..]),
            (b"H?\x02bc", Ok(b"ab".to_vec()), b"!"),
            (b"?X", Err(ErrorKind::InvalidData), b"!"),
        ];
        for (received, expected, written) in cases {
            let mut rig = Rig::with(Box::<Lazy>::default());
            assert!(!rig.line.has_work(), "nothing has come");
            rig.arrive(received);
            assert_eq!(rig.read(9), Err(ErrorKind::WouldBlock));
            assert!(rig.line.has_work() && !rig.work(), "the work begins");
            rig.arrive(b"\x01y");
            assert_eq!(rig.read(9), Err(ErrorKind::WouldBlock));
            assert!(!rig.ready.intersects(Readiness::READABLE | Readiness::BUFFERED), "no run for nothing");
            assert_eq!(rig.waits_for(Interest::NONE), Interest::READ_CLIENT, "not idle");
            assert_eq!(rig.pipe().arrived, b"\x01y");
            assert!(rig.work() && !rig.line.has_work());
            assert!(rig.ready.contains(Readiness::READABLE), "what came meanwhile");
            assert_eq!(rig.pipe().written, written);
            assert_eq!(rig.read(9), expected, "{received:?}");
        }
    }

    #[test]
    fn a_connection_may_close_while_another_thread_works() {
        let mut rig = Rig::with(Box::<Lazy>::default());
        rig.arrive(b"H");
        assert_eq!(rig.read(9), Err(ErrorKind::WouldBlock));
        assert!(!rig.work());
        rig.arrive(b"more");
        assert_eq!(rig.write(b"a", Follows::Unknown), Err(ErrorKind::WouldBlock), "not before the handshake");
        assert!(rig.line.finish(&mut rig.ready), "nothing waits for the work");
        assert_eq!(rig.pipe().arrived, b"more");
    }

    #[test]
    fn a_connection_is_established_behind_its_handshake() {
        let mut rig = Rig::new();
        assert!(!rig.line.established(&mut rig.ready).unwrap());
        assert_eq!(rig.waits_for(Interest::WRITE_CLIENT), Interest::READ_CLIENT);
        rig.arrive(b"H");
        assert!(rig.line.established(&mut rig.ready).unwrap());
        assert_eq!(rig.waits_for(Interest::WRITE_CLIENT), Interest::WRITE_CLIENT);
        let mut rig = Rig::new();
        rig.end();
        assert!(rig.line.established(&mut rig.ready).is_err(), "the peer left");
    }

    #[test]
    fn own_bytes_are_sent_while_the_exchange_reads() {
        let mut rig = Rig::greeted();
        rig.give_room(0);
        rig.ready.remove(Readiness::WRITABLE);
        rig.arrive(b"?\x01b");
        assert_eq!(rig.read(9), Ok(b"a".to_vec()));
        assert_ne!(rig.waits_for(Interest::READ_CLIENT), Interest::READ_CLIENT, "the answer has no room");
        rig.give_room(9);
        rig.line.progress(&mut rig.ready);
        assert_eq!(rig.pipe().written, b"!");
        assert_eq!(rig.waits_for(Interest::READ_CLIENT), Interest::READ_CLIENT);
        // A peer that asks and never reads is not read any more.
        rig.give_room(0);
        rig.arrive(&b"?".repeat(2 * WAITING_MAX_BYTES));
        assert_eq!(rig.read(9), Err(ErrorKind::WouldBlock));
        assert_eq!(rig.waits_for(Interest::READ_CLIENT), Interest::WRITE_CLIENT);
        assert!(rig.coded().out.len() <= WAITING_MAX_BYTES + READ_BYTES);
    }

    #[test]
    fn a_stream_ends_with_its_marker_or_was_cut_off() {
        for (marker, end) in [(&b"E"[..], Ok(Vec::new())), (b"", Err(ErrorKind::UnexpectedEof))] {
            let mut rig = Rig::greeted();
            rig.arrive(&[b"\x01b", marker].concat());
            rig.pipe().at_end = true;
            assert_eq!(rig.read(9), Ok(b"a".to_vec()));
            rig.ready.insert(Readiness::READABLE);
            assert_eq!(rig.read(9), end);
            assert!(rig.ready.contains(Readiness::ENDED), "not used for another request");
            rig.ready.insert(Readiness::READABLE);
            assert_eq!(rig.read(9), Err(ErrorKind::WouldBlock), "the end is told once");
        }
        let mut rig = Rig::greeted();
        rig.arrive(b"\x01bX");
        assert_eq!((rig.read(9), rig.read(9)), (Ok(b"a".to_vec()), Err(ErrorKind::InvalidData)));
    }

    #[test]
    fn the_end_marker_comes_before_the_end() {
        let mut rig = Rig::greeted();
        assert_eq!(rig.write(b"a", Follows::End), Ok(1));
        assert!(rig.line.finish(&mut rig.ready));
        assert_eq!(rig.pipe().written, b"\x01bE", "one marker, in one write with the last bytes");
        let mut rig = Rig::greeted();
        rig.give_room(0);
        rig.line.shutdown(&mut rig.ready);
        assert!(!rig.pipe().shut && !rig.line.finish(&mut rig.ready), "no room for the marker");
        rig.give_room(1);
        rig.line.progress(&mut rig.ready);
        assert!(rig.pipe().shut && rig.line.finish(&mut rig.ready));
        let mut rig = Rig::greeted();
        rig.line.set_abrupt();
        assert!(rig.pipe().abrupt && rig.pipe().written.is_empty());
    }

    #[test]
    fn a_parked_connection_is_quiet_behind_records_without_bytes() {
        let mut rig = Rig::greeted();
        let mut is_quiet = |bytes: &[u8]| {
            rig.arrive(bytes);
            let Layered::Coded(coded) = &mut rig.line else { panic!("a transform") };
            coded.is_quiet(&mut rig.ready)
        };
        assert!(is_quiet(b"") && is_quiet(b"?") && is_quiet(b"\x02b"));
        assert!(!is_quiet(b"c"), "bytes that nobody asked for");
        let mut rig = Rig::greeted();
        rig.arrive(b"E");
        let mut ready = rig.ready;
        assert!(!rig.coded().is_quiet(&mut ready));
    }

    #[test]
    fn bytes_of_a_peer_that_reads_no_more_can_be_read() {
        let mut rig = Rig::greeted();
        rig.pipe().broken = true;
        rig.arrive(b"\x01b");
        assert_eq!(rig.write(b"a", Follows::Unknown), Err(ErrorKind::BrokenPipe));
        assert_eq!(rig.waits_for(Interest::NONE), Interest::NONE);
        assert_eq!(rig.read(9), Ok(b"a".to_vec()));
        assert!(rig.line.finish(&mut rig.ready), "nothing can be sent");
    }

    #[test]
    fn a_file_is_read_once_and_encoded() {
        let path = std::env::temp_dir().join(format!("neraca-coded-{}", std::process::id()));
        std::fs::write(&path, "0123456789").unwrap();
        let file = File::open(&path).unwrap();
        let mut rig = Rig::greeted();
        let mut send = |room, range| {
            rig.give_room(room);
            rig.line.send_file(&mut rig.ready, &file, range).map_err(|error| error.kind())
        };
        assert_eq!(send(2, 2..6), Ok(3));
        assert_eq!(send(9, 5..6), Ok(1));
        assert_eq!(send(9, 12..20), Ok(0), "the file is shorter");
        assert_eq!(rig.pipe().written, b"\x043456");
        // A head leaves with the first part of the file, or when the connection runs again.
        for (runs, written) in [(false, b"".as_slice()), (true, b"\x01i")] {
            rig.pipe().written.clear();
            rig.give_room(9);
            assert_eq!(rig.write(b"h", Follows::File), Ok(1));
            assert_eq!(rig.pipe().written, b"");
            if runs {
                rig.line.progress(&mut rig.ready);
            }
            assert_eq!(rig.pipe().written, written);
            assert_eq!(rig.line.send_file(&mut rig.ready, &file, 0..2).unwrap(), 2);
            assert_eq!(rig.pipe().written, b"\x01i\x0212");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
