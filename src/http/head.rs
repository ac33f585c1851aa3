//! Start lines and fields: httparse reads the bytes, this file decides what they may mean.

use std::fmt;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use httparse::Status;

use super::framing::{Framing, FramingFields};

/// Most fields in one head.
pub const FIELDS_MAX: usize = 128;

/// Most empty lines before a request line (RFC 9112 section 2.2 asks for one).
const EMPTY_LINES_MAX: usize = 4;

/// Most options in the Connection fields of one head: each is compared with each field.
const CONNECTION_OPTIONS_MAX: usize = 64;

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

/// Fields this program knows by name, found out once while parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Name {
    Connection,
    ContentLength,
    Expect,
    Host,
    KeepAlive,
    Other,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
}

impl Name {
    /// Length and first letter leave one candidate at most.
    pub(super) fn of(name: &str) -> Self {
        let (known, id) = match (name.len(), name.as_bytes().first().map_or(0, |b| b | 0x20)) {
            (2, b't') => ("te", Name::Te),
            (4, b'h') => ("host", Name::Host),
            (6, b'e') => ("expect", Name::Expect),
            (7, b't') => ("trailer", Name::Trailer),
            (7, b'u') => ("upgrade", Name::Upgrade),
            (10, b'c') => ("connection", Name::Connection),
            (10, b'k') => ("keep-alive", Name::KeepAlive),
            (14, b'c') => ("content-length", Name::ContentLength),
            (15, b'x') => ("x-forwarded-for", Name::XForwardedFor),
            (16, b'p') => ("proxy-connection", Name::ProxyConnection),
            (16, b'x') => ("x-forwarded-host", Name::XForwardedHost),
            (17, b't') => ("transfer-encoding", Name::TransferEncoding),
            (17, b'x') => ("x-forwarded-proto", Name::XForwardedProto),
            _ => return Name::Other,
        };
        if name.eq_ignore_ascii_case(known) { id } else { Name::Other }
    }
}

/// Room for the fields of one head, so that parsing allocates nothing.
pub struct FieldSlots<'b> {
    slots: [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX],
    names: [Name; FIELDS_MAX],
}

impl FieldSlots<'_> {
    /// Empty room.
    pub fn new() -> Self {
        FieldSlots { slots: [const { MaybeUninit::uninit() }; FIELDS_MAX], names: [Name::Other; FIELDS_MAX] }
    }
}

impl Default for FieldSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// One field line.
#[derive(Debug, Clone, Copy)]
pub struct Field<'b> {
    /// What it is, when this program knows it.
    pub id: Name,
    /// Its name as it was sent.
    pub name: &'b str,
    /// Its value without surrounding white space.
    pub value: &'b [u8],
}

/// What the `Connection` fields of a message say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    pub te: bool,
    /// Names some other field, which is therefore hop-by-hop.
    pub names_others: bool,
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

fn fields<'b>(
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
) -> impl Iterator<Item = Field<'b>> + use<'b> {
    fields.iter().zip(names).map(|(field, &id)| Field { id, name: field.name, value: field.value })
}

fn first<'b>(fields: &[httparse::Header<'b>], name: &str) -> Option<&'b [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(1) { Version::Http11 } else { Version::Http10 }
}

/// What one pass over the fields finds out.
#[derive(Default)]
struct Facts<'b> {
    host: Option<&'b [u8]>,
    several_hosts: bool,
    framing: FramingFields,
    connection: ConnectionOptions,
    options: usize,
    expect: Option<&'b [u8]>,
    upgrade: bool,
    takes_trailers: bool,
}

impl<'b> Facts<'b> {
    fn gather(fields: &[httparse::Header<'b>], names: &mut [Name]) -> Result<Self, HeadError> {
        let mut facts = Facts::default();
        for (field, name) in fields.iter().zip(names) {
            *name = Name::of(field.name);
            match *name {
                Name::Connection => facts.connection(field.value)?,
                Name::ContentLength => facts.framing.content_length(field.value)?,
                Name::Expect => facts.expect = facts.expect.filter(|e| !is_continue(e)).or(Some(field.value)),
                Name::Host => facts.several_hosts |= facts.host.replace(field.value).is_some(),
                Name::Te => {
                    facts.takes_trailers |=
                        elements(field.value).any(|te| te.eq_ignore_ascii_case(b"trailers"))
                }
                Name::TransferEncoding => facts.framing.transfer_encoding(field.value)?,
                Name::Upgrade => facts.upgrade |= !field.value.is_empty(),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let options = &mut self.connection;
        for option in elements(value) {
            self.options += 1;
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => options.close = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                2 if option.eq_ignore_ascii_case(b"te") => options.te = true,
                _ => options.names_others = true,
            }
        }
        if self.options > CONNECTION_OPTIONS_MAX { Err(HeadError::TooManyOptions) } else { Ok(()) }
    }

    /// RFC 9112 section 3.2: HTTP/1.1 has exactly one Host field, whatever the form of its target.
    fn host(&self, version: Version) -> Result<&'b str, HeadError> {
        if self.several_hosts {
            return Err(HeadError::SeveralHosts);
        }
        match self.host {
            None if version == Version::Http11 => Err(HeadError::NoHost),
            None => Ok(""),
            Some(b"") if version == Version::Http10 => Ok(""),
            Some(value) => {
                str::from_utf8(value).ok().filter(|host| is_authority(host)).ok_or(HeadError::BadHost)
            }
        }
    }

    /// RFC 9112 section 9.3.
    fn keeps_alive(&self, version: Version) -> bool {
        !self.connection.close && (version == Version::Http11 || self.connection.keep_alive)
    }

    /// RFC 9110 section 10.1.1: what else may be expected is answered with 417.
    fn expects_continue(&self) -> Result<bool, HeadError> {
        match self.expect {
            None => Ok(false),
            Some(value) if is_continue(value) => Ok(true),
            Some(_) => Err(HeadError::Expectation),
        }
    }
}

fn is_continue(expectation: &[u8]) -> bool {
    expectation.eq_ignore_ascii_case(b"100-continue")
}

/// The elements of a list, empty ones left out (RFC 9110 section 5.6.1).
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
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

/// The authority, if the target carries one, and the target as an origin server gets it (RFC 9112 section 3.2).
fn split_target(method: Method, target: &str) -> Result<(Option<&str>, &str), HeadError> {
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(if target.contains('#') { HeadError::Fragment } else { HeadError::BadTarget });
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" {
        return if method == Method::Options { Ok((None, target)) } else { Err(HeadError::BadTarget) };
    }
    let (scheme, rest) = target.split_once("://").ok_or(HeadError::BadTarget)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(HeadError::BadTarget);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority) {
        return Err(HeadError::BadHost);
    }
    match (path, method) {
        ("", Method::Options) => Ok((Some(authority), "*")),
        ("", _) => Ok((Some(authority), "/")),
        _ => Ok((Some(authority), path)),
    }
}

/// A host with an optional port (RFC 3986 section 3.2), without user information, not empty; a comma, though the RFC
/// has it, is refused: it may come of two fields that were merged.
fn is_authority(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            address.parse::<Ipv6Addr>().is_ok() && port.strip_prefix(':').is_none_or(is_port) && {
                port.is_empty() || port.starts_with(':')
            }
        });
    }
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    !name.is_empty() && is_port(port) && is_registered_name(name.as_bytes())
}

fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn is_registered_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [b, rest @ ..] if b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(b) => rest,
            _ => return false,
        }
    }
}
