//! The process: signals, exit codes and output. [`neraca::config`] reads the arguments.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use neraca::app::App;
use neraca::config::{self, Backends, Balance, Common, Config, Serve, Simulate};
use neraca::engine::{self, Checker, EngineHandle, Options};
use neraca::router::Router;
use neraca::simulate::UnknownScenario;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::access_log::{AccessLog, Logged};
use crate::demo::Demo;
use crate::experiments::{Experiment, Switches};
use crate::faults::FaultFile;

mod access_log;
mod admin_listener;
mod demo;
mod experiments;
mod faults;
mod logger;
mod status;

/// Time between two refreshes of the file server. So a changed file is served within a second.
const REFRESH: Duration = Duration::from_millis(500);
/// Time between two lines of counters.
const STATS: Duration = Duration::from_secs(1);

/// An error that ends the program.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Makes the error for a program that cannot run: exit code 1.
    fn cannot_run(message: String) -> Self {
        Failure { code: 1, message }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    logger::install().map_err(|message| Failure { code: 2, message })?;
    match config::read(std::env::args_os(), raise_descriptor_limit()) {
        Ok(Config::Balance(config)) => balance(&config),
        Ok(Config::Serve(config)) => serve(&config),
        Ok(Config::Status(of)) => status::show(of).map_err(Failure::cannot_run),
        Ok(Config::Simulate(config)) => simulate(&config),
        // Help and version are errors of clap too, with exit code 0.
        Err(error) => {
            let _ = error.print();
            Ok(ExitCode::from(error.exit_code() as u8))
        }
    }
}

fn balance(config: &Balance) -> Result<ExitCode, Failure> {
    let listeners = listen(&config.common)?;
    let admin =
        config.admin.as_ref().map(admin_listener::Bound::new).transpose().map_err(Failure::cannot_run)?;
    let options = config.options();
    let demo = match config.backends {
        Backends::At(_) => None,
        Backends::Demo => Some(Demo::start(&options).map_err(|error| {
            Failure::cannot_run(format!("cannot start the backends of the demo: {error}"))
        })?),
    };
    let backends = match (&config.backends, &demo) {
        (Backends::At(backends), _) => backends.clone(),
        (Backends::Demo, demo) => demo.iter().flat_map(Demo::addresses).map(Into::into).collect(),
    };
    let app = Arc::new(config.router(&backends));
    let switches = Switches { access_log: config.common.access_log, ..Switches::default() };
    let checks = config.checks.clone().map(|checks| Checker::start(Arc::clone(&app), checks)).transpose();
    let _checks = checks.map_err(|error| Failure::cannot_run(format!("cannot start the checks: {error}")))?;
    let engine = admin_listener::name(options.engine);
    let service = Service::open(Arc::clone(&app), (switches, None), listeners, options, &config.common)?;
    let service = match admin {
        Some(bound) => service.with_admin(bound, app, engine)?,
        None => service,
    };
    if demo.is_some() {
        for backend in &backends {
            say(&format!("backend http://{}", backend.address));
        }
        say(&format!("try curl -i http://{}/", service.running.addresses()[0]));
    }
    service.supervise()
}

