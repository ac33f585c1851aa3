//! Clients, an engine and backends in one run, with time that only the world advances.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neraca::app::{App, Limits, ListenerSettings};
use neraca::cluster::{AttemptCounts, Backend, BackendSettings, Cap, Cluster, ClusterSettings, Policy};
use neraca::engine::driver::Load;
use neraca::engine::{ConcurrencyLimit, Engine as Kind, EngineLimits, Handshakes, Options, Pool, Snapshot};
use neraca::exchange::{AttachError, CloseReason, Side};
use neraca::router::Router;

use super::chance::Pace;
use super::coding::Coding;
use super::engine::{Engine, pressure};
use super::peers::{Act, Client, Conn, Job, Jobs, Seen};
use super::ports::{Fortune, Ports};
use super::trace::{Census, Trace};
use super::wire::{Connect, End};

/// Most rounds of the world in one run.
const ROUNDS_MAX: usize = 2_000_000;

/// Something that happens at a time, whatever the peers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client connects.
    Connect(usize),
    /// The process begins to stop.
    Drain,
    /// The drain limit has passed: what still runs is broken off.
    EndAll,
    /// The cluster gets these members, by port.
    Replace(Vec<u16>),
    /// A worker reads this load.
    Load(Load),
}

/// What is to happen in a run.
#[derive(Debug, Clone)]
pub struct Plot {
    /// The acts of each client.
    pub programs: Vec<Vec<Act>>,
    pub jobs: Vec<Job>,
    /// Times since the start, in order.
    pub events: Vec<(Duration, Event)>,
    /// The results of the attempts to connect. Later attempts succeed.
    pub connects: Vec<Option<AttachError>>,
    /// How the kept connections die when they are used again. None: the connection lives.
    pub deaths: Vec<Option<End>>,
    pub backends: u16,
    pub policy: Policy,
    pub workers: usize,
    pub limit: ConcurrencyLimit,
    /// Maximum requests in flight at each backend, and maximum requests that wait for them. None: unlimited.
    pub capacity: Option<(u32, usize)>,
    pub queue_timeout: Duration,
    /// Most connections kept to each backend.
    pub kept: usize,
    pub buffer_bytes: usize,
    /// The process is stopping from the start.
    pub draining: bool,
    /// The app delays answers: a connection may then wait for a deadline only.
    pub delays: bool,
    /// Time goes on now and then while bytes are under way.
    pub time_flows: bool,
    /// A transform of this kind stands between each connection and its exchange.
    pub transforms: Option<Coding>,
}

impl Plot {
    /// One client.
    pub fn new(program: Vec<Act>, jobs: Vec<Job>) -> Self {
        Plot {
            programs: vec![program],
            jobs,
            events: vec![(Duration::ZERO, Event::Connect(0))],
            connects: Vec::new(),
            deaths: Vec::new(),
            backends: 3,
            policy: Policy::RoundRobin,
            workers: 1,
            limit: ConcurrencyLimit::Unlimited,
            capacity: None,
            queue_timeout: Limits::default().queue_timeout,
            kept: 1024,
            buffer_bytes: 64 * 1024,
            draining: false,
            delays: false,
            time_flows: false,
            transforms: None,
        }
    }

    fn heads(&self, client: usize) -> Vec<bool> {
        self.jobs.iter().filter(|job| job.client == client).map(|job| job.method == "HEAD").collect()
    }

    fn options(&self) -> Options {
        let mut limits = Limits { queue_timeout: self.queue_timeout, ..Limits::default() };
        limits.head.head_bytes = limits.head.head_bytes.min(self.buffer_bytes / 2);
        Options {
            handshakes: Handshakes::Inline,
            engine: Kind::Thread(Pool::Crossbeam { batch: 1 }),
            workers: self.workers,
            concurrency: self.limit,
            listener: ListenerSettings { limits, ..ListenerSettings::default() },
            engine_limits: EngineLimits::default(),
            receive_bytes: usize::MAX,
            all_awake: false,
            client_transform: None,
        }
    }
}

/// What one client got.
#[derive(Debug)]
pub struct Got {
    pub received: Vec<u8>,
    /// Which of its requests are HEAD.
    pub heads: Vec<bool>,
    /// Why its connection was closed. None: it never connected.
    pub reason: Option<CloseReason>,
    /// An attempt for one of its requests met a failed connect or a dead connection.
    pub disturbed: bool,
    /// The end marker came before the end. None: the connection has no transform.
    pub marked: Option<bool>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    pub clients: Vec<Got>,
    pub seen: Vec<Seen>,
    pub elapsed: Duration,
    pub counters: Snapshot,
    /// The attempts at all backends there ever were.
    pub attempts: Vec<AttemptCounts>,
    /// The hash of all events.
    pub trace: u64,
    pub census: Census,
}

