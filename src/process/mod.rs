//! The process around an engine: its signals, the sockets that it inherits, the reload of its configuration, the program
//! that replaces it, and what it tells systemd.
mod notify;
mod reload;
mod replace;
mod service;
mod sockets;
mod watch;

pub(crate) use reload::{ReadAgain, Reloading};
pub(crate) use service::{Service, say};
pub(crate) use sockets::Sockets;
