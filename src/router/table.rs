//! The clusters, routes and pages of a router at one time: what the settings say, ready to use.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::location::Location;
use super::routes::Routes;
use super::settings::{Action, ClusterPlan, ErrorPage, RouteSettings, RouterSettings};
use crate::app::{Page, Terms};
use crate::cluster::names::{Answers, Name, NamedBackends, Place};
use crate::cluster::{BackendSettings, CheckSettings, Cluster};
use crate::files::{Files, FilesError, FilesLimits};
use crate::http::answer::{Answer, Bytes};
use crate::http::changes::FieldChanges;
use crate::http::head::RequestHead;

/// An immutable snapshot of what a router does.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// The number of the snapshot.
    pub(super) generation: u64,
    pub(super) clusters: Vec<NamedCluster>,
    pub(super) routes: Routes<Arc<Route>>,
    directories: Vec<Directory>,
    /// The page for the fewest statuses first.
    pages: Vec<(ErrorPage, Arc<Page>)>,
    /// The addresses of the names.
    answers: Arc<Answers>,
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
    answers: Arc<Answers>,
}

impl NamedCluster {
    /// Returns the names of backends.
    pub fn names(&self) -> &[NamedBackends] {
        self.plan.as_ref().map_or(&[], |plan| &plan.names)
    }

    /// Returns the name that a backend comes from; None when the settings say its address.
    pub fn origin(&self, backend: SocketAddr) -> Option<&Name> {
        let plan = self.plan.as_ref()?;
        let is_fixed = plan.backends.iter().any(|one| one.address == backend);
        if is_fixed { None } else { self.answers.origin(&plan.names, backend) }
    }

    fn has_name(&self, name: &Name) -> bool {
        self.names().iter().any(|named| named.name == *name)
    }

    /// Returns the rules of active checks; None without checks.
    pub fn checks(&self) -> Option<&CheckSettings> {
        self.plan.as_ref()?.checks.as_ref()
    }
}

impl ClusterPlan {
    /// Returns all backends.
    fn members(&self, answers: &Answers) -> Vec<BackendSettings> {
        answers.members(&self.backends, &self.names)
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
        let (cluster, answers) = (Arc::clone(cluster), Arc::default());
        let only = NamedCluster { name: "default".into(), cluster, plan: None, answers };
        Table { clusters: vec![only], ..Table::default() }
    }

    /// Makes the next snapshot. A cluster whose name stays is the same cluster: it keeps the backends whose
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
        let names = settings.clusters.values().flat_map(|plan| &plan.names);
        let answers = Arc::new(self.answers.only(names));
        let cluster =
            |(name, plan): (&String, &ClusterPlan)| self.cluster(name, plan, &answers, (seed, epoch));
        let clusters: Vec<_> = settings.clusters.iter().map(cluster).collect();
        let routes = settings
            .routes
            .iter()
            .filter_map(|settings| Some((settings, Arc::new(Route::of(settings, &clusters, &directories)?))));
        let routes = Routes::new(routes.collect::<Vec<_>>());
        let mut pages: Vec<_> =
            settings.pages.iter().map(|page| (page.clone(), Arc::new(page.page.clone()))).collect();
        pages.sort_by_key(|(page, _)| page.statuses.len());
        let generation = self.generation + 1;
        Ok(Table { generation, clusters, routes, directories, pages, answers })
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

    fn cluster(
        &self,
        name: &str,
        plan: &ClusterPlan,
        answers: &Arc<Answers>,
        (seed, epoch): (u64, Instant),
    ) -> NamedCluster {
        let named = self.clusters.iter().find(|old| *old.name == *name);
        let kept = named.and_then(|old| Some((&old.cluster, old.plan.as_ref()?)));
        let cluster = match kept {
            Some((cluster, old)) => {
                let is_same = old.settings == plan.settings
                    && (&old.backends, &old.names) == (&plan.backends, &plan.names);
                if !is_same {
                    cluster.apply(&plan.members(answers), &plan.settings);
                }
                Arc::clone(cluster)
            }
            None => {
                let members = plan.members(answers);
                Arc::new(Cluster::with_settings(&members, plan.settings.clone(), seed, epoch))
            }
        };
        let answers = Arc::clone(answers);
        NamedCluster { name: name.into(), cluster, plan: Some(Arc::new(plan.clone())), answers }
    }

