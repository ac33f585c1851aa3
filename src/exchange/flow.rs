//! One direction of an exchange: bytes arrive from one side and are sent to the other side.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use crate::http::answer::{Body, Bytes};
use crate::http::buffer::{Buffer, BufferPool};
use crate::http::chunks::{self, ChunkError, ChunkScan, Piece};
use crate::http::framing::Framing;
use crate::http::rewrite::Coding;

/// The part of the body that has not arrived.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// This number of bytes.
    Length(u64),
    /// Chunks, up to the last chunk.
    Chunks(ChunkScan),
    /// All bytes until the stream ends.
    UntilClose,
    /// No more bytes arrive. We send the body as chunks, and the last chunk is not written yet.
    LastChunk,
    /// Nothing.
    Done,
}

/// The source of the body.
#[derive(Debug)]
enum Source {
    /// The other side of the exchange, through `input`.
    Peer,
    /// Memory; the range is the unsent part.
    Bytes(Bytes, Range<usize>),
    /// A file; the range is the unsent part.
    File(Arc<File>, Range<u64>),
}

/// One direction. The prefix is sent first, then the body.
#[derive(Debug)]
pub(super) struct Flow {
    input: Option<Buffer>,
    /// Bytes that we write, sent before the ready body bytes: a rewritten head, or a chunk-size line.
    prefix: Vec<u8>,
    prefix_sent: usize,
    /// Bytes at the front of `input` that may be sent.
    ready: usize,
    /// Ready bytes that were sent and are kept for another attempt; 0 unless `held`.
    resendable: usize,
    held: bool,
    rest: Rest,
    /// For a body with a length: this length. Else the bytes of the body that have arrived, without the framing of chunks.
    length: u64,
    coding: Coding,
    chunk_open: bool,
    source: Source,
}

/// Maximum capacity in bytes of a prefix that is kept for the next exchange.
const PREFIX_KEPT_BYTES: usize = 4096;

/// Maximum body bytes that are copied behind the prefix. Up to this size a copy costs less than a vectored send.
const JOINED_MAX: usize = 2048;

impl Flow {
    pub(super) fn new() -> Self {
        Flow {
            input: None,
            prefix: Vec::new(),
            prefix_sent: 0,
            ready: 0,
            resendable: 0,
            held: false,
            rest: Rest::Done,
            length: 0,
            coding: Coding::Verbatim,
            chunk_open: false,
            source: Source::Peer,
        }
    }

    /// Prepares for the next message. Bytes of the next message that have already arrived stay.
    pub(super) fn reset(&mut self) {
        self.release();
        if let Some(input) = &mut self.input {
            input.consume(self.ready);
        }
        if self.prefix.capacity() > PREFIX_KEPT_BYTES {
            self.prefix = Vec::new();
        }
        self.prefix.clear();
        self.prefix_sent = 0;
        self.ready = 0;
        self.rest = Rest::Done;
        self.length = 0;
        self.coding = Coding::Verbatim;
        self.chunk_open = false;
        if !matches!(self.source, Source::Peer) {
            self.drop_source();
        }
    }

    #[inline(never)]
    fn drop_source(&mut self) {
        self.source = Source::Peer;
    }

    /// Discards all bytes that arrived.
    pub(super) fn discard(&mut self) {
        if let Some(input) = &mut self.input {
            input.clear();
        }
        (self.ready, self.resendable) = (0, 0);
    }

    /// Gives the buffer back to the pool when it is empty.
    pub(super) fn return_empty_buffer(&mut self, buffers: &mut BufferPool) {
        if self.input.as_ref().is_some_and(Buffer::is_empty)
            && let Some(buffer) = self.input.take()
        {
            buffers.give(buffer);
        }
    }

    /// Returns the free space for the next bytes from the source.
    pub(super) fn room(&mut self, buffers: &mut BufferPool) -> &mut [u8] {
        if self.held && self.input.as_ref().is_some_and(Buffer::is_full) {
            self.release();
        }
        self.input.get_or_insert_with(|| buffers.take()).room()
    }

    /// Reports that `n` bytes were written to the front of [`room`](Flow::room).
    pub(super) fn arrived(&mut self, n: usize) {
        if let Some(input) = &mut self.input {
            input.extend(n);
        }
    }

    /// Returns the bytes that arrived and are not ready.
    pub(super) fn unread(&self) -> &[u8] {
        self.input.as_ref().map_or(&[], |input| &input.filled()[self.ready..])
    }

    /// Drops the first `n` bytes that arrived, which are a parsed head. Allowed only while no body byte is ready.
    pub(super) fn skip(&mut self, n: usize) {
        debug_assert!(self.ready == 0, "a head behind body bytes");
        if let Some(input) = &mut self.input {
            input.consume(n);
        }
    }

