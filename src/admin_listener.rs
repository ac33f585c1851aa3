//! The admin listener of the process: an engine of its own over [`Admin`].
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use neraca::admin::{Admin, ConfigurationFacts, EngineFacts, TlsFacts};
use neraca::app::{Limits, ListenerSettings};
use neraca::config::AdminSettings;
use neraca::engine::{
    self, ConcurrencyLimit, Engine, EngineHandle, EngineLimits, Listeners, Options, ReactorKind,
};
use neraca::router::Router;
use neraca::tls::HANDSHAKES;
use parking_lot::Mutex;

use crate::access_log::AccessLog;

/// Maximum connections of the admin listener.
const CONNECTIONS: usize = 100;
/// Maximum time for a head, and without a byte of a body, on the admin listener. An idle connection has six times as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process tells the admin listener, besides its engine.
pub(crate) struct Told {
    /// False during a drain.
    pub(crate) ready: Arc<AtomicBool>,
    /// The reloads of the configuration file; None without a file.
    pub(crate) configuration: Arc<Mutex<Option<ConfigurationFacts>>>,
    /// The access log; None without one.
    pub(crate) log: Option<Arc<AccessLog>>,
}

/// The admin listener before its engine runs. Its socket is bound early, so that a port in use ends the program at once.
pub(crate) struct Bound {
    listeners: Listeners,
    settings: AdminSettings,
}

impl Bound {
    /// The admin listener on its socket.
    pub(crate) fn new((settings, listeners): (&AdminSettings, Listeners)) -> Self {
        Bound { listeners, settings: settings.clone() }
    }

    /// Returns the time between the first signal to stop and the drain.
    pub(crate) fn drain_delay(&self) -> Duration {
        self.settings.drain_delay
    }

    /// Starts the engine of the admin listener. It runs until the process ends. Returns its address and its engine. `engine` is the name
    /// of the balancer's engine.
    ///
    /// # Errors
    /// When the system cannot create a poller or a thread.
    pub(crate) fn start(
        self,
        router: Arc<Router>,
        engine: &'static str,
        running: Arc<EngineHandle>,
        told: Told,
    ) -> Result<(SocketAddr, EngineHandle), String> {
        let facts = Box::new(move || EngineFacts {
            engine: engine.to_owned(),
            listeners: running.listeners(),
            workers: running.snapshots().iter().map(engine::Snapshot::named).collect(),
            is_ready: told.ready.load(Relaxed),
            configuration: told.configuration.lock().clone(),
            access_log_dropped: told.log.as_ref().map(|log| log.dropped()),
            tls: tls_facts(&running),
        });
        let admin = Admin::new(router, facts, self.settings.token, Instant::now());
        let started = engine::start(Arc::new(admin), self.listeners, options());
        let cannot = |error: io::Error| format!("cannot start the admin listener: {error}");
        let started = started.map_err(cannot)?;
        let address = started.addresses().first().copied();
        Ok((address.ok_or("the admin listener has no address")?, started))
    }
}

fn tls_facts(running: &EngineHandle) -> Option<TlsFacts> {
    let has_tls = running.listeners().iter().any(|(id, _)| running.has_transform(*id));
    let (complete, failed) = (HANDSHAKES.complete().collect(), HANDSHAKES.failed().collect());
    has_tls.then_some(TlsFacts { complete, failed })
}

/// One worker is enough for people and scrapers, and takes little from the balancer.
fn options() -> Options {
    let limits = Limits {
        head_timeout: PATIENCE,
        body_timeout: PATIENCE,
        idle_timeout: 6 * PATIENCE,
        ..Limits::default()
    };
    Options {
        engine: Engine::Async(ReactorKind::Edge),
        workers: 1,
        concurrency: ConcurrencyLimit::Unlimited,
        listener: ListenerSettings { limits, ..ListenerSettings::default() },
        engine_limits: EngineLimits { connections: CONNECTIONS, ..EngineLimits::default() },
        ..Options::default()
    }
}

/// Returns the name of an engine, for people.
pub(crate) fn name(engine: Engine) -> &'static str {
    match engine {
        Engine::Thread(_) => "thread",
        Engine::Async(_) => "async",
    }
}
