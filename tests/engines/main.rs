//! Tests of the engines beside the socket suite. They are one test program: it is built once, and one test runs while another
//! waits.
#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

#[path = "../corpus/mod.rs"]
mod corpus;
#[path = "../harness/mod.rs"]
mod harness;

mod handshakes;
mod parity;
mod tls_traps;
