//! The share of each core: which core takes a new connection, and which connections go to another core.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use smol::LocalExecutor;
use smol::channel::Receiver;

use super::core::{Core, CoreHandle, Reactor};
use super::run::run;
use crate::app::App;
use crate::engine::clock::Load;
use crate::engine::driver::Connection;
use crate::engine::listener::Arrival;
use crate::engine::spread::Spread;
use crate::engine::transport::Tcp;

/// Used when cores do not report their load (smol's reactor). The first core keeps this many connections. Then other
/// cores get the new connections.
const KEPT_UNTOLD: usize = 128;
/// A core with fewer connections keeps them. At 10 connections, two cores give only 0.81 times the requests per second,
/// because each core then wakes up for a single event.
const SPREAD_OPEN_MIN: usize = 32;
/// A core with at least this CPU use in percent takes no new connection, if its load is to be spread. With one request
/// per connection, a connection costs 39 microseconds on the accepting core. On another core it costs 47.
const FULL_PERCENT: usize = 95;

impl CoreHandle {
    fn takes_new(&self) -> bool {
        !self.spreads.load(Ordering::Relaxed) || self.busy.load(Ordering::Relaxed) < FULL_PERCENT
    }
}

impl<A: App, R: Reactor> Core<A, R> {
    /// The core for the next connection: the first core that is not full, else the core with the fewest connections.
    pub(super) fn core_for_next(&self) -> usize {
        let open = |handle: &CoreHandle| handle.open.load(Ordering::Relaxed);
        let first = match R::HANDS_OVER {
            true => self.cores.iter().position(CoreHandle::takes_new),
            false => Some(self.index).filter(|own| open(&self.cores[*own]) < KEPT_UNTOLD),
        };
        let fewest = || (0..self.cores.len()).min_by_key(|core| open(&self.cores[*core]));
        first.or_else(fewest).unwrap_or(self.index)
    }

    /// The core with the most connections.
    pub(super) fn fullest_core(&self) -> usize {
        let open = |core: &usize| self.cores[*core].open.load(Ordering::Relaxed);
        (0..self.cores.len()).max_by_key(open).unwrap_or(self.index)
    }

    /// Reports the CPU use of this core in percent, and decides from its load how many connections to hand over, and to
    /// which core. A core whose load is to be spread makes itself and the least busy core equally busy. Another core than
    /// the first gives all its connections back when its load is to be kept together.
    pub(super) fn settle_load(&self, busy: usize, load: Option<Load>) {
        let own = &self.cores[self.index];
        own.busy.store(busy, Ordering::Relaxed);
        if let Some(load) = load {
            let mut spread = self.spread.borrow_mut();
            own.spreads.store(spread.note(load), Ordering::Relaxed);
        }
        let use_of = |core: &usize| self.cores[*core].busy.load(Ordering::Relaxed);
        let least = (0..self.cores.len()).min_by_key(use_of).unwrap_or(self.index);
        let excess = match (own.spreads.load(Ordering::Relaxed), use_of(&least)) {
            (true, other) if self.open.get() >= SPREAD_OPEN_MIN && other < busy / 2 => {
                (self.open.get() * (busy - other) / (2 * busy), least)
            }
            (false, _) if self.index > 0 => (self.open.get(), 0),
            _ => (0, least),
        };
        self.excess.set(excess);
    }

    /// True when this connection should go to another core.
    pub(super) fn has_excess(&self, connection: &Connection<Tcp>) -> bool {
        self.excess.get().0 > 0 && !self.shared.is_draining() && connection.is_idle()
    }

    /// Gives an idle connection to the core that `settle_load` chose.
    pub(super) fn hand_over(&self, connection: Connection<Tcp>) {
        let (excess, core) = self.excess.get();
        self.excess.set((excess.saturating_sub(1), core));
        let released = connection.with_client(|client| {
            self.reactor.forget(client.fd());
            self.reactor.release(client)
        });
        self.open.set(self.open.get() - 1);
        self.cores[self.index].open.fetch_sub(1, Ordering::Relaxed);
        self.cores[core].open.fetch_add(1, Ordering::Relaxed);
        let sent = match released {
            // The other core reads its inbox until the engine ends.
            Ok(connection) => self.cores[core].sender.try_send(connection).is_ok(),
            Err(error) => {
                log::warn!("a connection cannot be handed over: {error}");
                false
            }
        };
        if !sent {
            self.cores[core].open.fetch_sub(1, Ordering::Relaxed);
            self.counters().closed.add(1);
            self.shared.closed();
        }
        self.cores[core].ring();
    }

    /// Gives an accepted client to a core. Returns the core if it is not this core. The caller must then wake that
    /// core.
    pub(super) fn deal(self: &Rc<Self>, executor: &LocalExecutor<'static>, client: Arrival) -> Option<usize> {
        let core = self.core_for_next();
        let (socket, origin) = client.into_parts();
        let connection = Connection::new(socket, origin, self.now());
        self.cores[core].open.fetch_add(1, Ordering::Relaxed);
        if core == self.index {
            self.admit(executor, connection);
            return None;
        }
        // No core ends while this connection is open, so the message arrives.
        let _ = self.cores[core].sender.try_send(connection);
        Some(core)
    }

    /// Takes the connections that other cores sent to this core.
    pub(super) fn take_dealt(
        self: &Rc<Self>,
        executor: &LocalExecutor<'static>,
        inbox: &Receiver<Connection<Tcp>>,
    ) {
        while let Ok(connection) = inbox.try_recv() {
            self.admit(executor, connection);
        }
    }

    /// Starts the task of a connection.
    pub(super) fn admit(self: &Rc<Self>, executor: &LocalExecutor<'static>, connection: Connection<Tcp>) {
        if self.index > 0 && self.open.get() == 0 {
            *self.spread.borrow_mut() = Spread::begun();
            self.cores[self.index].spreads.store(true, Ordering::Relaxed);
        }
        self.open.set(self.open.get() + 1);
        match connection.with_client(|client| self.reactor.admit(client)) {
            Ok(connection) => executor.spawn(run(Rc::clone(self), connection)).detach(),
            Err(error) => {
                log::warn!("a connection cannot be watched: {error}");
                self.counters().closed.add(1);
                self.closed();
            }
        }
    }

    /// Counts a connection of this core that has ended.
    pub(super) fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.cores[self.index].open.fetch_sub(1, Ordering::Relaxed);
        self.shared.closed();
    }
}
