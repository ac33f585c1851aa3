//! What the process tells systemd (sd_notify), and the process that it replaces. Without systemd nothing is sent.
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Tells that this process serves. systemd hears of it before the replaced process does, so systemd knows the new main process
/// before the old one ends.
pub(super) fn ready(predecessor: Option<UnixStream>) {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    if let Some(mut predecessor) = predecessor
        && let Err(error) = predecessor.write_all(b"r")
    {
        log::warn!("cannot tell the replaced process that this one is ready: {error}");
    }
}

/// Tells that the service begins to stop. A process that was replaced must not tell this: for systemd the whole service would
/// stop.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that the service reads its configuration again. [`reloaded`] must follow.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("cannot read the clock for systemd: {error}"),
    }
}

/// Tells that the service has read its configuration.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot notify systemd: {error}");
    }
}

/// The watchdog of systemd: it ends a service that is silent for longer than WatchdogSec.
pub(super) struct Watchdog {
    /// Half of WatchdogSec.
    every: Duration,
    next: Instant,
    /// The turns of each event loop at the last report.
    turns: Vec<u64>,
}

impl Watchdog {
    /// The watchdog that systemd asks for. None when it asks for none.
    pub(super) fn of_environment(now: Instant) -> Option<Self> {
        let every = sd_notify::watchdog_enabled().filter(|time| !time.is_zero())? / 2;
        Some(Watchdog { every, next: now, turns: Vec::new() })
    }

    /// The time of the next report.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Reports when it is time. Each event loop must have turned since the last report; otherwise nothing is sent, and systemd
    /// ends the process after WatchdogSec.
    pub(super) fn attend(&mut self, now: Instant, turns: impl FnOnce() -> Vec<u64>) {
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let turns = turns();
        match stuck(&self.turns, &turns) {
            None => tell(&[NotifyState::Watchdog]),
            Some(n) => {
                log::error!("event loop {n} has not turned for {:?}: the watchdog is not told", self.every);
            }
        }
        self.turns = turns;
    }
}

/// The first event loop that has not turned.
fn stuck(before: &[u64], now: &[u64]) -> Option<usize> {
    before.iter().zip(now).position(|(before, now)| before == now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_loop_is_stuck_when_it_has_not_turned() {
        let cases: [(&[u64], &[u64], Option<usize>); 5] = [
            (&[], &[0, 0], None),
            (&[1, 1], &[2, 3], None),
            (&[1, 1], &[2, 1], Some(1)),
            (&[1, 1], &[1, 1], Some(0)),
            (&[u64::MAX], &[0], None),
        ];
        for (before, now, expected) in cases {
            assert_eq!(stuck(before, now), expected, "{before:?} {now:?}");
        }
    }
}
