//! The state of an exchange, and the facts that an engine tells it. The decisions are in `request.rs`, `relay.rs`,
//! `tunnel.rs` and `respond.rs`.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::app::{App, Bounds, Client, Finished, Limits, Moment, RequestEnd, Terms};
use crate::cluster::{Attempt, Attempts, Freshness, Place, Session};
use crate::http::buffer::BufferPool;
use crate::http::framing::Framing;
use crate::http::head::{HeadScan, Method, RequestHead, Version};
use crate::http::transform::Transform;
use crate::observe::access_log::Note;

use super::deadline::{Deadline, Wait};
use super::flow::Flow;
use super::step::{AttachError, CloseReason, Side};

/// What an exchange asks the connection of its client. An exchange asks rarely, so nothing is prepared for it.
pub trait Link {
    /// Makes a waker that runs the connection again. Called only when the request must wait in a queue.
    fn waker(&self) -> Waker;

    /// Returns the transform of the connection. Called only when the connection is encrypted.
    fn transform(&self) -> Option<&dyn Transform> {
        None
    }
}

/// The data that a worker lends to an exchange for one call.
pub struct Context<'a, A: App> {
    /// The app that decides about requests.
    pub app: &'a A,
    /// The worker's view of the app's data.
    pub view: &'a mut A::View,
    /// The client of the connection.
    pub client: &'a Client<'a>,
    /// Empty buffers of the worker.
    pub buffers: &'a mut BufferPool,
    /// The time of this wake-up.
    pub now: Moment,
    /// True during a drain or a stop of the engine. Then each response says that the connection is closed behind it.
    pub draining: bool,
    /// The connection of the client.
    pub link: &'a dyn Link,
}

impl<'a, A: App> Context<'a, A> {
    /// Returns the limits of this exchange.
    pub fn limits(&self) -> &'a Limits {
        &self.client.settings.limits
    }

    /// Returns the limits of a request with these terms.
    pub(super) fn bounds<'b>(&self, terms: &'b Option<Arc<Terms>>) -> Bounds<'b>
    where
        'a: 'b,
    {
        Bounds { limits: self.limits(), deadlines: terms.as_deref().map(|terms| &terms.deadlines) }
    }
}

/// The phases of an exchange, in their usual order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The request head is being read.
    Head,
    /// The request waits in the queue of its cluster.
    Queue,
    /// The attempt waits for a connection to its backend.
    Attach,
    /// Bytes move between client and backend.
    Relay,
    /// Our own answer is ready and delayed.
    Delay,
    /// Our own answer is being sent, or the rest of a response after its backend was detached.
    Respond,
    /// The whole response was sent, but the client may still send. Our sending direction is shut down, and the client's
    /// bytes are discarded.
    Linger,
    /// The connection must be closed.
    Closed(CloseReason),
}

/// The properties of the request that are needed after the head was rewritten.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestInfo {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    /// The client sent `Expect: 100-continue`, and no 100 was sent yet.
    pub(super) awaits_continue: bool,
    pub(super) upgrade: bool,
    /// The method is idempotent, and there is no body.
    pub(super) repeatable: bool,
    /// The request may be repeated after a response that says that the backend failed.
    pub(super) repeats_answers: bool,
    /// What the response tells the client about its session.
    pub(super) session: Session,
}

