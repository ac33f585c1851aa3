//! The machine of one request and its response: facts in, one step out.
//!
//! An engine tells an [`Exchange`] what happened (bytes arrived, bytes left, a backend is attached, time passed) and
//! asks what next. Every transition is in this file. It does no I/O and reads no clock, and it never returns an error:
//! bad input becomes an answer and a close. It does not know which engine runs it.

mod deadline;
mod flow;
mod limits;
mod retry;
mod step;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::app::{App, Decision, Now, Outcome, Plan};
use crate::http::answer::{self, Answer, Body, Reason};
use crate::http::buffer::Spare;
use crate::http::framing::Framing;
use crate::http::head::{FieldSlots, HeadScan, Method, RequestHead, ResponseHead, Version};
use crate::http::rewrite::{self, Coding, Persistence};

use deadline::{Deadline, Wait};
use flow::Flow;
use retry::Failure;

pub use limits::Limits;
pub use step::{AttachError, CloseReason, Interest, Keep, Side, Step};

/// Most interim responses (1xx) passed on for one request.
const INTERIM_MAX: u8 = 16;

/// What a worker lends an exchange for the length of a call.
#[derive(Debug)]
pub struct Context<'a, A> {
    /// Decides about requests.
    pub app: &'a A,
    /// What an exchange may take.
    pub limits: &'a Limits,
    /// Empty buffers of the worker.
    pub spare: &'a mut Spare,
    /// The time of this wake-up.
    pub now: Now,
    /// The process is stopping: connections are not kept.
    pub draining: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The request head is being read.
    Head,
    /// A connection to the plan's backend is wanted.
    Attach,
    /// Request and response are under way between client and backend.
    Relay,
    /// Our own answer, or the rest of a response whose backend is detached, is leaving.
    Respond,
    /// The response has left but the client may still send: our direction is shut, the rest is thrown away.
    Linger,
    /// The connection is to be closed.
    Closed(CloseReason),
}

/// What is remembered of the request once its head has been rewritten.
#[derive(Debug, Clone, Copy)]
struct Ask {
    method: Method,
    version: Version,
    keep_alive: bool,
    /// `Expect: 100-continue`, and neither the backend nor we have said so yet.
    awaits_continue: bool,
    upgrade: bool,
}

/// One request and its response. Reused for the next one; a connection that idles owns none.
#[derive(Debug)]
pub struct Exchange {
    client: SocketAddr,
    phase: Phase,
    /// From the client to the backend.
    request: Flow,
    /// From the backend, or from an answer, to the client.
    response: Flow,
    scan: HeadScan,
    ask: Ask,
    plan: Option<Plan>,
    attached: bool,
    reused: bool,
    fresh: bool,
    retried: bool,
    attach_error: Option<AttachError>,
    /// How the backend's stream ended, once it did.
    backend_end: Option<End>,
    backend_keeps: bool,
    send_failed: bool,
    client_ended: bool,
    interims: u8,
    /// Some byte of a response arrived from the backend.
    answered: bool,
    /// The final response head is on its way to the client.
    started: bool,
    client_keeps: bool,
    tunnel: bool,
    shut: [bool; 2],
    deadline: Deadline,
    progress: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Eof,
    Broken,
}

impl Exchange {
    /// An exchange for a client's next request.
    pub fn new(client: SocketAddr, limits: &Limits, now: Instant) -> Self {
        Exchange {
            client,
            phase: Phase::Head,
            request: Flow::new(),
            response: Flow::new(),
            scan: HeadScan::default(),
            ask: Ask {
                method: Method::Other,
                version: Version::Http11,
                keep_alive: false,
                awaits_continue: false,
                upgrade: false,
            },
            plan: None,
            attached: false,
            reused: false,
            fresh: false,
            retried: false,
            attach_error: None,
            backend_end: None,
            backend_keeps: false,
            send_failed: false,
            client_ended: false,
            interims: 0,
            answered: false,
            started: false,
            client_keeps: false,
            tunnel: false,
            shut: [false; 2],
            deadline: Deadline::new(Wait::Head, limits, now),
            progress: false,
        }
    }

