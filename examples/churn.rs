//! Replaces the members of a cluster every 10 ms while `wrk` sends requests, on both engines.
//!
//! Eight origins run in this process; four of them are members at a time. Every 10 ms one member leaves and another
//! origin takes its place. So an origin is a member for 40 ms, and then not a member for 40 ms. The program checks that
//!
//! - no request fails;
//! - a removed backend gets no new request. Allowed are requests in flight, and one request per worker that picked the
//!   backend during the removal;
//! - the memory of the process does not grow.
//!
//! The exit code is 1 when a check fails. Needs wrk.
//!
//!     cargo run --release --example churn -- [SECONDS [CONNECTIONS]]

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, Moment, Terms};
use neraca::cluster::{Backend, History, Permit, Start};
use neraca::config::{self, Config};
use neraca::engine::{self, EngineHandle};
use neraca::files::Files;
use neraca::http::head::RequestHead;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wrk::{Load, Wrk};

#[path = "under_load/wrk.rs"]
mod wrk;

const ORIGINS: usize = 8;
const MEMBERS: usize = 4;
const PERIOD: Duration = Duration::from_millis(10);
const DESCRIPTORS: usize = 20_000;

/// Maximum growth of the memory in KB from the first half of a run to the second half.
const GROWTH_KB_MAX: u64 = 2048;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let (Ok(seconds), Ok(connections)) =
        (arguments.next().unwrap_or(Ok(20)), arguments.next().unwrap_or(Ok(1000)))
    else {
        eprintln!("usage: churn [SECONDS [CONNECTIONS]]");
        return ExitCode::from(2);
    };
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    let mut good = true;
    for engine in ["thread", "async"] {
        match run(engine, seconds, connections as usize) {
            Ok(report) => good &= report.print(engine),
            Err(error) => {
                eprintln!("churn: {engine}: {error}");
                good = false;
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The file server with a count of its requests.
struct Origin {
    files: Arc<Files>,
    requests: AtomicU64,
}

impl App for Origin {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, view: &mut ()) {
        App::refresh(&*self.files, view);
    }

    fn decide(&self, view: &mut (), head: &RequestHead<'_>, client: &Client<'_>, now: &Moment) -> Decision {
        self.requests.fetch_add(1, Relaxed);
        self.files.decide(view, head, client, now)
    }

    fn retry(
        &self,
        view: &mut (),
        terms: Option<&Terms>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        self.files.retry(view, terms, history, permit, now)
    }
}

/// The running origins, with one worker each.
struct Origins {
    counts: Vec<Arc<Origin>>,
    engines: Vec<EngineHandle>,
}

impl Origins {
    fn start() -> Result<Self, Box<dyn Error>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/site");
        let words = ["neraca", "serve", "--engine", "async", "--workers", "1", "--root"];
        let words = words.into_iter().map(Into::into).chain([root.into()]);
        let Config::Serve(serve) = config::read(words, DESCRIPTORS)? else { unreachable!() };
        let files = Arc::new(serve.files()?);
        let mut origins = Origins { counts: Vec::new(), engines: Vec::new() };
        for _ in 0..ORIGINS {
            let origin = Arc::new(Origin { files: Arc::clone(&files), requests: AtomicU64::new(0) });
            let listeners = engine::listen(&[SocketAddr::from(([127, 0, 0, 1], 0))])?;
            origins.engines.push(engine::start(Arc::clone(&origin), listeners, serve.common.options())?);
            origins.counts.push(origin);
        }
        Ok(origins)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.engines.iter().map(|engine| engine.addresses()[0]).collect()
    }
}

/// An origin that is not a member now, with its counters at the time of its removal.
struct Removed {
    origin: usize,
    backend: Arc<Backend>,
    started: u64,
    /// Requests in flight to the origin, including requests of its earlier memberships.
    in_flight: u64,
    requests: u64,
}

impl Removed {
    /// Reads the counters at the removal. `earlier` has the backends of the origin's earlier memberships; backends
    /// without a request in flight are dropped.
    fn new(
        origin: usize,
        backend: &Arc<Backend>,
        earlier: &mut Vec<Arc<Backend>>,
        origins: &Origins,
    ) -> Self {
        earlier.push(Arc::clone(backend));
        let started = backend.counts().started;
        let in_flight = earlier.iter().map(|backend| u64::from(backend.in_flight())).sum();
        earlier.retain(|backend| backend.in_flight() > 0);
        let requests = origins.counts[origin].requests.load(Relaxed);
        Removed { origin, backend: Arc::clone(backend), started, in_flight, requests }
    }

    /// Returns the number of forbidden attempts, and of forbidden requests at the origin, since the removal.
    fn unexplained(&self, origins: &Origins, workers: u64) -> u64 {
        let attempts = self.backend.counts().started - self.started;
        let requests = origins.counts[self.origin].requests.load(Relaxed) - self.requests;
        attempts.saturating_sub(workers).max(requests.saturating_sub(self.in_flight + workers))
    }
}

/// The results of one engine.
struct Report {
    replaced: u64,
    requests: u64,
    failed: u64,
    /// Forbidden requests at removed backends.
    late: u64,
    /// Resident memory in KB after a quarter, a half and the whole of the run.
    memory_kb: [u64; 3],
}

impl Report {
    /// Prints the report. Returns true when all checks passed.
    fn print(&self, engine: &str) -> bool {
        let [start, middle, end] = self.memory_kb;
        let level = end.saturating_sub(middle) <= GROWTH_KB_MAX;
        println!(
            "{engine}: {} replacements, {} requests, {} failed, {} new requests at removed backends, memory {start} KB, \
             {middle} KB, {end} KB{}",
            self.replaced,
            self.requests,
            self.failed,
            self.late,
            if level { "" } else { " (grows)" }
        );
        self.failed == 0 && self.late == 0 && self.requests > 0 && level
    }
}

fn run(engine: &str, seconds: u64, connections: usize) -> Result<Report, Box<dyn Error>> {
    let origins = Origins::start()?;
    let addresses = origins.addresses();
    let first = addresses[0].to_string();
    let words = ["neraca", "balance", "--engine", engine, "--backend", &first];
    let Config::Balance(balance) = config::read(words.map(Into::into), DESCRIPTORS)? else { unreachable!() };
    let balancer = balance.balancer(&addresses[..MEMBERS]);
    let router = Arc::new(balancer.router()?);
    let options = balancer.options();
    let workers = options.workers as u64;
    let listeners = engine::listen(&[SocketAddr::from(([127, 0, 0, 1], 0))])?;
    let balancer = engine::start(Arc::clone(&router), listeners, options)?;
    let url = format!("http://{}/index.html", balancer.addresses()[0]);
    let mut load = Wrk::start(&url, seconds, connections)?;

    let begin = Instant::now();
    let (mut replaced, mut late, mut memory) = (0, 0, Vec::new());
    let mut removed: Vec<Removed> = Vec::new();
    let mut earlier = vec![Vec::new(); ORIGINS];
    while load.is_running() {
        thread::sleep(PERIOD);
        // The first member leaves. The origin after the last member comes back, so its absence ends here.
        let place = replaced as usize % ORIGINS;
        let leaving = Arc::clone(&router.cluster().members().backends()[0]);
        let coming = (place + MEMBERS) % ORIGINS;
        removed.retain(|gone| {
            if gone.origin == coming {
                late += gone.unexplained(&origins, workers);
            }
            gone.origin != coming
        });
        let members: Vec<_> = (1..=MEMBERS).map(|n| addresses[(place + n) % ORIGINS]).collect();
        router.cluster().replace(&members);
        removed.push(Removed::new(place, &leaving, &mut earlier[place], &origins));
        replaced += 1;
        let quarters = begin.elapsed().as_secs_f64() / seconds as f64 * 4.0;
        if quarters >= [1.0, 2.0, 3.8, f64::INFINITY][memory.len()] {
            memory.push(resident_kb()?);
        }
    }
    late += removed.iter().map(|gone| gone.unexplained(&origins, workers)).sum::<u64>();
    let Load { requests, failed, .. } = load.finish()?;
    for engine in [&balancer].into_iter().chain(&origins.engines) {
        engine.stop();
        engine.wait();
    }
    let memory_kb = memory.try_into().map_err(|_| "the run was too short to read the memory three times")?;
    Ok(Report { replaced, requests, failed, late, memory_kb })
}

fn resident_kb() -> std::io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
}
