//! The socket tests. `thread.rs` and `task.rs` run these tests with each variant of their engine, and once with TLS between
//! each socket and its exchange, on both sides. Each file ends with `each_variant!` and the list of its tests.
mod bodies;
mod continues;
mod deadlines;
mod files;
mod forwarding;
mod handle;
mod health;
mod keepalive;
mod limits;
mod pressure;
mod proxy_protocol;
mod queue;
mod retry;
mod routes;
mod sticky;
mod stopping;
mod traffic;
mod transforms;
mod upgrade;
