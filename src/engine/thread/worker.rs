//! A worker of the pool: runs a connection until it has to wait. Read it beside `task/session.rs`.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Engine;
use super::table::Owner;
use crate::app::App;
use crate::engine::clock::Clock;
use crate::engine::link::{ENDED, Link, READABLE, WRITABLE, load, transfer};
use crate::engine::listener::is_exhausted;
use crate::engine::stats::Counters;
use crate::exchange::{AttachError, Context, Exchange, Interest, Keep, Side, Step};
use crate::http::buffer::{BUFFER_BYTES, Spare};

/// Empty buffers and exchanges that a worker keeps.
const SPARE_MAX: usize = 64;

/// What a worker has for itself.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) clock: Clock,
    spare: Spare,
    #[expect(clippy::vec_box, reason = "connections take and give back the box, not what is in it")]
    exchanges: Vec<Box<Exchange>>,
}

impl Worker {
    pub(super) fn new() -> Self {
        Worker { clock: Clock::new(), spare: Spare::new(SPARE_MAX, BUFFER_BYTES), exchanges: Vec::new() }
    }
}

/// A client's connection, and what is attached to it while it has a request.
#[derive(Debug)]
pub(super) struct Connection {
    client: Link,
    address: SocketAddr,
    exchange: Option<Box<Exchange>>,
    backend: Option<Link>,
    connecting: bool,
}

/// What becomes of a connection that a worker is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It waits, for one of these or its deadline; any worker may take it up again.
    Waits(Interest),
    Ends {
        abrupt: bool,
    },
}

enum Attached {
    Now(Result<bool, AttachError>),
    Later,
}

impl Connection {
    pub(super) fn new(client: Link, address: SocketAddr) -> Self {
        Connection { client, address, exchange: None, backend: None, connecting: false }
    }

    pub(super) fn client_fd(&self) -> usize {
        self.client.fd()
    }
}

impl<A: App> Engine<A> {
    /// Runs the connection of that client's descriptor; the caller queued it, so nobody else has it.
    pub(super) fn run(&self, fd: usize, worker: &mut Worker, counters: &Counters) {
        let Some(entry) = self.table.entry(fd) else { return };
        loop {
            let mut slot = entry.connection.lock();
            if let Some(connection) = slot.as_deref_mut() {
                let running = AssertUnwindSafe(|| self.run_until_wait(fd, connection, worker, counters));
                let fate = catch_unwind(running).unwrap_or_else(|_| {
                    counters.panics.add(1);
                    connection.exchange = None;
                    Fate::Ends { abrupt: true }
                });
                if let Fate::Ends { abrupt } = fate
                    && let Some(connection) = slot.take()
                {
                    drop(slot);
                    entry.forget();
                    entry.rest();
                    self.end(*connection, abrupt, worker, counters);
                    return;
                }
            }
            drop(slot);
            if entry.rest() {
                return;
            }
        }
    }

    fn run_until_wait(
        &self,
        fd: usize,
        connection: &mut Connection,
        worker: &mut Worker,
        counters: &Counters,
    ) -> Fate {
        loop {
            let fate = self.run_steps(fd, connection, worker, counters);
            let Fate::Waits(interest) = fate else { return fate };
            if self.shared.options.batch == 1 && connection.backend.is_some() {
                self.block_on(connection, interest);
                worker.clock.tick();
                continue;
            }
            let asked = self.watch(connection, interest);
            if asked.is_err() {
                return Fate::Ends { abrupt: true };
            }
            return fate;
        }
    }

    fn run_steps(
        &self,
        fd: usize,
        connection: &mut Connection,
        worker: &mut Worker,
        counters: &Counters,
    ) -> Fate {
        let now = worker.clock.now();
        self.note(connection);
        if self.shared.is_ending() {
            return Fate::Ends { abrupt: connection.exchange.is_some() };
        }
        if connection.exchange.is_none() {
            if !connection.client.is_readable() {
                return self.idle(fd, now.instant);
            }
            connection.exchange = Some(self.exchange(connection.address, worker));
        }
        loop {
            let Some(exchange) = connection.exchange.as_deref_mut() else {
                return Fate::Ends { abrupt: true };
            };
            if connection.connecting {
                match self.attach(fd, connection, worker, counters) {
                    Attached::Later => return self.waits(fd, connection, Interest::WRITE_BACKEND),
                    Attached::Now(result) => connection.settle(result),
                }
                continue;
            }
            let mut cx = Context {
                app: &*self.shared.app,
                limits: &self.shared.options.limits,
                spare: &mut worker.spare,
                now,
                draining: self.shared.is_draining(),
            };
            let step = exchange.step(&mut cx);
            counters.served.add(exchange.take_served());
            match step {
                Step::Transfer(interest) => {
                    let (client, backend) = (&mut connection.client, connection.backend.as_mut());
                    if transfer(exchange, interest, client, backend, &mut worker.spare, counters) {
                        continue;
                    }
                    if exchange.is_untouched() {
                        self.put_back(connection, worker);
                        return self.idle(fd, now.instant);
                    }
                    return self.waits(fd, connection, interest);
                }
                Step::Attach => match self.attach(fd, connection, worker, counters) {
                    Attached::Later => return self.waits(fd, connection, Interest::WRITE_BACKEND),
                    Attached::Now(result) => connection.settle(result),
                },
                Step::Detach(keep) => self.detach(connection, keep, now.instant),
                Step::Load => load(exchange, &mut worker.spare),
                Step::Shutdown(side) => connection.shutdown(side),
                Step::Idle => {
                    self.put_back(connection, worker);
                    if !connection.client.is_readable() {
                        return self.idle(fd, now.instant);
                    }
                    connection.exchange = Some(self.exchange(connection.address, worker));
                }
                Step::Close(reason) => return Fate::Ends { abrupt: reason.is_abrupt() },
            }
        }
    }

