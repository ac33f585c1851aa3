//! Models of the queue of permits under many schedules. The queue is the shipped file `src/cluster/queue.rs`, with a
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

use shipped::{Entered, Permit, Place, Queue};

const PERMITS: usize = 1;
const PLACES: usize = 8;

thread_local! {
    /// True while a model runs on this thread. The unit tests of the queue run in this program too, without a model.
    static MODELS: Cell<bool> = const { Cell::new(false) };
}

/// The lock that replaces parking_lot's lock. Other threads may run before the lock is taken, but not while the lock is
/// held.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if MODELS.get() {
            thread::yield_now();
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

/// The data that the threads of a model share.
struct Room {
    queue: std::sync::Arc<Queue>,
    /// Number of permits that threads hold.
    held: AtomicUsize,
}

impl Room {
    fn new() -> Arc<Self> {
        Arc::new(Room { queue: Queue::new(PERMITS, PLACES), held: AtomicUsize::new(0) })
    }

    fn enter(&self) -> (Entered, Receiver<()>) {
        let (sender, receiver) = channel();
        let waker = Waker::from(std::sync::Arc::new(Signal(std::sync::Mutex::new(sender))));
        (self.queue.enter(waker), receiver)
    }

    /// Holds a permit for one request in flight.
    fn hold(&self, permit: Permit) {
        let others = self.held.fetch_add(1, Ordering::SeqCst);
        assert!(others < PERMITS, "{} requests are in flight", others + 1);
        self.held.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
    }

    /// Waits until the waker is called, then takes the permit.
    fn wait(&self, mut place: Place, woken: &Receiver<()>) {
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
        if let Some(permit) = self.queue.try_permit() {
            self.hold(permit);
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
        assert_eq!((room.queue.in_use(), room.queue.waiting()), (0, 0), "permits in use, waiters");
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
