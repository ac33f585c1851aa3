//! A client's connection, run from one wait to the next. This is the whole of what the two engines share above the
//! exchange; they differ in who calls [`Connection::run`], and in how they wait for what it returns.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;

use super::Shared;
use super::clock::{Clock, RunQueueStat};
use super::link::{Link, Stream, transfer};
use super::listener::is_exhausted;
use super::pressure::{InFlight, PressureLimit};
use super::stats::Counters;
use crate::app::{App, Client, Moment};
use crate::cluster::{Backend, BackendId};
use crate::exchange::{AttachError, Context, Exchange, Interest, Keep, Side, Step};
use crate::http::buffer::{BUFFER_BYTES, BufferPool};

/// Empty buffers and exchanges that a worker keeps.
const SPARE_MAX: usize = 64;

/// Transfers that one connection makes before others get their turn: at most 12 MiB, 32 MiB of a file.
const TRANSFERS_MAX: usize = 128;

/// What a worker has for itself and lends the connection that it runs.
#[derive(Debug)]
pub(super) struct WorkerState<V> {
    pub(super) clock: Clock,
    /// What this worker knows of the app's data.
    view: V,
    pub(super) run_queue: RunQueueStat,
    buffers: BufferPool,
    #[expect(clippy::vec_box, reason = "connections take and give back the box, not what is in it")]
    exchanges: Vec<Box<Exchange>>,
}

/// Connections to backends, as an engine keeps them.
pub(super) trait Backends {
    /// How it holds a socket.
    type Stream: Stream;

    /// A kept connection to that backend on which nothing has happened since it was parked; what becomes of it is
    /// told to that client's descriptor.
    fn checkout(&self, backend: BackendId, client: usize) -> Option<Link<Self::Stream>>;

    /// Begins a new one; true when it is established at once.
    fn connect(&self, address: SocketAddr, client: usize) -> io::Result<(Link<Self::Stream>, bool)>;

    /// Keeps one for another request.
    fn park(&self, link: Link<Self::Stream>, backend: &Arc<Backend>, now: Instant);

    /// What counts the requests that are at them.
    fn pressure(&self) -> &PressureLimit;

    /// Closes one.
    fn close(&self, link: Link<Self::Stream>);
}

/// What becomes of a connection that was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for one of these transfers, or for the deadline.
    Waits(Interest, Instant),
    /// It could go on, but others have waited long enough, and the time has to be read again.
    Yields,
    /// It is to be closed, with a reset when it ends in the middle of something.
    Ends { abrupt: bool },
}

/// A client's connection, and what is attached to it while it has a request. An idle one has neither an exchange nor
/// a buffer.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) client: Link<S>,
    pub(super) backend: Option<Link<S>>,
    exchange: Option<Box<Exchange>>,
    idle_until: Instant,
    address: IpAddr,
    port: u16,
    connecting: bool,
    /// Where the request that is at the backend is counted.
    in_flight: Option<InFlight>,
}

enum Attached {
    Done(Result<(), AttachError>),
    Later,
}

impl<V> WorkerState<V> {
    pub(super) fn new(view: V) -> Self {
        WorkerState {
            clock: Clock::new(),
            view,
            run_queue: RunQueueStat::default(),
            buffers: BufferPool::new(SPARE_MAX, BUFFER_BYTES),
            exchanges: Vec::new(),
        }
    }

    /// Reads the clock and brings the view up to date: once per wake-up.
    pub(super) fn wake_up<A: App<View = V>>(&mut self, app: &A) {
        self.clock.tick();
        app.refresh(&mut self.view);
    }
}

impl<S: Stream> Connection<S> {
    /// A connection that was just accepted.
    pub(super) fn new(client: Link<S>, address: SocketAddr, idle_until: Instant) -> Self {
        let (address, port) = (address.ip(), address.port());
        Connection {
            client,
            backend: None,
            exchange: None,
            idle_until,
            address,
            port,
            connecting: false,
            in_flight: None,
        }
    }

