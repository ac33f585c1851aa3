//! The balancer: a route says which cluster gets a request, or how it is answered.
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | what a router does, as plain data |
//! | `table.rs` | the same, ready to use: a snapshot of clusters, routes and pages |
//! | `routes.rs`, `path.rs` | the route of a host and a path |
//! | `location.rs` | the place that a redirect sends a client to |
//! | `traffic.rs` | the counts of finished requests |
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::app::{App, Client, Decision, Finished, Moment, Page, Plan, Terms};
use crate::cluster::names::{Name, Place};
use crate::cluster::{Cluster, HashKey, History, Members, Permit, Policy, Session, Start, chance};
use crate::exchange::Reason;
use crate::files::FilesError;
use crate::http::answer::{self, Answer};
use crate::http::cookie;
use crate::http::head::RequestHead;
use table::{Route, Table, changed, redirect};
use traffic::{AllTraffic, OfWorker};

mod location;
mod path;
mod routes;
mod settings;
mod table;
mod traffic;

pub use location::{InvalidLocation, Location};
pub use settings::{
    Action, ClusterPlan, ErrorPage, Host, InvalidHost, InvalidPrefix, Prefix, REDIRECT_STATUSES,
    RouteSettings, RouterError, RouterSettings,
};
pub use table::NamedCluster;
pub use traffic::Traffic;

/// Forwards each request to a backend of the cluster of its route.
///
/// A router over one cluster that gets every request needs no routes. Else a table says which requests go where.
/// [`Router::apply`] replaces the table while requests run.
#[derive(Debug)]
pub struct Router {
    /// The cluster of the requests without terms: the only one, until there are routes.
    cluster: Arc<Cluster>,
    /// The generation of `table`; 0 without routes.
    generation: AtomicU64,
    table: Mutex<Arc<Table>>,
    /// Locked while the table is replaced.
    applying: Mutex<()>,
    /// The seed of random picks, and the time that the clusters count from.
    origin: (u64, Instant),
    /// None while nobody wants to know the traffic. Then a finished request costs one comparison.
    traffic: Option<AllTraffic>,
}

/// What a worker has of its own.
#[derive(Debug)]
pub struct RouterView {
    /// The members of the only cluster.
    members: Arc<Members>,
    /// None while the router has no routes.
    routed: Option<Routed>,
    generation: u64,
    traffic: Option<Arc<OfWorker>>,
}

/// A worker's snapshot of the routes.
#[derive(Debug)]
struct Routed {
    table: Arc<Table>,
    /// The members of each cluster of the table.
    members: Vec<Arc<Members>>,
}

impl Routed {
    fn of(table: Arc<Table>) -> Self {
        let members = table.clusters.iter().map(|one| one.cluster.members()).collect();
        Routed { table, members }
    }
}

impl Router {
    /// Makes a balancer over `cluster`, which gets every request.
    pub fn new(cluster: Cluster) -> Self {
        let cluster = Arc::new(cluster);
        let (table, origin) = (Table::only(&cluster), cluster.origin());
        Router::over(cluster, table, origin)
    }

    fn over(cluster: Arc<Cluster>, table: Table, origin: (u64, Instant)) -> Self {
        let (generation, table) = (AtomicU64::new(table.generation), Mutex::new(Arc::new(table)));
        Router { cluster, generation, table, applying: Mutex::new(()), origin, traffic: None }
    }

    /// Makes a balancer with these clusters and routes. The same seed makes the same choices. No time that the router is
    /// told may lie before `epoch`.
    ///
    /// # Errors
    /// When a directory of a route cannot be served.
    pub fn with_settings(settings: &RouterSettings, seed: u64, epoch: Instant) -> Result<Self, FilesError> {
        let mut table = Table::default().next(settings, (seed, epoch))?;
        let cluster = match table.clusters.first() {
            Some(one) if settings.is_only_a_cluster() => {
                table.generation = 0;
                Arc::clone(&one.cluster)
            }
            // A cluster of the table must end when the table no longer has it.
            _ => Arc::new(Cluster::new(&[], Policy::default(), seed, epoch)),
        };
        Ok(Router::over(cluster, table, (seed, epoch)))
    }

