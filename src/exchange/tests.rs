//! A test rig for the unit tests of the decisions: an exchange over a balancer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::state::{Context, Exchange, Link};
use super::step::{Side, Step};
use crate::app::{App, Client, Limits, ListenerId, ListenerSettings, Moment, RequestEnd};
use crate::cluster::{Backend, BackendSettings, Cluster, ClusterSettings, Policy, RetrySettings};
use crate::http::buffer::BufferPool;
use crate::router::{Router, RouterView};

pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

pub(super) struct Rig {
    pub(super) exchange: Exchange,
    app: Arc<Router>,
    view: RouterView,
    settings: ListenerSettings,
    buffers: BufferPool,
    now: Moment,
    wakes: Arc<Wakes>,
    /// True during a drain of the engine.
    pub(super) draining: bool,
}

/// Counts how often its waker was called.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Link for Arc<Wakes> {
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Rig {
    /// Makes an exchange over a cluster of this number of backends, with the policy round-robin.
    pub(super) fn new(backends: u16) -> Self {
        let start = Instant::now();
        let addresses: Vec<_> = (0..backends).map(|n| ([127, 0, 0, 1], 9000 + n).into()).collect();
        let cluster = Cluster::new(&addresses, Policy::RoundRobin, 1, start);
        Rig::over(Arc::new(Router::new(cluster).counting()), start)
    }

    /// Makes an exchange over this balancer.
    pub(super) fn over(app: Arc<Router>, start: Instant) -> Self {
        let settings = ListenerSettings::default();
        Rig {
            exchange: Exchange::new(&settings.limits, start),
            view: app.view(),
            app,
            settings,
            buffers: BufferPool::new(4, 64 * 1024),
            now: Moment { instant: start, date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 },
            wakes: Arc::default(),
            draining: false,
        }
    }

    /// Makes an exchange whose whole request was sent to a backend.
    pub(super) fn relaying(backends: u16, request: &[u8]) -> Self {
        Rig::new(backends).relay(request)
    }

    /// Makes the same, in a cluster with this setting: requests are repeated after an answer of a failed backend.
    pub(super) fn repeating(answers: bool, backends: u16, request: &[u8]) -> Self {
        let start = Instant::now();
        let addresses = (0..backends).map(|n| SocketAddr::from(([127, 0, 0, 1], 9000 + n)));
        let members: Vec<BackendSettings> = addresses.map(Into::into).collect();
        let retries = RetrySettings { answers, ..RetrySettings::default() };
        let settings = ClusterSettings { policy: Policy::RoundRobin, retries, ..ClusterSettings::default() };
        let cluster = Cluster::with_settings(&members, settings, 1, start);
        Rig::over(Arc::new(Router::new(cluster)), start).relay(request)
    }

    fn relay(mut self, request: &[u8]) -> Self {
        let rig = &mut self;
        rig.read(Side::Client, request);
        assert_eq!(rig.step(), Step::Attach);
        rig.exchange.attached(Ok(()));
        rig.step();
        assert!(rig.sent(Side::Backend).contains(" / HTTP/1.1\r\n"));
        rig.step();
        self
    }

    pub(super) fn step(&mut self) -> Step {
        let step = self.exchange.step(&mut Context {
            app: &*self.app,
            view: &mut self.view,
            client: &Client::new(([192, 0, 2, 1], 5000).into(), ListenerId::unused(), &self.settings),
            buffers: &mut self.buffers,
            now: self.now,
            draining: self.draining,
            link: &self.wakes,
        });
        if step == Step::Idle {
            self.exchange.renew(&self.settings.limits, self.now.instant);
        }
        step
    }

    /// Lets these bytes arrive from `side`.
    pub(super) fn read(&mut self, side: Side, bytes: &[u8]) {
        self.exchange.room(side, &mut self.buffers)[..bytes.len()].copy_from_slice(bytes);
        self.exchange.received(side, Ok(bytes.len()));
    }

    /// Sends and returns all pending bytes of `side`.
    pub(super) fn sent(&mut self, side: Side) -> String {
        let bytes = self.exchange.pending(side).concat();
        self.exchange.sent(side, Ok(bytes.len()));
        String::from_utf8(bytes).unwrap()
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
    }

    pub(super) fn now(&self) -> Instant {
        self.now.instant
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Returns the ends of requests that the app was told, with the class of each status.
    pub(super) fn told(&self) -> Vec<(&'static str, RequestEnd, u64)> {
        let traffic = self.app.traffic().expect("the router counts");
        traffic.total().counts().collect()
    }

    /// Ends the connection in the middle, as an engine does that stops.
    pub(super) fn end(&mut self) {
        let client = Client::new(([192, 0, 2, 1], 5000).into(), ListenerId::unused(), &self.settings);
        self.exchange.tell(
            RequestEnd::CutOff,
            &*self.app,
            &mut self.view,
            (&client, &self.wakes),
            self.now.instant,
        );
    }

    /// Returns how often the exchange was woken.
    pub(super) fn wakes(&self) -> usize {
        self.wakes.0.load(Relaxed)
    }

    /// Returns the number of requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.app.cluster().waiting()
    }

    pub(super) fn backends(&self) -> Vec<Arc<Backend>> {
        self.app.cluster().members().backends().to_vec()
    }
}
