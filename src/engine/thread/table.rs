//! Every open descriptor of the engine, by number: who is to run when it becomes ready, and the connections.

use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::engine::connection::Connection;
use crate::engine::link::Readiness;

/// Nobody: the descriptor is closed or being closed.
const NOBODY: u32 = u32::MAX;
/// Set in the owner of a backend connection that is parked; the other bits are the backend's id.
const PARKED: u32 = 1 << 31;

const AT_REST: u8 = 0;
const QUEUED: u8 = 1;
const QUEUED_AGAIN: u8 = 2;

/// What is known of one descriptor. A connection is owned by whoever moved `run` from at rest to queued.
#[derive(Debug)]
pub(super) struct Entry {
    ready: AtomicU8,
    run: AtomicU8,
    owner: AtomicU32,
    /// Milliseconds since the engine's start; `u64::MAX` for none.
    pub(super) deadline_ms: AtomicU64,
    /// The client's connection at rest has no request.
    pub(super) idle: AtomicBool,
    pub(super) connection: Mutex<Option<Box<Connection<TcpStream>>>>,
}

/// Who is to be told that a descriptor is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The connection of that client's descriptor.
    Client(usize),
    /// The pool of that backend.
    Parked(usize),
    Nobody,
}

impl Entry {
    fn new() -> Self {
        Entry {
            ready: AtomicU8::new(0),
            run: AtomicU8::new(AT_REST),
            owner: AtomicU32::new(NOBODY),
            deadline_ms: AtomicU64::new(u64::MAX),
            idle: AtomicBool::new(false),
            connection: Mutex::new(None),
        }
    }

    /// What a poller said since the last time. The stores and loads here and in `announce` and `own` are sequentially
    /// consistent: either the poller sees the new owner, or the new owner sees the readiness.
    pub(super) fn take_ready(&self) -> Readiness {
        match self.ready.load(Ordering::SeqCst) {
            0 => 0,
            _ => self.ready.swap(0, Ordering::SeqCst),
        }
    }

    /// A poller says it is ready; whom to tell.
    pub(super) fn announce(&self, ready: Readiness) -> Owner {
        self.ready.fetch_or(ready, Ordering::SeqCst);
        self.owner()
    }

    pub(super) fn owner(&self) -> Owner {
        match self.owner.load(Ordering::SeqCst) {
            NOBODY => Owner::Nobody,
            parked if parked & PARKED != 0 => Owner::Parked((parked & !PARKED) as usize),
            fd => Owner::Client(fd as usize),
        }
    }

    pub(super) fn own(&self, owner: Owner) {
        let owner = match owner {
            Owner::Client(fd) => fd as u32,
            Owner::Parked(backend) => backend as u32 | PARKED,
            Owner::Nobody => NOBODY,
        };
        self.owner.store(owner, Ordering::SeqCst);
    }

    /// The descriptor is about to be closed: its number may come back at once for another connection.
    pub(super) fn forget(&self) {
        self.own(Owner::Nobody);
        self.ready.store(0, Ordering::SeqCst);
        self.deadline_ms.store(u64::MAX, Ordering::Relaxed);
    }

    /// True when the connection is to be queued by the caller: it was at rest.
    pub(super) fn schedule(&self) -> bool {
        let next = |run| match run {
            AT_REST => Some(QUEUED),
            QUEUED => Some(QUEUED_AGAIN),
            _ => None,
        };
        self.run.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(AT_REST)
    }

    /// The connection has to wait, or has ended; false when something happened meanwhile and it is to be run again.
    pub(super) fn rest(&self) -> bool {
        let rested = self.run.compare_exchange(QUEUED, AT_REST, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !rested {
            self.run.store(QUEUED, Ordering::SeqCst);
        }
        rested
    }
}

const CHUNK: usize = 1024;

/// Entries by descriptor, made a thousand at a time as the numbers grow.
#[derive(Debug)]
pub(super) struct Table {
    chunks: Box<[OnceLock<Box<[Entry]>>]>,
    highest: AtomicUsize,
}

impl Table {
    /// For descriptors below `most`.
    pub(super) fn new(most: usize) -> Self {
        Table {
            chunks: (0..most.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            highest: AtomicUsize::new(0),
        }
    }

    /// The entry of a descriptor, or None when it is beyond what the table was made for.
    pub(super) fn admit(&self, fd: usize) -> Option<&Entry> {
        let chunk = self.chunks.get(fd / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Entry::new()).collect());
        self.highest.fetch_max(fd, Ordering::Relaxed);
        Some(&chunk[fd % CHUNK])
    }

    /// The entry of a descriptor that was admitted.
    pub(super) fn entry(&self, fd: usize) -> Option<&Entry> {
        Some(&self.chunks.get(fd / CHUNK)?.get()?[fd % CHUNK])
    }

    /// Client connections whose deadline has passed, or all of them.
    pub(super) fn due(&self, now_ms: u64, all: bool) -> impl Iterator<Item = (usize, &Entry)> {
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
    fn a_connection_is_queued_once_and_runs_again_when_something_came() {
        let entry = Entry::new();
        assert!(entry.schedule());
        assert!(!entry.schedule(), "queued already");
        assert!(!entry.rest(), "something came meanwhile");
        assert!(entry.rest());
        assert!(entry.schedule());
    }

    #[test]
    fn a_number_that_comes_back_while_its_entry_is_still_queued_is_not_lost() {
        let entry = Entry::new();
        assert!(entry.schedule(), "the first connection runs");
        entry.forget();
        assert!(!entry.schedule(), "a second one gets the number before the first has left");
        assert!(!entry.rest(), "so whoever runs the first one runs the second");
        assert!(entry.rest() && entry.schedule());
    }

    #[test]
    fn owners_and_readiness_survive_the_encoding() {
        let entry = Entry::new();
        for owner in
            [Owner::Client(0), Owner::Client(70_000), Owner::Parked(0), Owner::Parked(9), Owner::Nobody]
        {
            entry.own(owner);
            assert_eq!(entry.announce(1), owner);
            entry.announce(4);
            assert_eq!((entry.take_ready(), entry.take_ready()), (5, 0));
        }
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
