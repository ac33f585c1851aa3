//! The steps that an exchange asks of its engine.

use std::fmt;

use crate::app::RequestEnd;

/// The two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The sender of the request.
    Client,
    /// The server that answers the request.
    Backend,
}

/// A set of transfers that the exchange can use now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// No transfer.
    pub const NONE: Interest = Interest(0);
    /// Read bytes from the client.
    pub const READ_CLIENT: Interest = Interest(1);
    /// Write pending bytes to the client.
    pub const WRITE_CLIENT: Interest = Interest(2);
    /// Read bytes from the backend.
    pub const READ_BACKEND: Interest = Interest(4);
    /// Write pending bytes to the backend.
    pub const WRITE_BACKEND: Interest = Interest(8);

    /// Adds or removes `other`.
    pub fn set(&mut self, other: Interest, on: bool) {
        match on {
            true => self.0 |= other.0,
            false => self.0 &= !other.0,
        }
    }

    /// True when the set contains all of `other`.
    pub fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when the set contains a transfer on `side`.
    pub fn concerns(self, side: Side) -> bool {
        self.contains(Interest::read(side)) || self.contains(Interest::write(side))
    }

    /// The writes of the set.
    pub fn writes(self) -> Interest {
        Interest(self.0 & (Interest::WRITE_CLIENT.0 | Interest::WRITE_BACKEND.0))
    }

    /// Returns the interest in reading from `side`.
    pub fn read(side: Side) -> Interest {
        match side {
            Side::Client => Interest::READ_CLIENT,
            Side::Backend => Interest::READ_BACKEND,
        }
    }

    /// Returns the interest in writing to `side`.
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

/// The use of a detached backend connection: keep or close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Keep the connection for another request to the backend of [`Exchange::attempt`](super::Exchange::attempt). The
    /// connection is idle and has no unread bytes.
    Park,
    /// Close the connection.
    Drop,
}

/// The reason why an attach failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachError {
    /// Refused or unreachable.
    Refused,
    /// The connect deadline passed.
    TimedOut,
    /// This process has no descriptor or memory left.
    Exhausted,
    /// This host cannot make the connection, for example because no port is free. The backend is not at fault.
    Local,
}

/// The reason why a client's connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Everything was sent.
    Done,
    /// The client left, or ended its stream in the middle of a request.
    ClientLost,
    /// No request came in time.
    TimedOut,
    /// No byte moved in time in the middle of a response.
    Stalled,
    /// The response cannot be completed. The client must notice this.
    Truncated,
}

impl CloseReason {
    /// True when the connection must be reset. A FIN could look like the end of the body.
    pub fn is_abrupt(self) -> bool {
        matches!(self, CloseReason::Truncated | CloseReason::Stalled)
    }

    /// Returns the end of a request whose connection is closed for this reason.
    pub fn request_end(self) -> RequestEnd {
        match self {
            CloseReason::Done => RequestEnd::Complete,
            CloseReason::ClientLost => RequestEnd::ClientLost,
            CloseReason::TimedOut | CloseReason::Stalled => RequestEnd::Stalled,
            CloseReason::Truncated => RequestEnd::CutOff,
        }
    }
}

/// The next action of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make any of these transfers. If no transfer is possible, wait for a transfer or for the deadline.
    Transfer(Interest),
    /// Get a connection to the backend of [`Exchange::attempt`](super::Exchange::attempt). Close an older backend
    /// connection of this exchange.
    Attach,
    /// Park or close the backend connection.
    Detach(Keep),
    /// Shut down this side for writing.
    Shutdown(Side),
    /// Wait for the client without an exchange. The request is answered, and no byte of another request has arrived. Before
    /// another request, [`renew`](super::Exchange::renew) the exchange.
    Idle,
    /// Close the client's connection and the backend connection.
    Close(CloseReason),
}
