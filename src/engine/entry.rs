//! The state of one descriptor: its readiness, its owner and its deadline. Both engines use it. The readiness of a
//! descriptor is reported to its owner.
//!
//! `tests/model.rs` checks the first two of these rules under many interleavings of a few threads:
//! - No readiness is lost. A poller stores the readiness first and loads the owner second ([`Entry::announce`]). A new
//!   owner stores itself first and loads the readiness second ([`Entry::own`], [`Entry::take_ready`]).
//! - No readiness reaches another socket. The kernel reuses a descriptor's number for another socket, and a poller may
//!   report an event of the closed socket late. So each use of the number has a generation, and an event carries the
//!   generation under which its socket was registered.
//! - A client that begins a request stays, even if it was asked to leave at the same time ([`Entry::ask_to_leave`]).
//!
//! The model compiles this file with the atomics of shuttle instead of those of `engine/atomic.rs`.

use super::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The readiness takes the lowest bits of `Entry::ready`, and the generation takes the bits above.
const READY_BITS: u32 = 8;
const READY: u32 = (1 << READY_BITS) - 1;

/// No owner: the descriptor is closed, or about to be closed.
const NOBODY: u32 = u32::MAX;
/// The owner is the pool of kept backend connections.
const PARKED: u32 = u32::MAX - 1;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The states of `Entry::wait`.
const NO_WAIT: u8 = 0;
const WAITS: u8 = 1;
const IDLE: u8 = 2;
const LEAVES: u8 = 3;

/// The state of one descriptor, shared by pollers and workers. 24 bytes, because each idle connection has an entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// The readiness, and the generation above it. The generation wraps around after 16 million uses of the number.
    ready: AtomicU32,
    owner: AtomicU32,
    /// The deadline of a client's connection in milliseconds since the start of its engine.
    deadline_ms: AtomicU64,
    /// The start of the connection's wait, in the same unit. Wraps around after 49 days.
    since_ms: AtomicU32,
    /// The wait of a client's connection.
    wait: AtomicU8,
    /// 1 when a client's connection has yielded in its present exchange.
    yielded: AtomicU8,
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
            owner: AtomicU32::new(NOBODY),
            deadline_ms: AtomicU64::new(NEVER),
            since_ms: AtomicU32::new(0),
            wait: AtomicU8::new(NO_WAIT),
            yielded: AtomicU8::new(0),
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
        self.deadline_ms.store(NEVER, Ordering::Relaxed);
        self.wait.store(NO_WAIT, Ordering::Relaxed);
        self.yielded.store(0, Ordering::Relaxed);
    }

    /// Records that the client's connection waits from now until the deadline. `idle` says that it has no request.
    pub(super) fn begin_wait(&self, now_ms: u64, deadline_ms: u64, idle: bool) {
        self.since_ms.store(now_ms as u32, Ordering::Relaxed);
        self.deadline_ms.store(deadline_ms, Ordering::Relaxed);
        self.wait.store(if idle { IDLE } else { WAITS }, Ordering::Relaxed);
        if idle {
            self.yielded.store(0, Ordering::Relaxed);
        }
    }

    /// Records that the client's connection has yielded.
    pub(super) fn note_yield(&self) {
        self.yielded.store(1, Ordering::Relaxed);
    }

    /// True when the client's connection has yielded since it was idle. Such an exchange is long: the connection runs
    /// after those that have not yielded.
    pub(super) fn has_yielded(&self) -> bool {
        self.yielded.load(Ordering::Relaxed) != 0
    }

    /// True while the client's connection waits and nothing has called it.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.wait.load(Ordering::Relaxed), WAITS | IDLE)
    }

    /// Ends the wait of a client's connection. True when the connection was idle.
    pub(super) fn end_wait(&self) -> bool {
        let wait = self.wait.load(Ordering::Relaxed);
        if wait != LEAVES {
            self.wait.store(NO_WAIT, Ordering::Relaxed);
        }
        wait == IDLE
    }

    /// True when the deadline of a client's connection has passed.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.deadline_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// The time for which a client's connection has been idle, in milliseconds. None while it is not idle.
    pub(super) fn idle_for_ms(&self, now_ms: u64) -> Option<u32> {
        let since = self.since_ms.load(Ordering::Relaxed);
        (self.wait.load(Ordering::Relaxed) == IDLE).then(|| (now_ms as u32).wrapping_sub(since))
    }

    /// Asks an idle client's connection to close. False when the connection is not idle.
    pub(super) fn ask_to_leave(&self) -> bool {
        self.wait.compare_exchange(IDLE, LEAVES, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Begins a run of the client's connection. True when the connection was asked to close.
    pub(super) fn begin_run(&self) -> bool {
        match self.wait.load(Ordering::Relaxed) {
            NO_WAIT => false,
            LEAVES => self.wait.swap(NO_WAIT, Ordering::Relaxed) == LEAVES,
            _ => {
                self.wait.store(NO_WAIT, Ordering::Relaxed);
                false
            }
        }
    }
}
