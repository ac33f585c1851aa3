//! The leader drives the event loop and hands ready work to the pool.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::place::Place;
use super::pool::{Job, Leader, ThreadEngine, Worker};
use crate::app::App;
use crate::engine::awake::Awake;
use crate::engine::driver::{Connection, YIELDED_MAX};
use crate::engine::event_loop::{self, EventLoop, Sink, room_at_once};
use crate::engine::listener::Arrival;
use crate::engine::options::{Pool, cores};
use crate::engine::shared::Shared;
use crate::engine::sockets::Sockets;

impl<A: App> ThreadEngine<A> {
    /// Leads until the leader shares its work out, computes a handshake, or the engine has ended.
    pub(super) fn lead(self: &Arc<Self>, mut leader: Box<Leader>, index: usize, worker: &mut Worker<A>) {
        loop {
            let busy = !leader.yielded.is_empty();
            let (event_loop, mut sink) = leader.parts(self, index, worker);
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
                    let (event_loop, mut sink) = leader.parts(self, index, worker);
                    event_loop.begin_waiting(&mut sink);
                }
                let ready = leader.ready.len() + leader.yielded.len();
                if let Some(share) = share(ready, self.shared.awake(), self.pool) {
                    return self.share_out(leader, share, index, worker);
                }
                let Leader { ready, yielded, .. } = &mut *leader;
                yielded.extend(ready.drain(..).filter(|client| self.run(*client, index, worker)));
            }
            for _ in 0..YIELDED_MAX {
                let Some(client) = leader.yielded.pop_front() else { break };
                if self.run(client, index, worker) {
                    leader.yielded.push_back(client);
                }
            }
            if !leader.handshakes.is_empty() {
                return self.hand_over(leader, index, worker);
            }
        }
    }

    /// Gives the leadership away, and runs the connections that compute a handshake, together with other workers. So requests do not wait behind a handshake while another worker is free.
    fn hand_over(self: &Arc<Self>, mut leader: Box<Leader>, index: usize, worker: &mut Worker<A>) {
        let mut handshakes = std::mem::take(&mut leader.handshakes);
        self.submit(Job::Lead(leader));
        for beyond in handshakes.split_off(1) {
            self.submit(Job::Batch(vec![beyond], worker.now()));
        }
        self.run_batch(handshakes, index, worker);
    }

    /// True when the leader gives the leadership away before it computes a handshake. The textbook pool has one job for each
    /// connection anyway, and a single worker has nobody to give the leadership to.
    fn hands_over(&self) -> bool {
        self.shared.handshakes.is_none() && self.pool != Pool::Textbook && self.workers.len() > 1
    }

    /// Sends the connections beyond one share as jobs, gives the leadership away, and runs the share.
    fn share_out(
        self: &Arc<Self>,
        mut leader: Box<Leader>,
        share: usize,
        index: usize,
        worker: &mut Worker<A>,
    ) {
        let mut own = std::mem::take(&mut leader.ready);
        own.extend(leader.yielded.drain(..).chain(leader.handshakes.drain(..)));
        let beyond = own.split_off(share);
        for job in beyond.chunks(share) {
            self.submit(Job::Batch(job.to_vec(), worker.now()));
        }
        self.submit(Job::Lead(leader));
        self.run_batch(own, index, worker);
    }
}

/// The minimum of connections per job, unless the batch is smaller. The textbook pool has one connection per job.
const SHARE_MIN: usize = 4;

/// The number of connections per job when a leader should share its ready connections out over `awake` workers. None
/// when the leader should run them itself. A worker of the textbook pool blocks, so another worker must lead meanwhile.
fn share(ready: usize, awake: usize, pool: Pool) -> Option<usize> {
    match pool {
        Pool::Textbook => (ready > 0).then_some(1),
        _ if awake == 1 || ready < 2 * SHARE_MIN.min(pool.batch()) => None,
        _ => Some(ready.div_ceil(awake).max(SHARE_MIN).min(pool.batch())),
    }
}

impl Leader {
    /// The event loop, and the sink for its reports.
    fn parts<'a, A: App>(
        &'a mut self,
        engine: &'a ThreadEngine<A>,
        index: usize,
        worker: &'a mut Worker<A>,
    ) -> (&'a mut EventLoop, LeaderSink<'a, A>) {
        let Leader { event_loop, ready, handshakes, yielded, awake, .. } = self;
        (event_loop, LeaderSink { engine, index, worker, ready, handshakes, yielded, awake })
    }
}

/// Takes the reports of the event loop for the leader.
struct LeaderSink<'a, A: App> {
    engine: &'a ThreadEngine<A>,
    index: usize,
    worker: &'a mut Worker<A>,
    ready: &'a mut Vec<usize>,
    handshakes: &'a mut Vec<usize>,
    yielded: &'a mut VecDeque<usize>,
    awake: &'a mut Awake,
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
        match self.engine.sockets.table.slot(client) {
            Some(slot) if slot.has_yielded() => self.yielded.push_back(client),
            Some(slot) if slot.content.begins_to_compute() => self.handshakes.push(client),
            _ => self.ready.push(client),
        }
    }

    /// Puts the connection into the table. Closes the connection when its descriptor is beyond the table.
    fn admit(&mut self, client: Arrival) {
        let (socket, origin) = client.into_parts(self.engine.shared.handshakes.as_ref());
        let fd = socket.fd();
        match self.engine.sockets.admit(&socket) {
            Some(slot) => {
                let mut connection = Connection::new(socket, origin, self.worker.now());
                let computes = connection.is_handshaking() && self.engine.hands_over();
                if computes {
                    // The connection runs when its first bytes are there, so the run will compute.
                    let (interest, deadline) = connection.first_wait();
                    self.engine.wait(&mut connection, interest, deadline, self.worker);
                }
                slot.content.admit(connection, computes);
                if !computes && self.claim(fd) {
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

    fn sweep(&mut self, now: Instant) {
        if let Some(load) = self.worker.run_queue.read(now) {
            let ThreadEngine { shared, sockets, .. } = self.engine;
            shared.set_awake(self.awake.note(load));
            sockets.pressure.set_cores(shared.awake().min(cores()));
            sockets.pressure.note_load(load);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_connections_are_shared_out_when_more_than_one_worker_should_be_awake() {
        let pool = |batch| Pool::Crossbeam { batch };
        // ready connections, workers awake, pool, connections per job
        let cases = [
            (1000, 1, pool(256), None),
            (7, 2, pool(256), None),
            (8, 2, pool(256), Some(4)),
            (9, 2, pool(256), Some(5)),
            (100, 4, pool(256), Some(25)),
            (20, 16, pool(256), Some(4)),
            (1000, 2, pool(256), Some(256)),
            (3, 2, pool(1), Some(1)),
            (1, 2, pool(1), None),
            (1, 4, Pool::Textbook, Some(1)),
            (0, 4, Pool::Textbook, None),
        ];
        for (ready, awake, pool, expected) in cases {
            assert_eq!(share(ready, awake, pool), expected, "{ready} ready, {awake} awake, {pool:?}");
        }
    }
}
