//! Tests of several clusters and routes, of redirects, files and pages beside them, and of new settings while requests run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use neraca::app::{Deadlines, Page};
use neraca::cluster::{BackendSettings, Cap};
use neraca::engine::Options;
use neraca::files::FilesLimits;
use neraca::http::changes::FieldChanges;
use neraca::router::{Action, ClusterPlan, ErrorPage, RouteSettings, Router, RouterSettings};

use crate::harness::scripted::{Backend, Reserved};
use crate::harness::wire::{Message, Wire};
use crate::harness::{Server, Variant, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Returns a cluster over these backends.
fn cluster(name: &str, backends: &[BackendSettings]) -> (String, ClusterPlan) {
    (name.to_owned(), ClusterPlan { backends: backends.to_vec(), ..ClusterPlan::default() })
}

fn route(place: &str, action: Action) -> RouteSettings {
    let (host, path) = place.split_at(place.find('/').unwrap());
    let hosts =
        [host].into_iter().filter(|host| !host.is_empty()).map(|host| host.parse().unwrap()).collect();
    RouteSettings { hosts, prefix: path.parse().unwrap(), ..RouteSettings::all(action) }
}

fn to(place: &str, cluster: &str) -> RouteSettings {
    route(place, Action::Forward(cluster.to_owned()))
}

fn settings<const N: usize>(
    clusters: [(String, ClusterPlan); N],
    routes: Vec<RouteSettings>,
) -> RouterSettings {
    RouterSettings::new(BTreeMap::from(clusters), routes, Vec::new()).unwrap()
}

fn start(options: Options, settings: &RouterSettings) -> Server<Router> {
    Server::start(Router::with_settings(settings, 1, Instant::now()).unwrap(), options)
}

fn ask(client: &mut Wire, target: &str, host: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
}

fn get(client: &mut Wire, target: &str, host: &str) -> Message {
    ask(client, target, host);
    client.message()
}

/// Serves one request at the backend. Returns it.
fn serve(backend: &Backend) -> Message {
    let mut peer = backend.accept();
    let request = peer.message();
    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Version: 1\r\nContent-Length: 2\r\n\r\nok");
    request
}

fn a_request_goes_to_the_cluster_of_its_host_and_path(variant: Variant) {
    let [main, api, other] = [(), (), ()].map(|()| Backend::start(variant));
    let clusters = [("main", &main), ("api", &api), ("other", &other)];
    let clusters = clusters.map(|(name, backend)| cluster(name, &[backend.settings()]));
    let routes = vec![to("a/", "main"), to("a/api", "api"), to("*.b/", "other")];
    let server = start(variant.options(), &settings(clusters, routes));
    let mut client = server.client();
    let cases = [
        (&main, "/apix", "a"),
        (&api, "/api?x", "A:80"),
        (&api, "/x/../api/../%61pi/./y", "a"),
        (&main, "/api/%2e%2e/secret", "a"),
        (&other, "/api", "x.b"),
        (&api, "http://a/api", "x.b"),
    ];
    for (backend, target, host) in cases {
        ask(&mut client, target, host);
        let request = serve(backend);
        let sent = target.strip_prefix("http://a").unwrap_or(target);
        assert!(request.head.starts_with(&format!("GET {sent} HTTP/1.1\r\n")), "{request:?}");
        assert_eq!(client.message().text(), "ok", "{host}{target}");
    }
    for host in ["b", "c"] {
        assert_eq!(get(&mut client, "/", host).status(), 404);
    }
}

fn a_retry_stays_in_the_cluster_of_its_route(variant: Variant) {
    let (dead, main, api) = (Reserved::new(), Backend::start(variant), Backend::start(variant));
    let clusters =
        [cluster("api", &[dead.address().into(), api.settings()]), cluster("main", &[main.settings()])];
    let server = start(variant.options(), &settings(clusters, vec![to("/", "main"), to("/api", "api")]));
    let mut client = server.client();
    for _ in 0..4 {
        ask(&mut client, "/api", "a");
        serve(&api);
        assert_eq!(client.message().text(), "ok");
    }
    assert!(main.is_untouched());
}

fn a_redirect_is_answered_with_its_place(variant: Variant) {
    let action = |location: &str| Action::Redirect { status: 308, location: location.parse().unwrap() };
    let routes = vec![route("/", action("https://{host}{target}")), route("/path", action("{target}"))];
    let server = start(variant.options(), &settings([], routes));
    let mut client = server.client();
    let cases = [
        ("/a?b=c", "https://h/a?b=c"),
        ("http://h:80/a", "https://h/a"),
        ("/a\\b", "https://h/a%5Cb"),
        ("//evil/../path/x", "https://h/evil/../path/x"),
        ("/path//x", "/path//x"),
    ];
    for (target, location) in cases {
        let answer = get(&mut client, target, "h:8080");
        assert_eq!((answer.status(), answer.field("Location")), (308, Some(location)), "{target}");
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.message().status(), 400);
}

/// A directory with one file, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("routes-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(path.join("static")).unwrap();
        fs::write(path.join("static/a.txt"), "a file").unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files_and_pages_stand_beside_a_cluster(variant: Variant) {
    let (directory, dead) = (Directory::new(), Reserved::new());
    let files = RouteSettings {
        response: FieldChanges::new(vec!["etag".into()], vec![("X-Static".into(), "1".into())]).unwrap(),
        ..route("/static", Action::Files(directory.0.clone(), FilesLimits::default()))
    };
    let page = |statuses, body: &str| {
        let page = Page { content_type: "text/html".to_owned(), body: body.as_bytes().into() };
        ErrorPage { statuses, page }
    };
    let clusters = [cluster("main", &[dead.address().into()])];
    let pages = vec![page(400..=599, "<p>error"), page(502..=502, "<p>bad gateway")];
    let routes = vec![to("a/", "main"), files];
    let settings = RouterSettings::new(BTreeMap::from(clusters), routes, pages).unwrap();
    let server = start(variant.options(), &settings);
    let mut client = server.client();
    let answer = get(&mut client, "/static/a.txt", "b");
    assert_eq!((answer.status(), answer.text()), (200, "a file"));
    assert_eq!((answer.field("X-Static"), answer.field("ETag")), (Some("1"), None));
    let cases = [
        ("/", "a", 502, "<p>bad gateway"),
        ("/static/none", "b", 404, "<p>error"),
        ("/", "b", 404, "<p>error"),
    ];
    for (target, host, status, body) in cases {
        let answer = get(&mut client, target, host);
        assert_eq!((answer.status(), answer.text()), (status, body));
        assert_eq!(answer.field("Content-Type"), Some("text/html"));
    }
    // The response to HEAD has the length of the page, and no body.
    client.send("HEAD / HTTP/1.1\r\nHost: b\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status(), head.field("Content-Length")), (404, Some("8")));
    // The page of a request without a route, because its head is invalid.
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.message().text(), "<p>error");
    client.ends();
}

fn a_route_changes_fields_of_requests_and_responses(variant: Variant) {
    let main = Backend::start(variant);
    let changes = |remove: &[&str], set: &[(&str, &str)]| {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FieldChanges::new(remove.iter().map(|&name| name.to_owned()).collect(), set).unwrap()
    };
    let changing = RouteSettings {
        request: changes(&["cookie", "X-Forwarded-For"], &[("Host", "inner:1"), ("X-Key", "k")]),
        response: changes(&["x-version"], &[("Cache-Control", "no-store")]),
        ..to("/", "main")
    };
    let server = start(variant.options(), &settings([cluster("main", &[main.settings()])], vec![changing]));
    let mut client = server.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nCookie: b\r\nX-Key: c\r\nX-key: d\r\nContent-Length: 4\r\n\r\nbody",
    );
    let request = serve(&main);
    let fields =
        ["Host", "X-Key", "Cookie", "X-Forwarded-For", "X-Forwarded-Host"].map(|name| request.field(name));
    assert_eq!((fields, request.text()), ([Some("inner:1"), Some("k"), None, None, Some("a")], "body"));
    let response = client.message();
    assert_eq!((response.field("X-Version"), response.field("Cache-Control")), (None, Some("no-store")));
    assert_eq!(response.text(), "ok");
}

