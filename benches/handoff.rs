//! Benchmarks of handing work to another thread. `direct` does the work on the same thread, as the baseline.
//!
//! `busy` hands over 1024 jobs in batches and waits for all of them, so the worker is awake for nearly all jobs.
//! `asleep` hands one batch to a sleeping worker and waits for it: the cost of an idle pool.

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

/// Longer than an idle worker spins before it sleeps.
const UNTIL_ASLEEP: Duration = Duration::from_micros(200);

fn main() {
    common::run();
}

/// A job with about the work of reading a small head.
struct Job {
    bytes: [u8; JOB_BYTES],
    round: Arc<Round>,
}

/// A group of jobs. The sender waits for the whole group.
struct Round {
    remaining: AtomicUsize,
    done: Sender<()>,
}

type Batch = Vec<Job>;

fn run(batch: Batch) {
    for job in batch {
        divan::black_box(divan::black_box(&job.bytes).iter().map(|&b| u32::from(b)).sum::<u32>());
        if job.round.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            job.round.done.send(()).unwrap();
        }
    }
}

fn measure(bencher: Bencher, jobs: usize, batch: usize, before: fn(), hand_over: impl Fn(Batch)) {
    let (done, is_done) = crossbeam_channel::bounded(1);
    let round = Arc::new(Round { remaining: AtomicUsize::new(0), done });
    let batches = || {
        before();
        let job = || Job { bytes: [1; JOB_BYTES], round: Arc::clone(&round) };
        (0..jobs / batch).map(|_| (0..batch).map(|_| job()).collect()).collect::<Vec<Batch>>()
    };
    let counted = bencher.counter(ItemsCount::new(jobs)).counter(BytesCount::new(jobs * JOB_BYTES));
    counted.with_inputs(batches).bench_local_values(|batches| {
        round.remaining.store(jobs, Ordering::Release);
        batches.into_iter().for_each(&hand_over);
        is_done.recv().unwrap();
    });
}

/// Runs `body` with a channel to a worker. The worker ends when the sender is dropped.
fn with_channel(body: impl FnOnce(&Sender<Batch>)) {
    thread::scope(|scope| {
        let (sender, receiver): (_, Receiver<Batch>) = crossbeam_channel::unbounded();
        scope.spawn(move || receiver.iter().for_each(run));
        body(&sender);
        drop(sender);
    });
}

/// Makes a rayon pool with one worker. Each batch is one spawn.
fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap()
}

/// The inputs of a sample are made before the sample, so a sample is one round.
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
