//! The driver of a client's connection, which runs the exchange from one wait to the next.
//!
//! Both engines share the driver. The engines differ in who calls [`Connection::run`], and in how they wait after the
//! returned [`Turn`]. The driver is generic over the transport, so the simulation runs the same code over connections
//! in memory.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;

use super::SWEEP;
use super::listener::is_exhausted;
use super::pressure::InFlight;
use super::transport::{Tcp, is_temporary};
use crate::app::{App, Client, Limits, Moment};
use crate::cluster::{Backend, BackendId};
use crate::exchange::{AttachError, CloseReason, Context, Exchange, Interest, Keep, Side, Step};
use crate::http::buffer::BufferPool;

pub use super::clock::Load;
pub use super::pressure::PressureLimit;
pub use super::readiness::Readiness;
pub use super::shared::Shared;
pub use super::stats::Counters;
pub use super::transport::{Coded, Endpoint, Follows, Layered, Transform, TransformFactory, Transport};
pub use super::worker::WorkerState;

/// Maximum transfers of one connection per run; then other connections run first. 128 transfers move at most 12 MiB
/// through buffers, or 32 MiB of a file.
const TRANSFERS_MAX: usize = 128;

/// The connections to backends that an engine makes and keeps.
pub trait Backends<T> {
    /// Takes out a kept connection to the backend. A connection with new bytes or an ended stream is closed, and
    /// another connection is tried. The engine then reports the readiness of the returned connection to this client's
    /// connection.
    fn checkout(&self, backend: BackendId, client: &Endpoint<T>) -> Option<Endpoint<T>>;

    /// Begins a new connection for this client; true when the connection is established at once.
    ///
    /// # Errors
    /// The connection was refused, or the system cannot create a socket.
    fn connect(&self, address: SocketAddr, client: &Endpoint<T>) -> io::Result<(Endpoint<T>, bool)>;

    /// Keeps a connection for another request.
    fn park(&self, connection: Endpoint<T>, backend: &Arc<Backend>, now: Instant);

    /// Closes a connection to a client or to a backend.
    fn close(&self, connection: Endpoint<T>);

    /// Closes a connection to a backend that has no request. The end marker of its transport is sent if the socket has
    /// room for it.
    fn close_unused(&self, mut connection: Endpoint<T>)
    where
        T: Transport,
    {
        connection.finish();
        self.close(connection);
    }

    /// The limit on the requests in flight, with their count.
    fn pressure(&self) -> &PressureLimit;

    /// A waker that runs this client's connection again, from any thread.
    fn waker(&self, client: &Endpoint<T>) -> Waker;
}

/// The state of a connection after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The connection waits for one of these transfers, or for the deadline.
    Waits(Interest, Instant),
    /// The connection could continue, but other connections must run first and the clock must be read again.
    Yields,
    /// The connection has ended and must be closed.
    Ends(CloseReason),
}

/// A client's connection. An idle connection owns neither an exchange nor a buffer.
#[derive(Debug)]
pub struct Connection<T> {
    client: Endpoint<T>,
    active: Option<Box<Active<T>>>,
    /// The end of the wait for a request, or for the room of the end marker while `closing`.
    idle_until: Instant,
    /// The connection has ended. Only the end marker of its transport is not sent yet.
    closing: Option<CloseReason>,
    address: IpAddr,
    port: u16,
}

/// The part of a connection that only a request needs.
#[derive(Debug)]
pub(super) struct Active<T> {
    exchange: Exchange,
    backend: Option<Endpoint<T>>,
    /// The backend's connection is being established.
    connecting: bool,
    /// The entry of the request in the [`PressureLimit`], while the request is in flight at a backend.
    in_flight: Option<InFlight>,
    /// The last run made no transfer, so the connection waits again.
    waits_again: bool,
}

/// The outcome of one try to attach a backend's connection.
enum Attached {
    Done(Result<(), AttachError>),
    Later,
}

impl<T: Transport> Connection<T> {
    /// A connection that was just accepted.
    pub fn new(client: Endpoint<T>, address: SocketAddr, idle_until: Instant) -> Self {
        let (address, port) = (address.ip(), address.port());
        Connection { client, active: None, idle_until, closing: None, address, port }
    }

