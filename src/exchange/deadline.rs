//! What an exchange waits for, and how long it may.

use std::time::{Duration, Instant};

use super::{Exchange, Phase};
use crate::app::Limits;

/// What an exchange waits for. One deadline a connection; nothing is armed per read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The rest of a request head, in all.
    Head,
    /// A connection to a backend, in all.
    Connect,
    /// The client, to send or to take some bytes of a body.
    Client,
    /// The backend, to take or to send some bytes.
    Backend,
    /// The backend, to answer `Expect: 100-continue`, in all.
    Continue,
    /// Either end of a tunnel.
    Tunnel,
    /// The client, to close, in all.
    Linger,
    /// Nothing but the time until an answer that was put off.
    Delay,
}

/// The deadline of an exchange, moved by progress where the wait is a gap and by nothing where it is a total.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    wait: Wait,
    at: Instant,
}

impl Deadline {
    pub(super) fn new(wait: Wait, limits: &Limits, now: Instant) -> Self {
        Deadline { wait, at: now + wait.limit(limits) }
    }

    /// A wait until that instant, which is no limit but what was asked for.
    pub(super) fn until(at: Instant) -> Self {
        Deadline { wait: Wait::Delay, at }
    }

    /// The exchange waits for `wait` now; `progress` says whether bytes moved since the last time.
    pub(super) fn update(&mut self, wait: Wait, progress: bool, limits: &Limits, now: Instant) {
        if wait != self.wait || (progress && wait.is_gap()) {
            *self = Deadline::new(wait, limits, now);
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
    fn limit(self, limits: &Limits) -> Duration {
        match self {
            Wait::Head => limits.head_timeout,
            Wait::Connect => limits.connect_timeout,
            Wait::Client => limits.body_timeout,
            Wait::Backend => limits.response_timeout,
            Wait::Continue => limits.continue_timeout,
            Wait::Tunnel => limits.tunnel_timeout,
            Wait::Linger => limits.linger_timeout,
            Wait::Delay => Duration::ZERO,
        }
    }

    fn is_gap(self) -> bool {
        matches!(self, Wait::Client | Wait::Backend | Wait::Tunnel)
    }
}

impl Exchange {
    /// What the exchange waits for when its step is taken.
    pub(super) fn wait(&self) -> Wait {
        match self.phase {
            Phase::Head => Wait::Head,
            Phase::Attach => Wait::Connect,
            Phase::Linger => Wait::Linger,
            Phase::Delay => Wait::Delay,
            Phase::Respond | Phase::Closed(_) => Wait::Client,
            Phase::Relay if self.facts.tunnel => Wait::Tunnel,
            Phase::Relay if self.response.has_pending() => Wait::Client,
            Phase::Relay
                if self.facts.started || self.request.is_received() || self.request.has_pending() =>
            {
                Wait::Backend
            }
            Phase::Relay if self.ask.awaits_continue => Wait::Continue,
            Phase::Relay => Wait::Client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut deadline = Deadline::new(wait, &limits, start);
            let before = deadline.at();
            deadline.update(wait, false, &limits, later);
            assert_eq!(deadline.at(), before, "{wait:?} without progress");
            deadline.update(wait, true, &limits, later);
            assert_eq!(deadline.at() > before, moves, "{wait:?} with progress");
        }
    }

    #[test]
    fn another_wait_has_a_deadline_of_its_own() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut deadline = Deadline::new(Wait::Head, &limits, start);
        deadline.update(Wait::Backend, false, &limits, start);
        assert_eq!((deadline.wait(), deadline.at()), (Wait::Backend, start + limits.response_timeout));
    }
}
