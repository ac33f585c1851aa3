//! The settings of a router, as plain data: clusters, routes and error pages.
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::location::Location;
use super::path;
use crate::app::{Deadlines, Page};
use crate::cluster::names::NamedBackends;
use crate::cluster::{BackendSettings, CheckSettings, ClusterSettings};
use crate::files::FilesLimits;
use crate::http::changes::FieldChanges;

/// The statuses that a redirect may have.
pub const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// What a router does: the clusters by name, the routes to them, and the error pages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterSettings {
    pub(super) clusters: BTreeMap<String, ClusterPlan>,
    pub(super) routes: Vec<RouteSettings>,
    pub(super) pages: Vec<ErrorPage>,
}

/// A cluster to make.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterPlan {
    /// The policy, the health of backends, retries, and sessions.
    pub settings: ClusterSettings,
    /// The servers that get the requests.
    pub backends: Vec<BackendSettings>,
    /// The names of more servers; see [`Router::note_answer`](super::Router::note_answer).
    pub names: Vec<NamedBackends>,
    /// The active checks; None without checks.
    pub checks: Option<CheckSettings>,
    /// The deadlines that differ from those of the listener.
    pub deadlines: Deadlines,
}

/// A rule for some requests.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// The names of the listeners ([`ListenerSettings::name`](crate::app::ListenerSettings::name)); empty: all.
    pub listeners: Vec<String>,
    /// The hosts of the requests; empty: any host.
    pub hosts: Vec<Host>,
    /// The first segments of the path.
    pub prefix: Prefix,
    /// What happens to the request.
    pub action: Action,
    /// The changes of the request that is sent on.
    pub request: FieldChanges,
    /// The changes of the response.
    pub response: FieldChanges,
    /// The deadlines that differ from those of the cluster.
    pub deadlines: Deadlines,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The cluster with this name gets the request.
    Forward(String),
    /// A file of this directory is served. The whole path of the request is the path below the directory.
    Files(PathBuf, FilesLimits),
    /// The client is sent to another place.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The place.
        location: Location,
    },
}

/// The page that replaces the body of an error answer of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorPage {
    /// The statuses that the page is for, from 400 to 599: one of them, or all of a class. A page for fewer statuses wins.
    pub statuses: RangeInclusive<u16>,
    /// The content.
    pub page: Page,
}

impl RouteSettings {
    /// Makes the route that sends all requests to a cluster.
    pub fn to(cluster: &str) -> Self {
        RouteSettings::all(Action::Forward(cluster.to_owned()))
    }

    /// Makes the route that does the same with all requests.
    pub fn all(action: Action) -> Self {
        RouteSettings {
            listeners: Vec::new(),
            hosts: Vec::new(),
            prefix: Prefix::default(),
            action,
            request: FieldChanges::default(),
            response: FieldChanges::default(),
            deadlines: Deadlines::default(),
        }
    }

    /// True when a request could belong to both routes with the same right.
    pub fn collides(&self, other: &RouteSettings) -> bool {
        fn meet<T: PartialEq>(one: &[T], other: &[T]) -> bool {
            one.iter().any(|name| other.contains(name))
        }
        let all = self.listeners.is_empty() || other.listeners.is_empty();
        let hosts = (self.hosts.is_empty() && other.hosts.is_empty()) || meet(&self.hosts, &other.hosts);
        (all || meet(&self.listeners, &other.listeners)) && hosts && self.prefix == other.prefix
    }
}

/// The reason to refuse the settings of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterError {
    /// A route is for a cluster with this name, and there is none.
    UnknownCluster(String),
    /// Two routes are for the same requests: for these hosts and this prefix.
    SameRequests(String),
    /// A redirect has another status than 301, 302, 303, 307 or 308.
    RedirectStatus(u16),
    /// An error page is for a status that is not from 400 to 599.
    PageStatus(u16),
    /// The type of an error page has control characters.
    PageType(String),
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouterError::UnknownCluster(name) => write!(f, "there is no cluster '{name}'"),
            RouterError::SameRequests(place) => write!(f, "two routes are for {place}"),
            RouterError::RedirectStatus(status) => {
                write!(f, "expected 301, 302, 303, 307 or 308 as the status of a redirect, not {status}")
            }
            RouterError::PageStatus(status) => {
                write!(f, "expected a status from 400 to 599 for an error page, not {status}")
            }
            RouterError::PageType(text) => {
                write!(f, "expected a content type such as 'text/html', not {text:?}")
            }
        }
    }
}