    /// Runs the connection until it waits, yields or ends.
    pub fn run<A: App>(
        &mut self,
        shared: &Shared<A>,
        backends: &impl Backends<T>,
        worker: &mut WorkerState<A::View, T>,
        counters: &Counters,
    ) -> Turn {
        if shared.is_ending() {
            let idle = self.active.is_none();
            return Turn::Ends(if idle { CloseReason::Done } else { CloseReason::Truncated });
        }
        let now = Moment { clients: shared.open.load(Ordering::Relaxed), ..worker.clock.now() };
        let settings = &shared.options.listener;
        self.progress();
        if let Some(reason) = self.closing {
            return self.close(reason, now.instant);
        }
        let client = Client::new(self.address(), shared.listener, settings);
        if self.client.ready.contains(Readiness::FAILED)
            && let Some(active) = &mut self.active
        {
            active.connecting = false;
            active.exchange.received(Side::Client, Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut transfers = 0;
        loop {
            if transfers == TRANSFERS_MAX {
                return Turn::Yields;
            }
            if self.active.is_none() {
                if !self.client.is_readable() {
                    if !shared.is_draining() && now.instant < self.idle_until {
                        let interest = self.client.waits_for(Side::Client, Interest::READ_CLIENT);
                        return Turn::Waits(interest, self.idle_until);
                    }
                    self.idle_until = now.instant + settings.limits.linger_timeout;
                    return self.close(CloseReason::TimedOut, now.instant);
                }
                self.active = Some(worker.lend(&settings.limits));
            }
            let Some(active) = self.active.as_deref_mut() else { return Turn::Ends(CloseReason::Truncated) };
            let step = match active.connecting {
                true => Step::Attach,
                false => active.exchange.step(&mut Context {
                    app: &*shared.app,
                    view: &mut worker.view,
                    client: &client,
                    buffers: &mut worker.buffers,
                    now,
                    draining: shared.is_draining(),
                    waker: &|| backends.waker(&self.client),
                }),
            };
            match step {
                Step::Transfer(interest) => {
                    let (buffers, most) = (&mut worker.buffers, shared.options.receive_bytes);
                    if active.transfer(interest, &mut self.client, buffers, most, counters) {
                        transfers += 1;
                    } else if active.exchange.is_untouched() {
                        self.retire(worker, counters);
                    } else {
                        return active.wait(interest, &self.client, transfers == 0);
                    }
                }
                Step::Attach => match active.attach(&self.client, backends, now.instant, counters) {
                    Attached::Done(result) => active.exchange.attached(result),
                    Attached::Later => {
                        return active.wait(Interest::WRITE_BACKEND, &self.client, transfers == 0);
                    }
                },
                Step::Detach(keep) => active.detach(backends, keep, now.instant),
                Step::Shutdown(Side::Client) => self.client.shutdown(),
                Step::Shutdown(Side::Backend) => active.shutdown_backend(),
                Step::Idle => {
                    self.retire(worker, counters);
                    self.idle_until = now.instant + settings.limits.idle_timeout;
                }
                Step::Close(reason) if reason.is_abrupt() || self.client.finish() => {
                    return Turn::Ends(reason);
                }
                Step::Close(reason) => {
                    self.drop_backend(backends);
                    self.retire(worker, counters);
                    self.idle_until = now.instant + settings.limits.linger_timeout;
                    return self.close(reason, now.instant);
                }
            }
        }
    }

    /// Closes the client's connection and the backend connection. An abrupt reason makes the close a reset.
    pub fn end<V>(
        mut self,
        reason: CloseReason,
        backends: &impl Backends<T>,
        worker: &mut WorkerState<V, T>,
        counters: &Counters,
    ) {
        self.drop_backend(backends);
        self.retire(worker, counters);
        counters.closed.add(1);
        if reason.is_abrupt() {
            counters.broken.add(1);
            self.client.transport.set_abrupt();
        } else {
            self.client.finish();
        }
        backends.close(self.client);
    }

    /// Gives up an exchange that panicked. No part of the exchange is used again.
    pub(super) fn abandon(&mut self, backends: &impl Backends<T>, counters: &Counters) {
        counters.panics.add(1);
        self.drop_backend(backends);
        self.active = None;
    }

    /// True when the connection has no request, no byte of a request is known to have arrived, and the transport has
    /// nothing to send.
    pub fn is_idle(&self) -> bool {
        self.active.is_none()
            && !self.client.is_readable()
            && self.client.waits_for(Side::Client, Interest::NONE) == Interest::NONE
    }

    /// True when the poller must watch the client's socket during a wait for `interest`. During a wait for the backend
    /// alone, the client's socket is watched only after a run without a transfer, at most one sweep later. So a reset
    /// of the client is noticed within a sweep. Most waits are shorter and save the registration, which is a system
    /// call.
    pub(super) fn watches_client(&self, interest: Interest) -> bool {
        interest.concerns(Side::Client) || self.active.as_ref().is_some_and(|active| active.waits_again)
    }

    /// The client's end.
    pub fn client(&mut self) -> &mut Endpoint<T> {
        &mut self.client
    }

    /// The backend's end, while a backend connection is attached.
    pub fn backend(&mut self) -> Option<&mut Endpoint<T>> {
        self.active.as_mut()?.backend.as_mut()
    }

    /// The client's end, and the backend's end while it is attached.
    pub(super) fn ends(&mut self) -> (&mut Endpoint<T>, Option<&mut Endpoint<T>>) {
        (&mut self.client, self.active.as_mut().and_then(|active| active.backend.as_mut()))
    }

    /// The client's end and address of an idle connection.
    pub(super) fn into_idle(self) -> (Endpoint<T>, SocketAddr) {
        let address = self.address();
        (self.client, address)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Ends the connection when its end marker is sent, or when the socket has no room for it in time. Without the end
    /// marker the stream looks cut off.
    fn close(&mut self, reason: CloseReason, now: Instant) -> Turn {
        self.closing = Some(reason);
        match self.client.finish() || now >= self.idle_until {
            true => Turn::Ends(reason),
            false => Turn::Waits(Interest::WRITE_CLIENT, self.idle_until),
        }
    }

    /// Sends the bytes of both transports' own.
    fn progress(&mut self) {
        self.client.progress();
        if let Some(backend) = self.backend() {
            backend.progress();
        }
    }

    fn drop_backend(&mut self, backends: &impl Backends<T>) {
        if let Some(connection) = self.active.as_mut().and_then(|active| active.take_backend(backends)) {
            backends.close(connection);
        }
    }

    /// Gives the exchange back to the worker, because the connection has become idle or ends.
    fn retire<V>(&mut self, worker: &mut WorkerState<V, T>, counters: &Counters) {
        if let Some(mut active) = self.active.take() {
            counters.served.add(active.exchange.take_served());
            worker.take_back(active);
        }
    }
}

impl Connection<Tcp> {
    /// The latest time of the next run: the deadline, or the next sweep while no poller watches the client's socket.
    pub(super) fn runs_again_at(&mut self, interest: Interest, deadline: Instant, now: Instant) -> Instant {
        match self.client.is_watched() || self.watches_client(interest) {
            true => deadline,
            false => deadline.min(now + SWEEP),
        }
    }
}

impl<T> Active<T> {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Active {
            exchange: Exchange::new(limits, now),
            backend: None,
            connecting: false,
            in_flight: None,
            waits_again: false,
        }
    }

    pub(super) fn renew(&mut self, limits: &Limits, now: Instant) {
        self.exchange.renew(limits, now);
        (self.connecting, self.waits_again) = (false, false);
    }

    pub(super) fn retire(&mut self, buffers: &mut BufferPool) {
        self.exchange.retire(buffers);
    }

    fn take_backend(&mut self, backends: &impl Backends<T>) -> Option<Endpoint<T>> {
        if let Some(in_flight) = self.in_flight.take() {
            backends.pressure().finish(in_flight);
        }
        self.backend.take()
    }
}

impl<T: Transport> Active<T> {
    fn attach(
        &mut self,
        client: &Endpoint<T>,
        backends: &impl Backends<T>,
        now: Instant,
        counters: &Counters,
    ) -> Attached {
        if self.connecting {
            return self.establish(backends, now, counters);
        }
        if let Some(old) = self.take_backend(backends) {
            backends.close(old);
        }
        let Some(attempt) = self.exchange.attempt() else {
            return Attached::Done(Err(AttachError::Refused));
        };
        let backend = attempt.backend();
        if !self.exchange.needs_new_connection()
            && let Some(kept) = backends.checkout(backend.id(), client)
        {
            counters.reused.add(1);
            self.set_backend(backends, kept);
            return Attached::Done(Ok(()));
        }
        match backends.connect(backend.address(), client) {
            Ok((new, established)) => {
                self.set_backend(backends, new);
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

    /// Checks whether the new backend connection is established, has failed or has timed out.
    fn establish(&mut self, backends: &impl Backends<T>, now: Instant, counters: &Counters) -> Attached {
        let error = match self.backend.as_mut().map(Endpoint::established) {
            Some(Ok(true)) => {
                self.connecting = false;
                counters.connected.add(1);
                return Attached::Done(Ok(()));
            }
            Some(Ok(false)) if now < self.exchange.deadline() => return Attached::Later,
            Some(Ok(false)) => AttachError::TimedOut,
            Some(Err(error)) => attach_error(&error),
            None => AttachError::Refused,
        };
        self.connecting = false;
        counters.unreachable.add(1);
        if let Some(failed) = self.take_backend(backends) {
            backends.close(failed);
        }
        Attached::Done(Err(error))
    }

    /// The wait for `interest`, and for the transfers that the transports need for it.
    fn wait(&mut self, interest: Interest, client: &Endpoint<T>, waits_again: bool) -> Turn {
        self.waits_again = waits_again;
        let mut interest = client.waits_for(Side::Client, interest);
        if let Some(backend) = &self.backend {
            interest = backend.waits_for(Side::Backend, interest);
        }
        Turn::Waits(interest, self.exchange.deadline())
    }

    fn set_backend(&mut self, backends: &impl Backends<T>, connection: Endpoint<T>) {
        self.in_flight = Some(backends.pressure().begin());
        self.backend = Some(connection);
    }

    /// Parks the backend connection if `keep` asks for it and the connection is reusable. Otherwise closes the
    /// connection.
    fn detach(&mut self, backends: &impl Backends<T>, keep: Keep, now: Instant) {
        let Some(connection) = self.take_backend(backends) else { return };
        match (keep, self.exchange.attempt()) {
            (Keep::Park, Some(attempt)) if connection.is_reusable() => {
                backends.park(connection, attempt.backend(), now);
            }
            (Keep::Park, _) => backends.close_unused(connection),
            (Keep::Drop, _) => backends.close(connection),
        }
    }

    fn shutdown_backend(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.shutdown();
        }
    }

    /// Tries each transfer of `interest` that may be possible. Returns false when no transfer was possible. Writes come
    /// first, because a write frees buffer space for a read. Each side is read and written at most once, so that no
    /// connection holds the worker for long.
    fn transfer(
        &mut self,
        interest: Interest,
        client: &mut Endpoint<T>,
        buffers: &mut BufferPool,
        receive_bytes: usize,
        counters: &Counters,
    ) -> bool {
        let Active { exchange, backend, .. } = self;
        let mut moved = false;
        let mut sides = [(Side::Backend, backend.as_mut()), (Side::Client, Some(client))];
        for (side, end) in &mut sides {
            let Some(end) = end else { continue };
            if interest.contains(Interest::write(*side)) && end.is_writable() {
                match end.write(exchange.pending(*side), exchange.file(*side), exchange.is_last(*side)) {
                    Err(error) if is_temporary(&error) => counters.would_blocks.add(1),
                    result => {
                        moved = true;
                        exchange.sent(*side, result);
                    }
                }
            }
        }
        for (side, end) in &mut sides {
            let Some(end) = end else { continue };
            if interest.contains(Interest::read(*side)) && end.is_readable() {
                let room = exchange.room(*side, buffers);
                let most = room.len().min(receive_bytes);
                match end.read(&mut room[..most]) {
                    Err(error) if is_temporary(&error) => counters.would_blocks.add(1),
                    result => {
                        moved = true;
                        exchange.received(*side, result);
                    }
                }
            }
        }
        moved
    }
}

/// The kind of an error of `connect`. Only `Refused` is the backend's fault.
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

    #[test]
    fn a_plain_connection_pays_no_memory_for_transforms() {
        assert_eq!((size_of::<Endpoint<Tcp>>(), size_of::<Connection<Tcp>>()), (24, 72));
    }
}
