//! What a balancer serves, as plain data: listeners, clusters, routes and error pages. Routes and pages are those of the router.
use std::net::SocketAddr;

use super::meant::Common;
use super::operate::AdminSettings;
use crate::app::ListenerSettings;
use crate::engine::ConcurrencyLimit;
use crate::router::{ClusterPlan, ErrorPage, RouteSettings};
use crate::tls::{BackendTls, Tls};

/// A balancer to run.
#[derive(Debug)]
pub struct Balancer {
    /// The engine and the limits of the process.
    pub common: Common,
    /// The limit on requests in flight.
    pub concurrency: ConcurrencyLimit,
    /// The admin listener; None without one.
    pub admin: Option<AdminSettings>,
    /// The DNS server for the names of backends; None: those of the system.
    pub resolver: Option<SocketAddr>,
    /// What it serves.
    pub site: Site,
}

/// What a balancer serves.
#[derive(Debug, Clone)]
pub struct Site {
    /// At least one.
    pub listeners: Vec<Listener>,
    /// The clusters, with different names.
    pub clusters: Vec<SiteCluster>,
    /// At least one. No two routes are for the same requests.
    pub routes: Vec<RouteSettings>,
    /// The bodies of our own error responses.
    pub error_pages: Vec<ErrorPage>,
}

/// Addresses with the same settings.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The name that routes use; None without one.
    pub name: Option<String>,
    /// The addresses to listen on; at least one. Port 0 is a free port.
    pub addresses: Vec<SocketAddr>,
    /// The limits and the trusted proxies.
    pub settings: ListenerSettings,
    /// TLS, with its certificates; None without TLS.
    pub tls: Option<Tls>,
}

/// A cluster of a site.
#[derive(Debug, Clone)]
pub struct SiteCluster {
    /// The name of the cluster, for routes, metrics and logs.
    pub name: String,
    /// What the router makes of it.
    pub plan: ClusterPlan,
    /// TLS of the backends that have a transform; None when there are none.
    pub tls: Option<BackendTls>,
}
