//! The start of a connection from a proxy: a header of the PROXY protocol, before the first request and below a transform.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::transport::{Endpoint, Transport, is_temporary};
use crate::http::proxy_protocol::{HEADER_MAX_BYTES, parse};

/// The part of a header that has arrived.
#[derive(Debug, Default)]
pub(super) struct Preface {
    bytes: Vec<u8>,
}

/// A whole header: the client that the proxy reports, if it reports one.
pub(super) struct Reported(pub(super) Option<SocketAddr>);

impl Preface {
    /// Reads what has arrived of the header, and no byte behind the header. None when the rest has not arrived.
    ///
    /// # Errors
    /// The stream has ended or is broken, or its bytes are no header.
    pub(super) fn read<T: Transport>(&mut self, end: &mut Endpoint<T>) -> io::Result<Option<Reported>> {
        let mut room = [0; HEADER_MAX_BYTES];
        loop {
            let known = self.bytes.len();
            let arrived = match end.peek(&mut room[..HEADER_MAX_BYTES - known]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if is_temporary(&error) => return Ok(None),
                result => result?,
            };
            self.bytes.extend_from_slice(&room[..arrived]);
            let header = parse(&self.bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            // While the header is not whole, all bytes belong to it.
            let belong = header.map_or(arrived, |header| header.len - known);
            end.read_encoded(&mut room[..belong])?;
            if let Some(header) = header {
                return Ok(Some(Reported(header.client)));
            }
        }
    }
}
