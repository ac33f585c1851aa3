//! A strict scanner of the chunked transfer coding (RFC 9112 section 7.1). It refuses deviations that lenient parsers
//! accept.

use super::digits;
use super::fields::Name;

pub use super::error::ChunkError;

/// Maximum bytes of one chunk-size line.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// Maximum bytes of chunk extensions in one body.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Maximum bytes of a trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Maximum fields in a trailer section.
const TRAILER_FIELDS_MAX: usize = 64;

/// Maximum digits of a chunk size, including leading zeros. 16 digits are 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// The next piece of a chunked body, with its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A whole chunk-size line, or the line end after chunk data.
    Framing(usize),
    /// Chunk data.
    Data(usize),
    /// The whole trailer section with its empty line. The body ends after this piece.
    End(usize),
}

/// The position in the grammar.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    #[default]
    Size,
    /// In white space; only a `;` may follow.
    Gap,
    /// After a `;`, before a name.
    NameStart,
    Name,
    /// In white space after a name; a `;` or a `=` may follow.
    NameGap,
    /// After a `=`, before a value.
    ValueStart,
    Value,
    Quoted,
    /// After a backslash in a quoted string.
    Escaped,
    /// After the closing quote.
    Unquoted,
    /// After the CR of a size line.
    LineFeed,
    Data,
    /// After the chunk data, before its CRLF.
    DataEnd,
    Trailers,
    Over,
}

/// Scans a chunked body piece by piece. The body may arrive in any fragments; no byte is scanned twice.
#[derive(Debug, Default, Clone, Copy)]
pub struct ChunkScan {
    state: State,
    /// Number of scanned bytes of the current piece.
    scanned: usize,
    /// Number of digits of the current size.
    digits: u8,
    /// The current size, then the remaining bytes of the chunk's data.
    remaining: u64,
    extension_bytes: usize,
}

impl ChunkScan {
    /// Returns the next piece at the front of `bytes`, or None while more bytes are needed. A piece is never empty. The
    /// caller drops each piece from the front before the next call.
    ///
    /// # Errors
    /// When the bytes are not a chunked body (RFC 9112 section 7.1).
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<Piece>, ChunkError> {
        match self.state {
            State::Data => Ok(self.data(bytes.len())),
            State::DataEnd => self.data_end(bytes),
            State::Trailers => self.trailers(bytes),
            State::Over => Ok(None),
            _ => self.size_line(bytes),
        }
    }

    fn data(&mut self, available: usize) -> Option<Piece> {
        let n = usize::try_from(self.remaining).map_or(available, |remaining| remaining.min(available));
        self.remaining -= n as u64;
        if self.remaining == 0 {
            self.state = State::DataEnd;
        }
        (n > 0).then_some(Piece::Data(n))
    }

    fn data_end(&mut self, bytes: &[u8]) -> Result<Option<Piece>, ChunkError> {
        match bytes {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => Ok(Some(self.framing(State::Size, 2))),
            _ => Err(ChunkError::BadLineEnd),
        }
    }

