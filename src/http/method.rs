//! The methods and versions in a start line.

/// The request methods. `Other` is any method that is not treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of RFC 9110")]
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
    /// Returns the method that `token` names. Methods are case-sensitive (RFC 9110 section 9.1).
    pub(super) fn from_token(token: &str) -> Self {
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

    /// True when repeating the request has the same effect as sending it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace => {
                true
            }
            Method::Post | Method::Connect | Method::Patch | Method::Other => false,
        }
    }
}

/// The supported protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// Returns the version for the minor number from httparse, which is 0 or 1.
    pub(super) fn from_minor(minor: Option<u8>) -> Self {
        if minor == Some(1) { Version::Http11 } else { Version::Http10 }
    }
}
