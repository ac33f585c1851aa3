//! Properties that hold for every input. The fuzz targets in `fuzz/` and the tests in `tests/properties.rs` call them.
//!
//! Each `check` takes raw bytes and panics when its property does not hold. The first bytes of an input select
//! parameters (`Input`), the rest is the message.
#![allow(unreachable_pub, dead_code, reason = "a module of several programs, each of which uses a part")]

pub mod chunks;
pub mod exchange;
pub mod request_head;
pub mod response_head;
pub mod rewrite;

/// The parameters and the message in the bytes of one input.
#[derive(Debug, Clone, Copy)]
pub struct Input<'b> {
    /// Selects variants. Each property documents its bits.
    pub flags: u8,
    /// Size in bytes of the fragments of the message, 1 to 256.
    pub step: usize,
    /// The message.
    pub message: &'b [u8],
}

impl<'b> Input<'b> {
    /// Splits `bytes`; None when there are too few bytes.
    pub fn from_bytes(bytes: &'b [u8]) -> Option<Self> {
        let [flags, step, message @ ..] = bytes else { return None };
        Some(Input { flags: *flags, step: usize::from(*step) + 1, message })
    }

    /// Makes the bytes of an input, the reverse of `from_bytes`.
    pub fn to_bytes(flags: u8, step: u8, message: &[u8]) -> Vec<u8> {
        [&[flags, step], message].concat()
    }

    /// Returns the number of bytes that have arrived after each fragment. The last number is the length of the message.
    pub fn arrivals(&self) -> impl Iterator<Item = usize> + use<'b> {
        let len = self.message.len();
        (self.step..len).step_by(self.step).chain([len])
    }
}

/// True when no byte ends a line or a string.
fn is_one_line(bytes: &[u8]) -> bool {
    !bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// Splits the head at the front of `bytes` into lines without their line ends. This independent and simple reading is
/// compared with the parser.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect()
}

/// Returns the values of the fields of this name in `lines`, without the white space around the values.
fn values<'b>(lines: &[&'b [u8]], name: &str) -> Vec<&'b [u8]> {
    let fields = lines.iter().skip(1).filter_map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    });
    fields.filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value).collect()
}
