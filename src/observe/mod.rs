//! Records of what happened. Pure: no clock, no sockets.
pub mod access_log;
pub mod durations;
pub mod histogram;
mod json;
pub mod requests;
