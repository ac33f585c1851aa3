//! What runs: the app and the engine options that a configuration stands for.
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

use super::meant::{Balance, Common, Serve};
use crate::app::ListenerSettings;
use crate::cluster::Cluster;
use crate::engine::{ConcurrencyLimit, Options};
use crate::files::{Files, FilesError};
use crate::router::Router;

impl Common {
    /// How the engine is to run. No limit on requests in flight.
    pub fn options(&self) -> Options {
        Options {
            engine: self.engine,
            workers: self.workers,
            concurrency: ConcurrencyLimit::Unlimited,
            listener: ListenerSettings { limits: self.limits.clone(), trust: Vec::new() },
            engine_limits: self.engine_limits.clone(),
            receive_bytes: self.receive_bytes.unwrap_or(usize::MAX),
        }
    }
}

impl Balance {
    /// How the engine of the balancer is to run.
    pub fn options(&self) -> Options {
        let mut options = Options { concurrency: self.concurrency, ..self.common.options() };
        options.listener.trust.clone_from(&self.trust);
        options
    }

    /// The balancer over `backends`. Random choices differ from process to process.
    pub fn router(&self, backends: &[SocketAddr]) -> Router {
        let seed = RandomState::new().hash_one("neraca");
        let cluster = Cluster::new(backends, self.policy, seed, Instant::now());
        Router::new(cluster)
    }
}

impl Serve {
    /// The file server. Reads the whole directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or holds more files than the limit.
    pub fn files(&self) -> Result<Files, FilesError> {
        Files::open(&self.root, self.limits)
    }
}
