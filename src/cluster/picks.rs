//! The record of the last picks, with the reasons. Nothing is recorded until somebody asks for it.
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::end::Outcome;

/// Number of picks that are kept.
const KEPT: usize = 256;

/// The reason why a backend was no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusion {
    /// It does not belong to the cluster any more.
    Removed,
    /// It gets no new requests.
    Draining,
    /// Its active checks fail.
    Down,
    /// It is ejected.
    Ejected,
    /// Its ejection has ended, and another request finds out whether it works.
    Probed,
    /// All its slots are in use.
    Full,
    /// It has failed this request before.
    Tried,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exclusion::Removed => "removed",
            Exclusion::Draining => "draining",
            Exclusion::Down => "down",
            Exclusion::Ejected => "ejected",
            Exclusion::Probed => "probed",
            Exclusion::Full => "full",
            Exclusion::Tried => "tried",
        })
    }
}

/// What a policy knew of one backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// The address of the backend.
    pub address: SocketAddr,
    /// The requests in flight before the pick.
    pub in_flight: u32,
    /// The weight, smaller than the configured weight in a slow start; or the reason why it was no candidate.
    pub weight: Result<f32, Exclusion>,
    /// The moving average of the latency, if the policy uses it and a sample has come.
    pub latency: Option<Duration>,
}

/// One pick.
#[derive(Debug, Clone, PartialEq)]
pub struct Picked {
    /// The number of the pick, from 0.
    pub number: u64,
    /// The time since the epoch of the cluster.
    pub at: Duration,
    /// The place of the chosen backend in `considered`.
    pub place: usize,
    /// True when ejected backends were candidates too, because too few others were left.
    pub panic: bool,
    /// All backends.
    pub considered: Vec<Considered>,
    /// How the attempt has ended; None while it is in flight.
    pub outcome: Option<Outcome>,
}

/// The record of the last [`KEPT`] picks of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Picks {
    watched: AtomicBool,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    next: u64,
    last: VecDeque<Picked>,
}

impl Picks {
    /// Begins or ends the record.
    pub(super) fn watch(&self, watched: bool) {
        self.watched.store(watched, Relaxed);
        if !watched {
            self.ring.lock().last.clear();
        }
    }

    /// True while picks are recorded. Costs one load.
    pub(super) fn are_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// Records a pick. Returns its number.
    pub(super) fn add(&self, picked: Picked) -> u64 {
        let mut ring = self.ring.lock();
        let number = ring.next;
        ring.next += 1;
        if ring.last.len() == KEPT {
            ring.last.pop_front();
        }
        ring.last.push_back(Picked { number, ..picked });
        number
    }

    /// Records the end of an attempt.
    pub(super) fn end(&self, number: u64, outcome: Outcome) {
        let mut ring = self.ring.lock();
        if let Ok(place) = ring.last.binary_search_by_key(&number, |picked| picked.number) {
            ring.last[place].outcome = Some(outcome);
        }
    }

    /// Returns the picks with this number and later, the oldest first.
    pub(super) fn since(&self, number: u64) -> Vec<Picked> {
        let ring = self.ring.lock();
        let first = ring.last.partition_point(|picked| picked.number < number);
        ring.last.iter().skip(first).cloned().collect()
    }
}

/// One line: the time, the chosen backend, and what was known of each backend: its requests in flight, or the reason why it
/// was no candidate. The chosen backend has a star.
impl fmt::Display for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms: backend {}", self.at.as_millis(), self.place)?;
        if self.panic {
            f.write_str(" in a panic")?;
        }
        f.write_str(" of")?;
        for (place, one) in self.considered.iter().enumerate() {
            let star = if place == self.place { "*" } else { "" };
            match one.weight {
                Ok(_) => write!(f, " {}{star}", one.in_flight)?,
                Err(reason) => write!(f, " {reason}{star}")?,
            }
            if let Some(latency) = one.latency {
                write!(f, "({:.1}ms)", latency.as_secs_f64() * 1e3)?;
            }
        }
        Ok(())
    }
}