    /// Takes the buffer out. So a head in the buffer can be parsed while the prefix is written. None when the buffer is
    /// empty.
    pub(super) fn take_input(&mut self) -> Option<Buffer> {
        self.input.take_if(|input| !input.is_empty())
    }

    /// Puts the buffer back.
    pub(super) fn put_input(&mut self, input: Buffer) {
        self.input = Some(input);
    }

    /// Returns the prefix, to append bytes to it. Allowed only while no body byte is ready, because the prefix is sent
    /// before the ready bytes.
    pub(super) fn prefix(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.ready == 0, "a prefix behind body bytes");
        if self.prefix_sent > 0 && self.prefix_sent == self.prefix.len() && !self.held {
            self.prefix.clear();
            self.prefix_sent = 0;
        }
        &mut self.prefix
    }

    /// Returns the bytes of the body that have arrived, without the framing of chunks.
    pub(super) fn received_bytes(&self) -> u64 {
        match self.rest {
            Rest::Length(remaining) => self.length - remaining,
            _ => self.length,
        }
    }

    /// Begins a body from the other side. The head is in the prefix. The bytes of a tunnel add to those of the body before.
    pub(super) fn begin(&mut self, framing: Framing, coding: Coding) {
        self.coding = coding;
        self.rest = match framing {
            Framing::None => Rest::Done,
            Framing::Length(0) => Rest::Done,
            Framing::Length(n) => {
                self.length = n;
                Rest::Length(n)
            }
            Framing::Chunked => Rest::Chunks(ChunkScan::default()),
            Framing::UntilClose => Rest::UntilClose,
        };
    }

    /// Begins the body of an answer. The head is in the prefix. With `head_only` the body is not sent.
    pub(super) fn begin_answer(&mut self, body: Body, head_only: bool) {
        self.rest = Rest::Done;
        self.source = match body {
            _ if head_only => Source::Peer,
            Body::None => Source::Peer,
            Body::Bytes(bytes, range) => Source::Bytes(bytes, range),
            Body::File(file, range) => Source::File(file, range),
        };
    }

    /// From now on, keeps the sent bytes for another attempt.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// True when all bytes since `hold` are kept.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// True when a byte was sent since the last rewind.
    pub(super) fn has_sent(&self) -> bool {
        self.prefix_sent > 0
    }

    /// Drops the kept bytes, and keeps no sent bytes from now on.
    pub(super) fn release(&mut self) {
        if self.held {
            self.held = false;
            if let Some(input) = &mut self.input {
                input.consume(self.resendable);
            }
            self.ready -= self.resendable;
            self.resendable = 0;
        }
    }

    /// Makes all kept bytes pending again.
    pub(super) fn rewind(&mut self) {
        debug_assert!(self.held, "only what is held can leave again");
        self.prefix_sent = 0;
        self.resendable = 0;
    }

    /// Scans the bytes that arrived, and marks the bytes of the message as ready.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<(), ChunkError> {
        match self.rest {
            Rest::Done => Ok(()),
            _ => self.scan(),
        }
    }

    fn scan(&mut self) -> Result<(), ChunkError> {
        match &mut self.rest {
            Rest::Done => {}
            Rest::Length(remaining) => {
                let Some(input) = &self.input else { return Ok(()) };
                let unread = (input.len() - self.ready) as u64;
                let n = unread.min(*remaining);
                self.ready += n as usize;
                *remaining -= n;
                if *remaining == 0 {
                    self.rest = Rest::Done;
                }
            }
            Rest::Chunks(_) => self.advance_chunks()?,
            Rest::UntilClose => self.advance_until_close(),
            Rest::LastChunk => self.finish_chunks(),
        }
        Ok(())
    }

    fn advance_chunks(&mut self) -> Result<(), ChunkError> {
        let (Rest::Chunks(scan), Some(input)) = (&mut self.rest, &mut self.input) else { return Ok(()) };
        let keep = self.coding != Coding::Dechunk;
        // Length of the gap after the ready bytes: the framing to remove. The gap is removed once, after the loop.
        let mut gap = 0;
        let mut result = Ok(());
        loop {
            match scan.next(&input.filled()[self.ready + gap..]) {
                Ok(Some(Piece::Data(n))) => {
                    input.move_up(self.ready, gap, n);
                    self.ready += n;
                    self.length += n as u64;
                }
                Ok(Some(Piece::Framing(n))) if keep => self.ready += n,
                Ok(Some(Piece::Framing(n))) => gap += n,
                Ok(Some(Piece::End(mut n))) => {
                    while keep
                        && let Some((at, len)) =
                            chunks::forbidden_trailer(&input.filled()[self.ready..self.ready + n])
                    {
                        input.remove(self.ready + at, len);
                        n -= len;
                    }
                    (self.ready, gap) = if keep { (self.ready + n, gap) } else { (self.ready, gap + n) };
                    self.rest = Rest::Done;
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if gap > 0 {
            input.remove(self.ready, gap);
        }
        result
    }

    fn advance_until_close(&mut self) {
        let Some(input) = &self.input else { return };
        let unread = input.len() - self.ready;
        if self.coding != Coding::Chunk {
            self.ready = input.len();
            self.length += unread as u64;
        } else if self.ready == 0 && unread > 0 {
            let first = !self.chunk_open;
            self.chunk_open = true;
            chunks::write_size(unread, first, self.prefix());
            self.ready = unread;
            self.length += unread as u64;
        }
    }

    fn finish_chunks(&mut self) {
        if self.ready > 0 {
            return;
        }
        if self.unread().is_empty() {
            let first = !self.chunk_open;
            chunks::write_size(0, first, self.prefix());
            self.prefix().extend_from_slice(b"\r\n");
            self.rest = Rest::Done;
        } else {
            self.advance_until_close();
        }
    }

    /// Reports the end of the source. Returns true when the body may end here.
    pub(super) fn ended(&mut self) -> bool {
        match self.rest {
            Rest::UntilClose => {
                self.rest = if self.coding == Coding::Chunk { Rest::LastChunk } else { Rest::Done };
                self.advance_until_close();
                self.finish_if_last();
                true
            }
            Rest::LastChunk | Rest::Done => true,
            Rest::Length(_) | Rest::Chunks(_) => false,
        }
    }

    fn finish_if_last(&mut self) {
        if let Rest::LastChunk = self.rest {
            self.finish_chunks();
        }
    }

    /// True when the whole message was received. Some of its bytes may still be unsent.
    pub(super) fn is_received(&self) -> bool {
        matches!(self.rest, Rest::Done | Rest::LastChunk)
    }

    /// True when nothing follows the pending bytes.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.rest, Rest::Done) && self.file().is_none()
    }

    /// True when the whole message was received and sent.
    pub(super) fn is_done(&self) -> bool {
        self.is_ending() && !self.has_pending()
    }

    /// True when the flow can take more bytes from the peer.
    pub(super) fn wants_read(&self) -> bool {
        let roomy = |input: &Buffer| match self.held {
            true => !input.is_full() || self.resendable > 0,
            false => !input.is_crowded(),
        };
        !self.is_received() && self.input.as_ref().is_none_or(roomy)
    }

    /// Returns the part of a file that follows the pending bytes.
    pub(super) fn file(&self) -> Option<(&File, Range<u64>)> {
        match &self.source {
            Source::File(file, range) if !range.is_empty() => Some((file, range.clone())),
            _ => None,
        }
    }

    /// True when bytes may be sent now.
    #[inline(never)]
    pub(super) fn has_pending(&self) -> bool {
        self.prefix_sent < self.prefix.len()
            || self.resendable < self.ready
            || matches!(&self.source, Source::Bytes(_, range) if !range.is_empty())
    }

    /// Ends a step: one send takes what is small, and an empty buffer goes back to the pool. One copy of this code serves
    /// both directions.
    #[inline(never)]
    pub(super) fn settle(&mut self, buffers: &mut BufferPool) {
        self.join();
        self.return_empty_buffer(buffers);
    }

    /// Copies a small body, or a small ready part, behind the prefix, so that one send takes both. Stops when the
    /// prefix is longer than `PREFIX_KEPT_BYTES`. Then the body stays in `input`. When `input` is full, no more bytes
    /// are read.
    fn join(&mut self) {
        let waits = self.prefix_sent < self.prefix.len();
        if !waits || self.prefix.len() > PREFIX_KEPT_BYTES || self.resendable > 0 {
            return;
        }
        match (&mut self.source, &mut self.input) {
            (Source::Bytes(bytes, range), _) if range.len() <= JOINED_MAX => {
                self.prefix.extend_from_slice(&bytes[range.clone()]);
                range.start = range.end;
            }
            (Source::Peer, Some(input)) if self.ready <= JOINED_MAX => {
                self.prefix.extend_from_slice(&input.filled()[..self.ready]);
                input.consume(self.ready);
                self.ready = 0;
            }
            _ => {}
        }
    }

    /// Returns the bytes to send next: prefix, then body.
    pub(super) fn pending(&self) -> [&[u8]; 2] {
        let body: &[u8] = match (&self.source, &self.input) {
            (Source::Bytes(bytes, range), _) => &bytes[range.clone()],
            (_, Some(input)) => &input.filled()[self.resendable..self.ready],
            (_, None) => &[],
        };
        [&self.prefix[self.prefix_sent..], body]
    }

    /// Reports that the first `n` pending bytes were sent.
    pub(super) fn sent(&mut self, n: usize) {
        let of_prefix = n.min(self.prefix.len() - self.prefix_sent);
        self.prefix_sent += of_prefix;
        let n = n - of_prefix;
        match &mut self.source {
            Source::Bytes(_, range) => range.start += n,
            Source::Peer if self.held => self.resendable += n,
            Source::File(_, range) => range.start += n as u64,
            Source::Peer => {
                if let Some(input) = &mut self.input {
                    input.consume(n);
                }
                self.ready -= n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_leaves_in_one_piece_with_what_is_in_front_of_it() {
        let cases = [(1, true), (JOINED_MAX, true), (JOINED_MAX + 1, false)];
        for (n, joined) in cases {
            let body = vec![b'x'; n];
            let mut buffers = BufferPool::new(1, 2 * JOINED_MAX);
            let (mut of_peer, mut of_answer) = (Flow::new(), Flow::new());
            of_peer.prefix().extend_from_slice(b"head");
            of_peer.room(&mut buffers)[..n].copy_from_slice(&body);
            of_peer.arrived(n);
            of_peer.begin(Framing::Length(n as u64), Coding::Verbatim);
            of_peer.advance().unwrap();
            of_answer.prefix().extend_from_slice(b"head");
            of_answer.begin_answer(Body::Bytes(Bytes::Owned(body.clone()), 0..n), false);
            for mut flow in [of_peer, of_answer] {
                flow.join();
                let [prefix, rest] = flow.pending();
                assert_eq!((prefix.len() + rest.len(), rest.is_empty()), (4 + n, joined), "{n}");
                flow.sent(2);
                flow.join();
                assert_eq!(flow.pending().concat(), [b"ad".as_slice(), &body].concat());
                flow.sent(2 + n);
                assert!(flow.is_done());
            }
        }
    }

    #[test]
    fn the_bytes_of_a_body_are_counted_without_its_framing() {
        let chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\nnext".as_slice();
        // framing, coding, bytes, counted when so many bytes have arrived, counted at the end
        let (plain, next) = (b"abcde".as_slice(), b"abcdenext".as_slice());
        let cases = [
            (Framing::None, Coding::Verbatim, &next[5..], (2, 0), 0),
            (Framing::Length(5), Coding::Verbatim, next, (3, 3), 5),
            (Framing::Chunked, Coding::Verbatim, chunked, (9, 3), 5),
            (Framing::Chunked, Coding::Dechunk, chunked, (9, 3), 5),
            (Framing::UntilClose, Coding::Verbatim, plain, (3, 3), 5),
            (Framing::UntilClose, Coding::Chunk, plain, (3, 3), 5),
        ];
        for (framing, coding, bytes, (first, counted), all) in cases {
            let mut buffers = BufferPool::new(1, 1024);
            let mut flow = Flow::new();
            flow.begin(framing, coding);
            for (part, expected) in [(&bytes[..first], counted), (&bytes[first..], all)] {
                flow.room(&mut buffers)[..part.len()].copy_from_slice(part);
                flow.arrived(part.len());
                flow.advance().unwrap();
                assert_eq!(flow.received_bytes(), expected, "{framing:?} {coding:?}");
                let pending = flow.pending().iter().map(|part| part.len()).sum();
                flow.sent(pending);
            }
            flow.reset();
            assert_eq!(flow.received_bytes(), 0);
        }
    }

    #[test]
    fn what_nobody_takes_is_not_copied_without_end() {
        let mut buffers = BufferPool::new(1, 64 * 1024);
        for coding in [Coding::Verbatim, Coding::Chunk] {
            let mut flow = Flow::new();
            flow.prefix().extend_from_slice(b"head");
            flow.begin(Framing::UntilClose, coding);
            let mut parts = 0;
            while flow.wants_read() && parts < 1000 {
                flow.room(&mut buffers)[..1000].fill(b'x');
                flow.arrived(1000);
                flow.advance().unwrap();
                flow.join();
                parts += 1;
            }
            assert!(parts < 1000, "{coding:?}: reads on");
            assert!(flow.prefix.len() <= PREFIX_KEPT_BYTES + JOINED_MAX, "{}", flow.prefix.len());
        }
    }
}
