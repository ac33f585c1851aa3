//! Responses that we make ourselves.
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::chunks::ChunkError;
use super::head::HeadError;
use super::rewrite::Persistence;

/// Bytes that are static, shared or owned.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Octets { Static(&'static [u8]), Shared(Arc<[u8]>), Owned(Vec<u8>) }

impl Deref for Octets {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self { Octets::Static(b) => b, Octets::Shared(b) => b, Octets::Owned(b) => b }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// None at all, and no Content-Length (204, 304).
    None,
    /// A part of bytes in memory.
    Octets(Octets, Range<usize>),
    /// A part of a file, read while it is sent.
    File(Arc<File>, Range<u64>),
}

impl Body {
    /// Bytes of it.
    pub fn len(&self) -> u64 { todo!() }
}

/// A response of our own.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Field lines with their line ends, without Date, Connection and Content-Length.
    pub fields: Octets,
    pub body: Body,
    /// The connection is not to be used again.
    pub close: bool,
}

/// The reasons for which we answer in place of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    Head(HeadError), Chunks(ChunkError), HeadTimeout, BodyTimeout, ConnectTimeout, ResponseTimeout,
    NoBackend, Unreachable, BackendClosed, BadResponse, Overload,
}

/// The answer for a reason: the one place where reasons become status codes. A small text/plain body names it.
pub fn answer(reason: Reason) -> Answer { todo!() }

/// The standard reason phrase of a status code.
pub fn phrase(status: u16) -> &'static str { todo!() }

/// Appends the head of `answer`: status line, its fields, Content-Length, Date, `Connection` as told.
pub fn write_head(answer: &Answer, persistence: Persistence, date: &[u8; 29], out: &mut Vec<u8>) { todo!() }
