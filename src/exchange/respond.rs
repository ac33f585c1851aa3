//! Decisions while an answer of ours, or the rest of a response, is sent.

use super::deadline::{Deadline, Wait};
use super::reason::Reason;
use super::state::{Context, Exchange, Phase};
use super::step::{CloseReason, Interest, Side, Step};
use crate::app::{App, RequestEnd};
use crate::http::answer::{self, Answer, Body};
use crate::http::head::{Method, Version};
use crate::http::rewrite::Persistence;

impl Exchange {
    /// Answers in place of a backend.
    #[cold]
    pub(super) fn answer<A: App>(&mut self, reason: Reason, cx: &mut Context<'_, A>) {
        self.respond(reason.answer(), cx);
    }

    /// Begins to send an answer.
    pub(super) fn respond<A: App>(&mut self, answer: Answer, cx: &mut Context<'_, A>) {
        let page = if answer.status < 400 { None } else { cx.app.page(cx.view, answer.status) };
        let answer = match page {
            None => answer,
            Some(page) => page.replace_body_of(answer),
        };
        self.request.release();
        let received = self.request.advance().is_ok() && self.request.is_received();
        self.state.client_keeps = self.info.keep_alive && received && !answer.close && !cx.draining;
        // Unsent interim heads stay in the prefix, before the answer.
        self.response.discard();
        let (persistence, out) = (self.persistence(), self.response.prefix());
        let start = out.len();
        answer::write_head(&answer, persistence, &cx.now.date, out);
        if let Some(terms) = &self.terms {
            terms.response.apply(out, start);
        }
        let Answer { body, status, .. } = answer;
        let head_only = self.info.method == Method::Head || matches!(status, 204 | 304);
        self.response.begin_answer(if head_only { Body::None } else { body }, head_only);
        (self.state.started, self.state.untold, self.state.status) = (true, true, Some(status));
        self.phase = Phase::Respond;
    }

    /// Returns the Connection field for the client.
    pub(super) fn persistence(&self) -> Persistence {
        match (self.state.client_keeps, self.info.version) {
            (true, Version::Http11) => Persistence::Implied,
            (true, Version::Http10) => Persistence::KeepAlive,
            (false, _) => Persistence::Close,
        }
    }

    pub(super) fn step_respond<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        // No error is possible here. An invalid chunk is refused when it arrives.
        let _ = self.response.advance();
        if !self.response.is_done() {
            return Some(Step::Transfer(Interest::WRITE_CLIENT));
        }
        self.served += 1;
        self.tell(RequestEnd::Complete, cx.app, cx.view, (cx.client, cx.link), cx.now.instant);
        // Also when a drain has begun since the head of the response: the client expects an open connection and may have sent
        // its next request. The engine closes an idle connection when the drain demands it.
        if self.state.client_keeps {
            if self.request.unread().is_empty() && !self.client_ended {
                return Some(Step::Idle);
            }
            self.next_request(cx.limits(), cx.now.instant);
            return None;
        }
        if self.client_ended || (self.request.is_received() && self.request.unread().is_empty()) {
            self.close(CloseReason::Done);
            return None;
        }
        // Closing with unread bytes would reset the connection, and the client could lose the response (RFC 9112
        // section 9.6).
        self.phase = Phase::Linger;
        self.deadline = Deadline::new(Wait::Linger, cx.bounds(&self.terms), cx.now.instant);
        Some(Step::Shutdown(Side::Client))
    }

    /// Discards the client's bytes until its stream ends.
    #[cold]
    pub(super) fn step_linger(&mut self) -> Option<Step> {
        self.request.reset();
        self.request.discard();
        if self.client_ended {
            self.close(CloseReason::Done);
            return None;
        }
        Some(Step::Transfer(Interest::READ_CLIENT))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GET, Rig};
    use super::*;

    #[test]
    fn an_answer_without_a_backend_keeps_the_connection() {
        let mut rig = Rig::new(0);
        for _ in 0..2 {
            rig.read(Side::Client, GET);
            assert_eq!(rig.step(), Step::Transfer(Interest::WRITE_CLIENT));
            assert!(rig.sent(Side::Client).starts_with("HTTP/1.1 503 "));
            assert_eq!(rig.step(), Step::Idle);
        }
        assert_eq!(rig.exchange.take_served(), 2);
    }

    #[test]
    fn a_response_that_keeps_the_connection_does_so_also_when_a_drain_begins_meanwhile() {
        let mut rig = Rig::new(0);
        for draining in [false, true] {
            rig.read(Side::Client, GET);
            assert_eq!(rig.step(), Step::Transfer(Interest::WRITE_CLIENT));
            let closes = rig.sent(Side::Client).contains("\r\nConnection: close\r\n");
            assert_eq!(closes, draining);
            rig.draining = true;
            let end = if closes { Step::Close(CloseReason::Done) } else { Step::Idle };
            assert_eq!(rig.step(), end, "{draining}");
        }
    }

    #[test]
    fn an_invalid_head_is_answered_and_the_rest_discarded() {
        let mut rig = Rig::new(1);
        rig.read(Side::Client, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nmore");
        rig.step();
        assert!(rig.sent(Side::Client).starts_with("HTTP/1.1 400 "));
        assert_eq!(rig.step(), Step::Shutdown(Side::Client));
        assert_eq!(rig.step(), Step::Transfer(Interest::READ_CLIENT));
        rig.pass(rig.limits().linger_timeout);
        assert_eq!(rig.step(), Step::Close(CloseReason::Done));
    }
}
