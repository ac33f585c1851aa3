//! Tests of the program over its command line, its files and its signals. They are one test program: it is built once, and one
//! test runs while another waits.
#[path = "../harness/mod.rs"]
mod harness;

mod admin;
#[cfg(feature = "discovery")]
mod discovery;
mod packaging;
mod reload;
mod replace;
mod tls;
