//! A session of TLS with a client or with a backend: a transform between its socket and HTTP.
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConfig,
    ServerConnection,
};

use super::handshakes::{Failure, Handshakes};
use super::reasons::in_words;
use crate::engine::{Transform, TransformFactory};
use crate::http::transform::Encryption;

/// What a client gets that speaks HTTP without TLS.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 52\r\nConnection: close\r\n\r\nThis port expects TLS. Ask with https:// in the URL\n";

/// The first byte of a session: the type of a record with a handshake (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Returns the factory of the sessions with clients. Every handshake is counted.
///
/// # Panics
/// A new connection panics when the configuration has an invalid size of fragments. [`Tls::config`](super::Tls::config) sets none.
pub fn transforms(config: Arc<ServerConfig>, handshakes: &'static Handshakes) -> TransformFactory {
    TransformFactory::new(move || {
        let inner = ServerConnection::new(Arc::clone(&config));
        let inner = inner.expect("a configuration without a size of fragments");
        Box::new(Session::new(inner.into(), Some(handshakes)))
    })
}

/// Returns the factory of the sessions with a server of this name.
///
/// # Panics
/// A new connection panics when the configuration has an invalid size of fragments.
pub fn client_transforms(config: Arc<ClientConfig>, name: ServerName<'static>) -> TransformFactory {
    TransformFactory::new(move || {
        let inner = ClientConnection::new(Arc::clone(&config), name.clone());
        let inner = inner.expect("a configuration without a size of fragments");
        Box::new(Session::new(inner.into(), None))
    })
}

#[derive(Debug)]
struct Session {
    inner: Connection,
    /// Counts the handshake, until it has ended.
    handshakes: Option<&'static Handshakes>,
    /// No byte of the peer has come.
    is_new: bool,
    /// The client speaks HTTP without TLS.
    is_plain: bool,
    /// The peer has sent close_notify.
    has_ended: bool,
}

impl Session {
    fn new(inner: Connection, handshakes: Option<&'static Handshakes>) -> Self {
        Session { inner, handshakes, is_new: true, is_plain: false, has_ended: false }
    }

    /// Appends everything that the peer must get.
    fn send(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.inner.wants_write() {
            self.inner.write_tls(out)?;
        }
        Ok(())
    }

    /// True when what waits for the peer may leave with the next bytes of ours. In TLS 1.3 the server has nothing urgent
    /// behind its handshake: session tickets on their own would make the first response wait for an acknowledgement.
    fn may_hold_back(&self) -> bool {
        !self.inner.is_handshaking() && self.inner.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Counts the handshake when it is complete.
    fn note_handshake(&mut self) {
        if !self.inner.is_handshaking()
            && let Some(handshakes) = self.handshakes.take()
        {
            let is_old = self.inner.protocol_version() == Some(ProtocolVersion::TLSv1_2);
            handshakes.note(is_old, self.is_resumed());
        }
    }

    fn is_resumed(&self) -> bool {
        self.inner.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn fail(&mut self, failure: Failure) {
        if let Some(handshakes) = self.handshakes.take() {
            handshakes.note_failure(failure);
        }
    }

    /// The error for the engine. That of a handshake with a backend is told to the operator.
    fn error(&self, error: rustls::Error) -> io::Error {
        match &self.inner {
            Connection::Client(_) => io::Error::new(ErrorKind::InvalidData, in_words(&error)),
            Connection::Server(_) => io::Error::new(ErrorKind::InvalidData, error),
        }
    }

    /// Answers a client that speaks HTTP without TLS, and nothing else.
    fn refuse_plain(&mut self, out: &mut Vec<u8>) -> io::Error {
        self.is_plain = true;
        self.fail(Failure::Plain);
        out.extend_from_slice(PLAIN_ANSWER);
        ErrorKind::InvalidData.into()
    }
}

impl Transform for Session {
    fn decode(&mut self, mut received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        let is_first = std::mem::take(&mut self.is_new) && matches!(self.inner, Connection::Server(_));
        if is_first && received.first().is_some_and(|byte| *byte != HANDSHAKE_RECORD) {
            return Err(self.refuse_plain(out));
        }
        while !received.is_empty() && !self.has_ended {
            self.inner.read_tls(&mut received)?;
            let state = match self.inner.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    self.fail(Failure::of(&error));
                    // The peer gets an alert that tells the reason.
                    self.send(out)?;
                    return Err(self.error(error));
                }
            };
            self.note_handshake();
            if !self.may_hold_back() {
                self.send(out)?;
            }
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.inner.reader().read_exact(&mut plain[start..])?;
            self.has_ended = state.peer_has_closed();
        }
        Ok(())
    }

    fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
        let taken = match self.inner.is_handshaking() {
            true => 0,
            false => self.inner.writer().write_vectored(&plain.map(IoSlice::new))?,
        };
        self.send(out)?;
        Ok(taken)
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.is_plain {
            return;
        }
        self.inner.send_close_notify();
        // Writing to a vector does not fail.
        let _ = self.send(out);
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn peer_has_ended(&self) -> bool {
        self.has_ended
    }

    fn encryption(&self) -> Option<Encryption<'_>> {
        let version = match self.inner.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            other => other.as_str()?,
        };
        let server_name = match &self.inner {
            Connection::Server(inner) => inner.server_name(),
            Connection::Client(_) => None,
        };
        let suite = self.inner.negotiated_cipher_suite()?.suite();
        Some(Encryption { version, cipher: cipher_name(suite)?, server_name, is_resumed: self.is_resumed() })
    }
}

/// Returns the name of a cipher in the registry of IANA (RFC 8446 section B.4). rustls has other names for those of TLS 1.3.
fn cipher_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_new {
            self.fail(Failure::Abandoned);
        }
    }
}
