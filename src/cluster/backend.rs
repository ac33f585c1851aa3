//! One server of a cluster, with the counters of its attempts.
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::health::Health;

/// The identity of a backend. No two backends of a process have the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(u64);

impl BackendId {
    fn unused() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        BackendId(NEXT.fetch_add(1, Relaxed))
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reason for the failure of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused, or the backend's host is unreachable.
    Refused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// This host has no descriptor, memory or port left for a connection. The backend is not to blame.
    Local,
    /// The connection was reset.
    Reset,
    /// The connection ended before the end of the response.
    EndedEarly,
    /// The response was not valid HTTP.
    BadResponse,
    /// No response head came in time.
    ResponseTimeout,
    /// No byte moved for too long in the middle of a response.
    Stalled,
}

impl Failure {
    /// True when no connection was made. Then no byte of the request was sent.
    pub(crate) fn is_of_connect(self) -> bool {
        matches!(self, Failure::Refused | Failure::ConnectTimeout | Failure::Local)
    }

    /// All failures.
    pub const ALL: [Failure; 8] = [
        Failure::Refused,
        Failure::ConnectTimeout,
        Failure::Local,
        Failure::Reset,
        Failure::EndedEarly,
        Failure::BadResponse,
        Failure::ResponseTimeout,
        Failure::Stalled,
    ];
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// A whole response came.
    Answered,
    /// The response was no longer needed: the client left, the request was invalid, or the exchange panicked.
    Abandoned,
    /// The attempt failed.
    Failed(Failure),
}

/// One server of a cluster, with its health and the counters of its attempts.
// The fields that every request reads or writes share one cache line. Two backends never share a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Backend {
    started: AtomicU64,
    ended: AtomicU64,
    health: Health,
    id: BackendId,
    removed: AtomicBool,
    address: SocketAddr,
    abandoned: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
}

/// The counts of the attempts at one backend since it was added: one count per result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// Attempts that began.
    pub started: u64,
    /// Attempts that got a whole response.
    pub answered: u64,
    /// Attempts that ended as [`AttemptEnd::Abandoned`].
    pub abandoned: u64,
    /// Failed attempts by reason, in the order of [`Failure::ALL`].
    pub failed: [u64; Failure::ALL.len()],
}

impl AttemptCounts {
    /// Returns the number of attempts that failed with `failure`.
    pub fn failed(&self, failure: Failure) -> u64 {
        self.failed[failure as usize]
    }

    /// Returns the number of all attempts that ended.
    pub fn ended(&self) -> u64 {
        self.answered + self.abandoned + self.failed.iter().sum::<u64>()
    }
}

impl Backend {
    pub(super) fn new(address: SocketAddr, epoch: Instant) -> Self {
        Backend {
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            health: Health::new(epoch),
            id: BackendId::unused(),
            removed: AtomicBool::new(false),
            address,
            abandoned: AtomicU64::new(0),
            failed: Default::default(),
        }
    }

    /// Returns the backend's identity.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Returns the address that the backend listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of attempts that have begun and have not ended. An attempt that ends during the call may
    /// still be counted.
    pub fn in_flight(&self) -> u32 {
        // `ended` is loaded first. An attempt that begins and ends between the two loads makes the result too high.
        let ended = self.ended.load(Relaxed);
        self.started.load(Relaxed).saturating_sub(ended) as u32
    }

    /// Returns the counters of the attempts.
    pub fn counts(&self) -> AttemptCounts {
        let failed = std::array::from_fn(|kind| self.failed[kind].load(Relaxed));
        let abandoned = self.abandoned.load(Relaxed);
        let unanswered = abandoned + failed.iter().sum::<u64>();
        AttemptCounts {
            answered: self.ended.load(Relaxed).saturating_sub(unanswered),
            abandoned,
            failed,
            started: self.started.load(Relaxed),
        }
    }

    /// True when the backend may get a request.
    pub fn available(&self, now: Instant) -> bool {
        self.health.is_healthy(now, || self.in_flight())
    }

    /// True when the backend does not belong to its cluster any more.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }

    pub(super) fn remove(&self) {
        self.removed.store(true, Relaxed);
    }

    /// Ejects the backend for [`super::EJECTED_FOR`].
    pub(crate) fn eject(&self, now: Instant) {
        self.health.eject(now);
    }

    /// Counts an attempt without a timely response. [`super::SILENCES_MAX`] of these attempts in a row eject the
    /// backend.
    pub(crate) fn count_silence(&self, now: Instant) {
        self.health.count_silence(now);
    }

    /// Ends an ejection.
    pub(crate) fn restore(&self) {
        self.health.restore();
    }

    /// Returns the end of the ejection in milliseconds since the epoch of the cluster; 0 without an ejection.
    pub(super) fn ejected_until(&self) -> u64 {
        self.health.ejected_until()
    }

    pub(super) fn count_start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    /// Counts the end of an attempt. An answered attempt changes only `ended`: `counts` computes the answered attempts
    /// as the ended attempts minus the abandoned and failed attempts.
    pub(super) fn count_end(&self, end: AttemptEnd) {
        match end {
            AttemptEnd::Answered => {}
            AttemptEnd::Abandoned => _ = self.abandoned.fetch_add(1, Relaxed),
            AttemptEnd::Failed(failure) => _ = self.failed[failure as usize].fetch_add(1, Relaxed),
        }
        self.ended.fetch_add(1, Relaxed);
    }
}
