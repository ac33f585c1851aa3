//! The queue of requests that wait for a backend with room: bounded; first in, first out.
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Waker;

use parking_lot::Mutex;

/// A backend with a limited number of slots for requests in flight. The order of the calls matters to the queue, so an
/// implementation uses sequentially consistent operations.
pub trait Slots: fmt::Debug {
    /// The identity of a backend.
    type Id: Copy + PartialEq + fmt::Debug;

    /// Returns the identity.
    fn id(&self) -> Self::Id;

    /// Takes a slot for a waiting request. False when all slots are in use, or when the backend should get no request.
    fn take(&self) -> bool;

    /// Gives a slot back.
    fn give(&self);
}

/// The requests that wait until a backend has room.
///
/// A slot that comes back goes directly to the first waiter that may use it. So a newcomer does not overtake a waiter.
/// When a waiter gets a slot, the queue calls the waiter's waker.
pub(crate) struct Queue<B: Slots> {
    /// The length of `waiting`. A backend that gets a slot back reads it without the lock.
    waiting: AtomicUsize,
    state: Mutex<State<B>>,
}

struct State<B: Slots> {
    next_ticket: u64,
    /// Tickets ascend in the order of arrival.
    waiting: VecDeque<Waiter<B::Id>>,
    /// The slots that waiters were granted and have not taken yet, with the waiters' tickets.
    granted: Vec<(u64, Permit<B>)>,
}

struct Waiter<I> {
    ticket: u64,
    waker: Waker,
    /// The backends that must not get the request.
    excluded: Vec<I>,
}

/// The result of [`Queue::enter`].
#[derive(Debug)]
pub(crate) enum Entered<B: Slots> {
    /// A slot: the request may start at once.
    Permit(Permit<B>),
    /// A place in the queue.
    Place(Place<B>),
    /// Nothing: the queue is full.
    Full,
}

impl<B: Slots> Queue<B> {
    /// Makes a queue without waiters.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { next_ticket: 0, waiting: VecDeque::new(), granted: Vec::new() };
        Arc::new(Queue { waiting: AtomicUsize::new(0), state: Mutex::new(state) })
    }

    /// Returns the number of waiters. Takes no lock.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Returns a place in the queue. `find` takes a slot of a backend with room. A slot may have come
    /// back since the caller found none. `waker` is called once, when the place is granted a slot. No request enters while
    /// `waiting_max` requests wait.
    pub(crate) fn enter(
        self: &Arc<Self>,
        waiting_max: usize,
        excluded: Vec<B::Id>,
        waker: Waker,
        find: impl FnOnce() -> Option<Arc<B>>,
    ) -> Entered<B> {
        let mut state = self.state.lock();
        if state.waiting.len() >= waiting_max {
            return Entered::Full;
        }
        // A backend gives a slot back and then reads the number of waiters. We count ourselves and then look for a slot.
        // So one of the two sees the other.
        self.waiting.fetch_add(1, SeqCst);
        // While others wait that may use any backend, no backend has room.
        if state.waiting.iter().all(|waiter| !waiter.excluded.is_empty())
            && let Some(backend) = find()
        {
            self.waiting.fetch_sub(1, SeqCst);
            drop(state);
            return Entered::Permit(Permit { queue: Arc::clone(self), backend });
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(Waiter { ticket, waker, excluded });
        drop(state);
        Entered::Place(Place { queue: Arc::clone(self), ticket })
    }

    /// Grants the free slots of a backend to the first waiters that may use them.
    pub(crate) fn serve(self: &Arc<Self>, backend: &Arc<B>) {
        while self.waiting() > 0 && backend.take() {
            if !self.grant(backend) {
                return;
            }
        }
    }

    /// Grants a slot, which the caller has taken, to the first waiter that may use it. Without such a waiter the slot is
    /// given back, and the result is false.
    pub(crate) fn grant(self: &Arc<Self>, backend: &Arc<B>) -> bool {
        let mut state = self.state.lock();
        let first = state.waiting.iter().position(|waiter| !waiter.excluded.contains(&backend.id()));
        let Some(waiter) = first.and_then(|at| state.waiting.remove(at)) else {
            // With the lock: the next waiter that enters must see the slot.
            backend.give();
            return false;
        };
        self.waiting.fetch_sub(1, SeqCst);
        state.granted.push((waiter.ticket, Permit::of(self, backend)));
        // The waker runs code of the engine, so the lock is released first.
        drop(state);
        waiter.waker.wake();
        true
    }
}