    /// Counts the finished requests, for [`Router::traffic`].
    #[must_use]
    pub fn counting(self) -> Self {
        Router { traffic: Some(AllTraffic::default()), ..self }
    }

    /// Replaces clusters, routes and pages while requests run. What stays is not touched: a cluster with the same name
    /// keeps the backends whose addresses stay, with their counters, health and connections, also when its settings change. A
    /// request that runs keeps its cluster, its deadlines and its changes to its end, also when its route or its cluster is
    /// gone. A cluster that is gone gets no new request; it ends when its last request has
    /// ended and each worker has run once since. Then its kept connections are closed, or earlier because they were idle.
    ///
    /// # Errors
    /// When a directory of a route cannot be served. Then nothing has changed.
    pub fn apply(&self, settings: &RouterSettings) -> Result<(), FilesError> {
        let _one_at_a_time = self.applying.lock();
        // A directory may take long to read, and workers need the table meanwhile.
        let before = Arc::clone(&self.table.lock());
        let next = Arc::new(before.next(settings, self.origin)?);
        let generation = next.generation;
        *self.table.lock() = next;
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }

    /// Notes what DNS says of a name. The clusters with this name get these backends, as if the settings said their
    /// addresses: what stays keeps its counters, health and connections. An answer for a name that no cluster has counts
    /// for the next [`Router::apply`]. An answer without places changes nothing. Returns true when something has changed.
    pub fn note_answer(&self, name: &Name, places: &[Place]) -> bool {
        let _one_at_a_time = self.applying.lock();
        let before = Arc::clone(&self.table.lock());
        let next = before.with_answer(name, places).map(Arc::new);
        let is_news = next.is_some();
        if let Some(next) = next {
            *self.table.lock() = next;
        }
        is_news
    }

    /// True when the name had an answer with an address.
    pub fn has_answer(&self, name: &Name) -> bool {
        self.table.lock().has_answer(name)
    }

    /// Returns the counts of all finished requests; None if the router does not count them.
    pub fn traffic(&self) -> Option<Traffic> {
        self.traffic.as_ref().map(AllTraffic::sum)
    }

    /// Returns the only cluster of a router that was made without routes, or an empty cluster: see [`Router::clusters`]. Its
    /// members may be replaced while requests run.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns all clusters, in the order of their names. Takes a lock.
    pub fn clusters(&self) -> Vec<NamedCluster> {
        self.table.lock().clusters.clone()
    }

    /// Brings the files of the routes up to date. The caller calls this about twice a second, not on a worker.
    pub fn refresh_files(&self) {
        let table = Arc::clone(&self.table.lock());
        table.refresh_files();
    }

    /// Brings a view up to date after the routes were replaced.
    #[cold]
    fn renew(&self, view: &mut RouterView) {
        let table = Arc::clone(&self.table.lock());
        view.generation = table.generation;
        view.routed = Some(Routed::of(table));
    }
}

/// Returns the hash of the request's key; None when the policy needs no key, or when the request has none.
fn key(members: &Members, head: &RequestHead<'_>, client: &Client<'_>) -> Option<u64> {
    let Policy::Hash(key) = members.policy() else { return None };
    match key {
        HashKey::Source => Some(chance::hash_address(client.address().ip())),
        HashKey::Path => head.target.split('?').next().map(|path| chance::hash(path.as_bytes())),
        HashKey::Header(name) => head.fields.get(name).map(chance::hash),
        HashKey::Cookie(name) => cookie::value(head.fields, name).map(chance::hash),
    }
}

/// Starts an attempt. When the worker's snapshot has no backend left and is outdated, refreshes the snapshot and tries again.
fn start(
    cluster: &Cluster,
    members: &mut Arc<Members>,
    history: &History<'_>,
    permit: &mut Option<Permit>,
    now: &Moment,
) -> Option<Start> {
    loop {
        let start = cluster.start(members, history, permit, now.instant);
        if start.is_some() || !cluster.refresh(members) {
            return start;
        }
    }
}

