//! The socket tests. `thread.rs` and `task.rs` mount them once per variant of their engine: each file ends with
//! `each_variant!` and the list of its tests.
mod bodies;
mod continues;
mod forwarding;
mod keepalive;
mod retry;
mod upgrade;
