//! Neraca: an HTTP/1.1 load balancer and static file server with two interchangeable concurrency engines.
//!
//! The floors, each using only those below it (`tests/layers.rs` keeps it so):
//! `config` and the programs over `engine` over `exchange` and `app` over `cluster` over `http`.

pub mod app;

pub mod cluster;
pub mod config;
pub mod engine;
pub mod exchange;
pub mod files;
pub mod http;
pub mod router;
