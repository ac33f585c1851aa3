//! `first`: the first available backend in the order of the configuration. Later backends get requests only while the
//! earlier ones are full (see `cap=N`) or out. So the last backends can be switched off when there is little load.
use std::sync::Arc;

use super::candidates::Candidates;
use crate::cluster::backend::Backend;

pub(super) fn pick<'a>(candidates: &Candidates<'a>) -> Option<&'a Arc<Backend>> {
    candidates.iter().next().map(|candidate| candidate.backend)
}
