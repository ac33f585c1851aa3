//! Decisions while bytes move between client and backend.

use super::state::{Context, End, Exchange, Phase};
use super::step::{CloseReason, Interest, Keep, Step};
use crate::app::App;
use crate::cluster::{Attempt, AttemptEnd, Failure, Session};
use crate::http::answer;
use crate::http::cookie::SetCookie;
use crate::http::framing::Framing;
use crate::http::head::{FieldSlots, HeadScan, ResponseHead, Version};
use crate::http::rewrite::{self, Coding, Persistence};

/// Maximum number of interim responses (1xx) for one request.
const INTERIM_MAX: u8 = 16;

/// The response breaks a rule of HTTP, or exceeds a limit.
struct Invalid;

impl Exchange {
    pub(super) fn step_relay<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        if let Err(error) = self.request.advance() {
            match self.state.started {
                true => self.close(CloseReason::Truncated),
                false => self.respond(answer::refuse_chunks(error), cx),
            }
            return None;
        }
        if self.client_ended && !self.request.is_received() && !self.request.ended() {
            // The request is incomplete, and must not look complete to the backend (RFC 9112 section 8). A response
            // that has already started is broken off too.
            self.close(if self.state.started { CloseReason::Truncated } else { CloseReason::ClientLost });
            return None;
        }
        if !self.state.started && self.read_response_heads(cx).is_err() {
            self.fail(Failure::BadResponse, cx);
            return None;
        }
        if self.phase != Phase::Relay {
            return None; // The request is repeated.
        }
        if self.state.started && self.response.advance().is_err() {
            self.finish(AttemptEnd::Failed(Failure::BadResponse), cx);
            self.close(CloseReason::Truncated);
            return None;
        }
        if let Some(end) = self.state.backend_end
            && !(self.state.started && self.response.is_received())
        {
            self.end_of_backend(end, cx);
            if self.phase != Phase::Relay {
                return None;
            }
        }
        match self.state.tunnel {
            true => self.step_tunnel(cx),
            false => self.step_message(cx),
        }
    }

    /// Detaches the backend when the whole response was received.
    fn step_message<A: App>(&mut self, cx: &mut Context<'_, A>) -> Option<Step> {
        if self.state.started && self.response.is_received() {
            let clean = self.request.is_done()
                && self.response.unread().is_empty()
                && self.state.backend_end.is_none();
            self.phase = Phase::Respond;
            self.finish(AttemptEnd::Answered, cx);
            let keep = if clean && self.state.backend_keeps { Keep::Park } else { Keep::Drop };
            return Some(self.detach(keep));
        }
        Some(Step::Transfer(self.interest()))
    }

    /// Returns all transfers that the exchange can use now.
    pub(super) fn interest(&self) -> Interest {
        let listens = !self.state.send_failed;
        let mut interest = Interest::NONE;
        interest.set(Interest::WRITE_CLIENT, self.response.has_pending());
        interest.set(Interest::WRITE_BACKEND, listens && self.request.has_pending());
        interest.set(Interest::READ_CLIENT, listens && self.request.wants_read());
        interest.set(Interest::READ_BACKEND, !self.state.started || self.response.wants_read());
        interest
    }

    /// Forwards the response heads that have arrived.
    fn read_response_heads<A: App>(&mut self, cx: &mut Context<'_, A>) -> Result<(), Invalid> {
        while !self.state.started {
            // A read at the end of the stream leaves an empty buffer. This is no byte of a response.
            if self.response.unread().is_empty() {
                return Ok(());
            }
            let Some(input) = self.response.take_input() else { return Ok(()) };
            if !self.state.begun {
                self.state.begun = true;
                self.attempt.iter_mut().for_each(|attempt| attempt.note_byte(cx.now.instant));
                self.scan = HeadScan::default();
            }
            let mut slots = FieldSlots::new();
            let parsed = self.scan.response(input.filled(), self.info.method, &cx.limits().head, &mut slots);
            if let Ok(Some(ResponseHead { status: status @ 502..=504, .. })) = parsed
                && self.info.repeats_answers
                && self.request.is_held()
            {
                self.response.put_input(input);
                if self.repeat_after(status, cx) {
                    return Ok(());
                }
                continue;
            }
            if !matches!(parsed, Ok(None)) && !self.state.answered {
                self.state.answered = true;
                self.request.release();
            }
            let (result, len) = match parsed {
                // Until its head is whole, a response is no answer, and the request may be repeated.
                Ok(None) => {
                    self.response.put_input(input);
                    return Ok(());
                }
                Ok(Some(head)) => (self.take_response_head(&head, cx), head.len),
                Err(_) => (Err(Invalid), 0),
            };
            self.response.put_input(input);
            self.response.skip(len);
            result?;
        }
        Ok(())
    }

    fn take_response_head<A: App>(
        &mut self,
        head: &ResponseHead<'_>,
        cx: &Context<'_, A>,
    ) -> Result<(), Invalid> {
        match head.status {
            101 => self.begin_tunnel(head, cx).ok_or(Invalid),
            100..200 => self.take_interim_head(head, cx),
            _ => {
                self.take_final_head(head, cx);
                Ok(())
            }
        }
    }

    #[cold]
    fn take_interim_head<A: App>(
        &mut self,
        head: &ResponseHead<'_>,
        cx: &Context<'_, A>,
    ) -> Result<(), Invalid> {
        self.state.interims += 1;
        let repeated = head.status == 100 && self.state.continued;
        if head.status == 100 {
            self.info.awaits_continue = false;
        }
        // An HTTP/1.0 client gets no interim response (RFC 9110 section 15.2).
        if self.info.version == Version::Http11 && !repeated {
            let out = self.response.prefix();
            rewrite::response(head, Coding::Verbatim, Persistence::Implied, &cx.now.date, None, out);
        }
        if self.state.interims <= INTERIM_MAX { Ok(()) } else { Err(Invalid) }
    }

    fn take_final_head<A: App>(&mut self, head: &ResponseHead<'_>, cx: &Context<'_, A>) {
        self.attempt.iter_mut().for_each(|attempt| attempt.note_status(head.status));
        let coding = match (head.framing, self.info.version) {
            (Framing::UntilClose, Version::Http11) => Coding::Chunk,
            (Framing::Chunked, Version::Http10) => Coding::Dechunk,
            _ => Coding::Verbatim,
        };
        let until_close = match coding {
            Coding::Verbatim => head.framing == Framing::UntilClose,
            Coding::Chunk => false,
            Coding::Dechunk => true,
        };
        self.state.client_keeps =
            self.info.keep_alive && !cx.draining && !until_close && self.request.is_received();
        self.state.backend_keeps = head.keep_alive && head.framing != Framing::UntilClose;
        self.state.kept_for = head.kept_for;
        let (persistence, date) = (self.persistence(), &cx.now.date);
        let cookie = session_cookie(self.attempt.as_ref(), self.info.session, cx.client.encrypted);
        let out = self.response.prefix();
        let start = out.len();
        rewrite::response(head, coding, persistence, date, cookie.as_ref(), out);
        if let Some(terms) = &self.terms {
            terms.response.apply(out, start);
        }
        self.response.begin(head.framing, coding);
        (self.state.started, self.state.status) = (true, Some(head.status));
    }

    /// Handles the end of the backend's stream before the whole response was received.
    #[cold]
    fn end_of_backend<A: App>(&mut self, end: End, cx: &mut Context<'_, A>) {
        let failure = if end == End::Broken { Failure::Reset } else { Failure::EndedEarly };
        if !self.state.started {
            self.fail(failure, cx);
        } else if end == End::Broken || !self.response.ended() {
            self.finish(AttemptEnd::Failed(failure), cx);
            self.close(CloseReason::Truncated);
        }
    }

    /// Sends a 100 in place of a backend that has not answered `Expect: 100-continue` in time.
    pub(super) fn answer_continue(&mut self) {
        self.info.awaits_continue = false;
        self.state.continued = true;
        self.response.prefix().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
}

