//! The state of one descriptor: its readiness, its owner, and whether a run is queued. The owner runs when the
//! descriptor becomes ready.
//!
//! Four rules, each of which `tests/model.rs` checks over many schedules of a few threads:
//! - No readiness is lost. A poller stores the readiness first and loads the owner second ([`Entry::announce`]). A new
//!   owner stores itself first and loads the readiness second ([`Entry::own`], [`Entry::take_ready`]).
//! - No readiness reaches another socket. A descriptor's number returns for another socket, and a poller may report an
//!   event of the closed socket late. So each use of the number has a generation, and an event carries the generation
//!   under which its socket was registered.
//! - One worker runs a connection at a time: the worker that moved it from at rest to queued ([`Entry::schedule`]).
//! - A descriptor's number may return for another connection while the first connection's worker has not left
//!   ([`Entry::rest`] is false). This worker then runs the other connection.
//!
//! The model replaces `super::atomic` with the atomics of its scheduler.

use super::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The readiness takes the lowest bits of `Entry::ready`, and the generation takes the bits above.
const READY_BITS: u32 = 8;
const READY: u32 = (1 << READY_BITS) - 1;

/// No owner: the descriptor is closed, or about to be closed.
const NOBODY: u32 = u32::MAX;
/// The owner is the pool of kept backend connections.
const PARKED: u32 = u32::MAX - 1;

const AT_REST: u8 = 0;
const QUEUED: u8 = 1;
const QUEUED_AGAIN: u8 = 2;

/// The state of one descriptor, shared by pollers and workers.
#[derive(Debug)]
pub(super) struct Entry {
    /// The readiness, and the generation above it. The generation wraps around after 16 million uses of the number.
    ready: AtomicU32,
    run: AtomicU8,
    owner: AtomicU32,
    /// Milliseconds since the engine's start; `u64::MAX` for none.
    pub(super) deadline_ms: AtomicU64,
}

/// The receiver of a descriptor's readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The connection of the client with this descriptor.
    Client(usize),
    /// The pool of kept backend connections.
    Parked,
    Nobody,
}

impl Entry {
    pub(super) fn new() -> Self {
        Entry {
            ready: AtomicU32::new(0),
            run: AtomicU8::new(AT_REST),
            owner: AtomicU32::new(NOBODY),
            deadline_ms: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes the readiness that pollers announced since the last call. Sequentially consistent like `announce` and
    /// `own`: either the poller sees the new owner, or the new owner sees the readiness.
    pub(super) fn take_ready(&self) -> u8 {
        match self.ready.load(Ordering::SeqCst) & READY {
            0 => 0,
            _ => (self.ready.fetch_and(!READY, Ordering::SeqCst) & READY) as u8,
        }
    }

    /// The generation of the current use of the descriptor's number.
    pub(super) fn generation(&self) -> u32 {
        self.ready.load(Ordering::SeqCst) >> READY_BITS
    }

    /// Adds the readiness that a poller reports for a socket of this generation. Returns the owner, which the caller
    /// must tell. Does nothing when the socket is already forgotten.
    pub(super) fn announce(&self, generation: u32, ready: u8) -> Owner {
        let add = |known: u32| (known >> READY_BITS == generation).then_some(known | u32::from(ready));
        match self.ready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add) {
            Ok(_) => self.owner(),
            Err(_) => Owner::Nobody,
        }
    }

    pub(super) fn owner(&self) -> Owner {
        match self.owner.load(Ordering::SeqCst) {
            NOBODY => Owner::Nobody,
            PARKED => Owner::Parked,
            fd => Owner::Client(fd as usize),
        }
    }

    pub(super) fn own(&self, owner: Owner) {
        let owner = match owner {
            Owner::Client(fd) => fd as u32,
            Owner::Parked => PARKED,
            Owner::Nobody => NOBODY,
        };
        self.owner.store(owner, Ordering::SeqCst);
    }

    /// Clears the entry and begins the next generation. Must be called before the descriptor is closed, because its
    /// number may return at once for another connection.
    pub(super) fn forget(&self) {
        self.own(Owner::Nobody);
        let next = |known: u32| Some((known | READY).wrapping_add(1));
        let _ = self.ready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        self.deadline_ms.store(u64::MAX, Ordering::Relaxed);
    }

    /// Asks for a run. True when the connection was at rest; then the caller must queue the connection.
    pub(super) fn schedule(&self) -> bool {
        let next = |run| match run {
            AT_REST => Some(QUEUED),
            QUEUED => Some(QUEUED_AGAIN),
            _ => None,
        };
        self.run.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(AT_REST)
    }

    /// Ends a run, after which the connection waits or has ended. False when another thread asked for a run meanwhile;
    /// then the caller must run the connection again.
    pub(super) fn rest(&self) -> bool {
        let rested = self.run.compare_exchange(QUEUED, AT_REST, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !rested {
            self.run.store(QUEUED, Ordering::SeqCst);
        }
        rested
    }
}