impl Run {
    /// All bytes that the only client got.
    pub fn received(&self) -> &[u8] {
        &self.clients[0].received
    }

    /// Why the only client's connection was closed.
    pub fn reason(&self) -> CloseReason {
        self.clients[0].reason.expect("a closed connection")
    }
}

/// The members of the cluster as the world knows them.
#[derive(Debug, Default)]
struct Roll {
    all: Vec<Arc<Backend>>,
    /// Removed backends, with the attempts that had begun.
    removed: Vec<(Arc<Backend>, u64)>,
}

struct World<A: App> {
    plot: Plot,
    pace: Pace,
    trace: Trace,
    start: Instant,
    now: Instant,
    engine: Engine<A>,
    clients: Vec<Option<Client>>,
    jobs: Jobs,
    /// Events that have happened.
    happened: usize,
    replace: fn(&A, &[BackendSettings], &mut Roll),
    roll: Roll,
}

fn members(plot: &Plot, ports: impl IntoIterator<Item = u16>) -> Vec<BackendSettings> {
    let cap = plot.capacity.map(|(cap, _)| cap);
    addresses(ports)
        .into_iter()
        .map(|address| BackendSettings { cap: cap.map(Cap::Fixed), ..address.into() })
        .collect()
}

fn addresses(ports: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
    ports.into_iter().map(|port| ([127, 0, 0, 1], 9000 + port).into()).collect()
}

/// Runs a plot over a balancer until all connections are closed.
pub fn run(plot: &Plot, pace: Pace) -> Run {
    let start = Instant::now();
    let settings = ClusterSettings {
        policy: plot.policy.clone(),
        waiting_max: plot.capacity.map_or(0, |(_, waiting)| waiting),
        ..ClusterSettings::default()
    };
    let cluster = Cluster::with_settings(&members(plot, 0..plot.backends), settings, 1, start);
    let mut world = World::new(Arc::new(Router::new(cluster)), start, plot, pace);
    world.replace = replace;
    let app = Arc::clone(&world.engine.app);
    world.engine.in_queue = Some(Box::new(move || app.cluster().waiting()));
    world.engine.cap = plot.capacity.map(|(cap, _)| cap);
    world.roll.all.extend(world.engine.app.cluster().members().backends().iter().cloned());
    world.live();
    world.roll.check();
    assert_eq!(world.engine.app.cluster().waiting(), 0, "waiters at the end");
    assert!(world.roll.all.iter().all(|backend| backend.slots_taken() == 0), "slots at the end");
    world.end().0
}

/// Runs a plot over any app.
pub fn run_app<A: App>(app: A, start: Instant, plot: &Plot, pace: Pace) -> (Run, Arc<A>) {
    let mut world = World::new(Arc::new(app), start, plot, pace);
    world.live();
    world.end()
}

/// Gives the cluster other members.
fn replace(app: &Router, to: &[BackendSettings], roll: &mut Roll) {
    let before = app.cluster().members();
    app.cluster().replace(to);
    let after = app.cluster().members();
    for backend in before.backends() {
        if backend.is_removed() {
            roll.removed.push((Arc::clone(backend), backend.counts().started));
        }
    }
    for backend in after.backends() {
        if !roll.all.iter().any(|known| known.id() == backend.id()) {
            roll.all.push(Arc::clone(backend));
        }
    }
}

impl Roll {
    /// Checks what holds when no request is left.
    fn check(&self) {
        for backend in &self.all {
            let counts = backend.counts();
            assert_eq!(backend.in_flight(), 0, "a request is counted in flight");
            assert_eq!(counts.started, counts.ended(), "an attempt is not reported, or reported twice");
        }
        for (backend, started) in &self.removed {
            assert_eq!(backend.counts().started, *started, "a removed backend got a new request");
        }
    }
}

impl<A: App> World<A> {
    fn new(app: Arc<A>, start: Instant, plot: &Plot, pace: Pace) -> Self {
        let trace = Trace::new();
        let fortune = Fortune {
            connects: plot.connects.clone().into(),
            deaths: plot.deaths.clone().into(),
            pace: pace.clone(),
            transforms: plot.transforms,
        };
        let ports = Ports::new(&trace, pressure(plot.limit), plot.kept, fortune, start);
        let mut engine = Engine::new(app, ports, plot.options(), plot.buffer_bytes, start);
        engine.delays = plot.delays;
        if plot.draining {
            engine.drain();
        }
        World {
            clients: plot.programs.iter().map(|_| None).collect(),
            jobs: Jobs { jobs: plot.jobs.clone(), seen: Vec::new() },
            plot: plot.clone(),
            pace,
            trace,
            start,
            now: start,
            engine,
            happened: 0,
            replace: |_, _, _| {},
            roll: Roll::default(),
        }
    }

