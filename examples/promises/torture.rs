//! Backends that close kept connections at random, while one of them at a time is killed and started again.
//!
//! Each POST has a path of its own. The backends write the paths that they receive into files. A path that is there twice is
//! a POST that the balancer has sent twice, and this is forbidden (RFC 9110 section 9.2.2).

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Closes, State, random};
use crate::balancer::Balancer;
use crate::wire::{Client, spawn};
use crate::{Row, Setup};

/// The command of a backend's process: `backend PORT LOG`.
pub(crate) const BACKEND: &str = "backend";

const BACKENDS: usize = 3;
/// The closes of the backends. The backends do not announce a close in a response.
const CLOSES: Closes = Closes { requests: 1..=100, idle_ms: 20..=60 };
const GETTERS: usize = 20;
const POSTERS: usize = 60;
/// All clients send a request in each period, with a random delay. So connections are idle for about as long as the
/// backends keep them, and many of them are used at the time at which they are closed.
const PERIOD_MS: u64 = 40;
const DELAY_MS: RangeInclusive<u64> = 0..=10;
/// A turn: a backend is killed, is down, and runs again until the next backend is killed.
const DOWN: Duration = Duration::from_millis(300);
const UP: Duration = Duration::from_millis(700);

/// Runs a backend until its standard input ends.
pub(crate) fn serve(port: &str, log: &str) -> ExitCode {
    let start = || -> io::Result<Backend> {
        let port = port.parse().map_err(io::Error::other)?;
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        Backend::start(port, State::closing(CLOSES, log))
    };
    match start() {
        Ok(_) => {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("promises: backend: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn run(setup: &Setup) -> io::Result<Vec<Row>> {
    let base = match &setup.base {
        Some(program) => Some(torture(&Setup { program: program.clone(), ..setup.clone() })?),
        None => None,
    };
    let found = torture(setup)?;
    let share = |bad: usize, posts: usize| bad as f64 * 100.0 / posts.max(1) as f64;
    let said = |bad, posts| format!("{bad} of {posts}, {:.3} %", share(bad, posts));
    let failed = format!("{} of {}", found.gets_failed, found.gets);
    let twice = format!("{} of {}", found.twice, found.received);
    let mut rows = vec![
        Row::new("torture: backends killed", found.kills, "", true),
        Row::new("GETs that failed", failed, "0", found.gets_failed == 0 && found.gets > 0),
        Row::new("POSTs that backends received twice", twice, "0", found.twice == 0 && found.received > 0),
        Row::new("POSTs with 200 that no backend received", found.invented, "0", found.invented == 0),
        Row::new("POSTs with neither 200 nor 502", found.other, "0", found.other == 0),
        Row::new("POSTs with 502", said(found.bad, found.posts), "", true),
        Row::new("of these, received by a backend", found.bad_received, "", true),
        Row::new("of these, in flight at a kill and received by nobody", found.bad_killed, "", true),
        Row::new("of these, neither: the closes of kept connections", found.avoidable(), "", true),
    ];
    if let Some(base) = base {
        let few = share(found.avoidable(), found.posts) <= share(base.avoidable(), base.posts) / 10.0;
        rows.push(Row::new("base build: POSTs with 502", said(base.bad, base.posts), "", true));
        rows.push(Row::new("base build: received by a backend", base.bad_received, "", true));
        rows.push(Row::new("base build: in flight at a kill", base.bad_killed, "", true));
        rows.push(Row::new("base build: the closes", base.avoidable(), "ten times as many", few));
    }
    Ok(rows)
}

/// The counts of a run.
#[derive(Debug, Default)]
struct Outcome {
    kills: usize,
    gets: usize,
    gets_failed: usize,
    posts: usize,
    /// POSTs with 502, and those of them that a backend has received. A backend that is killed leaves no other answer.
    bad: usize,
    bad_received: usize,
    /// POSTs with 502 that were in flight when a backend was killed, and that no backend has received: the killed process had
    /// not yet read them. The balancer cannot know this, so it may not send them again.
    bad_killed: usize,
    /// POSTs with another status or with no response.
    other: usize,
    /// POSTs with 200 that no backend has received.
    invented: usize,
    /// POSTs that the backends received, and those of them that they received more than once.
    received: usize,
    twice: usize,
}

impl Outcome {
    /// POSTs with 502 that a better balancer could have kept: they met the close of a kept connection.
    fn avoidable(&self) -> usize {
        self.bad - self.bad_received - self.bad_killed
    }
}

/// A request and its answer.
struct Asked {
    target: String,
    status: u16,
    begun: Instant,
    ended: Instant,
}

fn torture(setup: &Setup) -> io::Result<Outcome> {
    let directory = std::env::temp_dir().join(format!("neraca-torture-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let outcome = load(setup, &directory);
    let _ = fs::remove_dir_all(&directory);
    outcome
}

fn load(setup: &Setup, directory: &Path) -> io::Result<Outcome> {
    let mut backends = (0..BACKENDS).map(|n| Process::start(directory, n)).collect::<io::Result<Vec<_>>>()?;
    let members = backends.iter().map(|backend| format!("127.0.0.1:{}", backend.port));
    let balancer = Balancer::start(setup, members, "")?;
    let (address, end) = (balancer.address, Instant::now() + Duration::from_secs(setup.seconds));
    let clients: Vec<_> = (0..GETTERS + POSTERS).map(|n| spawn(move || ask(address, n, end))).collect();
    // The time of each kill: when it began, and when the process was gone.
    let mut kills: Vec<(Instant, Instant)> = Vec::new();
    while Instant::now() + DOWN + UP < end {
        let backend = &mut backends[kills.len() % BACKENDS];
        let begun = Instant::now();
        backend.kill();
        kills.push((begun, Instant::now()));
        thread::sleep(DOWN);
        backend.launch()?;
        thread::sleep(UP);
    }
    // The clients have ended before the logs are read.
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap_or_default()).collect();
    let mut sums = Outcome { kills: kills.len(), ..Outcome::default() };
    let log = received(&backends)?;
    let different: HashSet<&str> = log.lines().collect();
    sums.received = log.lines().count();
    sums.twice = sums.received - different.len();
    for (n, answers) in answers.into_iter().enumerate() {
        for Asked { target, status, begun, ended } in answers {
            let is_get = n < GETTERS;
            let arrived = different.contains(target.as_str());
            let killed = kills.iter().any(|&(start, gone)| begun <= gone && ended >= start);
            sums.gets += usize::from(is_get);
            sums.gets_failed += usize::from(is_get && status != 200);
            sums.posts += usize::from(!is_get);
            sums.bad += usize::from(!is_get && status == 502);
            sums.bad_received += usize::from(!is_get && status == 502 && arrived);
            sums.bad_killed += usize::from(!is_get && status == 502 && !arrived && killed);
            sums.invented += usize::from(!is_get && status == 200 && !arrived);
            sums.other += usize::from(!is_get && ![200, 502].contains(&status));
        }
    }
    Ok(sums)
}

/// Sends requests until the end. Returns each of them.
fn ask(address: SocketAddr, client: usize, end: Instant) -> Vec<Asked> {
    let (mut wire, mut statuses, mut next) = (Client::new(address), Vec::new(), Instant::now());
    while Instant::now() < end {
        let (target, begun) = (format!("/{client}/{}", statuses.len()), Instant::now());
        let reply = match client < GETTERS {
            true => wire.get(&target),
            false => {
                wire.ask(&format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"))
            }
        };
        statuses.push(Asked { target, status: reply.status, begun, ended: Instant::now() });
        while next < Instant::now() {
            next += Duration::from_millis(PERIOD_MS);
        }
        let delay = Duration::from_millis(random(&DELAY_MS));
        thread::sleep((next + delay).saturating_duration_since(Instant::now()));
    }
    statuses
}

/// Returns the targets of the POSTs that the backends have received.
fn received(backends: &[Process]) -> io::Result<String> {
    let mut log = String::new();
    for backend in backends {
        File::open(&backend.log)?.read_to_string(&mut log)?;
    }
    Ok(log)
}

/// A backend in a process of its own, always on the same port.
struct Process {
    port: u16,
    log: PathBuf,
    running: Option<Child>,
}

impl Process {
    /// Starts the backend with this number on a free port.
    fn start(directory: &Path, number: usize) -> io::Result<Process> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = directory.join(format!("backend-{number}"));
        let mut process = Process { port, log, running: None };
        process.launch()?;
        Ok(process)
    }

    /// Starts the process, and waits until it listens.
    fn launch(&mut self) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([BACKEND, &self.port.to_string()]).arg(&self.log).stdin(Stdio::piped());
        self.running = Some(command.spawn()?);
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if Instant::now() > end {
                return Err(io::Error::other("a backend does not listen"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Kills the process.
    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
