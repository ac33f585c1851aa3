//! The leader waits for readiness, accepts clients, checks deadlines, and hands ready work to the pool.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::{Events, Poll, Token};

use super::entry::Owner;
use super::{Engine, Job};
use crate::app::App;
use crate::engine::driver::{Backends, Connection};
use crate::engine::listener::{self, Accepted, WAKE, accept_waiting, is_listener};
use crate::engine::pressure::RETRY_AFTER;
use crate::engine::readiness::Readiness;
use crate::engine::stats::Counters;
use crate::engine::transport::{Socket, Tcp};
use crate::engine::worker::WorkerState;
use crate::engine::{Listeners, SWEEP};

/// The state of the leader, which passes on with the leadership.
#[derive(Debug)]
pub(super) struct Leader {
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
    /// More clients may be waiting on the listeners.
    accepting: bool,
    /// Accepting is paused until the next sweep, because a limit was reached or accepting failed.
    paused: bool,
    swept: Instant,
    drained_from: Option<Instant>,
    ready: Vec<usize>,
    /// Clients whose request has arrived and has not begun. First in, first out.
    waiting: VecDeque<usize>,
    /// Gets a message when the engine has ended. Dropped without a message if the leader panics.
    ended: Sender<()>,
}

impl Leader {
    pub(super) fn new(poll: Poll, listeners: Listeners, batch: usize, ended: Sender<()>) -> io::Result<Self> {
        listener::watch(&listeners.0, poll.registry())?;
        Ok(Leader {
            poll,
            // One batch for the leader, and one job for another worker.
            events: Events::with_capacity(2 * batch),
            listeners: listeners.0,
            accepting: true,
            paused: false,
            swept: Instant::now(),
            drained_from: None,
            ready: Vec::new(),
            waiting: VecDeque::new(),
            ended,
        })
    }
}

impl<A: App> Engine<A> {
    /// Leads until the batch is full or the engine has ended.
    pub(super) fn lead(
        self: &Arc<Self>,
        mut leader: Box<Leader>,
        worker: &mut WorkerState<A::View, Tcp>,
        counters: &Counters,
    ) {
        let batch = self.pool.batch();
        loop {
            self.poll(&mut leader, worker, counters);
            if self.is_drained(&mut leader, worker.clock.now().instant) {
                for _ in 0..self.workers.len() {
                    self.submit(Job::Stop);
                }
                // Sending fails only when nobody waits for the end of the engine.
                let _ = leader.ended.send(());
                return;
            }
            // Running requests come first, because their responses make room for new requests.
            for begin in [false, true] {
                if begin {
                    let begun = self.pressure.permit(leader.waiting.len());
                    leader.ready.extend(leader.waiting.drain(..begun));
                }
                let mut own = std::mem::take(&mut leader.ready);
                if own.len() >= batch {
                    return self.share_out(leader, own, worker, counters);
                }
                own.retain(|fd| self.run(*fd, worker, counters));
                leader.ready = own;
            }
        }
    }

    /// Sends the connections beyond one batch as jobs, gives the leadership away, and runs the batch.
    fn share_out(
        self: &Arc<Self>,
        leader: Box<Leader>,
        mut own: Vec<usize>,
        worker: &mut WorkerState<A::View, Tcp>,
        counters: &Counters,
    ) {
        let batch = self.pool.batch();
        let beyond = own.split_off(batch);
        for job in beyond.chunks(batch) {
            self.submit(Job::Batch(job.to_vec(), worker.clock.now().instant));
        }
        self.submit(Job::Lead(leader));
        own.retain(|fd| self.run(*fd, worker, counters));
        if !own.is_empty() {
            self.submit(Job::Batch(own, worker.clock.now().instant));
        }
    }

