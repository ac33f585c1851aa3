//! The task of one connection: waits, and runs it in between. Read it beside `thread/worker.rs`.

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Instant;

use smol::future::FutureExt;

use super::{Core, Reactor, SPARE_MAX};
use crate::app::App;
use crate::engine::link::{Link, load, transfer};
use crate::engine::listener::is_exhausted;
use crate::exchange::{AttachError, Context, Exchange, Interest, Keep, Side, Step};

/// A client's connection, and what is attached to it while it has a request.
struct Session<A: App, R: Reactor> {
    core: Rc<Core<A, R>>,
    client: Option<Link<R::Stream>>,
    address: SocketAddr,
    exchange: Option<Box<Exchange>>,
    backend: Option<Link<R::Stream>>,
}

/// Runs a connection to its end; a panic ends it and nothing else.
pub(super) async fn guarded<A: App, R: Reactor>(
    core: Rc<Core<A, R>>,
    client: Link<R::Stream>,
    address: SocketAddr,
) {
    let mut session = Session { core, client: Some(client), address, exchange: None, backend: None };
    let abrupt = AssertUnwindSafe(session.run()).catch_unwind().await.unwrap_or_else(|_| {
        session.core.counters().panics.add(1);
        session.exchange = None;
        true
    });
    session.end(abrupt);
}

impl<A: App, R: Reactor> Session<A, R> {
    /// Returns whether the connection is to be closed abruptly.
    async fn run(&mut self) -> bool {
        let core = Rc::clone(&self.core);
        loop {
            let Some(client) = &mut self.client else { return true };
            if core.shared.is_ending() {
                return self.exchange.is_some();
            }
            if self.exchange.is_none() {
                if !client.is_readable() && !self.idle().await {
                    return false;
                }
                self.exchange = Some(self.begin());
            }
            let (Some(exchange), Some(client)) = (&mut self.exchange, &mut self.client) else { return true };
            let step = {
                let mut spare = core.spare.borrow_mut();
                exchange.step(&mut Context {
                    app: &*core.shared.app,
                    limits: &core.shared.options.limits,
                    spare: &mut spare,
                    now: core.now(),
                    draining: core.shared.is_draining(),
                })
            };
            core.counters().served.add(exchange.take_served());
            match step {
                Step::Transfer(interest) => {
                    if core.transfer(exchange, interest, client, self.backend.as_mut()) {
                        continue;
                    }
                    if exchange.is_untouched() {
                        self.put_back();
                        continue;
                    }
                    core.reactor.wait(client, self.backend.as_mut(), interest, exchange.deadline()).await;
                }
                Step::Attach => {
                    let result = self.attach().await;
                    if let Some(exchange) = &mut self.exchange {
                        exchange.attached(result);
                    }
                }
                Step::Detach(keep) => self.detach(keep),
                Step::Load => load(exchange, &mut core.spare.borrow_mut()),
                Step::Shutdown(side) => self.shutdown(side),
                Step::Idle => self.put_back(),
                Step::Close(reason) => return reason.is_abrupt(),
            }
        }
    }

    /// Waits for the next request without an exchange; false when the connection is to be closed.
    async fn idle(&mut self) -> bool {
        let until = self.core.now().instant + self.core.shared.options.limits.idle_timeout;
        let Some(client) = &mut self.client else { return false };
        loop {
            if self.core.shared.is_draining() || self.core.now().instant >= until {
                return false;
            }
            self.core.reactor.wait(client, None, Interest::READ_CLIENT, until).await;
            if client.is_readable() {
                return true;
            }
        }
    }

    fn begin(&self) -> Box<Exchange> {
        let (limits, now) = (&self.core.shared.options.limits, self.core.now().instant);
        match self.core.exchanges.borrow_mut().pop() {
            Some(mut exchange) => {
                exchange.renew(self.address, limits, now);
                exchange
            }
            None => Box::new(Exchange::new(self.address, limits, now)),
        }
    }

