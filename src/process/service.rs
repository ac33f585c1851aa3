//! A running engine with the events that change and end it: signals, the program that replaces it, timers.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use neraca::app::App;
use neraca::engine::{self, EngineHandle, Listeners, Options};
use neraca::router::Router;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::notify::{self as systemd, Watchdog};
use super::reload::Reloading;
use super::replace::{Program, Successor};
use crate::access_log::AccessLog;
use crate::admin_listener;

/// Time between two lines of counters.
const STATS: Duration = Duration::from_secs(1);

/// A running engine, its file of counters, and the events that end it.
pub(crate) struct Service {
    running: Arc<EngineHandle>,
    admin: Option<EngineHandle>,
    stats: Option<File>,
    log: Option<Arc<AccessLog>>,
    /// What changes while the process runs: the configuration file and the certificates. None without them.
    reloading: Option<Reloading>,
    events: (Sender<Event>, Receiver<Event>),
    /// What `/ready` answers. False after the first signal to stop.
    ready: Arc<AtomicBool>,
    /// Time between the first signal to stop and the drain.
    drain_delay: Duration,
    program: Program,
    watchdog: Option<Watchdog>,
    phase: Phase,
    /// The new process, while it is not ready.
    successor: Option<Successor>,
}

/// How far the process is on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Another process has taken the sockets over, and this process drains.
    Replaced,
    /// A signal to stop has come. The drain begins at this time.
    StopsAt(Instant),
    Stopping,
}

enum Event {
    /// SIGTERM, SIGINT, SIGHUP, SIGUSR1 or SIGUSR2.
    Signal(i32),
    /// The configuration file or a certificate has changed.
    Changed,
    /// The new process is ready, or it is not and will not be.
    Successor(bool),
    /// The engine has stopped.
    Ended,
}

