//! A table of all open descriptors of an event loop, by number. Both engines use the table to find the owner of a
//! descriptor.

use std::cmp::Reverse;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::Token;

use super::entry::{Entry, Owner};

/// One descriptor: its entry, and what the engine keeps beside the entry.
#[derive(Debug)]
pub(super) struct Slot<C> {
    entry: Entry,
    /// The engine's own part. The thread engine keeps the client's connection here, the async engine its waker.
    pub(super) content: C,
}

impl<C> Deref for Slot<C> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

const CHUNK: usize = 1024;

/// The bits of a token that hold the descriptor. The generation has 24 bits above, so no token of a socket equals the
/// token of the listeners or of the alarm.
const FD_BITS: u32 = 32;
const FD_MASK: usize = (1 << FD_BITS) - 1;

/// A chunk of slots, once it is needed.
type Chunk<C> = OnceLock<Box<[Slot<C>]>>;

/// Slots by descriptor. Slots are allocated 1024 at a time, as the numbers grow.
#[derive(Debug)]
pub(super) struct Table<C> {
    chunks: Box<[Chunk<C>]>,
    highest: AtomicUsize,
}

impl<C: Default> Table<C> {
    /// A table for descriptors below `most`.
    pub(super) fn new(most: usize) -> Self {
        Table {
            chunks: (0..most.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            highest: AtomicUsize::new(0),
        }
    }

    /// Returns the slot of a descriptor, and allocates its chunk at the first use. None when the number is beyond the
    /// table.
    pub(super) fn admit(&self, fd: usize) -> Option<&Slot<C>> {
        let slot = || Slot { entry: Entry::new(), content: C::default() };
        let chunk = self.chunks.get(fd / CHUNK)?.get_or_init(|| (0..CHUNK).map(|_| slot()).collect());
        if fd > self.highest.load(Ordering::Relaxed) {
            self.highest.fetch_max(fd, Ordering::Relaxed);
        }
        Some(&chunk[fd % CHUNK])
    }
}

impl<C> Table<C> {
    /// The slot of a descriptor that was admitted. Not inlined, because a request needs slots in a dozen places.
    #[inline(never)]
    pub(super) fn slot(&self, fd: usize) -> Option<&Slot<C>> {
        Some(&self.chunks.get(fd / CHUNK)?.get()?[fd % CHUNK])
    }

    /// The poller's token for a descriptor. The low bits are the descriptor, the high bits are its generation.
    pub(super) fn token(&self, fd: usize) -> Token {
        Token(fd | (self.slot(fd).map_or(0, |slot| slot.generation()) as usize) << FD_BITS)
    }

    /// The slot and the generation that a token names, with the descriptor.
    pub(super) fn named(&self, token: Token) -> Option<(usize, &Slot<C>, u32)> {
        let fd = token.0 & FD_MASK;
        Some((fd, self.slot(fd)?, (token.0 >> FD_BITS) as u32))
    }

    /// The client connections, by descriptor.
    pub(super) fn clients(&self) -> impl Iterator<Item = (usize, &Slot<C>)> {
        (0..=self.highest.load(Ordering::Relaxed)).filter_map(move |fd| {
            let slot = self.slot(fd)?;
            (slot.owner() == Owner::Client(fd)).then_some((fd, slot))
        })
    }

    /// At most `count` clients that have been idle for the longest time, and for at least `least_ms`. In any order.
    pub(super) fn longest_idle(&self, now_ms: u64, least_ms: u32, count: usize) -> Vec<usize> {
        let idle = |(fd, slot): (usize, &Slot<C>)| Some((slot.idle_for_ms(now_ms)?, fd));
        let mut idle: Vec<_> = self.clients().filter_map(idle).filter(|(ms, _)| *ms >= least_ms).collect();
        if idle.len() > count && count > 0 {
            idle.select_nth_unstable_by_key(count - 1, |(ms, _)| Reverse(*ms));
        }
        idle.truncate(count);
        idle.into_iter().map(|(_, fd)| fd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_readiness_survive_the_encoding() {
        let entry = Entry::new();
        for owner in [Owner::Client(0), Owner::Client(70_000), Owner::Parked, Owner::Nobody] {
            entry.own(owner);
            assert_eq!(entry.announce(entry.generation(), 1), owner);
            entry.announce(entry.generation(), 4);
            assert_eq!((entry.take_ready(), entry.take_ready()), (5, 0));
        }
    }

    #[test]
    fn a_late_event_of_a_closed_socket_is_ignored() {
        let entry = Entry::new();
        let old = entry.generation();
        entry.own(Owner::Client(5));
        entry.announce(old, 1);
        entry.forget();
        entry.own(Owner::Client(6));
        assert_eq!((entry.announce(old, 4), entry.take_ready()), (Owner::Nobody, 0));
        assert_eq!((entry.announce(entry.generation(), 2), entry.take_ready()), (Owner::Client(6), 2));
    }

    #[test]
    fn a_client_leaves_only_while_it_is_idle() {
        let entry = Entry::new();
        assert!(!entry.ask_to_leave(), "it runs");
        entry.begin_wait(0, 9, false);
        assert!(!entry.ask_to_leave() && entry.is_waiting(), "it has a request");
        entry.begin_wait(0, 9, true);
        assert!(entry.ask_to_leave() && !entry.is_waiting() && !entry.ask_to_leave());
        assert!(!entry.end_wait(), "a request that comes now does not wait for its turn");
        assert!(entry.begin_run() && !entry.begin_run());
    }

    #[test]
    fn a_connection_that_yielded_runs_late_until_it_is_idle_or_another() {
        let entry = Entry::new();
        for (now_idle, forgotten, expected) in
            [(false, false, true), (true, false, false), (false, true, false)]
        {
            entry.note_yield();
            entry.begin_wait(0, 9, now_idle);
            if forgotten {
                entry.forget();
            }
            assert_eq!(entry.has_yielded(), expected, "idle {now_idle}, forgotten {forgotten}");
        }
    }

    #[test]
    fn clients_are_found_by_deadline_and_by_idle_time() {
        let table = Table::<()>::new(3000);
        let entries = [
            (5, Owner::Client(5), 40, 10, true),
            (6, Owner::Client(5), 0, 0, true),
            (7, Owner::Client(7), 0, 3, false),
            (900, Owner::Client(900), 70, 50, true),
            // The time of an engine that has run for 49 days.
            (2500, Owner::Client(2500), (1 << 32) - 5, 20, true),
        ];
        for (fd, owner, since, deadline, idle) in entries {
            let slot = table.admit(fd).expect("within the table");
            slot.own(owner);
            slot.begin_wait(since, deadline, idle);
        }
        let due = |now| -> Vec<_> {
            table.clients().filter(|(_, slot)| slot.is_due(now)).map(|(fd, _)| fd).collect()
        };
        assert_eq!((due(2), due(10), due(50)), (vec![], vec![5, 7], vec![5, 7, 900, 2500]));
        let longest_idle = |least, count| {
            let mut found = table.longest_idle((1 << 32) + 100, least, count);
            found.sort_unstable();
            found
        };
        let found = [0, 1, 2, 3, 9].map(|count| longest_idle(0, count));
        assert_eq!(found, [vec![], vec![2500], vec![5, 2500], vec![5, 900, 2500], vec![5, 900, 2500]]);
        assert_eq!([31, 61, 106].map(|least| longest_idle(least, 9)), [vec![5, 2500], vec![2500], vec![]]);
        assert!(table.admit(4000).is_none());
    }
}
