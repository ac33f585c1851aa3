//! The load generator wrk: its command, and its report through experiments/wrk.lua.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plans::model::Cell;
use crate::run::reply::Errors;

/// The script that runs inside wrk. It writes one JSON object to the file named by [`JSON_VARIABLE`].
pub(crate) const SCRIPT: &str = include_str!("../../wrk.lua");
pub(crate) const JSON_VARIABLE: &str = "LAB_WRK_JSON";
/// The name of the script in the scratch directory.
pub(crate) const FILE: &str = "wrk.lua";

/// wrk's timeout in seconds. wrk ignores the latency of later answers, so the timeout is longer than any run.
const TIMEOUT_S: u64 = 30;

/// The report of wrk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    /// From the start of the first thread to the end of the last thread.
    pub(crate) duration_us: u64,
    /// Complete responses, including responses of status 400 and above, and late responses.
    pub(crate) requests: u64,
    /// Bytes of heads and bodies.
    pub(crate) bytes: u64,
    pub(crate) errors: Errors,
    /// The latencies that wrk reports. wrk corrects the values, so the report must say so when it shows them.
    pub(crate) latency_us: BTreeMap<String, Option<f64>>,
}

/// Returns the command of wrk. wrk accepts only whole seconds.
pub(crate) fn command(cell: &Cell, scratch: &Path, address: SocketAddr) -> Vec<String> {
    let Cell { connections, threads, seconds, path, .. } = cell;
    let seconds = seconds.ceil().max(1.0);
    let flags =
        format!("wrk -c {connections} -t {threads} -d {seconds}s --timeout {TIMEOUT_S}s --latency -s");
    let mut words: Vec<String> = flags.split(' ').map(Into::into).collect();
    words.push(scratch.join(FILE).display().to_string());
    if !cell.keep_alive {
        words.extend(["-H".into(), "Connection: close".into()]);
    }
    words.push(format!("http://{address}/{path}"));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let json = r#"{"duration_us":2000123,"requests":10,"bytes":2340,
            "errors":{"connect":1,"read":2,"write":3,"status":4,"timeout":5},
            "latency_us":{"min":null,"mean":12.500,"p99.9":7.000}}"#;
        let client: Client = serde_json::from_str(json).unwrap();
        let e = client.errors;
        assert_eq!((client.duration_us, client.requests, client.bytes), (2_000_123, 10, 2340));
        assert_eq!((e.connect, e.read, e.write, e.status, e.timeout), (1, 2, 3, 4, 5));
        assert_eq!(client.latency_us["mean"], Some(12.5));
        assert_eq!(client.latency_us["min"], None);
        for json in ["", "{}", "{\"duration_us\":-1}", "nonsense"] {
            assert!(serde_json::from_str::<Client>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_command_says_what_the_cell_says() {
        let mut cell =
            Cell { connections: 1000, threads: 150, seconds: 2.5, path: "x".into(), ..Cell::default() };
        let line = |cell: &Cell| command(cell, Path::new(""), ([127, 0, 0, 1], 1).into()).join(" ");
        let expected = "wrk -c 1000 -t 150 -d 3s --timeout 30s --latency -s wrk.lua -H Connection: close http://127.0.0.1:1/x";
        assert_eq!(line(&cell), expected);
        cell.keep_alive = true;
        assert!(!line(&cell).contains("close"));
    }
}
