//! The limits one exchange keeps to.

use std::time::Duration;

use crate::http::head::HeadLimits;

/// What one exchange may take, in bytes and in time. Every wait has a deadline.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of heads, on both sides.
    pub head: HeadLimits,
    /// From the first byte of a request to the end of its head.
    pub head_timeout: Duration,
    /// Between two bytes of a body that the client sends or reads.
    pub body_timeout: Duration,
    /// For a new connection to a backend.
    pub connect_timeout: Duration,
    /// From the whole request to the response head, and between two bytes of the response.
    pub response_timeout: Duration,
    /// For a connection without a request on it.
    pub idle_timeout: Duration,
    /// Between two bytes of a tunnel, in either direction.
    pub tunnel_timeout: Duration,
    /// For a client to notice that we are closing, while what it sends is thrown away.
    pub linger_timeout: Duration,
    /// For a backend to answer `Expect: 100-continue` before we answer it ourselves.
    pub continue_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head: HeadLimits::default(),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            tunnel_timeout: Duration::from_secs(3600),
            linger_timeout: Duration::from_secs(2),
            continue_timeout: Duration::from_secs(1),
        }
    }
}
