//! The files of a run. The measuring part writes the files, the reporting part reads them.
//!
//! ```text
//! experiments/results/<date>-<host>/
//!     manifest.json    Manifest: host, programs, binary, topology
//!     plan.json        Plan: seed, targets, cells in the order in which they run
//!     raw.ndjson       one Raw per line, appended at the end of a cell
//!     raw.ndjson.gz    the same lines, compressed when the run is complete
//! ```
//!
//! Everything else in the directory is derived from these files, so every number can be derived again.
//!
//! Times are in microseconds when the name ends in `_us`, and in seconds when it ends in `_s`. An unknown value is
//! `None`, never 0.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::raw::Raw;

/// File names below a results directory.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const PLAN: &str = "plan.json";
pub(crate) const RAW: &str = "raw.ndjson";
pub(crate) const PACKED: &str = "raw.ndjson.gz";

/// Names the file in an error.
pub(crate) fn said<E: Display>(path: &Path) -> impl Fn(E) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// Reads a JSON file. The error names the file and the place.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(said(path))?;
    serde_json::from_str(&text).map_err(said(path))
}

/// Writes a JSON file for readers.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(said(path))? + "\n";
    fs::write(path, text).map_err(said(path))
}

/// Writes a JSON file on one line.
pub(crate) fn write_compact<T: Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let text = serde_json::to_string(value).map_err(said(path))? + "\n";
    fs::write(path, text).map_err(said(path))
}

/// Appends a line to raw.ndjson and waits until it is on the disk.
pub(crate) fn append(results: &Path, raw: &Raw) -> Result<(), String> {
    let path = results.join(RAW);
    let append = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all((serde_json::to_string(raw)? + "\n").as_bytes())?;
        file.sync_all()
    };
    append().map_err(said(&path))
}

/// Returns the lines of a run, compressed or not. An incomplete last line is left out: the run ended while it wrote.
pub(crate) fn raw_text(results: &Path) -> Result<String, String> {
    let (path, packed) = (results.join(RAW), results.join(PACKED));
    let mut text = String::new();
    if packed.exists() {
        let file = File::open(&packed).map_err(said(&packed))?;
        MultiGzDecoder::new(file).read_to_string(&mut text).map_err(said(&packed))?;
    } else if path.exists() {
        text = fs::read_to_string(&path).map_err(said(&path))?;
    }
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    Ok(text)
}

/// Parses the lines of a run.
pub(crate) fn parse_raw(text: &str) -> Result<Vec<Raw>, String> {
    let line = |(n, line)| {
        serde_json::from_str(line).map_err(|error| format!("{RAW}:{}:{}: {error}", n + 1, error.column()))
    };
    text.lines().enumerate().map(line).collect()
}

/// Compresses the lines of a complete run.
pub(crate) fn pack(results: &Path) -> Result<(), String> {
    let (path, packed) = (results.join(RAW), results.join(PACKED));
    if !path.exists() {
        return Ok(());
    }
    let text = raw_text(results)?;
    let write = || {
        let mut encoder = GzEncoder::new(File::create(&packed)?, Compression::best());
        encoder.write_all(text.as_bytes())?;
        encoder.finish()?.sync_all()?;
        fs::remove_file(&path)
    };
    write().map_err(said(&packed))
}
