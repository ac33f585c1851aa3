//! The reload of the configuration file: what has changed in the file changes in the running process.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use neraca::admin::ConfigurationFacts;
use neraca::app::{ListenerId, ListenerSettings};
use neraca::config::Balancer;
use neraca::engine::{Checker, Discovery, EngineHandle};
use neraca::router::Router;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

/// The file is read when nothing has changed in its directory for this time. So a file that is written in parts is read
/// once.
const QUIET: Duration = Duration::from_millis(100);

/// Reads the configuration of the process again. The error is a text for the operator.
pub(crate) type ReadAgain = Box<dyn Fn() -> Result<Balancer, String> + Send>;

/// The place of a listener: its address in the file, and the number of the same addresses before it. Only port 0 is there
/// more than once.
type Place = (SocketAddr, usize);

/// Returns the places of all listeners, with their settings.
fn places(balancer: &Balancer) -> Vec<(Place, ListenerSettings)> {
    let mut places: Vec<(Place, ListenerSettings)> = Vec::new();
    for (address, settings) in balancer.site.addresses() {
        let before = places.iter().filter(|((known, _), _)| *known == address).count();
        places.push(((address, before), settings));
    }
    places
}

/// A balancer with a configuration file.
pub(crate) struct Reloading {
    path: PathBuf,
    read: ReadAgain,
    router: Arc<Router>,
    /// What the process does now.
    current: Balancer,
    /// The listeners by their places in the file.
    listeners: Vec<(Place, ListenerId)>,
    facts: Arc<Mutex<Option<ConfigurationFacts>>>,
    /// The checks that began with a reload.
    checker: Option<Checker>,
    discovery: Discovery,
}

impl Reloading {
    /// Begins with what the process does now. `read` reads the file at `path`.
    pub(crate) fn new(
        path: PathBuf,
        read: ReadAgain,
        router: Arc<Router>,
        current: Balancer,
        discovery: Discovery,
    ) -> Self {
        let facts = Arc::new(Mutex::new(Some(ConfigurationFacts::default())));
        Reloading { path, read, router, current, listeners: Vec::new(), facts, checker: None, discovery }
    }

    /// Returns what the admin listener tells of the configuration.
    pub(super) fn facts(&self) -> Arc<Mutex<Option<ConfigurationFacts>>> {
        Arc::clone(&self.facts)
    }

    /// Learns the listeners of the start.
    pub(super) fn started(&mut self, running: &EngineHandle) {
        let places = places(&self.current).into_iter().map(|(place, _)| place);
        self.listeners = places.zip(running.listeners().into_iter().map(|(id, _)| id)).collect();
    }

    /// Calls `changed` after each change in the directory of the file, until the watcher that is returned is dropped. None when
    /// the system cannot watch the directory.
    pub(super) fn watch(&self, changed: impl Fn() + Send + 'static) -> Option<RecommendedWatcher> {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let path = self.path.clone();
        // Read before the thread runs: else a change before its first run would look like the file of the start.
        let mut known = std::fs::read(&path).ok();
        let (sender, events) = mpsc::channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reads are events too.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.send(());
            }
        });
        let watching = watcher
            .and_then(|mut watcher| watcher.watch(&directory, RecursiveMode::NonRecursive).map(|()| watcher));
        let watcher = match watching {
            Ok(watcher) => watcher,
            Err(error) => {
                log::warn!("cannot watch '{}': {error}; send SIGHUP after a change", directory.display());
                return None;
            }
        };
        thread::spawn(move || {
            while events.recv().is_ok() {
                while events.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {}
                // Another file of the directory may have changed.
                let now = std::fs::read(&path).ok();
                if now.is_some() && now != known {
                    known = now;
                    changed();
                }
            }
        });
        Some(watcher)
    }

    /// Reads the file and changes what has changed. When something is wrong, nothing changes, and the reason is told.
    pub(super) fn reload(&mut self, running: &EngineHandle) {
        let result = (self.read)().and_then(|next| self.apply(next, running));
        let mut facts = self.facts.lock();
        let facts = facts.get_or_insert_default();
        match result {
            Ok(()) => {
                facts.loaded += 1;
                facts.error = None;
                log::info!("'{}' is loaded", self.path.display());
            }
            Err(reason) => {
                facts.refused += 1;
                log::error!("'{}' is refused, and nothing changes: {reason}", self.path.display());
                facts.error = Some(reason);
            }
        }
    }

    fn apply(&mut self, next: Balancer, running: &EngineHandle) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        // The addresses of new names are known before a request can go to them.
        self.discovery.learn(&next.names()).map_err(|error| text(&error))?;
        next.apply(&self.router).map_err(|error| text(&error))?;
        // The routes know the new listeners before their first clients come.
        let places = places(&next);
        let mut added = Vec::new();
        for (place, settings) in &places {
            if self.listeners.iter().any(|(known, _)| known == place) {
                continue;
            }
            match running.add_listener(place.0, settings.clone(), None) {
                Ok(id) => added.push((*place, id)),
                Err(error) => {
                    for (_, id) in added {
                        running.remove_listener(id);
                    }
                    let back = self.current.apply(&self.router);
                    back.map_err(|error| text(&error))?;
                    return Err(error.to_string());
                }
            }
        }
        self.keep(&places, running);
        self.listeners.extend(added);
        if next.has_checks() && !self.current.has_checks() && self.checker.is_none() {
            let started = Checker::start(Arc::clone(&self.router));
            self.checker = Some(started.map_err(|error| text(&error))?);
        }
        if !next.has_same_process(&self.current) {
            log::warn!(
                "engine, workers, logs, the admin listener and the limits of the process change with the next start, \
                 or with SIGUSR2"
            );
        }
        // What needs a start is still as it was.
        self.current.site = next.site;
        Ok(())
    }

    /// Gives the listeners that stay their new settings, and removes all others.
    fn keep(&mut self, places: &[(Place, ListenerSettings)], running: &EngineHandle) {
        self.listeners.retain(|(known, id)| {
            let settings = places.iter().find(|(place, _)| place == known);
            match settings {
                Some((_, settings)) => running.configure_listener(*id, settings.clone(), None),
                None => !running.remove_listener(*id),
            }
        });
    }
}
