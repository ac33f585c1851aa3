//! The settings of the router, made from what a balancer serves.
use std::sync::Arc;

use super::plan::{self, Site};
use crate::app::Page;
use crate::files::FilesLimits;
use crate::http::changes::FieldChanges;
use crate::router::{Action, ClusterPlan, ErrorPage, RouteSettings, RouterSettings};

/// Makes the settings. The error says what the router refuses; a checked file has no such thing.
pub(super) fn settings(site: &Site) -> Result<RouterSettings, String> {
    let clusters = site.clusters.iter().map(|cluster| (cluster.name.clone(), of_cluster(cluster))).collect();
    let routes = site.routes.iter().map(route).collect::<Result<_, _>>()?;
    let pages = site.error_pages.iter().map(page).collect();
    RouterSettings::new(clusters, routes, pages).map_err(|error| error.to_string())
}

fn of_cluster(cluster: &plan::ClusterPlan) -> ClusterPlan {
    ClusterPlan {
        settings: cluster.settings.clone(),
        backends: cluster.backends.clone(),
        names: cluster.names.clone(),
        checks: cluster.checks.clone(),
        deadlines: cluster.deadlines,
    }
}

fn route(route: &plan::Route) -> Result<RouteSettings, String> {
    let action = match &route.action {
        plan::Action::Forward(name) => Action::Forward(name.clone()),
        plan::Action::Files(path) => Action::Files(path.clone(), FilesLimits::default()),
        plan::Action::Redirect { status, to } => {
            let location = to.parse().map_err(|error| format!("invalid redirect '{to}': {error}"))?;
            Action::Redirect { status: *status, location }
        }
    };
    Ok(RouteSettings {
        listeners: route.listeners.clone(),
        hosts: route.hosts.clone(),
        prefix: route.path.parse().map_err(|error| format!("invalid path '{}': {error}", route.path))?,
        action,
        request: changes(&route.request_fields)?,
        response: changes(&route.response_fields)?,
        deadlines: route.deadlines,
    })
}

fn changes(changes: &plan::FieldChanges) -> Result<FieldChanges, String> {
    FieldChanges::new(changes.remove.clone(), changes.set.clone()).map_err(|error| error.to_string())
}

fn page(page: &plan::ErrorPage) -> ErrorPage {
    let is_text = page.path.extension().is_some_and(|extension| extension == "txt");
    let content_type = if is_text { "text/plain; charset=utf-8" } else { "text/html; charset=utf-8" };
    let body = Arc::from(page.body.as_slice());
    ErrorPage { statuses: page.statuses.clone(), page: Page { content_type: content_type.to_owned(), body } }
}