impl Service {
    /// Starts the engine. Signals are handled before the line "listening on" is printed.
    ///
    /// # Errors
    /// When the file of counters cannot be written, or the system cannot create a poller or a thread.
    pub(crate) fn start<A: App>(
        app: Arc<A>,
        listeners: Listeners,
        options: Options,
        stats: Option<&Path>,
    ) -> Result<Self, String> {
        let stats = stats.map(open_stats).transpose()?;
        let cannot = |error: io::Error| {
            format!("cannot start the engine: {error}{}", engine::more_descriptors(&error))
        };
        let program = Program::of_this_process().map_err(cannot)?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).map_err(cannot)?;
        let running = Arc::new(engine::start(app, listeners, options).map_err(cannot)?);
        let events = mpsc::channel();
        let (of_signals, ended) = (events.0.clone(), events.0.clone());
        thread::spawn(move || {
            signals.forever().try_for_each(|signal| of_signals.send(Event::Signal(signal)))
        });
        let waited_for = Arc::clone(&running);
        thread::spawn(move || {
            waited_for.wait();
            ended.send(Event::Ended)
        });
        let scheme = |id| if running.has_transform(id) { "https" } else { "http" };
        let listeners = running.listeners();
        let lines: Vec<_> =
            listeners.iter().map(|&(id, at)| format!("listening on {}://{at}", scheme(id))).collect();
        say(&lines.join("\n"));
        Ok(Service {
            running,
            admin: None,
            stats,
            log: None,
            reloading: None,
            events,
            ready: Arc::new(AtomicBool::new(true)),
            drain_delay: Duration::ZERO,
            program,
            watchdog: Watchdog::of_environment(Instant::now()),
            phase: Phase::Serving,
            successor: None,
        })
    }

    /// Starts the admin listener.
    ///
    /// # Errors
    /// When the system cannot create a poller or a thread.
    pub(crate) fn with_admin(
        self,
        bound: admin_listener::Bound,
        app: Arc<Router>,
        engine: &'static str,
    ) -> Result<Self, String> {
        let drain_delay = bound.drain_delay();
        let told = admin_listener::Told {
            ready: Arc::clone(&self.ready),
            configuration: self.reloading.as_ref().map(Reloading::facts).unwrap_or_default(),
            log: self.log.clone(),
        };
        let (address, admin) = bound.start(app, engine, Arc::clone(&self.running), told)?;
        say(&format!("admin on http://{address}/status"));
        Ok(Service { drain_delay, admin: Some(admin), ..self })
    }

    /// Reloads the configuration file and the certificates on SIGHUP and after a change.
    pub(crate) fn with_reload(self, mut reloading: Reloading) -> Self {
        reloading.started(&self.running);
        let events = self.events.0.clone();
        reloading.watch(move || {
            let _ = events.send(Event::Changed);
        });
        Service { reloading: Some(reloading), ..self }
    }

    /// Takes charge of the access log: SIGUSR1 opens it again, and the end waits for its last lines.
    pub(crate) fn with_log(self, log: Arc<AccessLog>) -> Self {
        Service { log: Some(log), ..self }
    }

    /// The addresses of the engine's listeners.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.running.addresses()
    }

    /// The address of the admin listener; None without one.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.addresses().first().copied()
    }

    /// Tells systemd and the process that this one replaces (`predecessor`) that this process serves. Then waits for the end.
    /// The first signal to stop starts the drain, the second one ends the process at once.
    pub(crate) fn supervise(mut self, predecessor: Option<UnixStream>) -> ExitCode {
        systemd::ready(predecessor);
        let mut next_stats = Instant::now() + STATS;
        let code = loop {
            let next = self.next_timer().map_or(next_stats, |timer| timer.min(next_stats));
            match self.events.1.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal(SIGUSR1)) => self.log.iter().for_each(|log| log.reopen()),
                Ok(Event::Signal(SIGUSR2)) => self.replace(),
                Ok(Event::Signal(SIGHUP) | Event::Changed) => self.reload(),
                Ok(Event::Signal(signal)) if self.is_stopping() => {
                    break ExitCode::from(128 + signal as u8);
                }
                Ok(Event::Signal(_)) => self.begin_stop(),
                Ok(Event::Successor(is_ready)) => self.note_successor(is_ready),
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => break ExitCode::SUCCESS,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if matches!(self.phase, Phase::StopsAt(time) if now >= time) {
                self.phase = Phase::Stopping;
                self.running.stop();
            }
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.attend(now, || self.running.turns());
            }
            if now >= next_stats {
                next_stats += STATS;
                self.write_stats();
            }
        };
        self.write_stats();
        self.log.iter().for_each(|log| log.finish());
        code
    }

    fn reload(&mut self) {
        if self.phase != Phase::Serving {
            log::warn!("the configuration is not loaded: this process ends");
            return;
        }
        systemd::reloading();
        match &mut self.reloading {
            Some(reloading) => reloading.reload(&self.running),
            None => log::warn!(
                "SIGHUP changes nothing: there is no configuration file and no certificate to load"
            ),
        }
        systemd::reloaded();
    }

    fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::StopsAt(_) | Phase::Stopping)
    }

    /// The next time at which something must be done without an event.
    fn next_timer(&self) -> Option<Instant> {
        let stops_at = match self.phase {
            Phase::StopsAt(time) => Some(time),
            _ => None,
        };
        stops_at.into_iter().chain(self.watchdog.as_ref().map(Watchdog::next)).min()
    }

    /// Starts the program that replaces this process.
    fn replace(&mut self) {
        let refusal = match (self.phase, &self.successor) {
            (Phase::Serving, None) => None,
            (Phase::Serving, Some(new)) => Some(format!("process {} is starting already", new.id())),
            (Phase::Replaced, _) => Some("another process has replaced this one".to_owned()),
            (Phase::StopsAt(_) | Phase::Stopping, _) => Some("this process is stopping".to_owned()),
        };
        if let Some(reason) = refusal {
            log::warn!("SIGUSR2 is ignored: {reason}");
            return;
        }
        match self.start_successor() {
            Ok(new) => {
                log::info!("process {} starts and will replace this one", new.id());
                self.successor = Some(new);
            }
            Err(error) => log::error!("cannot start the new program: {error}; this process goes on"),
        }
    }

    fn start_successor(&self) -> io::Result<Successor> {
        let mut sockets = self.running.sockets()?;
        if let Some(admin) = &self.admin {
            sockets.extend(admin.sockets()?);
        }
        let events = self.events.0.clone();
        Successor::start(&self.program, sockets, move |is_ready| {
            // Sending fails only when this process ends.
            let _ = events.send(Event::Successor(is_ready));
        })
    }

    /// Hands over to the new process when it is ready. Otherwise this process goes on.
    fn note_successor(&mut self, is_ready: bool) {
        let Some(new) = self.successor.take() else { return };
        if !is_ready {
            let (id, ended) = (new.id(), new.end());
            log::error!("the new process {id} did not become ready ({ended}); this process goes on");
        } else if self.phase == Phase::Serving {
            log::info!("process {} has replaced this one, which drains", new.id());
            self.phase = Phase::Replaced;
            self.ready.store(false, Relaxed);
            // The watchdog is for the new process now.
            self.watchdog = None;
            self.running.hand_over();
            self.admin.iter().for_each(EngineHandle::hand_over);
        }
    }

    /// Begins to stop at the first signal. A new process that is not ready stops too. A replaced process needs no delay, because
    /// nobody sends it new clients.
    fn begin_stop(&mut self) {
        let delay = match self.phase {
            Phase::Replaced => Duration::ZERO,
            _ => {
                systemd::stopping();
                self.drain_delay
            }
        };
        self.phase = Phase::StopsAt(Instant::now() + delay);
        self.ready.store(false, Relaxed);
        if let Some(new) = &self.successor {
            log::warn!("the replacement is given up: process {} stops, too", new.id());
            new.stop();
        }
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

fn open_stats(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| format!("cannot write to '{}': {error}", path.display()))
}

/// Prints one or more lines. Ignores a failed write, because a closed stdout must not stop the service.
pub(crate) fn say(line: &str) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
