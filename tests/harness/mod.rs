//! What the socket tests share: an engine on a port of its own, a client and a backend that speak bytes as told.
//!
//! A test is one script in one thread: it writes as the client, accepts and answers as the backend, and reads what
//! became of it. Every read waits a bounded time, so a test that would hang fails.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod certificates;
pub(crate) mod coding;
pub(crate) mod counting;
#[cfg(feature = "discovery")]
pub(crate) mod dns;
pub(crate) mod folder;
pub(crate) mod masked;
pub(crate) mod program;
pub(crate) mod scripted;
pub(crate) mod tls_backend;
pub(crate) mod wire;

use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use neraca::app::{App, Limits, ListenerSettings};
use neraca::cluster::{BackendSettings, Cluster, ClusterSettings, Policy};
use neraca::engine::{
    self, ConcurrencyLimit, Engine, EngineHandle, EngineLimits, Handshakes, Options, Pool, ReactorKind,
};
use neraca::router::Router;

use coding::Coding;
use masked::Role;
use wire::Wire;

/// Longer than anything takes on a busy machine: only a failure waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An engine in one of its variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) engine: Engine,
    /// A transform of this kind stands between each socket and its exchange, on both sides.
    pub(crate) transforms: Option<Coding>,
    pub(crate) handshakes: Handshakes,
}

pub(crate) const CROSSBEAM: Variant = Variant::of(Engine::Thread(Pool::Crossbeam { batch: 32 }));
pub(crate) const RAYON: Variant = Variant::of(Engine::Thread(Pool::Rayon { batch: 32 }));
pub(crate) const TEXTBOOK: Variant = Variant::of(Engine::Thread(Pool::Textbook));
pub(crate) const EDGE: Variant = Variant::of(Engine::Async(ReactorKind::Edge));
pub(crate) const SMOL: Variant = Variant::of(Engine::Async(ReactorKind::Smol));

pub(crate) const VARIANTS: [Variant; 5] = [CROSSBEAM, RAYON, TEXTBOOK, EDGE, SMOL];

impl Variant {
    const fn of(engine: Engine) -> Self {
        Variant { engine, transforms: None, handshakes: Handshakes::Inline }
    }

    /// The same engine with a transform on both sides.
    pub(crate) const fn with_transforms(self) -> Self {
        Variant { transforms: Some(Coding::Masked), ..self }
    }

    /// The same engine with TLS on both sides.
    pub(crate) const fn with_tls(self) -> Self {
        Variant { transforms: Some(Coding::Tls), ..self }
    }

    /// The same engine with a pool for the handshakes.
    pub(crate) const fn with_pool(self) -> Self {
        Variant { handshakes: Handshakes::Pool, ..self }
    }

    /// The textbook pool, in which a worker holds an exchange with a backend to its end.
    pub(crate) fn holds_workers(self) -> bool {
        self.engine == TEXTBOOK.engine
    }

    /// Options with limits that no test meets by accident; a test shortens those that it is about.
    pub(crate) fn options(self) -> Options {
        Options {
            engine: self.engine,
            workers: if matches!(self.engine, Engine::Thread(_)) { 4 } else { 2 },
            listener: ListenerSettings {
                limits: Limits {
                    head_timeout: PATIENCE,
                    body_timeout: PATIENCE,
                    continue_timeout: PATIENCE,
                    ..Limits::default()
                },
                ..ListenerSettings::default()
            },
            engine_limits: EngineLimits { drain: Duration::from_secs(5), ..EngineLimits::default() },
            concurrency: ConcurrencyLimit::Always(64),
            receive_bytes: usize::MAX,
            // Half of the variants share their work out at any load.
            all_awake: self.transforms.is_some(),
            handshakes: self.handshakes,
            client_transform: self.transforms.map(|coding| coding.factory(Role::Server)),
        }
    }

    /// The settings of a backend at this address.
    pub(crate) fn backend(self, address: SocketAddr) -> BackendSettings {
        let transform = self.transforms.map(Coding::of_backends);
        BackendSettings { transform, ..address.into() }
    }

    /// The arguments that choose it on the command line.
    pub(crate) fn arguments(self) -> Vec<&'static str> {
        let mut arguments = match self.engine {
            Engine::Thread(Pool::Crossbeam { .. }) => vec!["--engine", "thread"],
            Engine::Thread(Pool::Rayon { .. }) => vec!["--engine", "thread", "--pool", "rayon"],
            Engine::Thread(Pool::Textbook) => vec!["--engine", "thread", "--pool", "textbook"],
            Engine::Async(ReactorKind::Edge) => vec!["--engine", "async"],
            Engine::Async(ReactorKind::Smol) => vec!["--engine", "async", "--reactor", "smol"],
        };
        if self.handshakes == Handshakes::Pool {
            arguments.extend(["--handshakes", "pool"]);
        }
        arguments
    }
}

