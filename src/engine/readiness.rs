//! The recorded readiness of one connection.

/// A set of facts about a connection. Readiness is edge-triggered: a poller adds a fact once, and a transfer removes
/// the fact when the socket is drained or full. The record saves system calls that would only return `WouldBlock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing is known.
    pub const NONE: Readiness = Readiness(0);
    /// The socket may have bytes to read.
    pub const READABLE: Readiness = Readiness(1);
    /// The socket may take bytes.
    pub const WRITABLE: Readiness = Readiness(2);
    /// The peer sends no more. A short read then leaves one thing to read: the end of the stream.
    pub const ENDED: Readiness = Readiness(4);
    /// The connection is broken, for example by a reset.
    pub const FAILED: Readiness = Readiness(8);
    /// The transport holds decoded bytes that can be read even if the socket is not readable.
    pub const BUFFERED: Readiness = Readiness(16);
    /// A poller watches the socket for bytes to read.
    pub(super) const WATCHED_READ: Readiness = Readiness(32);
    /// A poller watches the socket for room to write.
    pub(super) const WATCHED_WRITE: Readiness = Readiness(64);

    /// The facts of an event. A read or a write finds the end or the error of a socket, so both count as readiness.
    pub(super) fn of_event(event: &mio::event::Event) -> Self {
        let mut ready = Readiness::NONE;
        ready.set(Readiness::READABLE, event.is_readable());
        ready.set(Readiness::WRITABLE, event.is_writable() || event.is_write_closed());
        if event.is_read_closed() {
            ready.insert(Readiness::READABLE | Readiness::ENDED);
        }
        if event.is_error() {
            ready.insert(Readiness::BROKEN);
        }
        ready
    }

    /// All facts that an error of the socket implies.
    pub(super) const BROKEN: Readiness = Readiness(1 | 2 | 4 | 8);

    /// True when all facts of `other` are known.
    pub fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when some fact of `other` is known.
    pub fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds facts.
    pub fn insert(&mut self, other: Readiness) {
        self.0 |= other.0;
    }

    /// Removes facts.
    pub fn remove(&mut self, other: Readiness) {
        self.0 &= !other.0;
    }

    /// Adds facts or removes them.
    pub fn set(&mut self, other: Readiness, on: bool) {
        if on { self.insert(other) } else { self.remove(other) }
    }

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        Readiness(bits)
    }
}

impl std::ops::BitOr for Readiness {
    type Output = Readiness;

    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}