/// Begins to forward a request to a cluster.
fn forward(
    cluster: &Cluster,
    members: &mut Arc<Members>,
    terms: Option<&Arc<Terms>>,
    (head, client): (&RequestHead<'_>, &Client<'_>),
    now: &Moment,
) -> Decision {
    let key = key(members, head, client);
    let (session, resumed) = match members.session_cookie() {
        None => (Session::Unchanged, None),
        Some(name) => {
            let value = cookie::value(head.fields, name).and_then(cookie::number);
            cluster.resume(members, value, now.instant)
        }
    };
    let resumed = resumed.map(Start::Attempt);
    match resumed.or_else(|| start(cluster, members, &History::with_key(key), &mut None, now)) {
        Some(start) => {
            let (repeats_answers, trusted) = (members.settings().retries.answers, client.is_trusted());
            let terms = terms.map(Arc::clone);
            Decision::Forward(Plan { start, key, session, repeats_answers, trusted, terms })
        }
        None => {
            let answer = Reason::NoBackend.answer();
            Decision::Answer(match terms {
                None => answer,
                Some(terms) => changed(answer, &terms.response),
            })
        }
    }
}

impl Routed {
    /// Decides about a request by its route.
    fn decide(&mut self, head: &RequestHead<'_>, client: &Client<'_>, now: &Moment) -> Decision {
        let Routed { table, members } = self;
        let listener = client.settings.name.as_deref();
        let Some(route) = table.routes.find(listener, head.host, head.target) else {
            return Decision::Answer(Answer::text(404, "there is no route for this host and path"));
        };
        match &**route {
            Route::Forward(place, terms) => match members.get_mut(*place) {
                Some(members) => forward(&terms.cluster, members, Some(terms), (head, client), now),
                None => Decision::Answer(Reason::NoBackend.answer()),
            },
            Route::Files(files, changes) => match files.decide(&mut (), head, client, now) {
                Decision::Answer(answer) => Decision::Answer(changed(answer, changes)),
                decision => decision,
            },
            Route::Redirect(status, location, changes) => {
                Decision::Answer(changed(redirect(*status, location, head), changes))
            }
        }
    }
}

impl App for Router {
    type View = RouterView;

    fn view(&self) -> RouterView {
        let traffic = self.traffic.as_ref().map(AllTraffic::of_new_worker);
        let mut view = RouterView { members: self.cluster.members(), routed: None, generation: 0, traffic };
        self.refresh(&mut view);
        view
    }

    fn refresh(&self, view: &mut RouterView) {
        if self.generation.load(Ordering::Acquire) != view.generation {
            self.renew(view);
        }
        match &mut view.routed {
            None => {
                self.cluster.refresh(&mut view.members);
            }
            Some(Routed { table, members }) => {
                for (one, members) in table.clusters.iter().zip(members) {
                    one.cluster.refresh(members);
                }
            }
        }
    }

    fn sweep(&self, now: Instant) {
        if self.generation.load(Ordering::Acquire) == 0 {
            self.cluster.sweep(now);
            return;
        }
        let table = Arc::clone(&self.table.lock());
        table.clusters.iter().for_each(|one| one.cluster.sweep(now));
    }

    fn decide(
        &self,
        view: &mut RouterView,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        now: &Moment,
    ) -> Decision {
        if head.max_forwards == Some(0) {
            return Decision::Answer(answer::to_last_hop(head.method));
        }
        match &mut view.routed {
            None => forward(&self.cluster, &mut view.members, None, (head, client), now),
            Some(routed) => routed.decide(head, client, now),
        }
    }

    fn retry(
        &self,
        view: &mut RouterView,
        terms: Option<&Terms>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        let Some(Terms { cluster, .. }) = terms else {
            return start(&self.cluster, &mut view.members, history, permit, now);
        };
        let snapshot = view.routed.as_mut().and_then(|Routed { table, members }| {
            let place = table.clusters.iter().position(|one| Arc::ptr_eq(&one.cluster, cluster))?;
            members.get_mut(place)
        });
        match snapshot {
            Some(members) => start(cluster, members, history, permit, now),
            // The cluster of a request outlives its name.
            None => start(cluster, &mut cluster.members(), history, permit, now),
        }
    }

