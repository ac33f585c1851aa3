//! The admin listener of the process: an engine of its own over [`Admin`].
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use neraca::admin::{Admin, EngineFacts};
use neraca::app::{Limits, ListenerSettings};
use neraca::config::AdminSettings;
use neraca::engine::{
    self, ConcurrencyLimit, Engine, EngineHandle, EngineLimits, Listeners, Options, ReactorKind,
};
use neraca::router::Router;

/// Maximum connections of the admin listener.
const CONNECTIONS: usize = 100;
/// Maximum time for a head, and without a byte of a body, on the admin listener. An idle connection has six times as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The admin listener before its engine runs. It is bound early, so that a port in use ends the program at once.
pub(crate) struct Bound {
    listeners: Listeners,
    settings: AdminSettings,
}

impl Bound {
    /// Binds the address.
    ///
    /// # Errors
    /// When the address is in use or not local.
    pub(crate) fn new(settings: &AdminSettings) -> Result<Self, String> {
        let listeners = engine::listen(&[settings.listen]).map_err(|error| error.to_string())?;
        Ok(Bound { listeners, settings: settings.clone() })
    }

    /// Returns the time between the first signal to stop and the drain.
    pub(crate) fn drain_delay(&self) -> Duration {
        self.settings.drain_delay
    }

    /// Starts the engine of the admin listener. It runs until the process ends. Returns its address. `engine` is the name
    /// of the balancer's engine, `ready` is false during a drain.
    ///
    /// # Errors
    /// When the system cannot create a poller or a thread.
    pub(crate) fn start(
        self,
        router: Arc<Router>,
        engine: &'static str,
        running: Arc<EngineHandle>,
        ready: Arc<AtomicBool>,
    ) -> Result<SocketAddr, String> {
        let facts = Box::new(move || EngineFacts {
            engine: engine.to_owned(),
            listeners: running.listeners(),
            workers: running.snapshots().iter().map(engine::Snapshot::named).collect(),
            is_ready: ready.load(Relaxed),
        });
        let admin = Admin::new(router, facts, self.settings.token, Instant::now());
        let started = engine::start(Arc::new(admin), self.listeners, options());
        let cannot = |error: io::Error| format!("cannot start the admin listener: {error}");
        let address = started.map_err(cannot)?.addresses().first().copied();
        address.ok_or_else(|| "the admin listener has no address".to_owned())
    }
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
