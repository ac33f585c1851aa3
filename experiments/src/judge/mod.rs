//! Judges what was measured. Pure: nothing here reads a file, a clock or a socket.

pub(crate) mod gates;
pub(crate) mod handshakes;
pub(crate) mod measure;
pub(crate) mod record;
pub(crate) mod stats;
pub(crate) mod study;
#[cfg(test)]
pub(crate) mod synthetic;
pub(crate) mod verdicts;
