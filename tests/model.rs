//! Models of the thread engine's run protocol and of the queue of permits, under thousands of schedules of a few
//! threads.
//!
//! The protocol is in the shipped files `src/engine/entry.rs` and `src/engine/thread/schedule.rs`, compiled here over
//! shuttle's atomics. The models do not use loom, because loom treats sequentially consistent loads and stores as acquire and release. So loom would
//! report a lost readiness that the shipped orderings prevent. Every model runs under random schedules, and under
//! schedules with a few thread switches at random places. The second kind finds most errors of ordering.

use std::collections::VecDeque;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{self, Arc, MutexGuard, atomic};
use shuttle::{Config, Runner, thread};

#[allow(dead_code, reason = "the model runs the protocol and has no deadlines")]
#[path = "../src/engine/entry.rs"]
mod entry;
#[path = "model/queue.rs"]
mod queue;
/// `thread/schedule.rs` imports the atomics from two levels above.
#[path = "."]
mod thread_engine {
    #[path = "../src/engine/thread/schedule.rs"]
    pub(crate) mod schedule;
}

// The queue imports `parking_lot::Mutex`. Here this name is the lock of the model.
extern crate self as parking_lot;
pub use queue::Mutex;

use atomic::{AtomicBool, AtomicUsize, Ordering};
use entry::{Entry, Owner};
use thread_engine::schedule::Schedule;

/// Number of schedules of each kind for each model. With the seed a failure can be repeated.
const SCHEDULES: usize = 6000;
const SEED: u64 = 1;
/// Number of thread switches in a schedule of the second kind.
const SWITCHES: usize = 3;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const ENDED: u8 = 4;

/// The descriptors of the models: a client's and a backend's.
const CLIENT: usize = 0;
const BACKEND: usize = 1;

/// A client's connection, reduced to the state of the protocol.
#[derive(Debug, Default)]
struct Connection {
    /// Readiness of the client's descriptor, as far as this connection knows.
    client_ready: u8,
    /// Readiness of the attached backend's descriptor, as far as this connection knows. None: not attached.
    backend_ready: Option<u8>,
    runs: usize,
    plan: Plan,
}

/// The action of a connection when it runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// It waits.
    #[default]
    Wait,
    /// It yields at its first run, then it waits.
    YieldOnce,
    /// It takes the parked backend connection and waits for the response.
    Checkout,
    /// It parks its backend connection and waits for the client.
    Park,
    /// It ends.
    End,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    schedule: Schedule,
    connection: sync::Mutex<Option<Connection>>,
    running: AtomicBool,
}

/// The thread engine with two descriptors, a pool of one connection, and a run queue that workers take from.
#[derive(Debug)]
struct Engine {
    slots: [Slot; 2],
    /// The run queue.
    queue: sync::Mutex<VecDeque<usize>>,
    /// The backend connection is parked.
    parked: sync::Mutex<bool>,
    /// Number of times that the backend connection was closed.
    backend_closed: AtomicUsize,
    /// Number of times that a client's connection was closed.
    client_closed: AtomicUsize,
}

impl Engine {
    fn new() -> Arc<Self> {
        let slot = || Slot {
            entry: Entry::new(),
            schedule: Schedule::new(),
            connection: sync::Mutex::new(None),
            running: AtomicBool::new(false),
        };
        Arc::new(Engine {
            slots: [slot(), slot()],
            queue: sync::Mutex::default(),
            parked: sync::Mutex::default(),
            backend_closed: AtomicUsize::new(0),
            client_closed: AtomicUsize::new(0),
        })
    }

    /// Makes an engine with a client's connection that was accepted and has run once.
    fn with_client(connection: Connection) -> Arc<Self> {
        let engine = Engine::new();
        *lock(&engine.slots[CLIENT].connection) = Some(connection);
        engine.slots[CLIENT].entry.own(Owner::Client(CLIENT));
        engine
    }

    /// Does the work of `LeaderSink::admit`.
    fn admit(&self, connection: Connection) {
        let slot = &self.slots[CLIENT];
        *lock(&slot.connection) = Some(connection);
        slot.entry.own(Owner::Client(CLIENT));
        self.schedule(CLIENT);
    }

    fn schedule(&self, fd: usize) {
        if self.slots[fd].schedule.claim() {
            lock(&self.queue).push_back(fd);
        }
    }

    /// Reports an event of the socket that has this descriptor number now.
    fn announce(&self, fd: usize, ready: u8) {
        self.announce_of(self.slots[fd].entry.generation(), fd, ready);
    }

