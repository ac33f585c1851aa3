//! `random`: a random backend, in proportion to the weights. It needs no knowledge of the backends, and the cost of a
//! pick does not depend on their number.
use std::sync::Arc;

use super::candidates::Candidates;
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, mut random: Random) -> Option<&'a Arc<Backend>> {
    candidates.draw(&mut random, None).map(|candidate| candidate.backend)
}
