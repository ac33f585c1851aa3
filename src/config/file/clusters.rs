//! The clusters of a file.
use super::super::plan::SiteCluster;
use super::super::value::{self, Scheme, WrittenBackend};
use super::super::{balancing, meant};
use super::deadlines;
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tls;
use super::tree::{Data, Entry, Table, Value};
use crate::cluster::names::NamedBackends;
use crate::cluster::{BackendSettings, Cap};
use crate::router::ClusterPlan;
use crate::tls::BackendTls;

/// Reads all clusters, in the order of the file.
pub(super) fn read(reading: &mut Reading<'_>, file: &Table) -> Vec<SiteCluster> {
    let entries = file.table("clusters").map_or(&[][..], |clusters| &clusters.entries);
    entries.iter().filter_map(|entry| cluster(reading, entry)).collect()
}

fn cluster(reading: &mut Reading<'_>, entry: &Entry) -> Option<SiteCluster> {
    let table = entry.value.table()?;
    if !is_name(&entry.key) {
        let title = format!("invalid name `{}` of a cluster", entry.key);
        reading.wrong(&entry.key_span, title, "expected letters, digits, `-`, `_` and `.`");
    }
    let mut given = reading.given(&["clusters"], table);
    if let Some(sticky) = table.table("sticky") {
        given.extend(reading.given(&["clusters", "sticky"], sticky));
    }
    let written = backends(reading, table);
    let tls = backend_tls(reading, table, &written);
    let has_table = table.table("tls").is_some();
    let (backends, names) = settings_of(reading, written, (tls.as_ref(), has_table));
    let checked = reading.checked(given, table, |written| {
        let settings = balancing::cluster(written)?;
        let limits = meant::limits(&written.common.limits, Some(&written.backend_limits))?;
        Ok((settings, limits, balancing::checks(&written.checks)?))
    });
    let (settings, limits, checks) = checked?;
    let deadlines = deadlines::of(table, &limits);
    let plan = ClusterPlan { settings, backends, names, checks, deadlines };
    Some(SiteCluster { name: entry.key.clone(), plan, tls })
}

/// True for a name that needs no escaping in metrics, logs and paths.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Reads the backends of a cluster, each with its place in the file. Two backends with one address would have one name in
/// metrics and in drains.
fn backends(reading: &mut Reading<'_>, table: &Table) -> Vec<(WrittenBackend, Span)> {
    let mut known: Vec<(WrittenBackend, Span)> = Vec::new();
    for value in table.values("backends") {
        let Some((written, span)) = written(reading, value) else { continue };
        if let Some((_, before)) = known.iter().find(|(before, _)| before.place == written.place) {
            let title = format!("the backend {} is given twice", written.place);
            reading.problems.push(Problem::new(span.clone(), title, "").also(before.clone(), "given here"));
        }
        known.push((written, span));
    }
    known
}

/// Reads TLS of the backends: the table of the cluster, or the defaults for backends with https://. None without TLS.
fn backend_tls(
    reading: &mut Reading<'_>,
    table: &Table,
    written: &[(WrittenBackend, Span)],
) -> Option<BackendTls> {
    let with = |scheme| written.iter().find(|(one, _)| one.scheme == Some(scheme));
    let Some(tls) = table.table("tls") else {
        let (_, first) = with(Scheme::Https)?;
        return tls::with_defaults(reading, first);
    };
    if let Some((_, span)) = with(Scheme::Http) {
        let title = "a backend without TLS in a cluster with TLS";
        let problem =
            Problem::new(span.clone(), title, "expected https://, or another cluster for this backend");
        reading.problems.push(problem.also(tls.span.clone(), "the table is for all backends"));
    }
    tls::of_backends(reading, tls)
}

/// Returns the backends with an address and those with a name. With the table, all of them have TLS, else those with https://.
fn settings_of(
    reading: &mut Reading<'_>,
    written: Vec<(WrittenBackend, Span)>,
    (tls, for_all): (Option<&BackendTls>, bool),
) -> (Vec<BackendSettings>, Vec<NamedBackends>) {
    let (mut backends, mut names) = (Vec::new(), Vec::new());
    for (one, span) in written {
        let tls = tls.filter(|_| for_all || one.scheme == Some(Scheme::Https));
        let transform = match tls.map(|tls| tls.transform(&one.place.host())) {
            Some(Err(expected)) => {
                reading.wrong(&span, format!("no name for the certificate of `{}`", one.place), expected);
                None
            }
            Some(Ok(transform)) => Some(transform),
            None => None,
        };
        one.add_to(transform, &mut backends, &mut names);
    }
    (backends, names)
}

/// Reads the form of a backend. Returns the place of its address too.
fn written(reading: &mut Reading<'_>, value: &Value) -> Option<(WrittenBackend, Span)> {
    let span = value.span.clone();
    let table = match &value.data {
        Data::Table(table) => table,
        Data::Text(text) => match value::backend(text) {
            Ok(written) => return Some((written, span)),
            Err(expected) => {
                reading.wrong(&span, format!("invalid value `{text}` for `backends`"), expected);
                return None;
            }
        },
        Data::Flag(_) | Data::Number(_) | Data::List(_) => return None,
    };
    let (text, span) = table.text("address")?;
    let (scheme, place) = match value::url(text) {
        Ok(read) => read,
        Err(expected) => {
            reading.wrong(span, format!("invalid value `{text}` for `address`"), expected);
            return None;
        }
    };
    let cap = match (table.number("cap"), table.text("cap")) {
        (Some(number), _) => Some(Cap::Fixed(number as u32)),
        (None, Some(_)) => Some(Cap::Auto),
        (None, None) => None,
    };
    let weight = table.number("weight").unwrap_or(1) as u32;
    let proxy_protocol = table.text("proxy_protocol").and_then(|(text, _)| value::proxy_protocol(text));
    Some((WrittenBackend { scheme, place, weight, cap, proxy_protocol }, span.clone()))
}
