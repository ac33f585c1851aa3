//! What a balancer serves, as plain data: listeners, clusters, routes and error pages.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::meant::Common;
use super::operate::AdminSettings;
use crate::app::{Deadlines, ListenerSettings};
use crate::cluster::names::NamedBackends;
use crate::cluster::{BackendSettings, CheckSettings, ClusterSettings};
use crate::engine::{ConcurrencyLimit, Handshakes};
use crate::router::Host;
use crate::tls::{BackendTls, Tls};

/// A balancer to run.
#[derive(Debug)]
pub struct Balancer {
    /// The engine and the limits of the process.
    pub common: Common,
    /// The limit on requests in flight.
    pub concurrency: ConcurrencyLimit,
    /// Where the handshakes of clients are computed.
    pub handshakes: Handshakes,
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
    pub clusters: Vec<ClusterPlan>,
    /// At least one. No two routes are for the same requests.
    pub routes: Vec<Route>,
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

/// A cluster to make.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The name of the cluster, for routes, metrics and logs.
    pub name: String,
    /// The servers that get the requests.
    pub backends: Vec<BackendSettings>,
    /// The names of more servers.
    pub names: Vec<NamedBackends>,
    /// The policy, the health of backends, and retries.
    pub settings: ClusterSettings,
    /// The deadlines that differ from those of the listener.
    pub deadlines: Deadlines,
    /// Maximum time to keep a backend connection without a request; None: that of the listener.
    pub backend_idle_timeout: Option<Duration>,
    /// The active checks; None without checks.
    pub checks: Option<CheckSettings>,
    /// TLS of the backends that have a transform; None when there are none.
    pub tls: Option<BackendTls>,
}

/// What happens to some requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The names of the listeners; empty: all listeners.
    pub listeners: Vec<String>,
    /// The hosts of the requests; empty: any host.
    pub hosts: Vec<Host>,
    /// The first segments of the path: `/`, or a path without a `/` at its end.
    pub path: String,
    /// What happens to the request.
    pub action: Action,
    /// The changes of the fields of the request.
    pub request_fields: FieldChanges,
    /// The changes of the fields of the response.
    pub response_fields: FieldChanges,
    /// The deadlines that differ from those of the cluster.
    pub deadlines: Deadlines,
}

impl Route {
    /// Makes the route that sends all requests to a cluster.
    pub fn to(cluster: &str) -> Self {
        Route {
            listeners: Vec::new(),
            hosts: Vec::new(),
            path: "/".to_owned(),
            action: Action::Forward(cluster.to_owned()),
            request_fields: FieldChanges::default(),
            response_fields: FieldChanges::default(),
            deadlines: Deadlines::default(),
        }
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The cluster with this name gets the request.
    Forward(String),
    /// A file of this directory is served.
    Files(PathBuf),
    /// The client is sent to another place.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The URL; `{host}` and `{target}` stand for those of the request.
        to: String,
    },
}

/// Changes of header fields. Removals come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// The names of the fields to remove, in lower case.
    pub remove: Vec<String>,
    /// The fields to set, in place of fields with the same name.
    pub set: Vec<(String, String)>,
}

/// The page that replaces the body of an error response of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// The statuses that the page is for: one of them, or all of a class.
    pub statuses: std::ops::RangeInclusive<u16>,
    /// The file of the page.
    pub path: PathBuf,
    /// The content of the page.
    pub body: Vec<u8>,
}