impl std::error::Error for RouterError {}

impl RouterSettings {
    /// Makes the settings.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn new(
        clusters: BTreeMap<String, ClusterPlan>,
        routes: Vec<RouteSettings>,
        pages: Vec<ErrorPage>,
    ) -> Result<Self, RouterError> {
        for (place, route) in routes.iter().enumerate() {
            match &route.action {
                Action::Forward(name) if !clusters.contains_key(name) => {
                    return Err(RouterError::UnknownCluster(name.clone()));
                }
                Action::Redirect { status, .. } if !REDIRECT_STATUSES.contains(status) => {
                    return Err(RouterError::RedirectStatus(*status));
                }
                Action::Forward(_) | Action::Files(..) | Action::Redirect { .. } => {}
            }
            if routes[..place].iter().any(|other| other.collides(route)) {
                let hosts: Vec<_> = route.hosts.iter().map(Host::to_string).collect();
                let hosts = if hosts.is_empty() { "any host".to_owned() } else { hosts.join(", ") };
                return Err(RouterError::SameRequests(format!("{hosts} and {}", route.prefix)));
            }
        }
        for ErrorPage { statuses, page } in &pages {
            if let Some(status) =
                [*statuses.start(), *statuses.end()].into_iter().find(|one| !(400..600).contains(one))
            {
                return Err(RouterError::PageStatus(status));
            }
            if !page.content_type.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                return Err(RouterError::PageType(page.content_type.clone()));
            }
        }
        Ok(RouterSettings { clusters, routes, pages })
    }

    /// True when one cluster gets all requests, and nothing else is said.
    pub(super) fn is_only_a_cluster(&self) -> bool {
        let RouterSettings { clusters, routes, pages } = self;
        let Some((name, plan)) = clusters.first_key_value() else { return false };
        let is_plain = plan.deadlines == Deadlines::default() && pages.is_empty();
        clusters.len() == 1 && is_plain && *routes == [RouteSettings::to(name)]
    }

    /// Makes the settings with one cluster, which gets all requests.
    pub fn one(name: &str, cluster: ClusterPlan) -> Self {
        let clusters = [(name.to_owned(), cluster)].into_iter().collect();
        RouterSettings { clusters, routes: vec![RouteSettings::to(name)], pages: Vec::new() }
    }
}

/// The hosts that a route is for, in lower case and without a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// This host.
    Exact(String),
    /// Every host that ends with a dot and this name: `*.example.org`.
    Below(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Exact(name) => f.write_str(name),
            Host::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// The error for a text that is no host of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHost;

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a host without a port, such as 'example.org' or '*.example.org'")
    }
}

impl std::error::Error for InvalidHost {}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let lower = text.to_ascii_lowercase();
        let (name, is_wildcard) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let is_address = literal.is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok());
        match (name.split('.').all(is_part), is_wildcard) {
            (true, true) => Ok(Host::Below(name.to_owned())),
            (true, false) => Ok(Host::Exact(lower)),
            (false, false) if is_address => Ok(Host::Exact(lower)),
            (false, _) => Err(InvalidHost),
        }
    }
}

/// The first segments of a path. `/api` is a prefix of `/api` and `/api/x`, and not of `/apix`. A slash at the end makes
/// no difference. The default, `/`, is a prefix of every path.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(String);

impl Prefix {
    /// Returns the normal form, without a slash at the end: the prefix of every path is empty.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// The error for a text that is no prefix of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPrefix;

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a path that begins with a / and has no blanks, '?', '#', '*' or empty segments")
    }
}

