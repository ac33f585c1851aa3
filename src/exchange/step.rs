//! What an exchange asks of its engine.

use std::fmt;

/// The two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who sent the request.
    Client,
    /// Who answers it.
    Backend,
}

/// Transfers that are of use now, as a set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// No transfer.
    pub const NONE: Interest = Interest(0);
    /// Bytes from the client.
    pub const READ_CLIENT: Interest = Interest(1);
    /// Pending bytes to the client.
    pub const WRITE_CLIENT: Interest = Interest(2);
    /// Bytes from the backend.
    pub const READ_BACKEND: Interest = Interest(4);
    /// Pending bytes to the backend.
    pub const WRITE_BACKEND: Interest = Interest(8);

    /// Adds `other` or takes it out.
    pub fn set(&mut self, other: Interest, on: bool) {
        match on {
            true => self.0 |= other.0,
            false => self.0 &= !other.0,
        }
    }

    /// True when all of `other` is in it.
    pub fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when some transfer on `side` is in it.
    pub fn concerns(self, side: Side) -> bool {
        self.contains(Interest::read(side)) || self.contains(Interest::write(side))
    }

    /// Reading from `side`.
    pub fn read(side: Side) -> Interest {
        match side {
            Side::Client => Interest::READ_CLIENT,
            Side::Backend => Interest::READ_BACKEND,
        }
    }

    /// Writing to `side`.
    pub fn write(side: Side) -> Interest {
        match side {
            Side::Client => Interest::WRITE_CLIENT,
            Side::Backend => Interest::WRITE_BACKEND,
        }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Interest::READ_CLIENT, "read client"),
            (Interest::WRITE_CLIENT, "write client"),
            (Interest::READ_BACKEND, "read backend"),
            (Interest::WRITE_BACKEND, "write backend"),
        ];
        f.debug_set().entries(names.iter().filter(|(i, _)| self.contains(*i)).map(|(_, name)| name)).finish()
    }
}

/// What the engine is to do with a detached backend connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Keep it for another request to the backend of [`Exchange::attempt`](super::Exchange::attempt): it is whole and idle.
    Park,
    /// Close it.
    Drop,
}

/// Why a backend connection could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachError {
    /// Refused or unreachable.
    Refused,
    /// The connect deadline passed.
    TimedOut,
    /// This process has no descriptor or memory left.
    Exhausted,
    /// This host cannot make the connection, for want of a free port for example. The backend is not to blame.
    Local,
}

/// Why a client's connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Everything was said.
    Done,
    /// The client went away or broke off in the middle.
    ClientLost,
    /// No request came in time.
    TimedOut,
    /// A deadline passed in the middle of a response.
    Stalled,
    /// The response cannot be completed; it must not look whole.
    Truncated,
}

impl CloseReason {
    /// The connection is to be reset, not ended: an ordinary end could pass for the end of the body.
    pub fn is_abrupt(self) -> bool {
        matches!(self, CloseReason::Truncated | CloseReason::Stalled)
    }
}

/// The one thing an engine is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Move bytes in any of these ways; when none can, wait until one can or the deadline passes.
    Transfer(Interest),
    /// Get a connection to the backend of [`Exchange::attempt`](super::Exchange::attempt); an older one is dropped.
    Attach,
    /// The backend connection is not needed any more.
    Detach(Keep),
    /// No more bytes will be sent to that side.
    Shutdown(Side),
    /// The request is answered and no other is here: wait for the client without an exchange.
    Idle,
    /// Close the client's connection, and the backend's.
    Close(CloseReason),
}
