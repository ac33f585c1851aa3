//! Step 3: the app and the engine's options, made from the settings.
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use super::meant::{Balance, Common, Serve};
use crate::app::ListenerSettings;
use crate::cluster::BackendSettings;
use crate::engine::{ConcurrencyLimit, Options};
use crate::files::{Files, FilesError};
use crate::router::{ClusterPlan, Router, RouterSettings};

/// The name of the only cluster of a balancer without a file.
const CLUSTER: &str = "default";

impl Common {
    /// Returns the options of the engine, without a limit on requests in flight.
    pub fn options(&self) -> Options {
        Options {
            engine: self.engine,
            workers: self.workers,
            concurrency: ConcurrencyLimit::Unlimited,
            listener: ListenerSettings { limits: self.limits.clone(), ..ListenerSettings::default() },
            engine_limits: self.engine_limits.clone(),
            all_awake: self.all_awake,
            receive_bytes: self.receive_bytes.unwrap_or(usize::MAX),
            client_transform: None,
            backend_transform: None,
        }
    }
}

impl Balance {
    /// Returns the options of the balancer's engine.
    pub fn options(&self) -> Options {
        let mut options = Options { concurrency: self.concurrency, ..self.common.options() };
        options.listener.trust.clone_from(&self.trust);
        options.listener.proxy_protocol.clone_from(&self.proxy_protocol);
        options.listener.forwarded = self.forwarded;
        options
    }

    /// Makes the balancer over `backends`: one cluster, which gets all requests. Each process has another seed for random
    /// picks.
    ///
    /// # Errors
    /// When a directory of a route cannot be served. There is none.
    pub fn router<B: Copy + Into<BackendSettings>>(&self, backends: &[B]) -> Result<Router, FilesError> {
        let backends: Vec<BackendSettings> = backends.iter().map(|&backend| backend.into()).collect();
        let seed = RandomState::new().hash_one("neraca");
        let (settings, checks) = (self.cluster.clone(), self.checks.clone());
        let plan = ClusterPlan { settings, backends, checks, ..ClusterPlan::default() };
        let router = Router::with_settings(&RouterSettings::one(CLUSTER, plan), seed, Instant::now())?;
        Ok(if self.admin.is_some() { router.counting() } else { router })
    }
}

impl Serve {
    /// Makes the file server. Walks the whole directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or holds more files than the limit.
    pub fn files(&self) -> Result<Files, FilesError> {
        Files::open(&self.root, self.limits)
    }
}
