//! The reasons to refuse a message. `Display` gives one line without a full stop.

use std::fmt;

/// The reason to refuse a request head or a response head. The statuses are for requests; an invalid response becomes a
/// 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// `chunked` is missing, is repeated, or is not the last transfer coding (RFC 9112 section 6.1). Status 400.
    BadCoding,
    /// A field name is invalid, or white space is before the name or before the colon (RFC 9112 section 5.1). Status 400.
    BadFieldName,
    /// A field value has an invalid byte (RFC 9110 section 5.5). Status 400.
    BadFieldValue,
    /// The host is invalid (RFC 3986 section 3.2.2). Status 400.
    BadHost,
    /// A Content-Length is not a number of at most 64 bits (RFC 9110 section 8.6). Status 400.
    BadLength,
    /// A line does not end with CRLF or LF. Status 400.
    BadLineEnd,
    /// Max-Forwards is not a number, or is repeated (RFC 9110 section 7.6.2). Status 400.
    BadMaxForwards,
    /// The request line or the status line is invalid. Status 400.
    BadStartLine,
    /// The request target is invalid (RFC 9112 section 3.2). Status 400.
    BadTarget,
    /// An HTTP/1.0 message has Transfer-Encoding (RFC 9112 section 6.1). Status 400.
    CodingInHttp10,
    /// The method is CONNECT, which is not supported. Status 501.
    Connect,
    /// Too many empty lines come before the start line (RFC 9112 section 2.2). Status 400.
    EmptyLines,
    /// An expectation is not `100-continue` (RFC 9110 section 10.1.1). Status 417.
    Expectation,
    /// The request target has a fragment. Status 400.
    Fragment,
    /// Both Content-Length and Transfer-Encoding are present (RFC 9112 section 6.3). Status 400.
    LengthAndCoding,
    /// Two Content-Length values differ (RFC 9112 section 6.3). Status 400.
    LengthsDiffer,
    /// The request line is longer than its limit. Status 414.
    LineTooLong,
    /// An HTTP/1.1 request has no Host field (RFC 9112 section 3.2). Status 400.
    NoHost,
    /// There is more than one Host field (RFC 9112 section 3.2). Status 400.
    SeveralHosts,
    /// The head is larger than its limit. Status 431.
    TooLarge,
    /// There are more fields than [`FIELDS_MAX`](super::head::FIELDS_MAX). Status 431.
    TooManyFields,
    /// The Connection fields have too many options. Status 431.
    TooManyOptions,
    /// A transfer coding is not `chunked` (RFC 9112 section 6.1). Status 501.
    UnknownCoding,
    /// The version is neither HTTP/1.0 nor HTTP/1.1. Status 505.
    Version,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadError::BadCoding => "chunked must be the last transfer coding, and may occur only once",
            HeadError::BadFieldName => "invalid field name, or white space before a field name or its colon",
            HeadError::BadFieldValue => "invalid byte in a field value",
            HeadError::BadHost => "invalid host",
            HeadError::BadLength => "Content-Length is not a number",
            HeadError::BadLineEnd => "invalid line end",
            HeadError::BadMaxForwards => "Max-Forwards is not a number",
            HeadError::BadStartLine => "invalid start line",
            HeadError::BadTarget => "invalid request target",
            HeadError::CodingInHttp10 => "Transfer-Encoding is not allowed in HTTP/1.0",
            HeadError::Connect => "CONNECT is not supported",
            HeadError::EmptyLines => "too many empty lines before the start line",
            HeadError::Expectation => "the only supported expectation is 100-continue",
            HeadError::Fragment => "the request target has a fragment",
            HeadError::LengthAndCoding => "both Content-Length and Transfer-Encoding are present",
            HeadError::LengthsDiffer => "the Content-Length values differ",
            HeadError::LineTooLong => "the request line is too long",
            HeadError::NoHost => "no Host field",
            HeadError::SeveralHosts => "several Host fields",
            HeadError::TooLarge => "the head is too large",
            HeadError::TooManyFields => "too many fields",
            HeadError::TooManyOptions => "too many connection options",
            HeadError::UnknownCoding => "the only supported transfer coding is chunked",
            HeadError::Version => "only HTTP/1.0 and HTTP/1.1 are supported",
        })
    }
}

impl std::error::Error for HeadError {}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => HeadError::BadFieldName,
            httparse::Error::HeaderValue => HeadError::BadFieldValue,
            httparse::Error::NewLine => HeadError::BadLineEnd,
            httparse::Error::Status | httparse::Error::Token => HeadError::BadStartLine,
            httparse::Error::TooManyHeaders => HeadError::TooManyFields,
            httparse::Error::Version => HeadError::Version,
        }
    }
}

/// The reason to refuse a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// A chunk extension is invalid.
    BadExtension,
    /// A chunk does not end with CRLF.
    BadLineEnd,
    /// A chunk size is not a hexadecimal number.
    BadSize,
    /// A trailer field is invalid.
    BadTrailer,
    /// The chunk extensions of the body are too large.
    ExtensionsTooLarge,
    /// A chunk size has more than 63 bits.
    SizeTooLarge,
    /// The trailer section has too many bytes or too many fields.
    TrailersTooLarge,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChunkError::BadExtension => "invalid chunk extension",
            ChunkError::BadLineEnd => "a chunk does not end with CRLF",
            ChunkError::BadSize => "invalid chunk size",
            ChunkError::BadTrailer => "invalid trailer field",
            ChunkError::ExtensionsTooLarge => "the chunk extensions are too large",
            ChunkError::SizeTooLarge => "the chunk size is too large",
            ChunkError::TrailersTooLarge => "too many trailer fields",
        })
    }
}

impl std::error::Error for ChunkError {}
