//! The machine of one request and its response: facts in, one step out.
//!
//! An engine tells an [`Exchange`] what happened (bytes arrived, bytes left, a backend is attached, time passed) and
//! asks what next. Every transition is in `transitions.rs`. It does no I/O and reads no clock, and it never returns an error:
//! bad input becomes an answer and a close. It does not know which engine runs it.

mod deadline;
mod flow;
mod step;
mod transitions;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::task::Waker;
use std::time::Instant;

use crate::app::{App, Client, Moment};
use crate::cluster::{Attempt, Attempts};
use crate::http::buffer::BufferPool;
use crate::http::framing::Framing;
use crate::http::head::{HeadScan, Method, RequestHead, Version};

use deadline::{Deadline, Wait};
use flow::Flow;

pub use crate::app::Limits;
pub use step::{AttachError, CloseReason, Interest, Keep, Side, Step};

/// What a worker lends an exchange for the length of a call.
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
    /// The process is stopping: connections are not kept.
    pub draining: bool,
    /// Makes a waker that runs the connection again. Called only when an attach has to wait in a queue.
    pub waker: &'a dyn Fn() -> Waker,
}

impl<'a, A: App> Context<'a, A> {
    /// The limits of this exchange.
    pub fn limits(&self) -> &'a Limits {
        &self.client.settings.limits
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The request head is being read.
    Head,
    /// A connection to the attempt's backend is wanted.
    Attach,
    /// Request and response are under way between client and backend.
    Relay,
    /// Our own answer is ready, and put off.
    Delay,
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
    phase: Phase,
    /// From the client to the backend.
    request: Flow,
    /// From the backend, or from an answer, to the client.
    response: Flow,
    scan: HeadScan,
    ask: Ask,
    /// The current attempt, or the last one when it has ended.
    attempt: Option<Attempt>,
    /// The failed attempts of this request.
    attempts: Attempts,
    /// No more bytes will come from the client.
    client_ended: bool,
    facts: Facts,
    deadline: Deadline,
    /// Bytes moved since the last step.
    progress: bool,
    served: u64,
}

/// What has happened to one request so far.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    /// A backend connection is at work for us.
    attached: bool,
    attach_error: Option<AttachError>,
    /// How the backend's stream ended, once it did.
    backend_end: Option<End>,
    /// The backend stopped listening; what it said before may still be read.
    send_failed: bool,
    interims: u8,
    /// We said 100 in place of the backend, whose own is then not passed on.
    continued: bool,
    /// Some byte of a response arrived from the backend.
    answered: bool,
    /// The final response head is on its way to the client.
    started: bool,
    backend_keeps: bool,
    client_keeps: bool,
    tunnel: bool,
    /// Which sides were told that no more bytes will come, in a tunnel.
    shut: [bool; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Eof,
    Broken,
}

