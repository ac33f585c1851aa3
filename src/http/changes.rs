//! Changes of the fields of a head: the operator removes fields and sets fields.
use std::fmt;

use super::cookie::is_token;
use super::fields::Name;

/// Changes of the fields of a head. Removals come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldChanges {
    remove: Vec<String>,
    set: Vec<(String, String)>,
}

/// The reason to refuse the change of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidChange {
    /// The name is no token (RFC 9110 section 5.6.2).
    Name(String),
    /// The value of this field has a control character, or a blank at an end (RFC 9110 section 5.5).
    Value(String),
    /// The field says where a message ends or belongs to one connection, so the balancer alone writes it.
    OfConnection(String),
    /// A request without Host is invalid (RFC 9112 section 3.2), so the field can be set and not removed.
    RemovesHost,
}

impl fmt::Display for InvalidChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidChange::Name(name) => write!(f, "expected the name of a field, not {name:?}"),
            InvalidChange::Value(name) => write!(
                f,
                "expected a value of the field '{name}' without control characters and without blanks at its ends"
            ),
            InvalidChange::OfConnection(name) => {
                write!(
                    f,
                    "the field '{name}' belongs to a connection or to the framing, so it cannot be changed"
                )
            }
            InvalidChange::RemovesHost => f.write_str("the field 'host' can be set, but not removed"),
        }
    }
}

impl std::error::Error for InvalidChange {}

impl FieldChanges {
    /// Makes the changes: the names of the fields to remove, and the fields to set in place of fields with the same
    /// name.
    ///
    /// # Errors
    /// The first change that would make an invalid head.
    pub fn new(remove: Vec<String>, set: Vec<(String, String)>) -> Result<Self, InvalidChange> {
        for name in &remove {
            check_name(name)?;
            if Name::of(name) == Name::Host {
                return Err(InvalidChange::RemovesHost);
            }
        }
        for (name, value) in &set {
            check_name(name)?;
            let is_text = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
            if !is_text || value.trim_matches([' ', '\t']) != value {
                return Err(InvalidChange::Value(name.clone()));
            }
            if Name::of(name) == Name::Host && !super::target::is_authority(value) {
                return Err(InvalidChange::Value(name.clone()));
            }
        }
        Ok(FieldChanges { remove, set })
    }

    /// Makes changes that need no check.
    pub(crate) fn unchecked(remove: Vec<String>, set: Vec<(String, String)>) -> Self {
        FieldChanges { remove, set }
    }

    /// True when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    /// Changes the head that begins at `start` of `out` and ends with an empty line. The first line stays.
    pub(crate) fn apply(&self, out: &mut Vec<u8>, start: usize) {
        if self.is_empty() {
            return;
        }
        let first =
            out[start..].iter().position(|&byte| byte == b'\n').map_or(out.len(), |at| start + at + 1);
        self.apply_to_fields(out, first);
    }

    /// Changes the field lines that begin at `start` of `out`, up to an empty line or to the end.
    pub(crate) fn apply_to_fields(&self, out: &mut Vec<u8>, start: usize) {
        let lines = out.split_off(start);
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(end);
            if line == b"\r\n" {
                break;
            }
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            if !self.names(name) {
                out.extend_from_slice(line);
            }
            rest = after;
        }
        for (name, value) in &self.set {
            for part in [name.as_str(), ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(rest);
    }

    /// True when the field with this name is removed or replaced.
    fn names(&self, name: &[u8]) -> bool {
        let mut names = self.remove.iter().chain(self.set.iter().map(|(name, _)| name));
        names.any(|one| one.as_bytes().eq_ignore_ascii_case(name))
    }
}

fn check_name(name: &str) -> Result<(), InvalidChange> {
    if !is_token(name) {
        return Err(InvalidChange::Name(name.to_owned()));
    }
    match Name::of(name) {
        // RFC 9110 section 7.6.3 requires that a proxy adds Via.
        _ if name.eq_ignore_ascii_case("via") => Err(InvalidChange::OfConnection(name.to_owned())),
        Name::Connection
        | Name::ContentLength
        | Name::Date
        | Name::Expect
        | Name::Http2Settings
        | Name::KeepAlive
        | Name::MaxForwards
        | Name::ProxyConnection
        | Name::Te
        | Name::Trailer
        | Name::TransferEncoding
        | Name::Upgrade => Err(InvalidChange::OfConnection(name.to_owned())),
        Name::Forwarding
        | Name::Host
        | Name::Other
        | Name::XForwardedFor
        | Name::XForwardedHost
        | Name::XForwardedProto => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(remove: &[&str], set: &[(&str, &str)]) -> Result<FieldChanges, InvalidChange> {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FieldChanges::new(remove.iter().map(|&name| name.to_owned()).collect(), set)
    }

    #[test]
    fn a_head_is_changed_between_its_first_line_and_its_empty_line() {
        type Case = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
        let head = "GET /a: HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nB: 2\r\nx-a: 3\r\n\r\nx-a: in the body";
        // removed, set, what is left between the first line and the empty line
        let cases: [Case; 6] = [
            (&[], &[], "Host: a\r\nX-A: 1\r\nB: 2\r\nx-a: 3\r\n"),
            (&["x-a"], &[], "Host: a\r\nB: 2\r\n"),
            (&[], &[("X-a", "9")], "Host: a\r\nB: 2\r\nX-a: 9\r\n"),
            (&["b"], &[("host", "b:1")], "X-A: 1\r\nx-a: 3\r\nhost: b:1\r\n"),
            (&["x"], &[("Y", "")], "Host: a\r\nX-A: 1\r\nB: 2\r\nx-a: 3\r\nY: \r\n"),
            (&["x-a"], &[("x-a", "1"), ("x-a", "2")], "Host: a\r\nB: 2\r\nx-a: 1\r\nx-a: 2\r\n"),
        ];
        for (remove, set, expected) in cases {
            let mut out = [b"before\r\n\r\n", head.as_bytes()].concat();
            changes(remove, set).unwrap().apply(&mut out, 10);
            let expected = format!("before\r\n\r\nGET /a: HTTP/1.1\r\n{expected}\r\nx-a: in the body");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn changes_that_break_a_head_are_refused() {
        use InvalidChange::{Name, OfConnection, RemovesHost, Value};
        let text = str::to_owned;
        for name in [
            "Connection",
            "content-length",
            "Transfer-Encoding",
            "TE",
            "Upgrade",
            "keep-alive",
            "Trailer",
            "Via",
        ] {
            assert_eq!(changes(&[name], &[]), Err(OfConnection(text(name))));
            assert_eq!(changes(&[], &[(name, "a")]), Err(OfConnection(text(name))));
        }
        for name in ["", "a b", "a:", "a\r\n", "\u{e4}"] {
            assert_eq!(changes(&[name], &[]), Err(Name(text(name))));
            assert_eq!(changes(&[], &[(name, "a")]), Err(Name(text(name))));
        }
        for value in ["a\r\nb: c", "a\nb", "a\0", " a", "a\t", "\x7f"] {
            assert_eq!(changes(&[], &[("a", value)]), Err(Value(text("a"))), "{value:?}");
        }
        for host in ["", "a b", "a/b", "a,b"] {
            assert_eq!(changes(&[], &[("Host", host)]), Err(Value(text("Host"))), "{host:?}");
        }
        assert_eq!(changes(&["hOST"], &[]), Err(RemovesHost));
    }
}