/// Returns the cookie of a response that tells the client of its session.
pub(super) fn session_cookie(
    attempt: Option<&Attempt>,
    session: Session,
    encrypted: bool,
) -> Option<SetCookie> {
    if session == Session::Unchanged {
        return None;
    }
    let backend = attempt.map(Attempt::backend).filter(|backend| session.begins_at(backend.id()))?;
    let (name, value) = backend.session_cookie()?;
    Some(SetCookie { name, value, secure: encrypted })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::Side;
    use super::super::tests::{GET, POST, Rig};
    use super::*;
    use crate::cluster::{Cluster, ClusterSettings, StickySettings};
    use crate::router::Router;

    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";

    #[test]
    fn a_whole_response_ends_the_attempt_and_parks_the_connection() {
        let mut rig = Rig::relaying(1, GET);
        rig.read(Side::Backend, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(rig.step(), Step::Detach(Keep::Park));
        let attempt = rig.exchange.attempt().expect("the backend stays known");
        assert_eq!(attempt.outcome().map(|outcome| outcome.status), Some(Some(200)));
        let counts = rig.backends()[0].counts();
        assert_eq!((counts.started, counts.answered), (1, 1));
        assert!(rig.sent(Side::Client).ends_with("\r\n\r\nok"));
    }

    #[test]
    fn the_final_response_of_a_new_session_has_a_cookie() {
        let start = Instant::now();
        let key = "00112233445566778899aabbccddeeff".parse().unwrap();
        let sticky = Some(StickySettings { name: "sid".parse().unwrap(), key });
        let settings = ClusterSettings { sticky, ..ClusterSettings::default() };
        let backends = [1, 2].map(|host| SocketAddr::from(([127, 0, 0, host], 9000)).into());
        let router = Router::new(Cluster::with_settings(&backends, settings, 1, start));
        let mut rig = Rig::over(Arc::new(router), start);
        let mut cookie = String::new();
        for begins in [true, false] {
            rig.read(
                Side::Client,
                format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n").as_bytes(),
            );
            assert_eq!(rig.step(), Step::Attach);
            rig.exchange.attached(Ok(()));
            rig.step();
            assert!(rig.sent(Side::Backend).contains(&format!("\r\nCookie: {cookie}\r\n")));
            rig.step();
            rig.read(Side::Backend, b"HTTP/1.1 103 Early Hints\r\n\r\n");
            rig.step();
            assert_eq!(rig.sent(Side::Client), "HTTP/1.1 103 Early Hints\r\n\r\n");
            rig.read(Side::Backend, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            rig.step();
            let head = rig.sent(Side::Client);
            let set = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: "));
            assert_eq!(set.is_some(), begins, "{head}");
            let (name, value) = rig.exchange.attempt().unwrap().backend().session_cookie().unwrap();
            cookie = format!("{name}={value:016x}");
            assert!(set.is_none_or(|set| set == format!("{cookie}; Path=/; HttpOnly; SameSite=Lax")));
            for encrypted in [false, true] {
                let set = session_cookie(rig.exchange.attempt(), Session::New, encrypted);
                assert_eq!(set.map(|set| set.secure), Some(encrypted));
            }
            rig.step();
        }
    }

    #[test]
    fn a_stall_of_the_backend_is_reported_and_one_of_the_client_is_not() {
        for (client_reads, stalled) in [(true, 1), (false, 0)] {
            let mut rig = Rig::relaying(1, GET);
            rig.read(Side::Backend, HALF);
            rig.step();
            if client_reads {
                rig.sent(Side::Client);
                rig.step();
            }
            rig.pass(rig.limits().response_timeout.max(rig.limits().body_timeout));
            assert_eq!(rig.step(), Step::Detach(Keep::Drop));
            assert_eq!(rig.step(), Step::Close(CloseReason::Stalled));
            let counts = rig.backends()[0].counts();
            assert_eq!((counts.failed(Failure::Stalled), counts.abandoned), (stalled, 1 - stalled));
        }
    }

    #[test]
    fn an_answer_that_says_that_the_backend_failed_is_repeated_where_that_is_allowed() {
        const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
        const WITH_BODY: &[u8] = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
        const ERROR: &[u8] = b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n";
        // setting, backends, request, response, repeated
        let cases = [
            (true, 2, GET, BUSY, true),
            (false, 2, GET, BUSY, false),
            (true, 1, GET, BUSY, false),
            (true, 2, POST, BUSY, false),
            (true, 2, WITH_BODY, BUSY, false),
            (true, 2, GET, ERROR, false),
        ];
        for (setting, backends, request, response, repeated) in cases {
            let mut rig = Rig::repeating(setting, backends, request);
            rig.read(Side::Backend, response);
            let head = String::from_utf8_lossy(&response[..12]).into_owned();
            if !repeated {
                assert!(matches!(rig.step(), Step::Detach(_)), "{setting}, {backends}, {head}");
                assert!(rig.sent(Side::Client).starts_with(&head), "{setting}, {backends}, {head}");
                continue;
            }
            assert_eq!(rig.step(), Step::Detach(Keep::Drop));
            assert_eq!(rig.step(), Step::Attach);
            rig.exchange.attached(Ok(()));
            rig.step();
            assert!(rig.sent(Side::Backend).starts_with("GET / HTTP/1.1\r\n"));
            rig.read(Side::Backend, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            rig.step();
            assert!(rig.sent(Side::Client).ends_with("\r\n\r\nok"), "nothing of the first answer");
            assert!(rig.backends().iter().all(|backend| backend.in_flight() == 0));
        }
    }

    #[test]
    fn a_response_that_breaks_is_reported_by_its_kind() {
        let cases: [(&[u8], Option<End>, Failure); 4] = [
            (HALF, Some(End::Eof), Failure::EndedEarly),
            (HALF, Some(End::Broken), Failure::Reset),
            (b"HTP/1.1 200 OK\r\n\r\n", None, Failure::BadResponse),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", None, Failure::BadResponse),
        ];
        for (bytes, end, failure) in cases {
            let mut rig = Rig::relaying(1, GET);
            rig.read(Side::Backend, bytes);
            rig.step();
            rig.exchange.state.backend_end = end;
            while !matches!(rig.step(), Step::Close(_) | Step::Transfer(Interest::WRITE_CLIENT)) {}
            let counts = rig.backends()[0].counts();
            assert_eq!((counts.failed(failure), counts.ended()), (1, 1), "{failure:?}");
        }
    }
}
