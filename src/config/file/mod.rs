//! The configuration file: from its text to the settings.
mod problems;
mod shape;
mod tree;

pub use problems::Report;
