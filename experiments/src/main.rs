//! `neraca-lab`: measures the two engines, and says how far the numbers can be trusted.

mod model;

fn main() {}
