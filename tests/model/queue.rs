//! Models of the queue of requests under many schedules. The queue is the shipped file `src/cluster/queue.rs`, with a
//! lock that is a scheduling point. After a lost wake-up a thread waits for ever, and shuttle reports a deadlock.
use std::cell::Cell;
use std::sync::MutexGuard;
use std::task::{Wake, Waker};

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread;

#[path = "../../src/cluster/queue.rs"]
#[allow(unreachable_pub, reason = "the file is a part of the library")]
mod shipped;

use shipped::{Entered, Permit, Place, Queue, Slots};

const PERMITS: usize = 1;
const PLACES: usize = 8;

thread_local! {
    /// True while a model runs on this thread. The unit tests of the queue run in this program too, without a model.
    static MODELS: Cell<bool> = const { Cell::new(false) };
}

/// The lock that replaces parking_lot's lock. Other threads may run before the lock is taken, and at the scheduling
/// points while it is held.
#[derive(Debug)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Makes an unlocked lock.
    pub fn new(content: T) -> Self {
        Mutex(std::sync::Mutex::new(content))
    }

    /// Waits for the lock. In a model the other threads run while this thread waits.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        while MODELS.get() {
            thread::yield_now();
            if let Ok(guard) = self.0.try_lock() {
                return guard;
            }
        }
        self.0.lock().expect("no thread panicked")
    }
}

/// A waker that sends one message.
struct Signal(std::sync::Mutex<Sender<()>>);

impl Wake for Signal {
    fn wake(self: std::sync::Arc<Self>) {
        let sender = self.0.lock().expect("no thread panicked").clone();
        // A waiter that gave up has no receiver.
        let _ = sender.send(());
    }
}

/// A backend whose slots are scheduling points.
#[derive(Debug)]
struct Backend(AtomicUsize);

impl Slots for Backend {
    type Id = ();

    fn id(&self) {}

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok()
    }

    fn give(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        // The queue reads the number of waiters next. Any schedule may come in between.
        if MODELS.get() {
            thread::yield_now();
        }
    }
}

/// The data that the threads of a model share.
struct Room {
    queue: std::sync::Arc<Queue<Backend>>,
    backend: std::sync::Arc<Backend>,
    /// Number of permits that threads hold.
    held: AtomicUsize,
}

impl Room {
    fn new() -> Arc<Self> {
        let backend = std::sync::Arc::new(Backend(AtomicUsize::new(PERMITS)));
        Arc::new(Room { queue: Queue::new(), backend, held: AtomicUsize::new(0) })
    }

    fn enter(&self) -> (Entered<Backend>, Receiver<()>) {
        let (sender, receiver) = channel();
        let waker = Waker::from(std::sync::Arc::new(Signal(std::sync::Mutex::new(sender))));
        let find = || self.backend.take().then(|| std::sync::Arc::clone(&self.backend));
        (self.queue.enter(PLACES, Vec::new(), waker, find), receiver)
    }

    /// Holds a permit for one request in flight.
    fn hold(&self, permit: Permit<Backend>) {
        let others = self.held.fetch_add(1, Ordering::SeqCst);
        assert!(others < PERMITS, "{} requests are in flight", others + 1);
        self.held.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
    }

    /// Waits until the waker is called, then takes the permit.
    fn wait(&self, mut place: Place<Backend>, woken: &Receiver<()>) {
        woken.recv().expect("the waker is called before it is dropped");
        let permit = place.take().expect("a permit behind the wake-up");
        self.hold(permit);
    }

    /// Runs one request that waits until it has a permit.
    fn patient(&self) {
        match self.enter() {
            (Entered::Permit(permit), _) => self.hold(permit),
            (Entered::Place(place), woken) => self.wait(place, &woken),
            (Entered::Full, _) => panic!("the queue is full"),
        }
    }

    /// Runs one request that gives up at once if it must wait.
    fn impatient(&self) {
        match self.enter() {
            (Entered::Permit(permit), _) => self.hold(permit),
            (Entered::Place(place), _) => drop(place),
            (Entered::Full, _) => panic!("the queue is full"),
        }
    }

    /// Runs one request that takes a permit only if one is free.
    fn newcomer(&self) {
        if self.queue.waiting() == 0 && self.backend.take() {
            self.hold(Permit::of(&self.queue, &self.backend));
        }
    }
}

/// Runs the threads under many schedules. At the end all permits must be free and no request may wait.
fn explore(threads: &'static [fn(&Room)]) {
    super::run(move || {
        MODELS.set(true);
        let room = Room::new();
        let handles: Vec<_> = threads
            .iter()
            .map(|body| {
                let room = Arc::clone(&room);
                thread::spawn(move || body(&room))
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no thread panicked"));
        let free = room.backend.0.load(Ordering::SeqCst);
        assert_eq!((free, room.queue.waiting()), (PERMITS, 0), "free slots, waiters");
    });
}

#[test]
fn a_waiter_is_woken_and_has_the_permit() {
    explore(&[Room::patient, Room::patient, Room::patient]);
}

#[test]
fn a_waiter_that_gives_up_leaves_at_once_and_takes_no_permit_with_it() {
    explore(&[Room::patient, Room::impatient, Room::patient]);
}

#[test]
fn nobody_waits_while_a_permit_is_free() {
    explore(&[Room::patient, Room::newcomer, Room::impatient, Room::patient]);
}
