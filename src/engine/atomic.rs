//! The atomics of the files that `tests/model.rs` runs under a scheduler. The model replaces this file.

pub(super) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
