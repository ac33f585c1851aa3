//! `two-choices`: draws two different backends at random, and picks the one with fewer requests in flight for its weight.
//!
//! The cost of a pick does not depend on the number of backends. (Mitzenmacher, "The power of two choices in randomized
//! load balancing", 2001.) The two are drawn without replacement: a backend that is drawn twice would win against itself,
//! however busy it is.
use std::cmp::Ordering;
use std::sync::Arc;

use super::candidates::Candidates;
use super::least_requests::{compare, load};
use crate::cluster::backend::Backend;
use crate::cluster::chance::Random;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, mut random: Random) -> Option<&'a Arc<Backend>> {
    let first = candidates.draw(&mut random, None)?;
    let Some(second) = candidates.draw(&mut random, Some(first.backend.id())) else {
        return Some(first.backend);
    };
    let is_second = match compare((load(&second), second.weight), (load(&first), first.weight)) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => {
            let weights = u64::from(first.weight) + u64::from(second.weight);
            random.below(weights) < u64::from(second.weight)
        }
    };
    Some(if is_second { second.backend } else { first.backend })
}
