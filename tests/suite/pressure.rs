//! Tests of the limit on requests in flight while the CPUs are saturated.

use std::collections::VecDeque;
use std::time::Duration;

use neraca::engine::{ConcurrencyLimit, Options};

use crate::harness::scripted::{Backend, automatic};
use crate::harness::wire::Wire;
use crate::harness::{PATIENCE, SMOL, Variant, balancer, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn one_at_once(variant: Variant) -> Options {
    Options { concurrency: ConcurrencyLimit::Always(1), ..variant.options() }
}

fn ask(clients: &mut [Wire]) {
    for client in clients {
        client.send(GET);
    }
}

fn all_get_ok(clients: &mut [Wire]) {
    for client in clients {
        assert_eq!(client.message().text(), "ok");
    }
}

/// Answers all requests at once, after twenty connections have arrived.
fn answer_once_all_are_there(backend: &Backend) {
    let mut peers: Vec<Wire> = (0..20).map(|_| backend.accept()).collect();
    for peer in &mut peers {
        peer.head();
        peer.send(OK);
    }
}

fn all_that_wait_are_answered(variant: Variant) {
    // The default setting is tested too.
    for concurrency in [ConcurrencyLimit::Always(1), ConcurrencyLimit::default()] {
        let options = Options { concurrency, ..variant.options() };
        let server = balancer(options, &[automatic(variant, |_| Some((Duration::ZERO, OK.as_bytes())))]);
        let mut clients: Vec<Wire> = (0..100).map(|_| server.client()).collect();
        for _ in 0..5 {
            ask(&mut clients);
            all_get_ok(&mut clients);
        }
    }
}

/// Returns the next request at the backend.
fn next_request(backend: &Backend) -> Wire {
    let mut peer = backend.accept();
    peer.head();
    peer
}

/// Answers a request and closes its connection.
fn answer(mut peer: Wire) {
    peer.send(OK.replace("200 OK", "200 OK\r\nConnection: close"));
}

/// At the limit, the next request arrives at the backend only after an answer.
fn the_backend_sees_no_more_requests_than_the_limit(variant: Variant) {
    // The workers limit the textbook pool, and smol's reactor has no limit.
    if variant.holds_workers() || variant.engine == SMOL.engine {
        return;
    }
    let mut options = one_at_once(variant);
    options.engine_limits.in_flight_epoch = 10 * PATIENCE;
    // One worker is awake and starts all requests, so the limit is that of one core.
    options.all_awake = false;
    let limit = 1;
    let backend = Backend::start(variant);
    let server = balancer(options, &[backend.address()]);
    let mut clients: Vec<Wire> = (0..limit + 8).map(|_| server.client()).collect();
    // Each client is served once, because only later requests have to wait.
    for client in &mut clients {
        client.send(GET);
        answer(next_request(&backend));
        assert_eq!(client.message().text(), "ok");
    }
    ask(&mut clients);
    let mut held: VecDeque<Wire> = (0..limit).map(|_| next_request(&backend)).collect();
    for waiting in (0..8).rev() {
        // Two more clients are accepted one after the other. Then the event loop has seen all requests, and has started
        // as many requests as allowed.
        for _ in 0..2 {
            let accepted = server.stats().accepted;
            let _probe = server.client();
            eventually("the probe is there", || server.stats().accepted == accepted + 1);
        }
        assert!(backend.is_untouched(), "{waiting} requests should wait");
        answer(held.pop_front().unwrap());
        held.push_back(next_request(&backend));
    }
    held.into_iter().for_each(answer);
    all_get_ok(&mut clients);
}

fn a_backend_that_answers_nobody_holds_up_nobody(variant: Variant) {
    // A worker of the textbook pool waits for its backend.
    if variant.holds_workers() {
        return;
    }
    let backend = Backend::start(variant);
    let server = balancer(one_at_once(variant), &[backend.address()]);
    let mut clients: Vec<Wire> = (0..20).map(|_| server.client()).collect();
    ask(&mut clients);
    answer_once_all_are_there(&backend);
    all_get_ok(&mut clients);
}

fn what_waits_when_stopping_begins_is_answered(variant: Variant) {
    if variant.holds_workers() {
        return;
    }
    let backend = Backend::start(variant);
    let server = balancer(one_at_once(variant), &[backend.address()]);
    let mut clients: Vec<Wire> = (0..20).map(|_| server.client()).collect();
    // Each client is served once, because only later requests have to wait.
    for client in &mut clients {
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer.send(OK.replace("200 OK", "200 OK\r\nConnection: close"));
        assert_eq!(client.message().text(), "ok");
    }
    ask(&mut clients);
    // When one more client is accepted, the engine has seen all earlier requests.
    let _last = server.client();
    eventually("the last one is there", || server.stats().accepted == 21);
    server.stop();
    answer_once_all_are_there(&backend);
    all_get_ok(&mut clients);
    for client in &mut clients {
        client.ends();
    }
}

each_variant! {
    all_that_wait_are_answered
    the_backend_sees_no_more_requests_than_the_limit
    a_backend_that_answers_nobody_holds_up_nobody
    what_waits_when_stopping_begins_is_answered
}
