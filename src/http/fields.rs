//! The fields of a head: those this program knows, and what they say taken together.

use std::mem::MaybeUninit;

use super::framing::FramingFields;
use super::head::{HeadError, Version};
use super::target::is_authority;

/// Most fields in one head.
pub const FIELDS_MAX: usize = 128;

/// Most options in the Connection fields of one head: each is compared with each field.
const CONNECTION_OPTIONS_MAX: usize = 64;

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
    pub(super) slots: [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX],
    pub(super) names: [Name; FIELDS_MAX],
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

/// What one pass over the fields finds out.
#[derive(Default)]
pub(super) struct Facts<'b> {
    host: Option<&'b [u8]>,
    several_hosts: bool,
    pub(super) framing: FramingFields,
    pub(super) connection: ConnectionOptions,
    options: usize,
    expect: Option<&'b [u8]>,
    pub(super) upgrade: bool,
    pub(super) takes_trailers: bool,
}

impl<'b> Facts<'b> {
    pub(super) fn gather(fields: &[httparse::Header<'b>], names: &mut [Name]) -> Result<Self, HeadError> {
        let mut facts = Facts::default();
        for (field, name) in fields.iter().zip(names) {
            *name = Name::of(field.name);
            match *name {
                Name::Connection => facts.connection(field.value)?,
                Name::ContentLength => facts.framing.content_length(field.value)?,
                Name::Expect => facts.expect = facts.expect.filter(|e| !is_continue(e)).or(Some(field.value)),
                Name::Host => facts.several_hosts |= facts.host.replace(field.value).is_some(),
                Name::Te => facts.takes_trailers |= lists_trailers(field.value),
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

    /// RFC 9112 section 9.3.
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        !self.connection.close && (version == Version::Http11 || self.connection.keep_alive)
    }

    /// RFC 9110 section 10.1.1: what else may be expected is answered with 417.
    pub(super) fn expects_continue(&self) -> Result<bool, HeadError> {
        match self.expect {
            None => Ok(false),
            Some(value) if is_continue(value) => Ok(true),
            Some(_) => Err(HeadError::Expectation),
        }
    }
}

fn lists_trailers(te: &[u8]) -> bool {
    elements(te).any(|element| element.eq_ignore_ascii_case(b"trailers"))
}

fn is_continue(expectation: &[u8]) -> bool {
    expectation.eq_ignore_ascii_case(b"100-continue")
}

/// The elements of a list, empty ones left out (RFC 9110 section 5.6.1).
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without the spaces and tabs around it; other white space is no white space here (RFC 9110 section 5.6.3).
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The fields with what they are.
pub(super) fn fields<'b>(
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
) -> impl Iterator<Item = Field<'b>> + use<'b> {
    fields.iter().zip(names).map(|(field, &id)| Field { id, name: field.name, value: field.value })
}

/// The value of the first field of that name.
pub(super) fn first<'b>(fields: &[httparse::Header<'b>], name: &str) -> Option<&'b [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}
