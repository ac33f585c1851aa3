//! The state of a worker, which the worker lends to the connection that it runs.

use std::time::Instant;

use super::active::Active;
use super::clock::{Clock, RunQueueStat};
use super::spares::Spares;
use crate::app::{App, Limits, Moment};
use crate::http::buffer::{BUFFER_BYTES, BufferPool};

/// Maximum empty buffers that a worker keeps.
const BUFFERS_MAX: usize = 64;

/// The state of one worker: its clock, its view of the app's data, its buffers and its spare exchanges.
#[derive(Debug)]
pub struct WorkerState<V, T> {
    pub(super) clock: Clock,
    pub(super) view: V,
    pub(super) run_queue: RunQueueStat,
    pub(super) buffers: BufferPool,
    spares: Spares<T>,
}

impl<V, T> WorkerState<V, T> {
    /// A new worker, with the app's view for it.
    pub fn new(view: V) -> Self {
        Self::with_buffers(view, BufferPool::new(BUFFERS_MAX, BUFFER_BYTES))
    }

    /// A new worker with buffers of another size.
    pub fn with_buffers(view: V, buffers: BufferPool) -> Self {
        let (clock, run_queue) = (Clock::new(), RunQueueStat::default());
        let spares = Spares::new(clock.now().instant);
        WorkerState { clock, view, run_queue, buffers, spares }
    }

    /// Reads the clock and brings the view up to date. Called once per wake-up.
    pub(super) fn wake_up<A: App<View = V>>(&mut self, app: &A) {
        self.clock.tick();
        app.refresh(&mut self.view);
        self.spares.look(self.now());
    }

    /// Sets the clock to `now` and brings the view up to date.
    pub fn wake_up_at<A: App<View = V>>(&mut self, app: &A, now: Moment) {
        self.clock.set(now);
        app.refresh(&mut self.view);
        self.spares.look(self.now());
    }

    /// The empty buffers.
    pub fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now().instant
    }

    /// An exchange for a client's next request.
    pub(super) fn lend(&mut self, limits: &Limits) -> Box<Active<T>> {
        let now = self.now();
        match self.spares.pop() {
            Some(mut active) => {
                active.renew(limits, now);
                active
            }
            None => Box::new(Active::new(limits, now)),
        }
    }

    /// Takes an exchange back for another client. The exchange has no backend connection any more.
    pub(super) fn take_back(&mut self, mut active: Box<Active<T>>) {
        active.retire(&mut self.buffers);
        self.spares.push(active);
    }
}