    /// Adds what the poller said of both sides since the last time.
    fn note(&self, connection: &mut Connection) {
        for link in [Some(&mut connection.client), connection.backend.as_mut()].into_iter().flatten() {
            if let Some(entry) = self.table.entry(link.fd()) {
                link.note(entry.take_ready());
            }
        }
    }

    fn idle(&self, fd: usize, now: Instant) -> Fate {
        let Some(entry) = self.table.entry(fd) else { return Fate::Ends { abrupt: true } };
        let since = entry.deadline_ms.load(Ordering::Relaxed);
        // While a connection is idle its deadline is only set when it becomes so.
        if self.shared.is_draining() || since <= self.milliseconds(now) {
            return Fate::Ends { abrupt: false };
        }
        Fate::Waits(Interest::READ_CLIENT)
    }

    fn waits(&self, fd: usize, connection: &Connection, interest: Interest) -> Fate {
        if let (Some(entry), Some(exchange)) = (self.table.entry(fd), &connection.exchange) {
            entry.deadline_ms.store(self.milliseconds(exchange.deadline()) + 1, Ordering::Relaxed);
        }
        Fate::Waits(interest)
    }

    fn exchange(&self, client: SocketAddr, worker: &mut Worker) -> Box<Exchange> {
        let (limits, now) = (&self.shared.options.limits, worker.clock.now().instant);
        match worker.exchanges.pop() {
            Some(mut exchange) => {
                exchange.renew(client, limits, now);
                exchange
            }
            None => Box::new(Exchange::new(client, limits, now)),
        }
    }

    /// Takes the exchange off a connection that has become idle, or ends.
    fn put_back(&self, connection: &mut Connection, worker: &mut Worker) {
        if let Some(mut exchange) = connection.exchange.take() {
            exchange.retire(&mut worker.spare);
            if worker.exchanges.len() < SPARE_MAX {
                worker.exchanges.push(exchange);
            }
        }
        if let Some(entry) = self.table.entry(connection.client.fd()) {
            let until = worker.clock.now().instant + self.shared.options.limits.idle_timeout;
            entry.deadline_ms.store(self.milliseconds(until), Ordering::Relaxed);
        }
    }

    fn attach(
        &self,
        fd: usize,
        connection: &mut Connection,
        worker: &Worker,
        counters: &Counters,
    ) -> Attached {
        let now = worker.clock.now().instant;
        let Some(exchange) = connection.exchange.as_deref() else { return Attached::Later };
        if let (true, Some(backend)) = (connection.connecting, &mut connection.backend) {
            return match backend.established() {
                Ok(true) => Attached::Now(Ok(false)),
                Ok(false) if now < exchange.deadline() => Attached::Later,
                Ok(false) => Attached::Now(Err(AttachError::TimedOut)),
                Err(_) => Attached::Now(Err(AttachError::Refused)),
            };
        }
        let Some((plan, fresh)) = exchange.plan() else { return Attached::Now(Err(AttachError::Refused)) };
        let (backend, address) = (plan.lease.id(), plan.lease.address());
        self.drop_backend(connection);
        if !fresh && let Some(link) = self.checkout(fd, backend) {
            counters.reused.add(1);
            connection.backend = Some(link);
            return Attached::Now(Ok(true));
        }
        match Link::connect(address) {
            Ok((link, established)) => {
                let Some(entry) = self.table.admit(link.fd()) else {
                    return Attached::Now(Err(AttachError::Exhausted));
                };
                entry.own(Owner::Client(fd));
                counters.connected.add(1);
                connection.backend = Some(link);
                connection.connecting = !established;
                if established { Attached::Now(Ok(false)) } else { Attached::Later }
            }
            Err(error) => {
                counters.unreachable.add(1);
                let exhausted = is_exhausted(&error);
                Attached::Now(Err(if exhausted { AttachError::Exhausted } else { AttachError::Refused }))
            }
        }
    }

