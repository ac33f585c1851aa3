//! The clusters of a file.
use std::str::FromStr;

use super::super::meant;
use super::super::plan::ClusterPlan;
use super::super::value::{self, WrittenBackend, WrittenPlace};
use super::deadlines;
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tree::{Data, Entry, Table, Value};
use crate::cluster::names::NamedBackends;
use crate::cluster::{BackendSettings, Cap};

/// Reads all clusters, in the order of the file.
pub(super) fn read(reading: &mut Reading<'_>, file: &Table) -> Vec<ClusterPlan> {
    let entries = file.table("clusters").map_or(&[][..], |clusters| &clusters.entries);
    check_idle_times(reading, entries);
    entries.iter().filter_map(|entry| cluster(reading, entry)).collect()
}

/// The engine has one time to keep backend connections, so no two clusters may say different times.
fn check_idle_times(reading: &mut Reading<'_>, clusters: &[Entry]) {
    const KEY: &str = "backend_idle_timeout_ms";
    let mut times = clusters.iter().filter_map(|cluster| {
        let table = cluster.value.table()?;
        Some((table.number(KEY)?, &table.get(KEY)?.value.span))
    });
    let Some((first, known)) = times.next() else { return };
    for (time, span) in times.filter(|(time, _)| *time != first) {
        let title = format!("another `{KEY}` than that of an earlier cluster: {time}");
        let label = format!("expected {first}: one time counts for all clusters");
        reading.problems.push(Problem::new(span.clone(), title, label).also(known.clone(), "given here"));
    }
}

fn cluster(reading: &mut Reading<'_>, entry: &Entry) -> Option<ClusterPlan> {
    let table = entry.value.table()?;
    if !is_name(&entry.key) {
        let title = format!("invalid name `{}` of a cluster", entry.key);
        reading.wrong(&entry.key_span, title, "expected letters, digits, `-`, `_` and `.`");
    }
    let mut given = reading.given(&["clusters"], table);
    if let Some(sticky) = table.table("sticky") {
        given.extend(reading.given(&["clusters", "sticky"], sticky));
    }
    let (backends, names) = backends(reading, table);
    let checked = reading.checked(given, table, |written| {
        let settings = meant::cluster(written)?;
        let limits = meant::limits(&written.common.limits, Some(&written.backend_limits))?;
        Ok((settings, limits, meant::checks(&written.checks)?))
    });
    let (settings, limits, checks) = checked?;
    let (deadlines, backend_idle_timeout) = deadlines::of(table, &limits);
    let name = entry.key.clone();
    Some(ClusterPlan { name, backends, names, settings, checks, deadlines, backend_idle_timeout })
}

/// True for a name that needs no escaping in metrics, logs and paths.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Reads the backends of a cluster: those with an address and those with a name. Two backends with one address would have
/// one name in metrics and in drains.
fn backends(reading: &mut Reading<'_>, table: &Table) -> (Vec<BackendSettings>, Vec<NamedBackends>) {
    let mut known: Vec<(WrittenPlace, Span)> = Vec::new();
    let (mut backends, mut names) = (Vec::new(), Vec::new());
    for value in table.values("backends") {
        let Some((written, span)) = written(reading, value) else { continue };
        if let Some((place, before)) = known.iter().find(|(before, _)| *before == written.place) {
            let title = format!("the backend {place} is given twice");
            reading.problems.push(Problem::new(span.clone(), title, "").also(before.clone(), "given here"));
        }
        known.push((written.place.clone(), span));
        written.add_to(&mut backends, &mut names);
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
    let place = match WrittenPlace::from_str(text) {
        Ok(place) => place,
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
    Some((WrittenBackend { place, weight, cap, proxy_protocol }, span.clone()))
}