impl std::error::Error for InvalidPrefix {}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let is_path = text.starts_with('/')
            && !text.contains("//")
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*".contains(&byte));
        match is_path {
            true => Ok(Prefix(path::normal(text).trim_end_matches('/').to_owned())),
            false => Err(InvalidPrefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(cluster: &str, prefix: &str, hosts: &[&str]) -> RouteSettings {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        RouteSettings { hosts, prefix: prefix.parse().unwrap(), ..RouteSettings::to(cluster) }
    }

    fn made(routes: Vec<RouteSettings>, pages: Vec<ErrorPage>) -> Result<RouterSettings, RouterError> {
        let clusters = ["a", "b"].map(|name| (name.to_owned(), ClusterPlan::default()));
        RouterSettings::new(clusters.into_iter().collect(), routes, pages)
    }

    #[test]
    fn routes_that_cannot_work_are_refused() {
        let same = |place: &str| Err(RouterError::SameRequests(place.to_owned()));
        let on = |name: &str, route| RouteSettings { listeners: vec![name.to_owned()], ..route };
        let redirect = |status| Action::Redirect { status, location: "/".parse().unwrap() };
        let cases = [
            (vec![to("a", "/", &[]), to("b", "/b", &[])], Ok(())),
            (vec![to("c", "/", &[])], Err(RouterError::UnknownCluster("c".to_owned()))),
            (vec![to("a", "/b/", &[]), to("b", "/%62", &[])], same("any host and /b")),
            (vec![to("a", "/", &["x", "y"]), to("b", "/", &["Y"])], same("y and /")),
            (vec![to("a", "/", &["x.y"]), to("b", "/", &["*.y"])], Ok(())),
            (vec![to("a", "/", &["x"]), to("b", "/", &[])], Ok(())),
            (vec![on("l", to("a", "/", &[])), on("m", to("b", "/", &[]))], Ok(())),
            (vec![on("l", to("a", "/", &[])), to("b", "/", &[])], same("any host and /")),
            (vec![RouteSettings::all(redirect(308))], Ok(())),
            (vec![RouteSettings::all(redirect(200))], Err(RouterError::RedirectStatus(200))),
        ];
        for (routes, expected) in cases {
            assert_eq!(made(routes.clone(), Vec::new()).map(|_| ()), expected, "{routes:?}");
        }
    }

    #[test]
    fn pages_are_for_errors() {
        let page = |statuses, content_type: &str| ErrorPage {
            statuses,
            page: Page { content_type: content_type.to_owned(), body: Vec::new().into() },
        };
        let cases = [
            (page(400..=499, "text/html"), Ok(())),
            (page(599..=599, "text/html; charset=utf-8"), Ok(())),
            (page(200..=200, "text/html"), Err(RouterError::PageStatus(200))),
            (page(500..=600, "text/html"), Err(RouterError::PageStatus(600))),
            (page(500..=500, "a\r\nb: c"), Err(RouterError::PageType("a\r\nb: c".to_owned()))),
        ];
        for (page, expected) in cases {
            assert_eq!(made(Vec::new(), vec![page.clone()]).map(|_| ()), expected, "{page:?}");
        }
    }

    #[test]
    fn hosts_and_prefixes_have_a_form() {
        let cases = [
            ("example.org", Some("example.org")),
            ("*.Example.ORG", Some("*.example.org")),
            ("[::1]", Some("[::1]")),
            ("a_b-c", Some("a_b-c")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("", None),
            ("*", None),
            ("*.", None),
            ("a.*.b", None),
            ("a:80", None),
            ("*.[::1]", None),
            ("[a]", None),
            ("a..b", None),
            ("a b", None),
        ];
        for (text, host) in cases {
            assert_eq!(text.parse::<Host>().ok().map(|host| host.to_string()).as_deref(), host, "{text:?}");
        }
        let cases = [
            ("/", Some("/")),
            ("/api", Some("/api")),
            ("/api/", Some("/api")),
            ("/a/../b", Some("/b")),
            ("/%7ea%2f", Some("/~a%2F")),
            ("", None),
            ("api", None),
            ("//a", None),
            ("/a?b", None),
            ("/a b", None),
            ("/a*", None),
            ("/\u{e4}", None),
        ];
        for (text, prefix) in cases {
            assert_eq!(text.parse::<Prefix>().ok().map(|it| it.to_string()).as_deref(), prefix, "{text:?}");
        }
    }
}