    /// Does the work of `EventLoop::take_events`: reports an event of the socket of this generation.
    fn announce_of(&self, generation: u32, fd: usize, ready: u8) {
        match self.slots[fd].entry.announce(generation, ready) {
            Owner::Client(client) => self.schedule(client),
            Owner::Parked => self.drop_parked(),
            Owner::Nobody => {}
        }
    }

    /// Runs queued connections like a worker, until the queue is empty.
    fn work(&self) {
        loop {
            let next = lock(&self.queue).pop_front();
            let Some(fd) = next else { return };
            if self.run(fd) {
                lock(&self.queue).push_back(fd);
            }
        }
    }

    /// Does the work of `ThreadEngine::run`. Returns true when the connection yields and is still queued.
    fn run(&self, fd: usize) -> bool {
        let slot = &self.slots[fd];
        loop {
            assert!(!slot.running.swap(true, Ordering::SeqCst), "two workers run one connection");
            let mut place = lock(&slot.connection);
            let plan = place.as_mut().map(|connection| self.step(connection));
            if plan == Some(Plan::End) {
                *place = None;
                drop(place);
                slot.entry.forget();
                self.client_closed.fetch_add(1, Ordering::SeqCst);
            } else {
                drop(place);
            }
            slot.running.store(false, Ordering::SeqCst);
            if plan == Some(Plan::YieldOnce) {
                return true;
            }
            if slot.schedule.rest() {
                return false;
            }
        }
    }

    /// Runs a connection up to its wait. Returns the executed plan.
    fn step(&self, connection: &mut Connection) -> Plan {
        connection.runs += 1;
        connection.client_ready |= self.slots[CLIENT].entry.take_ready();
        if let Some(ready) = &mut connection.backend_ready {
            *ready |= self.slots[BACKEND].entry.take_ready();
        }
        let plan = std::mem::take(&mut connection.plan);
        match plan {
            Plan::Checkout => connection.backend_ready = self.checkout(),
            // A connection with a known end is closed, not parked.
            Plan::Park => match connection.backend_ready.take() {
                Some(ready) if ready & ENDED != 0 => self.close_backend(),
                _ => self.park(),
            },
            Plan::Wait | Plan::YieldOnce | Plan::End => {}
        }
        plan
    }

    /// Does the work of `Backends::checkout`. None when there is no connection, or when the connection is dead.
    fn checkout(&self) -> Option<u8> {
        if !std::mem::take(&mut *lock(&self.parked)) {
            return None;
        }
        let entry = &self.slots[BACKEND].entry;
        entry.own(Owner::Client(CLIENT));
        if entry.take_ready() == 0 {
            return Some(0);
        }
        self.close_backend();
        None
    }

    /// Does the work of `Backends::park`.
    fn park(&self) {
        let entry = &self.slots[BACKEND].entry;
        let mut parked = lock(&self.parked);
        entry.own(Owner::Parked);
        *parked = true;
        drop(parked);
        if entry.take_ready() != 0 {
            self.drop_parked();
        }
    }

    fn drop_parked(&self) {
        if std::mem::take(&mut *lock(&self.parked)) {
            self.close_backend();
        }
    }

    fn close_backend(&self) {
        self.slots[BACKEND].entry.forget();
        self.backend_closed.fetch_add(1, Ordering::SeqCst);
    }

    /// Checks the conditions of every model after all threads have ended and the queue is empty.
    fn check_rest(&self) {
        assert!(lock(&self.queue).is_empty());
        assert!(self.slots[CLIENT].schedule.claim(), "a connection is queued, and the queue is empty");
    }
}

fn lock<T>(mutex: &sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panicked")
}

