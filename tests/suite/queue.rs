//! Tests of requests that wait in the queue of a cluster.

use std::time::{Duration, Instant};

use neraca::cluster::{BackendSettings, Cap, Cluster, ClusterSettings};
use neraca::engine::Options;
use neraca::router::Router;

use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, eventually};

/// Starts a balancer with one backend and at most `in_flight` requests in flight.
fn bounded(variant: Variant, options: Options, in_flight: u32, waiting: usize) -> (Backend, Server<Router>) {
    let backend = Backend::start(variant);
    let capped = BackendSettings { cap: Some(Cap::Fixed(in_flight)), ..variant.backend(backend.address()) };
    let settings = ClusterSettings { waiting_max: waiting, ..ClusterSettings::default() };
    let cluster = Cluster::with_settings(&[capped], settings, 1, Instant::now());
    (backend, Server::start(Router::new(cluster), options))
}

/// Connects a client and sends a request for `/n`.
fn ask(server: &Server<Router>, n: usize) -> Wire {
    let mut client = server.client();
    client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

fn expect(peer: &mut Wire, n: usize) {
    let head = peer.head().head;
    assert!(head.starts_with(&format!("GET /{n} HTTP/1.1\r\n")), "{head}");
}

fn a_request_that_waits_too_long_or_finds_the_queue_full_is_told_to_come_back(variant: Variant) {
    let mut options = variant.options();
    options.listener.limits.queue_timeout = Duration::from_millis(300);
    let (backend, server) = bounded(variant, options, 1, 1);
    let _running = ask(&server, 0);
    let mut peer = backend.accept();
    expect(&mut peer, 0);
    let mut late = ask(&server, 1);
    eventually("the request waits", || server.app.cluster().waiting() == 1);
    let mut beyond = ask(&server, 2);
    for client in [&mut beyond, &mut late] {
        let answer = client.message();
        assert_eq!((answer.status(), answer.field("Retry-After")), (503, Some("1")));
    }
    assert_eq!(server.app.cluster().waiting(), 0);
}

fn requests_wait_in_order_and_a_client_that_leaves_is_passed_over(variant: Variant) {
    const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let (backend, server) = bounded(variant, variant.options(), 1, 100);
    let mut clients = vec![ask(&server, 0)];
    let mut peer = backend.accept();
    expect(&mut peer, 0);
    for n in 1..=5 {
        clients.push(ask(&server, n));
        eventually("the request waits", || server.app.cluster().waiting() == n);
    }
    clients.remove(3).reset();
    eventually("the client that left is gone from the queue", || server.app.cluster().waiting() == 4);
    for (n, next) in [(0, Some(1)), (1, Some(2)), (2, Some(4)), (4, Some(5)), (5, None)] {
        assert_eq!(server.app.cluster().members().backends()[0].in_flight(), 1);
        assert!(backend.is_untouched(), "more than one request at the backend");
        peer.send(OK);
        assert_eq!(clients.remove(0).message().text(), "ok", "request {n}");
        if let Some(next) = next {
            peer = backend.accept();
            expect(&mut peer, next);
        }
    }
    assert!(backend.is_untouched());
    let in_flight = || server.app.cluster().members().backends()[0].in_flight();
    eventually("the slot is back", || (in_flight(), server.app.cluster().waiting()) == (0, 0));
}

each_variant! {
    requests_wait_in_order_and_a_client_that_leaves_is_passed_over
    a_request_that_waits_too_long_or_finds_the_queue_full_is_told_to_come_back
}
