//! The routes of a file.
use super::super::meant;
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tree::{Entry, Table, Value};
use super::{deadlines, fields};
use crate::app::Deadlines;
use crate::files::FilesLimits;
use crate::router::{Action, Host, Location, Prefix, REDIRECT_STATUSES, RouteSettings};

/// The keys that say what happens to a request. A route has exactly one of them.
const ACTIONS: [&str; 3] = ["cluster", "files", "redirect"];

/// A route with the places that later checks need.
struct Read<'a> {
    route: RouteSettings,
    table: &'a Table,
}

/// Reads all routes, in the order of the file.
pub(super) fn read(reading: &mut Reading<'_>, file: &Table) -> Vec<RouteSettings> {
    let tables = file.values("routes").iter().filter_map(Value::table);
    let mut routes: Vec<Read<'_>> = Vec::new();
    for table in tables {
        let Some(route) = route(reading, file, table) else { continue };
        if let Some(other) = routes.iter().find(|other| other.route.collides(&route)) {
            let title = format!("two routes are for {}", shown(&route));
            let at = place(table);
            let problem = Problem::new(at, title, "expected another host, path or listener");
            reading.problems.push(problem.also(place(other.table), "the first route"));
        }
        routes.push(Read { route, table });
    }
    unused_clusters(reading, file);
    routes.into_iter().map(|read| read.route).collect()
}

/// Returns the place in a route that says which requests the route is for.
fn place(route: &Table) -> Span {
    let entry = route.get("path").or_else(|| route.get("hosts"));
    entry.map_or(route.span.clone(), |entry| entry.value.span.clone())
}

fn shown(route: &RouteSettings) -> String {
    match route.hosts.as_slice() {
        [] => format!("any host and the path `{}`", route.prefix),
        [host] => format!("the host `{host}` and the path `{}`", route.prefix),
        hosts => {
            let hosts: Vec<_> = hosts.iter().map(|host| format!("`{host}`")).collect();
            format!("the hosts {} and the path `{}`", hosts.join(", "), route.prefix)
        }
    }
}

/// Reads a route; None when what it is for or what it does is wrong.
fn route(reading: &mut Reading<'_>, file: &Table, table: &Table) -> Option<RouteSettings> {
    let hosts = hosts(reading, table);
    let prefix = prefix(reading, table);
    let listeners = listeners(reading, file, table);
    let action = action(reading, file, table);
    let request = fields::changes(reading, table, "request");
    let response = fields::changes(reading, table, "response");
    let deadlines = deadlines(reading, table);
    let (hosts, listeners) = (hosts?, listeners?);
    let (prefix, action) = (prefix?, action?);
    Some(RouteSettings { listeners, hosts, prefix, action, request, response, deadlines })
}

fn hosts(reading: &mut Reading<'_>, route: &Table) -> Option<Vec<Host>> {
    let mut hosts = Vec::new();
    for value in route.values("hosts") {
        let text = value.text()?;
        match text.parse().ok() {
            Some(host) if hosts.contains(&host) => {
                reading.wrong(&value.span, format!("the host `{text}` is given twice"), "");
            }
            Some(host) => hosts.push(host),
            None => {
                let expected = "expected a host without a port, such as \"example.org\" or \"*.example.org\"";
                reading.wrong(&value.span, format!("invalid value `{text}` for `hosts`"), expected);
                return None;
            }
        }
    }
    (!route.mentions("hosts") || !hosts.is_empty()).then_some(hosts)
}

fn prefix(reading: &mut Reading<'_>, route: &Table) -> Option<Prefix> {
    let Some((text, span)) = route.text("path") else {
        return (!route.mentions("path")).then(Prefix::default);
    };
    let prefix = text.parse::<Prefix>();
    if let Err(error) = &prefix {
        reading.wrong(span, format!("invalid value `{text}` for `path`"), error.to_string());
    }
    prefix.ok()
}

fn listeners(reading: &mut Reading<'_>, file: &Table, route: &Table) -> Option<Vec<String>> {
    let tables = file.values("listeners").iter().filter_map(Value::table);
    let known: Vec<&str> = tables.filter_map(|table| table.text("name")).map(|(name, _)| name).collect();
    let mut names = Vec::new();
    for value in route.values("listeners") {
        let name = value.text()?;
        if !known.contains(&name) {
            reading.unknown("listener", name, &value.span, &known);
            return None;
        }
        names.push(name.to_owned());
    }
    (!route.mentions("listeners") || !names.is_empty()).then_some(names)
}

