//! Finds the route of a request.
use super::location::without_port;
use super::path;
use super::settings::{Host, Prefix, RouteSettings};

/// The routes by host and prefix. `T` is what a route leads to.
///
/// The most specific host wins: this host, then the longest `*.` name, then any host. Within the routes of this host the
/// longest prefix wins. A host that has routes of its own never gets the routes of a less specific one.
#[derive(Debug, Clone)]
pub(super) struct Routes<T> {
    /// In the order of the names.
    exact: Vec<(String, Group<T>)>,
    /// The longest name first.
    below: Vec<(String, Group<T>)>,
    any: Group<T>,
}

/// The routes of a host, the longest prefix first.
#[derive(Debug, Clone)]
struct Group<T>(Vec<Entry<T>>);

#[derive(Debug, Clone)]
struct Entry<T> {
    prefix: Prefix,
    /// Empty: all listeners.
    listeners: Vec<String>,
    leads_to: T,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Routes { exact: Vec::new(), below: Vec::new(), any: Group(Vec::new()) }
    }
}

impl<T: Clone> Routes<T> {
    /// Makes the table.
    pub(super) fn new<'a>(routes: impl IntoIterator<Item = (&'a RouteSettings, T)>) -> Self {
        let mut table = Routes::default();
        for (route, leads_to) in routes {
            let entry = || Entry {
                prefix: route.prefix.clone(),
                listeners: route.listeners.clone(),
                leads_to: leads_to.clone(),
            };
            for host in &route.hosts {
                match host {
                    Host::Exact(name) => group(&mut table.exact, name).0.push(entry()),
                    Host::Below(name) => group(&mut table.below, name).0.push(entry()),
                }
            }
            if route.hosts.is_empty() {
                table.any.0.push(entry());
            }
        }
        table.exact.sort_by(|one, other| one.0.cmp(&other.0));
        table.below.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let groups = table.exact.iter_mut().chain(&mut table.below).map(|(_, group)| group);
        for Group(entries) in groups.chain([&mut table.any]) {
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.prefix.as_str().len()));
        }
        table
    }
}

fn group<'a, T>(groups: &'a mut Vec<(String, Group<T>)>, name: &str) -> &'a mut Group<T> {
    let at = groups.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        groups.push((name.to_owned(), Group(Vec::new())));
        groups.len() - 1
    });
    &mut groups[at].1
}

impl<T> Routes<T> {
    /// Returns what the route of a request leads to; None without a route. The host may have a port.
    pub(super) fn find(&self, listener: Option<&str>, host: &str, target: &str) -> Option<&T> {
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let exact =
            self.exact.binary_search_by(|(name, _)| compare(name, host)).ok().map(|at| &self.exact[at].1);
        let below = self.below.iter().filter(|(name, _)| is_below(host, name)).map(|(_, group)| group);
        let mut groups = exact.into_iter().chain(below).chain([&self.any]);
        groups.find(|group| group.serves(listener))?.find(listener, target)
    }
}

/// Compares a name in lower case with a host, without case.
fn compare(name: &str, host: &str) -> std::cmp::Ordering {
    name.bytes().cmp(host.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// True when the host ends with a dot and this name.
fn is_below(host: &str, name: &str) -> bool {
    let at = host.len().checked_sub(name.len()).filter(|&at| at > 1);
    at.is_some_and(|at| {
        let (start, end) = host.as_bytes().split_at(at);
        start.ends_with(b".") && end.eq_ignore_ascii_case(name.as_bytes())
    })
}

impl<T> Group<T> {
    /// True when a route is for this listener.
    fn serves(&self, listener: Option<&str>) -> bool {
        self.0.iter().any(|entry| entry.serves(listener))
    }

    fn find(&self, listener: Option<&str>, target: &str) -> Option<&T> {
        let path = path::normal(target);
        let mut entries = self.0.iter().filter(|entry| path::begins_with(&path, entry.prefix.as_str()));
        entries.find(|entry| entry.serves(listener)).map(|entry| &entry.leads_to)
    }
}

impl<T> Entry<T> {
    fn serves(&self, listener: Option<&str>) -> bool {
        self.listeners.is_empty() || listener.is_some_and(|name| self.listeners.iter().any(|one| one == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(listeners: &[&str], hosts: &[&str], prefix: &str) -> RouteSettings {
        RouteSettings {
            listeners: listeners.iter().map(|&name| name.to_owned()).collect(),
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            prefix: prefix.parse().unwrap(),
            ..RouteSettings::to("a")
        }
    }

    #[test]
    fn the_most_specific_host_wins_and_then_the_longest_prefix() {
        let settings = [
            ("any", route(&[], &[], "/")),
            ("any api", route(&[], &[], "/api")),
            ("any api v1", route(&[], &[], "/api/v1")),
            ("org", route(&[], &["*.org"], "/")),
            ("example org", route(&[], &["*.example.org"], "/x")),
            ("www", route(&[], &["www.example.org", "example.org"], "/")),
            ("ip", route(&[], &["[::1]"], "/")),
        ];
        let routes = Routes::new(settings.iter().map(|(name, route)| (route, *name)));
        // host, target, route
        let cases = [
            ("a", "/", Some("any")),
            ("", "/apix", Some("any")),
            ("a", "/api", Some("any api")),
            ("a", "/api?x=/v1", Some("any api")),
            ("a", "/api/v1/x", Some("any api v1")),
            ("a", "/%61pi/./v%31", Some("any api v1")),
            ("a", "/x/../api/v2", Some("any api")),
            ("a", "/api/%2e%2e/y", Some("any")),
            ("a", "*", Some("any")),
            ("a", "?api", Some("any")),
            ("a.org", "/api", Some("org")),
            ("org", "/api", Some("any api")),
            (".org", "/api", Some("any api")),
            ("aorg", "/", Some("any")),
            ("A.ORG:80", "/", Some("org")),
            ("a.org.", "/", Some("org")),
            ("b.example.org", "/x/y", Some("example org")),
            ("b.example.org", "/y", None),
            ("WWW.example.ORG:8080", "/x", Some("www")),
            ("example.org.", "/", Some("www")),
            ("[::1]:80", "/", Some("ip")),
            ("[::1]", "/", Some("ip")),
            ("[::2]", "/", Some("any")),
        ];
        for (host, target, expected) in cases {
            assert_eq!(routes.find(None, host, target).copied(), expected, "{host} {target}");
        }
    }

    #[test]
    fn a_route_may_be_for_some_listeners() {
        let settings = [
            ("all", route(&[], &[], "/")),
            ("inside", route(&["in"], &["a"], "/")),
            ("outside", route(&["out", "other"], &["a"], "/x")),
        ];
        let routes = Routes::new(settings.iter().map(|(name, route)| (route, *name)));
        let cases = [
            (None, "/", Some("all")),
            (Some("in"), "/x", Some("inside")),
            (Some("out"), "/x", Some("outside")),
            (Some("other"), "/y", None),
            (Some("none"), "/x", Some("all")),
        ];
        for (listener, target, expected) in cases {
            assert_eq!(routes.find(listener, "a", target).copied(), expected, "{listener:?} {target}");
        }
        assert_eq!(Routes::<()>::default().find(None, "a", "/"), None);
    }
}
