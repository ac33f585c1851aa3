//! Decisions before the response: about the request head, the attempts, and a failed attempt.

use super::deadline::{Deadline, Wait};
use super::reason::Reason;
use super::state::{Context, Exchange, Phase, RequestInfo};
use super::step::{AttachError, CloseReason, Interest, Keep, Step};
use crate::app::{App, Decision};
use crate::cluster::{
    Admission, Attempt, AttemptEnd, Entered, Failure, Next, Permit, Place, Progress, Start,
};
use crate::http::answer;
use crate::http::head::{FieldSlots, HeadError};
use crate::http::rewrite::{self, Coding};
use crate::observe::access_log::Note;

impl Exchange {
    pub(super) fn step_head<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
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
                self.refuse(error, cx);
                return None;
            }
        };
        self.info = RequestInfo::new(&head);
        self.state.untold = true;
        let decision = cx.app.decide(cx.view, &head, cx.client, &cx.now);
        self.state.is_noted = cx.app.note(cx.view, &head, cx.client, &mut self.note);
        if let Decision::Forward(plan) = &decision {
            let origin = rewrite::Origin {
                client: cx.client.address().ip(),
                encrypted: cx.client.encrypted,
                trusted: plan.trusted,
                forwarded: cx.client.settings.forwarded,
                id: self.note.as_deref().filter(|_| self.state.is_noted).map(Note::id),
            };
            let out = self.request.prefix();
            let start = out.len();
            rewrite::request(&head, &origin, out);
            if let Some(terms) = &plan.terms {
                terms.request.apply(out, start);
            }
        }
        let (len, framing) = (head.len, head.framing);
        self.request.put_input(input);
        self.request.skip(len);
        self.request.begin(framing, Coding::Verbatim);
        match decision {
            Decision::Forward(plan) => {
                // A backend that is slow to connect is no reason to let the client wait for this answer.
                if let Err(error) = self.request.advance() {
                    self.respond(answer::refuse_chunks(error), cx);
                    return None;
                }
                self.request.hold();
                self.attempts.set_key(plan.key);
                self.terms = plan.terms;
                self.info.session = plan.session;
                self.info.repeats_answers = plan.repeats_answers && self.info.repeatable;
                self.begin(plan.start, cx);
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

    /// Answers a head that is invalid.
    #[cold]
    fn refuse<A: App>(&mut self, error: HeadError, cx: &mut Context<'_, A>) {
        self.info = RequestInfo::UNREAD;
        self.respond(answer::refuse_head(error), cx);
    }

    /// True when no byte of a request has arrived. The line end that old clients send after a body does not count.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self.request.unread(), b"" | b"\r\n")
    }

    /// Closes the connection when the client's stream has ended before a whole request head.
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

    pub(super) fn step_attach<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        match self.state.attach_error.take() {
            None => Some(Step::Attach),
            Some(error) => {
                self.fail_attach(error, cx);
                None
            }
        }
    }

    #[cold]
    fn fail_attach<A: App>(&mut self, error: AttachError, cx: &mut Context<'_, A>) {
        match error {
            AttachError::Refused => self.fail(Failure::Refused, cx),
            AttachError::TimedOut => self.fail(Failure::ConnectTimeout, cx),
            AttachError::Local => self.fail(Failure::Local, cx),
            // An attempt at another backend would fail too.
            AttachError::Exhausted => {
                self.finish(AttemptEnd::Failed(Failure::Local), cx);
                self.answer(Reason::Overloaded, cx);
            }
        }
    }

    /// Ends an attempt that failed before the head of a final response. Then begins another attempt, or answers.
    #[cold]
    pub(super) fn fail<A: App>(&mut self, failure: Failure, cx: &mut Context<'_, A>) {
        self.finish(AttemptEnd::Failed(failure), cx);
        let progress = Progress {
            idempotent: self.info.method.is_idempotent(),
            sent: self.request.has_sent(),
            repeatable: self.request.is_held(),
            answered: self.state.answered,
        };
        let failed = self.attempt.as_ref().map(|attempt| attempt.backend().id());
        let next = failed.map(|backend| self.attempts.failed(backend, failure, progress));
        let begun = std::mem::take(&mut self.state.begun);
        if next == Some(Next::Again) {
            self.forget_response();
            if self.retry(&mut None, cx) {
                return;
            }
        }
        self.answer(Reason::of_failure(failure, begun), cx);
    }

    /// Ends an attempt whose answer says that the backend failed, and begins another attempt. False when there is none: then
    /// the client gets this answer.
    #[cold]
    pub(super) fn repeat_after<A: App>(&mut self, status: u16, cx: &mut Context<'_, A>) -> bool {
        let Some(backend) = self.attempt.as_ref().map(|attempt| attempt.backend().id()) else { return false };
        // Whatever follows, this answer is not repeated again.
        self.info.repeats_answers = self.attempts.failed_answer(backend);
        if !self.info.repeats_answers {
            return false;
        }
        let terms = self.terms.as_deref();
        let start = self.attempts.find(|history| cx.app.retry(cx.view, terms, history, &mut None, &cx.now));
        let Some(start @ Start::Attempt(_)) = start else {
            self.info.repeats_answers = false;
            return false;
        };
        self.attempt.iter_mut().for_each(|attempt| attempt.note_status(status));
        self.finish(AttemptEnd::Answered, cx);
        self.forget_response();
        self.begin(start, cx);
        true
    }

    /// Makes the request whole again and forgets what has come of a response, for another attempt.
    fn forget_response(&mut self) {
        self.request.rewind();
        self.response.discard();
        (self.state.backend_end, self.state.begun) = (None, false);
    }

    /// Begins an attempt at a backend that this request may still use. Returns false when there is no such backend.
    fn retry<A: App>(&mut self, permit: &mut Option<Permit>, cx: &mut Context<'_, A>) -> bool {
        let terms = self.terms.as_deref();
        let start = self.attempts.find(|history| cx.app.retry(cx.view, terms, history, permit, &cx.now));
        start.map(|start| self.begin(start, cx)).is_some()
    }

    /// Continues with an attempt, or enters the queue.
    fn begin<A: App>(&mut self, start: Start, cx: &mut Context<'_, A>) {
        match start {
            Start::Attempt(attempt) => {
                self.attempt = Some(attempt);
                self.state.begun_attempts += 1;
                self.phase = Phase::Attach;
                self.deadline = Deadline::new(Wait::Connect, cx.bounds(&self.terms), cx.now.instant);
            }
            Start::Wait(admission) => self.enter_queue(admission, cx),
        }
    }

    #[cold]
    fn enter_queue<A: App>(&mut self, admission: Admission, cx: &mut Context<'_, A>) {
        match admission.enter(cx.link.waker()) {
            Entered::Place(place) => {
                self.attempt = None;
                self.place = Some(place);
                self.state.waits_since = Some(cx.now.instant);
                self.phase = Phase::Queue;
                self.deadline = Deadline::new(Wait::Queue, cx.bounds(&self.terms), cx.now.instant);
            }
            Entered::Permit(permit) => self.leave_queue(permit, cx),
            Entered::Full => self.answer(Reason::QueueFull, cx),
        }
    }

    /// Waits for a permit.
    #[cold]
    pub(super) fn step_queue<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        let Some(permit) = self.place.as_mut().and_then(Place::take) else {
            return Some(Step::Transfer(Interest::NONE));
        };
        self.place = None;
        self.state.leave_queue(cx.now.instant);
        self.leave_queue(permit, cx);
        None
    }

    #[cold]
    fn leave_queue<A: App>(&mut self, permit: Permit, cx: &mut Context<'_, A>) {
        if !self.retry(&mut Some(permit), cx) {
            self.answer(Reason::NoBackend, cx);
        }
    }

    /// Ends the attempt, if it has not ended yet.
    pub(super) fn finish<A: App>(&mut self, end: AttemptEnd, cx: &Context<'_, A>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.finish(end, cx.now.instant);
        }
    }

    /// Detaches the backend connection. With `Keep::Park` the attempt stays: the engine reads the backend from it to
    /// park the connection. In the phase `Attach` the attempt is a new attempt, which goes on. In other cases an attempt
    /// that has not ended is abandoned.
    pub(super) fn detach(&mut self, keep: Keep) -> Step {
        self.state.attached = false;
        if self.phase != Phase::Attach && keep == Keep::Drop {
            self.attempt.iter_mut().for_each(Attempt::abandon);
        }
        Step::Detach(keep)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::Side;
    use super::super::tests::{GET, POST, Rig};
    use super::*;
    use crate::cluster::{BackendSettings, Cap, Cluster, ClusterSettings};
    use crate::router::Router;

    #[test]
    fn a_head_in_parts_is_forwarded_once_it_is_whole() {
        let mut rig = Rig::new(1);
        for part in GET.chunks(5) {
            assert_eq!(rig.step(), Step::Transfer(Interest::READ_CLIENT));
            rig.read(Side::Client, part);
        }
        assert_eq!(rig.step(), Step::Attach);
    }

    #[test]
    fn a_bad_chunk_that_comes_with_the_head_is_refused_without_a_backend() {
        let mut rig = Rig::new(1);
        rig.read(Side::Client, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
        assert_eq!(rig.step(), Step::Transfer(Interest::WRITE_CLIENT));
        let head = rig.sent(Side::Client);
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("Connection: close"), "{head}");
        assert_eq!(rig.backends()[0].in_flight(), 0);
    }

    #[test]
    fn a_local_error_blames_no_backend_and_is_a_503() {
        for (error, close) in [(AttachError::Local, false), (AttachError::Exhausted, true)] {
            let mut rig = Rig::new(2);
            rig.read(Side::Client, GET);
            let mut attempts = 0;
            while rig.step() == Step::Attach {
                rig.exchange.attached(Err(error));
                attempts += 1;
            }
            assert_eq!(attempts, if error == AttachError::Local { 2 } else { 1 });
            let head = rig.sent(Side::Client);
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            assert_eq!(head.contains("Connection: close"), close, "{head}");
            for backend in rig.backends() {
                assert!(backend.available(rig.now()));
                assert_eq!(backend.counts().failed(Failure::Local), backend.counts().started);
            }
        }
    }

    #[test]
    fn a_refused_request_goes_to_the_other_backends_and_is_then_a_502() {
        for request in [GET, POST] {
            let mut rig = Rig::new(5);
            rig.read(Side::Client, request);
            for _ in 0..5 {
                assert_eq!(rig.step(), Step::Attach);
                rig.exchange.attached(Err(AttachError::Refused));
            }
            rig.step();
            assert!(rig.sent(Side::Client).starts_with("HTTP/1.1 502 "));
            assert!(rig.backends().iter().all(|b| b.counts().failed(Failure::Refused) == 1));
        }
    }

    #[test]
    fn a_lost_client_abandons_the_attempt_and_frees_the_backend() {
        let mut rig = Rig::relaying(1, GET);
        rig.exchange.client_lost();
        assert_eq!(rig.step(), Step::Detach(Keep::Drop));
        let counts = rig.backends()[0].counts();
        assert_eq!((counts.started, counts.abandoned, rig.backends()[0].in_flight()), (1, 1, 0));
        assert_eq!(rig.step(), Step::Close(CloseReason::ClientLost));
    }

    #[test]
    fn a_client_that_ends_its_direction_is_still_answered() {
        let mut rig = Rig::relaying(1, GET);
        rig.exchange.received(Side::Client, Ok(0));
        assert!(matches!(rig.step(), Step::Transfer(_)));
        assert_eq!(rig.backends()[0].in_flight(), 1);
    }

    #[test]
    fn a_response_timeout_moves_a_get_and_not_a_post() {
        for (request, status, second) in [(GET, "", 1), (POST, "HTTP/1.1 504 ", 0)] {
            let mut rig = Rig::relaying(2, request);
            rig.pass(rig.limits().response_timeout);
            assert_eq!(rig.step(), Step::Detach(Keep::Drop));
            let step = rig.step();
            assert_eq!(step == Step::Attach, second == 1, "{step:?}");
            assert!(rig.exchange.needs_new_connection());
            assert!(rig.sent(Side::Client).starts_with(status));
            let started: Vec<_> = rig.backends().iter().map(|b| b.counts().started).collect();
            assert_eq!(started, [1, second]);
            assert_eq!(rig.backends()[0].counts().failed(Failure::ResponseTimeout), 1);
        }
    }

    /// Makes `N` exchanges over a cluster with one backend, one request in flight and a queue of two.
    fn queued<const N: usize>() -> [Rig; N] {
        let start = Instant::now();
        let backend =
            BackendSettings { cap: Some(Cap::Fixed(1)), ..SocketAddr::from(([127, 0, 0, 1], 9000)).into() };
        let settings = ClusterSettings { waiting_max: 2, ..ClusterSettings::default() };
        let router = Arc::new(Router::new(Cluster::with_settings(&[backend], settings, 1, start)));
        std::array::from_fn(|_| {
            let mut rig = Rig::over(Arc::clone(&router), start);
            rig.read(Side::Client, GET);
            rig
        })
    }

    const WAITS: Step = Step::Transfer(Interest::NONE);

    #[test]
    fn requests_beyond_the_capacity_wait_in_their_order() {
        let [mut first, mut second, mut third, mut fourth] = queued();
        assert_eq!(first.step(), Step::Attach);
        assert_eq!([second.step(), third.step()], [WAITS, WAITS]);
        fourth.step();
        let answer = fourth.sent(Side::Client);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1\r\n"), "{answer}");
        let mut ended = first;
        for mut next in [second, third] {
            assert_eq!((next.step(), next.wakes()), (WAITS, 0));
            ended.exchange.client_lost();
            ended.step();
            assert_eq!((next.wakes(), next.step()), (1, Step::Attach));
            assert_eq!(next.backends()[0].in_flight(), 1);
            ended = next;
        }
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_the_queue_at_once() {
        let [mut first, mut lost, mut late, mut last] = queued();
        first.step();
        lost.step();
        late.step();
        lost.exchange.client_lost();
        late.pass(late.limits().queue_timeout);
        late.step();
        let answer = late.sent(Side::Client);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1\r\n"), "{answer}");
        assert_eq!(first.waiting(), 0);
        assert_eq!(last.step(), WAITS);
        drop(first);
        assert_eq!((last.wakes(), last.step()), (1, Step::Attach));
        assert_eq!((lost.wakes(), late.wakes()), (0, 0));
    }

    #[test]
    fn another_attempt_waits_again_and_nobody_waits_while_there_is_room() {
        let [mut first, mut second, ..] = queued::<2>();
        first.step();
        second.step();
        first.exchange.attached(Ok(()));
        first.step();
        first.sent(Side::Backend);
        first.exchange.received(Side::Backend, Ok(0));
        assert_eq!(first.step(), Step::Detach(Keep::Drop));
        assert_eq!((first.step(), second.step()), (WAITS, Step::Attach));
        second.exchange.client_lost();
        second.step();
        assert_eq!(first.step(), Step::Attach);
    }
}
