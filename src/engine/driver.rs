//! The driver of a client's connection, which runs the exchange from one wait to the next.
//!
//! Both engines share the driver. The engines differ in who calls [`Connection::run`], and in how they wait after the
//! returned [`Turn`]. The driver is generic over the transport, so the simulation runs the same code over connections
//! in memory.

use std::cmp::Ordering;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic;
use std::task::Waker;
use std::time::Instant;

use super::active::{Active, Attached};
use super::options::SWEEP;
use super::preface::Reported;
use super::transport::Tcp;
use crate::app::{App, Moment};
use crate::exchange::{CloseReason, Context, Interest, Link, Side, Step};

pub use super::active::Backends;
pub use super::clock::Load;
pub use super::listener::{Listener, Origin};
pub use super::pressure::PressureLimit;
pub use super::readiness::Readiness;
pub use super::shared::Shared;
pub use super::stats::Counters;
pub use super::transport::{Coded, Endpoint, Follows, Layered, Transform, TransformFactory, Transport};
pub use super::worker::WorkerState;

/// Maximum transfers of one connection per run; then the connection yields, and others run first. 8 transfers move at
/// most 768 KiB through buffers, or 2 MiB of a file.
const TRANSFERS_MAX: usize = 8;

/// The number of yielded connections that run between two polls of an event loop. The connections that became ready
/// meanwhile run first, so that a short response does not wait behind the long ones.
pub(super) const YIELDED_MAX: usize = 8;

/// The transfers of `interest` that a connection may still do after so many in this run. None when it must yield. The
/// last transfer only writes: what was read leaves before the connection yields, so a yielded connection keeps no buffer.
fn allowed(interest: Interest, transfers: usize) -> Option<Interest> {
    let allowed = match transfers.cmp(&TRANSFERS_MAX) {
        Ordering::Less => return Some(interest),
        Ordering::Equal => interest.writes(),
        Ordering::Greater => Interest::NONE,
    };
    (allowed != Interest::NONE || interest == Interest::NONE).then_some(allowed)
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

/// A client's connection as its exchange sees it.
struct Line<'a, B, T> {
    backends: &'a B,
    client: &'a Endpoint<T>,
}

impl<B: Backends<T>, T: Transport> Link for Line<'_, B, T> {
    fn waker(&self) -> Waker {
        self.backends.waker(self.client)
    }

    fn transform(&self) -> Option<&dyn Transform> {
        self.client.transport.transform()
    }
}

/// A client's connection. An idle connection owns neither an exchange nor a buffer.
#[derive(Debug)]
pub struct Connection<T> {
    client: Endpoint<T>,
    active: Option<Box<Active<T>>>,
    /// The deadline for the next request. While `closing`: the deadline for sending the end marker.
    idle_until: Instant,
    /// The connection has ended. Only the end marker of its transport (such as TLS close_notify) is not sent yet.
    closing: Option<CloseReason>,
    origin: Origin,
    /// The header of a proxy or the handshake of a transform is not complete. Both together have the time of a head.
    begins: bool,
    /// No request has been served yet.
    is_new: bool,
    /// The connection was asked to make room for another client.
    leaves: bool,
    /// The idle connection must close, and its socket was read once more since this was known.
    has_looked: bool,
}

impl<T: Transport> Connection<T> {
    /// A connection that was just accepted.
    pub fn new(client: Endpoint<T>, origin: Origin, now: Instant) -> Self {
        let settings = origin.listener().settings();
        let limits = &settings.limits;
        let begins = origin.awaits_preface() || client.transport.is_handshaking();
        let idle_until = now + if begins { limits.head_timeout } else { limits.idle_timeout };
        let (active, closing) = (None, None);
        Connection {
            client,
            active,
            idle_until,
            closing,
            origin,
            begins,
            is_new: true,
            leaves: false,
            has_looked: false,
        }
    }

