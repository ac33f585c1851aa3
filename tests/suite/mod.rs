//! The socket tests. `thread.rs` and `task.rs` mount them once per variant of their engine: each file ends with
//! `each_variant!` and the list of its tests.
mod bodies;
mod continues;
mod deadlines;
mod files;
mod forwarding;
mod keepalive;
mod limits;
mod pressure;
mod queue;
mod retry;
mod stopping;
mod upgrade;
