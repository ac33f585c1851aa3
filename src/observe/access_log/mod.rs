//! The lines of the access log: one for each finished request. A worker takes a [`Note`] of a request head, and adds the finished
//! request to a [`Batch`]. The writer makes the lines of a batch with a [`Formatter`].
mod batch;
mod date;
mod line;
mod note;
mod texts;

pub use batch::{Batch, Record, Request};
pub use line::{Format, Formatter, Time};
pub use note::{Note, given_id};
