//! Plays the engine over an exchange: the same loop as the engines', with time that only this advances.
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::task::Waker;
use std::time::{Duration, Instant};

use neraca::app::{App, Client as Who, ListenerId, ListenerSettings, Moment};
use neraca::cluster::{Cluster, Policy};
use neraca::exchange::{AttachError, CloseReason, Context, Exchange, Interest, Keep, Side, Step};
use neraca::http::buffer::BufferPool;
use neraca::router::Router;

use super::peers::{Act, Backends, Client, Conn, Job, Seen};
use super::wire::{End, Pace, Socket};

/// Most steps in a row that move no byte: detach, attach and shut down are such, and each comes a few times.
const STILL_STEPS_MAX: usize = 24;

/// Most waits of one run, each of which ends by a byte, an end or a deadline.
const WAITS_MAX: usize = 400_000;

/// BufferPool buffers at the start; an exchange uses two at most.
const SPARE_BUFFERS: usize = 4;

/// What is to happen in a run.
#[derive(Debug, Clone)]
pub struct Plot {
    pub program: Vec<Act>,
    pub jobs: Vec<Job>,
    /// What comes of each attempt to connect; all further ones succeed.
    pub connects: Vec<Option<AttachError>>,
    /// Which of the reused connections die when they are used, and how; the others live.
    pub deaths: Vec<Option<End>>,
    pub backends: u16,
    pub buffer_bytes: usize,
    /// The process is stopping from that many heads on.
    pub draining: bool,
    /// The app puts answers off: then nothing but the time is waited for.
    pub puts_off: bool,
}

impl Plot {
    pub fn new(program: Vec<Act>, jobs: Vec<Job>) -> Self {
        Plot {
            program,
            jobs,
            connects: Vec::new(),
            deaths: Vec::new(),
            backends: 3,
            buffer_bytes: 64 * 1024,
            draining: false,
            puts_off: false,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// All that the client got.
    pub received: Vec<u8>,
    pub reason: CloseReason,
    pub seen: Vec<Seen>,
    pub connects: usize,
    pub elapsed: Duration,
    /// How many responses were counted.
    pub served: u64,
}

struct World<A: App> {
    app: A,
    view: A::View,
    settings: ListenerSettings,
    listener: ListenerId,
    buffers: BufferPool,
    start: Instant,
    now: Instant,
    pace: Pace,
    client: Client,
    backends: Backends,
    backend: Option<Conn>,
    parked: Vec<Conn>,
    connects: VecDeque<Option<AttachError>>,
    deaths: VecDeque<Option<End>>,
    connected: usize,
    draining: bool,
    puts_off: bool,
    served: u64,
    /// The last bytes for the client were taken, which may be held back until the end that was promised.
    said_all: bool,
}

const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 5000);

/// Runs a plot over a balancer to the end of the client's connection.
pub fn run(plot: &Plot, pace: Pace) -> Run {
    let start = Instant::now();
    let addresses: Vec<SocketAddr> = (0..plot.backends).map(|n| ([127, 0, 0, 1], 9000 + n).into()).collect();
    let app = Router::new(Cluster::new(&addresses, Policy::RoundRobin, 1, start));
    let (run, app) = run_app(app, start, plot, pace);
    for backend in app.cluster().members().backends() {
        assert_eq!(backend.in_flight(), 0, "a lease was not given back");
    }
    run
}

/// Runs a plot over any app.
pub fn run_app<A: App>(app: A, start: Instant, plot: &Plot, pace: Pace) -> (Run, A) {
    let mut settings = ListenerSettings::default();
    settings.limits.head.head_bytes = settings.limits.head.head_bytes.min(plot.buffer_bytes / 2);
    let mut buffers = BufferPool::new(SPARE_BUFFERS, plot.buffer_bytes);
    let made: Vec<_> = (0..SPARE_BUFFERS).map(|_| buffers.take()).collect();
    made.into_iter().for_each(|buffer| buffers.give(buffer));
    let mut world = World {
        view: app.view(),
        app,
        settings,
        listener: ListenerId::unused(),
        buffers,
        start,
        now: start,
        pace,
        client: Client::new(plot.program.clone(), plot.jobs.iter().map(|job| job.method == "HEAD").collect()),
        backends: Backends { jobs: plot.jobs.clone(), seen: Vec::new() },
        backend: None,
        parked: Vec::new(),
        connects: plot.connects.clone().into(),
        deaths: plot.deaths.clone().into(),
        connected: 0,
        draining: plot.draining,
        puts_off: plot.puts_off,
        served: 0,
        said_all: false,
    };
    let reason = world.connection();
    assert!(world.backend.is_none(), "closed with a backend attached");
    assert_eq!(world.buffers.len(), SPARE_BUFFERS, "a buffer was not given back");
    let run = Run {
        received: world.client.socket.written,
        reason,
        seen: world.backends.seen,
        connects: world.connected,
        elapsed: world.now - world.start,
        served: world.served,
    };
    (run, world.app)
}

impl<A: App> World<A> {
    fn connection(&mut self) -> CloseReason {
        let mut kept: Option<Exchange> = None;
        loop {
            let idle_until = self.now + self.settings.limits.idle_timeout;
            while !self.client.socket.is_readable() {
                assert_eq!(self.buffers.len(), SPARE_BUFFERS, "an idle connection owns a buffer");
                if self.draining || self.now >= idle_until {
                    return CloseReason::TimedOut;
                }
                self.wait(Interest::NONE, idle_until);
            }
            let mut exchange = match kept.take() {
                Some(mut exchange) => {
                    exchange.renew(&self.settings.limits, self.now);
                    exchange
                }
                None => Exchange::new(&self.settings.limits, self.now),
            };
            let reason = self.exchange(&mut exchange);
            exchange.retire(&mut self.buffers);
            kept = Some(exchange);
            if let Some(reason) = reason {
                return reason;
            }
        }
    }

