//! The files of a run. The measuring part writes the files, the reporting part reads them.
//!
//! ```text
//! experiments/results/<date>-<host>/
//!     manifest.json       Manifest: host, programs, binary, topology
//!     plan.json           Plan: seed, targets, cells in the order in which they run
//!     cells.ndjson        one Record per line, appended at the end of a cell
//!     raw/<NNN>-<cell>/   the raw files of each cell (`file`); `DONE` is written last
//! ```
//!
//! A [`Record`] is a pure function of its raw directory and the plan ([`crate::raw::derive`]). So every number can be
//! derived again. The report computes everything that needs several cells (intervals, ceilings, repeatability).
//!
//! Times are in microseconds when the name ends in `_us`, and in seconds when it ends in `_s`. An unknown value is
//! `None`, never 0.

mod plan;
mod record;
mod verdict;

pub(crate) use plan::*;
pub(crate) use record::*;
pub(crate) use verdict::*;

/// The version of this layout.
pub(crate) const SCHEMA: u32 = 1;

/// File names below a results directory.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const PLAN: &str = "plan.json";
pub(crate) const CELLS: &str = "cells.ndjson";
pub(crate) const RAW: &str = "raw";

/// File names below `raw/<NNN>-<cell>/`.
pub(crate) mod file {
    /// `Started`: the cell, its start time and its commands.
    pub(crate) const STARTED: &str = "started.json";
    /// `Client` of the warm-up and of the measured run, written by wrk.lua; and the output of wrk.
    pub(crate) const WARM_JSON: &str = "warm.json";
    pub(crate) const WRK_JSON: &str = "wrk.json";
    pub(crate) const WRK_TEXT: &str = "wrk.txt";
    /// `RawProbe`.
    pub(crate) const PROBE: &str = "probe.json";
    /// `RawSystem`: role and host counters before and after the measured seconds.
    pub(crate) const SYSTEM: &str = "system.json";
    /// `RawPrograms`: the counters of the target and the backends, one row per second.
    pub(crate) const COUNTERS: &str = "counters.json";
    /// `RawSockets`: the bytes that each connection of the client received, shortly before the end.
    pub(crate) const SOCKETS: &str = "sockets.json";
    /// `IdleMemory`; and the table that strace printed.
    pub(crate) const MEMORY: &str = "memory.json";
    pub(crate) const STRACE: &str = "strace.txt";
    /// The reason why the cell has no numbers, as plain text. Replaces the files above.
    pub(crate) const FAILED: &str = "failed.txt";
    /// An empty file, written when the directory is complete.
    pub(crate) const DONE: &str = "DONE";
}
