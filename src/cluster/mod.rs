//! Backends, the choice among them, their health, and the connections kept to them. Pure: no clock, no sockets.

mod backend;
mod health;
mod idle;
mod policy;

pub use backend::{Backend, Lease, Tried};
pub use idle::IdlePool;
pub use policy::Policy;
