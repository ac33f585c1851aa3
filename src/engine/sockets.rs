//! The sockets of an event loop: who owns each descriptor, which connections wait, and the kept backend connections.
//! The thread engine has one set of sockets for all workers. The async engine has one set per core.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use mio::Registry;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

use super::alarm::Alarm;
use super::driver::{Backends, Connection};
use super::entry::Owner;
use super::options::Options;
use super::pressure::PressureLimit;
use super::readiness::Readiness;
use super::table::{Slot, Table};
use super::timers::Timers;
use super::transport::{Socket, Tcp};
use crate::cluster::{Backend, Freshness, IdlePool};
use crate::exchange::{Interest, Side};

/// Maximum slots of a table. Linux allows a process a million descriptors by default.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// The sockets of one event loop, with the engine's content of their slots.
#[derive(Debug)]
pub(super) struct Sockets<C> {
    pub(super) table: Table<C>,
    pub(super) timers: Mutex<Timers>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) pressure: PressureLimit,
    registry: Registry,
    kept: Mutex<IdlePool<Socket>>,
    /// Every kept connection is checked before its reuse, because the poller may report too late.
    checks_kept: bool,
    started: Instant,
}

impl<C: Default> Sockets<C> {
    /// Makes an empty set. The poller of `registry` watches its sockets. `cores` is the number of CPUs that serve them.
    pub(super) fn new(registry: Registry, alarm: Arc<Alarm>, options: &Options, cores: usize) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
        let limits = &options.engine_limits;
        Sockets {
            table: Table::new(descriptors as usize),
            timers: Mutex::default(),
            alarm,
            pressure: PressureLimit::with_epoch(options.concurrency, cores, limits.in_flight_epoch),
            registry,
            kept: Mutex::new(IdlePool::new(limits.idle_backend_connections)),
            checks_kept: false,
            started: Instant::now(),
        }
    }

    /// The same, for a poller that reports late.
    pub(super) fn with_late_reports(self) -> Self {
        Sockets { checks_kept: true, ..self }
    }

    /// Adds a client's socket to the table: its events go to this client. None when the descriptor is beyond the table.
    pub(super) fn admit(&self, client: &Socket) -> Option<&Slot<C>> {
        let slot = self.table.admit(client.fd())?;
        slot.own(Owner::Client(client.fd()));
        Some(slot)
    }
}

impl<C: Default> Sockets<C> {
    /// Begins a run of a connection: adds the readiness that the poller reported for both ends since the last run.
    pub(super) fn begin_run(&self, connection: &mut Connection<Tcp>) {
        let (client, backend) = connection.ends();
        let leaves = self.table.slot(client.fd()).is_some_and(|slot| slot.begin_run());
        for socket in [Some(client), backend].into_iter().flatten() {
            if let Some(slot) = self.table.slot(socket.fd()) {
                socket.ready.insert(Readiness::from_bits(slot.take_ready()));
            }
        }
        if leaves {
            connection.leave();
        }
    }

    /// Begins a wait of a connection for a transfer of `interest` or for the deadline: registers the sockets and records
    /// the wait.
    pub(super) fn begin_wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
        now: Instant,
    ) {
        let mut until = connection.runs_again_at(interest, deadline, now);
        let watches_client = connection.watches_client(interest);
        let idle = connection.is_idle();
        let (client, backend) = connection.ends();
        let fd = client.fd();
        for (side, watches, socket) in [
            (Side::Client, watches_client, Some(client)),
            (Side::Backend, interest.concerns(Side::Backend), backend),
        ] {
            if let (Some(socket), true) = (socket, watches)
                && let Err(error) = self.watch(socket, interest.contains(Interest::write(side)))
            {
                // The connection is not lost: it runs at every sweep and finds out by reading and writing.
                note_unwatched(socket, &error);
                until = now;
            }
        }
        if interest == Interest::NONE {
            self.add_timer(deadline, fd);
        }
        if let Some(slot) = self.table.slot(fd) {
            slot.begin_wait(self.milliseconds(now), self.milliseconds(until) + 1, idle);
        }
    }

    /// Runs a connection at its deadline, because nothing else wakes it.
    #[cold]
    fn add_timer(&self, deadline: Instant, fd: usize) {
        if self.timers.lock().add(deadline, fd) {
            self.alarm.ring();
        }
    }

    fn watch(&self, socket: &mut Socket, writes: bool) -> io::Result<()> {
        socket.watch(&self.registry, self.table.token(socket.fd()), writes)
    }

    /// Stops watching a socket, so that another event loop can watch it.
    ///
    /// # Errors
    /// When the poller cannot release the socket.
    pub(super) fn release(&self, mut socket: Socket) -> io::Result<Socket> {
        self.forget(&socket);
        socket.unwatch(&self.registry)?;
        Ok(socket)
    }

    /// Handles a poller's report about a kept connection. A connection without unread bytes stays: the report was about
    /// bytes that were already read. Otherwise the connection is closed, because it is dead or its backend has sent
    /// bytes without a request.
    pub(super) fn check_kept(&self, fd: usize, now: Instant) {
        let dead = self.kept.lock().remove_if(fd, now, |socket| !socket.is_quiet());
        if let Some(socket) = dead {
            self.close(socket);
        }
    }

    /// Closes the kept connections that have been idle for longer than their cluster or their backend allows, and those of
    /// removed backends.
    pub(super) fn close_expired(&self, now: Instant) {
        let expired = self.kept.lock().expire(now);
        expired.into_iter().for_each(|socket| self.close_unused(socket));
    }

    /// Milliseconds from the start of this set of sockets to `at`.
    pub(super) fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    /// Clears the slot of a socket. Call this before the socket is closed, because the kernel may reuse the
    /// descriptor's number at once.
    fn forget(&self, socket: &Socket) {
        if let Some(slot) = self.table.slot(socket.fd()) {
            slot.forget();
        }
    }
}