impl Exchange {
    /// An exchange for a client's next request.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Exchange {
            phase: Phase::Head,
            request: Flow::new(),
            response: Flow::new(),
            scan: HeadScan::default(),
            ask: Ask::UNREAD,
            attempt: None,
            attempts: Attempts::default(),
            client_ended: false,
            facts: Facts::default(),
            deadline: Deadline::new(Wait::Head, limits, now),
            progress: false,
            served: 0,
        }
    }

    /// The same exchange for a request of (another) client, as if new; its buffers are kept.
    pub fn renew(&mut self, limits: &Limits, now: Instant) {
        self.request.discard();
        self.client_ended = false;
        self.next_request(limits, now);
    }

    /// Gives back what it borrowed; afterwards it may be kept for another client.
    pub fn retire(&mut self, buffers: &mut BufferPool) {
        self.attempt = None;
        for flow in [&mut self.request, &mut self.response] {
            flow.reset();
            flow.discard();
            flow.settle(buffers);
        }
    }

    fn next_request(&mut self, limits: &Limits, now: Instant) {
        self.request.reset();
        self.response.reset();
        self.response.discard();
        self.phase = Phase::Head;
        self.scan = HeadScan::default();
        self.ask = Ask::UNREAD;
        self.attempt = None;
        self.attempts.clear();
        self.facts = Facts::default();
        self.deadline = Deadline::new(Wait::Head, limits, now);
        self.progress = false;
    }

    /// Where bytes from `side` are to be read into; never empty when a step asked for them.
    pub fn room(&mut self, side: Side, buffers: &mut BufferPool) -> &mut [u8] {
        self.from(side).room(buffers)
    }

    /// `result` of reading from `side`; `Ok(0)` is the end of its stream.
    pub fn received(&mut self, side: Side, result: io::Result<usize>) {
        match (side, result) {
            (_, Ok(n)) if n > 0 => {
                self.progress = true;
                self.ask.awaits_continue &= side == Side::Backend;
                self.from(side).arrived(n);
            }
            (Side::Client, Ok(_)) => self.client_ended = true,
            (Side::Client, Err(_)) => self.close(CloseReason::ClientLost),
            (Side::Backend, Ok(_)) => self.facts.backend_end = Some(End::Eof),
            (Side::Backend, Err(_)) => self.facts.backend_end = Some(End::Broken),
        }
    }

    /// The bytes that are to leave on `side`: one vectored write.
    pub fn pending(&self, side: Side) -> [&[u8]; 2] {
        match side {
            Side::Client => self.response.pending(),
            Side::Backend => self.request.pending(),
        }
    }

    /// What of a file is to leave on `side` once nothing is pending there.
    pub fn file(&self, side: Side) -> Option<(&File, Range<u64>)> {
        match side {
            Side::Client => self.response.file(),
            Side::Backend => None,
        }
    }

    /// What is pending on `side` is the last that leaves there: a close, or a shutdown of that side, follows at once.
    pub fn is_last(&self, side: Side) -> bool {
        side == Side::Client
            && self.phase == Phase::Respond
            && !self.facts.client_keeps
            && self.response.is_ending()
    }

    /// `result` of writing what was pending on `side`, or else a part of the file. A file that is shorter than
    /// announced, of which nothing is left to write, breaks the connection.
    pub fn sent(&mut self, side: Side, result: io::Result<usize>) {
        match (side, result) {
            (Side::Client, Ok(0)) if self.response.file().is_some() => self.close(CloseReason::Truncated),
            (Side::Client, Ok(n)) => {
                self.progress = true;
                self.response.left(n);
            }
            (Side::Client, Err(error)) => {
                let of_file = self.response.file().is_some() && !is_of_socket(&error);
                self.close(if of_file { CloseReason::Truncated } else { CloseReason::ClientLost });
            }
            (Side::Backend, Ok(n)) => {
                self.progress = true;
                self.request.left(n);
            }
            // What the backend said before it stopped listening may still be read.
            (Side::Backend, Err(_)) => self.facts.send_failed = true,
        }
    }

    /// The current attempt, whose backend a connection is wanted to; or the last one when it has ended.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// True when the attempt needs a new connection, not a kept one.
    pub fn needs_new_connection(&self) -> bool {
        self.attempts.need_new_connection()
    }

    /// A connection to the attempt's backend is there, or could not be had.
    pub fn attached(&mut self, result: Result<(), AttachError>) {
        match result {
            Ok(()) => {
                self.facts.attached = true;
                self.facts.backend_end = None;
                self.facts.send_failed = false;
                self.phase = Phase::Relay;
            }
            Err(error) => self.facts.attach_error = Some(error),
        }
    }

    /// The client's connection was reset: nobody waits for a response any more. Not for a client that has only ended its
    /// direction, which may still read.
    pub fn client_lost(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.close(CloseReason::ClientLost);
        }
    }

    /// When `step` is to be called even if nothing happens.
    pub fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    /// No byte of a request has arrived: the connection is as good as idle.
    pub fn is_untouched(&self) -> bool {
        self.phase == Phase::Head && self.request.unread().is_empty()
    }

    /// How many responses have left whole since the last call.
    pub fn take_served(&mut self) -> u64 {
        std::mem::take(&mut self.served)
    }

    fn from(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.request,
            Side::Backend => &mut self.response,
        }
    }
}

/// The peer is gone, where it could also be that a file cannot be read.
fn is_of_socket(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut)
}

impl Ask {
    /// What is taken for granted of a request that was not read, or could not be.
    const UNREAD: Ask = Ask {
        method: Method::Other,
        version: Version::Http11,
        keep_alive: false,
        awaits_continue: false,
        upgrade: false,
    };

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
