//! The process around an engine: its signals, the sockets that it inherits, the program that replaces it, and what it
//! tells systemd.
mod notify;
mod replace;
mod service;
mod sockets;

pub(crate) use service::{Service, say};
pub(crate) use sockets::Sockets;
