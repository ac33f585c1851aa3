//! The counters that a program of ours appends to a file every second.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use itertools::Itertools;
use serde::{Deserialize, Serialize};

/// The name of the time stamp: milliseconds since 1970, by the clock of the program.
const STAMP: &str = "unix_ms";

/// The rows that a program wrote. The program writes the last row when it ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawCounters {
    pub(crate) names: Vec<String>,
    /// Each row has the program's own time stamp, in seconds since the start of the client, and the counters in the
    /// order of `names`.
    pub(crate) rows: Vec<(f64, Vec<u64>)>,
}

impl RawCounters {
    /// Reads the rows of a program that has ended. None when it wrote no row with a time stamp.
    pub(crate) fn read(path: &Path, start: SystemTime) -> Option<Self> {
        let start_ms = start.duration_since(UNIX_EPOCH).ok()?.as_millis() as f64;
        let text = std::fs::read_to_string(path).ok()?;
        let parsed = text.lines().filter_map(|line| serde_json::from_str::<BTreeMap<String, u64>>(line).ok());
        let rows: Vec<(u64, BTreeMap<String, u64>)> =
            parsed.filter_map(|mut row| Some((row.remove(STAMP)?, row))).collect();
        let names: Vec<String> = rows.last()?.1.keys().cloned().collect();
        let values = |row: &BTreeMap<String, u64>| {
            names.iter().map(|name| row.get(name).copied().unwrap_or(0)).collect()
        };
        let rows = rows.iter().map(|(ms, row)| ((*ms as f64 - start_ms) / 1e3, values(row))).collect();
        Some(RawCounters { names, rows })
    }

    /// Returns a counter at the end of the program.
    pub(crate) fn total(&self, name: &str) -> Option<u64> {
        self.rows.last()?.1.get(self.names.iter().position(|known| known == name)?).copied()
    }

    /// Returns a counter in the rows between 0 and `end` seconds.
    fn inside(&self, name: &str, end: f64) -> Option<Vec<(f64, u64)>> {
        let place = self.names.iter().position(|known| known == name)?;
        let rows = self.rows.iter().filter(|(at, _)| (0.0..=end).contains(at));
        rows.map(|(at, values)| Some((*at, *values.get(place)?))).collect()
    }

    /// Returns what the rows between 0 and `end` seconds have added to a counter.
    pub(crate) fn added(&self, name: &str, end: f64) -> Option<u64> {
        let rows = self.inside(name, end)?;
        Some(rows.last()?.1.saturating_sub(rows.first()?.1))
    }

    /// Returns the requests per second in each second between 0 and `end`, as (seconds since the start, rate).
    pub(crate) fn rates(&self, end: f64) -> Vec<(f64, f64)> {
        let rows = self.inside("served", end).unwrap_or_default();
        let pairs = rows.into_iter().tuple_windows().filter(|((begin, _), (end, _))| end - begin > 0.5);
        pairs.map(|((begin, a), (end, b))| (end, b.saturating_sub(a) as f64 / (end - begin))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The rows of the warm-up are read together with the later rows, and keep their own times.
    #[test]
    fn a_row_has_the_time_at_which_it_was_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "{\"unix_ms\":9000,\"served\":1}\n{\"unix_ms\":10000,\"served\":5}\n{\"served\":6}\nnonsense\n{\"uni";
        std::fs::write(&file, text).unwrap();
        let raw = RawCounters::read(file.path(), UNIX_EPOCH + Duration::from_millis(9500)).unwrap();
        assert_eq!((raw.names.join(" "), raw.rows), ("served".into(), vec![(-0.5, vec![1]), (0.5, vec![5])]));
        assert_eq!(RawCounters::read(Path::new("/no/such/file"), UNIX_EPOCH), None);
    }

    #[test]
    fn only_whole_rows_inside_the_run_count() {
        let rows = [(-0.5, 5), (0.5, 10), (1.5, 110), (2.5, 310), (3.5, 320), (3.6, 333)];
        let rows = rows.iter().map(|(at, n)| (*at, vec![1, *n])).collect();
        let raw = RawCounters { names: vec!["accepted".into(), "served".into()], rows };
        assert_eq!([raw.added("served", 3.0), raw.added("accepted", 3.0)], [Some(300), Some(0)]);
        assert_eq!([raw.added("jobs", 3.0), raw.added("served", 0.1)], [None; 2]);
        assert_eq!([raw.total("served"), RawCounters::default().total("served")], [Some(333), None]);
        assert_eq!(raw.rates(3.0), [(1.5, 100.0), (2.5, 200.0)]);
        assert!(raw.rates(0.1).is_empty() && RawCounters::default().rates(1.0).is_empty());
    }
}
