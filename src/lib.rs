//! An HTTP/1.1 load balancer and static file server with two interchangeable concurrency engines.
//!
//! One engine is a pool of threads ([`Engine::Thread`]), the other runs tasks on an event loop per core
//! ([`Engine::Async`]). Both engines share the code for requests, policies, health and limits, so the engines can be
//! compared.
//!
//! ```text
//!            clients                        backends
//!               |                              |
//!     +---------+------------------------------+---------+
//!     | engine     sockets, clocks, threads, tasks       |
//!     +-------------+------------------------------------+
//!     facts: bytes  |     ^  one step: transfer bytes,
//!     came, time    v     |  attach a backend, close, ...
//!     +-------------------+------------------------------+
//!     | exchange   one request and its response          |
//!     +-------------+------------------------------------+
//!     request head  v     ^  forward to a backend, or
//!                   |     |  answer
//!     +-------------------+------------------------------+
//!     | app        router: forwards to a cluster         |
//!     |            files: serves a directory             |
//!     +--------------------------------------------------+
//! ```
//!
//! # A balancer
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use neraca::{Cluster, Options, Policy, Router, engine};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backends = ["127.0.0.1:9001".parse()?, "127.0.0.1:9002".parse()?];
//! let cluster = Cluster::new(&backends, Policy::LeastRequests, 7, Instant::now());
//! let router = Arc::new(Router::new(cluster));
//! let listeners = engine::listen(&["127.0.0.1:0".parse()?])?;
//! let balancer = engine::start(router, listeners, Options::default())?;
//! println!("listening on http://{}", balancer.addresses()[0]);
//! balancer.stop(); // no new connections; running requests end
//! balancer.wait();
//! # Ok(())
//! # }
//! ```
//!
//! The program `neraca` adds a command line to this example: see [`config`].
//!
//! # Layers
//!
//! A module uses only lower layers. Five exceptions: `exchange` uses `app`, `admin` uses `router`, `router` uses `files`, `config` uses `tls`, and the modules of layer 7 use each other.
//! `tests/layers.rs` checks this.
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 7 | `main`, `access_log`, `admin_listener`, `demo`, `experiments`, `faults`, `logger`, `process`, `status` | the process: signals, exit codes, its sockets and its replacement, experiments |
//! | 6 | [`config`], [`simulate`], [`tls`] | the command line and the configuration file, settings, apps and options; simulated clusters; TLS |
//! | 5 | [`engine`] | sockets, clocks, threads, tasks |
//! | 4 | [`admin`], [`router`], [`files`] | the apps: tell, forward requests, serve files |
//! | 3 | [`exchange`], [`app`] | the machine of one request; the time is passed in |
//! | 2 | [`cluster`], [`observe`] | backends, policies, health, kept connections; records of what happened; pure |
//! | 1 | [`http`] | the bytes of HTTP: heads, framing, chunks, answers |
//!
//! # Where to read on
//!
//! - [`engine::start`] runs an [`App`] on an [`Engine`] and returns an [`EngineHandle`].
//! - An [`App`] decides how each request is handled. [`Router`] and [`Files`] are apps. Other programs can implement
//!   their own.
//! - An [`Exchange`] takes facts and returns a [`Step`]. An exchange does no I/O, so it can be tested and simulated
//!   alone.
//! - A [`Cluster`] picks a backend with a [`Policy`].

pub mod admin;
pub mod app;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod exchange;
pub mod files;
pub mod http;
pub mod observe;
pub mod router;
pub mod simulate;
pub mod tls;

pub use admin::Admin;
pub use app::App;
pub use cluster::{Cluster, Policy};
pub use engine::{Engine, EngineHandle, Options};
pub use exchange::{Exchange, Step};
pub use files::Files;
pub use router::Router;
