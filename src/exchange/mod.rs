//! The state machine of one request and its response: facts in, one step out.
//!
//! An engine tells an [`Exchange`] what happened: bytes arrived, bytes were sent, a backend is attached, time passed.
//! Then the engine asks for the next [`Step`]. The exchange does no I/O, reads no clock, and does not know which engine
//! runs it. The exchange returns no error: invalid input becomes an answer and a close.
//!
//! | file | what |
//! |---|---|
//! | `state.rs` | the state, and the facts that change it |
//! | `request.rs`, `relay.rs`, `tunnel.rs`, `respond.rs` | the decisions, by phase |
//! | `flow.rs` | one direction: its buffer and its framing |
//! | `deadline.rs` | the waits and their limits |
//! | `reason.rs` | the reasons to answer in place of a backend |

mod deadline;
mod flow;
mod reason;
mod relay;
mod request;
mod respond;
mod state;
mod step;
mod tunnel;

use deadline::{Deadline, Wait};
use state::Phase;

use crate::app::App;
use crate::cluster::{AttemptEnd, Failure};

pub use crate::app::Limits;
pub use reason::Reason;
pub use state::{Context, Exchange, Link};
pub use step::{AttachError, CloseReason, Interest, Keep, Side, Step};

impl Exchange {
    /// Returns the next step for the engine. The engine calls `step` after each event and at the
    /// [`deadline`](Exchange::deadline).
    pub fn step<A: App>(&mut self, cx: &mut Context<'_, A>) -> Step {
        if cx.now.instant >= self.deadline.at() {
            self.expire(cx);
            self.deadline = Deadline::new(self.wait(), cx.bounds(&self.terms), cx.now.instant);
        }
        let step = loop {
            if self.state.attached && self.phase != Phase::Relay {
                break self.detach(Keep::Drop);
            }
            let step = match self.phase {
                Phase::Head => self.step_head(cx),
                Phase::Queue => self.step_queue(cx),
                Phase::Attach => self.step_attach(cx),
                Phase::Relay => self.step_relay(cx),
                Phase::Delay => Some(Step::Transfer(Interest::NONE)),
                Phase::Respond => self.step_respond(cx),
                Phase::Linger => self.step_linger(),
                Phase::Closed(reason) => {
                    self.tell(reason.request_end(), cx.app, cx.view, (cx.client, cx.link), cx.now.instant);
                    Some(Step::Close(reason))
                }
            };
            if let Some(step) = step {
                break step;
            }
        };
        for flow in [&mut self.request, &mut self.response] {
            flow.settle(cx.buffers);
        }
        let wait = self.wait();
        self.deadline.update(wait, self.progress, cx.bounds(&self.terms), cx.now.instant);
        self.progress = false;
        step
    }

    /// Returns the wait of the current state, which selects the deadline.
    fn wait(&self) -> Wait {
        match self.phase {
            Phase::Head => Wait::Head,
            Phase::Queue => Wait::Queue,
            Phase::Attach => Wait::Connect,
            Phase::Linger => Wait::Linger,
            Phase::Delay => Wait::Delay,
            Phase::Respond | Phase::Closed(_) => Wait::Client,
            Phase::Relay if self.state.tunnel => Wait::Tunnel,
            Phase::Relay if self.response.has_pending() => Wait::Client,
            Phase::Relay
                if self.state.started || self.request.is_received() || self.request.has_pending() =>
            {
                Wait::Backend
            }
            Phase::Relay if self.info.awaits_continue => Wait::Continue,
            Phase::Relay => Wait::Client,
        }
    }

    /// Acts on a deadline that has passed.
    #[cold]
    fn expire<A: App>(&mut self, cx: &mut Context<'_, A>) {
        match (self.phase, self.deadline.wait()) {
            (Phase::Head, _) if self.is_blank() => self.close(CloseReason::TimedOut),
            (Phase::Head, _) => self.answer(Reason::HeadTimeout, cx),
            (Phase::Queue, _) => {
                self.place = None;
                self.answer(Reason::QueueTimeout, cx);
            }
            (Phase::Attach, _) => self.state.attach_error = Some(AttachError::TimedOut),
            (Phase::Linger, _) => self.close(CloseReason::Done),
            (Phase::Delay, _) => self.phase = Phase::Respond,
            (Phase::Relay, Wait::Continue) => self.answer_continue(),
            (Phase::Relay, Wait::Client) if !self.state.started => self.answer(Reason::BodyTimeout, cx),
            (Phase::Relay, _) if !self.state.started => self.fail(Failure::ResponseTimeout, cx),
            (Phase::Relay, wait) => {
                match wait {
                    Wait::Backend => self.finish(AttemptEnd::Failed(Failure::Stalled), cx),
                    Wait::Tunnel => self.finish(AttemptEnd::Answered, cx),
                    // The client does not read. The backend is not at fault.
                    _ => {}
                }
                self.close(CloseReason::Stalled);
            }
            (Phase::Respond, _) => self.close(CloseReason::Stalled),
            (Phase::Closed(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
