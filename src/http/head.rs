//! Start lines and fields: httparse reads the bytes, this file decides what they may mean.
use std::mem::MaybeUninit;

use super::framing::Framing;

/// Most fields in one head.
pub const FIELDS_MAX: usize = 128;

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
pub enum HeadError {}

/// Request methods this program treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method { Get, Head, Post, Put, Delete, Options, Trace, Connect, Patch, Other }

impl Method {
    /// RFC 9110 section 9.2.2.
    pub fn is_idempotent(self) -> bool { todo!() }
}

/// The protocol versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Version { Http10, Http11 }

/// Fields this program knows by name, found out once while parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name { Other }

/// Room for the fields of one head, so that parsing allocates nothing.
pub struct FieldSlots<'b> {
    slots: [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX],
    names: [Name; FIELDS_MAX],
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
pub struct ConnectionOptions { pub close: bool, pub keep_alive: bool, pub upgrade: bool, pub te: bool,
    /// Names some other field, which is therefore hop-by-hop.
    pub names_others: bool }

/// A valid request head.
pub struct RequestHead<'b> {
    /// Bytes it takes in the buffer, empty lines before and after it included.
    pub len: usize,
    pub method: Method,
    /// The method as sent.
    pub method_token: &'b str,
    /// Origin-form (path and query) as it is to be sent on, or `*`. For absolute-form the part after the authority ("/" if empty).
    pub target: &'b str,
    pub version: Version,
    /// The authority: of the target in absolute-form, else of Host; empty only in HTTP/1.0.
    pub host: &'b str,
    pub framing: Framing,
    pub connection: ConnectionOptions,
    /// The client wants to keep its connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// `Expect: 100-continue` on 1.1.
    pub expects_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` field, on 1.1.
    pub upgrade: bool,
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
}

/// A valid response head.
pub struct ResponseHead<'b> {
    pub len: usize,
    pub status: u16,
    pub reason: &'b str,
    pub version: Version,
    pub framing: Framing,
    pub connection: ConnectionOptions,
    pub keep_alive: bool,
    fields: &'b [httparse::Header<'b>],
    names: &'b [Name],
}

/// Remembers how far an unfinished head was looked at, so that it is not parsed again at every byte.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScan { scanned: usize, checked: usize }

impl HeadScan {
    /// The request head at the front of `bytes`, or None while it is unfinished.
    pub fn request<'b>(&mut self, bytes: &'b [u8], limits: &HeadLimits, slots: &'b mut FieldSlots<'b>)
        -> Result<Option<RequestHead<'b>>, HeadError> { todo!() }

    /// The response head at the front of `bytes`, or None while it is unfinished. `asked` is the method it answers.
    pub fn response<'b>(&mut self, bytes: &'b [u8], asked: Method, limits: &HeadLimits, slots: &'b mut FieldSlots<'b>)
        -> Result<Option<ResponseHead<'b>>, HeadError> { todo!() }
}

impl<'b> RequestHead<'b> {
    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> { std::iter::empty() }
    /// The value of the only field of that name; None when it is absent, the first when there are several.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> { todo!() }
}
