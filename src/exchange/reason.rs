//! The reasons to answer in place of a backend.

use std::fmt;

use crate::cluster::Failure;
use crate::http::answer::{Answer, Bytes};

/// The fields of a 503 for a full queue. The client may try again after one second.
const RETRY_LATER: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n";

/// The reason for an answer in place of a backend's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request head did not come in time. Status 408; the connection is closed.
    HeadTimeout,
    /// The request body did not come in time. Status 408; the connection is closed.
    BodyTimeout,
    /// The backend did not accept the connection in time. Status 504.
    ConnectTimeout,
    /// The backend did not answer in time. Status 504.
    ResponseTimeout,
    /// No backend is available. Status 503.
    NoBackend,
    /// The backend refused the connection or is unreachable. Status 502.
    Unreachable,
    /// The backend closed the connection before it sent a byte of a response. Status 502.
    BackendClosed,
    /// The response is invalid, or ended within its head. Status 502.
    BadResponse,
    /// This host could not make a connection, for example because no port is free. Status 503.
    LocalError,
    /// The queue of the cluster is full. Status 503 with Retry-After.
    QueueFull,
    /// The request waited too long in the queue of the cluster. Status 503 with Retry-After.
    QueueTimeout,
    /// The process has no descriptor or memory left. Status 503; the connection is closed.
    Overloaded,
}

impl Reason {
    /// Returns the reason for the client after the last attempt failed. `begun` is true when a byte of a response
    /// came.
    pub(super) fn of_failure(failure: Failure, begun: bool) -> Self {
        match failure {
            Failure::Refused => Reason::Unreachable,
            Failure::ConnectTimeout => Reason::ConnectTimeout,
            Failure::Local => Reason::LocalError,
            Failure::Reset | Failure::EndedEarly if !begun => Reason::BackendClosed,
            Failure::Reset | Failure::EndedEarly | Failure::BadResponse => Reason::BadResponse,
            Failure::ResponseTimeout | Failure::Stalled => Reason::ResponseTimeout,
        }
    }

    /// Returns the answer: a status and a short text. The answer closes the connection after a timeout of the request,
    /// because the rest of the request may still come. It also closes the connection under overload.
    pub fn answer(self) -> Answer {
        let (status, close) = match self {
            Reason::HeadTimeout | Reason::BodyTimeout => (408, true),
            Reason::Unreachable | Reason::BackendClosed | Reason::BadResponse => (502, false),
            Reason::NoBackend | Reason::LocalError | Reason::QueueFull | Reason::QueueTimeout => (503, false),
            Reason::Overloaded => (503, true),
            Reason::ConnectTimeout | Reason::ResponseTimeout => (504, false),
        };
        let mut answer = Answer::text(status, self);
        if let Reason::QueueFull | Reason::QueueTimeout = self {
            answer.fields = Bytes::Static(RETRY_LATER);
        }
        if close { answer.closing() } else { answer }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::HeadTimeout => "the request head did not come in time",
            Reason::BodyTimeout => "the request body did not come in time",
            Reason::ConnectTimeout => "the backend did not accept the connection in time",
            Reason::ResponseTimeout => "the backend did not answer in time",
            Reason::NoBackend => "no backend is available",
            Reason::Unreachable => "the backend cannot be reached",
            Reason::BackendClosed => "the backend closed the connection",
            Reason::BadResponse => "the backend's response is invalid",
            Reason::LocalError => "no connection to a backend can be made",
            Reason::QueueFull => "too many requests wait for a backend",
            Reason::QueueTimeout => "no backend was free in time",
            Reason::Overloaded => "overloaded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_become_status_codes() {
        let cases = [
            (Reason::HeadTimeout, 408, true),
            (Reason::BodyTimeout, 408, true),
            (Reason::Unreachable, 502, false),
            (Reason::BackendClosed, 502, false),
            (Reason::BadResponse, 502, false),
            (Reason::NoBackend, 503, false),
            (Reason::LocalError, 503, false),
            (Reason::QueueFull, 503, false),
            (Reason::QueueTimeout, 503, false),
            (Reason::Overloaded, 503, true),
            (Reason::ConnectTimeout, 504, false),
            (Reason::ResponseTimeout, 504, false),
        ];
        for (reason, status, close) in cases {
            let answer = reason.answer();
            assert_eq!((answer.status, answer.close), (status, close), "{reason:?}");
        }
    }
}
