//! Requests that wait in the queue of a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neraca::cluster::{Cluster, Policy, Queue};
use neraca::engine::Options;
use neraca::router::Router;

use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, eventually};

/// A balancer over one backend that gets at most `in_flight` requests.
fn bounded(options: Options, in_flight: usize, waiting: usize) -> (Backend, Server<Router>, Arc<Queue>) {
    let backend = Backend::start();
    let cluster = Cluster::new(&[backend.address()], Policy::RoundRobin, 1, Instant::now());
    let server = Server::start(Router::new(cluster.with_capacity(in_flight, waiting)), options);
    let queue = Arc::clone(server.app.cluster().queue().expect("a bound"));
    (backend, server, queue)
}

/// A client that has sent a request for `/n`.
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
    let (backend, server, queue) = bounded(options, 1, 1);
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

each_variant! {
    a_request_that_waits_too_long_or_finds_the_queue_full_is_told_to_come_back
}
