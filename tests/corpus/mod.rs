//! The list of raw messages that servers interpret in different ways, each with its expected outcome.
//!
//! The classes come from published advisories: two framings, lists of codings, invalid lengths, lenient chunks, line
//! ends, hop-by-hop fields, hosts and targets. The unit tests of `src/http/head.rs`, the simulation, the properties and
//! the comparison of the engines use this list.
#![allow(unreachable_pub, dead_code, reason = "a module of several programs, each of which uses a part")]

mod requests;
mod responses;

#[allow(unused_imports, reason = "each program uses a part")]
pub use requests::{REQUESTS, STREAMS};
#[allow(unused_imports, reason = "each program uses a part")]
pub use responses::RESPONSES;

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The backend gets the request and its whole body.
    Forwarded,
    /// The client gets this status, and the connection is closed. The backend does not get the whole request.
    Refused(u16),
}

/// A raw request.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub bytes: &'static [u8],
    pub fate: Fate,
    /// The `HeadError` of the head; None for an accepted head.
    pub error: Option<&'static str>,
}

/// The outcome of a response for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A whole response with this status.
    Whole(u16),
    /// The head; then the connection breaks.
    Broken,
}

/// A raw response.
#[derive(Debug, Clone, Copy)]
pub struct Response {
    pub name: &'static str,
    /// True for the answer to a HEAD, false for the answer to a GET.
    pub head: bool,
    pub bytes: &'static [u8],
    pub reply: Reply,
    /// The `HeadError` of the first head; None for an accepted or an unfinished head.
    pub error: Option<&'static str>,
}

/// Returns `before`, then `fill` repeated, then `after`, with a total length of `N`.
const fn padded<const N: usize>(before: &[u8], fill: &[u8], after: &[u8]) -> [u8; N] {
    let (mut bytes, mut at) = ([0; N], 0);
    while at < N {
        bytes[at] = if at < before.len() {
            before[at]
        } else if at < N - after.len() {
            fill[(at - before.len()) % fill.len()]
        } else {
            after[at + after.len() - N]
        };
        at += 1;
    }
    bytes
}
