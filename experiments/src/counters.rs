//! Follows the file to which Neraca appends its counters every second.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::model::Counted;

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

impl RawCounters {
    fn row(&self, values: &[u64]) -> Row {
        self.names.iter().cloned().zip(values.iter().copied()).collect()
    }

    /// Returns the counts of the whole rows between 0 and `end` seconds.
    pub(crate) fn derive(&self, end: f64) -> Option<Counted> {
        let whole = self.row(&self.rows.last()?.1);
        let inside: Vec<_> = self.rows.iter().filter(|(at, _)| (0.0..=end).contains(at)).collect();
        let mut counted = Counted { seconds: 0.0, during: BTreeMap::new(), whole, series: Vec::new() };
        let (Some(first), Some(last)) = (inside.first(), inside.last()) else { return Some(counted) };
        counted.seconds = last.0 - first.0;
        let difference = |a: &[u64], b: &[u64]| -> Vec<u64> {
            a.iter().zip(b).map(|(a, b)| b.saturating_sub(*a)).collect()
        };
        counted.during = self.row(&difference(&first.1, &last.1));
        let served = self.names.iter().position(|name| name == "served")?;
        for pair in inside.windows(2) {
            let seconds = pair[1].0 - pair[0].0;
            let n = pair[1].1.get(served)?.saturating_sub(*pair[0].1.get(served)?);
            if seconds > 0.5 {
                counted.series.push((pair[1].0, n as f64 / seconds));
            }
        }
        Some(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_rows_inside_the_run_count() {
        let rows = [(-0.5, 5), (0.5, 10), (1.5, 110), (2.5, 310), (3.5, 320), (3.6, 333)];
        let raw = RawCounters {
            names: vec!["accepted".into(), "served".into()],
            rows: rows.iter().map(|(at, n)| (*at, vec![1, *n])).collect(),
        };
        let counted = raw.derive(3.0).unwrap();
        assert_eq!(
            (counted.during["served"], counted.during["accepted"], counted.whole["served"]),
            (300, 0, 333)
        );
        assert_eq!(counted.series, [(1.5, 100.0), (2.5, 200.0)]);
        assert!((counted.seconds - 2.0).abs() < 1e-9);
        assert_eq!(counted.per_request("served"), Some(1.0));
        assert_eq!(counted.per_request("jobs"), None);
        let empty = raw.derive(0.1).unwrap();
        assert!(empty.during.is_empty() && empty.series.is_empty());
        assert_eq!(RawCounters::default().derive(1.0), None);
    }

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
