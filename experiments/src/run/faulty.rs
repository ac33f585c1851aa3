//! A server with one known fault, which it counts. The self-test measures this server, and `grade` puts it behind a
//! balancer.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use signal_hook::consts::SIGTERM;

use crate::run::message;

/// The fault of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// No fault.
    None,
    /// The answer has status 503.
    Status,
    /// The answer ends in the middle of its body.
    Truncate,
    /// The connection is never answered.
    Silent,
    /// All answers wait during 500 ms of every 2 s.
    Pause,
    /// The answer is followed by a close without `Connection: close`.
    Close,
    /// A fixed pool: each worker holds a connection until the client closes it. The other connections wait in a short
    /// listen queue.
    Starve,
    /// Every answer waits for a second.
    Slow,
}

impl Fault {
    /// Returns the value of `--fault`.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The arguments of `neraca-lab faulty`.
#[derive(Debug, clap::Args)]
pub(crate) struct Faulty {
    #[arg(long, value_enum)]
    fault: Fault,
    /// Only every Nth answer or connection has the fault
    #[arg(long, default_value_t = 1)]
    every: u64,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    body: PathBuf,
    #[arg(long)]
    stats: PathBuf,
}

impl Faulty {
    /// True when the answer or the connection with this number, from 0 on, has the fault.
    fn is_meant(&self, number: u64) -> bool {
        number % self.every == self.every - 1
    }
}

/// Workers of the fixed pool, and the length of its listen queue.
pub(crate) const POOL: usize = 20;
const QUEUE: i32 = 8;

pub(crate) const PAUSE_EVERY: Duration = Duration::from_secs(2);
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    served: AtomicU64,
    at_fault: AtomicU64,
}

/// Serves until a signal ends the process. Writes the counts to `stats` every second and at the end.
pub(crate) fn serve(options: Faulty) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    let body: Arc<[u8]> = std::fs::read(&options.body)?.into();
    let listener = TcpListener::bind(options.listen)?;
    let starves = options.fault == Fault::Starve;
    if starves {
        rustix::net::listen(&listener, QUEUE)?;
    }
    let (options, counts, start) = (Arc::new(options), Arc::new(Counts::default()), Instant::now());
    println!("listening on http://{}", listener.local_addr()?);
    for _ in 0..if starves { POOL } else { 1 } {
        let (listener, options) = (listener.try_clone()?, Arc::clone(&options));
        let (counts, body) = (Arc::clone(&counts), Arc::clone(&body));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = counts.accepted.fetch_add(1, Relaxed);
                let (options, counts, body) = (Arc::clone(&options), Arc::clone(&counts), Arc::clone(&body));
                let talk = move || converse(stream, &options, (number, start), &counts, &body);
                if starves { talk() } else { drop(thread::spawn(talk)) }
            }
        });
    }
    let mut stats = OpenOptions::new().create(true).append(true).open(&options.stats)?;
    for tenth in 1_u64.. {
        thread::sleep(Duration::from_millis(100));
        let ends = stop.load(Relaxed);
        if ends || tenth % 10 == 0 {
            let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            let Counts { accepted, served, at_fault } = &*counts;
            let row =
                json!({"unix_ms": unix_ms, "accepted": accepted, "served": served, "at_fault": at_fault});
            writeln!(stats, "{row}")?;
        }
        if ends {
            break;
        }
    }
    Ok(())
}

fn converse(
    mut stream: TcpStream,
    options: &Faulty,
    (connection, start): (u64, Instant),
    counts: &Counts,
    body: &[u8],
) {
    let _ = stream.set_nodelay(true);
    let (mut received, fault) = (Vec::new(), options.fault);
    while let Ok(Some(Ok(request))) = message::next_request(&mut stream, &mut received) {
        let keep = request.keep;
        if fault == Fault::Silent && options.is_meant(connection) {
            counts.at_fault.fetch_add(1, Relaxed);
            let _ = io::copy(&mut stream, &mut io::sink());
            return;
        }
        match fault {
            Fault::Pause => thread::sleep(pause_left(start.elapsed())),
            Fault::Slow => thread::sleep(Duration::from_secs(1)),
            _ => {}
        }
        let number = counts.served.fetch_add(1, Relaxed);
        let at_fault =
            matches!(fault, Fault::Status | Fault::Truncate | Fault::Close) && options.is_meant(number);
        counts.at_fault.fetch_add(u64::from(at_fault), Relaxed);
        let status = if at_fault && fault == Fault::Status { "503 Service Unavailable" } else { "200 OK" };
        let connection = if keep { "" } else { "Connection: close\r\n" };
        let mut answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{connection}\r\n", body.len()).into_bytes();
        let truncated = at_fault && fault == Fault::Truncate;
        answer.extend_from_slice(if truncated { &body[..body.len() / 2] } else { body });
        let closes = at_fault && fault == Fault::Close;
        if stream.write_all(&answer).is_err() || !keep || truncated || closes {
            return;
        }
    }
}

/// Returns the remaining time of the pause. The pause is at the end of every two seconds.
fn pause_left(elapsed: Duration) -> Duration {
    let phase = Duration::from_nanos((elapsed.as_nanos() % PAUSE_EVERY.as_nanos()) as u64);
    if phase >= PAUSE_EVERY - PAUSE { PAUSE_EVERY - phase } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_is_pause() {
        let cases = [(0, 0), (1499, 0), (1500, 500), (1900, 100), (2000, 0), (3700, 300)];
        for (at, left) in cases {
            assert_eq!(pause_left(Duration::from_millis(at)), Duration::from_millis(left), "{at}");
        }
    }
}