    /// A kept connection to that backend on which nothing has happened since it was parked.
    fn checkout(&self, fd: usize, backend: usize) -> Option<Link> {
        loop {
            let mut link = self.idle_backends.lock().checkout(backend)?;
            let entry = self.table.entry(link.fd())?;
            entry.own(Owner::Client(fd));
            let ready = entry.take_ready();
            if ready & (READABLE | ENDED) == 0 {
                link.note(ready);
                return Some(link);
            }
            entry.forget();
        }
    }

    fn detach(&self, connection: &mut Connection, keep: Keep, now: Instant) {
        let Keep::Park(backend) = keep else { return self.drop_backend(connection) };
        // A link that was never waited for is not watched, so its death would not be noticed.
        if let Some(link) = &mut connection.backend
            && self.watch_link(link, Side::Backend, Interest::READ_BACKEND).is_err()
        {
            return self.drop_backend(connection);
        }
        let Some(link) = connection.backend.take() else { return };
        let Some(entry) = self.table.entry(link.fd()) else { return };
        let key = link.fd();
        let oldest = {
            let mut idle = self.idle_backends.lock();
            entry.own(Owner::Parked(backend));
            idle.park(backend, key, link, now)
        };
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
        if entry.take_ready() != 0 {
            self.drop_parked(backend, key);
        }
    }

    /// Something happened on a parked connection: it is dead, or its backend speaks without being asked.
    pub(super) fn drop_parked(&self, backend: usize, key: usize) {
        let dead = self.idle_backends.lock().remove(backend, key);
        if let Some(link) = dead {
            self.forget(&link);
        }
    }

    fn drop_backend(&self, connection: &mut Connection) {
        connection.connecting = false;
        if let Some(link) = connection.backend.take() {
            self.forget(&link);
        }
    }

    /// Must come before a link is closed: its number may be given out again at once.
    pub(super) fn forget(&self, link: &Link) {
        if let Some(entry) = self.table.entry(link.fd()) {
            entry.forget();
        }
    }

    fn end(&self, mut connection: Connection, abrupt: bool, worker: &mut Worker, counters: &Counters) {
        self.drop_backend(&mut connection);
        if let Some(mut exchange) = connection.exchange.take() {
            exchange.retire(&mut worker.spare);
            worker.exchanges.push(exchange);
            worker.exchanges.truncate(SPARE_MAX);
        }
        counters.closed.add(1);
        if abrupt {
            counters.broken.add(1);
            connection.client.reset();
        } else {
            drop(connection);
        }
        if self.shared.open.fetch_sub(1, Ordering::Relaxed) == 1 && self.shared.is_draining() {
            self.wake();
        }
    }

    fn watch(&self, connection: &mut Connection, interest: Interest) -> std::io::Result<()> {
        if interest.concerns(Side::Client) {
            self.watch_link(&mut connection.client, Side::Client, interest)?;
        }
        match &mut connection.backend {
            Some(link) if interest.concerns(Side::Backend) => self.watch_link(link, Side::Backend, interest),
            _ => Ok(()),
        }
    }

    /// The textbook pool: the worker waits for its exchange itself.
    fn block_on(&self, connection: &mut Connection, interest: Interest) {
        let flags = |side| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.contains(Interest::read(side)));
            flags.set(PollFlags::OUT, interest.contains(Interest::write(side)));
            flags
        };
        let Some(backend) = &mut connection.backend else { return };
        let mut fds = [
            PollFd::from_borrowed_fd(connection.client.stream().as_fd(), flags(Side::Client)),
            PollFd::from_borrowed_fd(backend.stream().as_fd(), flags(Side::Backend)),
        ];
        let most = Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(200).as_nanos() as i64 };
        // An interrupted wait is an early return like any other.
        let _ = rustix::event::poll(&mut fds, Some(&most));
        let seen = fds.map(|fd| {
            let (all, end) = (fd.revents(), PollFlags::HUP | PollFlags::ERR);
            let mut ready = if all.contains(PollFlags::IN) { READABLE } else { 0 };
            ready |= if all.contains(PollFlags::OUT) { WRITABLE } else { 0 };
            ready | if all.intersects(end) { READABLE | WRITABLE | ENDED } else { 0 }
        });
        // A half-closed peer is readable for good: poll says nothing of it beforehand, so a short read is not trusted.
        connection.client.note(seen[0] | if seen[0] & READABLE != 0 { ENDED } else { 0 });
        backend.note(seen[1] | if seen[1] & READABLE != 0 { ENDED } else { 0 });
    }
}

impl Connection {
    fn settle(&mut self, result: Result<bool, AttachError>) {
        self.connecting = false;
        if let Some(exchange) = &mut self.exchange {
            exchange.attached(result);
        }
    }

    fn shutdown(&self, side: Side) {
        match (side, &self.backend) {
            (Side::Client, _) => self.client.shutdown(),
            (Side::Backend, Some(backend)) => backend.shutdown(),
            (Side::Backend, None) => {}
        }
    }
}
