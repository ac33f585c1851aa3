//! The active part of a connection: its exchange and the backend connection that is attached.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::listener::is_exhausted;
use super::pressure::{InFlight, PressureLimit};
use super::stats::Counters;
use super::transport::{Endpoint, Transport, is_temporary};
use crate::app::{Client, Limits};
use crate::cluster::{Backend, Freshness};
use crate::exchange::{AttachError, Exchange, Interest, Keep, Side};
use crate::http::buffer::BufferPool;
use crate::http::proxy_protocol;

/// The connections to backends that an engine makes and keeps.
pub trait Backends<T> {
    /// Takes out a kept connection to the backend, with its idle time. A connection with new bytes or an ended stream is
    /// closed, and another connection is tried. The engine then reports the readiness of the returned connection to this
    /// client's connection.
    fn checkout(
        &self,
        backend: &Backend,
        freshness: Freshness,
        client: &Endpoint<T>,
        now: Instant,
    ) -> Option<(Endpoint<T>, Duration)>;

    /// Begins a new connection for this client; true when the connection is established at once. If the backend has a
    /// transform, the bytes of `first` leave before its handshake.
    ///
    /// # Errors
    /// The connection was refused, its handshake failed, or the system cannot create a socket.
    fn connect(
        &self,
        backend: &Backend,
        first: &[u8],
        client: &Endpoint<T>,
    ) -> io::Result<(Endpoint<T>, bool)>;

    /// Keeps a connection for another request. `stated` is the time for which the backend keeps the connection, if the
    /// backend has stated it.
    fn park(&self, connection: Endpoint<T>, backend: &Arc<Backend>, stated: Option<Duration>, now: Instant);

    /// Closes a connection to a client or to a backend.
    fn close(&self, connection: Endpoint<T>);

    /// Closes a backend connection that no request uses. The end marker of its transport is sent if the socket has room
    /// for it.
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

/// The part of a connection that only a request needs.
#[derive(Debug)]
pub(super) struct Active<T> {
    pub(super) exchange: Exchange,
    pub(super) backend: Option<Endpoint<T>>,
    /// The backend's connection is being established.
    pub(super) connecting: bool,
    /// The entry of the request in the [`PressureLimit`], while the request is in flight at a backend.
    in_flight: Option<InFlight>,
    /// The last run made no transfer, so the connection waits again.
    pub(super) waits_again: bool,
}

/// The outcome of one try to attach a backend's connection.
pub(super) enum Attached {
    Done(Result<(), AttachError>),
    Later,
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

