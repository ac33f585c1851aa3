//! The waits of an exchange, and the limit of each wait.

use std::time::{Duration, Instant};

use crate::app::Bounds;

/// The cause of a wait. A connection has one deadline; no timer is armed per read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The rest of a request head; the limit is for the whole wait.
    Head,
    /// A connection to a backend; the limit is for the whole wait.
    Connect,
    /// A permit of the cluster's queue; the limit is for the whole wait.
    Queue,
    /// The next bytes that the client sends or reads.
    Client,
    /// The next bytes that the backend sends or reads.
    Backend,
    /// The backend's answer to `Expect: 100-continue`; the limit is for the whole wait.
    Continue,
    /// The next bytes from either end of a tunnel.
    Tunnel,
    /// The end of the client's stream; the limit is for the whole wait.
    Linger,
    /// The time of a delayed answer.
    Delay,
}

/// The deadline of an exchange. A byte that moves restarts a limit between two bytes. It does not restart a limit on a
/// whole wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    wait: Wait,
    at: Instant,
}

impl Deadline {
    pub(super) fn new(wait: Wait, bounds: Bounds<'_>, now: Instant) -> Self {
        Deadline { wait, at: now + wait.limit(bounds) }
    }

    /// Makes the deadline of a delayed answer.
    pub(super) fn until(at: Instant) -> Self {
        Deadline { wait: Wait::Delay, at }
    }

    /// Sets the current wait. `progress` is true when bytes have moved since the last call.
    pub(super) fn update(&mut self, wait: Wait, progress: bool, bounds: Bounds<'_>, now: Instant) {
        if wait != self.wait || (progress && wait.is_gap()) {
            *self = Deadline::new(wait, bounds, now);
        }
    }

    pub(super) fn wait(&self) -> Wait {
        self.wait
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }
}

impl Wait {
    fn limit(self, Bounds { limits, deadlines }: Bounds<'_>) -> Duration {
        let own = deadlines.and_then(|own| match self {
            Wait::Connect => own.connect,
            Wait::Queue => own.queue,
            Wait::Client => own.body,
            Wait::Backend => own.response,
            Wait::Continue => own.r#continue,
            Wait::Tunnel => own.tunnel,
            Wait::Head | Wait::Linger | Wait::Delay => None,
        });
        own.unwrap_or(match self {
            Wait::Head => limits.head_timeout,
            Wait::Connect => limits.connect_timeout,
            Wait::Queue => limits.queue_timeout,
            Wait::Client => limits.body_timeout,
            Wait::Backend => limits.response_timeout,
            Wait::Continue => limits.continue_timeout,
            Wait::Tunnel => limits.tunnel_timeout,
            Wait::Linger => limits.linger_timeout,
            Wait::Delay => Duration::ZERO,
        })
    }

    fn is_gap(self) -> bool {
        matches!(self, Wait::Client | Wait::Backend | Wait::Tunnel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Deadlines, Limits};

    fn of(limits: &Limits) -> Bounds<'_> {
        Bounds { limits, deadlines: None }
    }

    #[test]
    fn progress_moves_a_gap_and_not_a_total() {
        let (limits, start) = (Limits::default(), Instant::now());
        let later = start + Duration::from_secs(1);
        for (wait, moves) in [
            (Wait::Head, false),
            (Wait::Connect, false),
            (Wait::Client, true),
            (Wait::Backend, true),
            (Wait::Continue, false),
            (Wait::Tunnel, true),
            (Wait::Linger, false),
            (Wait::Delay, false),
        ] {
            let mut deadline = Deadline::new(wait, of(&limits), start);
            let before = deadline.at();
            deadline.update(wait, false, of(&limits), later);
            assert_eq!(deadline.at(), before, "{wait:?} without progress");
            deadline.update(wait, true, of(&limits), later);
            assert_eq!(deadline.at() > before, moves, "{wait:?} with progress");
        }
    }

    #[test]
    fn another_wait_has_a_deadline_of_its_own() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut deadline = Deadline::new(Wait::Head, of(&limits), start);
        deadline.update(Wait::Backend, false, of(&limits), start);
        assert_eq!((deadline.wait(), deadline.at()), (Wait::Backend, start + limits.response_timeout));
    }

    #[test]
    fn a_deadline_of_the_route_replaces_that_of_the_listener() {
        let (limits, own) = (Limits::default(), Some(Duration::from_millis(7)));
        let all =
            Deadlines { connect: own, queue: own, response: own, body: own, tunnel: own, r#continue: own };
        let some = Deadlines { response: own, ..Deadlines::default() };
        for (wait, is_of_route) in [
            (Wait::Head, false),
            (Wait::Connect, true),
            (Wait::Queue, true),
            (Wait::Client, true),
            (Wait::Backend, true),
            (Wait::Continue, true),
            (Wait::Tunnel, true),
            (Wait::Linger, false),
            (Wait::Delay, false),
        ] {
            let limit = |deadlines| wait.limit(Bounds { limits: &limits, deadlines: Some(deadlines) });
            let of_listener = wait.limit(of(&limits));
            assert_eq!(limit(&all) == Duration::from_millis(7), is_of_route, "{wait:?}");
            assert_eq!(limit(&some) == of_listener, wait != Wait::Backend, "{wait:?}");
        }
    }
}
