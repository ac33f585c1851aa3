//! A server with one known fault, which it counts. The self-test measures this server, and `grade` puts it behind a
//! balancer.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use signal_hook::consts::SIGTERM;

use crate::run::message::{self, Progress, answer};

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

const PAUSE_EVERY: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);

/// A running server, and what it has counted.
struct Server {
    options: Faulty,
    body: Vec<u8>,
    start: Instant,
    accepted: AtomicU64,
    served: AtomicU64,
    at_fault: AtomicU64,
}

/// Serves until a signal ends the process. Writes the counts to `stats` every second and at the end.
pub(crate) fn serve(options: Faulty) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    let listener = TcpListener::bind(options.listen)?;
    let starves = options.fault == Fault::Starve;
    if starves {
        rustix::net::listen(&listener, QUEUE)?;
    }
    let (body, start) = (fs::read(&options.body)?, Instant::now());
    let mut stats = OpenOptions::new().create(true).append(true).open(&options.stats)?;
    let [accepted, served, at_fault] = [const { AtomicU64::new(0) }; 3];
    let server: &Server = Box::leak(Box::new(Server { options, body, start, accepted, served, at_fault }));
    println!("listening on http://{}", listener.local_addr()?);
    for _ in 0..if starves { POOL } else { 1 } {
        let listener = listener.try_clone()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = server.accepted.fetch_add(1, Relaxed);
                let talk = move || message::serve(&stream, |request| server.respond(number, request));
                if starves { drop(talk()) } else { drop(thread::spawn(talk)) }
            }
        });
    }
    for tenth in 1_u64.. {
        thread::sleep(Duration::from_millis(100));
        let ends = stop.load(Relaxed);
        if ends || tenth % 10 == 0 {
            let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            let Server { accepted, served, at_fault, .. } = server;
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

impl Server {
    /// Returns the answer to a request on the connection with this number, and true when the connection stays open.
    fn respond(&self, connection: u64, progress: Progress) -> (Vec<u8>, bool) {
        let Ok(request) = progress else { return (Vec::new(), false) };
        let (fault, keep) = (self.options.fault, request.keep);
        if fault == Fault::Silent && self.options.is_meant(connection) {
            self.at_fault.fetch_add(1, Relaxed);
            return (Vec::new(), true);
        }
        match fault {
            Fault::Pause => thread::sleep(pause_left(self.start.elapsed())),
            Fault::Slow => thread::sleep(Duration::from_secs(1)),
            _ => {}
        }
        let number = self.served.fetch_add(1, Relaxed);
        let one_of_many = matches!(fault, Fault::Status | Fault::Truncate | Fault::Close);
        let fault = Some(fault).filter(|_| one_of_many && self.options.is_meant(number));
        self.at_fault.fetch_add(u64::from(fault.is_some()), Relaxed);
        let (body, length) = (&self.body[..], self.body.len());
        match fault {
            Some(Fault::Status) => (answer("503 Service Unavailable", length, body, keep), keep),
            Some(Fault::Truncate) => (answer("200 OK", length, &body[..length / 2], keep), false),
            Some(_) => (answer("200 OK", length, body, keep), false),
            None => (answer("200 OK", length, body, keep), keep),
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
