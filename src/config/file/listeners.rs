//! The listeners of a file.
use std::net::SocketAddr;

use super::super::meant::limits;
use super::super::plan::Listener;
use super::arguments::Given;
use super::keys;
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tls;
use super::tree::{Data, Table, Value};
use crate::app::ListenerSettings;

/// Reads all listeners. A limit that a listener does not have is that of `[limits]`.
pub(super) fn read(reading: &mut Reading<'_>, file: &Table) -> Vec<Listener> {
    let of_listeners: Vec<String> =
        reading.arguments.keys(keys::OF_LISTENERS).into_iter().map(|key| key.name).collect();
    let defaults = file.table("limits").map(|limits| reading.given(&["limits"], limits)).unwrap_or_default();
    let defaults: Vec<_> = defaults.into_iter().filter(|given| of_listeners.contains(&given.id)).collect();
    let tables: Vec<&Table> = file.values("listeners").iter().filter_map(Value::table).collect();
    same_names(reading, &tables);
    let mut known: Vec<(SocketAddr, Span)> = Vec::new();
    unused(reading, file);
    tables.into_iter().map(|table| listener(reading, table, &defaults, &mut known)).collect()
}

fn listener(
    reading: &mut Reading<'_>,
    table: &Table,
    defaults: &[Given],
    known: &mut Vec<(SocketAddr, Span)>,
) -> Listener {
    let given = Given::overridden(defaults.to_vec(), reading.given(&["listeners"], table));
    let settings = reading.checked(given, table, |written| {
        Ok(ListenerSettings {
            limits: limits(&written.common.limits, None)?,
            trust: written.trust.clone(),
            proxy_protocol: written.proxy_protocol.clone(),
            forwarded: written.forwarded,
            ..ListenerSettings::default()
        })
    });
    let mut addresses = Vec::new();
    for value in table.values("listen") {
        let Data::Text(text) = &value.data else { continue };
        let Some(address) = reading.address("listen", text, &value.span) else { continue };
        let before = known.iter().find(|(before, _)| *before == address && address.port() != 0);
        if let Some((_, before)) = before {
            let problem =
                Problem::new(value.span.clone(), format!("the address {address} is used twice"), "");
            reading.problems.push(problem.also(before.clone(), "used here"));
        }
        known.push((address, value.span.clone()));
        addresses.push(address);
    }
    let name = table.text("name").map(|(name, _)| name.to_owned());
    Listener { name, addresses, settings: settings.unwrap_or_default(), tls: tls::read(reading, table) }
}

fn same_names(reading: &mut Reading<'_>, tables: &[&Table]) {
    let mut known: Vec<(&str, &Span)> = Vec::new();
    for (name, span) in tables.iter().filter_map(|table| table.text("name")) {
        if let Some((_, before)) = known.iter().find(|(before, _)| *before == name) {
            let problem = Problem::new(span.clone(), format!("two listeners have the name `{name}`"), "");
            reading.problems.push(problem.also((*before).clone(), "the first"));
        }
        known.push((name, span));
    }
}

/// Notes the listeners that no route is for.
fn unused(reading: &mut Reading<'_>, file: &Table) {
    let routes = file.values("routes").iter().filter_map(Value::table);
    if routes.clone().any(|route| !route.mentions("listeners")) {
        return;
    }
    for listener in file.values("listeners").iter().filter_map(Value::table) {
        let name = listener.text("name").map(|(name, _)| name);
        let is_named = |value: &Value| name.is_some() && value.text() == name;
        if !routes.clone().any(|route| route.values("listeners").iter().any(is_named)) {
            let label = "every request gets 404";
            reading.problems.push(Problem::warning(
                listener.span.clone(),
                "no route is for this listener",
                label,
            ));
        }
    }
}
