//! Requests that wait for others to be answered.

use std::time::Duration;

use neraca::engine::{ConcurrencyLimit, Options};

use crate::harness::scripted::{Backend, automatic};
use crate::harness::wire::Wire;
use crate::harness::{Variant, balancer, eventually};

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

/// Answers nobody before twenty connections are there.
fn answer_once_all_are_there(backend: &Backend) {
    let mut peers: Vec<Wire> = (0..20).map(|_| backend.accept()).collect();
    for peer in &mut peers {
        peer.head();
        peer.send(OK);
    }
}

fn all_that_wait_are_answered(variant: Variant) {
    let server = balancer(one_at_once(variant), &[automatic(|_| Some((Duration::ZERO, OK.as_bytes())))]);
    let mut clients: Vec<Wire> = (0..100).map(|_| server.client()).collect();
    for _ in 0..5 {
        ask(&mut clients);
        all_get_ok(&mut clients);
    }
}

fn a_backend_that_answers_nobody_holds_up_nobody(variant: Variant) {
    // A worker of the textbook pool is held for as long as a backend is.
    if variant.holds_workers() {
        return;
    }
    let backend = Backend::start();
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
    let backend = Backend::start();
    let server = balancer(one_at_once(variant), &[backend.address()]);
    let mut clients: Vec<Wire> = (0..20).map(|_| server.client()).collect();
    // Each has been served once, so that what it sends next has to wait.
    for client in &mut clients {
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer.send(OK.replace("200 OK", "200 OK\r\nConnection: close"));
        assert_eq!(client.message().text(), "ok");
    }
    ask(&mut clients);
    // Whoever accepts one more client has seen what came before it.
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
    a_backend_that_answers_nobody_holds_up_nobody
    what_waits_when_stopping_begins_is_answered
}