#[cold]
fn note_unwatched(socket: &mut Socket, error: &io::Error) {
    log::warn!("a connection cannot be watched: {error}");
    socket.ready.insert(Readiness::READABLE | Readiness::WRITABLE | Readiness::ENDED);
}

impl<C: Default> Backends<Tcp> for Sockets<C> {
    fn checkout(
        &self,
        backend: &Backend,
        freshness: Freshness,
        client: &Socket,
        now: Instant,
    ) -> Option<(Socket, Duration)> {
        loop {
            let (mut socket, idle) = self.kept.lock().checkout(backend, freshness, now)?;
            let slot = self.table.slot(socket.fd())?;
            slot.own(Owner::Client(client.fd()));
            let ready = Readiness::from_bits(slot.take_ready());
            // The backend may have closed the connection since the last look at the poller. A request that may be repeated
            // survives that; for other requests it is worth a system call.
            let in_doubt =
                self.checks_kept || freshness == Freshness::Recent || ready.contains(Readiness::READABLE);
            if !in_doubt || socket.is_quiet() {
                socket.ready.insert(ready);
                return Some((socket, idle));
            }
            self.kept.lock().note_dead(backend, idle, now);
            self.close(socket);
        }
    }

    fn connect(&self, backend: &Backend, first: &[u8], client: &Socket) -> io::Result<(Socket, bool)> {
        let (socket, established) = Tcp::connect(backend.address(), backend.transform(), first)?;
        let slot = self.table.admit(socket.fd()).ok_or(rustix::io::Errno::MFILE)?;
        slot.own(Owner::Client(client.fd()));
        Ok((socket, established))
    }

    fn park(&self, mut socket: Socket, backend: &Arc<Backend>, stated: Option<Duration>, now: Instant) {
        let fd = socket.fd();
        // A connection that never waited is not watched yet, and its end would not be noticed.
        let watched = self.watch(&mut socket, false).is_ok();
        let Some(slot) = self.table.slot(fd).filter(|_| watched) else { return self.close(socket) };
        // A read that filled its room leaves this fact behind. No event reports bytes that arrived before.
        let may_have_bytes = socket.ready.contains(Readiness::READABLE);
        let oldest = {
            let mut kept = self.kept.lock();
            slot.own(Owner::Parked);
            kept.park(backend, fd, socket, stated, now)
        };
        if let Some(oldest) = oldest {
            self.close_unused(oldest);
        }
        if slot.take_ready() != 0 || may_have_bytes {
            self.check_kept(fd, now);
        }
    }

    fn pressure(&self) -> &PressureLimit {
        &self.pressure
    }

    fn close(&self, socket: Socket) {
        self.forget(&socket);
    }

    fn waker(&self, client: &Socket) -> Waker {
        self.alarm.waker_of(client.fd())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::Poll;

    use super::*;
    use crate::cluster::{Cluster, Policy};

    #[test]
    fn a_request_that_may_not_be_repeated_gets_no_connection_that_has_ended() {
        for (freshness, found) in [(Freshness::Any, true), (Freshness::Recent, false)] {
            let (poll, now) = (Poll::new().unwrap(), Instant::now());
            let alarm = Alarm::new(poll.registry()).unwrap();
            let registry = poll.registry().try_clone().unwrap();
            let sockets: Sockets<()> = Sockets::new(registry, alarm, &Options::default(), 1);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let cluster = Cluster::new(&[address], Policy::First, 1, now);
            let members = cluster.members();
            let backend = &members.backends()[0];
            let (client, _) = Tcp::connect(address, None, &[]).unwrap();
            sockets.admit(&client).unwrap();
            let _of_client = listener.accept().unwrap();
            let (kept, _) = sockets.connect(backend, &[], &client).unwrap();
            let (of_backend, _) = listener.accept().unwrap();
            sockets.park(kept, backend, None, now);
            // The poller has not reported the end yet.
            drop(of_backend);
            assert_eq!(sockets.checkout(backend, freshness, &client, now).is_some(), found, "{freshness:?}");
        }
    }
}
