//! A JSON object in one line. A log line costs every request, so known texts and numbers are written at once; a text that needs an
//! escape goes through serde_json.
use std::net::SocketAddr;

use crate::http::digits::{self, Word};

/// Bytes of the longest [`Part`].
pub(super) const PART_BYTES: usize = 384;

/// Some members whose length has a bound. They are put together in a room of fixed size, where a write needs no look at a
/// capacity, and are then copied at once. Each method takes what stands before the value: the comma, and the key.
pub(super) struct Part<'r> {
    room: &'r mut [u8; PART_BYTES],
    /// So short that no sum with a length overflows, which needs one check less.
    len: u16,
}

impl<'r> Part<'r> {
    /// Begins an empty part.
    pub(super) fn new(room: &'r mut [u8; PART_BYTES]) -> Self {
        Part { room, len: 0 }
    }

    /// Returns the members.
    pub(super) fn text(&self) -> &[u8] {
        &self.room[..usize::from(self.len)]
    }

    /// Writes a fixed text.
    #[inline(always)]
    pub(super) fn copy<const N: usize>(&mut self, text: &[u8; N]) {
        let len = usize::from(self.len);
        self.room[len..len + N].copy_from_slice(text);
        self.len += N as u16;
    }

    /// Writes the text of a word.
    #[inline(always)]
    pub(super) fn word(&mut self, word: Word) {
        self.copy(&word.bytes);
        self.len -= 8 - word.len as u16;
    }

    /// Writes a number; None is null.
    #[inline(always)]
    pub(super) fn number<const N: usize>(&mut self, key: &[u8; N], number: Option<u64>) {
        self.copy(key);
        match number {
            None => self.copy(b"null"),
            Some(number) => self.decimal(number),
        }
    }

    /// Writes an address as a text; None is null.
    #[inline(always)]
    pub(super) fn address<const N: usize>(&mut self, key: &[u8; N], address: Option<SocketAddr>) {
        self.copy(key);
        match address {
            None => self.copy(b"null"),
            Some(SocketAddr::V4(v4)) => {
                self.copy(b"\"");
                let [first, second] = digits::octets(*v4.ip());
                self.word(first);
                self.word(second);
                // The colon replaces the last dot.
                self.len -= 1;
                self.copy(b":");
                self.decimal(v4.port().into());
                self.copy(b"\"");
            }
            Some(v6) => self.v6(v6),
        }
    }

    #[inline(always)]
    fn decimal(&mut self, number: u64) {
        match digits::short(number) {
            Some(word) => self.word(word),
            None => self.long(number),
        }
    }

    #[cold]
    fn long(&mut self, number: u64) {
        let mut text = Vec::new();
        digits::decimal(number, &mut text);
        self.any(&text);
    }

    #[cold]
    fn v6(&mut self, address: SocketAddr) {
        self.any(format!("\"{address}\"").as_bytes());
    }

    fn any(&mut self, text: &[u8]) {
        let len = usize::from(self.len);
        self.room[len..len + text.len()].copy_from_slice(text);
        self.len += text.len() as u16;
    }
}

/// Writes the members of an object whose length has no bound. Each method takes what stands before the value: the comma, and
/// the key with the quote before the value.
pub(super) struct Object<'o>(pub(super) &'o mut Vec<u8>);

impl Object<'_> {
    /// Writes a text; None is null. A part that is no UTF-8 becomes U+FFFD.
    #[inline(always)]
    pub(super) fn text(&mut self, key: &'static str, text: Option<&[u8]>) {
        match text {
            None => {
                self.copy(&key[..key.len() - 1]);
                self.copy("null");
            }
            Some(text) if is_plain(text) => self.plain(key, text),
            Some(text) => self.escaped(key, text),
        }
    }

    /// Writes a text in which no byte needs an escape.
    #[inline(always)]
    pub(super) fn plain(&mut self, key: &'static str, text: &[u8]) {
        debug_assert!(is_plain(text));
        self.copy(key);
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    /// The compiler knows the length of each text where it stands, so the copy needs no call.
    #[inline(always)]
    fn copy(&mut self, text: &'static str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    #[cold]
    fn escaped(&mut self, key: &'static str, text: &[u8]) {
        self.copy(&key[..key.len() - 1]);
        // Writing a text to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.0, &String::from_utf8_lossy(text));
    }

    /// Writes true or false.
    pub(super) fn flag(&mut self, key: &'static str, flag: bool) {
        self.copy(key);
        self.copy(if flag { "true" } else { "false" });
    }
}

/// True when JSON takes all bytes as they are (RFC 8259 section 7). Other bytes than ASCII may be invalid UTF-8.
#[inline(never)]
pub(super) fn is_plain(text: &[u8]) -> bool {
    let needs_escape = |byte: u8| u8::from(!(b' '..=b'~').contains(&byte) | (byte == b'"') | (byte == b'\\'));
    // The compiler looks at all bytes of a block at once. The last block may overlap the one before.
    let is_plain = |block: &[u8; 16]| u128::from_ne_bytes(block.map(needs_escape)) == 0;
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().all(is_plain) && is_plain(last),
        None => text.iter().all(|&byte| needs_escape(byte) == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_what_the_serializer_writes() {
        let texts: [&[u8]; 6] = [b"", b"a b", b"\"", b"\\", "\u{e9}\n".as_bytes(), b"\xff"];
        for text in texts {
            let mut out = Vec::new();
            Object(&mut out).text("{\"k\":\"", Some(text));
            let expected = serde_json::json!({ "k": String::from_utf8_lossy(text) });
            assert_eq!(String::from_utf8([out, b"}".to_vec()].concat()).unwrap(), expected.to_string());
        }
        let mut room = [0; PART_BYTES];
        for address in ["1.2.3.4:5", "255.0.10.100:65535", "[2001:db8::1]:80"] {
            let mut part = Part::new(&mut room);
            part.address(b",", address.parse().ok());
            part.address(b",", None);
            assert_eq!(part.text(), format!(",\"{address}\",null").as_bytes());
        }
        for number in [0, 9, 10, 99_999_999, 100_000_000, u64::MAX] {
            let mut part = Part::new(&mut room);
            part.number(b",", Some(number));
            part.number(b",", None);
            assert_eq!(part.text(), format!(",{number},null").as_bytes());
        }
        let mut out = Vec::new();
        let mut object = Object(&mut out);
        object.text("{\"a\":\"", None);
        object.flag(",\"b\":", true);
        object.flag(",\"c\":", false);
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":null,\"b\":true,\"c\":false");
    }

    #[test]
    fn a_plain_text_is_one_that_the_serializer_leaves_alone() {
        for byte in 0..=255 {
            for (before, after) in [(0, 0), (0, 15), (15, 0), (3, 16), (16, 3), (20, 20)] {
                let text = [vec![b'a'; before], vec![byte], vec![b'a'; after]].concat();
                let quoted = serde_json::to_string(&String::from_utf8_lossy(&text)).unwrap();
                let is_same = byte.is_ascii() && byte != 0x7f && quoted.len() == text.len() + 2;
                assert_eq!(is_plain(&text), is_same, "{quoted}");
            }
        }
    }
}