    fn size_line(&mut self, bytes: &[u8]) -> Result<Option<Piece>, ChunkError> {
        for &byte in &bytes[self.scanned..] {
            self.scanned += 1;
            if self.state == State::LineFeed && byte == b'\n' {
                let then = if self.remaining == 0 { State::Trailers } else { State::Data };
                return Ok(Some(self.framing(then, self.scanned)));
            }
            self.state = self.line_byte(byte)?;
            if self.state != State::Size && self.state != State::LineFeed {
                self.extension_bytes += 1;
                if self.scanned > LINE_BYTES_MAX || self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err(ChunkError::ExtensionsTooLarge);
                }
            }
        }
        Ok(None)
    }

    /// Returns the state after one byte of a size line. White space is accepted only where RFC 9112 section 7.1.1
    /// allows it. Quotes must close, because parsers disagree about a line that ends inside quotes.
    fn line_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        use State::*;
        let state = match (self.state, byte) {
            (Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.digit(byte),
            (Size, _) if self.digits == 0 => return Err(ChunkError::BadSize),
            (Size | Name | Value | Unquoted, b'\r') => LineFeed,
            (Size | Gap | Name | NameGap | Value | Unquoted, b';') => NameStart,
            (Size | Gap | Value | Unquoted, b' ' | b'\t') => Gap,
            (Size, _) => return Err(ChunkError::BadSize),
            (Name | NameGap, b' ' | b'\t') => NameGap,
            (Name | NameGap, b'=') => ValueStart,
            (NameStart | ValueStart, b' ' | b'\t') => self.state,
            (ValueStart, b'"') => Quoted,
            (NameStart | Name, b) if is_token_byte(b) => Name,
            (ValueStart | Value, b) if is_token_byte(b) => Value,
            (Quoted, b'"') => Unquoted,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, b'\t' | b' '..=b'~' | 0x80..) => Quoted,
            (LineFeed, _) => return Err(ChunkError::BadLineEnd),
            _ => return Err(ChunkError::BadExtension),
        };
        Ok(state)
    }

    /// Adds one digit to the size. A size has at most 63 bits: with 64 bits a parser with signed numbers would read a
    /// negative size.
    fn digit(&mut self, byte: u8) -> Result<State, ChunkError> {
        let value = (byte as char).to_digit(16).ok_or(ChunkError::BadSize)?;
        self.digits += 1;
        self.remaining = (self.remaining << 4) | u64::from(value);
        if self.digits > SIZE_DIGITS_MAX || self.remaining > i64::MAX as u64 {
            return Err(ChunkError::SizeTooLarge);
        }
        Ok(State::Size)
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<Piece>, ChunkError> {
        let mut previous = self.scanned.checked_sub(1).map_or(0, |at| bytes[at]);
        for &byte in &bytes[self.scanned..] {
            if (byte == b'\n') != (previous == b'\r') {
                return Err(ChunkError::BadTrailer);
            }
            if self.scanned == TRAILER_BYTES_MAX {
                return Err(ChunkError::TrailersTooLarge);
            }
            self.scanned += 1;
            if byte == b'\n' && matches!(bytes[..self.scanned], [b'\r', b'\n'] | [.., b'\n', b'\r', b'\n']) {
                let section = &bytes[..self.scanned];
                check_trailers(section)?;
                self.state = State::Over;
                return Ok(Some(Piece::End(section.len())));
            }
            previous = byte;
        }
        Ok(None)
    }

    fn framing(&mut self, then: State, n: usize) -> Piece {
        (self.state, self.scanned, self.digits) = (then, 0, 0);
        Piece::Framing(n)
    }
}

/// Checks the fields of a trailer section with the rules for the fields of a head. The caller has checked the line
/// ends.
fn check_trailers(section: &[u8]) -> Result<(), ChunkError> {
    if section == b"\r\n" {
        return Ok(());
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(ChunkError::TrailersTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => Err(ChunkError::BadTrailer),
    }
}

/// True for a byte of a token (RFC 9110 section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Fields that are not allowed in trailers, because a recipient needs them before the body. The fields in `Name` are
/// not allowed either.
const NOT_IN_TRAILERS: [&str; 22] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "via",
    "www-authenticate",
];

/// Finds the first field line in a complete trailer section that must not be forwarded: a framing, routing or
/// connection field (RFC 9110 section 6.5.1). Returns the offset of the line, and its length with the line end.
pub fn forbidden_trailer(section: &[u8]) -> Option<(usize, usize)> {
    let mut offset = 0;
    for line in section.split_inclusive(|&b| b == b'\n') {
        let name = line.split(|&b| b == b':').next().and_then(|name| str::from_utf8(name).ok()).unwrap_or("");
        let forbidden = |known: &&str| known.eq_ignore_ascii_case(name);
        if Name::of(name) != Name::Other || NOT_IN_TRAILERS.iter().any(forbidden) {
            return Some((offset, line.len()));
        }
        offset += line.len();
    }
    None
}

