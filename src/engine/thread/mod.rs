//! The thread engine: a fixed pool of workers fed by a channel of ready work.
//!
//! One poller watches every socket. The worker that holds the poller is the leader; the channel passes the leadership
//! on as a job. The leader runs the ready connections itself while one worker should be awake (`awake.rs`). When more
//! workers should be awake, the leader keeps one share of the ready connections, sends the other shares as jobs, and
//! gives the leadership away. Before it computes a handshake, it gives the leadership away, too. A connection belongs to
//! no worker.

mod leader;
mod place;
mod pool;
mod run;
mod schedule;
mod textbook;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use mio::Poll;
use parking_lot::Mutex;

use super::acceptor::Acceptor;
use super::alarm::Alarm;
use super::awake::Awake;
use super::event_loop::EventLoop;
use super::listener::Bound;
use super::options::{Pool, cores};
use super::shared::{AbortOnPanic, Shared};
use super::sockets::Sockets;
use super::worker::WorkerState;
use crate::app::App;
use pool::{Feed, Job, Leader, ThreadEngine, Worker};

/// Starts the engine. Returns a function that waits for its end.
///
/// # Errors
/// When the system cannot create a poller or a thread.
pub(super) fn start<A: App>(
    shared: &Arc<Shared<A>>,
    pool: Pool,
    listeners: Vec<Bound>,
) -> io::Result<Box<dyn FnOnce() + Send>> {
    let poll = Poll::new()?;
    let alarm = Alarm::new(poll.registry())?;
    shared.set_alarms(Box::new([Arc::clone(&alarm)]));
    let sockets =
        Sockets::new(poll.registry().try_clone()?, alarm, &shared.options, shared.awake().min(cores()));
    let count = shared.counters.len();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let feed = match pool {
        Pool::Crossbeam { .. } | Pool::Textbook => Feed::Channel(sender),
        Pool::Rayon { .. } => {
            let names = |i| format!("worker-{i}");
            let rayon = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(names).build();
            Feed::Rayon(rayon.map_err(io::Error::other)?)
        }
    };
    let engine = Arc::new(ThreadEngine {
        shared: Arc::clone(shared),
        pool,
        sockets: if pool == Pool::Textbook { sockets.with_late_reports() } else { sockets },
        workers: (0..count).map(|_| Mutex::new(WorkerState::new(shared.app.view()))).collect(),
        feed,
    });
    let acceptor = Acceptor::new(listeners, Some(poll.registry().try_clone()?))?;
    // One batch for the leader, and one job for another worker.
    let event_loop = EventLoop::new(poll, 2 * pool.batch(), acceptor);
    let (ended, end) = crossbeam_channel::bounded(1);
    let mut threads = Vec::new();
    if let Feed::Channel(_) = engine.feed {
        for index in 0..count {
            let (engine, receiver) = (Arc::clone(&engine), receiver.clone());
            let body = move || {
                let _guard = AbortOnPanic;
                engine.work(index, &receiver);
            };
            threads.push(thread::Builder::new().name(format!("worker-{index}")).spawn(body)?);
        }
    }
    let awake = Awake::new(count.min(cores()));
    let (ready, handshakes, yielded) = (Vec::new(), Vec::new(), VecDeque::new());
    engine.submit(Job::Lead(Box::new(Leader { event_loop, ready, handshakes, yielded, awake, ended })));
    Ok(Box::new(move || {
        // The leader sends once. The channel closes without a message only if a leader panics.
        if end.recv().is_err() {
            AbortOnPanic::abort();
        }
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a worker thread panicked");
            }
        }
        drop(engine);
    }))
}

impl<A: App> ThreadEngine<A> {
    /// The loop of one of our own workers: takes jobs until the engine ends.
    fn work(self: &Arc<Self>, index: usize, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            if let Job::Stop = job {
                return;
            }
            self.perform(job, index);
        }
    }

    fn perform(self: &Arc<Self>, job: Job, index: usize) {
        let mut worker = self.workers[index].lock();
        worker.wake_up(&*self.shared.app);
        let now = worker.now();
        worker.run_queue.resume(now);
        match job {
            Job::Lead(leader) => self.lead(leader, index, &mut worker),
            Job::Batch(batch, sent) => {
                let counters = self.shared.counters(index);
                counters.jobs.add(1);
                let waited = worker.now().saturating_duration_since(sent);
                counters.queue_wait_ns.add(waited.as_nanos() as u64);
                self.run_batch(batch, index, &mut worker);
            }
            Job::Stop => {}
        }
        worker.run_queue.block(Instant::now());
    }

    /// Runs these connections. Those that yield become another job.
    fn run_batch(self: &Arc<Self>, mut batch: Vec<usize>, index: usize, worker: &mut Worker<A>) {
        batch.retain(|client| self.run(*client, index, worker));
        if !batch.is_empty() {
            self.submit(Job::Batch(batch, worker.now()));
        }
    }

    fn submit(self: &Arc<Self>, job: Job) {
        match &self.feed {
            Feed::Channel(sender) => {
                // Sending fails only when every worker has ended. Then the job is not needed.
                let _ = sender.send(job);
            }
            Feed::Rayon(pool) => {
                let engine = Arc::clone(self);
                pool.spawn(move || {
                    let _guard = AbortOnPanic;
                    let index = rayon::current_thread_index().unwrap_or(0);
                    engine.perform(job, index);
                });
            }
        }
    }
}
