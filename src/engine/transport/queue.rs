//! The queue of bytes on either side of a transform.

/// Bytes that are appended at the back and taken from the front. Owns no memory when all bytes are taken.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: usize,
}

impl Queue {
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.taken += n;
        if self.is_empty() {
            *self = Queue::default();
        }
    }
}
