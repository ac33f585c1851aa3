//! Start lines and fields: httparse reads the bytes, this file decides what they may mean.

use std::fmt;

use httparse::Status;

pub use super::fields::{ConnectionOptions, FIELDS_MAX, Field, FieldSlots, Name};
use super::fields::{Facts, fields, first};
use super::framing::Framing;
use super::target::split_target;

/// Most empty lines before a request line (RFC 9112 section 2.2 asks for one).
const EMPTY_LINES_MAX: usize = 4;

/// The limits of a head, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The whole head with its empty line.
    pub head_bytes: usize,
    /// The request line alone.
    pub request_line_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { head_bytes: 32 * 1024, request_line_bytes: 8 * 1024 }
    }
}

/// Why a request head is refused, or a response head is not believed. Display is one clear line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HeadError {
    BadCoding,
    BadFieldName,
    BadFieldValue,
    BadHost,
    BadLength,
    BadLineEnd,
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
            HeadError::BadCoding => "the last transfer coding, and only the last, must be chunked",
            HeadError::BadFieldName => "invalid field name, or white space before a field name or its colon",
            HeadError::BadFieldValue => "invalid byte in a field value",
            HeadError::BadHost => "invalid host",
            HeadError::BadLength => "Content-Length is not a number",
            HeadError::BadLineEnd => "invalid line end",
            HeadError::BadStartLine => "invalid start line",
            HeadError::BadTarget => "invalid request target",
            HeadError::CodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            HeadError::Connect => "CONNECT is not offered",
            HeadError::EmptyLines => "too many empty lines before the start line",
            HeadError::Expectation => "unknown expectation",
            HeadError::Fragment => "a fragment in the request target",
            HeadError::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            HeadError::LengthsDiffer => "Content-Length values that differ",
            HeadError::LineTooLong => "the request line is too long",
            HeadError::NoHost => "no Host field",
            HeadError::SeveralHosts => "several Host fields",
            HeadError::TooLarge => "the head is too large",
            HeadError::TooManyFields => "too many fields",
            HeadError::TooManyOptions => "too many connection options",
            HeadError::UnknownCoding => "unknown transfer coding",
            HeadError::Version => "only HTTP/1.0 and HTTP/1.1 are spoken",
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

/// Request methods this program treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Trace,
    Connect,
    Patch,
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110 section 9.1).
    fn of(token: &str) -> Self {
        match token {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "TRACE" => Method::Trace,
            "CONNECT" => Method::Connect,
            "PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// RFC 9110 section 9.2.2.
    pub fn is_idempotent(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace => {
                true
            }
            Method::Post | Method::Connect | Method::Patch | Method::Other => false,
        }
    }
}

/// The protocol versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Version {
    Http10,
    Http11,
}

