//! `two-choices`: draws two different backends at random, and picks the one with fewer requests in flight for its weight.
//!
//! The cost of a pick does not depend on the number of backends. (Mitzenmacher, "The power of two choices in randomized
//! load balancing", 2001.) The two are drawn without replacement: a backend that is drawn twice would win against itself,
//! however busy it is.
use std::sync::Arc;

use super::candidates::Candidates;
use super::least_requests;
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, mut random: Random) -> Option<&'a Arc<Backend>> {
    let first = candidates.draw(&mut random, None)?;
    let second = candidates.draw(&mut random, Some(first.backend.id()));
    let pair = [Some(first), second].into_iter().flatten();
    least_requests::least(pair.map(|one| (one, u64::from(one.backend.in_flight()))), &mut random)
}
