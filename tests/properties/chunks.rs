//! The property of chunked bodies: data and end do not depend on the fragments. Data that is written in chunks again
//! can be read again.

use neraca::http::chunks::{ChunkError, ChunkScan, Piece, forbidden_trailer, write_size};

use super::Input;

/// A body that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The data of all chunks.
    pub data: Vec<u8>,
    /// The trailer section with its empty line.
    pub trailers: Vec<u8>,
    /// Length of the whole body in bytes.
    pub len: usize,
}

/// Reads `body` while it grows to each length in `arrivals`. Returns the whole body, an error, or None while the body
/// is unfinished.
fn read(body: &[u8], arrivals: impl Iterator<Item = usize>) -> Result<Option<Body>, ChunkError> {
    let (mut scan, mut read) = (ChunkScan::default(), Body::default());
    for end in arrivals {
        while let Some(piece) = scan.next(&body[read.len..end])? {
            let (Piece::Framing(n) | Piece::Data(n) | Piece::End(n)) = piece;
            assert!(n > 0 && read.len + n <= end, "a piece outside of the bytes");
            let bytes = &body[read.len..read.len + n];
            read.len += n;
            match piece {
                Piece::Framing(_) => assert!(bytes.ends_with(b"\r\n")),
                Piece::Data(_) => read.data.extend_from_slice(bytes),
                Piece::End(_) => {
                    assert!(bytes.ends_with(b"\r\n"));
                    assert_eq!(scan.next(&body[read.len..end]), Ok(None), "a piece behind the end");
                    read.trailers = bytes.to_vec();
                    return Ok(Some(read));
                }
            }
        }
    }
    Ok(None)
}

/// Checks the property.
pub fn check(bytes: &[u8]) {
    let Some(input) = Input::from_bytes(bytes) else { return };
    let whole = read(input.message, [input.message.len()].into_iter());
    assert_eq!(whole, read(input.message, input.arrivals()), "in pieces of {}", input.step);
    let Ok(Some(body)) = whole else { return };
    let trailers = without_forbidden(&body.trailers);
    let written = write(&body.data, input.step, &trailers);
    let again = read(&written, [written.len()].into_iter());
    assert_eq!(again, Ok(Some(Body { data: body.data, trailers, len: written.len() })));
}

/// Returns the forwarded trailer section.
fn without_forbidden(section: &[u8]) -> Vec<u8> {
    let mut section = section.to_vec();
    while let Some((at, len)) = forbidden_trailer(&section) {
        assert!(len > 0);
        let line = section.drain(at..at + len);
        assert!(line.as_slice().ends_with(b"\r\n"));
    }
    section
}

/// Writes `data` in chunks of `size` bytes.
fn write(data: &[u8], size: usize, trailers: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (n, chunk) in data.chunks(size).enumerate() {
        write_size(chunk.len(), n == 0, &mut body);
        body.extend_from_slice(chunk);
    }
    write_size(0, data.is_empty(), &mut body);
    body.extend_from_slice(trailers);
    body
}
