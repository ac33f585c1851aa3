//! Tests with many clients on both engines: no client waits for another client. The tests run one after the other.
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::harness::program::raise_descriptors;
use crate::harness::scripted::{Reply, automatic};
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, balancer, eventually};
use neraca::engine::Engine;
use neraca::router::Router;

macro_rules! each_variant {
    ($($test:ident)+) => {
        each_variant! { crossbeam CROSSBEAM: $($test)+ }
        each_variant! { rayon RAYON: $($test)+ }
        each_variant! { textbook TEXTBOOK: $($test)+ }
        each_variant! { edge EDGE: $($test)+ }
        each_variant! { smol SMOL: $($test)+ }
    };
    ($module:ident $variant:ident: $($test:ident)+) => {
        mod $module { $(#[test] fn $test() {
            let _cores = crate::own_cores();
            super::$test(crate::harness::$variant);
        })+ }
    };
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SLOW: Duration = Duration::from_millis(1000);

/// A body that is larger than all buffers between the backend and a client that does not read.
static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut response = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n".to_vec();
    response.resize(response.len() + 20_000_000, b'x');
    response
});

fn reply(target: &str) -> Option<Reply> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    match target {
        "/big" => Some((Duration::ZERO, &BIG)),
        "/slow" => Some((SLOW, OK)),
        "/never" => None,
        _ => Some((Duration::ZERO, OK)),
    }
}

/// Measures the wait of the next client.
fn wait_of_the_next_client(server: &Server<Router>) -> Duration {
    let start = Instant::now();
    let mut client = server.client();
    client.send(GET);
    assert_eq!(client.message().text(), "ok");
    start.elapsed()
}

/// Checks a promise of the product: a client waits at most a tenth of a second while other clients are slow. The check
/// starts after the engine has read the bytes of the other clients. One of ten clients may wait longer, because another
/// process may use its core.
fn the_next_clients_are_served_soon(server: &Server<Router>) {
    const SOON: Duration = Duration::from_millis(100);
    eventually("somebody is served soon", || wait_of_the_next_client(server) < SOON / 10);
    let waits: Vec<_> = (0..10).map(|_| wait_of_the_next_client(server)).collect();
    assert!(waits.iter().filter(|wait| **wait > SOON).count() <= 1, "{waits:?}");
}

fn a_thousand_kept_connections_are_all_served(variant: Variant) {
    raise_descriptors(6000);
    let server = balancer(variant.options(), &[automatic(variant, reply)]);
    let mut clients: Vec<Wire> = (0..1000).map(|_| server.client()).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send(GET);
        }
        for client in &mut clients {
            assert_eq!(client.message().text(), "ok");
        }
    }
    assert_eq!(server.stats().accepted, 1000);
    drop(clients);
    eventually("all are closed", || server.stats().closed == 1000);
}

fn slow_clients_hold_up_nobody(variant: Variant) {
    raise_descriptors(6000);
    let server = balancer(variant.options(), &[automatic(variant, reply)]);
    let mut crowd = vec![(300, "GET / HTTP/1.1\r\nHo")];
    // A worker of the textbook pool waits for its backend.
    if !variant.holds_workers() {
        crowd.push((200, "PUT /never HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"));
        crowd.push((40, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let mut held = Vec::new();
    for (count, request) in crowd {
        for _ in 0..count {
            let mut client = server.client();
            client.send(request);
            held.push(client);
        }
    }
    eventually("all are there", || server.stats().accepted == held.len() as u64);
    the_next_clients_are_served_soon(&server);
    for client in held.iter_mut().skip(500) {
        assert_eq!(client.head().status(), 200);
    }
}

fn a_slow_backend_holds_up_nobody(variant: Variant) {
    if variant.holds_workers() {
        return;
    }
    raise_descriptors(10_000);
    let server = balancer(variant.options(), &[automatic(variant, reply)]);
    let start = Instant::now();
    let mut clients: Vec<Wire> = (0..1000).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("all are under way", || server.stats().connected == 1000);
    the_next_clients_are_served_soon(&server);
    for client in &mut clients {
        assert_eq!(client.message().text(), "ok");
    }
    // One after the other on the workers, the requests would take minutes.
    let took = start.elapsed();
    assert!(took >= SLOW && took < 3 * SLOW, "{took:?}");
}

fn idle_clients_make_room_for_new_clients(variant: Variant) {
    let mut options = variant.options();
    options.engine_limits.connections = 5;
    // The core that accepts asks its own clients to leave. With one core all clients are its own.
    if matches!(options.engine, Engine::Async(_)) {
        options.workers = 1;
    }
    let server = balancer(options, &[automatic(variant, reply)]);
    let mut clients: Vec<Wire> = (0..5).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.message().text(), "ok");
    }
    // Each worker reads its clock once per wake-up. So the other clients are busy for much longer than a wake-up takes.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        for client in &mut clients[1..] {
            client.send(GET);
            assert_eq!(client.message().text(), "ok");
        }
    }
    // The client that has been idle for the longest time leaves, and nobody else.
    let mut newcomer = server.client();
    newcomer.send(GET);
    assert_eq!(newcomer.message().text(), "ok");
    clients.remove(0).ends();
    for client in clients.iter_mut().chain([&mut newcomer]) {
        client.send(GET);
        assert_eq!(client.message().text(), "ok");
    }
    // A worker of the textbook pool is held for as long as a backend is.
    if variant.holds_workers() {
        return;
    }
    // Without an idle client the newcomers wait for their turn.
    for client in &mut clients {
        client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    newcomer.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut waiting: Vec<Wire> = (0..7).map(|_| server.client()).collect();
    for client in &mut waiting {
        client.send(GET);
    }
    let paused = server.stats().accept_paused;
    eventually("it is full", || server.stats().accept_paused > paused);
    assert_eq!(server.stats().accepted, 6);
    // Each one that leaves makes room for one.
    clients.into_iter().chain([newcomer]).for_each(Wire::reset);
    for mut client in waiting {
        assert_eq!(client.message().text(), "ok");
    }
    assert_eq!(server.stats().accepted, 13);
}

each_variant! {
    a_thousand_kept_connections_are_all_served
    slow_clients_hold_up_nobody
    a_slow_backend_holds_up_nobody
    idle_clients_make_room_for_new_clients
}
