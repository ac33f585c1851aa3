//! The thread engine: a fixed pool of workers fed by a channel of ready work.
//!
//! One poller watches every socket. The worker that holds the poller is the leader; the channel passes the leadership
//! on as a job. The leader runs up to `batch` ready connections itself. When its batch is full, the leader sends the
//! connections beyond the batch as jobs and gives the leadership away. So under light load one worker does all the work
//! and no other worker is woken. A connection belongs to no worker.

mod entry;
mod leader;
mod table;
mod textbook;
mod worker;

use std::io;
use std::sync::{Arc, Weak, atomic};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use mio::{Poll, Registry, Waker};
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

use super::listener::WAKE;
use super::pressure::PressureLimit;
use super::shared::AbortOnPanic;
use super::timers::Timers;
use super::transport::{Socket, Tcp};
use super::worker::WorkerState;
use super::{Ends, Listeners, Pool, Shared};
use crate::app::App;
use crate::cluster::IdlePool;
use leader::Leader;
use table::Table;

/// A job of the channel.
enum Job {
    /// The leadership.
    Lead(Box<Leader>),
    /// Clients' descriptors whose connections are ready, and the time when the job was sent.
    Batch(Vec<usize>, Instant),
    /// The engine has ended.
    Stop,
}

struct Engine<A: App> {
    myself: Weak<Engine<A>>,
    shared: Arc<Shared<A>>,
    pool: Pool,
    table: Table,
    registry: Registry,
    waker: Waker,
    /// Clients whose connections another thread wants to run.
    woken: Mutex<Vec<usize>>,
    idle_backends: Mutex<IdlePool<Socket>>,
    timers: Mutex<Timers>,
    pressure: PressureLimit,
    started: Instant,
    workers: Box<[Mutex<Worker<A>>]>,
    feed: Feed,
}

/// The state of one worker.
type Worker<A> = WorkerState<<A as App>::View, Tcp>;

/// The way jobs reach the workers.
enum Feed {
    Channel(Sender<Job>),
    Rayon(rayon::ThreadPool),
}

pub(super) fn start<A: App>(shared: &Arc<Shared<A>>, pool: Pool, listeners: Listeners) -> io::Result<Ends> {
    let poll = Poll::new()?;
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20) as usize;
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
    let (registry, waker) = (poll.registry().try_clone()?, Waker::new(poll.registry(), WAKE)?);
    let engine = Arc::new_cyclic(|myself| Engine {
        myself: Weak::clone(myself),
        shared: Arc::clone(shared),
        pool,
        table: Table::new(descriptors),
        registry,
        waker,
        woken: Mutex::default(),
        idle_backends: Mutex::new(IdlePool::new(shared.options.engine_limits.idle_backend_connections)),
        timers: Mutex::default(),
        pressure: PressureLimit::with_epoch(
            shared.options.concurrency,
            super::cores(),
            shared.options.engine_limits.in_flight_epoch,
        ),
        started: Instant::now(),
        workers: (0..count).map(|_| Mutex::new(WorkerState::new(shared.app.view()))).collect(),
        feed,
    });
    let (ended, end) = crossbeam_channel::bounded(1);
    let leader = Leader::new(poll, listeners, pool.batch(), ended)?;
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
    engine.submit(Job::Lead(Box::new(leader)));
    let stopping = Arc::clone(&engine);
    let stop = move || {
        stopping.shared.set_draining(true);
        stopping.wake();
    };
    let wait = move || {
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
    };
    Ok((Box::new(stop), Box::new(wait)))
}

impl<A: App> Engine<A> {
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
        let counters = &self.shared.counters[index];
        let mut worker = self.workers[index].lock();
        worker.wake_up(&*self.shared.app);
        let now = worker.clock.now().instant;
        worker.run_queue.resume(now);
        match job {
            Job::Lead(leader) => self.lead(leader, &mut worker, counters),
            Job::Batch(mut batch, sent) => {
                counters.jobs.add(1);
                let waited = worker.clock.now().instant.saturating_duration_since(sent);
                counters.queue_wait_ns.add(waited.as_nanos() as u64);
                batch.retain(|fd| self.run(*fd, &mut worker, counters));
                if !batch.is_empty() {
                    self.submit(Job::Batch(batch, worker.clock.now().instant));
                }
            }
            Job::Stop => {}
        }
        worker.run_queue.block(Instant::now());
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

    /// Wakes the leader before its next sweep.
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the leader: {error}");
        }
    }

    /// Milliseconds since the engine's start.
    fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }
}
