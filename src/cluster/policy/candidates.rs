//! The backends that a policy may pick.
use std::sync::Arc;
use std::time::Instant;

use crate::cluster::backend::{Backend, WEIGHT_PARTS};
use crate::cluster::backend_id::BackendId;
use crate::cluster::chance::Random;
use crate::cluster::history::Tried;
use crate::cluster::members::Members;
use crate::cluster::picks::Exclusion;

/// The backends that a policy may pick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    pub(crate) members: &'a Members,
    pub(crate) tried: &'a Tried,
    pub(crate) now: Instant,
    /// True to use ejected backends too, because too few others are left.
    pub(crate) panic: bool,
    /// True to pick full backends too: the request will wait.
    pub(crate) full: bool,
}

/// A backend that may be picked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) backend: &'a Arc<Backend>,
    /// The weight in parts of 1/[`WEIGHT_PARTS`]: smaller while the backend starts slowly. Never 0.
    pub(crate) weight: u32,
}

/// How many backends a draw tries before it looks at all of them.
const DRAWS_MAX: u32 = 8;

impl<'a> Candidates<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + Clone + use<'a> {
        let candidates = *self;
        self.members.backends().iter().filter_map(move |backend| candidates.candidate(backend))
    }

    /// Returns the milliseconds since the epoch of the cluster. Few picks need them.
    pub(crate) fn now_ms(&self) -> u64 {
        self.members.ms(self.now)
    }

    /// True when there is a candidate. Unlike a pick, the question moves no turn.
    pub(crate) fn any(&self) -> bool {
        self.iter().next().is_some()
    }

    /// Returns the candidate. Looks only at the backend's first cache line in the usual case.
    #[inline]
    pub(super) fn candidate(&self, backend: &'a Arc<Backend>) -> Option<Candidate<'a>> {
        match backend.usual_weight(self.full) {
            Some(weight) if self.tried.is_empty() => Some(Candidate { backend, weight }),
            _ => self.judge(backend).ok(),
        }
    }

    /// Returns the candidate, or the reason why the backend is none.
    #[inline(never)]
    pub(crate) fn judge(&self, backend: &'a Arc<Backend>) -> Result<Candidate<'a>, Exclusion> {
        let weight = backend.weight_for(self.now_ms(), self.panic)?;
        match () {
            () if !self.full && !backend.has_room() => Err(Exclusion::Full),
            () if self.tried.contains(backend.id()) => Err(Exclusion::Tried),
            () => Ok(Candidate { backend, weight }),
        }
    }

    /// Draws a candidate in proportion to the weights, but not `except`. Rejection sampling: while nearly all backends
    /// are candidates of similar weights, the cost does not depend on their number.
    pub(super) fn draw(&self, random: &mut Random, except: Option<BackendId>) -> Option<Candidate<'a>> {
        let allowed = |candidate: &Candidate<'_>| Some(candidate.backend.id()) != except;
        let backends = self.members.backends();
        let highest = u64::from(self.members.weight_max()) * u64::from(WEIGHT_PARTS);
        for _ in 0..DRAWS_MAX.min(backends.len() as u32 * 4) {
            let backend = &backends[random.below(backends.len() as u64) as usize];
            let level = random.below(highest);
            if let Some(drawn) = self.candidate(backend).filter(allowed)
                && level < u64::from(drawn.weight)
            {
                return Some(drawn);
            }
        }
        // Each candidate replaces the earlier one with a probability of its weight divided by the sum so far.
        let (mut drawn, mut sum) = (None, 0);
        for candidate in self.iter().filter(allowed) {
            sum += u64::from(candidate.weight);
            if random.below(sum) < u64::from(candidate.weight) {
                drawn = Some(candidate);
            }
        }
        drawn
    }
}