    /// The same exchange for a request of (another) client, as if new; its buffers are kept.
    pub fn renew(&mut self, client: SocketAddr, limits: &Limits, now: Instant) {
        self.request.discard();
        self.client = client;
        self.client_ended = false;
        self.next_request(limits, now);
    }

    /// Gives back what it borrowed; afterwards it may be kept for another client.
    pub fn retire(&mut self, spare: &mut Spare) {
        self.plan = None;
        for flow in [&mut self.request, &mut self.response] {
            flow.reset();
            flow.discard();
            flow.settle(spare);
        }
    }

    fn next_request(&mut self, limits: &Limits, now: Instant) {
        self.request.reset();
        self.response.reset();
        self.response.discard();
        self.phase = Phase::Head;
        self.scan = HeadScan::default();
        self.plan = None;
        self.attached = false;
        self.fresh = false;
        self.retried = false;
        self.attach_error = None;
        self.backend_end = None;
        self.send_failed = false;
        self.interims = 0;
        self.answered = false;
        self.started = false;
        self.tunnel = false;
        self.shut = [false; 2];
        self.deadline = Deadline::new(Wait::Head, limits, now);
        self.progress = false;
    }

    /// Where bytes from `side` are to be read into; never empty when a step asked for them.
    pub fn room(&mut self, side: Side, spare: &mut Spare) -> &mut [u8] {
        self.from(side).room(spare)
    }

    /// `result` of reading from `side`; `Ok(0)` is the end of its stream.
    pub fn received(&mut self, side: Side, result: io::Result<usize>) {
        match (side, result) {
            (_, Ok(n)) if n > 0 => {
                self.progress = true;
                self.from(side).arrived(n);
            }
            (Side::Client, Ok(_)) => self.client_ended = true,
            (Side::Client, Err(_)) => self.close(CloseReason::ClientLost),
            (Side::Backend, Ok(_)) => self.backend_end = Some(End::Eof),
            (Side::Backend, Err(_)) => self.backend_end = Some(End::Broken),
        }
    }

    /// The bytes that are to leave on `side`: one vectored write.
    pub fn pending(&self, side: Side) -> [&[u8]; 2] {
        match side {
            Side::Client => self.response.pending(),
            Side::Backend => self.request.pending(),
        }
    }

    /// `result` of writing what was pending on `side`.
    pub fn sent(&mut self, side: Side, result: io::Result<usize>) {
        match (side, result) {
            (Side::Client, Ok(n)) => {
                self.progress = true;
                self.response.left(n);
            }
            (Side::Client, Err(_)) => self.close(CloseReason::ClientLost),
            (Side::Backend, Ok(n)) => {
                self.progress = true;
                self.request.left(n);
            }
            // What the backend said before it stopped listening may still be read.
            (Side::Backend, Err(_)) => self.send_failed = true,
        }
    }

    /// The plan to attach to, and whether a kept connection will not do.
    pub fn plan(&self) -> Option<(&Plan, bool)> {
        self.plan.as_ref().map(|plan| (plan, self.fresh))
    }

    /// A connection to the plan's backend is there (`true`: a kept one), or could not be had.
    pub fn attached(&mut self, result: Result<bool, AttachError>) {
        match result {
            Ok(reused) => {
                self.attached = true;
                self.reused = reused;
                self.backend_end = None;
                self.send_failed = false;
                self.phase = Phase::Relay;
            }
            Err(error) => self.attach_error = Some(error),
        }
    }

    /// The file to read, from which offset, into which room; all of the room may be filled.
    pub fn load(&mut self, spare: &mut Spare) -> Option<(&File, u64, &mut [u8])> {
        self.response.load(spare)
    }

