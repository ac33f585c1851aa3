//! Tests of requests that wait in the queue of a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neraca::cluster::{Cluster, Policy, Queue};
use neraca::engine::Options;
use neraca::router::Router;

use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, eventually};

/// Starts a balancer with one backend and at most `in_flight` requests in flight.
fn bounded(
    variant: Variant,
    options: Options,
    in_flight: usize,
    waiting: usize,
) -> (Backend, Server<Router>, Arc<Queue>) {
    let backend = Backend::start(variant);
    let cluster = Cluster::new(&[backend.address()], Policy::RoundRobin, 1, Instant::now());
    let server = Server::start(Router::new(cluster.with_capacity(in_flight, waiting)), options);
    let queue = Arc::clone(server.app.cluster().queue().expect("a bound"));
    (backend, server, queue)
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
    let (backend, server, queue) = bounded(variant, options, 1, 1);
    let _running = ask(&server, 0);
    let mut peer = backend.accept();
    expect(&mut peer, 0);
    let mut late = ask(&server, 1);
    eventually("the request waits", || queue.waiting() == 1);
    let mut beyond = ask(&server, 2);
    for client in [&mut beyond, &mut late] {
        let answer = client.message();
        assert_eq!((answer.status(), answer.field("Retry-After")), (503, Some("1")));
    }
    assert_eq!(queue.waiting(), 0);
}

fn requests_wait_in_order_and_a_client_that_leaves_is_passed_over(variant: Variant) {
    const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let (backend, server, queue) = bounded(variant, variant.options(), 1, 100);
    let mut clients = vec![ask(&server, 0)];
    let mut peer = backend.accept();
    expect(&mut peer, 0);
    for n in 1..=5 {
        clients.push(ask(&server, n));
        eventually("the request waits", || queue.waiting() == n);
    }
    clients.remove(3).reset();
    eventually("the client that left is gone from the queue", || queue.waiting() == 4);
    for (n, next) in [(0, Some(1)), (1, Some(2)), (2, Some(4)), (4, Some(5)), (5, None)] {
        assert_eq!(queue.in_use(), 1);
        assert!(backend.is_untouched(), "more than one request at the backend");
        peer.send(OK);
        assert_eq!(clients.remove(0).message().text(), "ok", "request {n}");
        if let Some(next) = next {
            peer = backend.accept();
            expect(&mut peer, next);
        }
    }
    assert!(backend.is_untouched());
    eventually("the permit is back", || (queue.in_use(), queue.waiting()) == (0, 0));
}

each_variant! {
    requests_wait_in_order_and_a_client_that_leaves_is_passed_over
    a_request_that_waits_too_long_or_finds_the_queue_full_is_told_to_come_back
}
