//! The reasons to refuse a message. `Display` gives one line without a full stop.

use std::fmt;

/// The reason to refuse a request head or a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text of Display explains each reason")]
pub enum HeadError {
    BadCoding,
    BadFieldName,
    BadFieldValue,
    BadHost,
    BadLength,
    BadLineEnd,
    BadMaxForwards,
    BadStartLine,
    BadTarget,
    CodingInHttp10,
    Connect,
    EmptyLines,
    Expectation,
    Fragment,
    LengthAndCoding,
    LengthsDiffer,
    LineTooLong,
    NoHost,
    SeveralHosts,
    TooLarge,
    TooManyFields,
    TooManyOptions,
    UnknownCoding,
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
#[allow(missing_docs, reason = "the text of Display explains each reason")]
pub enum ChunkError {
    BadExtension,
    BadLineEnd,
    BadSize,
    BadTrailer,
    ExtensionsTooLarge,
    SizeTooLarge,
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