    /// Runs the connection until it waits, yields or ends. A panic ends only this connection.
    pub(super) fn turn<A: App>(
        &mut self,
        shared: &Shared<A>,
        backends: &impl Backends<T>,
        worker: &mut WorkerState<A::View, T>,
        counters: &Counters,
    ) -> Turn {
        let run = AssertUnwindSafe(|| self.run(shared, backends, worker, counters));
        catch_unwind(run).unwrap_or_else(|_| {
            self.abandon(backends, counters);
            Turn::Ends(CloseReason::Truncated)
        })
    }

    /// Runs the connection until it waits, yields or ends.
    pub fn run<A: App>(
        &mut self,
        shared: &Shared<A>,
        backends: &impl Backends<T>,
        worker: &mut WorkerState<A::View, T>,
        counters: &Counters,
    ) -> Turn {
        let now = Moment { clients: shared.open.load(atomic::Ordering::Relaxed), ..worker.clock.now() };
        if let Some(last) = self.resume(shared, now.instant) {
            return last;
        }
        let client = self.origin.client();
        let limits = &client.settings.limits;
        let mut transfers = 0;
        loop {
            if self.active.is_none() {
                if !self.client.is_readable() {
                    if self.begins && self.client.transport.has_work() {
                        if work(&mut self.client, backends) {
                            continue;
                        }
                        // A request may stand behind the handshake, so only the deadline closes the connection.
                        if now.instant < self.idle_until {
                            return self.wait_for_client();
                        }
                    }
                    if self.begins && !self.client.transport.is_handshaking() {
                        self.begins = false;
                        self.idle_until = now.instant + limits.idle_timeout;
                    }
                    // Another thread may begin a drain at any time, so one answer counts.
                    match (self.must_close(shared, now.instant), self.has_looked) {
                        (false, _) => return self.wait_for_client(),
                        (true, true) => return self.close_within_linger(CloseReason::TimedOut, now.instant),
                        (true, false) => {}
                    }
                    // A request may have arrived that no event has reported yet. A close would lose the request.
                    self.has_looked = true;
                    self.client.ready.insert(Readiness::READABLE);
                }
                self.active = Some(worker.lend(limits));
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
                    link: &Line { backends, client: &self.client },
                }),
            };
            match step {
                Step::Transfer(interest) => {
                    let Some(allowed) = allowed(interest, transfers) else { return Turn::Yields };
                    let (buffers, most) = (&mut worker.buffers, shared.options.receive_bytes);
                    if active.transfer(allowed, &mut self.client, buffers, most, counters) {
                        transfers += 1;
                    } else if allowed != interest {
                        // Some transfers were not tried, and their readiness may not be reported again.
                        return Turn::Yields;
                    } else if active.exchange.is_untouched() {
                        retire(&mut self.active, worker, counters);
                    } else {
                        let (interest, until) = active.wait(interest, &self.client, transfers == 0);
                        return Turn::Waits(interest, until);
                    }
                }
                Step::Attach => match active.attach((&self.client, &client), backends, now.instant, counters)
                {
                    Attached::Done(result) => active.exchange.attached(result),
                    Attached::Later => {
                        let wanted = Interest::WRITE_BACKEND;
                        let (interest, until) = active.wait(wanted, &self.client, transfers == 0);
                        return Turn::Waits(interest, until);
                    }
                },
                Step::Detach(keep) => active.detach(backends, keep, now.instant),
                Step::Shutdown(Side::Client) => self.client.shutdown(),
                Step::Shutdown(Side::Backend) => active.shutdown_backend(),
                Step::Idle => {
                    retire(&mut self.active, worker, counters);
                    (self.is_new, self.leaves, self.has_looked) = (false, false, false);
                    self.idle_until = now.instant + limits.idle_timeout;
                }
                Step::Close(reason) if reason.is_abrupt() || self.client.finish() => {
                    return Turn::Ends(reason);
                }
                Step::Close(reason) => {
                    self.drop_backend(backends);
                    retire(&mut self.active, worker, counters);
                    return self.close_within_linger(reason, now.instant);
                }
            }
        }
    }

    /// Handles what happened since the last run. Some when the connection has ended or is closing.
    fn resume<A>(&mut self, shared: &Shared<A>, now: Instant) -> Option<Turn> {
        if shared.is_ending() {
            let idle = self.active.is_none();
            return Some(Turn::Ends(if idle { CloseReason::Done } else { CloseReason::Truncated }));
        }
        self.progress();
        if let Some(reason) = self.closing {
            return Some(self.close(reason, now));
        }
        if self.client.ready.contains(Readiness::FAILED) {
            self.lose_client();
        }
        match self.origin.awaits_preface() {
            true => self.read_preface(shared, now),
            false => None,
        }
    }

    /// Tells the exchange that the client's connection was reset.
    #[cold]
    fn lose_client(&mut self) {
        if let Some(active) = &mut self.active {
            active.connecting = false;
            active.exchange.received(Side::Client, Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// Reads the header of the PROXY protocol. Some while the header is not whole, and when it is invalid.
    #[cold]
    fn read_preface<A>(&mut self, shared: &Shared<A>, now: Instant) -> Option<Turn> {
        // The answer precedes the read, so that the read finds every byte that came before.
        let must_close = self.must_close(shared, now);
        match self.origin.preface()?.read(&mut self.client) {
            Ok(None) if must_close => Some(self.close_within_linger(CloseReason::TimedOut, now)),
            Ok(None) => Some(self.wait_for_client()),
            Ok(Some(Reported(client))) => {
                self.origin.end_preface(client);
                None
            }
            Err(error) => {
                // A client that only tries whether the port is open sends nothing.
                if error.kind() == io::ErrorKind::InvalidData {
                    log::warn!("connection from {} closed: {error}", self.origin.peer());
                }
                Some(Turn::Ends(CloseReason::ClientLost))
            }
        }
    }

    /// Closes the client's connection and the backend connection. An abrupt reason makes the close a reset.
    pub fn end<A: App>(
        mut self,
        reason: CloseReason,
        shared: &Shared<A>,
        backends: &impl Backends<T>,
        worker: &mut WorkerState<A::View, T>,
        counters: &Counters,
    ) {
        self.drop_backend(backends);
        if let Some(active) = &mut self.active {
            // The exchange has told the end of its request, unless the engine ends the connection.
            let (client, now) = (self.origin.client(), worker.now());
            let told = (&client, &Line { backends, client: &self.client } as &dyn Link);
            active.exchange.tell(reason.request_end(), &*shared.app, &mut worker.view, told, now);
        }
        retire(&mut self.active, worker, counters);
        counters.closed.add(1);
        if reason.is_abrupt() {
            counters.broken.add(1);
            self.client.transport.set_abrupt();
        } else {
            self.finish();
        }
        backends.close(self.client);
    }

    /// Gives up an exchange that panicked. No part of the exchange is used again, so nobody tells the app that the request
    /// has ended.
    #[cold]
    fn abandon(&mut self, backends: &impl Backends<T>, counters: &Counters) {
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

    /// True while the handshake of the client's transport is not complete.
    pub(super) fn is_handshaking(&self) -> bool {
        self.client.transport.is_handshaking()
    }

    /// Returns the first wait of a connection that was just accepted and has not run. If bytes of the client are there, the
    /// poller reports them.
    pub(super) fn first_wait(&mut self) -> (Interest, Instant) {
        self.client.ready.remove(Readiness::READABLE);
        (self.client.waits_for(Side::Client, Interest::READ_CLIENT), self.idle_until)
    }

    /// True when the poller must watch the client's socket during a wait for `interest`. While only the backend is
    /// awaited, the client's socket is not registered at first, and the connection runs again after at most one sweep.
    /// If that run moves no byte, the socket is registered. So a reset of the client is noticed within a sweep. Most
    /// waits are shorter and save the registration, which is a system call.
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

    /// The same connection over a changed socket.
    pub(super) fn with_client(
        self,
        change: impl FnOnce(Endpoint<T>) -> io::Result<Endpoint<T>>,
    ) -> io::Result<Self> {
        Ok(Connection { client: change(self.client)?, ..self })
    }

    /// Makes room for another client: closes the connection at its next run, unless a request has arrived by then.
    pub(super) fn leave(&mut self) {
        self.leaves = true;
    }

    /// True when the connection must close unless a request has arrived. During a drain, a new connection may still send
    /// one request.
    fn must_close<A>(&self, shared: &Shared<A>, now: Instant) -> bool {
        self.leaves || shared.closes_idle(self.is_new) || now >= self.idle_until
    }

    /// Waits for bytes of the client, until the idle connection must close.
    fn wait_for_client(&mut self) -> Turn {
        self.has_looked = false;
        Turn::Waits(self.client.waits_for(Side::Client, Interest::READ_CLIENT), self.idle_until)
    }

    /// Closes the connection. The client has the linger time to take the end marker.
    #[cold]
    fn close_within_linger(&mut self, reason: CloseReason, now: Instant) -> Turn {
        self.idle_until = now + self.origin.listener().settings().limits.linger_timeout;
        self.close(reason, now)
    }

    /// Ends the connection after its end marker was sent, or at the deadline. Without the end marker the stream looks
    /// cut off.
    #[cold]
    fn close(&mut self, reason: CloseReason, now: Instant) -> Turn {
        self.closing = Some(reason);
        match self.finish() || now >= self.idle_until {
            true => Turn::Ends(reason),
            false => Turn::Waits(Interest::WRITE_CLIENT, self.idle_until),
        }
    }

    /// Sends the end marker. False while the socket has not taken all bytes. While a proxy's header is awaited, the client
    /// has sent nothing that a transform could answer.
    fn finish(&mut self) -> bool {
        self.origin.awaits_preface() || self.client.finish()
    }

    /// Sends waiting bytes that the two transports made themselves, for example for a handshake.
    fn progress(&mut self) {
        self.client.progress();
        if let Some(backend) = self.backend() {
            backend.progress();
        }
    }

    #[cold]
    fn drop_backend(&mut self, backends: &impl Backends<T>) {
        if let Some(connection) = self.active.as_mut().and_then(|active| active.take_backend(backends)) {
            backends.close(connection);
        }
    }
}

/// Goes on with a handshake.
#[cold]
fn work<T: Transport>(client: &mut Endpoint<T>, backends: &impl Backends<T>) -> bool {
    let waker = backends.waker(client);
    client.work(&waker)
}

/// Gives the exchange back to the worker, because the connection has become idle or ends.
fn retire<V, T>(active: &mut Option<Box<Active<T>>>, worker: &mut WorkerState<V, T>, counters: &Counters) {
    if let Some(mut active) = active.take() {
        counters.served.add(active.exchange.take_served());
        worker.take_back(active);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_writes_what_it_has_read_before_it_yields() {
        let (read, write) = (Interest::READ_BACKEND, Interest::WRITE_CLIENT);
        let mut both = read;
        both.set(write, true);
        // interest, transfers done, transfers allowed
        let cases = [
            (both, 0, Some(both)),
            (both, TRANSFERS_MAX - 1, Some(both)),
            (both, TRANSFERS_MAX, Some(write)),
            (both, TRANSFERS_MAX + 1, None),
            (read, TRANSFERS_MAX, None),
            (Interest::NONE, TRANSFERS_MAX, Some(Interest::NONE)),
            (Interest::NONE, TRANSFERS_MAX + 1, Some(Interest::NONE)),
        ];
        for (interest, transfers, expected) in cases {
            assert_eq!(allowed(interest, transfers), expected, "{interest:?} after {transfers}");
        }
    }

    #[test]
    fn a_plain_connection_pays_no_memory_for_transforms() {
        assert_eq!((size_of::<Endpoint<Tcp>>(), size_of::<Connection<Tcp>>()), (24, 96));
    }
}
