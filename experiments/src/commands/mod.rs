//! The commands: each measures with `run`, and prints or stores what `judge` and `report` make of it.

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod selftest;