    /// `result` of that read. A file that is shorter than announced breaks the connection.
    pub fn loaded(&mut self, result: io::Result<usize>) {
        match result {
            Ok(n) if n > 0 => {
                self.progress = true;
                self.response.loaded(n);
            }
            Ok(_) | Err(_) => self.close(CloseReason::Truncated),
        }
    }

    /// When `step` is to be called even if nothing happens.
    pub fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    /// True while a backend works for it.
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// What the engine is to do next.
    pub fn step<A: App>(&mut self, cx: &mut Context<'_, A>) -> Step {
        if cx.now.instant >= self.deadline.at() {
            self.expire(cx);
        }
        let step = loop {
            let step = match self.phase {
                Phase::Head => self.step_head(cx),
                Phase::Attach => self.step_attach(cx),
                Phase::Relay => self.step_relay(cx),
                Phase::Respond => self.step_respond(cx),
                Phase::Linger => self.step_linger(),
                Phase::Closed(reason) => Some(Step::Close(reason)),
            };
            if let Some(step) = step {
                break step;
            }
        };
        self.request.settle(cx.spare);
        self.response.settle(cx.spare);
        let wait = self.wait();
        self.deadline.update(wait, self.progress, cx.limits, cx.now.instant);
        self.progress = false;
        step
    }

