//! The loop over the turns of a connection, in the thread engine. `task/run.rs` is the same loop in the async engine.

use std::time::Instant;

use super::pool::{ThreadEngine, Worker};
use super::textbook;
use crate::app::App;
use crate::engine::driver::{Connection, Turn};
use crate::engine::transport::Tcp;
use crate::exchange::{CloseReason, Interest};

impl<A: App> ThreadEngine<A> {
    /// Runs the connection of a client until it waits, yields or ends. The caller has claimed the connection, so no other
    /// worker runs it. True when it yields: then the caller runs it again after other connections.
    pub(super) fn run(&self, client: usize, index: usize, worker: &mut Worker<A>) -> bool {
        let Some(slot) = self.sockets.table.slot(client) else { return false };
        let place = &slot.content;
        loop {
            let mut held = place.connection.lock();
            if let Some(connection) = held.as_deref_mut() {
                match self.turn(connection, index, worker) {
                    Turn::Waits(interest, deadline) => self.wait(connection, interest, deadline, worker),
                    Turn::Yields => {
                        slot.note_yield();
                        return true;
                    }
                    Turn::Ends(reason) => self.end(held.take(), reason, index, worker),
                }
            }
            drop(held);
            // The connection stays in the table. Any worker may take it up again.
            if place.schedule.rest() {
                return false;
            }
        }
    }

    fn turn(&self, connection: &mut Connection<Tcp>, index: usize, worker: &mut Worker<A>) -> Turn {
        loop {
            self.sockets.begin_run(connection);
            let turn = connection.turn(&self.shared, &self.sockets, worker, self.shared.counters(index));
            match turn {
                Turn::Waits(interest, _) if textbook::holds(self.pool, connection) => {
                    textbook::hold(connection, interest);
                    self.shared.counters(index).wakeups.add(1);
                    worker.wake_up(&*self.shared.app);
                }
                turn => return turn,
            }
        }
    }

    pub(super) fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
        worker: &Worker<A>,
    ) {
        self.sockets.begin_wait(connection, interest, deadline, worker.now());
    }

    fn end(
        &self,
        ended: Option<Box<Connection<Tcp>>>,
        reason: CloseReason,
        index: usize,
        worker: &mut Worker<A>,
    ) {
        if let Some(connection) = ended {
            connection.end(reason, &self.shared, &self.sockets, worker, self.shared.counters(index));
            self.shared.closed();
        }
    }
}
