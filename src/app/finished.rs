//! What an app is told about a request that has ended.
use std::time::{Duration, Instant};

use crate::cluster::Attempt;
use crate::http::head::Method;
use crate::http::transform::Transform;
use crate::observe::access_log::Note;
use crate::observe::requests::RequestEnd;

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// The method; [`Method::Other`] when the request head was invalid.
    pub method: Method,
    /// The status of the final response; None when no final response had begun.
    pub status: Option<u16>,
    /// What the app has noted of the request head; None when it notes nothing, or when the head was invalid.
    pub note: Option<&'a Note>,
    /// The number of attempts.
    pub attempts: u32,
    /// The time in queues; None when the request did not wait in a queue.
    pub queued: Option<Duration>,
    /// The bytes of the request body that came from the client, without the framing of chunks; in a tunnel, all bytes of
    /// the client behind the request head.
    pub received_bytes: u64,
    /// The bytes sent to the client: heads, body and the framing of the body.
    pub sent_bytes: u64,
    /// The last attempt; None when no attempt was made.
    pub attempt: Option<&'a Attempt>,
    /// The transform of the client's connection, for its facts; None when the connection is not encrypted.
    pub transform: Option<&'a dyn Transform>,
    /// The time at which the first bytes of the request were there.
    pub began: Instant,
    /// The time at which the request ended.
    pub ended: Instant,
    /// How the request ended.
    pub end: RequestEnd,
}

impl Finished<'_> {
    /// Returns the time from the first bytes of the request to its end.
    pub fn duration(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}
