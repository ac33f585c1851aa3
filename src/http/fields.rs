//! The fields of a head: the known names, and the summary of all fields.

use std::mem::MaybeUninit;

use super::digits;
use super::error::HeadError;
use super::framing::FramingFields;
use super::list::elements;
use super::method::{Method, Version};
use super::target::is_authority;

/// Maximum number of fields in one head; a request head with more gets 431.
pub const FIELDS_MAX: usize = 128;

/// Maximum number of options in the Connection fields of one head. The limit bounds the work, because rewriting
/// compares each option with each field.
const CONNECTION_OPTIONS_MAX: usize = 64;

/// The known field names. Each name in a head is looked up once, during parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the fields")]
pub enum Name {
    Connection,
    ContentLength,
    Date,
    Expect,
    /// A field that a proxy adds to describe a client: Forwarded (RFC 7239), X-Real-IP, and every X-Forwarded field
    /// without a variant of its own. A name with underscores instead of dashes counts too, because CGI programs see
    /// both names as equal.
    Forwarding,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
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
    /// Returns the known name. The length and the first letter leave at most one candidate.
    pub(super) fn of(name: &str) -> Self {
        let name = name.as_bytes();
        let (is_known, id) = match (name.len(), name.first().map_or(0, |b| b | 0x20)) {
            (2, b't') => (is(name, b"te"), Name::Te),
            (4, b'd') => (is(name, b"date"), Name::Date),
            (4, b'h') => (is(name, b"host"), Name::Host),
            (6, b'e') => (is(name, b"expect"), Name::Expect),
            (7, b't') => (is(name, b"trailer"), Name::Trailer),
            (7, b'u') => (is(name, b"upgrade"), Name::Upgrade),
            (9, b'f') => (is(name, b"forwarded"), Name::Forwarding),
            (10, b'c') => (is(name, b"connection"), Name::Connection),
            (10, b'k') => (is(name, b"keep-alive"), Name::KeepAlive),
            (12, b'm') => (is(name, b"max-forwards"), Name::MaxForwards),
            (14, b'c') => (is(name, b"content-length"), Name::ContentLength),
            (14, b'h') => (is(name, b"http2-settings"), Name::Http2Settings),
            (16, b'p') => (is(name, b"proxy-connection"), Name::ProxyConnection),
            (17, b't') => (is(name, b"transfer-encoding"), Name::TransferEncoding),
            (9.., b'x') => return Name::of_x_field(name),
            _ => return Name::Other,
        };
        if is_known { id } else { Name::Other }
    }

    /// Returns the known name of a field whose name begins with an X.
    fn of_x_field(name: &[u8]) -> Self {
        let (start, rest) = name.split_at(name.len().min("x-forwarded-".len()));
        if is_like(start, b"x-real-ip") {
            return Name::Forwarding;
        }
        if !is_like(start, b"x-forwarded-") {
            return Name::Other;
        }
        match rest {
            _ if start.contains(&b'_') => Name::Forwarding,
            rest if rest.eq_ignore_ascii_case(b"for") => Name::XForwardedFor,
            rest if rest.eq_ignore_ascii_case(b"host") => Name::XForwardedHost,
            rest if rest.eq_ignore_ascii_case(b"proto") => Name::XForwardedProto,
            _ => Name::Forwarding,
        }
    }
}

/// True when the field name equals `known`, which is in lower case. The bit that is set makes a letter small. It makes no
/// other byte of a token (RFC 9110 section 5.6.2) a letter, a digit or a dash. The fixed length lets the compiler compare
/// whole words.
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    name.try_into().is_ok_and(|name: [u8; N]| name.map(|b| b | 0x20) == *known)
}

/// True when `name` equals `known`. Case is ignored, and an underscore equals a dash.
fn is_like(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a, *b) == (b'_', b'-'))
}

/// Space for the fields of one head. The caller lends this space, so that parsing does not allocate.
pub struct FieldSlots<'b> {
    pub(super) slots: [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX],
    pub(super) names: [Name; FIELDS_MAX],
}

impl FieldSlots<'_> {
    /// Returns empty slots.
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
    /// The known name, or [`Name::Other`].
    pub id: Name,
    /// The name, as the sender wrote it.
    pub name: &'b str,
    /// The value without leading and trailing white space.
    pub value: &'b [u8],
}

/// The fields of a valid head.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'b> {
    pub(super) lines: &'b [httparse::Header<'b>],
    pub(super) names: &'b [Name],
}

