//! The commands: each measures with `run`, and prints or stores what `judge` and `report` make of it.

use clap::ValueEnum;

use crate::run::faulty::Fault;

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod selftest;

/// Returns the value of `--fault`.
fn name(fault: Fault) -> String {
    fault.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn mark(good: bool) -> &'static str {
    if good { "ok" } else { "BAD" }
}
