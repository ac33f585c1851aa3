//! Every transition of an exchange: facts were noted in it, here is decided what follows from them.

use crate::app::{App, Decision};
use crate::cluster::{AttemptEnd, Failure, Next, Progress};
use crate::http::answer::{self, Answer, Body, Reason};
use crate::http::framing::Framing;
use crate::http::head::{FieldSlots, HeadScan, Method, ResponseHead, Version};
use crate::http::rewrite::{self, Coding, Persistence};

use super::deadline::{Deadline, Wait};
use super::{Ask, AttachError, CloseReason, Context, End, Exchange, Interest, Keep, Phase, Side, Step};

/// Most interim responses (1xx) passed on for one request.
const INTERIM_MAX: u8 = 16;

impl Exchange {
    /// What the engine is to do next.
    pub fn step<A: App>(&mut self, cx: &mut Context<'_, A>) -> Step {
        if cx.now.instant >= self.deadline.at() {
            self.expire(cx);
            self.deadline = Deadline::new(self.wait(), cx.limits(), cx.now.instant);
        }
        let step = loop {
            if self.facts.attached && self.phase != Phase::Relay {
                break self.detach(Keep::Drop);
            }
            let step = match self.phase {
                Phase::Head => self.step_head(cx),
                Phase::Attach => self.step_attach(cx),
                Phase::Relay => self.step_relay(cx),
                Phase::Delay => Some(Step::Transfer(Interest::NONE)),
                Phase::Respond => self.step_respond(cx),
                Phase::Linger => self.step_linger(),
                Phase::Closed(reason) => Some(Step::Close(reason)),
            };
            if let Some(step) = step {
                break step;
            }
        };
        for flow in [&mut self.request, &mut self.response] {
            flow.join();
            flow.settle(cx.buffers);
        }
        let wait = self.wait();
        self.deadline.update(wait, self.progress, cx.limits(), cx.now.instant);
        self.progress = false;
        step
    }

    fn step_head<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        let more = Some(Step::Transfer(Interest::READ_CLIENT));
        let Some(input) = self.request.take_input() else {
            return self.at_end_of_client().or(more);
        };
        let mut slots = FieldSlots::new();
        let head = match self.scan.request(input.filled(), &cx.limits().head, &mut slots) {
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
        let decision = cx.app.decide(cx.view, &head, cx.client, &cx.now);
        if let Decision::Forward(plan) = &decision {
            let origin = rewrite::Origin {
                client: cx.client.address().ip(),
                encrypted: cx.client.encrypted,
                trusted: plan.trusted,
            };
            rewrite::request(&head, &origin, self.request.prefix());
        }
        let (len, framing) = (head.len, head.framing);
        self.request.put_input(input);
        self.request.skip(len);
        self.request.begin(framing, Coding::Verbatim);
        match decision {
            Decision::Forward(plan) => {
                self.request.hold();
                self.attempt = Some(plan.attempt);
                self.phase = Phase::Attach;
            }
            Decision::Answer(answer) => self.respond(answer, cx),
            Decision::AnswerAfter(delay, answer) => {
                self.respond(answer, cx);
                self.phase = Phase::Delay;
                self.deadline = Deadline::until(cx.now.instant + delay);
            }
        }
        None
    }

    /// Nothing of a request is there, or only the line end that old clients send behind a body.
    fn is_blank(&self) -> bool {
        matches!(self.request.unread(), b"" | b"\r\n")
    }

    /// What an end of the client's stream means while no whole request head is there.
    fn at_end_of_client(&mut self) -> Option<Step> {
        self.client_ended.then(|| {
            let reason = match self.is_blank() {
                true => CloseReason::Done,
                false => CloseReason::ClientLost,
            };
            self.close(reason);
            Step::Close(reason)
        })
    }

