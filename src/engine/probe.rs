//! A connection to a backend for an active check, or for the look at the start whether the backend can be reached. No request
//! uses it.
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{Timer, future};

use super::transport::{Transform, TransformFactory};

/// Maximum bytes of one read of encoded bytes.
const READ_BYTES: usize = 16 * 1024;

/// A connection to a backend, with its transform.
#[derive(Debug)]
pub(super) struct Probe {
    stream: TcpStream,
    transform: Option<Box<dyn Transform>>,
    /// Decoded bytes that nobody has read.
    plain: Vec<u8>,
}

impl Probe {
    /// Connects. With a transform, the handshake is complete when this returns.
    pub(super) async fn connect(
        address: SocketAddr,
        transform: Option<&TransformFactory>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let mut probe = Probe { stream, transform: transform.map(TransformFactory::make), plain: Vec::new() };
        while probe.transform.as_ref().is_some_and(|transform| transform.is_handshaking()) {
            probe.write(&[]).await?;
            if probe.fill().await? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the backend closed the connection"));
            }
        }
        Ok(probe)
    }

    /// Writes all bytes, behind what the transform has to say.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(transform) = &mut self.transform else { return self.stream.write_all(bytes).await };
        let mut out = Vec::new();
        loop {
            let taken = transform.encode([bytes, &[]], &mut out)?;
            bytes = &bytes[taken..];
            if taken == 0 || bytes.is_empty() {
                return self.stream.write_all(&out).await;
            }
        }
    }

    /// Reads. Returns 0 at the end of the stream, or when there is no room.
    pub(super) async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.transform.is_none() {
            return self.stream.read(room).await;
        }
        while self.plain.is_empty() && !self.transform.as_ref().is_some_and(|one| one.peer_has_ended()) {
            if self.fill().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let n = room.len().min(self.plain.len());
        room[..n].copy_from_slice(&self.plain[..n]);
        self.plain.drain(..n);
        Ok(n)
    }

    /// Reads once from the stream, and decodes. Returns 0 at the end of the stream.
    async fn fill(&mut self) -> io::Result<usize> {
        let (mut part, mut out) = (vec![0; READ_BYTES], Vec::new());
        let n = self.stream.read(&mut part).await?;
        let decoded = match &mut self.transform {
            Some(transform) => transform.decode(&part[..n], &mut self.plain, &mut out),
            None => Ok(()),
        };
        // The reason of a failure says more than that the backend does not take our last message.
        let written = self.stream.write_all(&out).await;
        decoded.and(written).map(|()| n)
    }
}

/// Connects to a backend within a time and closes the connection. With a transform, the handshake must succeed too. Blocks the
/// thread.
///
/// # Errors
/// When the backend cannot be reached, or the handshake fails.
pub fn reach(address: SocketAddr, transform: Option<&TransformFactory>, within: Duration) -> io::Result<()> {
    let connected = async { Probe::connect(address, transform).await.map(drop) };
    let late = async {
        Timer::after(within).await;
        Err(ErrorKind::TimedOut.into())
    };
    future::block_on(future::or(connected, late))
}