fn action(reading: &mut Reading<'_>, file: &Table, route: &Table) -> Option<Action> {
    let mut said = ACTIONS.into_iter().filter(|key| route.mentions(key));
    let Some(first) = said.next() else {
        let expected = "expected exactly one of `cluster`, `files` and `redirect`";
        reading.wrong(&route.span, "the route says not what happens to its requests", expected);
        return None;
    };
    if let Some(second) = said.next() {
        let mut entries: Vec<&Entry> = [first, second].into_iter().filter_map(|key| route.get(key)).collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        if let [one, other] = entries.as_slice() {
            let title = format!("`{}` cannot be used with `{}`", other.key, one.key);
            let expected = "expected exactly one of `cluster`, `files` and `redirect`";
            let problem = Problem::new(other.key_span.clone(), title, expected);
            reading.problems.push(problem.also(one.key_span.clone(), "given here"));
        }
        return None;
    }
    if let (Some(status), false) = (route.get("status"), first == "redirect") {
        reading.wrong(&status.key_span, "`status` needs `redirect`", "expected the key `redirect` too");
    }
    let (text, span) = route.text(first)?;
    match first {
        "cluster" => cluster(reading, file, text, span),
        "files" => files(reading, text, span),
        _ => redirect(reading, route, text, span),
    }
}

fn cluster(reading: &mut Reading<'_>, file: &Table, name: &str, span: &Span) -> Option<Action> {
    match file.table("clusters") {
        Some(clusters) if clusters.mentions(name) => Some(Action::Forward(name.to_owned())),
        None if file.mentions("clusters") => None,
        clusters => {
            let entries = clusters.map_or(&[][..], |clusters| &clusters.entries);
            let known: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            reading.unknown("cluster", name, span, &known);
            None
        }
    }
}

fn files(reading: &mut Reading<'_>, text: &str, span: &Span) -> Option<Action> {
    let path = reading.folder.join(text);
    if !path.is_dir() {
        reading.wrong(span, format!("invalid value `{text}` for `files`"), "expected an existing directory");
        return None;
    }
    Some(Action::Files(path, FilesLimits::default()))
}

fn redirect(reading: &mut Reading<'_>, route: &Table, to: &str, span: &Span) -> Option<Action> {
    let location = to.parse::<Location>();
    if let Err(error) = &location {
        reading.wrong(span, format!("invalid value `{to}` for `redirect`"), error.to_string());
    }
    let status = route.number("status").unwrap_or(308);
    let known = REDIRECT_STATUSES.into_iter().find(|known| u64::from(*known) == status);
    if let (None, Some(entry)) = (known, route.get("status")) {
        let title = format!("invalid value `{status}` for `status`");
        reading.wrong(&entry.value.span, title, "expected 301, 302, 303, 307 or 308");
    }
    Some(Action::Redirect { status: known?, location: location.ok()? })
}

fn deadlines(reading: &mut Reading<'_>, route: &Table) -> Deadlines {
    let given = reading.given(&["routes"], route);
    let checked = reading.checked(given, route, |written| {
        meant::limits(&written.common.limits, Some(&written.backend_limits))
    });
    checked.map(|limits| deadlines::of(route, &limits)).unwrap_or_default()
}

/// Notes the clusters that no route uses.
fn unused_clusters(reading: &mut Reading<'_>, file: &Table) {
    let routes: Vec<&Table> = file.values("routes").iter().filter_map(Value::table).collect();
    let is_used = |name: &str| {
        routes.iter().any(|route| route.text("cluster").is_some_and(|(cluster, _)| cluster == name))
    };
    let entries = file.table("clusters").map_or(&[][..], |clusters| &clusters.entries);
    for Entry { key, key_span, .. } in entries.iter().filter(|entry| !is_used(&entry.key)) {
        let title = format!("no route uses the cluster `{key}`");
        reading.problems.push(Problem::warning(key_span.clone(), title, ""));
    }
}