    /// Makes the snapshot after an answer of DNS, and gives the clusters with this name its backends. The routes are the same,
    /// so the generation is. None when nothing has changed.
    pub(super) fn with_answer(&self, name: &Name, places: &[Place]) -> Option<Table> {
        let mut next = self.clone();
        next.answers = Arc::new(self.answers.with(name, places)?);
        for one in &mut next.clusters {
            one.answers = Arc::clone(&next.answers);
            if let Some(plan) = one.plan.as_ref().filter(|_| one.has_name(name)) {
                one.cluster.replace(&plan.members(&one.answers));
            }
        }
        Some(next)
    }

    /// True when the name had an answer with an address.
    pub(super) fn has_answer(&self, name: &Name) -> bool {
        self.answers.has(name)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Router;
    use super::*;

    fn plan(backends: &[&str], names: &[&str]) -> ClusterPlan {
        let named = |name: &&str| NamedBackends {
            name: name.parse().unwrap(),
            weight: 1,
            cap: None,
            proxy_protocol: None,
            transform: None,
        };
        ClusterPlan {
            backends: backends.iter().map(|one| one.parse::<SocketAddr>().unwrap().into()).collect(),
            names: names.iter().map(named).collect(),
            ..ClusterPlan::default()
        }
    }

    fn settings(clusters: &[(&str, ClusterPlan)]) -> RouterSettings {
        let clusters: BTreeMap<_, _> =
            clusters.iter().map(|(name, plan)| ((*name).to_owned(), plan.clone())).collect();
        let routes = clusters.keys().take(1).map(|name| RouteSettings::to(name)).collect();
        RouterSettings::new(clusters, routes, Vec::new()).unwrap()
    }

    fn note(router: &Router, name: &str, addresses: &[&str]) -> bool {
        let place = |address: &&str| Place { address: address.parse().unwrap(), weight: 1 };
        router.note_answer(&name.parse().unwrap(), &addresses.iter().map(place).collect::<Vec<_>>())
    }

    /// Returns the last part of each address, by cluster.
    fn members(router: &Router) -> String {
        let of_cluster = |one: &NamedCluster| {
            let members = one.cluster.members();
            let ports: Vec<_> =
                members.backends().iter().map(|backend| backend.address().port().to_string()).collect();
            format!("{}: {}", one.name, ports.join(" "))
        };
        router.clusters().iter().map(of_cluster).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn clusters_follow_names_and_what_stays_is_the_same_backend() {
        let both = settings(&[("a", plan(&["10.0.0.1:1"], &["x:1"])), ("b", plan(&[], &["x:1", "y:1"]))]);
        let router = Router::with_settings(&both, 1, Instant::now()).unwrap();
        let first = |place: usize| {
            let members = router.clusters()[0].cluster.members();
            members.backends()[place].id()
        };
        let only = first(0);
        assert_eq!(members(&router), "a: 1, b: ");
        assert!(note(&router, "x:1", &["10.0.0.1:2", "10.0.0.1:3"]));
        assert!(note(&router, "y:1", &["10.0.0.1:4"]));
        assert_eq!(members(&router), "a: 1 2 3, b: 2 3 4");
        let third = first(2);
        assert!(note(&router, "x:1", &["10.0.0.1:3"]) && !note(&router, "x:1", &["10.0.0.1:3"]));
        assert!(!note(&router, "x:1", &[]));
        assert_eq!((members(&router).as_str(), first(0), first(1)), ("a: 1 3, b: 3 4", only, third));
        // A new name has an answer before the settings have the name. A name that is gone is forgotten.
        assert!(note(&router, "z:1", &["10.0.0.1:5"]));
        router.apply(&settings(&[("a", plan(&["10.0.0.1:1"], &["x:1", "z:1"]))])).unwrap();
        assert_eq!((members(&router).as_str(), first(0), first(1)), ("a: 1 3 5", only, third));
        let has = ["x:1", "y:1", "z:1"].map(|name| router.has_answer(&name.parse().unwrap()));
        assert_eq!(has, [true, false, true]);
        // Other settings change no backend.
        let fifth = first(2);
        let mut other = plan(&[], &["z:1"]);
        other.settings.waiting_max = 1;
        router.apply(&settings(&[("a", other.clone())])).unwrap();
        assert_eq!((members(&router).as_str(), first(0)), ("a: 5", fifth));
        assert_eq!(router.clusters()[0].cluster.members().settings(), &other.settings);
        let origin =
            |address: &str| router.clusters()[0].origin(address.parse().unwrap()).map(Name::to_string);
        assert_eq!((origin("10.0.0.1:5"), origin("10.0.0.1:1")), (Some("z:1".into()), None));
    }
}
