//! The task of one connection: runs the connection and awaits readiness in between. The counterpart of the thread
//! engine is `thread/worker.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::{Core, Reactor};
use crate::app::App;
use crate::engine::driver::{Connection, Turn};
use crate::engine::transport::Tcp;
use crate::exchange::CloseReason;

/// Runs a connection to its end. A panic ends only this connection.
///
/// The size of this future is the memory of an idle connection. So the future holds nothing across the wait that only a
/// request needs.
#[expect(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
pub(super) fn run<A: App, R: Reactor>(
    core: Rc<Core<A, R>>,
    mut connection: Connection<Tcp>,
) -> impl Future<Output = ()> {
    async move {
        loop {
            match core.run(&mut connection) {
                Turn::Waits(..) if core.has_excess() && connection.is_idle() => {
                    return core.hand_over(connection);
                }
                Turn::Waits(interest, deadline) => {
                    core.reactor.wait(&mut connection, interest, deadline).await;
                }
                Turn::Yields => {
                    core.yielded.set(true);
                    smol::future::yield_now().await;
                }
                Turn::Ends(reason) => return core.end(connection, reason),
            }
        }
    }
}

impl<A: App, R: Reactor> Core<A, R> {
    fn run(&self, connection: &mut Connection<Tcp>) -> Turn {
        let mut worker = self.worker.borrow_mut();
        if R::WAKES_SINGLY {
            worker.wake_up(&*self.shared.app);
        }
        let running = AssertUnwindSafe(|| connection.run(&self.shared, self, &mut worker, self.counters()));
        let turn = catch_unwind(running).unwrap_or_else(|_| {
            connection.abandon(self, self.counters());
            Turn::Ends(CloseReason::Truncated)
        });
        match turn {
            Turn::Waits(interest, deadline) => {
                Turn::Waits(interest, connection.runs_again_at(interest, deadline, worker.now()))
            }
            turn => turn,
        }
    }

    fn has_excess(&self) -> bool {
        self.excess.get().0 > 0 && !self.shared.is_draining()
    }

    fn end(&self, connection: Connection<Tcp>, reason: CloseReason) {
        connection.end(reason, self, &mut self.worker.borrow_mut(), self.counters());
        self.closed();
    }
}
