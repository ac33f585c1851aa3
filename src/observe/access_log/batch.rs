//! The finished requests that wait for the writer.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::note::{Head, Note};
use super::texts::{Lengths, TEXT_BYTES, keep};
use crate::http::head::Version;
use crate::http::transform::Encryption;
use crate::observe::requests::RequestEnd;

/// A finished request, without its texts.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// The time at which the first bytes of the request were there.
    pub began: Instant,
    /// The time at which the request ended.
    pub ended: Instant,
    /// The listener's own address, if known.
    pub listener: Option<SocketAddr>,
    /// The client's address.
    pub client: SocketAddr,
    /// The status of the response; None when no response had begun.
    pub status: Option<u16>,
    /// How the request ended.
    pub end: RequestEnd,
    /// The backend of the last attempt.
    pub backend: Option<SocketAddr>,
    /// The number of attempts.
    pub attempts: u32,
    /// The bytes of the request body that came from the client.
    pub received_bytes: u64,
    /// The bytes sent to the client.
    pub sent_bytes: u64,
    /// The time in queues.
    pub queue: Option<Duration>,
    /// The time from the begin of the last attempt until its new connection was established.
    pub connect: Option<Duration>,
    /// The time from the begin of the last attempt to the first byte of its response.
    pub first_byte: Option<Duration>,
}

/// Finished requests that wait for the writer. A worker keeps the facts of a request here, and the writer makes the line of
/// them, because a worker has more urgent work.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Vec<Entry>,
    texts: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// None when the head was invalid.
    head: Option<Head>,
    /// None when the client's connection is not encrypted.
    encryption: Option<Encrypted>,
}

#[derive(Debug, Clone, Copy)]
struct Encrypted {
    /// Of the version, the cipher and the server name.
    lengths: Lengths<3>,
    is_resumed: bool,
}

impl Batch {
    /// Adds a request. `note` is None when its head was invalid.
    #[inline]
    pub fn push(&mut self, record: Record, note: Option<&Note>, encryption: Option<Encryption<'_>>) {
        if let Some(note) = note {
            self.texts.extend_from_slice(&note.texts);
        }
        let encryption = encryption.map(|encryption| {
            let texts = [encryption.version, encryption.cipher, encryption.server_name.unwrap_or("")];
            let lengths = texts.map(|text| keep(text.as_bytes(), TEXT_BYTES, &mut self.texts));
            Encrypted { lengths: Lengths(lengths), is_resumed: encryption.is_resumed }
        });
        self.entries.push(Entry { record, head: note.map(|note| note.head), encryption });
    }

    /// Returns the number of requests.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is no request.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the memory that the requests need, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.entries.as_slice()) + self.texts.len()
    }

    /// Forgets all requests and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.texts.clear();
    }

    /// Returns the requests in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Request<'_>> {
        let mut texts = self.texts.as_slice();
        self.entries.iter().map(move |entry| Request {
            record: &entry.record,
            head: entry.head.map(|head| (head.version, head.lengths.take(&mut texts))),
            encryption: entry
                .encryption
                .map(|encrypted| (encrypted.lengths.take(&mut texts), encrypted.is_resumed)),
        })
    }
}

/// A request of a [`Batch`].
#[derive(Debug)]
pub struct Request<'b> {
    pub(super) record: &'b Record,
    /// The version, and the texts of [`Head::lengths`].
    pub(super) head: Option<(Version, [&'b [u8]; 6])>,
    /// The texts of [`Encrypted::lengths`], and whether the session was resumed.
    pub(super) encryption: Option<([&'b [u8]; 3], bool)>,
}
