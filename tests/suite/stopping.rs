//! Tests of `stop`, of the drain, and of a panic, which ends only one connection.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, Moment};
use neraca::exchange::Reason;
use neraca::http::head::RequestHead;

use crate::harness::scripted::{Backend, automatic};
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, balancer, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn requests_under_way_end_and_idle_connections_are_closed(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut idle: Vec<Wire> = (0..100).map(|_| server.client()).collect();
    let (mut waiting, mut reading, mut writing) = (server.client(), server.client(), server.client());
    waiting.send(GET);
    let mut of_waiting = backend.accept();
    of_waiting.head();
    reading.send(GET);
    let mut of_reading = backend.accept();
    of_reading.head();
    of_reading.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    reading.head();
    writing.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
    let mut of_writing = backend.accept();
    let request = of_writing.head();
    eventually("all are there", || server.stats().accepted == 103);
    server.stop();
    for client in &mut idle {
        client.ends();
    }
    eventually("nobody listens", || TcpStream::connect(server.address()).is_err());
    of_waiting.send(OK);
    let response = waiting.message();
    assert_eq!((response.text(), response.field("Connection")), ("ok", Some("close")));
    waiting.ends();
    of_reading.send("half");
    assert_eq!(reading.take(8), b"halfhalf");
    reading.ends();
    writing.send("half");
    assert_eq!(of_writing.body_of(request).text(), "halfhalf");
    of_writing.send(OK);
    assert_eq!(writing.message().field("Connection"), Some("close"));
    writing.ends();
    server.wait();
}

/// The requests are in the sockets when the engine stops. Whether the engine knows of them is a matter of chance.
fn requests_that_came_before_the_stop_are_answered(variant: Variant) {
    let backend = automatic(variant, |_| Some((Duration::ZERO, OK.as_bytes())));
    for _ in 0..10 {
        let server = balancer(variant.options(), &[backend]);
        let mut kept: Vec<Wire> = (0..20).map(|_| server.client()).collect();
        for client in &mut kept {
            client.send(GET);
            client.message();
        }
        let mut new: Vec<Wire> = (0..100).map(|_| server.client()).collect();
        for client in kept.iter_mut().chain(&mut new) {
            client.send(GET);
        }
        server.stop();
        for client in kept.iter_mut().chain(&mut new) {
            assert_eq!(client.message().text(), "ok");
            client.ends();
        }
        server.wait();
    }
}

fn what_does_not_end_is_broken_off_at_the_drain_limit(variant: Variant) {
    let backend = Backend::start(variant);
    let mut options = variant.options();
    options.engine_limits.drain = Duration::from_millis(300);
    let server = balancer(options, &[backend.address()]);
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    let start = Instant::now();
    server.stop();
    server.wait();
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(3));
    client.is_gone();
    peer.is_gone();
}

/// Sends a request; true when its whole response came.
fn is_answered(client: &mut Wire) -> bool {
    client.try_send(GET).is_ok() && client.comes_to(b"\r\n\r\nok")
}

/// Clients connect, and connections move from core to core, until the listener is closed. Every accepted connection is
/// counted as closed at the end: the harness checks the counters when the server is dropped.
fn a_stop_under_load_loses_no_connection(variant: Variant) {
    let backend = automatic(variant, |_| Some((Duration::ZERO, OK.as_bytes())));
    let server = balancer(variant.options(), &[backend]);
    let server_of_all = &server;
    std::thread::scope(|scope| {
        for client in 0..40 {
            scope.spawn(move || {
                while let Some(mut wire) = server_of_all.try_client() {
                    // Half of the clients keep their connections.
                    while is_answered(&mut wire) && client % 2 == 0 {}
                }
            });
        }
        eventually("the load is there", || server.stats().served >= 2000);
        server.stop();
    });
    server.wait();
}

fn an_engine_without_clients_ends_at_once(variant: Variant) {
    let server = balancer(variant.options(), &[]);
    let start = Instant::now();
    server.stop();
    server.wait();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// An app that panics for one target, and answers all other targets.
struct Fragile;

impl App for Fragile {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, _view: &mut ()) {}

    fn decide(&self, _: &mut (), head: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
        assert!(head.target != "/panic", "as asked for");
        Decision::Answer(Reason::NoBackend.answer())
    }
}

fn a_panic_costs_one_connection(variant: Variant) {
    let mut server = Server::start(Fragile, variant.options());
    server.panics = 20;
    let mut other = server.client();
    for _ in 0..server.panics {
        other.send(GET);
        let mut client = server.client();
        client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
        client.is_gone();
        assert_eq!(other.message().status(), 503);
    }
}

each_variant! {
    requests_under_way_end_and_idle_connections_are_closed
    requests_that_came_before_the_stop_are_answered
    what_does_not_end_is_broken_off_at_the_drain_limit
    a_stop_under_load_loses_no_connection
    an_engine_without_clients_ends_at_once
    a_panic_costs_one_connection
}
