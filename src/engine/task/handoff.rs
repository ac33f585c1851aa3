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
/// A core that should be awake keeps its connections when it has fewer than this number. With so few connections, each of
/// two cores would wake up for a single event.
const SHARED_OPEN_MIN: usize = 8;
/// A core that runs for at least this share of its time, in percent, takes no new connection while another core is awake.
/// With one request per connection, a connection costs 39 microseconds on the accepting core. On another core it costs
/// 47.
const FULL_PERCENT: u64 = 95;

/// The number of connections that a core should hand over, and the core that should get them. `ran` is the percentage of
/// its time for which each core ran; the first `awake` cores should be awake. A core that should sleep gives all its
/// connections to the least busy core. A core that should be awake and is more than twice as busy as the least busy core
/// makes both equally busy.
fn excess(index: usize, open: usize, ran: &[usize], awake: usize) -> (usize, usize) {
    let least = (0..awake).min_by_key(|core| ran[*core]).unwrap_or(0);
    let (own, other) = (ran[index], ran[least]);
    let count = match index < awake {
        false => open,
        true if open >= SHARED_OPEN_MIN && other < own / 2 => open * (own - other) / (2 * own),
        true => 0,
    };
    (count, least)
}

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

    /// Decides from the reported loads how many connections this core hands over, and to which core.
    pub(super) fn settle_load(&self) {
        let ran: Vec<usize> = self.cores.iter().map(|core| core.load().ran() as usize).collect();
        self.excess.set(excess(self.index, self.open.get(), &ran, self.awake().len()));
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
        let (socket, origin) = client.into_parts(self.shared.handshakes.as_ref());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_core_shares_and_a_core_that_should_sleep_gives_all() {
        // own number, connections, time run of each core, cores awake, connections to hand over, the core that gets them
        let cases = [
            (0, 100, &[90, 0][..], 1, (0, 0)),
            (0, 100, &[90, 0], 2, (50, 1)),
            (0, 100, &[90, 40], 2, (27, 1)),
            (0, 100, &[90, 45], 2, (0, 1)),
            (0, 7, &[90, 0], 2, (0, 1)),
            (1, 60, &[50, 50], 1, (60, 0)),
            (1, 0, &[50, 0], 1, (0, 0)),
            (3, 5, &[80, 60, 70, 9], 3, (5, 1)),
            (2, 40, &[80, 60, 10, 9], 4, (0, 3)),
        ];
        for (index, open, ran, awake, expected) in cases {
            assert_eq!(
                excess(index, open, ran, awake),
                expected,
                "core {index}, {open} open, {ran:?}, {awake} awake"
            );
        }
    }
}
