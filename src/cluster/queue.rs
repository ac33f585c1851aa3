//! Permits for requests in flight, and a queue of requests that wait for a permit. Both are bounded; first in, first
//! out.
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

/// Permits for requests in flight, and the requests that wait for one.
///
/// A released permit goes directly to the first waiter. So a newcomer never overtakes a waiter, and no request waits
/// while a permit is free. When a waiter gets a permit, the queue calls the waiter's waker.
#[derive(Debug)]
pub struct Queue {
    permits: usize,
    waiting_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Permits that are in use, or granted to a waiter.
    in_use: usize,
    next_ticket: u64,
    /// The ticket and the waker of each waiter. Tickets ascend in the order of arrival.
    waiting: VecDeque<(u64, Waker)>,
    /// Tickets of waiters that were granted a permit and have not taken it yet.
    granted: Vec<u64>,
}

/// The result of [`Queue::enter`].
#[derive(Debug)]
pub(crate) enum Entered {
    /// A permit: the request may start at once.
    Permit(Permit),
    /// A place in the queue.
    Place(Place),
    /// Nothing: the queue is full.
    Full,
}

impl Queue {
    /// Makes a queue with `permits` permits and at most `waiting_max` waiters.
    pub(crate) fn new(permits: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Queue { permits, waiting_max, state: Mutex::default() })
    }

    /// Returns a permit if one is free. While a request waits, no permit is free.
    pub(crate) fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state.lock();
        let free = state.in_use < self.permits;
        if free {
            state.in_use += 1;
        }
        drop(state);
        free.then(|| Permit(Arc::clone(self)))
    }

    /// Returns a permit if one is free, else a place in the queue. `waker` is called once, when the place is granted a
    /// permit.
    pub(crate) fn enter(self: &Arc<Self>, waker: Waker) -> Entered {
        let mut state = self.state.lock();
        if state.in_use < self.permits {
            state.in_use += 1;
            drop(state);
            return Entered::Permit(Permit(Arc::clone(self)));
        }
        if state.waiting.len() >= self.waiting_max {
            return Entered::Full;
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back((ticket, waker));
        drop(state);
        Entered::Place(Place { queue: Arc::clone(self), ticket })
    }

    /// Returns the number of waiters.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Returns the number of permits in use. A granted permit counts before the waiter takes it.
    pub fn in_use(&self) -> usize {
        self.state.lock().in_use
    }

    /// Passes a permit to the first waiter, or frees the permit.
    fn release(&self) {
        let mut state = self.state.lock();
        let first = state.waiting.pop_front();
        let waker = first.map(|(ticket, waker)| {
            state.granted.push(ticket);
            waker
        });
        if waker.is_none() {
            state.in_use -= 1;
        }
        // The waker runs code of the engine, so the lock is released first.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The right to have one request in flight. Dropping the permit releases it.
#[derive(Debug)]
pub struct Permit(Arc<Queue>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A place in the queue. A waiter that drops its place leaves the queue at once. If the place already has a permit, the
/// permit goes to the next waiter.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    ticket: u64,
}

impl Place {
    /// Takes the permit, if the place was granted one.
    pub(crate) fn take(&mut self) -> Option<Permit> {
        let mut state = self.queue.state.lock();
        let at = state.granted.iter().position(|ticket| *ticket == self.ticket)?;
        state.granted.swap_remove(at);
        drop(state);
        Some(Permit(Arc::clone(&self.queue)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let at = state.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket);
        let removed = at.ok().and_then(|at| state.waiting.remove(at));
        drop(state);
        // Dropping a waker may drop its task, and that task may lock the queue. So the lock is released first. So the
        // lock is released before the waker is dropped.
        if removed.is_none() {
            drop(self.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn place(queue: &Arc<Queue>, count: &Arc<Count>) -> Place {
        match queue.enter(Waker::from(Arc::clone(count))) {
            Entered::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waiters_get_permits_in_their_order_and_each_is_woken_once() {
        let queue = Queue::new(2, 8);
        let mut permits: Vec<_> = (0..2).map(|_| queue.try_permit().expect("free")).collect();
        assert!(queue.try_permit().is_none());
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        let mut places = counts.each_ref().map(|count| place(&queue, count));
        for (turn, place) in places.iter_mut().enumerate() {
            assert!(place.take().is_none(), "a permit before its turn");
            drop(permits.remove(0));
            assert!(queue.try_permit().is_none(), "a newcomer overtakes");
            let woken = counts.each_ref().map(|count| count.0.load(SeqCst));
            assert_eq!(woken, [1, usize::from(turn > 0), usize::from(turn > 1)]);
            permits.push(place.take().expect("the first waiter has it"));
            assert!(place.take().is_none(), "a permit twice");
        }
        drop((permits, places));
        assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
        assert!(matches!(queue.enter(Waker::noop().clone()), Entered::Permit(_)), "waits while one is free");
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_at_once_and_its_permit_goes_on() {
        let queue = Queue::new(1, 8);
        let permit = queue.try_permit();
        let count = Arc::new(Count::default());
        let [first, second, third] = [(); 3].map(|()| place(&queue, &count));
        drop(first);
        assert_eq!((queue.waiting(), Arc::strong_count(&count)), (2, 3));
        drop(permit);
        assert_eq!((queue.waiting(), queue.in_use()), (1, 1));
        // The permit was granted and not taken.
        drop(second);
        let mut third = third;
        assert!(third.take().is_some());
        assert_eq!((queue.waiting(), queue.in_use(), count.0.load(SeqCst)), (0, 0, 2));
    }

    #[test]
    fn a_full_queue_takes_nobody() {
        let queue = Queue::new(0, 1);
        let waits = place(&queue, &Arc::default());
        assert!(matches!(queue.enter(Waker::noop().clone()), Entered::Full));
        drop(waits);
        assert!(matches!(queue.enter(Waker::noop().clone()), Entered::Place(_)));
    }

    #[test]
    fn threads_that_wait_and_give_up_lose_no_permit() {
        let queue = Queue::new(2, 64);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let queue = &queue;
                scope.spawn(move || {
                    for round in 0..500 {
                        match queue.enter(Waker::noop().clone()) {
                            Entered::Permit(permit) => drop(permit),
                            Entered::Place(place) if (n + round) % 3 == 0 => drop(place),
                            Entered::Place(mut place) => loop {
                                if place.take().is_some() {
                                    break;
                                }
                                std::thread::yield_now();
                            },
                            Entered::Full => panic!("64 places for 4 threads"),
                        }
                        assert!(queue.in_use() <= 2);
                    }
                });
            }
        });
        assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
    }
}
