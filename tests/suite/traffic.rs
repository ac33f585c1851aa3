//! Tests of the counts of finished requests: each request is counted once, whatever its end.
use std::time::{Duration, Instant};

use neraca::app::RequestEnd::{ClientLost, Complete, CutOff};
use neraca::cluster::{Cluster, Policy};
use neraca::router::Router;

use crate::harness::scripted::{Reply, automatic};
use crate::harness::{Server, Variant, eventually};

fn reply(target: &str) -> Option<Reply> {
    match target {
        "/never" => None,
        // The second chunk has no size.
        "/cut" => {
            Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"))
        }
        "/missing" => Some((Duration::ZERO, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")),
        _ => Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
    }
}

fn every_request_is_counted_once_by_its_status_and_its_end(variant: Variant) {
    let plain = Variant { transforms: None, ..variant };
    let backend = automatic(plain, reply);
    let cluster = Cluster::new(&[backend], Policy::default(), 1, Instant::now());
    let balancer = Server::start(Router::new(cluster).counting(), variant.options());
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");

    let mut client = balancer.client();
    for target in ["/", "/missing", "/", "/"] {
        client.send(get(target));
        client.message();
    }
    // Two requests at once, on one connection.
    client.send(get("/").repeat(2));
    client.message();
    client.message();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.message().status(), 400);

    let mut cut = balancer.client();
    cut.send(get("/cut"));
    cut.is_gone();

    // This client leaves without an answer. The client before it sends nothing, so it is not counted.
    drop(balancer.client());
    let mut impatient = balancer.client();
    impatient.send(get("/never"));
    eventually("the backend has the request", || {
        balancer.app.cluster().members().backends()[0].in_flight() == 1
    });
    impatient.reset();

    let expected = [("none", ClientLost, 1), ("2xx", Complete, 5), ("2xx", CutOff, 1), ("4xx", Complete, 2)];
    let counts = || balancer.app.traffic().expect("the router counts").total().counts().collect::<Vec<_>>();
    eventually("the lost client is noticed", || counts().iter().map(|(.., count)| count).sum::<u64>() >= 9);
    assert_eq!(counts(), expected);
    let traffic = balancer.app.traffic().expect("the router counts");
    assert_eq!(traffic.listeners.len(), 1);
    // Only whole responses of the backend have a time of their first byte.
    let id = balancer.app.cluster().members().backends()[0].id();
    assert_eq!(traffic.backends[&id].total(), 6);
}

each_variant! {
    every_request_is_counted_once_by_its_status_and_its_end
}
