//! The property of whole exchanges: every exchange ends, for any bytes of both sides. The forwarded messages are valid
//! and not longer than their framing.
//!
//! The message is the client's bytes, `\xfe`, the backend's bytes, `\xfe`, and a script. Each byte of the script
//! decides how many bytes move, how an attach ends, or how a side ends. The script is repeated.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::Waker;
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, ListenerId, ListenerSettings, Moment, Terms};
use neraca::cluster::{Cluster, History, Permit, Policy, Start};
use neraca::exchange::{AttachError, CloseReason, Context, Exchange, Interest, Link, Side, Step};
use neraca::http::buffer::BufferPool;
use neraca::http::chunks::{ChunkScan, Piece};
use neraca::http::framing::Framing;
use neraca::http::head::{FieldSlots, HeadError, HeadLimits, HeadScan, Method, RequestHead};
use neraca::router::Router;

use super::Input;

/// Maximum number of steps of one run. A run that moves a byte in each step takes fewer.
const STEPS_MAX: usize = 100_000;

const BUFFERS: usize = 4;
const BUFFER_BYTES: usize = 8 * 1024;

/// Limits that a rewritten head cannot exceed.
const WIDE: HeadLimits = HeadLimits { head_bytes: 256 * 1024, request_line_bytes: 64 * 1024 };

/// A router that records the method of every request.
struct Noted(Router, Mutex<Vec<Method>>);

impl App for Noted {
    type View = <Router as App>::View;

    fn view(&self) -> Self::View {
        self.0.view()
    }

    fn refresh(&self, view: &mut Self::View) {
        self.0.refresh(view);
    }

    fn decide(
        &self,
        view: &mut Self::View,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        now: &Moment,
    ) -> Decision {
        self.1.lock().unwrap().push(head.method);
        self.0.decide(view, head, client, now)
    }

    fn retry(
        &self,
        view: &mut Self::View,
        terms: Option<&Terms>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        self.0.retry(view, terms, history, permit, now)
    }
}

/// The decisions, from the bytes of the script.
struct Script<'b> {
    bytes: &'b [u8],
    next: Cell<usize>,
}

impl Script<'_> {
    fn next(&self) -> u8 {
        let at = self.next.replace(self.next.get() + 1);
        self.bytes.get(at % self.bytes.len().max(1)).copied().unwrap_or(255)
    }

    /// Returns the number of bytes that move now, at most `most`.
    fn share(&self, most: usize) -> usize {
        match self.next() {
            255 => most,
            n => most.min(usize::from(n)),
        }
    }
}

/// The bytes that a side has sent and received.
#[derive(Default)]
struct Peer<'b> {
    sends: &'b [u8],
    got: Vec<u8>,
    ended: bool,
    shut: bool,
}

impl Peer<'_> {
    fn read(&mut self, room: &mut [u8], script: &Script<'_>) -> Option<io::Result<usize>> {
        assert!(!room.is_empty(), "a read was asked for without room");
        assert!(!self.ended, "a read behind the end");
        if self.sends.is_empty() {
            self.ended = true;
            return Some(match script.next() % 4 {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                _ => Ok(0),
            });
        }
        let n = script.share(room.len().min(self.sends.len()));
        room[..n].copy_from_slice(&self.sends[..n]);
        self.sends = &self.sends[n..];
        (n > 0).then_some(Ok(n))
    }

    fn write(&mut self, pending: [&[u8]; 2], script: &Script<'_>) -> Option<io::Result<usize>> {
        let bytes = pending.concat();
        assert!(!bytes.is_empty(), "a write was asked for and nothing is pending");
        assert!(!self.shut, "a write behind the end");
        let n = script.share(bytes.len());
        self.got.extend_from_slice(&bytes[..n]);
        (n > 0).then_some(Ok(n))
    }
}

/// A connection of a client, with the attached backend connection.
struct World<'b> {
    app: Noted,
    settings: ListenerSettings,
    buffers: BufferPool,
    now: Instant,
    draining: bool,
    script: Script<'b>,
    response: &'b [u8],
    client: Peer<'b>,
    backend: Option<Peer<'b>>,
    /// The bytes that each backend connection received.
    seen: Vec<Vec<u8>>,
}

