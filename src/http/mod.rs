//! The bytes of HTTP/1.1: heads, framing, chunks, rewriting, answers. No clock, no sockets, no state of a connection.

pub mod answer;
pub mod buffer;
pub mod changes;
#[doc(hidden)]
pub mod chunks;
#[doc(hidden)]
pub mod cookie;
#[cfg(test)]
#[path = "../../tests/corpus/mod.rs"]
mod corpus;
pub(crate) mod digits;
mod error;
mod fields;
pub mod framing;
pub mod head;
mod keep_alive;
mod list;
mod method;
pub mod proxy_protocol;
mod request;
mod response;
#[doc(hidden)]
pub mod rewrite;
mod target;
pub mod transform;