/// The kind of the transforms of an engine with these options.
fn coding_of(options: &Options) -> Option<Coding> {
    options.client_transform.as_ref().map(Coding::of)
}

/// A running engine. When it is dropped it must end within its drain limit, with every connection closed.
pub(crate) struct Server<A> {
    pub(crate) app: Arc<A>,
    running: Arc<EngineHandle>,
    address: SocketAddr,
    /// Its clients have a transform of this kind.
    coding: Option<Coding>,
    /// Exchanges that the test makes panic.
    pub(crate) panics: u64,
}

impl<A: App> Server<A> {
    pub(crate) fn start(app: A, options: Options) -> Self {
        let listeners = engine::listen(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
        let coding = coding_of(&options);
        let app = Arc::new(app);
        let running = Arc::new(engine::start(Arc::clone(&app), listeners, options).unwrap());
        let address = running.addresses()[0];
        Server { app, running, address, coding, panics: 0 }
    }
}

impl<A> Server<A> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new client of it.
    pub(crate) fn client(&self) -> Wire {
        self.try_client().expect("the handshake fails")
    }

    /// A new client of another of its listeners.
    pub(crate) fn client_at(&self, address: SocketAddr) -> Wire {
        self.client_over(TcpStream::connect(address).expect("nobody listens"))
    }

    /// A client of it over this connection.
    pub(crate) fn client_over(&self, stream: TcpStream) -> Wire {
        Wire::with_transform(stream, self.coder()).expect("the handshake fails")
    }

    /// A new client of it, unless it has stopped.
    pub(crate) fn try_client(&self) -> Option<Wire> {
        Wire::with_transform(TcpStream::connect(self.address).ok()?, self.coder())
    }

    fn coder(&self) -> Option<coding::Coder> {
        self.coding.map(|coding| coding.coder(Role::Client))
    }

    /// What comes back to these bytes until the connection ends.
    pub(crate) fn outcome_of(&self, request: &[u8]) -> String {
        let mut client = self.client();
        client.send(request);
        client.outcome()
    }

    /// Begins to stop; what is running goes on until the drain limit.
    pub(crate) fn stop(&self) {
        self.running.stop();
    }

    /// Returns once the engine has ended.
    pub(crate) fn wait(&self) {
        let (sender, ended) = mpsc::channel();
        let running = Arc::clone(&self.running);
        thread::spawn(move || {
            running.wait();
            let _ = sender.send(());
        });
        ended.recv_timeout(PATIENCE).expect("the engine does not end");
    }
}

impl<A> Deref for Server<A> {
    type Target = EngineHandle;

    fn deref(&self) -> &EngineHandle {
        &self.running
    }
}

impl<A> Drop for Server<A> {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            return;
        }
        self.wait();
        let stats = self.running.stats();
        assert_eq!(stats.accepted, stats.closed, "connections are left: {stats:?}");
        assert_eq!(stats.panics, self.panics);
    }
}

/// A balancer over these backends, asked in turn.
pub(crate) fn balancer(options: Options, backends: &[SocketAddr]) -> Server<Router> {
    trusting_balancer(options, backends, &[])
}

/// The same, believing clients within these networks.
pub(crate) fn trusting_balancer(
    mut options: Options,
    backends: &[SocketAddr],
    trust: &[&str],
) -> Server<Router> {
    options.listener.trust = trust.iter().map(|network| network.parse().unwrap()).collect();
    let transform = coding_of(&options).map(Coding::of_backends);
    let backend = |&address: &SocketAddr| BackendSettings { transform: transform.clone(), ..address.into() };
    let backends: Vec<_> = backends.iter().map(backend).collect();
    balancer_over(options, &backends)
}

/// A balancer over backends with these settings, asked in turn.
pub(crate) fn balancer_over(options: Options, backends: &[BackendSettings]) -> Server<Router> {
    let settings = ClusterSettings { policy: Policy::RoundRobin, ..ClusterSettings::default() };
    let cluster = Cluster::with_settings(backends, settings, 1, Instant::now());
    Server::start(Router::new(cluster), options)
}

/// Asks again and again until it holds; for what another thread will do, and nothing tells when it has.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        // The tests beside it need the CPUs.
        thread::sleep(Duration::from_millis(1));
    }
}