/// Runs `threads` over one engine under many schedules. Then runs the queued connections and calls `check`.
fn explore(start: fn() -> Arc<Engine>, threads: &'static [fn(&Engine)], check: fn(&Engine)) {
    let model = move || {
        let engine = start();
        let handles: Vec<_> = threads
            .iter()
            .map(|body| {
                let engine = Arc::clone(&engine);
                thread::spawn(move || body(&engine))
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no thread panicked"));
        engine.work();
        check(&engine);
        engine.check_rest();
    };
    run(model);
}

/// Runs a model under both kinds of schedules.
fn run(model: impl Fn() + Copy + Send + Sync + 'static) {
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    Runner::new(random, Config::default()).run(model);
    let few_switches = PctScheduler::new_from_seed(SEED, SWITCHES, SCHEDULES);
    Runner::new(few_switches, Config::default()).run(model);
}

#[test]
fn no_readiness_is_lost() {
    explore(
        || Engine::with_client(Connection::default()),
        &[
            |engine| {
                engine.announce(CLIENT, READABLE);
                engine.announce(CLIENT, WRITABLE);
            },
            Engine::work,
        ],
        |engine| {
            let place = lock(&engine.slots[CLIENT].connection);
            assert_eq!(place.as_ref().expect("a connection").client_ready, READABLE | WRITABLE);
        },
    );
}

#[test]
fn no_readiness_is_lost_while_a_connection_yields() {
    explore(
        || {
            let engine = Engine::new();
            engine.admit(Connection { plan: Plan::YieldOnce, ..Connection::default() });
            engine
        },
        &[|engine| engine.announce(CLIENT, READABLE), Engine::work],
        |engine| {
            let place = lock(&engine.slots[CLIENT].connection);
            assert_eq!(place.as_ref().expect("a connection").client_ready, READABLE);
        },
    );
}

#[test]
fn a_connection_is_run_by_one_worker_at_a_time() {
    // The sweep of deadlines and a poller schedule the same connection, and two workers run.
    explore(
        || Engine::with_client(Connection::default()),
        &[
            |engine| {
                engine.announce(CLIENT, READABLE);
                engine.work();
            },
            |engine| {
                engine.schedule(CLIENT);
                engine.work();
            },
        ],
        |engine| {
            let place = lock(&engine.slots[CLIENT].connection);
            let connection = place.as_ref().expect("a connection");
            assert_eq!(connection.client_ready, READABLE);
            assert!((1..=2).contains(&connection.runs), "{} runs for 2 reasons", connection.runs);
        },
    );
}

#[test]
fn readiness_of_a_backend_connection_reaches_the_client_that_takes_it_from_the_pool() {
    explore(
        || {
            let engine = Engine::with_client(Connection { plan: Plan::Checkout, ..Connection::default() });
            engine.park();
            engine.schedule(CLIENT);
            engine
        },
        &[|engine| engine.announce(BACKEND, ENDED), Engine::work],
        |engine| {
            let place = lock(&engine.slots[CLIENT].connection);
            let closed = engine.backend_closed.load(Ordering::SeqCst);
            let known = place.as_ref().expect("a connection").backend_ready;
            assert!(
                (known, closed) == (Some(ENDED), 0) || (known, closed) == (None, 1),
                "the client knows {known:?} of its backend, which was closed {closed} times"
            );
        },
    );
}

#[test]
fn a_backend_connection_that_ends_while_it_is_parked_leaves_the_pool_once() {
    explore(
        || {
            let attached = Connection { plan: Plan::Park, backend_ready: Some(0), ..Connection::default() };
            let engine = Engine::with_client(attached);
            engine.slots[BACKEND].entry.own(Owner::Client(CLIENT));
            engine.schedule(CLIENT);
            engine
        },
        &[|engine| engine.announce(BACKEND, ENDED), Engine::work],
        |engine| {
            assert!(!*lock(&engine.parked), "a dead connection stays in the pool");
            assert_eq!(engine.backend_closed.load(Ordering::SeqCst), 1);
        },
    );
}

#[test]
fn a_number_that_comes_back_for_another_connection_is_not_lost() {
    explore(
        || {
            let engine = Engine::with_client(Connection { plan: Plan::End, ..Connection::default() });
            engine.schedule(CLIENT);
            engine
        },
        &[
            // The leader accepts the descriptor number as soon as it is free, and reports readiness of the new
            // connection.
            |engine| {
                if engine.client_closed.load(Ordering::SeqCst) == 1 {
                    engine.admit(Connection::default());
                    engine.announce(CLIENT, READABLE);
                }
            },
            // The sweep of deadlines schedules the connection that has the descriptor number.
            |engine| engine.schedule(CLIENT),
            Engine::work,
        ],
        |engine| {
            assert_eq!(engine.client_closed.load(Ordering::SeqCst), 1, "the first connection ends once");
            let place = lock(&engine.slots[CLIENT].connection);
            if let Some(second) = place.as_ref() {
                assert!(second.runs > 0, "the second connection never ran");
                assert_eq!(second.client_ready, READABLE);
            }
        },
    );
}

#[test]
fn a_late_event_of_a_closed_socket_does_not_reach_the_next_socket_with_its_number() {
    explore(
        || {
            let engine = Engine::with_client(Connection { plan: Plan::End, ..Connection::default() });
            engine.schedule(CLIENT);
            engine
        },
        &[
            // The poller has seen the end of the first connection, and reports this end later.
            |engine| engine.announce_of(0, CLIENT, ENDED),
            |engine| {
                if engine.client_closed.load(Ordering::SeqCst) == 1 {
                    engine.admit(Connection::default());
                }
            },
            Engine::work,
        ],
        |engine| {
            let place = lock(&engine.slots[CLIENT].connection);
            if let Some(second) = place.as_ref() {
                assert_eq!(second.client_ready, 0, "the end of the first connection ends the second");
            }
        },
    );
}