    /// Runs until the connection is idle (None) or to be closed.
    fn exchange(&mut self, exchange: &mut Exchange) -> Option<CloseReason> {
        let (mut still, mut waits) = (0, 0);
        loop {
            let step = exchange.step(&mut Context {
                app: &self.app,
                view: &mut self.view,
                client: &Who::new(CLIENT, self.listener, &self.settings),
                buffers: &mut self.buffers,
                now: Moment { instant: self.now, date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 },
                draining: self.draining,
                waker: &|| Waker::noop().clone(),
            });
            self.served += exchange.take_served();
            let ends = matches!(step, Step::Shutdown(Side::Client) | Step::Close(CloseReason::Done));
            let held_back = std::mem::take(&mut self.said_all);
            assert!(ends || !held_back, "{step:?} behind the last bytes");
            still += 1;
            assert!(still < STILL_STEPS_MAX, "steps without end, at last {step:?}");
            if !matches!(step, Step::Close(_)) {
                assert!(exchange.deadline() > self.now, "{step:?} with a deadline that has passed");
            }
            match step {
                Step::Transfer(interest) => {
                    assert!(self.puts_off || interest != Interest::NONE, "waits for nothing");
                    assert!(self.backend.is_some() || !interest.concerns(Side::Backend), "{interest:?}");
                    if self.transfer(exchange, interest) {
                        still = 0;
                    } else if exchange.is_untouched() {
                        return None;
                    } else {
                        self.wait(interest, exchange.deadline());
                        still = 0;
                        waits += 1;
                        assert!(waits < WAITS_MAX, "waits without end for {interest:?}");
                    }
                }
                Step::Attach => {
                    let result = self.attach(exchange);
                    exchange.attached(result);
                }
                Step::Detach(keep) => {
                    let conn = self.backend.take().expect("a backend to detach");
                    if keep == Keep::Park {
                        let backend = exchange.attempt().expect("an attempt that has ended").backend();
                        assert_eq!(backend.id(), conn.backend);
                        assert!(!conn.socket.shut, "parked behind an end");
                        self.parked.push(conn);
                    }
                }
                Step::Shutdown(Side::Client) => self.client.socket.shut = true,
                Step::Shutdown(Side::Backend) => self.backend.as_mut().expect("a backend").socket.shut = true,
                Step::Idle => {
                    assert!(
                        exchange.pending(Side::Client).concat().is_empty(),
                        "idle, and something is pending"
                    );
                    return None;
                }
                Step::Close(reason) => {
                    let left = exchange.pending(Side::Client).concat();
                    assert!(reason != CloseReason::Done || left.is_empty(), "done, and {left:?} is pending");
                    return Some(reason);
                }
            }
        }
    }

