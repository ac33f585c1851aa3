//! The one list of raw messages that servers have disagreed about, each with its outcome here.
//!
//! The classes are those of published advisories: two framings, codings that are lists, lengths that are not numbers,
//! lenient chunks, line ends, hop-by-hop fields, hosts and targets. The unit tests of `src/http/head.rs`, the simulation,
//! the properties and the comparison of the engines use this list.
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
    /// The `HeadError` for which the head is refused. None: the head is accepted.
    pub error: Option<&'static str>,
}

/// What a client gets of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A whole response with this status.
    Whole(u16),
    /// The head, then a connection that breaks off.
    Broken,
}

/// A raw response.
#[derive(Debug, Clone, Copy)]
pub struct Response {
    pub name: &'static str,
    /// It answers HEAD, not GET.
    pub head: bool,
    pub bytes: &'static [u8],
    pub reply: Reply,
    /// The `HeadError` for which the first head is not believed. None: that head is believed, or it is not whole.
    pub error: Option<&'static str>,
}

/// `before`, then `fill` repeated up to the length `N` with `after`, then `after`.
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
