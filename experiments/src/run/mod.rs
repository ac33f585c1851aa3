//! Measures: starts the programs of a cell, puts load on them, and collects what the kernel and they themselves count.

pub(crate) mod cell;
pub(crate) mod child;
pub(crate) mod counters;
pub(crate) mod doctor;
pub(crate) mod exchange;
pub(crate) mod faulty;
pub(crate) mod files;
pub(crate) mod handshakes;
pub(crate) mod histogram;
pub(crate) mod lab;
pub(crate) mod load;
pub(crate) mod manifest;
pub(crate) mod message;
pub(crate) mod origin;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod profile;
pub(crate) mod raw;
pub(crate) mod reply;
pub(crate) mod sockets;
pub(crate) mod wrk;
