//! A worker of the pool runs ready connections. A connection that waits stays in the table. The counterpart of the
//! async engine is `task/session.rs`.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Instant;

use super::Engine;
use super::entry::Owner;
use super::textbook::hold;
use crate::app::App;
use crate::cluster::{Backend, BackendId};
use crate::engine::Pool;
use crate::engine::driver::{Backends, Connection, Turn};
use crate::engine::pressure::PressureLimit;
use crate::engine::readiness::Readiness;
use crate::engine::stats::Counters;
use crate::engine::transport::{Socket, Tcp};
use crate::engine::worker::WorkerState;
use crate::exchange::{CloseReason, Interest, Side};

impl<A: App> Engine<A> {
    /// Runs the connection of a client's descriptor. The caller has queued the connection, so no other worker runs it.
    /// True when the connection stays queued, because other connections must run first.
    pub(super) fn run(&self, fd: usize, worker: &mut WorkerState<A::View, Tcp>, counters: &Counters) -> bool {
        let Some(entry) = self.table.entry(fd) else { return false };
        loop {
            let mut slot = entry.connection.lock();
            if let Some(connection) = slot.as_deref_mut() {
                let turn = self.run_until_wait(connection, worker, counters);
                match turn {
                    Turn::Waits(interest, deadline) => {
                        if interest == Interest::NONE && self.timers.lock().add(deadline, fd) {
                            self.wake();
                        }
                        let deadline = connection.runs_again_at(interest, deadline, worker.now());
                        entry.deadline_ms.store(self.milliseconds(deadline) + 1, Ordering::Relaxed);
                        entry.idle.store(connection.is_idle(), Ordering::Relaxed);
                    }
                    Turn::Yields => return true,
                    Turn::Ends(reason) => {
                        let ended = slot.take();
                        // The lock is released before the close. From the close on, the entry may serve another
                        // connection.
                        drop(slot);
                        entry.forget();
                        self.end(ended, reason, worker, counters);
                        if entry.rest() {
                            return false;
                        }
                        continue;
                    }
                }
            }
            drop(slot);
            if entry.rest() {
                return false;
            }
        }
    }

    fn end(
        &self,
        connection: Option<Box<Connection<Tcp>>>,
        reason: CloseReason,
        worker: &mut WorkerState<A::View, Tcp>,
        counters: &Counters,
    ) {
        let Some(connection) = connection else { return };
        connection.end(reason, self, worker, counters);
        if self.shared.closed() == 0 && self.shared.is_draining() {
            self.wake();
        }
    }

    /// Runs the connection until it waits for a poller. A panic ends only this connection.
    fn run_until_wait(
        &self,
        connection: &mut Connection<Tcp>,
        worker: &mut WorkerState<A::View, Tcp>,
        counters: &Counters,
    ) -> Turn {
        loop {
            self.note(connection);
            let running = AssertUnwindSafe(|| connection.run(&self.shared, self, worker, counters));
            let turn = catch_unwind(running).unwrap_or_else(|_| {
                connection.abandon(self, counters);
                Turn::Ends(CloseReason::Truncated)
            });
            let Turn::Waits(interest, _) = turn else { return turn };
            if self.pool == Pool::Textbook && connection.backend().is_some() {
                hold(connection, interest);
                worker.wake_up(&*self.shared.app);
            } else {
                return match self.watch(connection, interest) {
                    Ok(()) => turn,
                    Err(_) => Turn::Ends(CloseReason::Truncated),
                };
            }
        }
    }

    /// Adds the readiness that the poller reported for both sides since the last call.
    fn note(&self, connection: &mut Connection<Tcp>) {
        let (client, backend) = connection.ends();
        for socket in [Some(client), backend].into_iter().flatten() {
            if let Some(entry) = self.table.entry(socket.fd()) {
                socket.ready.insert(Readiness::from_bits(entry.take_ready()));
            }
        }
    }

    fn watch(&self, connection: &mut Connection<Tcp>, interest: Interest) -> io::Result<()> {
        let watches_client = connection.watches_client(interest);
        let (client, backend) = connection.ends();
        for (side, watches, socket) in [
            (Side::Client, watches_client, Some(client)),
            (Side::Backend, interest.concerns(Side::Backend), backend),
        ] {
            if let (Some(socket), true) = (socket, watches) {
                let token = self.table.token(socket.fd());
                socket.watch(&self.registry, token, interest.contains(Interest::write(side)))?;
            }
        }
        Ok(())
    }

    /// Handles a poller's report about a parked connection. A quiet connection is kept: its bytes were read before it
    /// was parked. Otherwise the connection is closed, because it is dead or its backend has sent bytes without a
    /// request.
    pub(super) fn drop_parked(&self, key: usize) {
        let dead = self.idle_backends.lock().remove_if(key, |socket| !socket.is_quiet());
        if let Some(socket) = dead {
            self.close(socket);
        }
    }
}

impl<A: App> Backends<Tcp> for Engine<A> {
    fn checkout(&self, backend: BackendId, client: &Socket) -> Option<Socket> {
        loop {
            let mut socket = self.idle_backends.lock().checkout(backend)?;
            let entry = self.table.entry(socket.fd())?;
            entry.own(Owner::Client(client.fd()));
            let ready = Readiness::from_bits(entry.take_ready());
            // The leader of the textbook pool often polls late, so its workers check the socket themselves.
            let stale = ready.contains(Readiness::READABLE) || self.pool == Pool::Textbook;
            if !stale || socket.is_quiet() {
                socket.ready.insert(ready);
                return Some(socket);
            }
            self.close(socket);
        }
    }

    fn connect(&self, address: SocketAddr, client: &Socket) -> io::Result<(Socket, bool)> {
        let (socket, established) = Tcp::connect(address, self.shared.options.backend_transform.as_ref())?;
        let entry = self.table.admit(socket.fd()).ok_or(rustix::io::Errno::MFILE)?;
        entry.own(Owner::Client(client.fd()));
        Ok((socket, established))
    }

    fn park(&self, mut socket: Socket, backend: &Arc<Backend>, now: Instant) {
        let key = socket.fd();
        // A connection that never waited is not watched yet, and its end would not be noticed.
        let watched = socket.watch(&self.registry, self.table.token(key), false).is_ok();
        let Some(entry) = self.table.entry(key).filter(|_| watched) else { return self.close(socket) };
        let oldest = {
            let mut idle = self.idle_backends.lock();
            entry.own(Owner::Parked);
            idle.park(backend, key, socket, now)
        };
        if let Some(oldest) = oldest {
            self.close_unused(oldest);
        }
        if entry.take_ready() != 0 {
            self.drop_parked(key);
        }
    }

    fn pressure(&self) -> &PressureLimit {
        &self.pressure
    }

    /// Clears the entry before the socket is closed, because the descriptor's number may return at once.
    fn close(&self, socket: Socket) {
        if let Some(entry) = self.table.entry(socket.fd()) {
            entry.forget();
        }
    }

    fn waker(&self, client: &Socket) -> Waker {
        Waker::from(Arc::new(ClientWaker { engine: self.myself.clone(), fd: client.fd() }))
    }
}

/// Runs the connection of a client's descriptor again. If the descriptor's number has returned for another connection,
/// the other connection runs once for nothing, which does no harm.
struct ClientWaker<A: App> {
    engine: Weak<Engine<A>>,
    fd: usize,
}

impl<A: App> Wake for ClientWaker<A> {
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.engine.upgrade() {
            engine.woken.lock().push(self.fd);
            engine.wake();
        }
    }
}