    /// Runs it until it has to wait, or ends.
    pub(super) fn run<A: App>(
        &mut self,
        shared: &Shared<A>,
        backends: &impl Backends<Stream = S>,
        worker: &mut WorkerState<A::View>,
        counters: &Counters,
    ) -> Turn {
        if shared.is_ending() {
            return Turn::Ends { abrupt: self.exchange.is_some() };
        }
        let now = Moment { clients: shared.open.load(Ordering::Relaxed), ..worker.clock.now() };
        let settings = &shared.options.listener;
        let client = Client::new(SocketAddr::new(self.address, self.port), shared.listener, settings);
        let mut transfers = 0;
        loop {
            if transfers == TRANSFERS_MAX {
                return Turn::Yields;
            }
            if self.exchange.is_none() {
                if !self.client.is_readable() {
                    return self.idle(shared, now.instant);
                }
                self.exchange = Some(self.begin(shared, worker));
            }
            let Some(exchange) = self.exchange.as_deref_mut() else { return Turn::Ends { abrupt: true } };
            let step = if self.connecting {
                Step::Attach
            } else {
                exchange.step(&mut Context {
                    app: &*shared.app,
                    view: &mut worker.view,
                    client: &client,
                    buffers: &mut worker.buffers,
                    now,
                    draining: shared.is_draining(),
                    waker: &|| Waker::noop().clone(),
                })
            };
            match step {
                Step::Transfer(interest) => {
                    let backend = self.backend.as_mut();
                    let (buffers, most) = (&mut worker.buffers, shared.options.receive_bytes);
                    if transfer(exchange, interest, &mut self.client, backend, buffers, most, counters) {
                        transfers += 1;
                        continue;
                    }
                    if !exchange.is_untouched() {
                        return Turn::Waits(interest, exchange.deadline());
                    }
                    self.retire(worker, counters);
                }
                Step::Attach => match self.attach(backends, now.instant, counters) {
                    Attached::Done(result) => self.settle(result),
                    Attached::Later => return self.waits_for_backend(now.instant),
                },
                Step::Detach(keep) => self.detach(backends, keep, now.instant),
                Step::Shutdown(side) => self.shutdown(side),
                Step::Idle => {
                    self.retire(worker, counters);
                    self.idle_until = now.instant + settings.limits.idle_timeout;
                }
                Step::Close(reason) => return Turn::Ends { abrupt: reason.is_abrupt() },
            }
        }
    }

    /// Closes it, and what is attached to it.
    pub(super) fn end<V>(
        mut self,
        abrupt: bool,
        backends: &impl Backends<Stream = S>,
        worker: &mut WorkerState<V>,
        counters: &Counters,
    ) {
        self.retire(worker, counters);
        if let Some(link) = self.take_backend(backends) {
            backends.close(link);
        }
        counters.closed.add(1);
        if abrupt {
            counters.broken.add(1);
            self.client.set_abrupt();
        }
        backends.close(self.client);
    }

    /// It has no request, and nothing has come that was not read.
    pub(super) fn is_idle(&self) -> bool {
        self.exchange.is_none() && !self.client.is_readable()
    }

    /// The socket and the client's address of an idle connection.
    pub(super) fn into_idle(self) -> (Link<S>, SocketAddr) {
        (self.client, SocketAddr::new(self.address, self.port))
    }

    /// Forgets an exchange that panicked: nothing of it is used again.
    pub(super) fn abandon(&mut self, counters: &Counters) {
        counters.panics.add(1);
        self.exchange = None;
    }

    fn idle<A>(&self, shared: &Shared<A>, now: Instant) -> Turn {
        match shared.is_draining() || now >= self.idle_until {
            true => Turn::Ends { abrupt: false },
            false => Turn::Waits(Interest::READ_CLIENT, self.idle_until),
        }
    }

    fn begin<A: App>(&self, shared: &Shared<A>, worker: &mut WorkerState<A::View>) -> Box<Exchange> {
        let limits = &shared.options.listener.limits;
        let now = worker.clock.now().instant;
        match worker.exchanges.pop() {
            Some(mut exchange) => {
                exchange.renew(limits, now);
                exchange
            }
            None => Box::new(Exchange::new(limits, now)),
        }
    }

    /// Takes the exchange off a connection that has become idle, or ends.
    fn retire<V>(&mut self, worker: &mut WorkerState<V>, counters: &Counters) {
        if let Some(mut exchange) = self.exchange.take() {
            counters.served.add(exchange.take_served());
            exchange.retire(&mut worker.buffers);
            if worker.exchanges.len() < SPARE_MAX {
                worker.exchanges.push(exchange);
            }
        }
    }

