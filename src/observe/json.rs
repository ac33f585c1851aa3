//! A JSON object in one line. A log line costs every request, so known texts and numbers are written at once; a text that needs an
//! escape goes through serde_json.
use std::io::Write;
use std::net::SocketAddr;

use crate::http::digits;

/// Writes the members of an object. Each method takes what stands before the value: the comma or brace, and the key.
pub(super) struct Object<'o>(pub(super) &'o mut Vec<u8>);

impl Object<'_> {
    /// Writes a text; None is null. A part that is no UTF-8 becomes U+FFFD.
    #[inline]
    pub(super) fn text(&mut self, key: &'static str, text: Option<&[u8]>) {
        self.key(key);
        self.text_value(text);
    }

    /// Writes a number; None is null.
    #[inline]
    pub(super) fn number(&mut self, key: &'static str, number: Option<u64>) {
        self.key(key);
        match number {
            None => self.null(),
            Some(number) => digits::decimal(number, self.0),
        }
    }

    /// Writes an address as a text; None is null.
    #[inline]
    pub(super) fn address(&mut self, key: &'static str, address: Option<SocketAddr>) {
        self.key(key);
        self.address_value(address);
    }

    /// Writes a key. The compiler knows the length of each key where the key stands, so the copy needs no call.
    #[inline]
    fn key(&mut self, key: &'static str) {
        self.0.extend_from_slice(key.as_bytes());
    }

    fn text_value(&mut self, text: Option<&[u8]>) {
        match text {
            None => self.null(),
            Some(text) if is_plain(text) => {
                self.0.push(b'"');
                self.0.extend_from_slice(text);
                self.0.push(b'"');
            }
            // Writing a text to memory does not fail.
            Some(text) => {
                let _ = serde_json::to_writer(&mut *self.0, &String::from_utf8_lossy(text));
            }
        }
    }

    fn address_value(&mut self, address: Option<SocketAddr>) {
        match address {
            None => return self.null(),
            Some(SocketAddr::V4(v4)) => {
                self.0.push(b'"');
                digits::address(*v4.ip(), self.0);
                self.0.push(b':');
                digits::decimal(v4.port().into(), self.0);
            }
            // Writing to memory does not fail.
            Some(v6) => {
                let _ = write!(self.0, "\"{v6}");
            }
        }
        self.0.push(b'"');
    }

    /// Writes true or false.
    pub(super) fn flag(&mut self, key: &'static str, flag: bool) {
        self.key(key);
        self.0.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }
}

/// True when JSON takes all bytes as they are (RFC 8259 section 7). Other bytes than ASCII may be invalid UTF-8. All bytes are
/// looked at, because the compiler then looks at many bytes at once.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |plain, &byte| plain & (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_what_the_serializer_writes() {
        let texts: [&[u8]; 6] = [b"", b"a b", b"\"", b"\\", "\u{e9}\n".as_bytes(), b"\xff"];
        for text in texts {
            let mut out = Vec::new();
            Object(&mut out).text("{\"k\":", Some(text));
            let expected = serde_json::json!({ "k": String::from_utf8_lossy(text) });
            assert_eq!(String::from_utf8([out, b"}".to_vec()].concat()).unwrap(), expected.to_string());
        }
        for address in ["1.2.3.4:5", "255.0.10.100:65535", "[2001:db8::1]:80"] {
            let mut out = Vec::new();
            Object(&mut out).address("", address.parse().ok());
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{address}\""));
        }
        let mut out = Vec::new();
        let mut object = Object(&mut out);
        object.number("{\"a\":", Some(u64::MAX));
        object.number(",\"b\":", None);
        object.address(",\"c\":", None);
        object.text(",\"d\":", None);
        object.flag(",\"e\":", true);
        object.flag(",\"f\":", false);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{{\"a\":{},\"b\":null,\"c\":null,\"d\":null,\"e\":true,\"f\":false", u64::MAX)
        );
    }
}
