//! Tests of policies, health, caps and active checks over sockets. The backends are engines too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, Moment};
use neraca::cluster::{
    BackendSettings, Cap, CheckRequest, CheckSettings, CheckState, ClusterSettings, Policy,
};
use neraca::engine::Checker;
use neraca::http::answer::Answer;
use neraca::http::head::RequestHead;
use neraca::router::{ClusterPlan, Router, RouterSettings};

use crate::harness::{Server, Variant, eventually};

/// The server of a backend. It answers at once, or fails at once.
#[derive(Default)]
struct Page {
    fails: AtomicBool,
    /// Time until the answer, if it is not 0.
    delay_ms: AtomicUsize,
}

impl App for Page {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, (): &mut ()) {}

    fn decide(&self, (): &mut (), head: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
        let status = if self.fails.load(SeqCst) { 500 } else { 200 };
        let answer = Answer::text(status, head.target);
        match self.delay_ms.load(SeqCst) {
            0 => Decision::Answer(answer),
            ms => Decision::AnswerAfter(Duration::from_millis(ms as u64), answer),
        }
    }
}

/// Three backends and a balancer over them.
struct Site {
    balancer: Server<Router>,
    backends: Vec<Server<Page>>,
    plan: ClusterPlan,
}

impl Site {
    fn new(
        variant: Variant,
        settings: ClusterSettings,
        change: impl Fn(usize, &mut BackendSettings),
    ) -> Self {
        // Only the clients of the balancer have a transform: the checks speak plain HTTP.
        let plain = Variant { transforms: None, ..variant };
        let backends: Vec<_> = (0..3).map(|_| Server::start(Page::default(), plain.options())).collect();
        let members: Vec<_> = backends
            .iter()
            .enumerate()
            .map(|(place, backend)| {
                let mut settings = BackendSettings::from(backend.address());
                change(place, &mut settings);
                settings
            })
            .collect();
        let plan = ClusterPlan { settings, backends: members, ..ClusterPlan::default() };
        let routes = RouterSettings::one("default", plan.clone());
        let router = Router::with_settings(&routes, 1, Instant::now()).unwrap();
        Site { balancer: Server::start(router, variant.options()), backends, plan }
    }

    /// Makes requests one after the other. Returns how many of them each backend got, and how many failed.
    fn ask(&self, requests: usize) -> (Vec<u64>, usize) {
        let started = || -> Vec<u64> {
            let members = self.balancer.app.cluster().members();
            members.backends().iter().map(|backend| backend.counts().started).collect()
        };
        let before = started();
        let mut client = self.balancer.client();
        let mut failed = 0;
        for n in 0..requests {
            client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
            failed += usize::from(client.message().status() != 200);
        }
        (started().iter().zip(before).map(|(after, before)| after - before).collect(), failed)
    }

    fn is_ejected(&self, place: usize) -> bool {
        self.balancer.app.cluster().members().backends()[place].is_ejected()
    }

    fn check_state(&self, place: usize) -> CheckState {
        self.balancer.app.cluster().members().backends()[place].check_state()
    }
}

fn weights_hold(variant: Variant) {
    let weights = [1, 2, 5];
    let settings = ClusterSettings { policy: Policy::RoundRobin, ..ClusterSettings::default() };
    let site = Site::new(variant, settings, |place, backend| backend.weight = weights[place]);
    assert_eq!(site.ask(80), (vec![10, 20, 50], 0));
}

fn a_backend_that_fails_at_once_gets_few_requests_and_comes_back(variant: Variant) {
    let mut settings = ClusterSettings::default();
    (settings.health.ejection, settings.health.slow_start) =
        (Duration::from_millis(50), Duration::from_millis(50));
    settings.health.ejection_max = Duration::from_millis(50);
    let site = Site::new(variant, settings, |_, _| ());
    site.ask(100);
    site.backends[1].app.fails.store(true, SeqCst);
    let begun = Instant::now();
    let (counts, failed) = site.ask(1000);
    // A failure or a few until the ejection, and then one for each ejection.
    let ejections = begun.elapsed().as_millis() as u64 / 50 + 1;
    assert!(counts[1] <= 20 + ejections && failed as u64 == counts[1], "{counts:?}, {failed} failed");
    site.backends[1].app.fails.store(false, SeqCst);
    eventually("the backend comes back", || {
        site.ask(10);
        !site.is_ejected(1)
    });
    eventually("the backend has its share again", || site.ask(90).0[1] > 20);
}

