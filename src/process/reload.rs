//! The reload of the configuration file and of certificates: what has changed in a file changes in the running process.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use neraca::admin::ConfigurationFacts;
use neraca::app::ListenerId;
use neraca::config::{Balancer, ListenerTerms};
use neraca::engine::{Checker, Discovery, EngineHandle};
use neraca::router::Router;
use parking_lot::Mutex;

use super::first_look::FirstLook;
use super::watch::WatchedFiles;

/// Reads the configuration of the process again. The error is a text for the operator.
pub(crate) type ReadAgain = Box<dyn Fn() -> Result<Balancer, String> + Send>;

/// The place of a listener: its address in the file, and the number of the same addresses before it. Only port 0 is there
/// more than once.
type Place = (SocketAddr, usize);

/// Returns the places of all listeners, with their settings and transforms.
fn places(balancer: &Balancer) -> Vec<(Place, ListenerTerms)> {
    let mut places: Vec<(Place, ListenerTerms)> = Vec::new();
    for (address, terms) in balancer.site.addresses() {
        let before = places.iter().filter(|((known, _), _)| *known == address).count();
        places.push(((address, before), terms));
    }
    places
}

/// A balancer with a configuration file or with certificates.
pub(crate) struct Reloading {
    /// The configuration file; None when the command line says everything.
    path: Option<PathBuf>,
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
    first_look: FirstLook,
    /// None before [`Reloading::watch`], or when the system cannot watch.
    files: Option<WatchedFiles>,
}

impl Reloading {
    /// Begins with what the process does now. `read` reads the configuration file at `path`, or without such a file the command
    /// line, with the certificates.
    pub(crate) fn new(
        (path, read): (Option<PathBuf>, ReadAgain),
        (router, first_look): (Arc<Router>, FirstLook),
        current: Balancer,
        discovery: Discovery,
    ) -> Self {
        let facts = Arc::new(Mutex::new(Some(ConfigurationFacts::default())));
        Reloading {
            path,
            read,
            router,
            current,
            listeners: Vec::new(),
            facts,
            checker: None,
            discovery,
            first_look,
            files: None,
        }
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

    /// Calls `changed` when the content of the configuration file or of a certificate is new.
    pub(super) fn watch(&mut self, changed: impl Fn() + Send + 'static) {
        self.files = WatchedFiles::new(changed);
        self.watch_files();
    }

    /// Watches the files of what the process does now.
    fn watch_files(&mut self) {
        let paths: Vec<_> = self.path.iter().cloned().chain(self.current.site.tls_files()).collect();
        if let Some(files) = &mut self.files {
            files.watch(&paths);
        }
    }

    /// Reads the files and changes what has changed. When something is wrong, nothing changes, and the reason is told.
    pub(super) fn reload(&mut self, running: &EngineHandle) {
        let result = (self.read)().and_then(|next| self.apply(next, running));
        self.watch_files();
        let what = self.path.as_ref().map(|path| format!("'{}' is", path.display()));
        let what = what.unwrap_or_else(|| "the certificates are".to_owned());
        let mut facts = self.facts.lock();
        let facts = facts.get_or_insert_default();
        match result {
            Ok(()) => {
                facts.loaded += 1;
                facts.error = None;
                log::info!("{what} loaded");
                self.first_look.begin(&self.router);
            }
            Err(reason) => {
                facts.refused += 1;
                log::error!("{what} refused, and nothing changes: {reason}");
                facts.error = Some(reason);
            }
        }
    }

    fn apply(&mut self, mut next: Balancer, running: &EngineHandle) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        // The addresses of new names are known before a request can go to them.
        self.discovery.learn(&next.names()).map_err(|error| text(&error))?;
        next.site.keep_tls_of(&self.current.site);
        next.apply(&self.router).map_err(|error| text(&error))?;
        // The routes know the new listeners before their first clients come.
        let places = places(&next);
        let mut added = Vec::new();
        for (place, (settings, transform)) in &places {
            if self.listeners.iter().any(|(known, _)| known == place) {
                continue;
            }
            match running.add_listener(place.0, settings.clone(), transform.clone()) {
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
    fn keep(&mut self, places: &[(Place, ListenerTerms)], running: &EngineHandle) {
        self.listeners.retain(|(known, id)| {
            let terms = places.iter().find(|(place, _)| place == known);
            match terms {
                Some((_, (settings, transform))) => {
                    running.configure_listener(*id, settings.clone(), transform.clone())
                }
                None => !running.remove_listener(*id),
            }
        });
    }
}
