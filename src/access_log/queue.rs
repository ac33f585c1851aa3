//! The queue of finished requests between the workers and the writer.
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use neraca::http::transform::Encryption;
use neraca::observe::access_log::{Batch, Note, Record};
use parking_lot::{Condvar, Mutex};

/// Maximum bytes that wait for the writer. As many may be in its hands.
pub(super) const WAITING_MAX: usize = 1 << 22;

/// What waits for the writer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) batch: Batch,
    /// Open the file again when as many of these lines are written.
    pub(super) reopen_at: Option<usize>,
    /// The writer ends when these lines are written. No line comes any more.
    pub(super) is_closed: bool,
    /// The writer sleeps, and is woken when the batch has more bytes than this.
    wake_above: Option<usize>,
}

/// The batch between the workers and the writer. A worker holds its lock while it adds one request, and the writer for the
/// exchange of the batch with an empty one.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Maximum bytes of the batch.
    max: usize,
    /// Lines that were dropped, because the batch was full or because they could not be written.
    pub(super) dropped: AtomicU64,
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        Queue { waiting: Mutex::default(), wake: Condvar::new(), max, dropped: AtomicU64::new(0) }
    }

    /// Adds a request, or drops it.
    #[inline]
    pub(super) fn push(&self, record: Record, note: Option<&Note>, encryption: Option<Encryption<'_>>) {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed || waiting.batch.bytes() >= self.max {
            drop(waiting);
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.batch.push(record, note, encryption);
        let bytes = waiting.batch.bytes();
        let wakes = waiting.wake_above.take_if(|above| bytes > *above).is_some();
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Changes what waits, and wakes the writer.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        change(&mut waiting);
        waiting.wake_above = None;
        drop(waiting);
        self.wake.notify_one();
    }

    /// Waits until there is something to do, and takes all of it. `batch` is empty and is filled next.
    pub(super) fn take(&self, batch: Batch) -> Waiting {
        let mut waiting = self.waiting.lock();
        while waiting.batch.is_empty() && waiting.reopen_at.is_none() && !waiting.is_closed {
            waiting.wake_above = Some(0);
            self.wake.wait(&mut waiting);
        }
        let next = Waiting { batch, is_closed: waiting.is_closed, ..Waiting::default() };
        mem::replace(&mut waiting, next)
    }

    /// Waits for the time of a rest. Ends earlier when a quarter of the room is used, or when there is something else to do.
    pub(super) fn rest(&self, time: Duration) {
        let mut waiting = self.waiting.lock();
        let much = self.max / 4;
        waiting.wake_above = Some(much);
        let rests = |waiting: &mut Waiting| {
            waiting.batch.bytes() <= much && waiting.reopen_at.is_none() && !waiting.is_closed
        };
        self.wake.wait_while_for(&mut waiting, rests, time);
        waiting.wake_above = None;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::thread;
    use std::time::Instant;

    use neraca::observe::requests::RequestEnd;

    use super::*;

    /// Adds a request with this status.
    pub(crate) fn push(queue: &Queue, status: u16) {
        let now = Instant::now();
        let record = Record {
            began: now,
            ended: now,
            listener: None,
            client: "10.0.0.1:5".parse().unwrap(),
            status: Some(status),
            end: RequestEnd::Complete,
            backend: None,
            attempts: 0,
            received_bytes: 0,
            sent_bytes: 0,
            queue: None,
            connect: None,
            first_byte: None,
        };
        queue.push(record, None, None);
    }

    #[test]
    fn lines_for_which_there_is_no_room_are_dropped_and_counted() {
        let first = Queue::new(1);
        push(&first, 200);
        let queue = Queue::new(3 * first.take(Batch::default()).batch.bytes());
        // number of lines, lines dropped so far
        for (lines, dropped) in [(3, 0), (1, 1), (4, 5)] {
            (0..lines).for_each(|_| push(&queue, 200));
            assert_eq!(queue.dropped.load(Relaxed), dropped);
            assert_eq!(queue.waiting.lock().batch.len(), 3);
        }
        assert_eq!(queue.take(Batch::default()).batch.len(), 3);
        push(&queue, 200);
        assert_eq!(queue.dropped.load(Relaxed), 5, "there is room again");
        queue.tell(|waiting| waiting.is_closed = true);
        push(&queue, 200);
        assert_eq!(queue.dropped.load(Relaxed), 6, "the log has ended");
        let last = queue.take(Batch::default());
        assert!(last.is_closed && last.batch.len() == 1);
    }

    #[test]
    fn a_sleeping_writer_is_woken_by_a_line_a_reopening_and_the_end() {
        let changes: [fn(&Queue); 3] = [
            |queue| push(queue, 200),
            |queue| queue.tell(|waiting| waiting.reopen_at = Some(0)),
            |queue| queue.tell(|waiting| waiting.is_closed = true),
        ];
        for change in changes {
            let queue = Queue::new(WAITING_MAX);
            thread::scope(|scope| {
                let writer = scope.spawn(|| queue.take(Batch::default()));
                while queue.waiting.lock().wake_above.is_none() {
                    thread::yield_now();
                }
                change(&queue);
                let taken = writer.join().unwrap();
                assert!(taken.batch.len() == 1 || taken.reopen_at == Some(0) || taken.is_closed);
            });
        }
    }

    #[test]
    fn a_rest_ends_early_when_there_is_much_to_do() {
        let changes: [fn(&Queue); 3] = [
            |queue| push(queue, 200),
            |queue| queue.tell(|waiting| waiting.reopen_at = Some(0)),
            |queue| queue.tell(|waiting| waiting.is_closed = true),
        ];
        for change in changes {
            // Any line is a quarter.
            let queue = Queue::new(1);
            thread::scope(|scope| {
                let writer = scope.spawn(|| queue.rest(Duration::from_secs(3600)));
                while queue.waiting.lock().wake_above.is_none() {
                    thread::yield_now();
                }
                change(&queue);
                writer.join().unwrap();
            });
        }
    }
}