    /// Takes the exchange off a connection that has become idle, or ends.
    fn put_back(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.retire(&mut self.core.spare.borrow_mut());
            let mut kept = self.core.exchanges.borrow_mut();
            if kept.len() < SPARE_MAX {
                kept.push(exchange);
            }
        }
    }

    async fn attach(&mut self) -> Result<bool, AttachError> {
        let core = Rc::clone(&self.core);
        self.drop_backend();
        let (Some(exchange), Some(client)) = (&self.exchange, &mut self.client) else {
            return Err(AttachError::Refused);
        };
        let Some((plan, fresh)) = exchange.plan() else { return Err(AttachError::Refused) };
        let (backend, address, deadline) = (plan.lease.id(), plan.lease.address(), exchange.deadline());
        if !fresh && let Some(link) = core.checkout(backend) {
            core.counters().reused.add(1);
            self.backend = Some(link);
            return Ok(true);
        }
        let connected = connect(&core.reactor, client, address, deadline, || core.now().instant).await;
        match connected {
            Ok(link) => {
                core.counters().connected.add(1);
                self.backend = Some(link);
                Ok(false)
            }
            Err(error) => {
                core.counters().unreachable.add(1);
                Err(match error {
                    _ if is_exhausted(&error) => AttachError::Exhausted,
                    _ if error.kind() == io::ErrorKind::TimedOut => AttachError::TimedOut,
                    _ => AttachError::Refused,
                })
            }
        }
    }

    fn detach(&mut self, keep: Keep) {
        let Keep::Park(backend) = keep else { return self.drop_backend() };
        let Some(mut link) = self.backend.take() else { return };
        if !self.core.reactor.park(&mut link, backend) {
            return self.core.reactor.forget(&link);
        }
        let (key, now) = (link.fd(), self.core.now().instant);
        let oldest = self.core.idle_backends.borrow_mut().park(backend, key, link, now);
        if let Some(oldest) = oldest {
            self.core.reactor.forget(&oldest);
        }
    }

    fn drop_backend(&mut self) {
        if let Some(link) = self.backend.take() {
            self.core.reactor.forget(&link);
        }
    }

    fn shutdown(&self, side: Side) {
        let link = match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        };
        if let Some(link) = link {
            link.shutdown();
        }
    }

    fn end(&mut self, abrupt: bool) {
        self.drop_backend();
        self.put_back();
        if let Some(client) = self.client.take() {
            self.core.reactor.forget(&client);
            if abrupt {
                self.core.counters().broken.add(1);
                client.reset();
            }
        }
        self.core.closed();
    }
}

impl<A: App, R: Reactor> Core<A, R> {
    fn transfer(
        &self,
        exchange: &mut Exchange,
        interest: Interest,
        client: &mut Link<R::Stream>,
        backend: Option<&mut Link<R::Stream>>,
    ) -> bool {
        transfer(exchange, interest, client, backend, &mut self.spare.borrow_mut(), self.counters())
    }

    /// A kept connection to that backend on which nothing has happened since it was parked.
    fn checkout(&self, backend: usize) -> Option<Link<R::Stream>> {
        loop {
            let mut link = self.idle_backends.borrow_mut().checkout(backend)?;
            if self.reactor.unpark(&mut link) {
                return Some(link);
            }
            self.reactor.forget(&link);
        }
    }
}

/// A new connection, or the error; `TimedOut` at the deadline.
async fn connect<R: Reactor>(
    reactor: &R,
    client: &mut Link<R::Stream>,
    address: SocketAddr,
    deadline: Instant,
    now: impl Fn() -> Instant,
) -> io::Result<Link<R::Stream>> {
    let (link, established) = Link::connect(address)?;
    let mut link = reactor.wrap(link)?;
    if established {
        return Ok(link);
    }
    loop {
        reactor.wait(client, Some(&mut link), Interest::WRITE_BACKEND, deadline).await;
        match link.established() {
            Ok(true) => return Ok(link),
            Ok(false) if now() < deadline => {}
            Ok(false) => {
                reactor.forget(&link);
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => {
                reactor.forget(&link);
                return Err(error);
            }
        }
    }
}