impl<'b> Fields<'b> {
    /// Iterates over the fields in the order in which they were received.
    pub fn iter(self) -> impl Iterator<Item = Field<'b>> {
        let fields = self.lines.iter().zip(self.names);
        fields.map(|(line, &id)| Field { id, name: line.name, value: line.value })
    }

    /// Returns the value of the first field with this name; None when there is no such field. Case is ignored.
    pub fn get(self, name: &str) -> Option<&'b [u8]> {
        self.lines.iter().find(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }
}

/// The options in the `Connection` fields of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`: the sender closes the connection after this message.
    pub close: bool,
    /// `keep-alive`: an HTTP/1.0 sender keeps the connection.
    pub keep_alive: bool,
    /// `upgrade`: the Upgrade field is valid for this connection.
    pub upgrade: bool,
    /// `te`: the TE field is valid for this connection.
    pub te: bool,
    /// Another option is present. It names a field that is hop-by-hop.
    pub names_others: bool,
}

/// The result of one pass over the fields of a head.
#[derive(Default)]
pub(super) struct FieldSummary<'b> {
    host: Option<&'b [u8]>,
    several_hosts: bool,
    pub(super) framing: FramingFields,
    pub(super) connection: ConnectionOptions,
    /// The value of the last Keep-Alive field.
    pub(super) keep_alive: Option<&'b [u8]>,
    options: usize,
    expect: Option<&'b [u8]>,
    pub(super) upgrade: bool,
    pub(super) takes_trailers: bool,
    max_forwards: Option<&'b [u8]>,
    several_max_forwards: bool,
}

impl<'b> FieldSummary<'b> {
    /// Examines every field once and stores its known name in `names`. Fills the caller's summary, because a result with the
    /// summary is copied several times.
    pub(super) fn collect(
        &mut self,
        fields: &[httparse::Header<'b>],
        names: &mut [Name],
    ) -> Result<(), HeadError> {
        for (field, name) in fields.iter().zip(names) {
            *name = Name::of(field.name);
            match *name {
                Name::Connection => self.connection(field.value)?,
                Name::ContentLength => self.framing.content_length(field.value)?,
                Name::Expect => {
                    self.expect = self.expect.filter(|e| !is_continue(e)).or(Some(field.value));
                }
                Name::Host => self.several_hosts |= self.host.replace(field.value).is_some(),
                Name::KeepAlive => self.keep_alive = Some(field.value),
                Name::MaxForwards => {
                    self.several_max_forwards |= self.max_forwards.replace(field.value).is_some();
                }
                Name::Te => self.takes_trailers |= lists_trailers(field.value),
                Name::TransferEncoding => self.framing.transfer_encoding(field.value)?,
                Name::Upgrade => self.upgrade |= upgrade_protocols(field.value).next().is_some(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds one Connection field.
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

    /// Returns the value of the Host field. HTTP/1.1 requires exactly one Host field, even with a target in
    /// absolute-form (RFC 9112 section 3.2).
    pub(super) fn host(&self, version: Version) -> Result<&'b str, HeadError> {
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

    /// True when the sender keeps the connection (RFC 9112 section 9.3).
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        !self.connection.close && (version == Version::Http11 || self.connection.keep_alive)
    }

    /// True when the client expects a 100. Any other expectation is an error, which becomes a 417 (RFC 9110 section
    /// 10.1.1).
    pub(super) fn expects_continue(&self) -> Result<bool, HeadError> {
        match self.expect {
            None => Ok(false),
            Some(value) if is_continue(value) => Ok(true),
            Some(_) => Err(HeadError::Expectation),
        }
    }

    /// Returns the number in Max-Forwards of a TRACE or OPTIONS request (RFC 9110 section 7.6.2). None without the
    /// field and for other methods. A number above 64 bits becomes the maximum.
    pub(super) fn max_forwards(&self, method: Method) -> Result<Option<u64>, HeadError> {
        match (method, self.max_forwards) {
            (Method::Options | Method::Trace, Some(value)) => {
                let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                if !is_number || self.several_max_forwards {
                    return Err(HeadError::BadMaxForwards);
                }
                Ok(Some(digits::parse(value).unwrap_or(u64::MAX)))
            }
            _ => Ok(None),
        }
    }
}

/// Returns the protocols in an Upgrade field that may be forwarded: all except h2c. We parse only HTTP/1.1, so an
/// HTTP/2 connection through us would hide requests from us.
pub(super) fn upgrade_protocols(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    elements(value).filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

fn lists_trailers(te: &[u8]) -> bool {
    elements(te).any(|element| element.eq_ignore_ascii_case(b"trailers"))
}

fn is_continue(expectation: &[u8]) -> bool {
    expectation.eq_ignore_ascii_case(b"100-continue")
}
