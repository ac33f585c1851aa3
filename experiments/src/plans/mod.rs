//! What is measured: targets, loads, and the order of the cells.

pub(crate) mod build;
pub(crate) mod given;
pub(crate) mod model;
pub(crate) mod targets;