fn a_cap_holds_and_the_others_wait(variant: Variant) {
    let site = Site::new(variant, ClusterSettings::default(), |_, backend| backend.cap = Some(Cap::Fixed(1)));
    site.backends.iter().for_each(|backend| backend.app.delay_ms.store(20, SeqCst));
    let mut clients: Vec<_> = (0..30).map(|_| site.balancer.client()).collect();
    for client in &mut clients {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let cluster = site.balancer.app.cluster();
    eventually("requests wait", || cluster.waiting() > 0);
    let members = cluster.members();
    for client in &mut clients {
        assert!(members.backends().iter().all(|backend| backend.in_flight() <= 1));
        assert_eq!(client.message().status(), 200);
    }
    assert_eq!(cluster.waiting(), 0);
    // Each got some: a free slot goes to a waiter at once.
    let started: Vec<_> = members.backends().iter().map(|backend| backend.counts().started).collect();
    assert_eq!(started.iter().sum::<u64>(), 30);
    assert!(started.iter().all(|&started| started >= 6), "{started:?}");
}

fn a_backend_whose_checks_fail_gets_no_requests(variant: Variant) {
    let site = Site::new(variant, ClusterSettings::default(), |_, _| ());
    let request = CheckRequest { path: "/up".into(), host: None, status: None, contains: Some("/up".into()) };
    let settings = CheckSettings {
        request: Some(request),
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(5),
        initially_up: false,
        ..CheckSettings::default()
    };
    let app = &site.balancer.app;
    let _checker = Checker::start(Arc::clone(app)).unwrap();
    // The checks begin, and end, with new settings of the router.
    let apply = |checks| {
        let plan = ClusterPlan { checks, ..site.plan.clone() };
        app.apply(&RouterSettings::one("default", plan)).unwrap();
    };
    apply(Some(settings));
    eventually("all are up", || (0..3).all(|place| site.check_state(place) == CheckState::Up));
    site.backends[2].app.fails.store(true, SeqCst);
    eventually("the third is down", || site.check_state(2) == CheckState::Down);
    let (counts, failed) = site.ask(60);
    assert_eq!((counts[2], failed), (0, 0), "{counts:?}");
    site.backends[2].app.fails.store(false, SeqCst);
    eventually("the third is up", || site.check_state(2) == CheckState::Up);
    eventually("it gets requests", || site.ask(9).0[2] > 0);
    site.backends[2].app.fails.store(true, SeqCst);
    eventually("the third is down again", || site.check_state(2) == CheckState::Down);
    apply(None);
    eventually("nobody checks", || (0..3).all(|place| site.check_state(place) == CheckState::Unchecked));
}

fn a_key_goes_to_one_backend(variant: Variant) {
    let settings =
        ClusterSettings { policy: "hash:header=X-User".parse().unwrap(), ..ClusterSettings::default() };
    let site = Site::new(variant, settings, |_, _| ());
    let counts = || -> Vec<u64> {
        let members = site.balancer.app.cluster().members();
        members.backends().iter().map(|backend| backend.counts().started).collect()
    };
    for user in 0..60 {
        let before = counts();
        let mut client = site.balancer.client();
        for _ in 0..3 {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n"));
            client.message();
        }
        let got = counts().iter().zip(before).filter(|(after, before)| **after - before > 0).count();
        assert_eq!(got, 1, "user {user}");
    }
    assert!(counts().iter().all(|&count| count > 0), "sixty keys are on all three backends");
}

each_variant! {
    weights_hold
    a_backend_that_fails_at_once_gets_few_requests_and_comes_back
    a_cap_holds_and_the_others_wait
    a_backend_whose_checks_fail_gets_no_requests
    a_key_goes_to_one_backend
}
