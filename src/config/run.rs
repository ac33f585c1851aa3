//! Step 3: the app and the engine's options, made from the settings.
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::meant::{Balance, Common, Serve};
use super::plan::{Balancer, Listener, Site, SiteCluster};
use crate::app::ListenerSettings;
use crate::cluster::BackendSettings;
use crate::cluster::names::Name;
use crate::engine::{ConcurrencyLimit, Options, TransformFactory};
use crate::files::{Files, FilesError};
use crate::router::{ClusterPlan, RouteSettings, Router, RouterError, RouterSettings};
use crate::tls::{self, Tls};

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
            handshakes: self.handshakes,
        }
    }
}

impl Balance {
    /// Returns the balancer over `backends`: one cluster, and one route for all requests.
    pub fn balancer<B: Clone + Into<BackendSettings>>(self, backends: &[B]) -> Balancer {
        let listener = Listener {
            name: None,
            addresses: self.common.listen.clone(),
            settings: ListenerSettings {
                limits: self.common.limits.clone(),
                trust: self.trust,
                proxy_protocol: self.proxy_protocol,
                forwarded: self.forwarded,
                ..ListenerSettings::default()
            },
            tls: self.tls,
        };
        let plan = ClusterPlan {
            backends: backends.iter().cloned().map(Into::into).collect(),
            names: self.names,
            settings: self.cluster,
            checks: self.checks,
            ..ClusterPlan::default()
        };
        let cluster = SiteCluster { name: CLUSTER.to_owned(), plan, tls: self.backend_tls };
        let site = Site {
            listeners: vec![listener],
            routes: vec![RouteSettings::to(&cluster.name)],
            clusters: vec![cluster],
            error_pages: Vec::new(),
        };
        let Balance { common, concurrency, admin, resolver, .. } = self;
        Balancer { common, concurrency, admin, resolver, site }
    }
}

impl Balancer {
    /// Returns the options of the engine. All listeners of the site have settings of their own ([`Site::addresses`]); a socket
    /// beside them gets the settings of the first listener.
    pub fn options(&self) -> Options {
        let first = self.site.addresses().into_iter().next();
        let (listener, client_transform) = first.map(|(_, terms)| terms).unwrap_or_default();
        Options { concurrency: self.concurrency, listener, client_transform, ..self.common.options() }
    }

    /// Lets a running router do what this balancer does.
    ///
    /// # Errors
    /// When the router refuses the settings, or a directory of a route cannot be served. Then nothing has changed.
    pub fn apply(&self, router: &Router) -> Result<(), CannotRoute> {
        let settings = self.site.router_settings().map_err(CannotRoute::Settings)?;
        router.apply(&settings).map_err(CannotRoute::Files)
    }

    /// True when the settings that only a start can change are those of `other`.
    pub fn has_same_process(&self, other: &Balancer) -> bool {
        let of_process =
            |one: &Balancer| format!("{:?}", (&one.common, one.concurrency, &one.admin, one.resolver));
        of_process(self) == of_process(other)
    }

    /// Returns the names of backends, in any order.
    pub fn names(&self) -> Vec<Name> {
        let names = self.site.clusters.iter().flat_map(|cluster| &cluster.plan.names);
        names.map(|named| named.name.clone()).collect()
    }

    /// True when a cluster has active checks.
    pub fn has_checks(&self) -> bool {
        self.site.clusters.iter().any(|cluster| cluster.plan.checks.is_some())
    }

    /// Makes the router. Each process has another seed for random picks.
    ///
    /// # Errors
    /// When the router refuses the settings, or a directory of a route cannot be served.
    pub fn router(&self) -> Result<Router, CannotRoute> {
        let settings = self.site.router_settings().map_err(CannotRoute::Settings)?;
        let seed = RandomState::new().hash_one("neraca");
        let router = Router::with_settings(&settings, seed, Instant::now()).map_err(CannotRoute::Files)?;
        Ok(if self.admin.is_some() { router.counting() } else { router })
    }
}

