//! What the admin listener is told about the engine of the balancer.
use std::net::SocketAddr;

use serde::Serialize;

use crate::app::ListenerId;

/// A running engine, as plain data.
#[derive(Debug, Clone, Default)]
pub struct EngineFacts {
    /// The name of the engine.
    pub engine: String,
    /// The listeners and their addresses.
    pub listeners: Vec<(ListenerId, SocketAddr)>,
    /// The counters of each worker: name, description, value.
    pub workers: Vec<Vec<(&'static str, &'static str, u64)>>,
    /// False during a drain.
    pub is_ready: bool,
    /// The configuration file and the certificates; None without them.
    pub configuration: Option<ConfigurationFacts>,
    /// Lines of the access log that were dropped; None without an access log.
    pub access_log_dropped: Option<u64>,
    /// The handshakes with clients; None without a listener with TLS.
    pub tls: Option<TlsFacts>,
}

/// The handshakes since the start of the process.
#[derive(Debug, Clone, Default)]
pub struct TlsFacts {
    /// The complete ones: version, `full` or `resumed`, number.
    pub complete: Vec<(&'static str, &'static str, u64)>,
    /// The failed ones: reason, number.
    pub failed: Vec<(&'static str, u64)>,
}

/// What became of the changes of the configuration file and of certificates.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConfigurationFacts {
    /// How often the file was loaded since the start.
    pub loaded: u64,
    /// How often the file was refused since the start.
    pub refused: u64,
    /// The reason, if the file was refused the last time.
    pub error: Option<String>,
}

impl EngineFacts {
    /// Returns the counters of all workers together.
    pub fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut sums = self.workers.first().cloned().unwrap_or_default();
        for worker in self.workers.iter().skip(1) {
            sums.iter_mut().zip(worker).for_each(|(sum, (.., value))| sum.2 += value);
        }
        sums
    }

    /// Returns the counter with this name, or 0.
    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.workers.iter().flatten();
        counters.filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }
}

/// Returns the facts of this moment.
pub type Facts = Box<dyn Fn() -> EngineFacts + Send + Sync>;
