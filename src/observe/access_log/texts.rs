//! Some texts one behind the other, in one memory.

/// Maximum bytes of a text of a request in the log, except of its target.
pub(super) const TEXT_BYTES: usize = 256;
/// Stands at the end of a text that was cut.
const CUT: &[u8] = b"...";

/// The lengths of some texts that stand one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths<const N: usize>(pub(super) [u16; N]);

impl<const N: usize> Lengths<N> {
    /// Takes the texts from the front of `bytes`.
    pub(super) fn take<'b>(self, bytes: &mut &'b [u8]) -> [&'b [u8]; N] {
        self.0.map(|len| {
            let (text, rest) = bytes.split_at(len.into());
            *bytes = rest;
            text
        })
    }
}

/// Appends a text, or its first `max` bytes and a mark. Returns the length.
#[inline(always)]
pub(super) fn keep(text: &[u8], max: usize, out: &mut Vec<u8>) -> u16 {
    if text.len() > max {
        return cut(text, max, out);
    }
    out.extend_from_slice(text);
    text.len() as u16
}

#[cold]
fn cut(text: &[u8], max: usize, out: &mut Vec<u8>) -> u16 {
    out.extend_from_slice(&text[..max]);
    out.extend_from_slice(CUT);
    (max + CUT.len()) as u16
}