/// The reason why no router can be made.
#[derive(Debug)]
pub enum CannotRoute {
    /// The router refuses the settings.
    Settings(RouterError),
    /// A directory of a route cannot be served.
    Files(FilesError),
}

impl fmt::Display for CannotRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotRoute::Settings(error) => error.fmt(f),
            CannotRoute::Files(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CannotRoute {}

impl Site {
    /// Returns the settings of the router.
    ///
    /// # Errors
    /// What the router refuses. A checked file has no such thing.
    pub fn router_settings(&self) -> Result<RouterSettings, RouterError> {
        let clusters = self.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.plan.clone()));
        RouterSettings::new(clusters.collect(), self.routes.clone(), self.error_pages.clone())
    }

    /// Returns all addresses to listen on, with the settings and the transforms of their listeners. Routes know a listener by its
    /// name.
    pub fn addresses(&self) -> Vec<(SocketAddr, ListenerTerms)> {
        let addresses = self.listeners.iter().flat_map(|listener| {
            let settings = ListenerSettings { name: listener.name.clone(), ..listener.settings.clone() };
            let terms = (settings, client_transform(listener.tls.as_ref()));
            listener.addresses.iter().map(move |address| (*address, terms.clone()))
        });
        addresses.collect()
    }

    /// Returns the files with certificates and keys.
    pub fn tls_files(&self) -> Vec<PathBuf> {
        let clients = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let backends = self.clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
        let backends = backends.flat_map(|tls| tls.settings().paths());
        clients.flat_map(|tls| tls.settings().paths()).chain(backends).map(Path::to_owned).collect()
    }

    /// Takes over TLS of each listener and each cluster that does not change. So sessions are still resumed, and the backends
    /// are the same backends.
    pub fn keep_tls_of(&mut self, current: &Site) {
        for cluster in &mut self.clusters {
            let is_same = |known: &&SiteCluster| known.name == cluster.name && known.tls == cluster.tls;
            if let Some(known) = current.clusters.iter().find(is_same) {
                keep_transforms(&mut cluster.plan, &known.plan);
            }
        }
        for listener in &mut self.listeners {
            let is_same =
                |known: &&Listener| known.addresses == listener.addresses && known.tls == listener.tls;
            if let Some(known) = current.listeners.iter().find(is_same) {
                listener.tls.clone_from(&known.tls);
            }
        }
    }
}

/// Returns what makes the transforms of clients' connections; None without TLS.
fn client_transform(tls: Option<&Tls>) -> Option<TransformFactory> {
    tls.map(|tls| tls::transforms(tls.config(), &tls::HANDSHAKES))
}

/// Takes over the transforms of the backends that stay. Their TLS is the same.
fn keep_transforms(new: &mut ClusterPlan, current: &ClusterPlan) {
    fn keep(new: &mut Option<TransformFactory>, old: Option<&Option<TransformFactory>>) {
        if let (Some(new), Some(Some(old))) = (new, old) {
            new.clone_from(old);
        }
    }
    for backend in &mut new.backends {
        let known = current.backends.iter().find(|known| known.address == backend.address);
        keep(&mut backend.transform, known.map(|known| &known.transform));
    }
    for named in &mut new.names {
        let known = current.names.iter().find(|known| known.name == named.name);
        keep(&mut named.transform, known.map(|known| &known.transform));
    }
}

/// The settings of a listener, and the transforms of its connections.
pub type ListenerTerms = (ListenerSettings, Option<TransformFactory>);

impl Serve {
    /// Makes the file server. Walks the whole directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or holds more files than the limit.
    pub fn files(&self) -> Result<Files, FilesError> {
        Files::open(&self.root, self.limits)
    }

    /// Returns the options of the engine. All listeners have the same TLS.
    pub fn options(&self) -> Options {
        Options { client_transform: client_transform(self.tls.as_ref()), ..self.common.options() }
    }
}