/// One request and its response. An exchange is reused for the next request of the same or of another client. An idle
/// connection owns no exchange.
#[derive(Debug)]
pub struct Exchange {
    pub(super) phase: Phase,
    /// From the client to the backend.
    pub(super) request: Flow,
    /// From the backend, or from an answer, to the client.
    pub(super) response: Flow,
    pub(super) scan: HeadScan,
    pub(super) info: RequestInfo,
    /// The current attempt, or the last attempt after it has ended.
    pub(super) attempt: Option<Attempt>,
    /// The failed attempts of this request.
    pub(super) attempts: Attempts,
    /// What the route of the request says; None without a route.
    pub(super) terms: Option<Arc<Terms>>,
    /// What the app has noted of the last request head. It is of this request if `is_noted` says so.
    pub(super) note: Option<Box<Note>>,
    /// The place in the queue, during the phase `Queue`.
    pub(super) place: Option<Place>,
    /// The client's stream has ended.
    pub(super) client_ended: bool,
    /// The time at which the first bytes of the request were there.
    pub(super) began: Instant,
    pub(super) state: ExchangeState,
    pub(super) deadline: Deadline,
    /// Bytes moved since the last step.
    pub(super) progress: bool,
    pub(super) served: u64,
}

/// The events of one request so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ExchangeState {
    /// A backend connection is attached.
    pub(super) attached: bool,
    pub(super) attach_error: Option<AttachError>,
    /// How the backend's stream ended. None while it is open.
    pub(super) backend_end: Option<End>,
    /// The backend stopped reading. Its response may still be read.
    pub(super) send_failed: bool,
    /// Interim responses (1xx) so far.
    pub(super) interims: u8,
    /// We sent a 100 in place of the backend. A later 100 of the backend is dropped.
    pub(super) continued: bool,
    /// A byte of a response arrived from the backend.
    pub(super) begun: bool,
    /// A whole head of a response, final or interim, arrived from the backend, or bytes that are no head.
    pub(super) answered: bool,
    /// The head of the final response is on its way to the client.
    pub(super) started: bool,
    /// The status of this response.
    pub(super) status: Option<u16>,
    /// There is a request, and its end was not told to the app.
    pub(super) untold: bool,
    /// The app has noted something of the request head.
    pub(super) is_noted: bool,
    /// The time at which the request entered the queue, while it waits there.
    pub(super) waits_since: Option<Instant>,
    /// The time in queues before.
    pub(super) queued: Option<Duration>,
    /// The number of attempts.
    pub(super) begun_attempts: u32,
    /// The bytes sent to the client.
    pub(super) sent_bytes: u64,
    pub(super) backend_keeps: bool,
    /// The time for which the backend keeps the connection without a request, if the backend has stated it.
    pub(super) kept_for: Option<Duration>,
    pub(super) client_keeps: bool,
    pub(super) tunnel: bool,
    /// The sides of a tunnel that were shut down for writing, by [`Side`].
    pub(super) shut: [bool; 2],
}

impl ExchangeState {
    /// Adds the time since the request entered the queue to its time in queues. Does nothing when it does not wait.
    pub(super) fn leave_queue(&mut self, now: Instant) {
        if let Some(since) = self.waits_since.take() {
            *self.queued.get_or_insert_default() += now.saturating_duration_since(since);
        }
    }
}

/// The end of the backend's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Eof,
    Broken,
}

