//! The chunked transfer coding (RFC 9112 section 7.1), strictly: what a lenient reader accepts is refused.

/// The next stretch of a chunked body, counted from the front of the bytes given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// That many bytes are a whole chunk-size line, or the line end behind chunk data.
    Framing(usize),
    /// That many bytes are chunk data.
    Data(usize),
    /// That many bytes are the whole trailer section with its closing empty line; the body ends behind it.
    End(usize),
}

/// Why a chunked body is broken. Display is one clear line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {}

/// Reads a chunked body piece by piece, whatever its fragmentation.
#[derive(Debug, Default, Clone, Copy)]
pub struct ChunkScan {}

impl ChunkScan {
    /// The next piece at the front of `bytes` (never of length 0), or None while more bytes are needed.
    /// The caller drops a piece from the front before it asks for the next one.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<Piece>, ChunkError> { todo!() }
}

/// The first trailer field line in a complete trailer section that may not be passed on (framing, routing,
/// connection fields; RFC 9110 section 6.5.1), as (offset, length) with its line end.
pub fn forbidden_trailer(section: &[u8]) -> Option<(usize, usize)> { todo!() }

/// Writes the size line in front of `n` bytes of chunk data; `first` is false when it closes a chunk before it.
pub fn write_size(n: usize, first: bool, out: &mut Vec<u8>) { todo!() }
