//! Tests that measure times, CPU time or memory, or that need most of the descriptors of a process. They are a test program of
//! their own, because nothing else may run beside them. A test holds the cores alone or shares them with others.
#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

#[path = "../harness/mod.rs"]
mod harness;

mod abort;
mod crowds;
mod memory;
mod process;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static CORES: RwLock<()> = RwLock::new(());

/// Waits until no test holds the cores alone.
fn share_cores() -> RwLockReadGuard<'static, ()> {
    CORES.read()
}

/// Waits until no other test runs.
fn own_cores() -> RwLockWriteGuard<'static, ()> {
    CORES.write()
}
