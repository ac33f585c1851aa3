//! Instructions per request of an exchange in memory, counted by callgrind.
//!
//! The counted program is benches/exchange.rs, because older commits have it too. Each bench runs twice, with two
//! numbers of requests. The difference of the two counts, divided by the difference of the two numbers, is the cost of
//! one request. The result does not depend on the load of the machine.

use std::path::Path;
use std::process::Command;

use crate::report::number::{dash, grouped, maybe_grouped, ratio};
use crate::report::words::{self, Lang};

/// A bench of benches/exchange.rs, and the smaller number of requests; the larger number is three times as large.
const BENCHES: [(&str, u64); 4] = [
    ("balance_get_128_bytes::small", 2000),
    ("balance_get_128_bytes::browser", 2000),
    ("balance_chunked_64_kib::4096", 200),
    ("files_get_128_bytes::small", 2000),
];

/// Minimum instructions of a request. A smaller count means that the bench did not run.
const INSTRUCTIONS_MIN: f64 = 100.0;

/// Fails when valgrind is not installed.
pub(super) fn can_count() -> Result<(), String> {
    let said = "no instructions are counted: valgrind is not installed; `make bench-setup` installs it";
    Command::new("valgrind").arg("--version").output().map(drop).map_err(|_| said.into())
}

/// Counts the benches of both source trees and prints a table. Without an older tree, the table has the newer one only.
///
/// # Errors
/// When a bench of the newer build cannot be counted. The error names the bench.
pub(super) fn report(base: Option<&Path>, new: &Path) -> Result<(), String> {
    if base.is_none() {
        println!("instructions per request of the new build only: the base is no commit");
    }
    let mut table = words::table(Lang::En, "instructions");
    for (bench, requests) in BENCHES {
        let newer = per_request(new, bench, requests)?;
        let older = base.and_then(|source| {
            per_request(source, bench, requests).inspect_err(|reason| eprintln!("base: {reason}")).ok()
        });
        let ratio = older.map(|older| ratio(newer / older));
        table.push([bench.to_owned(), maybe_grouped(older), grouped(newer), dash(ratio)]);
    }
    print!("{}", table.text());
    Ok(())
}

fn per_request(source: &Path, bench: &str, requests: u64) -> Result<f64, String> {
    let (few, many) = (count(source, bench, requests)?, count(source, bench, 3 * requests)?);
    let instructions = many.saturating_sub(few) as f64 / (2 * requests) as f64;
    if instructions < INSTRUCTIONS_MIN {
        return Err(format!("{} has no bench {bench}", source.display()));
    }
    Ok(instructions)
}

/// Runs valgrind in place of the program of the benches.
const RUNNER: &str =
    r#"target."cfg(all())".runner = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]"#;

/// Counts all instructions of benches/exchange.rs in a source tree while it runs one bench.
fn count(source: &Path, bench: &str, requests: u64) -> Result<u64, String> {
    let mut command = Command::new("cargo");
    command.args(["bench", "--bench", "exchange", "--target-dir", "target", "--config", RUNNER, "--"]);
    command.args(["--sample-count", "1", "--min-time", "0", "--sample-size", &requests.to_string()]);
    command.args(["--exact", &format!("exchange::{bench}")]).current_dir(source);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said).ok_or_else(|| {
        format!("valgrind counted nothing of {bench}: {}", said.lines().last().unwrap_or_default())
    })
}

/// Returns the number in callgrind's line `==12== Collected : 345`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_callgrind_prints() {
        let said =
            "==1== Events    : Ir\n==1== Collected : 114207858\n==1== \n==1== I   refs:      114,207,858\n";
        assert_eq!(collected(said), Some(114_207_858));
        assert_eq!(collected("==1== Events    : Ir\n"), None);
    }
}