    pub(super) fn take_backend(&mut self, backends: &impl Backends<T>) -> Option<Endpoint<T>> {
        if let Some(in_flight) = self.in_flight.take() {
            backends.pressure().finish(in_flight);
        }
        self.backend.take()
    }
}

impl<T: Transport> Active<T> {
    /// Gets a connection for the exchange's attempt, for the client with this connection and these facts.
    pub(super) fn attach(
        &mut self,
        (client, facts): (&Endpoint<T>, &Client<'_>),
        backends: &impl Backends<T>,
        now: Instant,
        counters: &Counters,
    ) -> Attached {
        if self.connecting {
            return self.establish(facts, backends, now, counters);
        }
        if let Some(old) = self.take_backend(backends) {
            backends.close(old);
        }
        let Some(attempt) = self.exchange.attempt() else {
            return Attached::Done(Err(AttachError::Refused));
        };
        let backend = attempt.backend();
        if !self.exchange.needs_new_connection()
            && let Some((kept, idle)) = backends.checkout(backend, self.exchange.freshness(), client, now)
        {
            counters.reused.add(1);
            self.exchange.reuses(idle);
            self.set_backend(backends, kept);
            return Attached::Done(Ok(()));
        }
        match connect(backend, facts, client, backends) {
            Ok((new, established)) => {
                self.set_backend(backends, new);
                self.connecting = !established;
                if !established {
                    return Attached::Later;
                }
                self.connected(facts, now, counters)
            }
            Err(error) => {
                counters.unreachable.add(u64::from(error == AttachError::Refused));
                Attached::Done(Err(error))
            }
        }
    }

    /// Checks whether the new backend connection is established, has failed or has timed out.
    #[inline(never)]
    fn establish(
        &mut self,
        facts: &Client<'_>,
        backends: &impl Backends<T>,
        now: Instant,
        counters: &Counters,
    ) -> Attached {
        let error = match self.backend.as_mut().map(Endpoint::established) {
            Some(Ok(true)) => {
                self.connecting = false;
                return self.connected(facts, now, counters);
            }
            Some(Ok(false)) if now < self.exchange.deadline() => return Attached::Later,
            Some(Ok(false)) => AttachError::TimedOut,
            Some(Err(error)) => match self.exchange.attempt() {
                Some(attempt) => connect_error(attempt.backend(), &error),
                None => attach_error(&error),
            },
            None => AttachError::Refused,
        };
        self.connecting = false;
        counters.unreachable.add(1);
        if let Some(failed) = self.take_backend(backends) {
            backends.close(failed);
        }
        Attached::Done(Err(error))
    }

    /// Counts a new connection. Names the client to a backend that expects the PROXY protocol: the empty socket takes the
    /// short header whole, or it is broken. Before a handshake the header has left already.
    fn connected(&mut self, facts: &Client<'_>, now: Instant, counters: &Counters) -> Attached {
        counters.connected.add(1);
        self.exchange.connected(now);
        let Some(attempt) = self.exchange.attempt() else { return Attached::Done(Ok(())) };
        let to = attempt.backend();
        if to.transform().is_some() {
            if to.note_handshake(None) {
                log::warn!("backend {}: handshakes succeed again", to.address());
            }
        } else if let Some(header) = proxy_header(to, facts)
            && let Some(backend) = &mut self.backend
            && !matches!(backend.write([&header, &[]], None, false), Ok(taken) if taken == header.len())
        {
            return Attached::Done(Err(AttachError::Refused));
        }
        Attached::Done(Ok(()))
    }

    /// The transfers to wait for when the exchange waits for `interest`, and the deadline of the wait.
    pub(super) fn wait(
        &mut self,
        interest: Interest,
        client: &Endpoint<T>,
        waits_again: bool,
    ) -> (Interest, Instant) {
        self.waits_again = waits_again;
        let mut interest = client.waits_for(Side::Client, interest);
        if let Some(backend) = &self.backend {
            interest = backend.waits_for(Side::Backend, interest);
        }
        (interest, self.exchange.deadline())
    }

    fn set_backend(&mut self, backends: &impl Backends<T>, connection: Endpoint<T>) {
        self.in_flight = Some(backends.pressure().begin());
        self.backend = Some(connection);
    }

    /// Parks the backend connection if `keep` asks for it and the connection is reusable. Otherwise closes the
    /// connection.
    pub(super) fn detach(&mut self, backends: &impl Backends<T>, keep: Keep, now: Instant) {
        let Some(connection) = self.take_backend(backends) else { return };
        match (keep, self.exchange.attempt()) {
            (Keep::Park, Some(attempt))
                if connection.is_reusable() && attempt.backend().proxy_protocol().is_none() =>
            {
                backends.park(connection, attempt.backend(), self.exchange.backend_kept_for(), now);
            }
            (Keep::Park, _) => backends.close_unused(connection),
            (Keep::Drop, _) => backends.close(connection),
        }
    }

    pub(super) fn shutdown_backend(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.shutdown();
        }
    }

    /// Tries each transfer of `interest` that may be possible. Returns false when no transfer was possible. Writes come
    /// first, because a write frees buffer space for a read. Each side is read and written at most once, so that no
    /// connection holds the worker for long.
    pub(super) fn transfer(
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

/// The header of the PROXY protocol for a backend that expects one.
fn proxy_header(backend: &Backend, client: &Client<'_>) -> Option<Vec<u8>> {
    let version = backend.proxy_protocol()?;
    Some(proxy_protocol::header(version, client.address(), client.local.unwrap_or(client.peer)))
}

/// Begins a new connection to a backend; true when it is established at once. Not inlined, because most requests find a kept
/// connection.
#[inline(never)]
fn connect<T: Transport>(
    backend: &Backend,
    facts: &Client<'_>,
    client: &Endpoint<T>,
    backends: &impl Backends<T>,
) -> Result<(Endpoint<T>, bool), AttachError> {
    let first = backend.transform().and_then(|_| proxy_header(backend, facts)).unwrap_or_default();
    backends.connect(backend, &first, client).map_err(|error| connect_error(backend, &error))
}

/// The kind of an error of `connect` to a backend. The log tells why its handshakes fail, once for each reason.
#[cold]
fn connect_error(backend: &Backend, error: &io::Error) -> AttachError {
    // An error of the system is one of the connection below the handshake.
    if backend.transform().is_some() && error.raw_os_error().is_none() {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the backend closed the connection".to_owned(),
            _ => error.to_string(),
        };
        if backend.note_handshake(Some(&reason)) {
            log::warn!("backend {}: the handshake failed: {reason}", backend.address());
        }
    }
    attach_error(error)
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
}
