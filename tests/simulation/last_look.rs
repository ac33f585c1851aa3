//! The last look at an idle connection before its close: no request is lost that arrived before the engine's stop.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use neraca::app::{App, Client, Decision, ListenerSettings, Moment};
use neraca::cluster::{Backend, Freshness};
use neraca::engine::driver::{
    Backends, Connection, Endpoint, Follows, Listener, Origin, PressureLimit, Readiness, Shared, Transport,
    Turn, WorkerState,
};
use neraca::engine::{ConcurrencyLimit, Options};
use neraca::exchange::{CloseReason, Reason};
use neraca::http::head::RequestHead;

use super::engine::pressure;

const PREFACE: &[u8] = b"PROXY UNKNOWN\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An action of other threads. It gets the bytes that have arrived.
type Meanwhile<'a> = Box<dyn FnOnce(&mut Vec<u8>) + 'a>;

/// A client in memory.
#[derive(Default)]
struct Peer<'a> {
    arrived: Vec<u8>,
    written: Vec<u8>,
    /// Happens right behind the next read that finds nothing.
    meanwhile: Option<Meanwhile<'a>>,
}

impl Peer<'_> {
    fn look(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        let n = room.len().min(self.arrived.len());
        room[..n].copy_from_slice(&self.arrived[..n]);
        if n == 0 {
            ready.remove(Readiness::READABLE);
            if let Some(meanwhile) = self.meanwhile.take() {
                meanwhile(&mut self.arrived);
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(n)
    }

    fn responses(&self) -> usize {
        self.written.windows(9).filter(|part| part == b"HTTP/1.1 ").count()
    }
}

impl Transport for Peer<'_> {
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        let n = self.look(ready, room)?;
        self.arrived.drain(..n);
        Ok(n)
    }

    fn peek(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        self.look(ready, room)
    }

    fn write(&mut self, _: &mut Readiness, slices: [&[u8]; 2], _: Follows) -> io::Result<usize> {
        self.written.extend(slices.concat());
        Ok(slices.concat().len())
    }

    fn send_file(&mut self, _: &mut Readiness, _: &File, _: Range<u64>) -> io::Result<usize> {
        unreachable!("no answer is a file")
    }

    fn established(&mut self, _: &mut Readiness) -> io::Result<bool> {
        unreachable!("the client has connected")
    }

    fn shutdown(&mut self, _: &mut Readiness) {}

    fn set_abrupt(&mut self) {}
}

/// An app without backends.
struct Refuses;

impl App for Refuses {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, _: &mut ()) {}

    fn decide(&self, _: &mut (), _: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
        Decision::Answer(Reason::NoBackend.answer())
    }
}

struct NoBackends(PressureLimit);

impl<T> Backends<T> for NoBackends {
    fn checkout(
        &self,
        _: &Backend,
        _: Freshness,
        _: &Endpoint<T>,
        _: Instant,
    ) -> Option<(Endpoint<T>, Duration)> {
        unreachable!("nothing is forwarded")
    }

    fn connect(&self, _: &Backend, _: &[u8], _: &Endpoint<T>) -> io::Result<(Endpoint<T>, bool)> {
        unreachable!("nothing is forwarded")
    }

    fn park(&self, _: Endpoint<T>, _: &Arc<Backend>, _: Option<Duration>, _: Instant) {}

    fn close(&self, _: Endpoint<T>) {}

    fn pressure(&self) -> &PressureLimit {
        &self.0
    }

    fn waker(&self, _: &Endpoint<T>) -> Waker {
        Waker::noop().clone()
    }
}

/// An engine with one client.
struct Engine<'a> {
    shared: &'a Shared<Refuses>,
    worker: WorkerState<(), Peer<'a>>,
    connection: Connection<Peer<'a>>,
}

impl<'a> Engine<'a> {
    /// Connections from `proxies` begin with a header of the PROXY protocol.
    fn new(shared: &'a Shared<Refuses>, proxies: &[IpNet]) -> Self {
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let settings = ListenerSettings { proxy_protocol: proxies.to_vec(), ..ListenerSettings::default() };
        let origin = Origin::new(at(5000), Listener::new(at(80), settings, None));
        let connection = Connection::new(Endpoint::new(Peer::default()), origin, Instant::now());
        Engine { shared, worker: WorkerState::new(()), connection }
    }

    fn peer(&mut self) -> &mut Peer<'a> {
        &mut self.connection.client().transport
    }

    /// Runs the connection. None when it goes on.
    fn run(&mut self) -> Option<CloseReason> {
        let backends = NoBackends(pressure(ConcurrencyLimit::Unlimited));
        match self.connection.run(self.shared, &backends, &mut self.worker, self.shared.counters(0)) {
            Turn::Waits(..) => None,
            Turn::Ends(reason) => Some(reason),
            Turn::Yields => panic!("a single request yields"),
        }
    }
}

#[test]
fn a_request_behind_the_header_of_a_proxy_arrives_just_before_the_stop() {
    let shared = Shared::new(Arc::new(Refuses), Options::default());
    let mut engine = Engine::new(&shared, &["192.0.2.0/24".parse().unwrap()]);
    engine.peer().meanwhile = Some(Box::new(|arrived| {
        arrived.extend([PREFACE, GET].concat());
        shared.stop();
    }));
    assert_eq!(engine.run(), None, "the request has arrived");
    assert_eq!((engine.run(), engine.peer().responses()), (Some(CloseReason::Done), 1));
}

#[test]
fn a_drain_that_was_taken_back_costs_no_later_look() {
    let shared = Shared::new(Arc::new(Refuses), Options::default());
    let mut engine = Engine::new(&shared, &[]);
    engine.peer().arrived.extend(GET);
    assert_eq!((engine.run(), engine.peer().responses()), (None, 1));
    shared.set_draining(true);
    engine.peer().meanwhile = Some(Box::new(|_| shared.set_draining(false)));
    assert_eq!(engine.run(), None, "the drain is over");
    // No event has reported the request.
    engine.peer().arrived.extend(GET);
    shared.stop();
    assert_eq!((engine.run(), engine.peer().responses()), (Some(CloseReason::Done), 2));
}