impl<B: Slots> fmt::Debug for Queue<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// A slot of a backend: the right to have one request in flight there. Dropping the permit gives the slot back.
pub struct Permit<B: Slots> {
    queue: Arc<Queue<B>>,
    backend: Arc<B>,
}

impl<B: Slots> Permit<B> {
    /// Makes a permit of a slot that is already taken.
    pub(crate) fn of(queue: &Arc<Queue<B>>, backend: &Arc<B>) -> Self {
        Permit { queue: Arc::clone(queue), backend: Arc::clone(backend) }
    }

    /// Returns the backend.
    pub(crate) fn backend(&self) -> &Arc<B> {
        &self.backend
    }
}

impl<B: Slots> Drop for Permit<B> {
    fn drop(&mut self) {
        self.backend.give();
        self.queue.serve(&self.backend);
    }
}

impl<B: Slots> fmt::Debug for Permit<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.backend.id()).finish()
    }
}

/// A place in the queue. A waiter that drops its place leaves the queue at once. If the place already has a slot, the
/// slot goes to the next waiter.
#[derive(Debug)]
pub(crate) struct Place<B: Slots> {
    queue: Arc<Queue<B>>,
    ticket: u64,
}

impl<B: Slots> Place<B> {
    /// Takes the slot, if the place was granted one.
    pub(crate) fn take(&mut self) -> Option<Permit<B>> {
        let mut state = self.queue.state.lock();
        let at = state.granted.iter().position(|(ticket, _)| *ticket == self.ticket)?;
        Some(state.granted.swap_remove(at).1)
    }
}

