//! The leader drives the event loop and hands ready work to the pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::place::Place;
use super::pool::{Job, Leader, ThreadEngine, Worker};
use crate::app::App;
use crate::engine::driver::Connection;
use crate::engine::event_loop::{self, Sink, room_at_once};
use crate::engine::listener::Arrival;
use crate::engine::options::Pool;
use crate::engine::shared::Shared;
use crate::engine::sockets::Sockets;

impl<A: App> ThreadEngine<A> {
    /// Leads until the batch is full or the engine has ended.
    pub(super) fn lead(self: &Arc<Self>, mut leader: Box<Leader>, index: usize, worker: &mut Worker<A>) {
        let batch = self.pool.batch();
        loop {
            let Leader { event_loop, ready, .. } = &mut *leader;
            let busy = !ready.is_empty();
            let mut sink = LeaderSink { engine: self, index, worker, ready };
            event_loop.turn(&mut sink, busy);
            if self.shared.is_over() {
                self.workers.iter().for_each(|_| self.submit(Job::Stop));
                // Sending fails only when nobody waits for the end of the engine.
                let _ = leader.ended.send(());
                return;
            }
            // Running requests come first, because their responses make room for new requests.
            for begin in [false, true] {
                if begin {
                    let Leader { event_loop, ready, .. } = &mut *leader;
                    event_loop.begin_waiting(&mut LeaderSink { engine: self, index, worker, ready });
                }
                let mut own = std::mem::take(&mut leader.ready);
                if own.len() >= batch && self.shares_out.load(Ordering::Relaxed) {
                    return self.share_out(leader, own, index, worker);
                }
                own.retain(|client| self.run(*client, index, worker));
                leader.ready = own;
            }
        }
    }

    /// Sends the connections beyond one batch as jobs, gives the leadership away, and runs the batch.
    fn share_out(
        self: &Arc<Self>,
        leader: Box<Leader>,
        mut own: Vec<usize>,
        index: usize,
        worker: &mut Worker<A>,
    ) {
        let batch = self.pool.batch();
        let beyond = own.split_off(batch);
        for job in beyond.chunks(batch) {
            self.submit(Job::Batch(job.to_vec(), worker.now()));
        }
        self.submit(Job::Lead(leader));
        own.retain(|client| self.run(*client, index, worker));
        if !own.is_empty() {
            self.submit(Job::Batch(own, worker.now()));
        }
    }
}

/// Takes the reports of the event loop for the leader.
struct LeaderSink<'a, A: App> {
    engine: &'a ThreadEngine<A>,
    index: usize,
    worker: &'a mut Worker<A>,
    ready: &'a mut Vec<usize>,
}

impl<A: App> Sink for LeaderSink<'_, A> {
    type App = A;
    type Content = Place;

    fn shared(&self) -> &Arc<Shared<A>> {
        &self.engine.shared
    }

    fn sockets(&self) -> &Sockets<Place> {
        &self.engine.sockets
    }

    fn worker(&self) -> usize {
        self.index
    }

    fn wake_up(&mut self) -> Instant {
        self.worker.wake_up(&*self.engine.shared.app);
        self.worker.now()
    }

    fn claim(&mut self, client: usize) -> bool {
        self.engine.sockets.table.slot(client).is_some_and(|slot| slot.content.schedule.claim())
    }

    fn queue(&mut self, client: usize) {
        self.ready.push(client);
    }

    /// Puts the connection into the table. Closes the connection when its descriptor is beyond the table.
    fn admit(&mut self, client: Arrival) {
        let (socket, origin) = client.into_parts();
        let fd = socket.fd();
        match self.engine.sockets.admit(&socket) {
            Some(slot) => {
                let connection = Connection::new(socket, origin, self.worker.now());
                *slot.content.connection.lock() = Some(Box::new(connection));
                if self.claim(fd) {
                    self.queue(fd);
                }
            }
            None => {
                self.engine.shared.counters(self.index).closed.add(1);
                self.engine.shared.closed();
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        let count = room_at_once(&self.engine.shared.options);
        event_loop::make_room(self, now, count);
    }

    fn sweep(&mut self, _: Instant, now: Instant) {
        if let Some(load) = self.worker.run_queue.read(now) {
            self.engine.sockets.pressure.note_load(load);
            if self.engine.pool != Pool::Textbook {
                let shares_out = self.engine.spread.lock().note(load);
                self.engine.shares_out.store(shares_out, Ordering::Relaxed);
            }
        }
    }
}
