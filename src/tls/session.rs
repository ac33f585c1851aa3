//! A session of TLS with a client: a transform between its socket and HTTP.
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::{IoState, ServerConfig, ServerConnection};

use crate::engine::{Transform, TransformFactory};

/// Returns the factory of the sessions with this configuration.
///
/// # Panics
/// A new connection panics when the configuration has an invalid size of fragments. [`Tls::config`](super::Tls::config) sets none.
pub fn transforms(config: Arc<ServerConfig>) -> TransformFactory {
    TransformFactory::new(move || {
        let inner = ServerConnection::new(Arc::clone(&config));
        Box::new(Session {
            inner: inner.expect("a configuration without a size of fragments"),
            has_ended: false,
        })
    })
}

#[derive(Debug)]
struct Session {
    inner: ServerConnection,
    /// The client has sent close_notify.
    has_ended: bool,
}

impl Session {
    /// Appends everything that the client must get.
    fn send(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.inner.wants_write() {
            self.inner.write_tls(out)?;
        }
        Ok(())
    }
}

impl Transform for Session {
    fn decode(&mut self, mut received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        while !received.is_empty() && !self.has_ended {
            self.inner.read_tls(&mut received)?;
            let state = self.inner.process_new_packets();
            // An error has an alert for the client.
            self.send(out)?;
            let state: IoState = state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.inner.reader().read_exact(&mut plain[start..])?;
            self.has_ended = state.peer_has_closed();
        }
        Ok(())
    }

    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let taken = match self.inner.is_handshaking() {
            true => 0,
            false => self.inner.writer().write(plain)?,
        };
        self.send(out)?;
        Ok(taken)
    }

    fn end(&mut self, out: &mut Vec<u8>) {
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
}