    fn step_head<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        let more = Some(Step::Transfer(Interest::READ_CLIENT));
        let Some(input) = self.request.take_input() else {
            return self.at_end_of_client().or(more);
        };
        let mut slots = FieldSlots::new();
        let head = match self.scan.request(input.filled(), &cx.limits.head, &mut slots) {
            Ok(Some(head)) => head,
            Ok(None) => {
                self.request.put_input(input);
                return self.at_end_of_client().or(more);
            }
            Err(error) => {
                self.request.put_input(input);
                self.answer(Reason::Head(error), cx);
                return None;
            }
        };
        self.ask = Ask::of(&head);
        let decision = cx.app.decide(&head, self.client, &cx.now);
        if let Decision::Forward(plan) = &decision {
            rewrite::request(&head, self.client.ip(), plan.trusted, self.request.prefix());
        }
        let (len, framing) = (head.len, head.framing);
        self.request.put_input(input);
        self.request.skip(len);
        self.request.begin(framing, Coding::Verbatim);
        match decision {
            Decision::Forward(plan) => {
                self.request.hold();
                self.plan = Some(plan);
                self.phase = Phase::Attach;
            }
            Decision::Answer(answer) => self.respond(answer, cx),
        }
        None
    }

    /// What an end of the client's stream means while no whole request head is there.
    fn at_end_of_client(&mut self) -> Option<Step> {
        self.client_ended.then(|| {
            let reason = match self.request.unread().is_empty() {
                true => CloseReason::Done,
                false => CloseReason::ClientLost,
            };
            self.close(reason);
            Step::Close(reason)
        })
    }

    fn step_attach<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        let Some(error) = self.attach_error.take() else { return Some(Step::Attach) };
        let failed = self.plan.take()?;
        cx.app.report(&failed, Outcome::Unreachable, &cx.now);
        self.plan = cx.app.replan(failed, &cx.now);
        if self.plan.is_some() {
            self.deadline = Deadline::new(Wait::Connect, cx.limits, cx.now.instant);
            return Some(Step::Attach);
        }
        self.answer(if error == AttachError::TimedOut { Reason::ConnectTimeout } else { Reason::Unreachable }, cx);
        None
    }

    fn step_relay<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        if let Err(error) = self.request.advance() {
            self.fail_request(Reason::Chunks(error), cx);
            return self.detach(Keep::Drop, None, cx);
        }
        if self.client_ended && !self.request.is_received() && !self.request.ended() {
            // RFC 9112 section 8: an incomplete request is not passed on as if it were whole.
            self.close(CloseReason::ClientLost);
            return None;
        }
        if !self.started && !self.read_response_head(cx) {
            return self.detach(Keep::Drop, Some(Outcome::Failed), cx);
        }
        if self.started && self.response.advance().is_err() {
            self.close(CloseReason::Truncated);
            return self.detach(Keep::Drop, Some(Outcome::Failed), cx);
        }
        if let Some(end) = self.backend_end
            && !self.response.is_received()
        {
            self.end_of_backend(end, cx);
            if self.phase != Phase::Relay {
                return self.detach(Keep::Drop, Some(Outcome::Failed), cx);
            }
        }
        match self.tunnel {
            true => self.step_tunnel(),
            false => self.step_exchange(cx),
        }
    }

    /// The end of a relay: the backend has said everything, or what is awaited of the two sides.
    fn step_exchange<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        if self.started && self.response.is_received() {
            let clean = self.request.is_done() && self.response.unread().is_empty() && self.backend_end.is_none();
            let keep = if clean && self.backend_keeps { Keep::Park } else { Keep::Drop };
            self.phase = Phase::Respond;
            return self.detach(keep, Some(Outcome::Served), cx);
        }
        let mut interest = Interest::READ_BACKEND;
        interest.set(Interest::WRITE_CLIENT, self.response.has_pending());
        interest.set(Interest::WRITE_BACKEND, self.request.has_pending() && !self.send_failed);
        interest.set(Interest::READ_CLIENT, self.request.wants_read() && !self.client_ended);
        if self.started && !self.response.wants_read() {
            interest.set(Interest::READ_BACKEND, false);
        }
        if self.send_failed {
            self.request.discard();
        }
        Some(Step::Transfer(interest))
    }

    /// Two streams, each until its end (RFC 9110 section 7.8); an end is passed on once all before it has left.
    fn step_tunnel(&mut self) -> Option<Step> {
        for (side, done) in [(Side::Backend, self.request.is_done()), (Side::Client, self.response.is_done())] {
            if done && !self.shut[side as usize] {
                self.shut[side as usize] = true;
                return Some(Step::Shutdown(side));
            }
        }
        if self.send_failed || self.shut == [true, true] {
            self.close(if self.send_failed { CloseReason::Truncated } else { CloseReason::Done });
            return None;
        }
        let mut interest = Interest::NONE;
        interest.set(Interest::WRITE_CLIENT, self.response.has_pending());
        interest.set(Interest::WRITE_BACKEND, self.request.has_pending());
        interest.set(Interest::READ_CLIENT, self.request.wants_read());
        interest.set(Interest::READ_BACKEND, self.response.wants_read());
        Some(Step::Transfer(interest))
    }

    fn step_respond<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        // Only a chunked response of a kind that is broken fails here, and that was found when it arrived.
        let _ = self.response.advance();
        if self.response.wants_load() {
            return Some(Step::Load);
        }
        if !self.response.is_done() {
            return Some(Step::Transfer(Interest::WRITE_CLIENT));
        }
        if self.client_keeps && !cx.draining {
            self.next_request(cx.limits, cx.now.instant);
            return (self.request.unread().is_empty() && !self.client_ended).then_some(Step::Idle);
        }
        if self.client_ended || (self.request.is_received() && self.request.unread().is_empty()) {
            self.close(CloseReason::Done);
            return None;
        }
        // RFC 9112 section 9.6: closing with unread bytes would reset the connection and lose the response.
        self.phase = Phase::Linger;
        self.deadline = Deadline::new(Wait::Linger, cx.limits, cx.now.instant);
        Some(Step::Shutdown(Side::Client))
    }

    fn step_linger(&mut self) -> Option<Step> {
        self.request.reset();
        self.request.discard();
        if self.client_ended {
            self.close(CloseReason::Done);
            return None;
        }
        Some(Step::Transfer(Interest::READ_CLIENT))
    }

    /// Passes on the heads that arrived; false when the backend is of no more use.
    fn read_response_head<A: App>(&mut self, cx: &mut Context<'_, A>) -> bool {
        while !self.started {
            let Some(input) = self.response.take_input() else { return true };
            if !self.answered {
                self.answered = true;
                self.request.release();
                self.scan = HeadScan::default();
            }
            let mut slots = FieldSlots::new();
            let parsed = self.scan.response(input.filled(), self.ask.method, &cx.limits.head, &mut slots);
            let (fine, len) = match parsed {
                Ok(None) => {
                    self.response.put_input(input);
                    return true;
                }
                Ok(Some(head)) => (self.take_response_head(&head, cx), head.len),
                Err(_) => (false, 0),
            };
            self.response.put_input(input);
            self.response.skip(len);
            if !fine {
                self.answer(Reason::BadResponse, cx);
                return false;
            }
        }
        true
    }

    fn take_response_head<A: App>(&mut self, head: &ResponseHead<'_>, cx: &Context<'_, A>) -> bool {
        match head.status {
            101 => {
                if !self.ask.upgrade {
                    return false;
                }
                rewrite::response(head, Coding::Verbatim, Persistence::Upgrade, self.response.prefix());
                self.request.begin(Framing::UntilClose, Coding::Verbatim);
                self.response.begin(Framing::UntilClose, Coding::Verbatim);
                (self.tunnel, self.started, self.client_keeps) = (true, true, false);
            }
            100..200 => {
                self.interims += 1;
                let told = head.status == 100 && !self.ask.awaits_continue;
                if head.status == 100 {
                    self.ask.awaits_continue = false;
                }
                // RFC 9110 section 15.2: never to an HTTP/1.0 client.
                if self.ask.version == Version::Http11 && !told {
                    rewrite::response(head, Coding::Verbatim, Persistence::Implied, self.response.prefix());
                }
                return self.interims <= INTERIM_MAX;
            }
            _ => {
                let coding = match (head.framing, self.ask.version) {
                    (Framing::UntilClose, Version::Http11) => Coding::Chunk,
                    (Framing::Chunked, Version::Http10) => Coding::Dechunk,
                    _ => Coding::Verbatim,
                };
                let until_close = match coding {
                    Coding::Verbatim => head.framing == Framing::UntilClose,
                    Coding::Chunk => false,
                    Coding::Dechunk => true,
                };
                self.client_keeps =
                    self.ask.keep_alive && !cx.draining && !until_close && self.request.is_received();
                self.backend_keeps = head.keep_alive && head.framing != Framing::UntilClose;
                rewrite::response(head, coding, self.persistence(), self.response.prefix());
                self.response.begin(head.framing, coding);
                self.started = true;
            }
        }
        true
    }

    fn persistence(&self) -> Persistence {
        match (self.client_keeps, self.ask.version) {
            (true, Version::Http11) => Persistence::Implied,
            (true, Version::Http10) => Persistence::KeepAlive,
            (false, _) => Persistence::Close,
        }
    }

    /// The backend's stream ended before the response did.
    fn end_of_backend<A: App>(&mut self, end: End, cx: &mut Context<'_, A>) {
        if self.started {
            if end == End::Broken || !self.response.ended() {
                self.close(CloseReason::Truncated);
            }
            return;
        }
        let failure = Failure {
            answered: self.answered,
            whole: self.request.is_held(),
            reused: self.reused,
            retried: self.retried,
            method: self.ask.method,
        };
        if failure.may_retry() {
            self.retried = true;
            self.fresh = true;
            self.request.rewind();
            self.backend_end = None;
            self.phase = Phase::Attach;
        } else {
            self.answer(if self.answered { Reason::BadResponse } else { Reason::BackendClosed }, cx);
        }
    }

    /// The backend is not needed any more; the engine hears of it once.
    fn detach<A: App>(&mut self, keep: Keep, outcome: Option<Outcome>, cx: &Context<'_, A>) -> Option<Step> {
        if !self.attached {
            return None;
        }
        self.attached = false;
        if let (Some(plan), Some(outcome)) = (&self.plan, outcome) {
            cx.app.report(plan, outcome, &cx.now);
        }
        if self.phase != Phase::Attach {
            self.plan = None;
        }
        Some(Step::Detach(keep))
    }

    /// The request cannot go on; whether the client hears why depends on what it was sent.
    fn fail_request<A: App>(&mut self, reason: Reason, cx: &mut Context<'_, A>) {
        match self.started {
            true => self.close(CloseReason::Truncated),
            false => self.answer(reason, cx),
        }
    }

    fn answer<A: App>(&mut self, reason: Reason, cx: &mut Context<'_, A>) {
        if let Reason::Head(_) = reason {
            // Nothing is known of a request that could not be read.
            self.ask.keep_alive = false;
            self.ask.version = Version::Http11;
            self.ask.method = Method::Other;
        }
        self.respond(answer::answer(reason), cx);
    }

    fn respond<A: App>(&mut self, answer: Answer, cx: &mut Context<'_, A>) {
        self.request.release();
        let readable = self.phase == Phase::Head || self.request.advance().is_ok();
        let received = readable && self.request.advance().is_ok() && self.request.is_received();
        self.client_keeps = self.ask.keep_alive && received && !answer.close && !cx.draining;
        self.response.reset();
        self.response.discard();
        answer::write_head(&answer, self.persistence(), &cx.now.date, self.response.prefix());
        let Answer { body, status, .. } = answer;
        let head_only = self.ask.method == Method::Head || matches!(status, 204 | 304);
        self.response.begin_answer(if head_only { Body::None } else { body }, head_only);
        self.started = true;
        self.phase = Phase::Respond;
    }

    fn close(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed(reason);
    }

    /// What the exchange waits for when its step is taken.
    fn wait(&self) -> Wait {
        match self.phase {
            Phase::Head => Wait::Head,
            Phase::Attach => Wait::Connect,
            Phase::Linger => Wait::Linger,
            Phase::Respond | Phase::Closed(_) => Wait::Client,
            Phase::Relay if self.tunnel => Wait::Tunnel,
            Phase::Relay if self.response.has_pending() => Wait::Client,
            Phase::Relay if self.started || self.request.is_received() || self.request.has_pending() => Wait::Backend,
            Phase::Relay if self.ask.awaits_continue => Wait::Continue,
            Phase::Relay => Wait::Client,
        }
    }

    fn expire<A: App>(&mut self, cx: &mut Context<'_, A>) {
        match (self.phase, self.deadline.wait()) {
            (Phase::Head, _) if self.request.unread().is_empty() => self.close(CloseReason::TimedOut),
            (Phase::Head, _) => {
                self.ask.keep_alive = false;
                self.answer(Reason::HeadTimeout, cx);
            }
            (Phase::Attach, _) => self.attach_error = Some(AttachError::TimedOut),
            (Phase::Linger, _) => self.close(CloseReason::Done),
            (Phase::Relay, Wait::Continue) => {
                self.ask.awaits_continue = false;
                self.response.prefix().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            (Phase::Relay, wait) if !self.started => {
                let reason = if wait == Wait::Client { Reason::BodyTimeout } else { Reason::ResponseTimeout };
                self.answer(reason, cx);
            }
            (Phase::Relay | Phase::Respond, _) => self.close(CloseReason::TimedOut),
            (Phase::Closed(_), _) => {}
        }
    }
}

impl Ask {
    fn of(head: &RequestHead<'_>) -> Self {
        Ask {
            method: head.method,
            version: head.version,
            keep_alive: head.keep_alive,
            awaits_continue: head.expects_continue && head.framing != Framing::None,
            upgrade: head.upgrade,
        }
    }
}

impl Exchange {
    fn from(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.request,
            Side::Backend => &mut self.response,
        }
    }
}