    fn step_attach<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        let Some(error) = self.facts.attach_error.take() else { return Some(Step::Attach) };
        let failure = match error {
            AttachError::Refused => Failure::Refused,
            AttachError::TimedOut => Failure::ConnectTimeout,
            AttachError::Exhausted | AttachError::Local => Failure::Local,
        };
        if error == AttachError::Exhausted {
            self.finish(AttemptEnd::Failed(failure), cx);
            self.answer(Reason::Overload, cx);
        } else {
            self.fail(failure, cx);
        }
        None
    }

    fn step_relay<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        if let Err(error) = self.request.advance() {
            match self.facts.started {
                true => self.close(CloseReason::Truncated),
                false => self.answer(Reason::Chunks(error), cx),
            }
            return None;
        }
        if self.client_ended && !self.request.is_received() && !self.request.ended() {
            // RFC 9112 section 8: an incomplete request is not passed on as if it were whole, and the response that
            // came early is broken off with it.
            self.close(if self.facts.started { CloseReason::Truncated } else { CloseReason::ClientLost });
            return None;
        }
        if !self.facts.started && !self.read_response_head(cx) {
            self.fail(Failure::BadResponse, cx);
            return None;
        }
        if self.facts.started && self.response.advance().is_err() {
            self.finish(AttemptEnd::Failed(Failure::BadResponse), cx);
            self.close(CloseReason::Truncated);
            return None;
        }
        if let Some(end) = self.facts.backend_end
            && !(self.facts.started && self.response.is_received())
        {
            self.end_of_backend(end, cx);
            if self.phase != Phase::Relay {
                return None;
            }
        }
        match self.facts.tunnel {
            true => self.step_tunnel(cx),
            false => self.step_exchange(cx),
        }
    }

    /// The end of a relay: the backend has said everything, or what is awaited of the two sides.
    fn step_exchange<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        if self.facts.started && self.response.is_received() {
            let clean = self.request.is_done()
                && self.response.unread().is_empty()
                && self.facts.backend_end.is_none();
            let keep = if clean && self.facts.backend_keeps { Keep::Park } else { Keep::Drop };
            self.phase = Phase::Respond;
            self.finish(AttemptEnd::Answered, cx);
            return Some(self.detach(keep));
        }
        Some(Step::Transfer(self.interest()))
    }

    /// Two streams, each until its end (RFC 9110 section 7.8); an end is passed on once all before it has left.
    fn step_tunnel<A: App>(&mut self, cx: &Context<'_, A>) -> Option<Step> {
        for (side, done) in [(Side::Backend, self.request.is_done()), (Side::Client, self.response.is_done())]
        {
            if done && !self.facts.shut[side as usize] {
                self.facts.shut[side as usize] = true;
                return Some(Step::Shutdown(side));
            }
        }
        if self.facts.send_failed || self.facts.shut == [true, true] {
            self.finish(AttemptEnd::Answered, cx);
            self.close(if self.facts.send_failed { CloseReason::Truncated } else { CloseReason::Done });
            return None;
        }
        Some(Step::Transfer(self.interest()))
    }

    /// Every transfer of a relay that would be of use.
    fn interest(&self) -> Interest {
        let listens = !self.facts.send_failed;
        let mut interest = Interest::NONE;
        interest.set(Interest::WRITE_CLIENT, self.response.has_pending());
        interest.set(Interest::WRITE_BACKEND, listens && self.request.has_pending());
        interest.set(Interest::READ_CLIENT, listens && self.request.wants_read());
        interest.set(Interest::READ_BACKEND, !self.facts.started || self.response.wants_read());
        interest
    }

    fn step_respond<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        // Only a chunked response of a kind that is broken fails here, and that was found when it arrived.
        let _ = self.response.advance();
        if !self.response.is_done() {
            return Some(Step::Transfer(Interest::WRITE_CLIENT));
        }
        self.served += 1;
        if self.facts.client_keeps && !cx.draining {
            self.next_request(cx.limits(), cx.now.instant);
            return (self.request.unread().is_empty() && !self.client_ended).then_some(Step::Idle);
        }
        if self.client_ended || (self.request.is_received() && self.request.unread().is_empty()) {
            self.close(CloseReason::Done);
            return None;
        }
        // RFC 9112 section 9.6: closing with unread bytes would reset the connection and lose the response.
        self.phase = Phase::Linger;
        self.deadline = Deadline::new(Wait::Linger, cx.limits(), cx.now.instant);
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
        while !self.facts.started {
            // Not only without a buffer: a read that found the end leaves an empty one behind.
            if self.response.unread().is_empty() {
                return true;
            }
            let Some(input) = self.response.take_input() else { return true };
            if !self.facts.answered {
                self.facts.answered = true;
                self.attempt.iter_mut().for_each(|attempt| attempt.note_byte(cx.now.instant));
                self.request.release();
                self.scan = HeadScan::default();
            }
            let mut slots = FieldSlots::new();
            let parsed = self.scan.response(input.filled(), self.ask.method, &cx.limits().head, &mut slots);
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
                return false;
            }
        }
        true
    }

    fn take_response_head<A: App>(&mut self, head: &ResponseHead<'_>, cx: &Context<'_, A>) -> bool {
        if head.status == 101 || head.status >= 200 {
            self.attempt.iter_mut().for_each(|attempt| attempt.note_status(head.status));
        }
        match head.status {
            101 => {
                if !self.ask.upgrade || !self.request.is_received() {
                    return false;
                }
                let out = self.response.prefix();
                rewrite::response(head, Coding::Verbatim, Persistence::Upgrade, &cx.now.date, out);
                self.request.begin(Framing::UntilClose, Coding::Verbatim);
                self.response.begin(Framing::UntilClose, Coding::Verbatim);
                (self.facts.tunnel, self.facts.started, self.facts.client_keeps) = (true, true, false);
                self.attempt.iter().for_each(|attempt| attempt.backend().restore());
            }
            100..200 => {
                self.facts.interims += 1;
                let told = head.status == 100 && self.facts.continued;
                if head.status == 100 {
                    self.ask.awaits_continue = false;
                }
                // RFC 9110 section 15.2: never to an HTTP/1.0 client.
                if self.ask.version == Version::Http11 && !told {
                    let out = self.response.prefix();
                    rewrite::response(head, Coding::Verbatim, Persistence::Implied, &cx.now.date, out);
                }
                return self.facts.interims <= INTERIM_MAX;
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
                self.facts.client_keeps =
                    self.ask.keep_alive && !cx.draining && !until_close && self.request.is_received();
                self.facts.backend_keeps = head.keep_alive && head.framing != Framing::UntilClose;
                rewrite::response(head, coding, self.persistence(), &cx.now.date, self.response.prefix());
                self.response.begin(head.framing, coding);
                self.facts.started = true;
            }
        }
        true
    }

    fn persistence(&self) -> Persistence {
        match (self.facts.client_keeps, self.ask.version) {
            (true, Version::Http11) => Persistence::Implied,
            (true, Version::Http10) => Persistence::KeepAlive,
            (false, _) => Persistence::Close,
        }
    }

    /// The backend's stream ended before the response did.
    fn end_of_backend<A: App>(&mut self, end: End, cx: &mut Context<'_, A>) {
        let failure = if end == End::Broken { Failure::Reset } else { Failure::EndedEarly };
        if !self.facts.started {
            self.fail(failure, cx);
        } else if end == End::Broken || !self.response.ended() {
            self.finish(AttemptEnd::Failed(failure), cx);
            self.close(CloseReason::Truncated);
        }
    }

    /// The attempt failed before the head of a final response: begins another one, or answers.
    fn fail<A: App>(&mut self, failure: Failure, cx: &mut Context<'_, A>) {
        self.finish(AttemptEnd::Failed(failure), cx);
        let progress = Progress {
            idempotent: self.ask.method.is_idempotent(),
            sent: self.request.has_left(),
            repeatable: self.request.is_held(),
            answered: self.facts.answered,
        };
        let failed = self.attempt.as_ref().map(|attempt| attempt.backend().id());
        let next = failed.map(|backend| self.attempts.failed(backend, failure, progress));
        let attempt = match next {
            Some(Next::Again) => {
                self.attempts.tried().iter().find_map(|tried| cx.app.retry(cx.view, tried, &cx.now))
            }
            Some(Next::GiveUp) | None => None,
        };
        if attempt.is_some() {
            self.attempt = attempt;
            self.request.rewind();
            self.facts.backend_end = None;
            self.phase = Phase::Attach;
            self.deadline = Deadline::new(Wait::Connect, cx.limits(), cx.now.instant);
            return;
        }
        let reason = match failure {
            Failure::Refused => Reason::Unreachable,
            Failure::ConnectTimeout => Reason::ConnectTimeout,
            Failure::Local => Reason::Overload,
            Failure::Reset | Failure::EndedEarly if !self.facts.answered => Reason::BackendClosed,
            Failure::Reset | Failure::EndedEarly | Failure::BadResponse => Reason::BadResponse,
            Failure::ResponseTimeout | Failure::Stalled => Reason::ResponseTimeout,
        };
        self.answer(reason, cx);
    }

    /// The backend connection is not needed any more. The attempt stays for a retry, and for the engine to know the
    /// backend of a connection that is kept.
    fn detach(&mut self, keep: Keep) -> Step {
        self.facts.attached = false;
        if self.phase != Phase::Attach && keep == Keep::Drop {
            self.attempt = None;
        }
        Step::Detach(keep)
    }

    fn finish<A: App>(&mut self, end: AttemptEnd, cx: &Context<'_, A>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.finish(end, cx.now.instant);
        }
    }

    fn answer<A: App>(&mut self, reason: Reason, cx: &mut Context<'_, A>) {
        if let Reason::Head(_) = reason {
            self.ask = Ask::UNREAD;
        }
        self.respond(answer::answer(reason), cx);
    }

    fn respond<A: App>(&mut self, answer: Answer, cx: &mut Context<'_, A>) {
        self.request.release();
        let received = self.request.advance().is_ok() && self.request.is_received();
        self.facts.client_keeps = self.ask.keep_alive && received && !answer.close && !cx.draining;
        // Interim heads that did not leave yet stay in front of this one.
        self.response.discard();
        answer::write_head(&answer, self.persistence(), &cx.now.date, self.response.prefix());
        let Answer { body, status, .. } = answer;
        let head_only = self.ask.method == Method::Head || matches!(status, 204 | 304);
        self.response.begin_answer(if head_only { Body::None } else { body }, head_only);
        self.facts.started = true;
        self.phase = Phase::Respond;
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed(reason);
    }

    fn expire<A: App>(&mut self, cx: &mut Context<'_, A>) {
        match (self.phase, self.deadline.wait()) {
            (Phase::Head, _) if self.is_blank() => self.close(CloseReason::TimedOut),
            (Phase::Head, _) => self.answer(Reason::HeadTimeout, cx),
            (Phase::Attach, _) => self.facts.attach_error = Some(AttachError::TimedOut),
            (Phase::Linger, _) => self.close(CloseReason::Done),
            (Phase::Delay, _) => self.phase = Phase::Respond,
            (Phase::Relay, Wait::Continue) => {
                self.ask.awaits_continue = false;
                self.facts.continued = true;
                self.response.prefix().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            (Phase::Relay, wait) if !self.facts.started => {
                if wait == Wait::Client {
                    self.answer(Reason::BodyTimeout, cx);
                } else {
                    self.fail(Failure::ResponseTimeout, cx);
                }
            }
            (Phase::Relay, wait) => {
                match wait {
                    Wait::Backend => self.finish(AttemptEnd::Failed(Failure::Stalled), cx),
                    Wait::Tunnel => self.finish(AttemptEnd::Answered, cx),
                    _ => {}
                }
                self.close(CloseReason::Stalled);
            }
            (Phase::Respond, _) => self.close(CloseReason::Stalled),
            (Phase::Closed(_), _) => {}
        }
    }
}
