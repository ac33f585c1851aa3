//! The clusters, routes and pages of a router at one time: what the settings say, ready to use.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::location::Location;
use super::routes::Routes;
use super::settings::{Action, ClusterPlan, ErrorPage, RouteSettings, RouterSettings};
use crate::app::{Page, Terms};
use crate::cluster::{CheckSettings, Cluster};
use crate::files::{Files, FilesError, FilesLimits};
use crate::http::answer::{Answer, Bytes};
use crate::http::changes::FieldChanges;
use crate::http::head::RequestHead;

/// An immutable snapshot of what a router does.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The number of the snapshot.
    pub(super) generation: u64,
    pub(super) clusters: Vec<NamedCluster>,
    pub(super) routes: Routes<Arc<Route>>,
    directories: Vec<Directory>,
    /// The page for the fewest statuses first.
    pages: Vec<(ErrorPage, Arc<Page>)>,
}

/// A cluster with its name.
#[derive(Debug, Clone)]
pub struct NamedCluster {
    /// The name.
    pub name: Arc<str>,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// None when the cluster was made without a plan.
    plan: Option<Arc<ClusterPlan>>,
}

impl NamedCluster {
    /// Returns the rules of active checks; None without checks.
    pub fn checks(&self) -> Option<&CheckSettings> {
        self.plan.as_ref()?.checks.as_ref()
    }
}

/// A directory that is served.
#[derive(Debug, Clone)]
struct Directory {
    path: PathBuf,
    limits: FilesLimits,
    files: Arc<Files>,
}

/// What happens to the requests of a route.
#[derive(Debug)]
pub(super) enum Route {
    /// The cluster at this place of the table gets the request.
    Forward(usize, Arc<Terms>),
    /// A file is served.
    Files(Arc<Files>, FieldChanges),
    /// The client is sent to another place.
    Redirect(u16, Location, FieldChanges),
}

impl Table {
    /// Makes the first snapshot of a router without routes.
    pub(super) fn only(cluster: &Arc<Cluster>) -> Self {
        let only = NamedCluster { name: "default".into(), cluster: Arc::clone(cluster), plan: None };
        Table { clusters: vec![only], ..Table::default() }
    }

    /// Makes the next snapshot. A cluster whose name and settings stay is the same cluster: it keeps the backends whose
    /// addresses stay, with their counters, health and connections. A directory that stays is not read again.
    ///
    /// # Errors
    /// When a directory cannot be served. Then nothing has changed.
    pub(super) fn next(
        &self,
        settings: &RouterSettings,
        (seed, epoch): (u64, Instant),
    ) -> Result<Table, FilesError> {
        let mut directories = Vec::new();
        for route in &settings.routes {
            if let Action::Files(path, limits) = &route.action {
                self.open(path, *limits, &mut directories)?;
            }
        }
        let clusters: Vec<_> =
            settings.clusters.iter().map(|(name, plan)| self.cluster(name, plan, (seed, epoch))).collect();
        let routes = settings
            .routes
            .iter()
            .filter_map(|settings| Some((settings, Arc::new(Route::of(settings, &clusters, &directories)?))));
        let routes = Routes::new(routes.collect::<Vec<_>>());
        let mut pages: Vec<_> =
            settings.pages.iter().map(|page| (page.clone(), Arc::new(page.page.clone()))).collect();
        pages.sort_by_key(|(page, _)| page.statuses.len());
        Ok(Table { generation: self.generation + 1, clusters, routes, directories, pages })
    }

    fn open(
        &self,
        path: &PathBuf,
        limits: FilesLimits,
        opened: &mut Vec<Directory>,
    ) -> Result<(), FilesError> {
        let is_it = |one: &&Directory| one.path == *path && one.limits == limits;
        if opened.iter().any(|one| is_it(&one)) {
            return Ok(());
        }
        let directory = match self.directories.iter().find(is_it) {
            Some(kept) => kept.clone(),
            None => Directory { path: path.clone(), limits, files: Arc::new(Files::open(path, limits)?) },
        };
        opened.push(directory);
        Ok(())
    }

    fn cluster(&self, name: &str, plan: &ClusterPlan, (seed, epoch): (u64, Instant)) -> NamedCluster {
        let named = self.clusters.iter().find(|old| *old.name == *name);
        let kept = named.and_then(|old| Some((&old.cluster, old.plan.as_ref()?)));
        let cluster = match kept.filter(|(_, old)| old.settings == plan.settings) {
            Some((cluster, old)) => {
                if old.backends != plan.backends {
                    cluster.replace(&plan.backends);
                }
                Arc::clone(cluster)
            }
            None => Arc::new(Cluster::with_settings(&plan.backends, plan.settings.clone(), seed, epoch)),
        };
        NamedCluster { name: name.into(), cluster, plan: Some(Arc::new(plan.clone())) }
    }

    /// Brings the files of all directories up to date.
    pub(super) fn refresh_files(&self) {
        self.directories.iter().for_each(|directory| directory.files.refresh());
    }

    /// Returns the page for an error answer of ours.
    pub(super) fn page(&self, status: u16) -> Option<Arc<Page>> {
        let page = self.pages.iter().find(|(page, _)| page.statuses.contains(&status));
        page.map(|(_, page)| Arc::clone(page))
    }
}

impl Route {
    /// None when the settings name something that is not there.
    fn of(settings: &RouteSettings, clusters: &[NamedCluster], directories: &[Directory]) -> Option<Route> {
        let changes = settings.response.clone();
        match &settings.action {
            Action::Forward(name) => {
                let place = clusters.iter().position(|one| *one.name == **name)?;
                let NamedCluster { cluster, plan, .. } = &clusters[place];
                let terms = Terms {
                    cluster: Arc::clone(cluster),
                    deadlines: settings.deadlines.or(plan.as_ref()?.deadlines),
                    request: settings.request.clone(),
                    response: changes,
                };
                Some(Route::Forward(place, Arc::new(terms)))
            }
            Action::Files(path, limits) => {
                let found = directories.iter().find(|one| one.path == *path && one.limits == *limits)?;
                Some(Route::Files(Arc::clone(&found.files), changes))
            }
            Action::Redirect { status, location } => {
                Some(Route::Redirect(*status, location.clone(), changes))
            }
        }
    }
}

/// Returns the answer that sends a client to another place.
pub(super) fn redirect(status: u16, location: &Location, head: &RequestHead<'_>) -> Answer {
    let Some(place) = location.of(head.host, head.target) else {
        return Answer::text(400, "the request has no Host field");
    };
    let fields = format!("Location: {place}\r\nContent-Type: text/plain; charset=utf-8\r\n").into_bytes();
    Answer { fields: Bytes::Owned(fields), ..Answer::text(status, place) }
}

/// Changes the fields of an answer of ours.
pub(super) fn changed(answer: Answer, changes: &FieldChanges) -> Answer {
    if changes.is_empty() {
        return answer;
    }
    let mut fields = answer.fields.to_vec();
    changes.apply_to_fields(&mut fields, 0);
    Answer { fields: Bytes::Owned(fields), ..answer }
}
