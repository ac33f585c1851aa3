//! The balancer: every valid request goes to a backend of one cluster.
use std::sync::Arc;
use std::time::Instant;

use crate::app::{App, Client, Decision, Finished, Moment, Plan};
use crate::cluster::{Cluster, HashKey, History, Members, Permit, Policy, Session, Start, chance};
use crate::exchange::Reason;
use crate::http::answer;
use crate::http::cookie;
use crate::http::head::RequestHead;
use traffic::{AllTraffic, OfWorker};

mod traffic;

pub use traffic::Traffic;

/// Forwards every request to a backend that the cluster picks.
#[derive(Debug)]
pub struct Router {
    cluster: Cluster,
    /// None while nobody wants to know the traffic. Then a finished request costs one comparison.
    traffic: Option<AllTraffic>,
}

/// What a worker has of its own.
#[derive(Debug)]
pub struct RouterView {
    members: Arc<Members>,
    traffic: Option<Arc<OfWorker>>,
}

impl Router {
    /// Makes a balancer over `cluster`.
    pub fn new(cluster: Cluster) -> Self {
        Router { cluster, traffic: None }
    }

    /// Counts the finished requests, for [`Router::traffic`].
    #[must_use]
    pub fn counting(self) -> Self {
        Router { traffic: Some(AllTraffic::default()), ..self }
    }

    /// Returns the counts of all finished requests; None if the router does not count them.
    pub fn traffic(&self) -> Option<Traffic> {
        self.traffic.as_ref().map(AllTraffic::sum)
    }

    /// Returns the cluster. Its members may be replaced while requests run.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns the hash of the request's key; None when the policy needs no key, or when the request has none.
    fn key(&self, head: &RequestHead<'_>, client: &Client<'_>) -> Option<u64> {
        let Policy::Hash(key) = self.cluster.policy() else { return None };
        match key {
            HashKey::Source => Some(chance::hash_address(client.address().ip())),
            HashKey::Path => head.target.split('?').next().map(|path| chance::hash(path.as_bytes())),
            HashKey::Header(name) => head.fields.get(name).map(chance::hash),
            HashKey::Cookie(name) => cookie::value(head.fields, name).map(chance::hash),
        }
    }

    /// Starts an attempt. When the worker's snapshot has no backend left, refreshes the snapshot and tries again.
    fn start(
        &self,
        members: &mut Arc<Members>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        let first = self.cluster.start(members, history, permit, now.instant);
        match first {
            None if self.cluster.refresh(members) => {
                self.cluster.start(members, history, permit, now.instant)
            }
            start => start,
        }
    }
}

impl App for Router {
    type View = RouterView;

    fn view(&self) -> RouterView {
        let traffic = self.traffic.as_ref().map(AllTraffic::of_new_worker);
        RouterView { members: self.cluster.members(), traffic }
    }

    fn refresh(&self, view: &mut RouterView) {
        self.cluster.refresh(&mut view.members);
    }

    fn sweep(&self, now: Instant) {
        self.cluster.sweep(now);
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
        let key = self.key(head, client);
        let (session, resumed) = match self.cluster.session_cookie() {
            None => (Session::Unchanged, None),
            Some(name) => {
                let value = cookie::value(head.fields, name).and_then(cookie::number);
                self.cluster.resume(&view.members, value, now.instant)
            }
        };
        let start = resumed.map(Start::Attempt);
        match start.or_else(|| self.start(&mut view.members, &History::with_key(key), &mut None, now)) {
            Some(start) => {
                let repeats_answers = self.cluster.repeats_answers();
                Decision::Forward(Plan { start, key, session, repeats_answers, trusted: client.is_trusted() })
            }
            None => Decision::Answer(Reason::NoBackend.answer()),
        }
    }

    fn retry(
        &self,
        view: &mut RouterView,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        self.start(&mut view.members, history, permit, now)
    }
    fn finished(&self, view: &mut RouterView, client: &Client<'_>, request: &Finished<'_>) {
        if let Some(traffic) = &view.traffic {
            traffic.add(client, request);
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
            router.retry(&mut view, &History { tried: &tried, ..History::NONE }, &mut None, &now)
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