    fn page(&self, view: &RouterView, status: u16) -> Option<Arc<Page>> {
        view.routed.as_ref().and_then(|routed| routed.table.page(status))
    }

    fn finished<'a>(
        &self,
        view: &mut RouterView,
        client: &Client<'_>,
        request: impl FnOnce() -> Finished<'a>,
    ) {
        if let Some(traffic) = &view.traffic {
            traffic.add(client, &request());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::app::{ListenerId, ListenerSettings};
    use crate::cluster::Tried;
    use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

    fn now(instant: Instant) -> Moment {
        Moment { instant, date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 }
    }

    fn addresses(backends: u16) -> Vec<SocketAddr> {
        (0..backends).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect()
    }

    fn router(backends: u16, epoch: Instant) -> Router {
        Router::new(Cluster::new(&addresses(backends), Policy::LeastRequests, 1, epoch))
    }

    fn decide(router: &Router, view: &mut RouterView, client: &str, now: &Moment) -> Decision {
        decide_on(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", router, view, client, now)
    }

    fn decide_on(
        bytes: &[u8],
        router: &Router,
        view: &mut RouterView,
        client: &str,
        now: &Moment,
    ) -> Decision {
        let trust = vec!["10.0.0.0/8".parse().unwrap()];
        let settings = ListenerSettings { trust, ..ListenerSettings::default() };
        let client = Client::new(client.parse().unwrap(), ListenerId::unused(), &settings);
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
        router.decide(view, &head, &client, now)
    }

    #[test]
    fn a_valid_head_is_forwarded_or_answered_with_503() {
        let now = now(Instant::now());
        for (client, trusted) in [("10.0.0.1:5", true), ("11.0.0.1:5", false)] {
            let router = router(1, now.instant);
            match decide(&router, &mut router.view(), client, &now) {
                Decision::Forward(Plan { start: Start::Attempt(attempt), trusted: said, .. }) => {
                    assert_eq!((said, attempt.backend().in_flight()), (trusted, 1));
                }
                other => panic!("{other:?}"),
            }
        }
        let router = router(0, now.instant);
        match decide(&router, &mut router.view(), "10.0.0.1:5", &now) {
            Decision::Answer(answer) => assert_eq!(answer.status, 503),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_hop_is_answered_and_not_forwarded() {
        let now = now(Instant::now());
        let router = router(1, now.instant);
        let status = |line: &str| {
            let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
            match decide_on(bytes.as_bytes(), &router, &mut router.view(), "10.0.0.1:5", &now) {
                Decision::Answer(answer) => Some(answer.status),
                Decision::Forward(_) | Decision::AnswerAfter(..) => None,
            }
        };
        assert_eq!(["OPTIONS *", "TRACE /", "GET /"].map(status), [Some(204), Some(501), None]);
    }

    #[test]
    fn a_request_is_offered_to_each_backend_once() {
        let now = now(Instant::now());
        let router = router(3, now.instant);
        let (mut view, mut tried, mut ports) = (router.view(), Tried::default(), Vec::new());
        while let Some(Start::Attempt(attempt)) =
            router.retry(&mut view, None, &History { tried: &tried, ..History::NONE }, &mut None, &now)
        {
            ports.push(attempt.backend().address().port());
            tried.insert(attempt.backend().id());
        }
        ports.sort_unstable();
        assert_eq!(ports, [9000, 9001, 9002]);
        assert!(view.members.backends().iter().all(|b| b.in_flight() == 0));
    }

    #[test]
    fn an_outdated_view_is_refreshed_before_a_request_is_refused() {
        let now = now(Instant::now());
        let router = router(0, now.instant);
        let mut view = router.view();
        router.cluster().replace(&addresses(1));
        assert!(matches!(decide(&router, &mut view, "10.0.0.1:5", &now), Decision::Forward(_)));
        assert_eq!(view.members.backends().len(), 1);
    }
}