/// A valid request head.
#[derive(Debug)]
pub struct RequestHead<'b> {
    /// Bytes it takes in the buffer, empty lines before and after it included.
    pub len: usize,
    /// The method, when it is one that is treated differently.
    pub method: Method,
    /// The method as sent.
    pub method_token: &'b str,
    /// Origin-form (path and query) as it is to be sent on, or `*`. For absolute-form the part after the authority
    /// ("/" if empty; it begins with `?` if only the path is empty: a "/" belongs in front).
    pub target: &'b str,
    /// The version of the client.
    pub version: Version,
    /// The authority: of the target in absolute-form, else of Host; empty only in HTTP/1.0.
    pub host: &'b str,
    /// How the body ends.
    pub framing: Framing,
    /// What its Connection fields say.
    pub connection: ConnectionOptions,
    /// The client wants to keep its connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// `Expect: 100-continue` on 1.1, with a body to wait for.
    pub expects_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` field, on 1.1.
    pub upgrade: bool,
    /// `TE: trailers`: the client takes trailers.
    pub takes_trailers: bool,
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
}

/// A valid response head.
#[derive(Debug)]
pub struct ResponseHead<'b> {
    /// Bytes it takes in the buffer.
    pub len: usize,
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; empty when it was missing or not ASCII.
    pub reason: &'b str,
    /// The version of the backend.
    pub version: Version,
    /// How the body ends.
    pub framing: Framing,
    /// The value of Content-Length, also where no body follows (HEAD, 304).
    pub content_length: Option<u64>,
    /// What its Connection fields say.
    pub connection: ConnectionOptions,
    /// The connection can be used again behind this response.
    pub keep_alive: bool,
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
}

/// Remembers how far an unfinished head was looked at, so that it is not parsed again at every byte: the work over a
/// whole head is linear in its length, however it is cut.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScan {
    /// No head ends before this offset.
    scanned: usize,
    /// The length that was parsed last; 0 before the first time.
    checked: usize,
    /// The start line is known to be short enough.
    line_ended: bool,
}

impl HeadScan {
    /// The request head at the front of `bytes`, or None while it is unfinished.
    pub fn request<'b>(
        &mut self,
        bytes: &'b [u8],
        limits: &HeadLimits,
        slots: &'b mut FieldSlots<'b>,
    ) -> Result<Option<RequestHead<'b>>, HeadError> {
        let start = skip_empty_lines(bytes)?;
        let full = bytes.len() >= limits.head_bytes;
        let head = &bytes[start..bytes.len().min(limits.head_bytes).max(start)];
        if self.is_due(head, full) {
            let mut parsed = httparse::Request::new(&mut []);
            match parsed.parse_with_uninit_headers(head, &mut slots.slots) {
                Ok(Status::Complete(len)) => {
                    *self = HeadScan::default();
                    let head = RequestHead::judge(start + len, parsed, &mut slots.names, limits)?;
                    return Ok(Some(head));
                }
                Ok(Status::Partial) => {}
                Err(_) if self.line_too_long(head, limits) => return Err(HeadError::LineTooLong),
                Err(httparse::Error::Version) => refuse_version(&parsed, head)?,
                Err(error) => return Err(error.into()),
            }
        }
        if self.line_too_long(head, limits) {
            return Err(HeadError::LineTooLong);
        }
        if full { Err(HeadError::TooLarge) } else { Ok(None) }
    }

    /// The response head at the front of `bytes`, or None while it is unfinished. `asked` is the method it answers.
    pub fn response<'b>(
        &mut self,
        bytes: &'b [u8],
        asked: Method,
        limits: &HeadLimits,
        slots: &'b mut FieldSlots<'b>,
    ) -> Result<Option<ResponseHead<'b>>, HeadError> {
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(HeadError::EmptyLines);
        }
        let full = bytes.len() >= limits.head_bytes;
        let head = &bytes[..bytes.len().min(limits.head_bytes)];
        if self.is_due(head, full) {
            let mut parsed = httparse::Response::new(&mut []);
            let parser = httparse::ParserConfig::default();
            let status = parser.parse_response_with_uninit_headers(&mut parsed, head, &mut slots.slots)?;
            if let Status::Complete(len) = status {
                *self = HeadScan::default();
                return Ok(Some(ResponseHead::judge(len, parsed, asked, &mut slots.names)?));
            }
        }
        if full { Err(HeadError::TooLarge) } else { Ok(None) }
    }

    /// Whether `head` is to be parsed now: the first time, when its end has come, and (so that what is no HTTP is
    /// refused early) when it has doubled.
    fn is_due(&mut self, head: &[u8], full: bool) -> bool {
        let first = self.checked == 0;
        let due = first || full || self.finds_end(head) || head.len() / 2 >= self.checked;
        if due {
            self.checked = head.len();
        }
        due
    }

    /// Looks for the empty line in what was not looked at yet.
    fn finds_end(&mut self, head: &[u8]) -> bool {
        let mut at = self.scanned;
        while let Some(n) = head[at..].iter().position(|&b| b == b'\n') {
            at += n + 1;
            if head[at..].starts_with(b"\n") || head[at..].starts_with(b"\r\n") {
                return true;
            }
        }
        self.scanned = head.len().saturating_sub(2);
        false
    }

    fn line_too_long(&mut self, head: &[u8], limits: &HeadLimits) -> bool {
        let with_line_end = limits.request_line_bytes + 2;
        if self.line_ended || head.len() < with_line_end {
            return false;
        }
        self.line_ended = head[..with_line_end].contains(&b'\n');
        !self.line_ended
    }
}

impl<'b> RequestHead<'b> {
    /// Decides what the parsed bytes mean, or that they are refused.
    fn judge(
        len: usize,
        parsed: httparse::Request<'b, 'b>,
        names: &'b mut [Name; FIELDS_MAX],
        limits: &HeadLimits,
    ) -> Result<Self, HeadError> {
        let (method_token, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
        if method_token.len() + target.len() + " HTTP/1.1 ".len() > limits.request_line_bytes {
            return Err(HeadError::LineTooLong);
        }
        let method = Method::of(method_token);
        if method == Method::Connect {
            return Err(HeadError::Connect);
        }
        let version = version(parsed.version);
        let fields: &'b [httparse::Header<'b>] = parsed.headers;
        let names = &mut names[..fields.len()];
        let facts = Facts::gather(fields, names)?;
        let (authority, target) = split_target(method, target)?;
        let host = facts.host(version)?;
        let framing = facts.framing.request(version)?;
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
            connection: facts.connection,
            keep_alive: facts.keeps_alive(version),
            expects_continue: facts.expects_continue()? && is_new && has_body,
            upgrade: facts.connection.upgrade && facts.upgrade && is_new,
            takes_trailers: facts.takes_trailers,
            fields,
            names,
        })
    }

    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> + use<'b> {
        fields(self.fields, self.names)
    }

    /// The value of the only field of that name; None when it is absent, the first when there are several.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        first(self.fields, name)
    }
}

impl<'b> ResponseHead<'b> {
    fn judge(
        len: usize,
        parsed: httparse::Response<'b, 'b>,
        asked: Method,
        names: &'b mut [Name; FIELDS_MAX],
    ) -> Result<Self, HeadError> {
        let status = parsed.code.unwrap_or_default();
        if !(100..=599).contains(&status) {
            return Err(HeadError::BadStartLine);
        }
        let version = version(parsed.version);
        let fields: &'b [httparse::Header<'b>] = parsed.headers;
        let names = &mut names[..fields.len()];
        let facts = Facts::gather(fields, names)?;
        let framing = facts.framing.response(version, status, asked)?;
        Ok(ResponseHead {
            len,
            status,
            reason: parsed.reason.unwrap_or_default(),
            version,
            framing,
            content_length: facts.framing.length(),
            connection: facts.connection,
            keep_alive: facts.keeps_alive(version) && framing != Framing::UntilClose,
            fields,
            names,
        })
    }

    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> + use<'b> {
        fields(self.fields, self.names)
    }

    /// The value of the first field of that name; None when it is absent.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        first(self.fields, name)
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(1) { Version::Http11 } else { Version::Http10 }
}

/// Where the start line begins.
fn skip_empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut at = 0;
    for _ in 0..=EMPTY_LINES_MAX {
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [b'\n', ..] => at += 1,
            _ => return Ok(at),
        }
    }
    Err(HeadError::EmptyLines)
}

/// A version that is none of ours: Ok while it is unfinished, so that the same error comes however it is cut.
fn refuse_version(parsed: &httparse::Request<'_, '_>, head: &[u8]) -> Result<(), HeadError> {
    let at = parsed.method.map_or(0, str::len) + parsed.path.map_or(0, str::len) + 2;
    let token = &head[at..head.len().min(at + 8)];
    let fits = token.iter().zip(b"HTTP/0.0").all(
        |(b, like)| {
            if *like == b'0' { b.is_ascii_digit() } else { b == like }
        },
    );
    match (fits, token.len()) {
        (true, 8) => Err(HeadError::Version),
        (true, _) => Ok(()),
        (false, _) => Err(HeadError::BadStartLine),
    }
}
