//! Follows the file to which Neraca appends its counters every second.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

type Row = BTreeMap<String, u64>;

/// The rows that a program wrote. The program writes the last row when it ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawCounters {
    pub(crate) names: Vec<String>,
    /// Each row has the time at which it was read, in seconds since the start of the client, and the counters in the
    /// order of `names`.
    pub(crate) rows: Vec<(f64, Vec<u64>)>,
}

/// Reads a growing file of counters.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    read_bytes: usize,
    rows: Vec<(Instant, Row)>,
}

impl Follower {
    pub(crate) fn new(path: &Path) -> Self {
        Follower { path: path.into(), read_bytes: 0, rows: Vec::new() }
    }

    /// Reads the new lines. The time of a row is the time of this call.
    pub(crate) fn look(&mut self) {
        let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len() as usize);
        if length <= self.read_bytes {
            return;
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let fresh = text.get(self.read_bytes..).unwrap_or_default();
        let Some(end) = fresh.rfind('\n') else { return };
        self.read_bytes += end + 1;
        let now = Instant::now();
        let rows = fresh[..end].lines().filter_map(|line| serde_json::from_str(line).ok());
        self.rows.extend(rows.map(|row| (now, row)));
    }

    /// Returns all rows, with times since `start`. None when the program wrote no row.
    pub(crate) fn finish(mut self, start: Instant) -> Option<RawCounters> {
        self.look();
        let names: Vec<String> = self.rows.last()?.1.keys().cloned().collect();
        let seconds = |at: Instant| match at.checked_duration_since(start) {
            Some(after) => after.as_secs_f64(),
            None => -(start - at).as_secs_f64(),
        };
        let values = |row: &Row| names.iter().map(|name| row.get(name).copied().unwrap_or(0)).collect();
        let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        let rows = self.rows.iter().map(|(at, row)| (round(seconds(*at)), values(row))).collect();
        Some(RawCounters { names, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_waits_for_its_rest() {
        let path = std::env::temp_dir().join(format!("neraca-lab-follower-{}", std::process::id()));
        let mut follower = Follower::new(&path);
        for (text, rows) in [("{\"served\":1}\n{\"ser", 1), ("{\"served\":1}\n{\"served\":2}\n", 2)] {
            fs::write(&path, text).unwrap();
            follower.look();
            assert_eq!(follower.rows.len(), rows, "{text}");
        }
        fs::remove_file(&path).unwrap();
        let raw = follower.finish(Instant::now()).unwrap();
        assert_eq!((raw.names.len(), raw.rows.len(), raw.rows[1].1[0]), (1, 2, 2));
    }
}