/// Prints the table of a simulation, or the picks of one run. A broken promise is told on stderr.
fn simulate(config: &Simulate) -> Result<ExitCode, Failure> {
    let simulation = &config.simulation;
    let unknown = |error: UnknownScenario| Failure::cannot_run(error.to_string());
    if let Some(seed) = config.replay {
        print(&simulation.replay(seed).map_err(unknown)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Without a terminal on stderr the bar prints nothing.
    let bar = ProgressBar::new(simulation.runs().map_err(unknown)?);
    let report = simulation.run(|| bar.inc(1)).map_err(unknown)?;
    bar.finish_and_clear();
    print(&report.to_string())?;
    if let Some(path) = &config.svg {
        let cannot = |error| Failure::cannot_run(format!("cannot write to '{}': {error}", path.display()));
        std::fs::write(path, report.svg()).map_err(cannot)?;
    }
    let broken = report.broken_promises();
    for promise in &broken {
        let _ = writeln!(io::stderr(), "broken promise: {promise}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a text that is the result of the program.
fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::cannot_run(format!("cannot write to stdout: {error}")))
}

fn serve(config: &Serve) -> Result<ExitCode, Failure> {
    let files = config.files().map_err(|error| Failure::cannot_run(error.to_string()))?;
    let files = Arc::new(files);
    let listeners = listen(&config.common)?;
    let root = |wanted: bool| wanted.then(|| config.root.clone());
    let switches = Switches {
        access_log: config.common.access_log,
        list_directory: root(config.list_directory),
        read_file: root(config.read_file),
        delay: config.delay,
    };
    let options = config.common.options();
    let faults = config.faults.clone().map(FaultFile::open);
    let service = Service::open(Arc::clone(&files), (switches, faults), listeners, options, &config.common)?;
    thread::spawn(move || {
        loop {
            thread::sleep(REFRESH);
            files.refresh();
        }
    });
    service.supervise()
}

fn listen(common: &Common) -> Result<engine::Listeners, Failure> {
    engine::listen(&common.listen).map_err(|error| Failure::cannot_run(error.to_string()))
}

/// A running engine, its file of counters, and the events that end it.
struct Service {
    running: Arc<EngineHandle>,
    stats: Option<File>,
    log: Option<Arc<AccessLog>>,
    events: Receiver<Event>,
    /// False after the first signal.
    ready: Arc<AtomicBool>,
    /// Time between the first signal and the drain.
    drain_delay: Duration,
}

enum Event {
    /// SIGTERM, SIGINT or SIGUSR1.
    Signal(i32),
    /// The engine has stopped.
    Ended,
}

impl Service {
    /// Starts the engine. If a switch is on or there are faults, wraps the app in an [`Experiment`]. With an
    /// access log, wraps it in a [`Logged`] too.
    fn open<A: App>(
        app: Arc<A>,
        (switches, faults): (Switches, Option<FaultFile>),
        listeners: engine::Listeners,
        options: Options,
        common: &Common,
    ) -> Result<Self, Failure> {
        let stats = common.stats.as_deref().map(open_stats).transpose()?;
        let Some(settings) = &common.log else {
            return match switches.are_off() && faults.is_none() {
                true => Self::start(app, listeners, options, stats),
                false => {
                    Self::start(Arc::new(Experiment::new(app, switches, faults)), listeners, options, stats)
                }
            };
        };
        let log = Arc::new(AccessLog::start(settings).map_err(Failure::cannot_run)?);
        let app = Arc::new(Experiment::new(app, switches, faults));
        let service = Self::start(Arc::new(Logged::new(app, Arc::clone(&log))), listeners, options, stats)?;
        Ok(Service { log: Some(log), ..service })
    }

    /// Starts the engine. Signals are handled before the line "listening on" is printed.
    fn start<A: App>(
        app: Arc<A>,
        listeners: engine::Listeners,
        options: Options,
        stats: Option<File>,
    ) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::cannot_run(format!("cannot start the engine: {error}"));
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).map_err(cannot)?;
        let running = engine::start(app, listeners, options).map_err(cannot)?;
        let running = Arc::new(running);
        let (sender, events) = mpsc::channel();
        let ended = sender.clone();
        thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(Event::Signal(signal))));
        let waited_for = Arc::clone(&running);
        thread::spawn(move || {
            waited_for.wait();
            ended.send(Event::Ended)
        });
        let lines: Vec<_> = running.addresses().iter().map(|a| format!("listening on http://{a}")).collect();
        say(&lines.join("\n"));
        let ready = Arc::new(AtomicBool::new(true));
        Ok(Service { running, stats, log: None, events, ready, drain_delay: Duration::ZERO })
    }

    /// Starts the admin listener.
    fn with_admin(
        self,
        bound: admin_listener::Bound,
        app: Arc<Router>,
        engine: &'static str,
    ) -> Result<Self, Failure> {
        let drain_delay = bound.drain_delay();
        let (running, ready) = (Arc::clone(&self.running), Arc::clone(&self.ready));
        let address = bound.start(app, engine, running, ready).map_err(Failure::cannot_run)?;
        say(&format!("admin on http://{address}/status"));
        Ok(Service { drain_delay, ..self })
    }

    /// Waits for the end. The first signal starts the drain, the second signal ends the process at once.
    fn supervise(mut self) -> Result<ExitCode, Failure> {
        let mut stop_at: Option<Instant> = None;
        let mut next_stats = Instant::now() + STATS;
        let code = loop {
            let next = stop_at.map_or(next_stats, |stop_at| stop_at.min(next_stats));
            match self.events.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal(SIGUSR1)) => self.log.iter().for_each(|log| log.reopen()),
                Ok(Event::Signal(signal)) if !self.ready.load(Relaxed) => {
                    break ExitCode::from(128 + signal as u8);
                }
                Ok(Event::Signal(_)) => {
                    self.ready.store(false, Relaxed);
                    stop_at = Some(Instant::now() + self.drain_delay);
                }
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => break ExitCode::SUCCESS,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if stop_at.is_some_and(|stop_at| now >= stop_at) {
                stop_at = None;
                self.running.stop();
            }
            if now >= next_stats {
                next_stats += STATS;
                self.write_stats();
            }
        };
        self.write_stats();
        self.log.iter().for_each(|log| log.finish());
        Ok(code)
    }

    fn write_stats(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let counters = self.running.stats().to_json();
        let row = format!("{{\"unix_ms\":{},{}\n", now.as_millis(), counters.trim_start_matches('{'));
        if let Some(file) = &mut self.stats
            && let Err(error) = file.write_all(row.as_bytes())
        {
            log::warn!("cannot write the counters: {error}");
        }
    }
}

fn open_stats(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| Failure::cannot_run(format!("cannot write to '{}': {error}", path.display())))
}

/// Prints one or more lines. Ignores a failed write, because a closed stdout must not stop the service.
fn say(line: &str) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Raises the soft limit of open files to the hard limit, and returns the new limit.
fn raise_descriptor_limit() -> usize {
    /// The number that stands for "no limit".
    const UNLIMITED: u64 = 1 << 20;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.unwrap_or(UNLIMITED) as usize
}
