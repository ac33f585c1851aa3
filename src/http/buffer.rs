//! A buffer for received bytes that are not yet sent, and a worker's pool of empty buffers.

/// Capacity of every buffer, in bytes: the largest head (32 KiB) fits, and a large body moves in few reads.
pub const BUFFER_BYTES: usize = 96 * 1024;

/// Received bytes that are not yet sent: a block of fixed size whose part `start..end` is filled.
#[derive(Debug)]
#[doc(hidden)]
pub struct Buffer {
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Allocates an empty buffer for up to `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Buffer { block: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Returns the received bytes that are not yet consumed.
    pub fn filled(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// Returns the free part for the next bytes; empty only when the buffer is full. Moves the content to the front
    /// when less than half of the block is free behind the content.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.clear();
        } else if self.start > 0 && self.block.len() - self.end < self.block.len() / 2 {
            self.block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.block[self.end..]
    }

    /// Marks the first `n` bytes of [`room`](Buffer::room) as filled. Panics when the room is smaller.
    pub fn extend(&mut self, n: usize) {
        assert!(n <= self.block.len() - self.end, "more bytes than there was room for");
        self.end += n;
    }

    /// Drops the first `n` filled bytes. Panics when fewer bytes are filled.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "more bytes consumed than filled");
        self.start += n;
    }

    /// Removes `n` bytes at `at` from the content. The later bytes move towards the front.
    pub fn remove(&mut self, at: usize, n: usize) {
        let (from, to) = (self.start + at + n, self.start + at);
        self.block.copy_within(from..self.end, to);
        self.end -= n;
    }

    /// Moves `n` bytes from `at + gap` to `at`. Then the gap is behind the moved bytes, and its content is meaningless.
    pub fn move_up(&mut self, at: usize, gap: usize, n: usize) {
        if gap > 0 {
            let from = self.start + at + gap;
            self.block.copy_within(from..from + n, self.start + at);
        }
    }

    /// Drops the content.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Returns the number of filled bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when no byte is filled.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True when less than a quarter of the block is free. Reading into so little space would cost more copying than it
    /// saves.
    pub fn is_crowded(&self) -> bool {
        self.len() > self.block.len() / 4 * 3
    }

    /// True when every byte of the block is filled.
    pub fn is_full(&self) -> bool {
        self.len() == self.block.len()
    }
}

/// Empty buffers for reuse, one stack per worker. The buffer that was used last is the most likely to be in the CPU's
/// cache. A waiting connection owns no buffer.
#[derive(Debug)]
pub struct BufferPool {
    buffers: Vec<Buffer>,
    max: usize,
    capacity: usize,
}

impl BufferPool {
    /// Makes a pool that keeps at most `max` empty buffers of `capacity` bytes.
    pub fn new(max: usize, capacity: usize) -> Self {
        BufferPool { buffers: Vec::new(), max, capacity }
    }

    /// Takes an empty buffer from the pool, or allocates one.
    #[doc(hidden)]
    pub fn take(&mut self) -> Buffer {
        self.buffers.pop().unwrap_or_else(|| Buffer::with_capacity(self.capacity))
    }

    /// Returns the number of empty buffers in the pool.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// True when the pool has no buffer.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Gives a buffer back and drops its content. A full pool frees the buffer.
    #[doc(hidden)]
    pub fn give(&mut self, mut buffer: Buffer) {
        if self.buffers.len() < self.max {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, bytes: &[u8]) {
        buffer.room()[..bytes.len()].copy_from_slice(bytes);
        buffer.extend(bytes.len());
    }

    #[test]
    fn content_moves_to_the_front_when_room_is_short() {
        let mut b = Buffer::with_capacity(8);
        put(&mut b, b"abcdefgh");
        assert!(b.is_full() && b.room().is_empty());
        b.consume(6);
        assert_eq!(b.room().len(), 6);
        put(&mut b, b"ijklmn");
        assert_eq!(b.filled(), b"ghijklmn");
    }

    #[test]
    fn bytes_can_be_taken_out_of_the_middle() {
        let mut b = Buffer::with_capacity(16);
        put(&mut b, b"..hello, world");
        b.consume(2);
        b.remove(5, 7);
        assert_eq!(b.filled(), b"hello");
        b.remove(0, 1);
        assert_eq!(b.filled(), b"ello");
    }

    #[test]
    fn spare_buffers_come_back_empty_and_are_bounded() {
        let mut buffers = BufferPool::new(1, 4);
        let (mut a, b) = (buffers.take(), buffers.take());
        put(&mut a, b"x");
        buffers.give(a);
        buffers.give(b);
        assert_eq!(buffers.buffers.len(), 1);
        assert!(buffers.take().is_empty());
    }
}