    /// As the engines do it: writes first, the backend first.
    fn transfer(&mut self, exchange: &mut Exchange, interest: Interest) -> bool {
        let mut moved = false;
        let mut conn = self.backend.as_mut();
        for side in [Side::Backend, Side::Client] {
            if interest.contains(Interest::write(side)) {
                let socket = Self::socket(side, &mut self.client, &mut conn);
                let (pending, last) = (exchange.pending(side), exchange.is_last(side));
                let most = pending.concat().len();
                let result = match exchange.file(side) {
                    Some((file, range)) if most == 0 => {
                        let mut part = vec![0; (range.end - range.start) as usize];
                        let n = file.read_at(&mut part, range.start).expect("a file that can be read");
                        if n == 0 { Ok(0) } else { socket.write([&part[..n], &[]], &mut self.pace) }
                    }
                    _ => socket.write(pending, &mut self.pace),
                };
                self.said_all |= last && result.as_ref().is_ok_and(|n| *n == most);
                moved |= note(result, |result| exchange.sent(side, result));
            }
        }
        for side in [Side::Backend, Side::Client] {
            if interest.contains(Interest::read(side)) {
                let socket = Self::socket(side, &mut self.client, &mut conn);
                let result = socket.read(exchange.room(side, &mut self.buffers), &mut self.pace);
                moved |= note(result, |result| exchange.received(side, result));
            }
        }
        moved
    }

    fn socket<'s>(side: Side, client: &'s mut Client, conn: &'s mut Option<&mut Conn>) -> &'s mut Socket {
        match side {
            Side::Client => &mut client.socket,
            Side::Backend => &mut conn.as_mut().expect("a backend").socket,
        }
    }

    fn attach(&mut self, exchange: &Exchange) -> Result<(), AttachError> {
        assert!(self.backend.is_none(), "attached twice");
        let backend = exchange.attempt().expect("an attempt").backend();
        let (id, fresh) = (backend.id(), exchange.needs_new_connection());
        assert_eq!(backend.in_flight(), 1);
        self.parked.retain(|conn| !conn.socket.is_readable());
        if let Some(at) = self.parked.iter().rposition(|conn| conn.backend == id).filter(|_| !fresh) {
            let mut conn = self.parked.remove(at);
            conn.dies = self.deaths.pop_front().flatten();
            self.backend = Some(conn);
            return Ok(());
        }
        match self.connects.pop_front().flatten() {
            None => {
                self.connected += 1;
                self.backend = Some(Conn::new(id));
                Ok(())
            }
            Some(AttachError::TimedOut) => {
                self.now = self.now.max(exchange.deadline());
                Err(AttachError::TimedOut)
            }
            Some(error) => Err(error),
        }
    }

    /// Lets the peers do something; when they do not, it is a deadline that comes next.
    fn wait(&mut self, interest: Interest, deadline: Instant) {
        // A transfer that chance put off comes about without anybody's doing.
        let mut changed = false;
        for (side, socket) in [
            (Side::Client, Some(&self.client.socket)),
            (Side::Backend, self.backend.as_ref().map(|c| &c.socket)),
        ] {
            let Some(socket) = socket else { continue };
            changed |= interest.contains(Interest::read(side)) && socket.is_readable();
            changed |= interest.contains(Interest::write(side)) && socket.window > 0;
        }
        changed |= self.client.act(&mut self.pace, self.now);
        for conn in self.backend.iter_mut().chain(&mut self.parked) {
            changed |= conn.act(&mut self.backends, &mut self.pace);
        }
        if !changed {
            let pause = self.client.paused_until().unwrap_or(deadline);
            self.now = deadline.min(pause.max(self.now));
        }
    }
}

/// What the system says goes to the exchange, except that nothing can be done now.
fn note(result: io::Result<usize>, tell: impl FnOnce(io::Result<usize>)) -> bool {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        result => {
            tell(result);
            true
        }
    }
}
