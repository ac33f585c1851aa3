//! Step 3: the app and the engine's options, made from the settings.
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

use super::meant::{Balance, Common, Serve};
use super::plan::{Balancer, ClusterPlan, Deadlines, Listener, Route, Site};
use crate::app::ListenerSettings;
use crate::cluster::{BackendSettings, CheckSettings, Cluster};
use crate::engine::{ConcurrencyLimit, Options};
use crate::files::{Files, FilesError};
use crate::router::Router;

impl Common {
    /// Returns the options of the engine, without a limit on requests in flight.
    pub fn options(&self) -> Options {
        Options {
            engine: self.engine,
            workers: self.workers,
            concurrency: ConcurrencyLimit::Unlimited,
            listener: ListenerSettings { limits: self.limits.clone(), trust: Vec::new() },
            engine_limits: self.engine_limits.clone(),
            all_awake: self.all_awake,
            receive_bytes: self.receive_bytes.unwrap_or(usize::MAX),
            client_transform: None,
            backend_transform: None,
        }
    }
}

/// The name of the only cluster of a balancer without a file.
const CLUSTER: &str = "default";

impl Balance {
    /// Returns the balancer over `backends`: one cluster, and one route for all requests.
    pub fn balancer<B: Copy + Into<BackendSettings>>(self, backends: &[B]) -> Balancer {
        let listener = Listener {
            name: None,
            addresses: self.common.listen.clone(),
            settings: ListenerSettings { limits: self.common.limits.clone(), trust: self.trust },
        };
        let cluster = ClusterPlan {
            name: CLUSTER.to_owned(),
            backends: backends.iter().map(|&backend| backend.into()).collect(),
            settings: self.cluster,
            checks: self.checks,
            deadlines: Deadlines::default(),
            backend_idle_timeout: None,
        };
        let site = Site {
            listeners: vec![listener],
            routes: vec![Route::to(&cluster.name)],
            clusters: vec![cluster],
            error_pages: Vec::new(),
        };
        Balancer { common: self.common, concurrency: self.concurrency, admin: self.admin, site }
    }
}

impl Balancer {
    /// Returns the options of the engine, with the settings of the first listener.
    pub fn options(&self) -> Options {
        let listener =
            self.site.listeners.first().map(|listener| self.settings(listener)).unwrap_or_default();
        Options { concurrency: self.concurrency, listener, ..self.common.options() }
    }

    /// Returns the addresses of the first listener.
    pub fn first_addresses(&self) -> &[SocketAddr] {
        self.site.listeners.first().map_or(&[], |listener| &listener.addresses)
    }

    /// Returns the addresses of all further listeners, with their settings.
    pub fn further_listeners(&self) -> Vec<(SocketAddr, ListenerSettings)> {
        let further = self.site.listeners.iter().skip(1);
        further.flat_map(|it| it.addresses.iter().map(|address| (*address, self.settings(it)))).collect()
    }

    /// Returns the settings of a listener, with the deadlines of the only cluster.
    fn settings(&self, listener: &Listener) -> ListenerSettings {
        let mut settings = listener.settings.clone();
        if let Some(cluster) = self.site.clusters.first() {
            settings.limits = cluster.limits(&settings.limits);
        }
        settings
    }

    /// Returns the active checks of the only cluster.
    pub fn checks(&self) -> Option<&CheckSettings> {
        self.site.clusters.first().and_then(|cluster| cluster.checks.as_ref())
    }

    /// Makes the router. Each process has another seed for random picks.
    ///
    /// # Errors
    /// When the router cannot do what the file says: it has one cluster, and sends all requests there.
    pub fn router(&self) -> Result<Router, Unsupported> {
        let Site { clusters, routes, error_pages, .. } = &self.site;
        let ([cluster], [route]) = (clusters.as_slice(), routes.as_slice()) else {
            return Err(Unsupported("more than one cluster or route"));
        };
        if *route != Route::to(&cluster.name) {
            return Err(Unsupported("a route with more than a cluster"));
        }
        if !error_pages.is_empty() {
            return Err(Unsupported("error pages"));
        }
        let seed = RandomState::new().hash_one("neraca");
        let made = Cluster::with_settings(&cluster.backends, cluster.settings.clone(), seed, Instant::now());
        let router = Router::new(made);
        Ok(if self.admin.is_some() { router.counting() } else { router })
    }
}

/// The error for a file that is good, but says what the router cannot do yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported(&'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the file is good, but {} cannot be run yet: expected one cluster and one route for all requests",
            self.0
        )
    }
}

impl std::error::Error for Unsupported {}

impl Serve {
    /// Makes the file server. Walks the whole directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or holds more files than the limit.
    pub fn files(&self) -> Result<Files, FilesError> {
        Files::open(&self.root, self.limits)
    }
}
