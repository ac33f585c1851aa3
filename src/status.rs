//! `neraca status`: how a running balancer does, as a table.
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use neraca::admin::BackendStatus;
use neraca::config::StatusOf;
use serde::Deserialize;

/// Maximum time for a connection, and for a part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two tables with --watch.
const EVERY: Duration = Duration::from_secs(1);
/// Maximum size of an answer.
const ANSWER_MAX: u64 = 16 << 20;

/// The part of `/status.json` that the table shows.
#[derive(Debug, Deserialize)]
struct Shown {
    version: String,
    engine: String,
    workers: usize,
    uptime_s: f64,
    ready: bool,
    clients: u64,
    requests: u64,
    failed: u64,
    policy: String,
    waiting: u64,
    retries: u64,
    #[serde(default)]
    access_log_dropped: Option<u64>,
    backends: Vec<BackendStatus>,
    seconds: Vec<LastSecond>,
}

#[derive(Debug, Deserialize)]
struct LastSecond {
    requests_per_s: f64,
    p99_ms: Option<f64>,
}

/// Prints the table, once or every second. The exit code is 1 when the balancer is draining or a backend gets no requests.
///
/// # Errors
/// When the admin listener cannot be reached, or answers something else.
pub(crate) fn show(of: StatusOf) -> Result<ExitCode, String> {
    loop {
        let shown = ask(of.address).map_err(|reason| format!("{}: {reason}", of.address))?;
        let clear = if of.watch && io::stdout().is_terminal() { "\x1b[2J\x1b[H" } else { "" };
        let written = write!(io::stdout(), "{clear}{}", table(&shown));
        if !of.watch || written.is_err() {
            let is_well = shown.ready && shown.backends.iter().all(|backend| backend.state == "healthy");
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        thread::sleep(EVERY);
    }
}

fn ask(address: SocketAddr) -> Result<Shown, String> {
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /status.json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let cannot = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "; start the balancer with --admin, and give the same address here"
            }
            _ => "",
        };
        format!("cannot ask the admin listener: {error}{remedy}")
    };
    read(&exchange().map_err(cannot)?)
}

/// Reads a whole answer.
fn read(answer: &[u8]) -> Result<Shown, String> {
    let other =
        || "no admin listener of neraca answers here; start the balancer with --admin HOST:PORT".to_owned();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(other)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(other());
    }
    serde_json::from_slice(&answer[end + 4..]).map_err(|_| other())
}

fn table(shown: &Shown) -> String {
    let Shown { version, engine, workers, policy, clients, requests, failed, waiting, retries, .. } = shown;
    let uptime = humantime(shown.uptime_s);
    let ready = if shown.ready { "ready" } else { "draining" };
    let last = shown.seconds.last();
    let rate = last.map_or(0.0, |second| second.requests_per_s);
    let p99 = time(last.and_then(|second| second.p99_ms));
    let mut text = format!(
        "neraca {version}, {engine} engine, {workers} workers, {policy}: {ready}, up {uptime}\n\
         {rate:.0} requests/s, 99 % within {p99}, {clients} clients, {waiting} waiting; \
         since the start {requests} requests, {failed} failed, {retries} retried\n"
    );
    if let Some(dropped @ 1..) = shown.access_log_dropped {
        let _ = writeln!(text, "{dropped} lines of the access log were dropped");
    }
    text.push('\n');
    let head = ["backend", "state", "in flight", "share", "attempts", "failed", "half within", "99 % within"];
    let is_several = shown.backends.windows(2).any(|two| two[0].cluster != two[1].cluster);
    let rows = shown.backends.iter().map(|one| {
        let cap = one.cap.map(|cap| format!(" of {cap}")).unwrap_or_default();
        let failed: u64 = one.failures.values().sum();
        [
            if is_several { format!("{} {}", one.cluster, one.address) } else { one.address.clone() },
            one.state.clone(),
            format!("{}{cap}", one.in_flight),
            format!("{:.1} %", one.share_percent),
            one.attempts.to_string(),
            failed.to_string(),
            time(one.p50_ms),
            time(one.p99_ms),
        ]
    });
    let rows: Vec<[String; 8]> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let widths: [usize; 8] = std::array::from_fn(|n| rows.iter().map(|row| row[n].len()).max().unwrap_or(0));
    for row in &rows {
        for (n, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match n {
                0 | 1 => write!(text, "{cell:<width$}  "),
                7 => writeln!(text, "{cell:>width$}"),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
    }
    text
}

fn time(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
}

fn humantime(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"version":"1","engine":"thread","workers":2,"uptime_s":200.5,"ready":true,"clients":3,
        "requests":10,"failed":1,"policy":"random","waiting":0,"retries":2,"seconds":[{"requests_per_s":9.6,"p99_ms":2.5}],
        "backends":[{"address":"127.0.0.1:9001","state":"healthy","reason":"","weight":1,"cap":4,"in_flight":2,
        "attempts":10,"failures":{"refused":1},"share_percent":100.0,"p50_ms":1.0,"p99_ms":null}],"new":1}"#;

    #[test]
    fn the_table_has_a_row_for_each_backend() {
        let answer = format!("HTTP/1.1 200 OK\r\nX: y\r\n\r\n{JSON}");
        let text = table(&read(answer.as_bytes()).unwrap());
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "neraca 1, thread engine, 2 workers, random: ready, up 3 min",
                "10 requests/s, 99 % within 2.5 ms, 3 clients, 0 waiting; since the start 10 requests, 1 failed, 2 retried",
                "",
                "backend         state    in flight    share  attempts  failed  half within  99 % within",
                "127.0.0.1:9001  healthy     2 of 4  100.0 %        10       1         1 ms            -",
            ]
        );
    }

    #[test]
    fn dropped_lines_of_the_access_log_are_told() {
        let line = "7 lines of the access log were dropped";
        for (dropped, is_told) in [("null", false), ("0", false), ("7", true)] {
            let json = JSON.replace("\"new\":1", &format!("\"access_log_dropped\":{dropped}"));
            let text = table(&read(format!("HTTP/1.1 200 OK\r\n\r\n{json}").as_bytes()).unwrap());
            assert_eq!(text.lines().any(|found| found == line), is_told, "{text}");
        }
    }

    #[test]
    fn another_server_is_recognized() {
        for answer in ["", "HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n{}", "SSH-2.0-x\r\n\r\n"]
        {
            assert!(read(answer.as_bytes()).unwrap_err().contains("--admin"), "{answer}");
        }
    }
}
