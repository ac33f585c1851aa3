//! What a run leaves on disk. The measuring half writes it, the reporting half reads it.
//!
//! ```text
//! experiments/results/<date>-<host>/
//!     manifest.json       Manifest: host, programs, binary, topology
//!     plan.json           Plan: seed, targets, cells in the order in which they run
//!     cells.ndjson        one Record a line, appended as a cell ends
//!     raw/<NNN>-<cell>/   what each cell's numbers are derived from (`Files`); `DONE` is written last
//! ```
//!
//! A [`Record`] is a pure function of its raw directory and the plan ([`crate::raw::derive`]), so whoever doubts a
//! number can derive it again. Everything between cells (intervals, ceilings, repeatability) is the report's.
//!
//! Times are microseconds where the name ends in `_us`, seconds in `_s`. A value that could not be had is `None`,
//! never 0.

mod plan;
mod record;
mod verdict;

pub(crate) use plan::*;
pub(crate) use record::*;
pub(crate) use verdict::*;

/// Version of this layout.
pub(crate) const SCHEMA: u32 = 1;

/// File names below a results directory.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const PLAN: &str = "plan.json";
pub(crate) const CELLS: &str = "cells.ndjson";
pub(crate) const RAW: &str = "raw";

/// File names below `raw/<NNN>-<cell>/`.
pub(crate) mod file {
    /// `Started`: the cell, when it began and each command as it ran.
    pub(crate) const STARTED: &str = "started.json";
    /// `Client` of the warm-up and of the measured run, as wrk.lua wrote them, and what wrk printed.
    pub(crate) const WARM_JSON: &str = "warm.json";
    pub(crate) const WRK_JSON: &str = "wrk.json";
    pub(crate) const WRK_TEXT: &str = "wrk.txt";
    /// `RawProbe`.
    pub(crate) const PROBE: &str = "probe.json";
    /// `RawSystem`: role and host counters before and after the measured seconds.
    pub(crate) const SYSTEM: &str = "system.json";
    /// `RawCounters`: what the target and the backends counted, a row a second.
    pub(crate) const COUNTERS: &str = "counters.json";
    /// `RawSockets`: bytes received by each connection of the client, shortly before the end.
    pub(crate) const SOCKETS: &str = "sockets.json";
    /// `IdleMemory`, and the table printed by strace.
    pub(crate) const MEMORY: &str = "memory.json";
    pub(crate) const STRACE: &str = "strace.txt";
    /// Why the cell has no numbers (plain text), instead of the files above.
    pub(crate) const FAILED: &str = "failed.txt";
    /// Written when the directory is complete.
    pub(crate) const DONE: &str = "DONE";
}
