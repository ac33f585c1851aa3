//! The meaning of a response head.

use std::time::Duration;

use super::error::HeadError;
use super::fields::{ConnectionOptions, FIELDS_MAX, FieldSummary, Fields, Name};
use super::framing::Framing;
use super::keep_alive;
use super::method::{Method, Version};

/// A valid response head.
#[derive(Debug)]
#[doc(hidden)]
pub struct ResponseHead<'b> {
    /// Length of the head in the buffer, in bytes.
    pub len: usize,
    /// The status code, 100 to 599.
    pub status: u16,
    /// The reason phrase. Empty when the phrase is missing or not ASCII.
    pub reason: &'b str,
    /// The version of the backend.
    pub version: Version,
    /// The end of the body.
    pub framing: Framing,
    /// The value of Content-Length, even when no body follows (HEAD, 304).
    pub content_length: Option<u64>,
    /// The options of the Connection fields.
    pub connection: ConnectionOptions,
    /// True when the connection can be used again after this response.
    pub keep_alive: bool,
    /// The time for which the backend keeps the connection without a request, if a Keep-Alive field states it.
    pub kept_for: Option<Duration>,
    /// The fields in the order in which they were received.
    pub fields: Fields<'b>,
}

impl<'b> ResponseHead<'b> {
    /// Checks a head of `len` bytes that httparse has split into a start line and fields.
    pub(super) fn from_parsed(
        len: usize,
        parsed: httparse::Response<'b, 'b>,
        request_method: Method,
        names: &'b mut [Name; FIELDS_MAX],
    ) -> Result<Self, HeadError> {
        let status = parsed.code.unwrap_or_default();
        if !(100..=599).contains(&status) {
            return Err(HeadError::BadStartLine);
        }
        let version = Version::from_minor(parsed.version);
        let lines: &'b [httparse::Header<'b>] = parsed.headers;
        let names = &mut names[..lines.len()];
        let mut summary = FieldSummary::default();
        summary.collect(lines, names)?;
        let framing = summary.framing.response(version, status, request_method)?;
        let kept_for = summary.keep_alive.and_then(keep_alive::kept_for);
        let keeps = summary.keeps_alive(version) && kept_for != Some(Duration::ZERO);
        Ok(ResponseHead {
            len,
            status,
            reason: parsed.reason.unwrap_or_default(),
            version,
            framing,
            content_length: summary.framing.length(),
            connection: summary.connection,
            keep_alive: keeps && framing != Framing::UntilClose,
            kept_for,
            fields: Fields { lines, names },
        })
    }
}