impl<B: Slots> Drop for Place<B> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let at = state.waiting.binary_search_by_key(&self.ticket, |waiter| waiter.ticket);
        let removed = at.ok().and_then(|at| state.waiting.remove(at));
        if removed.is_some() {
            self.queue.waiting.fetch_sub(1, SeqCst);
        }
        // Dropping a waker may drop its task, and that task may lock the queue. So the lock is released before the waker
        // is dropped.
        drop(state);
        if removed.is_none() {
            drop(self.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    /// A backend with a number of free slots.
    #[derive(Debug)]
    struct Free(AtomicUsize, u32);

    impl Slots for Free {
        type Id = u32;

        fn id(&self) -> u32 {
            self.1
        }

        fn take(&self) -> bool {
            self.0.fetch_update(SeqCst, SeqCst, |free| free.checked_sub(1)).is_ok()
        }

        fn give(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    const PLACES: usize = 4;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn free(slots: usize, id: u32) -> Arc<Free> {
        Arc::new(Free(AtomicUsize::new(slots), id))
    }

    /// Enters the queue of this backend.
    fn enter(
        queue: &Arc<Queue<Free>>,
        backend: &Arc<Free>,
        count: &Arc<Count>,
        excluded: Vec<u32>,
    ) -> Entered<Free> {
        let find = || backend.take().then(|| Arc::clone(backend));
        queue.enter(PLACES, excluded, Waker::from(Arc::clone(count)), find)
    }

    fn place(queue: &Arc<Queue<Free>>, backend: &Arc<Free>, count: &Arc<Count>) -> Place<Free> {
        match enter(queue, backend, count, Vec::new()) {
            Entered::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waiters_get_slots_in_their_order_and_each_is_woken_once() {
        let (queue, backend) = (Queue::new(), free(2, 0));
        let mut permits: Vec<_> = (0..2)
            .map(|_| match enter(&queue, &backend, &Arc::default(), Vec::new()) {
                Entered::Permit(permit) => permit,
                other => panic!("{other:?}"),
            })
            .collect();
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        let mut places = counts.each_ref().map(|count| place(&queue, &backend, count));
        for (turn, place) in places.iter_mut().enumerate() {
            assert!(place.take().is_none(), "a slot before its turn");
            drop(permits.remove(0));
            let woken = counts.each_ref().map(|count| count.0.load(SeqCst));
            assert_eq!(woken, [1, usize::from(turn > 0), usize::from(turn > 1)]);
            permits.push(place.take().expect("the first waiter has it"));
            assert!(place.take().is_none(), "a slot twice");
        }
        drop((permits, places));
        assert_eq!((backend.0.load(SeqCst), queue.waiting()), (2, 0));
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_at_once_and_its_slot_goes_on() {
        let (queue, backend) = (Queue::new(), free(1, 0));
        let count = Arc::new(Count::default());
        let permit = enter(&queue, &backend, &count, Vec::new());
        let [first, second, mut third] = [(); 3].map(|()| place(&queue, &backend, &count));
        drop(first);
        assert_eq!((queue.waiting(), Arc::strong_count(&count)), (2, 3));
        drop(permit);
        assert_eq!((queue.waiting(), backend.0.load(SeqCst)), (1, 0));
        // The slot was granted and not taken.
        drop(second);
        assert!(third.take().is_some());
        assert_eq!((queue.waiting(), backend.0.load(SeqCst), count.0.load(SeqCst)), (0, 1, 2));
    }

    #[test]
    fn a_full_queue_takes_nobody() {
        let (queue, backend) = (Queue::new(), free(0, 0));
        let mut waiting = [(); PLACES].map(|()| Some(place(&queue, &backend, &Arc::default())));
        assert!(matches!(enter(&queue, &backend, &Arc::default(), Vec::new()), Entered::Full));
        waiting[1] = None;
        assert!(matches!(enter(&queue, &backend, &Arc::default(), Vec::new()), Entered::Place(_)));
    }

    #[test]
    fn a_slot_goes_to_the_first_waiter_that_may_use_it_and_new_room_serves_several() {
        let (queue, backend, other) = (Queue::new(), free(0, 1), free(0, 2));
        let count = Arc::new(Count::default());
        let Entered::Place(mut picky) = enter(&queue, &backend, &count, vec![1]) else {
            panic!("there is no room")
        };
        let [mut second, mut third, mut fourth] = [(); 3].map(|()| place(&queue, &backend, &count));
        backend.0.store(2, SeqCst);
        queue.serve(&backend);
        assert_eq!(queue.waiting(), 2);
        assert!(picky.take().is_none() && fourth.take().is_none());
        let taken = [second.take(), third.take()];
        assert!(
            taken.iter().flatten().all(|permit| permit.backend().id() == 1)
                && taken.iter().all(Option::is_some)
        );
        other.0.store(1, SeqCst);
        queue.serve(&other);
        assert_eq!(picky.take().map(|permit| permit.backend().id()), Some(2));
        drop(taken);
        assert!(fourth.take().is_some());
    }

    #[test]
    fn threads_that_wait_and_give_up_lose_no_slot() {
        let (queue, backend) = (Queue::new(), free(2, 0));
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (queue, backend) = (&queue, &backend);
                scope.spawn(move || {
                    for round in 0..500 {
                        match enter(queue, backend, &Arc::default(), Vec::new()) {
                            Entered::Permit(permit) => drop(permit),
                            Entered::Place(place) if (n + round) % 3 == 0 => drop(place),
                            Entered::Place(mut place) => loop {
                                if place.take().is_some() {
                                    break;
                                }
                                std::thread::yield_now();
                            },
                            Entered::Full => panic!("{PLACES} places for 4 threads"),
                        }
                        assert!(backend.0.load(SeqCst) <= 2);
                    }
                });
            }
        });
        assert_eq!((backend.0.load(SeqCst), queue.waiting()), (2, 0));
    }
}
