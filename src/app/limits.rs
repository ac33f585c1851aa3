//! The limits of one exchange.

use std::time::Duration;

use crate::http::head::HeadLimits;

/// The limits of one exchange, in bytes and in time. Every wait has a deadline.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum sizes of request heads and response heads.
    pub head: HeadLimits,
    /// Time to receive a whole request head; then 408. Default: 10 s.
    pub head_timeout: Duration,
    /// Maximum time without a byte while the client sends a body (then 408) or reads a response (then a reset).
    /// Default: 30 s.
    pub body_timeout: Duration,
    /// Time to connect to a backend. Then another backend is tried; when none is left, 504. Default: 3 s.
    pub connect_timeout: Duration,
    /// Time that a request waits in the queue of a cluster; then 503. Default: 5 s.
    pub queue_timeout: Duration,
    /// Maximum time without a byte while the exchange waits for the backend. If no byte of the response came, an
    /// idempotent request goes to another backend, or gets a 504. Within a response the connection is reset. Default:
    /// 60 s.
    pub response_timeout: Duration,
    /// Time to keep a client's connection without a request. Default: 60 s.
    pub idle_timeout: Duration,
    /// A tunnel ends when no byte moves in any direction for this time. Default: 1 h.
    pub tunnel_timeout: Duration,
    /// After the last response a client may still send. Its bytes are discarded for this time, then the connection is
    /// closed. Default: 2 s.
    pub linger_timeout: Duration,
    /// Time for a backend to answer `Expect: 100-continue`; then the client gets a 100 from us. Default: 1 s.
    pub continue_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head: HeadLimits::default(),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            queue_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            tunnel_timeout: Duration::from_secs(3600),
            linger_timeout: Duration::from_secs(2),
            continue_timeout: Duration::from_secs(1),
        }
    }
}
