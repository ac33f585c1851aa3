//! The process around an engine: its signals, the sockets that it inherits, the reload of its configuration, the program
//! that replaces it, what it tells systemd, and what it tells an operator at the start.
mod balancer;
mod file_server;
mod first_look;
mod notify;
mod reload;
mod replace;
mod service;
mod sockets;
mod watch;

pub(crate) use balancer::RunningBalancer;
pub(crate) use file_server::RunningFileServer;
pub(crate) use first_look::{FirstLook, greeting};
pub(crate) use reload::{ReadAgain, Reloading};
pub(crate) use service::{Service, say};
pub(crate) use sockets::Sockets;
