//! Decisions about a tunnel: two streams after a 101 (RFC 9110 section 7.8).

use super::relay::session_cookie;
use super::state::{Context, Exchange};
use super::step::{CloseReason, Side, Step};
use crate::app::App;
use crate::cluster::AttemptEnd;
use crate::http::framing::Framing;
use crate::http::head::ResponseHead;
use crate::http::rewrite::{self, Coding, Persistence};

impl Exchange {
    /// Begins a tunnel. None when the client did not ask for an upgrade, or has not sent the whole request.
    #[cold]
    pub(super) fn begin_tunnel<A: App>(
        &mut self,
        head: &ResponseHead<'_>,
        cx: &Context<'_, A>,
    ) -> Option<()> {
        if !self.info.upgrade || !self.request.is_received() {
            return None;
        }
        let cookie = session_cookie(self.attempt.as_ref(), self.info.session, cx.client.encrypted);
        let (out, date) = (self.response.prefix(), &cx.now.date);
        rewrite::response(head, Coding::Verbatim, Persistence::Upgrade, date, cookie.as_ref(), out);
        self.request.begin(Framing::UntilClose, Coding::Verbatim);
        self.response.begin(Framing::UntilClose, Coding::Verbatim);
        (self.state.tunnel, self.state.started, self.state.client_keeps) = (true, true, false);
        self.state.status = Some(head.status);
        if let Some(attempt) = &mut self.attempt {
            // The attempt is in flight until the tunnel ends, but the backend has answered.
            attempt.note_tunnel(head.status, cx.now.instant);
        }
        Some(())
    }

    /// Shuts down one side when the other side has ended and all of its bytes were sent. Closes when both sides are
    /// shut down.
    #[cold]
    pub(super) fn step_tunnel<A: App>(&mut self, cx: &Context<'_, A>) -> Option<Step> {
        for (side, done) in [(Side::Backend, self.request.is_done()), (Side::Client, self.response.is_done())]
        {
            if done && !self.state.shut[side as usize] {
                self.state.shut[side as usize] = true;
                return Some(Step::Shutdown(side));
            }
        }
        if self.state.send_failed || self.state.shut == [true, true] {
            self.finish(AttemptEnd::Answered, cx);
            self.close(if self.state.send_failed { CloseReason::Truncated } else { CloseReason::Done });
            return None;
        }
        Some(Step::Transfer(self.interest()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keep;
    use super::super::tests::{GET, Rig};
    use super::*;

    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

    #[test]
    fn a_tunnel_is_in_flight_until_both_streams_have_ended() {
        let mut rig = Rig::relaying(1, UPGRADE);
        rig.backends()[0].eject(rig.now());
        rig.read(Side::Backend, SWITCH);
        assert!(matches!(rig.step(), Step::Transfer(_)));
        assert!(rig.backends()[0].available(rig.now()), "a 101 is an answer");
        assert!(rig.sent(Side::Client).starts_with("HTTP/1.1 101 "));
        for (side, other) in [(Side::Backend, Side::Client), (Side::Client, Side::Backend)] {
            assert_eq!(rig.backends()[0].in_flight(), 1);
            rig.exchange.received(side, Ok(0));
            assert_eq!(rig.step(), Step::Shutdown(other));
        }
        assert_eq!(rig.step(), Step::Detach(Keep::Drop));
        assert_eq!(rig.step(), Step::Close(CloseReason::Done));
        assert_eq!(rig.backends()[0].counts().answered, 1);
    }

    #[test]
    fn a_tunnel_that_nobody_asked_for_is_a_bad_response() {
        let mut rig = Rig::relaying(1, GET);
        rig.read(Side::Backend, SWITCH);
        assert_eq!(rig.step(), Step::Detach(Keep::Drop));
        rig.step();
        assert!(rig.sent(Side::Client).starts_with("HTTP/1.1 502 "));
    }
}