fn a_route_has_deadlines_of_its_own(variant: Variant) {
    let main = Backend::start(variant);
    let short = |response| Deadlines { response: Some(response), ..Deadlines::default() };
    let route = RouteSettings { deadlines: short(Duration::from_millis(50)), ..to("/", "main") };
    let (name, plan) = cluster("main", &[main.settings()]);
    let plan = ClusterPlan { deadlines: short(Duration::from_secs(3600)), ..plan };
    let server = start(variant.options(), &settings([(name, plan)], vec![route]));
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let mut peer = main.accept();
    peer.message();
    assert_eq!(client.message().status(), 504);
}

fn new_settings_take_effect_while_requests_run(variant: Variant) {
    let [kept, gone, new] = [(), (), ()].map(|()| Backend::start(variant));
    let capped = |backend: &Backend| BackendSettings { cap: Some(Cap::Fixed(1)), ..backend.settings() };
    let clusters = [cluster("kept", &[kept.settings()]), cluster("gone", &[capped(&gone)])];
    let before = settings(clusters, vec![to("/", "kept"), to("/gone", "gone")]);
    let server = start(variant.options(), &before);
    let [mut tunnel, mut running, mut waiting, mut client] = [(); 4].map(|()| server.client());
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let mut tunneled = kept.accept();
    tunneled.head();
    tunneled.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(tunnel.head().status(), 101);
    ask(&mut running, "/gone/1", "a");
    let mut peer = gone.accept();
    peer.head();
    ask(&mut waiting, "/gone/2", "a");
    let clusters = server.app.clusters();
    eventually("the request waits", || clusters[0].cluster.waiting() == 1);
    drop(clusters);
    let started = server.app.clusters()[1].cluster.members().backends()[0].counts().started;

    // The cluster `gone` is gone, `kept` has one more backend, and `new` is new.
    let clusters = [cluster("kept", &[kept.settings()]), cluster("new", &[new.settings()])];
    server.app.apply(&settings(clusters, vec![to("/", "kept"), to("/gone", "new")])).unwrap();
    ask(&mut client, "/gone/3", "a");
    assert!(serve(&new).head.starts_with("GET /gone/3 "));
    assert_eq!(client.message().text(), "ok");
    // The waiting request stays in its cluster.
    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(running.message().text(), "ok");
    let mut peer = gone.accept();
    assert!(peer.head().head.starts_with("GET /gone/2 "));
    peer.send(OK);
    assert_eq!(waiting.message().text(), "ok");
    // The tunnel and the counts stay.
    tunnel.send("ping");
    assert_eq!(tunneled.take(4), b"ping");
    tunneled.send("pong");
    assert_eq!(tunnel.take(4), b"pong");
    let backend = &server.app.clusters()[0].cluster.members().backends()[0].clone();
    assert_eq!((backend.counts().started, backend.in_flight()), (started, 1));
}

each_variant! {
    a_request_goes_to_the_cluster_of_its_host_and_path
    a_retry_stays_in_the_cluster_of_its_route
    a_redirect_is_answered_with_its_place
    files_and_pages_stand_beside_a_cluster
    a_route_changes_fields_of_requests_and_responses
    a_route_has_deadlines_of_its_own
    new_settings_take_effect_while_requests_run
}
