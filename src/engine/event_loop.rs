//! The event loop of both engines (not of smol's reactor): waits for readiness, accepts clients, checks deadlines, and
//! reports to a [`Sink`] the connections that must run. The thread engine has one event loop, which its leader drives.
//! The async engine has one per core.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::acceptor::Acceptor;
use super::alarm::ALARM;
use super::entry::Owner;
use super::listener::{Arrival, LISTENERS};
use super::options::{Options, SWEEP};
use super::pressure::RETRY_AFTER;
use super::readiness::Readiness;
use super::shared::Shared;
use super::sockets::Sockets;
use crate::app::App;

/// The receiver of an event loop's reports.
pub(super) trait Sink {
    /// The app of the engine.
    type App: App;
    /// The data that the engine keeps in each slot of the table.
    type Content: Default;

    fn shared(&self) -> &Arc<Shared<Self::App>>;
    fn sockets(&self) -> &Sockets<Self::Content>;

    /// The number of the worker that drives the event loop.
    fn worker(&self) -> usize;

    /// Begins a turn after a wait: reads the clock and brings the worker's view up to date.
    fn wake_up(&mut self) -> Instant;

    /// Asks for a run of a client's connection. False when a run is already queued, so that nothing must be done.
    fn claim(&mut self, client: usize) -> bool;

    /// Queues a claimed run.
    fn queue(&mut self, client: usize);

    /// Takes an accepted client. The client is already counted as open.
    fn admit(&mut self, client: Arrival);

    /// Closes idle clients, because new clients wait and the engine is full.
    fn make_room(&mut self, now: Instant);

    /// Does the engine's periodic work.
    fn sweep(&mut self, now: Instant);
}

/// The state of one event loop.
#[derive(Debug)]
pub(super) struct EventLoop {
    poll: Poll,
    events: Events,
    acceptor: Acceptor,
    /// Clients whose request has arrived and has not begun. First in, first out.
    waiting: VecDeque<usize>,
    swept: Instant,
    drained_from: Option<Instant>,
}

impl EventLoop {
    /// An event loop over `poll` that takes at most `events_max` events at once.
    pub(super) fn new(poll: Poll, events_max: usize, acceptor: Acceptor) -> Self {
        EventLoop {
            poll,
            events: Events::with_capacity(events_max),
            acceptor,
            waiting: VecDeque::new(),
            swept: Instant::now(),
            drained_from: None,
        }
    }

    /// Makes one turn: waits for readiness, unless the engine is `busy`, and reports to the sink.
    pub(super) fn turn<S: Sink>(&mut self, sink: &mut S, busy: bool) {
        self.wait(sink, busy);
        let now = sink.wake_up();
        sink.shared().counters(sink.worker()).wakeups.add(1);
        self.take_events(sink, now);
        sink.sockets().pressure.tick(sink.sockets().milliseconds(now));
        while let Some(client) = { sink.sockets().timers.lock().take_due(now) } {
            rouse(sink, client);
        }
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.sweep(sink, now);
        }
        let shared = Arc::clone(sink.shared());
        self.acceptor.attend(&shared);
        if self.acceptor.is_accepting() {
            let counters = shared.counters(sink.worker());
            if self.acceptor.accept(&shared, counters, |client| sink.admit(client)) {
                sink.make_room(now);
            }
        }
    }

    /// Queues the waiting requests that the limit on requests in flight permits. True when at least one request was
    /// queued.
    pub(super) fn begin_waiting(&mut self, sink: &mut impl Sink) -> bool {
        let begun = sink.sockets().pressure.permit(self.waiting.len());
        self.waiting.drain(..begun).for_each(|client| sink.queue(client));
        begun > 0
    }

    fn wait(&mut self, sink: &impl Sink, busy: bool) {
        let begins = !self.waiting.is_empty() && sink.sockets().pressure.room() > 0;
        let most = match self.acceptor.is_accepting() || begins || busy {
            true => Duration::ZERO,
            false => {
                let most = if self.waiting.is_empty() { SWEEP } else { RETRY_AFTER };
                sink.sockets().timers.lock().until_next(Instant::now(), most)
            }
        };
        if let Err(error) = self.poll.poll(&mut self.events, Some(most))
            && error.kind() != ErrorKind::Interrupted
        {
            log::error!("waiting for readiness failed: {error}");
        }
    }

    fn take_events(&mut self, sink: &mut impl Sink, now: Instant) {
        for event in &self.events {
            match event.token() {
                ALARM => {
                    if sink.shared().is_draining() {
                        self.swept -= SWEEP;
                    }
                    for client in sink.sockets().alarm.take_called() {
                        rouse(sink, client);
                    }
                }
                LISTENERS => self.acceptor.begin(),
                token => {
                    let Some((fd, slot, generation)) = sink.sockets().table.named(token) else { continue };
                    match slot.announce(generation, Readiness::of_event(event).bits()) {
                        Owner::Client(client) => {
                            if rouse_if(sink, client, true) {
                                self.waiting.push_back(client);
                            }
                        }
                        Owner::Parked => sink.sockets().check_kept(fd, now),
                        Owner::Nobody => {}
                    }
                }
            }
        }
    }

    /// Runs the connections whose deadline has passed, or all connections during a drain.
    fn sweep(&mut self, sink: &mut impl Sink, now: Instant) {
        let (sockets, shared) = (sink.sockets(), sink.shared());
        let all = shared.is_draining();
        if shared.is_stopping() {
            shared.limit_drain(&mut self.drained_from, now);
        }
        let now_ms = sockets.milliseconds(now);
        let due: Vec<_> = sockets
            .table
            .clients()
            .filter(|(_, slot)| all || slot.is_due(now_ms))
            .map(|(client, _)| client)
            .collect();
        sockets.close_expired(now);
        shared.app.sweep(now);
        due.into_iter().for_each(|client| rouse(sink, client));
        self.swept = now;
        sink.sweep(now);
        self.acceptor.retry();
    }
}

/// Queues a run of a client's connection.
fn rouse(sink: &mut impl Sink, client: usize) {
    rouse_if(sink, client, false);
}

/// Queues a run of a client's connection. If the connection was idle and `holds` is set, nothing is queued and the
/// result is true. Then the caller keeps the client until the limit on requests in flight permits its request.
fn rouse_if(sink: &mut impl Sink, client: usize, holds: bool) -> bool {
    if !sink.claim(client) {
        return false;
    }
    let idle = sink.sockets().table.slot(client).is_some_and(|slot| slot.end_wait());
    if !(idle && holds) {
        sink.queue(client);
    }
    idle && holds
}

/// The number of idle clients that are asked to leave at a time: an eighth of the limit, from 1 to 32.
pub(super) fn room_at_once(options: &Options) -> usize {
    (options.engine_limits.connections / 8).clamp(1, 32)
}

/// Asks the clients that have been idle for the longest time to leave; at most `most`. A client that has been idle for
/// less than a sweep may stay, because a new client needs time for its first request.
pub(super) fn make_room(sink: &mut impl Sink, now: Instant, most: usize) {
    let now_ms = sink.sockets().milliseconds(now);
    for client in sink.sockets().table.longest_idle(now_ms, SWEEP.as_millis() as u32, most) {
        if sink.sockets().table.slot(client).is_some_and(|slot| slot.ask_to_leave()) {
            rouse(sink, client);
        }
    }
}