/// Checks the property.
pub fn check(bytes: &[u8]) {
    let Some(input) = Input::from_bytes(bytes) else { return };
    let mut parts = input.message.splitn(3, |&b| b == 0xfe);
    let (client, response) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let now = Instant::now();
    let addresses: Vec<SocketAddr> = (0..3).map(|n| ([127, 0, 0, 1], 9000 + n).into()).collect();
    let router = Router::new(Cluster::new(&addresses, Policy::RoundRobin, 1, now));
    let mut settings = ListenerSettings::default();
    settings.limits.head.head_bytes = BUFFER_BYTES / 2;
    let mut buffers = BufferPool::new(BUFFERS, BUFFER_BYTES);
    let taken: Vec<_> = (0..BUFFERS).map(|_| buffers.take()).collect();
    taken.into_iter().for_each(|buffer| buffers.give(buffer));
    let mut world = World {
        app: Noted(router, Mutex::default()),
        settings,
        buffers,
        now,
        draining: input.flags & 1 == 1,
        script: Script { bytes: parts.next().unwrap_or_default(), next: Cell::new(0) },
        response,
        client: Peer { sends: client, ..Peer::default() },
        backend: None,
        seen: Vec::new(),
    };
    let reason = world.run();
    assert_eq!(world.buffers.len(), BUFFERS, "a buffer was not given back");
    let in_flight = |backend: &std::sync::Arc<neraca::cluster::Backend>| backend.in_flight();
    assert!(world.app.0.cluster().members().backends().iter().map(in_flight).all(|n| n == 0));
    let tunnel = check_client(&world.client.got, &world.app.1.lock().unwrap(), reason);
    for seen in &world.seen {
        check_request(seen, tunnel);
    }
}

/// A connection that nothing wakes.
struct Alone;

impl Link for Alone {
    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }
}

impl<'b> World<'b> {
    /// Runs the requests one after the other, to the end of the connection.
    fn run(&mut self) -> CloseReason {
        let mut exchange = Exchange::new(&self.settings.limits, self.now);
        let (mut view, listener) = (self.app.view(), ListenerId::unused());
        let mut steps = 0;
        let reason = loop {
            steps += 1;
            assert!(steps < STEPS_MAX, "steps without end");
            let step = exchange.step(&mut Context {
                app: &self.app,
                view: &mut view,
                client: &Client::new(([192, 0, 2, 7], 5000).into(), listener, &self.settings),
                buffers: &mut self.buffers,
                now: Moment { instant: self.now, date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 },
                draining: self.draining,
                link: &Alone,
            });
            match step {
                Step::Transfer(interest) => {
                    if !self.transfer(&mut exchange, interest) {
                        // Time passes, usually less than a deadline.
                        let pause = Duration::from_millis(u64::from(self.script.next()));
                        let due = exchange.deadline();
                        self.now = if pause.is_zero() { due } else { due.min(self.now + pause) };
                    }
                }
                Step::Attach => {
                    let result = self.attach(&exchange);
                    exchange.attached(result);
                }
                Step::Detach(_) => self.detach(),
                Step::Shutdown(Side::Client) => self.client.shut = true,
                Step::Shutdown(Side::Backend) => self.backend.as_mut().expect("a backend").shut = true,
                Step::Idle => {
                    assert!(
                        exchange.pending(Side::Client).concat().is_empty(),
                        "idle, and bytes are pending"
                    );
                    if self.draining || self.client.ended {
                        break CloseReason::Done;
                    }
                    exchange.renew(&self.settings.limits, self.now);
                }
                Step::Close(reason) => break reason,
            }
        };
        self.detach();
        exchange.retire(&mut self.buffers);
        reason
    }

