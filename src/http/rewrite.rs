//! Heads as they are sent on: hop-by-hop fields removed, forwarding fields set (RFC 9110 section 7.6).
use std::net::IpAddr;

use super::head::{RequestHead, ResponseHead};

/// How the body bytes change between the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As they came.
    Verbatim,
    /// Chunks are added (until-close towards HTTP/1.1).
    Chunk,
    /// Chunks are removed (chunked towards HTTP/1.0).
    Dechunk,
}

/// Appends the request head as the backend gets it. A trusted client's X-Forwarded fields are kept and added to.
pub fn request(head: &RequestHead<'_>, client: IpAddr, trusted: bool, out: &mut Vec<u8>) { todo!() }

/// What the client is told about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: HTTP/1.1 keeps it.
    Implied,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: upgrade`, for 101.
    Upgrade,
}

/// Appends the response head as the client gets it. Also for 1xx.
pub fn response(head: &ResponseHead<'_>, coding: Coding, persistence: Persistence, out: &mut Vec<u8>) { todo!() }
