//! A JSON object in one line. A log line costs every request, so known texts and numbers are written at once; a text that needs an
//! escape goes through serde_json.
use std::io::Write;
use std::net::SocketAddr;

use crate::http::digits;

/// Writes the members of an object. Each method takes what stands before the value: the comma or brace, and the key.
pub(super) struct Object<'o>(pub(super) &'o mut Vec<u8>);

impl Object<'_> {
    /// Writes a text; None is null. A part that is no UTF-8 becomes U+FFFD.
    pub(super) fn text(&mut self, key: &'static str, text: Option<&[u8]>) {
        self.0.extend_from_slice(key.as_bytes());
        match text {
            None => self.null(),
            Some(text) if text.iter().all(|byte| IS_PLAIN[usize::from(*byte)]) => {
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

    /// Writes a number; None is null.
    pub(super) fn number(&mut self, key: &'static str, number: Option<u64>) {
        self.0.extend_from_slice(key.as_bytes());
        match number {
            None => self.null(),
            Some(number) => digits::decimal(number, self.0),
        }
    }

    /// Writes an address as a text; None is null.
    pub(super) fn address(&mut self, key: &'static str, address: Option<SocketAddr>) {
        self.0.extend_from_slice(key.as_bytes());
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
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }
}

/// The bytes that JSON takes as they are (RFC 8259 section 7), by value. Other bytes than ASCII may be invalid UTF-8.
const IS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
};

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
