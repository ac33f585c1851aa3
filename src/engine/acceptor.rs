//! Accepting clients: when, from which listeners, and how many at a time.

use std::io;

use mio::Registry;

use super::listener::{Arrival, BACKLOG, Bound, is_exhausted};
use super::shared::{Command, Shared};
use super::stats::Counters;

/// Maximum connections accepted at a time from one listener. The bound keeps a flood of new clients from delaying the
/// existing clients.
const ACCEPTED_AT_ONCE: usize = 64;

/// Maximum connections accepted from one listener before it is closed: all that fit into its accept queue.
const ACCEPTED_LAST: usize = BACKLOG as usize;

/// The listeners of an engine, and whether it accepts. Only one event loop of an engine has listeners.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<Bound>,
    /// The poller of the listeners. None with smol's reactor.
    registry: Option<Registry>,
    /// More clients may be waiting.
    accepting: bool,
    /// Accepting is paused until a connection closes or until the next sweep, because a limit was reached or accepting
    /// failed.
    paused: bool,
    stopped: bool,
}

impl Acceptor {
    /// An acceptor of these listeners.
    ///
    /// # Errors
    /// When a listener cannot be watched.
    pub(super) fn new(listeners: Vec<Bound>, registry: Option<Registry>) -> io::Result<Self> {
        if let Some(registry) = &registry {
            listeners.iter().try_for_each(|listener| listener.watch(registry))?;
        }
        Ok(Acceptor { listeners, registry, accepting: true, paused: false, stopped: false })
    }

    /// An acceptor for an event loop that gets its clients from another event loop.
    pub(super) fn without_listeners() -> Self {
        Acceptor { listeners: Vec::new(), registry: None, accepting: false, paused: false, stopped: true }
    }

    pub(super) fn listeners(&self) -> &[Bound] {
        &self.listeners
    }

    /// Records that clients may be waiting.
    pub(super) fn begin(&mut self) {
        self.accepting = true;
    }

    /// Ends a pause.
    pub(super) fn retry(&mut self) {
        self.accepting |= std::mem::take(&mut self.paused);
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.accepting && !self.listeners.is_empty()
    }

    /// True while accepting is paused. Then the core does not wait for new clients.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Executes the commands of the engine's handle. Ends a pause when a connection has closed. When the engine stops, the
    /// clients that have connected by then are accepted, and the listeners are closed; after a hand-over they are closed
    /// at once.
    pub(super) fn attend<A>(&mut self, shared: &Shared<A>) {
        if self.stopped {
            return;
        }
        if shared.is_stopping() {
            match shared.takes_last_clients() && !self.listeners.is_empty() {
                true => self.accepting = true,
                false => self.stop(shared),
            }
            return;
        }
        if shared.take_vacancy() {
            self.retry();
        }
        for command in shared.take_commands() {
            self.obey(command);
        }
    }

    fn stop<A>(&mut self, shared: &Shared<A>) {
        let listeners = std::mem::take(&mut self.listeners);
        listeners.into_iter().for_each(|listener| self.close(listener));
        self.stopped = true;
        shared.stop_accepting();
    }

    /// Executes one command. An acknowledgement cannot be sent when the caller has stopped waiting.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(listener, done) => {
                let watched = self.registry.as_ref().map_or(Ok(()), |registry| listener.watch(registry));
                if watched.is_ok() {
                    self.listeners.push(listener);
                    self.accepting = true;
                }
                let _ = done.send(watched);
            }
            Command::Configure(id, settings, transform, done) => {
                if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id() == id) {
                    listener.configure(*settings, transform);
                }
                let _ = done.send(());
            }
            Command::Remove(id, done) => {
                let removed = self.listeners.iter().position(|listener| listener.id() == id);
                if let Some(at) = removed {
                    let listener = self.listeners.remove(at);
                    self.close(listener);
                }
                let _ = done.send(());
            }
        }
    }

    /// Closes our descriptor of a listener. The poller must forget the socket before, because the socket stays open while
    /// another process has it, and its clients would wake this process.
    fn close(&self, listener: Bound) {
        if let Some(registry) = &self.registry
            && let Err(error) = listener.unwatch(registry)
        {
            log::warn!("the poller cannot forget {}: {error}", listener.address());
        }
    }

    /// Accepts waiting clients, a bounded number at a time, and passes each client to `admit`. Each client is counted as
    /// open before `admit` is called. Closes the listeners when the engine stops. True when the limit of connections is
    /// reached and clients wait.
    pub(super) fn accept<A>(
        &mut self,
        shared: &Shared<A>,
        counters: &Counters,
        admit: impl FnMut(Arrival),
    ) -> bool {
        if !shared.is_stopping() {
            return self.accept_most(ACCEPTED_AT_ONCE, shared, counters, admit);
        }
        self.accept_most(ACCEPTED_LAST, shared, counters, admit);
        self.stop(shared);
        false
    }

    /// Accepts at most so many clients from each listener.
    fn accept_most<A>(
        &mut self,
        most: usize,
        shared: &Shared<A>,
        counters: &Counters,
        mut admit: impl FnMut(Arrival),
    ) -> bool {
        self.accepting = false;
        for listener in &self.listeners {
            for left in (0..most).rev() {
                if shared.is_full() {
                    if !listener.has_waiting() {
                        break;
                    }
                    self.pause(shared, counters);
                    return true;
                }
                match listener.accept() {
                    Ok(arrival) => {
                        shared.opened(counters);
                        admit(arrival);
                        self.accepting |= left == 0;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The client left before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        if !is_exhausted(&error) {
                            log::warn!("accepting failed: {error}");
                        }
                        self.pause(shared, counters);
                        return false;
                    }
                }
            }
        }
        false
    }

    fn pause<A>(&mut self, shared: &Shared<A>, counters: &Counters) {
        self.paused = true;
        counters.accept_paused.add(1);
        shared.await_vacancy();
    }
}
