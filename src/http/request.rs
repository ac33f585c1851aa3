//! What a request head means, or why it is refused.

use super::error::HeadError;
use super::fields::{ConnectionOptions, FIELDS_MAX, Field, FieldSummary, Name, fields, first};
use super::framing::Framing;
use super::method::{Method, Version};
use super::target::split_target;

/// A valid request head.
#[derive(Debug)]
pub struct RequestHead<'b> {
    /// Length of the head in the buffer, in bytes, with the empty lines before and after it.
    pub len: usize,
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_token: &'b str,
    /// The target as it is sent on: a path with its query, or `*`. Of an absolute-form target, this is the part behind
    /// the authority, or "/" where that part is empty. Where only the path is empty, it begins with `?`; the sender then
    /// puts a "/" in front.
    pub target: &'b str,
    /// The version of the client.
    pub version: Version,
    /// The authority: of an absolute-form target, else of the Host field. It is empty only in HTTP/1.0.
    pub host: &'b str,
    /// How the body ends.
    pub framing: Framing,
    /// The options of the Connection fields.
    pub connection: ConnectionOptions,
    /// The client wants to keep its connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// The client sent `Expect: 100-continue` in HTTP/1.1, and a body follows.
    pub expects_continue: bool,
    /// The client sent `Connection: upgrade` and an `Upgrade` field, in HTTP/1.1.
    pub upgrade: bool,
    /// The client accepts trailers (`TE: trailers`).
    pub takes_trailers: bool,
    /// How many times a TRACE or OPTIONS request may still be forwarded (Max-Forwards); 0 makes us its final recipient.
    pub max_forwards: Option<u64>,
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
}

impl<'b> RequestHead<'b> {
    /// The head that httparse split into a start line and fields, `len` bytes long.
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
        let fields: &'b [httparse::Header<'b>] = parsed.headers;
        let names = &mut names[..fields.len()];
        let summary = FieldSummary::collect(fields, names)?;
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
            fields,
            names,
        })
    }

    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> + use<'b> {
        fields(self.fields, self.names)
    }

    /// The value of the first field with this name; None when there is no such field.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        first(self.fields, name)
    }
}