    fn attach(
        &mut self,
        backends: &impl Backends<Stream = S>,
        now: Instant,
        counters: &Counters,
    ) -> Attached {
        let Some(exchange) = &self.exchange else { return Attached::Later };
        if let (true, Some(link)) = (self.connecting, &mut self.backend) {
            let error = match link.established() {
                Ok(true) => {
                    counters.connected.add(1);
                    return Attached::Done(Ok(()));
                }
                Ok(false) if now < exchange.deadline() => return Attached::Later,
                Ok(false) => AttachError::TimedOut,
                Err(error) => attach_error(&error),
            };
            counters.unreachable.add(1);
            if let Some(link) = self.take_backend(backends) {
                backends.close(link);
            }
            return Attached::Done(Err(error));
        }
        if let Some(old) = self.take_backend(backends) {
            backends.close(old);
        }
        let Some(exchange) = &self.exchange else { return Attached::Later };
        let Some(attempt) = exchange.attempt() else {
            return Attached::Done(Err(AttachError::Refused));
        };
        let (backend, client) = (attempt.backend(), self.client.fd());
        if !exchange.needs_new_connection()
            && let Some(link) = backends.checkout(backend.id(), client)
        {
            counters.reused.add(1);
            self.set_backend(backends, link);
            return Attached::Done(Ok(()));
        }
        match backends.connect(backend.address(), client) {
            Ok((link, established)) => {
                self.set_backend(backends, link);
                self.connecting = !established;
                if !established {
                    return Attached::Later;
                }
                counters.connected.add(1);
                Attached::Done(Ok(()))
            }
            Err(error) => {
                let error = attach_error(&error);
                counters.unreachable.add(u64::from(error == AttachError::Refused));
                Attached::Done(Err(error))
            }
        }
    }

    fn set_backend(&mut self, backends: &impl Backends<Stream = S>, link: Link<S>) {
        self.in_flight = Some(backends.pressure().begin());
        self.backend = Some(link);
    }

    fn take_backend(&mut self, backends: &impl Backends<Stream = S>) -> Option<Link<S>> {
        if let Some(in_flight) = self.in_flight.take() {
            backends.pressure().finish(in_flight);
        }
        self.backend.take()
    }

    fn settle(&mut self, result: Result<(), AttachError>) {
        self.connecting = false;
        if let Some(exchange) = &mut self.exchange {
            exchange.attached(result);
        }
    }

    fn waits_for_backend(&self, now: Instant) -> Turn {
        let deadline = self.exchange.as_ref().map_or(now, |exchange| exchange.deadline());
        Turn::Waits(Interest::WRITE_BACKEND, deadline)
    }

    fn detach(&mut self, backends: &impl Backends<Stream = S>, keep: Keep, now: Instant) {
        let Some(link) = self.take_backend(backends) else { return };
        let attempt = self.exchange.as_ref().and_then(|exchange| exchange.attempt());
        match (keep, attempt) {
            (Keep::Park, Some(attempt)) if !link.has_ended() => backends.park(link, attempt.backend(), now),
            _ => backends.close(link),
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

/// The kind of an error of `connect`. The backend is to blame for none but `Refused`.
fn attach_error(error: &io::Error) -> AttachError {
    use rustix::io::Errno;
    // connect(2): no free local port, for this destination or at all.
    let local = [Errno::ADDRNOTAVAIL, Errno::ADDRINUSE, Errno::AGAIN];
    match error.raw_os_error() {
        Some(code) if local.iter().any(|errno| errno.raw_os_error() == code) => AttachError::Local,
        _ if is_exhausted(error) => AttachError::Exhausted,
        _ => AttachError::Refused,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_local_error_of_connect_does_not_blame_the_backend() {
        let cases = [
            (Errno::ADDRNOTAVAIL, AttachError::Local),
            (Errno::ADDRINUSE, AttachError::Local),
            (Errno::AGAIN, AttachError::Local),
            (Errno::MFILE, AttachError::Exhausted),
            (Errno::NOMEM, AttachError::Exhausted),
            (Errno::CONNREFUSED, AttachError::Refused),
            (Errno::HOSTUNREACH, AttachError::Refused),
        ];
        for (errno, kind) in cases {
            assert_eq!(attach_error(&errno.into()), kind, "{errno:?}");
        }
    }
}
