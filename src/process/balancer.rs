//! A balancer that follows its configuration file and its certificates.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use neraca::app::ListenerId;
use neraca::config::{Balancer, ListenerTerms};
use neraca::engine::{Checker, Discovery, EngineHandle};
use neraca::router::Router;

use super::first_look::FirstLook;
use super::reload::{Follower, ReadAgain};

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

/// A running balancer with a configuration file or with certificates.
pub(crate) struct RunningBalancer {
    /// The configuration file; None when the command line says everything.
    path: Option<PathBuf>,
    read: ReadAgain<Balancer>,
    router: Arc<Router>,
    /// What the process does now.
    current: Balancer,
    /// The listeners by their places in the file.
    listeners: Vec<(Place, ListenerId)>,
    /// The checks that began with a reload.
    checker: Option<Checker>,
    discovery: Discovery,
    first_look: FirstLook,
}

impl RunningBalancer {
    /// Begins with what the process does now. `read` reads the configuration file at `path`, or without such a file the command
    /// line, with the certificates.
    pub(crate) fn new(
        (path, read): (Option<PathBuf>, ReadAgain<Balancer>),
        (router, first_look): (Arc<Router>, FirstLook),
        current: Balancer,
        discovery: Discovery,
    ) -> Self {
        RunningBalancer {
            path,
            read,
            router,
            current,
            listeners: Vec::new(),
            checker: None,
            discovery,
            first_look,
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

impl Follower for RunningBalancer {
    fn what(&self) -> String {
        let file = self.path.as_ref().map(|path| format!("'{}' is", path.display()));
        file.unwrap_or_else(|| "the certificates are".to_owned())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.path.iter().cloned().chain(self.current.site.tls_files()).collect()
    }

    fn started(&mut self, running: &EngineHandle) {
        let places = places(&self.current).into_iter().map(|(place, _)| place);
        self.listeners = places.zip(running.listeners().into_iter().map(|(id, _)| id)).collect();
    }

    fn reload(&mut self, running: &EngineHandle) -> Result<(), String> {
        let next = (self.read)()?;
        self.apply(next, running)?;
        self.first_look.begin(&self.router);
        Ok(())
    }
}
