//! Runs wrk and reads its report.
use std::error::Error;
use std::process::{Child, Command, Stdio};

/// A running wrk.
pub(crate) struct Wrk(Child);

/// What wrk reports.
#[allow(dead_code)] // Not every program that uses this file reads all of it.
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Socket errors and responses other than 2xx and 3xx. wrk counts a socket error when it cannot connect, and when a
    /// connection ends before the response is complete. A close behind a response with `Connection: close` is none.
    pub(crate) failed: u64,
    pub(crate) per_second: f64,
    /// 99 % of the responses were complete within so many milliseconds.
    pub(crate) p99_ms: f64,
}

impl Wrk {
    /// Starts wrk with two threads.
    pub(crate) fn start(url: &str, seconds: u64, connections: usize) -> std::io::Result<Self> {
        let mut command = Command::new("wrk");
        command.args(["-t", "2", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
        command.args(["--latency", "--timeout", "30s", url]).stdout(Stdio::piped()).spawn().map(Wrk)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Waits for the end.
    pub(crate) fn finish(self) -> Result<Load, Box<dyn Error>> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("wrk: {}", output.status).into());
        }
        let report = String::from_utf8(output.stdout)?;
        load(&report).ok_or_else(|| format!("wrk's report has another form: {report}").into())
    }
}

fn load(report: &str) -> Option<Load> {
    let line = |part: &str| report.lines().find(|line| line.contains(part));
    let numbers = |line: &str| -> Vec<u64> {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    let requests = *numbers(line(" requests in ")?).first()?;
    let sockets = line("Socket errors:").map(numbers).unwrap_or_default().iter().sum::<u64>();
    // The first two numbers in "Non-2xx or 3xx responses: 5" are not counts.
    let statuses =
        line("Non-2xx or 3xx responses:").map(numbers).unwrap_or_default().iter().skip(2).sum::<u64>();
    let per_second = line("Requests/sec:")?.split_whitespace().last()?.parse().ok()?;
    let p99_ms = ms(line("99%")?.split_whitespace().last()?)?;
    Some(Load { requests, failed: sockets + statuses, per_second, p99_ms })
}

/// Reads a time such as `1.50ms`.
fn ms(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}
