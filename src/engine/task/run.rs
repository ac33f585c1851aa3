//! The loop over the turns of a connection, in the async engine. `thread/run.rs` is the same loop in the thread engine.

use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::core::{Core, Reactor};
use crate::app::App;
use crate::engine::driver::{Connection, Turn};
use crate::engine::transport::Tcp;
use crate::exchange::{CloseReason, Interest};

/// The task of a client's connection: runs the connection to its end.
///
/// The size of this future is the memory of an idle connection. So across a wait, the future holds nothing that only a
/// request needs.
#[expect(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
pub(super) fn run<A: App, R: Reactor>(
    core: Rc<Core<A, R>>,
    mut connection: Connection<Tcp>,
) -> impl Future<Output = ()> {
    async move {
        loop {
            match core.turn(&mut connection) {
                Turn::Waits(..) if core.has_excess(&connection) => return core.hand_over(connection),
                Turn::Waits(interest, deadline) => core.wait(&mut connection, interest, deadline).await,
                Turn::Yields => core.yield_now(&mut connection).await,
                Turn::Ends(reason) => return core.end(connection, reason),
            }
        }
    }
}

impl<A: App, R: Reactor> Core<A, R> {
    fn turn(&self, connection: &mut Connection<Tcp>) -> Turn {
        let mut worker = self.worker.borrow_mut();
        self.reactor.begin_run(connection, &*self.shared.app, &mut worker);
        connection.turn(&self.shared, &self.reactor, &mut worker, self.counters())
    }

    fn wait(
        &self,
        connection: &mut Connection<Tcp>,
        interest: Interest,
        deadline: Instant,
    ) -> impl Future<Output = ()> {
        self.reactor.wait(connection, interest, deadline, self.now())
    }

    /// Lets other tasks run, and lets the event loop poll before this task continues.
    fn yield_now(&self, connection: &mut Connection<Tcp>) -> impl Future<Output = ()> {
        let client = connection.client().fd();
        let mut yielded = false;
        poll_fn(move |cx| match mem::replace(&mut yielded, true) {
            true => Poll::Ready(()),
            false => {
                self.reactor.keep_yielded(client, cx.waker(), &self.yielded);
                Poll::Pending
            }
        })
    }

    fn end(&self, mut connection: Connection<Tcp>, reason: CloseReason) {
        self.reactor.forget(connection.client().fd());
        connection.end(reason, &self.shared, &self.reactor, &mut self.worker.borrow_mut(), self.counters());
        self.closed();
    }
}
