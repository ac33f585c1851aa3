//! The lines of the access log: one for each finished request. A worker notes what it knows of a request ([`Note`], then
//! [`Batch::push`]), and the writer makes the lines ([`Formatter`]).
mod batch;
mod date;
mod line;
mod note;
mod texts;

pub use batch::{Batch, Record, Request};
pub use line::{Format, Formatter, Time};
pub use note::{Note, given_id};
