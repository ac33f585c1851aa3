//! The share of each core: which core takes a new connection, and which connections go to another core.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use smol::LocalExecutor;
use smol::channel::Receiver;

use super::core::{Core, CoreHandle, Reactor};
use super::run::run;
use crate::app::App;
use crate::engine::driver::Connection;
use crate::engine::listener::Arrival;
use crate::engine::transport::Tcp;

/// Used when cores do not report their load (smol's reactor). The first core keeps this many connections. Then other
/// cores get the new connections.
const KEPT_UNTOLD: usize = 128;
/// A core with fewer connections keeps them while it is to be awake. At 10 connections, two cores give only 0.81 times
/// the requests per second, because each core then wakes up for a single event.
const SHARED_OPEN_MIN: usize = 8;
/// A core that runs for at least this share of its time, in percent, takes no new connection while another core is awake.
/// With one request per connection, a connection costs 39 microseconds on the accepting core. On another core it costs
/// 47.
const FULL_PERCENT: u64 = 95;

impl<A: App, R: Reactor> Core<A, R> {
    /// The cores that should be awake.
    fn awake(&self) -> &[CoreHandle] {
        &self.cores[..self.shared.awake()]
    }

    /// The core for the next connection: the first core that is not full, else the core with the fewest connections.
    pub(super) fn core_for_next(&self) -> usize {
        let open = |handle: &CoreHandle| handle.open.load(Ordering::Relaxed);
        let awake = self.awake();
        let first = match R::HANDS_OVER {
            true => awake.iter().position(|handle| handle.load().ran() < FULL_PERCENT),
            false => Some(self.index).filter(|own| open(&self.cores[*own]) < KEPT_UNTOLD),
        };
        let fewest = || (0..awake.len()).min_by_key(|core| open(&awake[*core]));
        first.or_else(fewest).unwrap_or(self.index)
    }

    /// The core with the most connections.
    pub(super) fn fullest_core(&self) -> usize {
        let open = |core: &usize| self.cores[*core].open.load(Ordering::Relaxed);
        (0..self.cores.len()).max_by_key(open).unwrap_or(self.index)
    }

    /// Decides from the reported loads how many connections this core hands over, and to which core. A core that should
    /// sleep gives all its connections to the least busy core. A core that should be awake and is more than twice as busy
    /// as the least busy core makes both equally busy.
    pub(super) fn settle_load(&self) {
        let awake = self.awake();
        let ran = |core: usize| self.cores[core].load().ran() as usize;
        let least = (0..awake.len()).min_by_key(|core| ran(*core)).unwrap_or(0);
        let (own, other, open) = (ran(self.index), ran(least), self.open.get());
        let count = match self.index < awake.len() {
            false => open,
            true if open >= SHARED_OPEN_MIN && other < own / 2 => open * (own - other) / (2 * own),
            true => 0,
        };
        self.excess.set((count, least));
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
