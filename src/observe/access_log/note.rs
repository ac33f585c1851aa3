//! What a request head tells the access log, and what a request ID is.
use super::texts::{Lengths, TEXT_BYTES, keep};
use crate::http::head::{RequestHead, Version};
use crate::http::rewrite::REQUEST_ID;

/// Maximum bytes of a target in the log.
const TARGET_BYTES: usize = 2048;
/// Maximum length of a request ID that a client may choose.
const ID_BYTES: usize = 128;
/// Bytes that a note keeps for the next request.
pub(super) const NOTE_BYTES: usize = 1024;

/// What the log needs of a request head. Long texts are cut.
#[derive(Debug)]
pub struct Note {
    pub(super) texts: Vec<u8>,
    pub(super) head: Head,
}

/// Where the texts of a head are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) version: Version,
    /// Of the ID, the method, the target, the host, the referer and the user agent.
    pub(super) lengths: Lengths<6>,
}

impl Default for Note {
    fn default() -> Self {
        Note { texts: Vec::new(), head: Head { version: Version::Http11, lengths: Lengths([0; 6]) } }
    }
}

impl Note {
    /// Notes a request with this ID. What the note held before is gone.
    pub fn take(&mut self, id: &[u8], head: &RequestHead<'_>) {
        let (mut referer, mut user_agent): (&[u8], &[u8]) = (b"", b"");
        for field in head.fields.iter() {
            match field.name.len() {
                7 if field.name.eq_ignore_ascii_case("Referer") => referer = field.value,
                10 if field.name.eq_ignore_ascii_case("User-Agent") => user_agent = field.value,
                _ => {}
            }
        }
        let out = &mut self.texts;
        out.clear();
        // A new note grows once and not with each text. A long text of an earlier request is not kept for the next one.
        out.reserve(NOTE_BYTES / 2);
        out.shrink_to(NOTE_BYTES);
        let lengths = Lengths([
            keep(id, ID_BYTES, out),
            keep(head.method_token.as_bytes(), TEXT_BYTES, out),
            keep(head.target.as_bytes(), TARGET_BYTES, out),
            keep(head.host.as_bytes(), TEXT_BYTES, out),
            keep(referer, TEXT_BYTES, out),
            keep(user_agent, TEXT_BYTES, out),
        ]);
        self.head = Head { version: head.version, lengths };
    }

    /// Returns the ID of the request.
    pub fn id(&self) -> &[u8] {
        &self.texts[..self.head.lengths.0[0].into()]
    }
}

/// Returns the ID that the client has given the request: 1 to 128 visible ASCII characters in X-Request-ID.
pub fn given_id<'b>(head: &RequestHead<'b>) -> Option<&'b [u8]> {
    let id = head.fields.get(REQUEST_ID)?;
    ((1..=ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)).then_some(id)
}
