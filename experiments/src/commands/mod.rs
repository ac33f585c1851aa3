//! The commands: each measures with `run`, and prints or stores what `judge` and `report` make of it.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod selftest;

fn mark(good: bool) -> &'static str {
    if good { "ok" } else { "BAD" }
}
