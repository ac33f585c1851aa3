//! What a transform is, such as TLS: it encodes and decodes the bytes of one connection. Nothing here knows a transform: a
//! listener and a backend hold a factory, and the engine asks it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// The facts about an encrypted connection. They are borrowed from its transform, so a connection keeps no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption<'t> {
    /// The version of the protocol, such as `TLSv1.3`.
    pub version: &'static str,
    /// The name of the cipher in the registry of IANA, such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The host that the client has named (SNI, RFC 6066 section 3); None when it has named none.
    pub server_name: Option<&'t str>,
    /// True when the client has resumed an earlier session.
    pub is_resumed: bool,
}

/// Encodes and decodes the bytes of one connection. Does no I/O.
pub trait Transform: fmt::Debug + Send {
    /// Takes all bytes of `received`, and appends the plain bytes of each whole record to `plain`. The transform keeps
    /// the bytes of a record that is not whole. Bytes for the peer, for example of a handshake, are appended to `out`.
    ///
    /// # Errors
    /// The bytes are invalid. The connection is closed after `out` was sent. `WouldBlock` is no such error: the bytes were
    /// taken, and [`work`](Transform::work) decodes them. Until its end nothing else is decoded or encoded.
    fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()>;

    /// Begins the work that `decode` has left for another thread, or looks whether it is done. Then its plain bytes and its
    /// bytes for the peer are appended. `waker` runs the connection again when the work is done.
    ///
    /// # Errors
    /// The errors of [`decode`](Transform::decode).
    fn work(&mut self, _: &Waker, _plain: &mut Vec<u8>, _out: &mut Vec<u8>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Appends the encoding of both slices of `plain` in order, or of their first part, to `out`. Returns the number of
    /// plain bytes taken. Takes no byte while a handshake is not complete; then only the handshake's next message is
    /// appended. `plain` is empty when only the handshake should begin.
    ///
    /// # Errors
    /// The connection cannot be used any more.
    fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize>;

    /// Appends the end marker. Nothing is encoded afterwards.
    fn end(&mut self, out: &mut Vec<u8>);

    /// True while the handshake is not complete.
    fn is_handshaking(&self) -> bool;

    /// True when the peer's end marker was decoded. A stream that ends without the marker was cut off.
    fn peer_has_ended(&self) -> bool;

    /// Returns the facts about the encryption. None before the end of the handshake, and for a transform that does not encrypt.
    fn encryption(&self) -> Option<Encryption<'_>> {
        None
    }
}

/// Makes a transform for each connection.
#[derive(Clone)]
pub struct TransformFactory(Arc<dyn Fn() -> Box<dyn Transform> + Send + Sync>);

impl TransformFactory {
    /// A factory that calls `make` for each connection.
    pub fn new(make: impl Fn() -> Box<dyn Transform> + Send + Sync + 'static) -> Self {
        TransformFactory(Arc::new(make))
    }

    /// Makes a transform for one connection.
    pub fn make(&self) -> Box<dyn Transform> {
        (self.0)()
    }
}

impl PartialEq for TransformFactory {
    /// True for copies of the same factory.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TransformFactory {}

impl fmt::Debug for TransformFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransformFactory")
    }
}