    fn transfer(&mut self, exchange: &mut Exchange, interest: Interest) -> bool {
        assert!(interest != Interest::NONE, "waits for nothing");
        let mut moved = false;
        for side in [Side::Backend, Side::Client] {
            if interest.contains(Interest::write(side)) {
                let peer = Self::peer(side, &mut self.client, &mut self.backend);
                if let Some(result) = peer.write(exchange.pending(side), &self.script) {
                    exchange.sent(side, result);
                    moved = true;
                }
            }
        }
        for side in [Side::Backend, Side::Client] {
            if interest.contains(Interest::read(side)) {
                let peer = Self::peer(side, &mut self.client, &mut self.backend);
                if let Some(result) = peer.read(exchange.room(side, &mut self.buffers), &self.script) {
                    exchange.received(side, result);
                    moved = true;
                }
            }
        }
        moved
    }

    fn peer<'s>(side: Side, client: &'s mut Peer<'b>, backend: &'s mut Option<Peer<'b>>) -> &'s mut Peer<'b> {
        match side {
            Side::Client => client,
            Side::Backend => backend.as_mut().expect("a transfer without a backend"),
        }
    }

    fn attach(&mut self, exchange: &Exchange) -> Result<(), AttachError> {
        assert!(exchange.attempt().is_some(), "an attach without an attempt");
        self.detach();
        match self.script.next() {
            0 => return Err(AttachError::Refused),
            1 => return Err(AttachError::TimedOut),
            2 => return Err(AttachError::Exhausted),
            _ => {}
        }
        self.backend = Some(Peer { sends: self.response, ..Peer::default() });
        Ok(())
    }

    fn detach(&mut self) {
        self.seen.extend(self.backend.take().map(|peer| peer.got));
    }
}

/// Checks the bytes of the client. Returns true when a tunnel was opened.
fn check_client(mut bytes: &[u8], methods: &[Method], reason: CloseReason) -> bool {
    let mut methods = methods.iter().copied();
    let mut asked = methods.next();
    while !bytes.is_empty() {
        let mut slots = FieldSlots::new();
        let method = asked.unwrap_or(Method::Other);
        let head = HeadScan::default().response(bytes, method, &WIDE, &mut slots);
        let Some(head) = head.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii())) else {
            assert!(reason != CloseReason::Done, "half a head: {}", bytes.escape_ascii());
            return false;
        };
        bytes = &bytes[head.len..];
        match head.status {
            101 => return true,
            ..200 => continue,
            _ => asked = methods.next(),
        }
        let Some(n) = body_bytes(head.framing, bytes) else {
            assert!(reason != CloseReason::Done, "a body is cut, and the connection ends in order");
            return false;
        };
        bytes = &bytes[n..];
    }
    false
}

/// Checks the bytes of a backend connection: at most one request.
fn check_request(bytes: &[u8], tunnel: bool) {
    let mut slots = FieldSlots::new();
    let head = match HeadScan::default().request(bytes, &WIDE, &mut slots) {
        Ok(Some(head)) => head,
        Ok(None) => return,
        // An HTTP/1.0 request without Host is forwarded with an empty Host.
        Err(HeadError::BadHost) if bytes.windows(10).any(|w| w == b"\r\nHost: \r\n") => return,
        // Rewriting adds fields, and the number of fields is bounded.
        Err(HeadError::TooManyFields) => return,
        Err(error) => panic!("{error}: {}", bytes.escape_ascii()),
    };
    let body = &bytes[head.len..];
    if tunnel {
        return;
    }
    if let Some(n) = body_bytes(head.framing, body) {
        assert_eq!(n, body.len(), "bytes behind a request: {}", bytes.escape_ascii());
    }
}

/// Returns the length of the body at the front of `bytes`; None when the body is truncated.
fn body_bytes(framing: Framing, bytes: &[u8]) -> Option<usize> {
    match framing {
        Framing::None => Some(0),
        Framing::UntilClose => Some(bytes.len()),
        Framing::Length(n) => usize::try_from(n).ok().filter(|n| *n <= bytes.len()),
        Framing::Chunked => {
            let (mut scan, mut at) = (ChunkScan::default(), 0);
            loop {
                let piece = scan.next(&bytes[at..]);
                match piece.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii())) {
                    Some(Piece::Framing(n) | Piece::Data(n)) => at += n,
                    Some(Piece::End(n)) => return Some(at + n),
                    None => return None,
                }
            }
        }
    }
}
