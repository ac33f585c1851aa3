//! The counters that a program of ours appends to a file every second.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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
        assert_eq!(
            raw,
            RawCounters { names: vec!["served".into()], rows: vec![(-0.5, vec![1]), (0.5, vec![5])] }
        );
        assert_eq!(RawCounters::read(Path::new("/no/such/file"), UNIX_EPOCH), None);
    }
}
