//! A block of bytes that arrived and have not left, and the buffers blocks of a worker.

/// Capacity of every buffer, in bytes: the largest head (32 KiB) fits, and a large body moves in few reads.
pub const BUFFER_BYTES: usize = 96 * 1024;

/// Bytes that arrived and have not left: a fixed block with two marks, `start..end` is filled.
#[derive(Debug)]
pub struct Buffer {
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer that holds up to `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Buffer { block: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The bytes that arrived and were not consumed.
    pub fn filled(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// Where the next bytes go; empty only when the buffer is full. Moves the content to the front when
    /// less than half of the block is free behind it.
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

    /// The first `n` bytes of `room()` now hold content.
    pub fn extend(&mut self, n: usize) {
        assert!(n <= self.block.len() - self.end, "more bytes than there was room for");
        self.end += n;
    }

    /// The first `n` filled bytes have left.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "more bytes consumed than filled");
        self.start += n;
    }

    /// Takes `n` bytes at `at` out of the content; what follows moves up.
    pub fn remove(&mut self, at: usize, n: usize) {
        let (from, to) = (self.start + at + n, self.start + at);
        self.block.copy_within(from..self.end, to);
        self.end -= n;
    }

    /// Moves `n` bytes up by `gap` to `at`; the gap is then behind them, with bytes of no meaning in it.
    pub fn move_up(&mut self, at: usize, gap: usize, n: usize) {
        if gap > 0 {
            let from = self.start + at + gap;
            self.block.copy_within(from..from + n, self.start + at);
        }
    }

    /// Forgets the content.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// How many bytes are filled.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when nothing is filled.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True when less than a quarter is free: more would cost more moving than it gains.
    pub fn is_crowded(&self) -> bool {
        self.len() > self.block.len() / 4 * 3
    }

    /// True when no byte more fits.
    pub fn is_full(&self) -> bool {
        self.len() == self.block.len()
    }
}

/// Empty buffers for reuse, one stack per worker: the block used last is the one still in the cache, and a
/// connection that waits owns none.
#[derive(Debug)]
pub struct BufferPool {
    buffers: Vec<Buffer>,
    most: usize,
    capacity: usize,
}

impl BufferPool {
    /// A stack that keeps at most `most` empty buffers of `capacity` bytes.
    pub fn new(most: usize, capacity: usize) -> Self {
        BufferPool { buffers: Vec::new(), most, capacity }
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Buffer {
        self.buffers.pop().unwrap_or_else(|| Buffer::with_capacity(self.capacity))
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Gives a buffer back; its content is forgotten.
    pub fn give(&mut self, mut buffer: Buffer) {
        if self.buffers.len() < self.most {
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
