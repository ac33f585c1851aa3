//! All open descriptors of the engine, by number, each with its entry and its client connection.

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mio::Token;
use parking_lot::Mutex;

use super::entry::{Entry, Owner};
use crate::engine::driver::Connection;
use crate::engine::transport::Tcp;

/// One descriptor: its entry, and its client connection if it has one. The worker that runs the connection locks it.
#[derive(Debug)]
pub(super) struct Slot {
    entry: Entry,
    /// The client's connection is at rest and has no request.
    pub(super) idle: AtomicBool,
    pub(super) connection: Mutex<Option<Box<Connection<Tcp>>>>,
}

impl Slot {
    fn new() -> Self {
        Slot { entry: Entry::new(), idle: AtomicBool::new(false), connection: Mutex::new(None) }
    }
}

impl Deref for Slot {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

const CHUNK: usize = 1024;

/// The bits of a token that hold the descriptor. The generation has 24 bits above, so no token of a socket equals the
/// token of a listener or of the waker.
const FD_BITS: u32 = 32;
const FD_MASK: usize = (1 << FD_BITS) - 1;

/// Slots by descriptor. Slots are allocated 1024 at a time, as the numbers grow.
#[derive(Debug)]
pub(super) struct Table {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    highest: AtomicUsize,
}

impl Table {
    /// A table for descriptors below `most`.
    pub(super) fn new(most: usize) -> Self {
        Table {
            chunks: (0..most.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            highest: AtomicUsize::new(0),
        }
    }

    /// The slot of a descriptor. None when the number is beyond the table.
    pub(super) fn admit(&self, fd: usize) -> Option<&Slot> {
        let chunk = self.chunks.get(fd / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Slot::new()).collect());
        self.highest.fetch_max(fd, Ordering::Relaxed);
        Some(&chunk[fd % CHUNK])
    }

    /// The slot of a descriptor that was admitted.
    pub(super) fn entry(&self, fd: usize) -> Option<&Slot> {
        Some(&self.chunks.get(fd / CHUNK)?.get()?[fd % CHUNK])
    }

    /// The name of an admitted descriptor's socket for the poller: the descriptor below, and its generation above.
    pub(super) fn token(&self, fd: usize) -> Token {
        Token(fd | (self.entry(fd).map_or(0, |slot| slot.generation()) as usize) << FD_BITS)
    }

    /// The slot and the generation that a token names, with the descriptor.
    pub(super) fn named(&self, token: Token) -> Option<(usize, &Slot, u32)> {
        let fd = token.0 & FD_MASK;
        Some((fd, self.entry(fd)?, (token.0 >> FD_BITS) as u32))
    }

    /// Client connections whose deadline has passed, or all of them.
    pub(super) fn due(&self, now_ms: u64, all: bool) -> impl Iterator<Item = (usize, &Slot)> {
        (0..=self.highest.load(Ordering::Relaxed)).filter_map(move |fd| {
            let entry = self.entry(fd)?;
            let due = entry.owner() == Owner::Client(fd)
                && (all || entry.deadline_ms.load(Ordering::Relaxed) <= now_ms);
            due.then_some((fd, entry))
        })
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
    fn only_due_clients_are_found() {
        let table = Table::new(3000);
        for (fd, owner, deadline) in
            [(5, Owner::Client(5), 10), (6, Owner::Client(5), 0), (2500, Owner::Client(2500), 99)]
        {
            let entry = table.admit(fd).expect("within the table");
            entry.own(owner);
            entry.deadline_ms.store(deadline, Ordering::Relaxed);
        }
        let due = |now, all| table.due(now, all).map(|(fd, _)| fd).collect::<Vec<_>>();
        assert_eq!((due(9, false), due(10, false), due(0, true)), (vec![], vec![5], vec![5, 2500]));
        assert!(table.admit(4000).is_none());
    }
}
