//! What it costs to have work done by another thread. `direct` does it on the spot, which is what every hand-off is to
//! be compared with.
//!
//! `busy`: 1024 jobs are handed over in batches and waited for together, so that the worker is awake for nearly all of
//! them. `asleep`: one batch goes to a worker that sleeps, and wakes who waits for it: the price of an idle pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

mod common;

const BUSY_JOBS: usize = 1024;
const BATCHES: [usize; 2] = [1, 32];
const JOB_BYTES: usize = 128;

/// Longer than a worker looks for more before it sleeps.
const UNTIL_ASLEEP: Duration = Duration::from_micros(200);

fn main() {
    common::run();
}

/// About as much work as reading a small head.
struct Job {
    bytes: [u8; JOB_BYTES],
    round: Arc<Round>,
}

/// Jobs that are waited for together.
struct Round {
    left: AtomicUsize,
    done: Sender<()>,
}

type Batch = Vec<Job>;

fn run(batch: Batch) {
    for job in batch {
        divan::black_box(divan::black_box(&job.bytes).iter().map(|&b| u32::from(b)).sum::<u32>());
        if job.round.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            job.round.done.send(()).unwrap();
        }
    }
}

fn measure(bencher: Bencher, jobs: usize, batch: usize, before: fn(), hand_over: impl Fn(Batch)) {
    let (done, is_done) = crossbeam_channel::bounded(1);
    let round = Arc::new(Round { left: AtomicUsize::new(0), done });
    let batches = || {
        before();
        let job = || Job { bytes: [1; JOB_BYTES], round: Arc::clone(&round) };
        (0..jobs / batch).map(|_| (0..batch).map(|_| job()).collect()).collect::<Vec<Batch>>()
    };
    let counted = bencher.counter(ItemsCount::new(jobs)).counter(BytesCount::new(jobs * JOB_BYTES));
    counted.with_inputs(batches).bench_local_values(|batches| {
        round.left.store(jobs, Ordering::Release);
        batches.into_iter().for_each(&hand_over);
        is_done.recv().unwrap();
    });
}

/// A worker on a channel that ends when the sender is dropped.
fn with_channel(body: impl FnOnce(&Sender<Batch>)) {
    thread::scope(|scope| {
        let (sender, receiver): (_, Receiver<Batch>) = crossbeam_channel::unbounded();
        scope.spawn(move || receiver.iter().for_each(run));
        body(&sender);
        drop(sender);
    });
}

/// A rayon pool of one worker; a batch is one spawn.
fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap()
}

/// Inputs are made ahead of a sample, so a sample is one round.
#[divan::bench_group(sample_size = 1)]
mod busy {
    use super::*;

    #[divan::bench(args = BATCHES)]
    fn direct(bencher: Bencher, batch: usize) {
        measure(bencher, BUSY_JOBS, batch, || {}, run);
    }

    #[divan::bench(args = BATCHES)]
    fn channel(bencher: Bencher, batch: usize) {
        with_channel(|sender| {
            measure(bencher, BUSY_JOBS, batch, || {}, |batch| sender.send(batch).unwrap());
        });
    }

    #[divan::bench(args = BATCHES)]
    fn rayon(bencher: Bencher, batch: usize) {
        let pool = pool();
        measure(bencher, BUSY_JOBS, batch, || {}, |batch| pool.spawn(|| run(batch)));
    }
}

#[divan::bench_group(sample_size = 1)]
mod asleep {
    use super::*;

    fn before() {
        thread::sleep(UNTIL_ASLEEP);
    }

    #[divan::bench(args = BATCHES)]
    fn channel(bencher: Bencher, batch: usize) {
        with_channel(|sender| {
            measure(bencher, batch, batch, before, |batch| sender.send(batch).unwrap());
        });
    }

    #[divan::bench(args = BATCHES)]
    fn rayon(bencher: Bencher, batch: usize) {
        let pool = pool();
        measure(bencher, batch, batch, before, |batch| pool.spawn(|| run(batch)));
    }
}