/// Writes the size line of a chunk with `n` bytes of data. `first` is false when a previous chunk must be ended first.
/// With `n` = 0 this is the last chunk, and the trailer section follows.
pub fn write_size(n: usize, first: bool, out: &mut Vec<u8>) {
    if !first {
        out.extend_from_slice(b"\r\n");
    }
    digits::hexadecimal(n, out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Scans a body that arrives in parts of the given sizes. Returns the data, the trailer section and the bytes after
    /// the body; None when the body is unfinished.
    fn read(body: &[u8], mut parts: impl Iterator<Item = usize>) -> Result<Option<[Vec<u8>; 3]>, ChunkError> {
        let (mut scan, mut data, mut at, mut arrived) = (ChunkScan::default(), Vec::new(), 0, 0);
        loop {
            match scan.next(&body[at..arrived])? {
                Some(Piece::Framing(n)) => at += n,
                Some(Piece::Data(n)) => {
                    assert!(n > 0);
                    data.extend_from_slice(&body[at..at + n]);
                    at += n;
                }
                Some(Piece::End(n)) => {
                    assert_eq!(scan.next(&body[at + n..]), Ok(None));
                    return Ok(Some([data, body[at..at + n].to_vec(), body[at + n..].to_vec()]));
                }
                None if arrived == body.len() => return Ok(None),
                None => arrived = body.len().min(arrived + parts.next().unwrap_or(body.len()).max(1)),
            }
        }
    }

    fn whole(body: &[u8]) -> Result<Option<[Vec<u8>; 3]>, ChunkError> {
        let whole = read(body, std::iter::empty());
        let drip = read(body, std::iter::repeat(1));
        assert_eq!(whole, drip, "{:?}", String::from_utf8_lossy(body));
        whole
    }

    #[test]
    fn valid_bodies() {
        let cases: &[(&str, &str, &str)] = &[
            ("0\r\n\r\n", "", "\r\n"),
            ("000\r\n\r\n", "", "\r\n"),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", "\r\n"),
            ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "\r\n"),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "\r\n"),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", "\r\n"),
            ("1;a\r\nx\r\n0;b=c;d=\"e;\\\"\t\"\r\n\r\n", "x", "\r\n"),
            ("1 ; a = b ; c\r\nx\r\n0\r\n\r\n", "x", "\r\n"),
            ("0\r\nA: b\r\nC: d\r\n\r\n", "", "A: b\r\nC: d\r\n\r\n"),
            ("0\r\nA:\r\n\r\n", "", "A:\r\n\r\n"),
        ];
        for (body, data, trailers) in cases {
            let followed = [body.as_bytes(), b"GET /"].concat();
            let expected = [data.as_bytes(), trailers.as_bytes(), b"GET /"].map(<[u8]>::to_vec);
            assert_eq!(whole(&followed), Ok(Some(expected)), "{body}");
        }
    }

    #[test]
    fn broken_bodies() {
        use ChunkError::*;
        let cases: &[(&[u8], ChunkError)] = &[
            (b"\r\n", BadSize),
            (b" 5\r\nhello\r\n0\r\n\r\n", BadSize),
            (b"g\r\n", BadSize),
            (b"-1\r\n", BadSize),
            (b"+1\r\n", BadSize),
            (b"0x5\r\nhello\r\n0\r\n\r\n", BadSize),
            (b"5_\r\n", BadSize),
            (b"5\0\r\n", BadSize),
            (b"5\x0b\r\n", BadSize),
            (b";a\r\n", BadSize),
            (b"8000000000000000\r\n", SizeTooLarge),
            (b"ffffffffffffffff\r\n", SizeTooLarge),
            (b"10000000000000005\r\n", SizeTooLarge),
            (b"00000000000000005\r\n", SizeTooLarge),
            (b"5\nhello\r\n0\r\n\r\n", BadSize),
            (b"5\rhello\r\n0\r\n\r\n", BadLineEnd),
            (b"5\r\rhello", BadLineEnd),
            (b"5 \r\nhello\r\n0\r\n\r\n", BadExtension),
            (b"5 5\r\nhello", BadExtension),
            (b"5\r\nhello0\r\n\r\n", BadLineEnd),
            (b"5\r\nhello\n0\r\n\r\n", BadLineEnd),
            (b"5\r\nhello\r0\r\n\r\n", BadLineEnd),
            (b"5\r\nhello!\r\n0\r\n\r\n", BadLineEnd),
            (b"5\r\nhello\r\n\r\n", BadSize),
            (b"5;\r\nhello", BadExtension),
            (b"5;a\nhello", BadExtension),
            (b"5;a=\r\nhello", BadExtension),
            (b"5;a\rb\r\nhello", BadLineEnd),
            (b"5;a\0\r\nhello", BadExtension),
            (b"5;a=\"\r\n\"\r\nhello", BadExtension),
            (b"5;a=\"\n\"\r\nhello", BadExtension),
            (b"5;a=\"\\\r\n", BadExtension),
            (b"5;a=\"b\"c\r\n", BadExtension),
            (b"5;a \r\n", BadExtension),
            (b"5;\x7f\r\n", BadExtension),
            (b"5;a=\xff\r\n", BadExtension),
            (b"0\r\n\n", BadTrailer),
            (b"0\r\nA: b\n\r\n", BadTrailer),
            (b"0\r\nA: b\r\n\n", BadTrailer),
            (b"0\r\nA: b\rC: d\r\n\r\n", BadTrailer),
            (b"0\r\nA : b\r\n\r\n", BadTrailer),
            (b"0\r\nA: b\r\n c\r\n\r\n", BadTrailer),
            (b"0\r\n A: b\r\n\r\n", BadTrailer),
            (b"0\r\n: b\r\n\r\n", BadTrailer),
            (b"0\r\nA\r\n\r\n", BadTrailer),
            (b"0\r\nA: \0\r\n\r\n", BadTrailer),
            (b"0\r\nGET / HTTP/1.1\r\n\r\n", BadTrailer),
        ];
        for (body, error) in cases {
            assert_eq!(whole(body), Err(*error), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn unfinished_bodies() {
        let body = b"5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n";
        for end in 0..body.len() {
            assert_eq!(whole(&body[..end]), Ok(None), "{end}");
        }
        assert_eq!(whole(b"7fffffffffffffff\r\nabc"), Ok(None));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let line = |n: usize| format!("1;{}\r\nx\r\n", "a".repeat(n));
        let body = |lines: usize, n: usize| format!("{}0\r\n\r\n", line(n).repeat(lines)).into_bytes();
        assert!(matches!(whole(&body(1, LINE_BYTES_MAX - 4)), Ok(Some(_))));
        assert_eq!(whole(&body(1, LINE_BYTES_MAX)), Err(ChunkError::ExtensionsTooLarge));
        assert!(matches!(whole(&body(16, 1000)), Ok(Some(_))));
        assert_eq!(whole(&body(17, 1000)), Err(ChunkError::ExtensionsTooLarge));
        assert_eq!(
            whole(format!("1;{}", "a".repeat(1 << 20)).as_bytes()),
            Err(ChunkError::ExtensionsTooLarge)
        );

        let trailers = |n: usize, bytes: usize| {
            format!("0\r\n{}\r\n", format!("A: {}\r\n", "b".repeat(bytes)).repeat(n)).into_bytes()
        };
        assert!(matches!(whole(&trailers(TRAILER_FIELDS_MAX, 1)), Ok(Some(_))));
        assert_eq!(whole(&trailers(TRAILER_FIELDS_MAX + 1, 1)), Err(ChunkError::TrailersTooLarge));
        assert!(matches!(whole(&trailers(1, TRAILER_BYTES_MAX - 7)), Ok(Some(_))));
        assert_eq!(whole(&trailers(1, TRAILER_BYTES_MAX - 6)), Err(ChunkError::TrailersTooLarge));
    }

    #[test]
    fn forbidden_trailers_are_found_one_by_one() {
        let mut section =
            b"Digest: a\r\nContent-Length: 5\r\nX: y\r\nSET-COOKIE: z\r\nHost: h\r\n\r\n".to_vec();
        let mut removed = Vec::new();
        while let Some((offset, len)) = forbidden_trailer(&section) {
            removed.extend(section.drain(offset..offset + len));
        }
        assert_eq!(section, b"Digest: a\r\nX: y\r\n\r\n");
        assert_eq!(removed, b"Content-Length: 5\r\nSET-COOKIE: z\r\nHost: h\r\n");
        for name in ["transfer-encoding", "Connection", "TE", "x-forwarded-for", "Authorization", "Trailer"] {
            let line = format!("{name}: a\r\n\r\n");
            assert_eq!(forbidden_trailer(line.as_bytes()), Some((0, line.len() - 2)), "{name}");
        }
        assert_eq!(forbidden_trailer(b"\r\n"), None);
    }

    fn encode(chunks: &[Vec<u8>], trailers: &str) -> Vec<u8> {
        let mut body = Vec::new();
        for (n, chunk) in chunks.iter().enumerate() {
            write_size(chunk.len(), n == 0, &mut body);
            body.extend_from_slice(chunk);
        }
        write_size(0, chunks.is_empty(), &mut body);
        body.extend_from_slice(trailers.as_bytes());
        body.extend_from_slice(b"\r\n");
        body
    }

    proptest! {
        #[test]
        fn any_split_reads_what_was_written(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            trailers in prop::sample::select(vec!["", "A: b\r\n", "A: b\r\nC:\r\n"]),
            parts in prop::collection::vec(1usize..30, 0..60),
        ) {
            let body = encode(&chunks, trailers);
            let expected = [chunks.concat(), [trailers.as_bytes(), b"\r\n"].concat(), Vec::new()];
            prop_assert_eq!(read(&body, parts.into_iter()), Ok(Some(expected)));
        }

        #[test]
        fn no_bytes_make_it_panic_or_depend_on_the_split(
            body in prop::collection::vec(prop::sample::select(b"0015af;=\"\\ \r\n\r\n\r\nA:\0\xff".to_vec()), 0..80),
            parts in prop::collection::vec(1usize..9, 0..80),
        ) {
            prop_assert_eq!(read(&body, parts.into_iter()), read(&body, std::iter::empty()));
        }

        #[test]
        fn arbitrary_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either = read(&body, std::iter::repeat(1));
            let _none_or_some = forbidden_trailer(&body);
        }
    }
}