impl Exchange {
    /// Makes an exchange for a client's next request.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Exchange {
            phase: Phase::Head,
            request: Flow::new(),
            response: Flow::new(),
            scan: HeadScan::default(),
            info: RequestInfo::UNREAD,
            attempt: None,
            attempts: Attempts::default(),
            terms: None,
            note: None,
            place: None,
            client_ended: false,
            began: now,
            state: ExchangeState::default(),
            deadline: Deadline::new(Wait::Head, Bounds { limits, deadlines: None }, now),
            progress: false,
            served: 0,
        }
    }

    /// Resets the exchange for a request of any client. The buffers are kept.
    pub fn renew(&mut self, limits: &Limits, now: Instant) {
        self.request.discard();
        self.client_ended = false;
        self.next_request(limits, now);
    }

    /// Gives back the buffers and drops the attempt. Then the exchange can be used for another client.
    pub fn retire(&mut self, buffers: &mut BufferPool) {
        self.attempt = None;
        (self.terms, self.place) = (None, None);
        for flow in [&mut self.request, &mut self.response] {
            flow.reset();
            flow.discard();
            flow.return_empty_buffer(buffers);
        }
    }

    pub(super) fn next_request(&mut self, limits: &Limits, now: Instant) {
        self.request.reset();
        self.response.reset();
        self.response.discard();
        self.phase = Phase::Head;
        self.scan = HeadScan::default();
        self.info = RequestInfo::UNREAD;
        self.attempt = None;
        self.attempts.clear();
        (self.terms, self.place) = (None, None);
        self.began = now;
        self.state = ExchangeState::default();
        self.deadline = Deadline::new(Wait::Head, Bounds { limits, deadlines: None }, now);
        self.progress = false;
    }

    /// Returns the free space for bytes from `side`. The space is never empty after a step that asked to read from
    /// `side`.
    pub fn room(&mut self, side: Side, buffers: &mut BufferPool) -> &mut [u8] {
        self.from(side).room(buffers)
    }

    /// Reports the result of reading from `side`. `Ok(0)` is the end of the stream.
    pub fn received(&mut self, side: Side, result: io::Result<usize>) {
        match (side, result) {
            (_, Ok(n)) if n > 0 => {
                self.progress = true;
                self.info.awaits_continue &= side == Side::Backend;
                self.from(side).arrived(n);
            }
            (Side::Client, Ok(_)) => self.client_ended = true,
            (Side::Client, Err(_)) => self.close(CloseReason::ClientLost),
            (Side::Backend, Ok(_)) => self.state.backend_end = Some(End::Eof),
            (Side::Backend, Err(_)) => self.state.backend_end = Some(End::Broken),
        }
    }

    /// Returns the bytes to send on `side`, for one vectored write.
    pub fn pending(&self, side: Side) -> [&[u8]; 2] {
        match side {
            Side::Client => self.response.pending(),
            Side::Backend => self.request.pending(),
        }
    }

    /// Returns the part of a file to send on `side` when no bytes are pending there.
    pub fn file(&self, side: Side) -> Option<(&File, Range<u64>)> {
        match side {
            Side::Client => self.response.file(),
            Side::Backend => None,
        }
    }

    /// True when the pending bytes of `side` are the last bytes for `side`. A close or a shutdown follows at once.
    pub fn is_last(&self, side: Side) -> bool {
        side == Side::Client
            && self.phase == Phase::Respond
            && !self.state.client_keeps
            && self.response.is_ending()
    }

    /// Reports the result of sending the pending bytes of `side`, or of sending the file when no bytes are pending.
    /// `Ok(0)` for a file means that the file is too short; then the connection is reset.
    pub fn sent(&mut self, side: Side, result: io::Result<usize>) {
        match (side, result) {
            (Side::Client, Ok(0)) if self.response.file().is_some() => self.close(CloseReason::Truncated),
            (Side::Client, Ok(n)) => {
                self.progress = true;
                self.state.sent_bytes += n as u64;
                self.response.sent(n);
            }
            (Side::Client, Err(error)) => {
                let of_file = self.response.file().is_some() && !is_of_socket(&error);
                self.close(if of_file { CloseReason::Truncated } else { CloseReason::ClientLost });
            }
            (Side::Backend, Ok(n)) => {
                self.progress = true;
                self.request.sent(n);
            }
            // A response that the backend sent earlier may still be read.
            (Side::Backend, Err(_)) => self.state.send_failed = true,
        }
    }

    /// Returns the current attempt, or the last attempt after it has ended. [`Step::Attach`](super::Step::Attach) asks
    /// for a connection to the backend of this attempt.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// Returns the time for which the backend keeps its connection without a request, if its response has stated it.
    pub fn backend_kept_for(&self) -> Option<Duration> {
        self.state.kept_for
    }

    /// Returns the kept connections that the request may use. A request with a body counts as one that may not be
    /// repeated, because the body may be too large to be kept.
    pub fn freshness(&self) -> Freshness {
        match self.info.repeatable {
            true => Freshness::Any,
            false => Freshness::Recent,
        }
    }

    /// Reports that the connection for [`Step::Attach`](super::Step::Attach) is a kept connection that was idle for
    /// `idle`. Call it before [`attached`](Exchange::attached).
    pub fn reuses(&mut self, idle: Duration) {
        self.attempt.iter_mut().for_each(|attempt| attempt.note_reuse(idle));
    }

    /// Reports that a new connection for [`Step::Attach`](super::Step::Attach) is established. Call it before
    /// [`attached`](Exchange::attached).
    pub fn connected(&mut self, now: Instant) {
        self.attempt.iter_mut().for_each(|attempt| attempt.note_connected(now));
    }

    /// True when the attempt needs a new connection. Then the engine must not use a kept connection.
    pub fn needs_new_connection(&self) -> bool {
        self.attempts.need_new_connection()
    }

    /// Reports the result of [`Step::Attach`](super::Step::Attach): a connection to the attempt's backend, or an error.
    pub fn attached(&mut self, result: Result<(), AttachError>) {
        match result {
            Ok(()) => {
                self.state.attached = true;
                self.state.backend_end = None;
                self.state.send_failed = false;
                self.phase = Phase::Relay;
            }
            Err(error) => self.state.attach_error = Some(error),
        }
    }

    /// Closes the exchange, because the client's connection was reset. Not for a client that has only ended its sending
    /// direction, because such a client may still read the response.
    pub fn client_lost(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.close(CloseReason::ClientLost);
        }
    }

    /// Returns the time at which the engine must call [`step`](Exchange::step) even without an event.
    pub fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    /// True when no byte of a request has arrived. Then the connection is idle.
    pub fn is_untouched(&self) -> bool {
        self.phase == Phase::Head && self.request.unread().is_empty()
    }

    /// Returns the number of whole responses sent since the last call.
    pub fn take_served(&mut self) -> u64 {
        std::mem::take(&mut self.served)
    }

    /// Closes the connection. Gives up a place in the queue, and abandons an attempt that has not ended.
    #[cold]
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.place = None;
        self.attempt.iter_mut().for_each(Attempt::abandon);
        self.phase = Phase::Closed(reason);
    }

    /// Tells the app that the request has ended. Does nothing when there is no request, or when it was told before.
    pub fn tell<A: App>(
        &mut self,
        end: RequestEnd,
        app: &A,
        view: &mut A::View,
        (client, link): (&Client<'_>, &dyn Link),
        now: Instant,
    ) {
        if !std::mem::take(&mut self.state.untold) {
            return;
        }
        app.finished(view, client, || {
            self.state.leave_queue(now);
            Finished {
                method: self.info.method,
                status: self.state.status,
                note: self.note.as_deref().filter(|_| self.state.is_noted),
                attempts: self.state.begun_attempts,
                queued: self.state.queued,
                received_bytes: self.request.received_bytes(),
                sent_bytes: self.state.sent_bytes,
                attempt: self.attempt.as_ref(),
                transform: if client.encrypted { link.transform() } else { None },
                began: self.began,
                ended: now,
                end,
            }
        });
    }

    fn from(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.request,
            Side::Backend => &mut self.response,
        }
    }
}

