//! The meaning of a request head.

use super::error::HeadError;
use super::fields::{ConnectionOptions, FIELDS_MAX, FieldSummary, Fields, Name};
use super::framing::Framing;
use super::method::{Method, Version};
use super::target::split_target;

/// A valid request head.
#[derive(Debug)]
pub struct RequestHead<'b> {
    /// Length of the head in bytes, including the empty lines before and after the head.
    pub len: usize,
    /// The method.
    pub method: Method,
    /// The method, as the client sent it.
    pub method_token: &'b str,
    /// The target for the backend: a path with its query, or `*`. For a target in absolute-form, this is the part after
    /// the authority, or `/` when that part is empty. When only the path is empty, the target begins with `?`, and
    /// `rewrite` writes a `/` before it.
    pub target: &'b str,
    /// The version of the client.
    pub version: Version,
    /// The host with its port, from an absolute-form target or else from the Host field. Empty only in HTTP/1.0.
    pub host: &'b str,
    /// The end of the body.
    pub framing: Framing,
    /// The options of the Connection fields.
    pub connection: ConnectionOptions,
    /// True when the client keeps its connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// True when the client sent `Expect: 100-continue` in HTTP/1.1 and a body follows.
    pub expects_continue: bool,
    /// True when the client sent `Connection: upgrade` and an `Upgrade` field in HTTP/1.1.
    pub upgrade: bool,
    /// True when the client accepts trailers (`TE: trailers`).
    pub takes_trailers: bool,
    /// The number in Max-Forwards of a TRACE or OPTIONS request (RFC 9110 section 7.6.2). With 0 the request is not
    /// forwarded.
    pub max_forwards: Option<u64>,
    /// The fields in the order in which they were received.
    pub fields: Fields<'b>,
}

impl<'b> RequestHead<'b> {
    /// Checks a head of `len` bytes that httparse has split into a start line and fields.
    pub(super) fn from_parsed(
        len: usize,
        parsed: httparse::Request<'b, 'b>,
        names: &'b mut [Name; FIELDS_MAX],
    ) -> Result<Self, HeadError> {
        let (method_token, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
        let method = Method::from_token(method_token);
        if method == Method::Connect {
            return Err(HeadError::Connect);
        }
        let version = Version::from_minor(parsed.version);
        let lines: &'b [httparse::Header<'b>] = parsed.headers;
        let names = &mut names[..lines.len()];
        let mut summary = FieldSummary::default();
        summary.collect(lines, names)?;
        let (authority, target) = split_target(method, target)?;
        let host = summary.host(version)?;
        let framing = summary.framing.request(version)?;
        let is_new = version == Version::Http11;
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        Ok(RequestHead {
            len,
            method,
            method_token,
            target,
            version,
            host: authority.unwrap_or(host),
            framing,
            connection: summary.connection,
            keep_alive: summary.keeps_alive(version),
            expects_continue: summary.expects_continue()? && is_new && has_body,
            upgrade: summary.connection.upgrade && summary.upgrade && is_new,
            takes_trailers: summary.takes_trailers,
            max_forwards: summary.max_forwards(method)?,
            fields: Fields { lines, names },
        })
    }
}