    fn live(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.happen();
            if self.happened == self.plot.events.len() && self.engine.is_empty() {
                return;
            }
            let mut busy = self.engine.poll(&mut self.pace, self.now);
            busy |= self.engine.run(&mut self.pace, self.now);
            self.engine.check_queue(&self.roll.all);
            if self.engine.is_idle() {
                self.engine.check_buffers();
            }
            let at_random = matches!(self.pace, Pace::Chance(_));
            if !busy || (at_random && self.pace.happens(50)) {
                busy |= self.act();
            }
            if !busy {
                self.wait();
            } else if self.plot.time_flows && self.pace.happens(1) {
                self.advance(self.now + Duration::from_millis(1));
            }
        }
        panic!("the run does not end");
    }

    /// Lets every peer act, and bytes arrive. True when something is under way.
    fn act(&mut self) -> bool {
        let World { engine, jobs, clients, pace, now, .. } = self;
        let mut changed = false;
        for client in clients.iter_mut().flatten() {
            changed |= client.act(pace, *now);
            changed |= client.wire.socket().deliver(pace);
        }
        let mut conns = engine.ports.conns.borrow_mut();
        for conn in conns.iter_mut() {
            changed |= conn.act(jobs, pace, *now);
            changed |= conn.wire.socket().deliver(pace);
        }
        conns.retain(|conn| conn.wire.socket().closed.is_none());
        changed
    }

    /// The events whose time has come.
    fn happen(&mut self) {
        while let Some((at, event)) = self.plot.events.get(self.happened) {
            // Chance delays an event, so that a worker may have woken up at this instant before it.
            if self.now < self.start + *at || !self.pace.happens(30) {
                return;
            }
            self.happened += 1;
            match event {
                Event::Connect(client) => {
                    let wire = self.engine.ports.open(Side::Client, None, Connect::Done);
                    let heads = self.plot.heads(*client);
                    self.clients[*client] =
                        Some(Client::new(wire.clone(), &self.plot.programs[*client], heads));
                    self.trace.note("world", "client", wire.socket().fd, *client);
                    self.engine.accept(&wire, *client, self.now);
                }
                Event::Drain => {
                    self.trace.note("world", "drain", 0, 0);
                    self.engine.drain();
                }
                Event::EndAll => {
                    self.trace.note("world", "end all", 0, 0);
                    self.engine.end_all();
                }
                Event::Load(load) => {
                    self.trace.note("world", "load", load.ready as usize, load.waited as usize);
                    self.engine.note_load(*load);
                }
                Event::Replace(ports) => {
                    self.trace.note("world", "replace", 0, ports.len());
                    self.engine.swept = false;
                    (self.replace)(
                        &self.engine.app,
                        &members(&self.plot, ports.iter().copied()),
                        &mut self.roll,
                    );
                }
            }
        }
    }

    /// Nothing is under way: goes on to the next time at which something happens.
    fn wait(&mut self) {
        let conns = self.engine.ports.conns.borrow();
        let pauses = conns.iter().filter_map(Conn::acts_at);
        let clients = self.clients.iter().flatten().filter_map(Client::paused_until);
        let event = self.plot.events.get(self.happened).map(|(at, _)| self.start + *at);
        let next = pauses.chain(clients).chain(event).chain(self.engine.next_deadline(self.now)).min();
        drop(conns);
        let next = next.expect("a request is stranded: nothing will ever happen");
        self.advance(next.max(self.now));
    }

    fn advance(&mut self, to: Instant) {
        self.now = to;
        self.trace.set_time(self.now - self.start);
        self.engine.sweep(self.now);
    }

    /// The end of the process, and the checks that need it.
    fn end(self) -> (Run, Arc<A>) {
        let World { engine, plot, clients, jobs, trace, now, start, roll, .. } = self;
        engine.check_buffers();
        engine.ports.close_parked();
        for wire in engine.ports.wires() {
            assert!(wire.socket().closed.is_some(), "descriptor {} is left open", wire.socket().fd);
        }
        let counters = engine.counters();
        assert_eq!(counters.accepted, counters.closed, "accepted and closed connections");
        let disturbed = engine.ports.disturbed.take();
        let got = clients.into_iter().enumerate().map(|(n, client)| Got {
            marked: client.as_ref().and_then(|client| client.wire.socket().is_marked()),
            received: client
                .map_or_else(Vec::new, |client| std::mem::take(&mut client.wire.socket().written)),
            heads: plot.heads(n),
            reason: engine.ended.iter().find(|(client, _)| *client == n).map(|(_, reason)| *reason),
            disturbed: disturbed.contains(&n),
        });
        let run = Run {
            clients: got.collect(),
            seen: jobs.seen,
            elapsed: now - start,
            counters,
            attempts: roll.all.iter().map(|backend| backend.counts()).collect(),
            trace: trace.hash(),
            census: trace.census(),
        };
        (run, engine.app)
    }
}
