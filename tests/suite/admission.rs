//! Requests that wait for others to be answered.

use std::time::Duration;

use neraca::engine::{AtOnce, Options};

use crate::harness::scripted::{Backend, automatic};
use crate::harness::wire::Wire;
use crate::harness::{Variant, balancer, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn one_at_once(variant: Variant) -> Options {
    Options { at_once: AtOnce::Always(1), ..variant.options() }
}

fn all_that_wait_are_answered(variant: Variant) {
    let server = balancer(one_at_once(variant), &[automatic(|_| Some((Duration::ZERO, OK.as_bytes())))]);
    let mut clients: Vec<Wire> = (0..100).map(|_| server.client()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.send(GET);
        }
        for client in &mut clients {
            assert_eq!(client.message().text(), "ok");
        }
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
    for client in &mut clients {
        client.send(GET);
    }
    let mut peers: Vec<Wire> = (0..20).map(|_| backend.accept()).collect();
    for peer in &mut peers {
        peer.head();
        peer.send(OK);
    }
    for client in &mut clients {
        assert_eq!(client.message().text(), "ok");
    }
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
    for client in &mut clients {
        client.send(GET);
    }
    // Whoever accepts one more client has seen what came before it.
    let _last = server.client();
    eventually("the last one is there", || server.stats().accepted == 21);
    server.stop();
    let mut peers: Vec<Wire> = (0..20).map(|_| backend.accept()).collect();
    for peer in &mut peers {
        peer.head();
        peer.send(OK);
    }
    for client in &mut clients {
        assert_eq!(client.message().text(), "ok");
        client.ends();
    }
}

each_variant! {
    all_that_wait_are_answered
    a_backend_that_answers_nobody_holds_up_nobody
    what_waits_when_stopping_begins_is_answered
}