    /// Waits for readiness. Puts the connections that must run into `leader.ready`, and clients with a new request into
    /// `leader.waiting`.
    fn poll(&self, leader: &mut Leader, worker: &mut WorkerState<A::View, Tcp>, counters: &Counters) {
        let begins = !leader.waiting.is_empty() && self.pressure.room() > 0;
        let most = match leader.accepting || begins || !leader.ready.is_empty() {
            true => Duration::ZERO,
            false if leader.waiting.is_empty() => self.timers.lock().until_next(Instant::now(), SWEEP),
            false => self.timers.lock().until_next(Instant::now(), RETRY_AFTER),
        };
        if let Err(error) = leader.poll.poll(&mut leader.events, Some(most))
            && error.kind() != ErrorKind::Interrupted
        {
            log::error!("waiting for readiness failed: {error}");
        }
        worker.wake_up(&*self.shared.app);
        counters.wakeups.add(1);
        for event in &leader.events {
            match event.token() {
                WAKE => {
                    if self.shared.is_draining() {
                        leader.swept -= SWEEP;
                    }
                    let woken = std::mem::take(&mut *self.woken.lock());
                    leader.ready.extend(woken.into_iter().filter(|fd| self.is_to_run(*fd)));
                }
                token if is_listener(token, leader.listeners.len()) => leader.accepting = true,
                token => {
                    let ready = Readiness::of_event(event);
                    self.announce(token, ready, &mut leader.ready, &mut leader.waiting);
                }
            }
        }
        let now = worker.clock.now().instant;
        self.pressure.tick(self.milliseconds(now));
        self.end_waits(now, &mut leader.ready);
        if now.saturating_duration_since(leader.swept) >= SWEEP {
            leader.swept = now;
            leader.accepting |= std::mem::take(&mut leader.paused);
            if let Some(load) = worker.run_queue.read(now) {
                self.pressure.note_load(load);
            }
            self.sweep(now, &mut leader.ready);
        }
        if leader.accepting {
            self.accept(leader, now, counters);
        }
    }

    fn announce(
        &self,
        token: Token,
        ready: Readiness,
        queue: &mut Vec<usize>,
        waiting: &mut VecDeque<usize>,
    ) {
        let Some((fd, entry, generation)) = self.table.named(token) else { return };
        match entry.announce(generation, ready.bits()) {
            Owner::Client(client) => match self.table.entry(client) {
                Some(entry) if entry.schedule() => match entry.idle.load(Ordering::Relaxed) {
                    true => waiting.push_back(client),
                    false => queue.push(client),
                },
                _ => {}
            },
            Owner::Parked => self.drop_parked(fd),
            Owner::Nobody => {}
        }
    }

    /// Queues the connections whose timer has ended.
    fn end_waits(&self, now: Instant, queue: &mut Vec<usize>) {
        let mut timers = self.timers.lock();
        while let Some(fd) = timers.take_due(now) {
            if self.is_to_run(fd) {
                queue.push(fd);
            }
        }
    }

    /// Asks for a run of a client's connection; true when the caller must queue the connection.
    fn is_to_run(&self, fd: usize) -> bool {
        self.table.entry(fd).is_some_and(|slot| slot.schedule())
    }

    /// Queues the connections whose deadline has passed, or all connections during a drain. Closes expired backend
    /// connections.
    fn sweep(&self, now: Instant, queue: &mut Vec<usize>) {
        let due = self.table.due(self.milliseconds(now), self.shared.is_draining());
        queue.extend(due.filter(|(_, entry)| entry.schedule()).map(|(fd, _)| fd));
        let kept_for = self.shared.options.listener.limits.idle_timeout;
        let expired = self.idle_backends.lock().expire(now, kept_for);
        for socket in expired {
            self.close_unused(socket);
        }
    }

    fn accept(&self, leader: &mut Leader, now: Instant, counters: &Counters) {
        let Leader { listeners, ready, .. } = leader;
        let accepted = accept_waiting(listeners, &self.shared, counters, |stream, address| {
            let socket = Socket::accepted(stream, self.shared.options.client_transform.as_ref());
            if !self.admit(socket, address, now, ready) {
                self.shared.closed();
                counters.closed.add(1);
            }
        });
        leader.accepting = accepted == Accepted::Some;
        leader.paused |= accepted == Accepted::Paused;
    }

    /// Adds an accepted connection to the table. False when its descriptor is beyond the table.
    fn admit(&self, socket: Socket, address: SocketAddr, now: Instant, queue: &mut Vec<usize>) -> bool {
        let fd = socket.fd();
        let Some(entry) = self.table.admit(fd) else { return false };
        let until = now + self.shared.options.listener.limits.idle_timeout;
        *entry.connection.lock() = Some(Box::new(Connection::new(socket, address, until)));
        entry.own(Owner::Client(fd));
        if entry.schedule() {
            queue.push(fd);
        }
        true
    }

    /// Closes the listeners during a drain. True when no connection is left.
    fn is_drained(&self, leader: &mut Leader, now: Instant) -> bool {
        if !self.shared.is_draining() {
            return false;
        }
        leader.listeners.clear();
        self.shared.limit_drain(&mut leader.drained_from, now);
        self.shared.open.load(Ordering::Relaxed) == 0 && leader.ready.is_empty() && leader.waiting.is_empty()
    }
}
