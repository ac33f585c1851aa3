//! How attempts end.
use std::fmt;
use std::time::Duration;

/// The reason for the failure of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused, the backend's host is unreachable, or the handshake of a transform such as TLS failed.
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

impl fmt::Display for Failure {
    /// Writes the name that metrics use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Refused => "refused",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Local => "local",
            Failure::Reset => "reset",
            Failure::EndedEarly => "ended_early",
            Failure::BadResponse => "bad_response",
            Failure::ResponseTimeout => "response_timeout",
            Failure::Stalled => "stalled",
        })
    }
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

/// The result of an attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The end of the attempt.
    pub end: AttemptEnd,
    /// The status of the final response, if its head arrived.
    pub status: Option<u16>,
    /// The time from the start of the attempt to the first byte of a response.
    pub first_byte: Option<Duration>,
}