/// True when the error comes from the socket because the peer is gone. Other errors come from the file.
fn is_of_socket(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut)
}

impl RequestInfo {
    /// The properties that are assumed for a request whose head is missing or invalid.
    pub(super) const UNREAD: RequestInfo = RequestInfo {
        method: Method::Other,
        version: Version::Http11,
        keep_alive: false,
        awaits_continue: false,
        upgrade: false,
        repeatable: false,
        repeats_answers: false,
        session: Session::Unchanged,
    };

    pub(super) fn new(head: &RequestHead<'_>) -> Self {
        RequestInfo {
            method: head.method,
            version: head.version,
            keep_alive: head.keep_alive,
            awaits_continue: head.expects_continue && head.framing != Framing::None,
            upgrade: head.upgrade,
            // The framing says so before the body comes.
            repeatable: head.method.is_idempotent() && head.framing == Framing::None,
            repeats_answers: false,
            session: Session::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::tests::{GET, Rig};
    use super::*;
    use crate::app::RequestEnd::{ClientLost, Complete, CutOff, Stalled};

    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// The class of a status, an end, and a number of requests.
    type Told = (&'static str, RequestEnd, u64);

    /// Runs until the exchange waits or ends, and lets the client read everything.
    fn run(rig: &mut Rig) {
        for _ in 0..20 {
            match rig.step() {
                Step::Transfer(interest) if interest.contains(super::super::Interest::WRITE_CLIENT) => {
                    rig.sent(Side::Client);
                }
                Step::Transfer(_) | Step::Idle | Step::Close(_) | Step::Attach => return,
                _ => {}
            }
        }
    }

    #[test]
    fn each_request_is_told_once_whatever_its_end() {
        type Events = fn(&mut Rig);
        // what happens after the request was forwarded, what the app is told
        let cases: [(&str, Events, Told); 8] = [
            ("a whole response", |rig| rig.read(Side::Backend, WHOLE), ("2xx", Complete, 1)),
            (
                "the client leaves before the response",
                |rig| rig.exchange.client_lost(),
                ("none", ClientLost, 1),
            ),
            (
                "the client leaves in the response",
                |rig| {
                    rig.read(Side::Backend, HALF);
                    run(rig);
                    rig.exchange.client_lost();
                },
                ("2xx", ClientLost, 1),
            ),
            (
                "the backend breaks the response off",
                |rig| {
                    rig.read(Side::Backend, HALF);
                    run(rig);
                    rig.exchange.received(Side::Backend, Ok(0));
                },
                ("2xx", CutOff, 1),
            ),
            (
                "the backend stops in the response",
                |rig| {
                    rig.read(Side::Backend, HALF);
                    run(rig);
                    rig.pass(rig.limits().response_timeout);
                },
                ("2xx", Stalled, 1),
            ),
            (
                "no response comes in time",
                |rig| rig.pass(rig.limits().response_timeout),
                ("5xx", Complete, 1),
            ),
            ("the engine ends", Rig::end, ("none", CutOff, 1)),
            (
                "the engine ends after a whole response",
                |rig| {
                    rig.read(Side::Backend, WHOLE);
                    run(rig);
                    rig.end();
                },
                ("2xx", Complete, 1),
            ),
        ];
        for (name, events, told) in cases {
            let mut rig = Rig::relaying(1, GET);
            assert_eq!(rig.told(), [], "{name}: too early");
            events(&mut rig);
            run(&mut rig);
            run(&mut rig);
            rig.end();
            assert_eq!(rig.told(), [told], "{name}");
        }
    }

    #[test]
    fn only_a_request_is_told() {
        // bytes of the client, what the app is told after the client has left
        let cases: [(&[u8], &[Told]); 4] = [
            (b"", &[]),
            (b"GET / HT", &[]),
            (b"GET / HTTP/9.9\r\n\r\n", &[("5xx", Complete, 1)]),
            (b"GET / HTTP/1.1\r\n\r\n", &[("4xx", Complete, 1)]),
        ];
        for (bytes, told) in cases {
            let mut rig = Rig::new(1);
            if !bytes.is_empty() {
                rig.read(Side::Client, bytes);
            }
            run(&mut rig);
            rig.exchange.received(Side::Client, Ok(0));
            run(&mut rig);
            rig.end();
            assert_eq!(rig.told(), told, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn pipelined_requests_are_told_one_by_one() {
        let mut rig = Rig::new(0);
        rig.read(Side::Client, &GET.repeat(3));
        for told in 1..=3 {
            rig.step();
            rig.sent(Side::Client);
            rig.step();
            assert_eq!(rig.told(), [("5xx", Complete, told)]);
        }
    }
}
