//! Records of what happened. Pure: no clock, no sockets.
pub mod histogram;
