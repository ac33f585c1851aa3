//! Tests of the PROXY protocol: a proxy in front of us names its client.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use neraca::cluster::{BackendSettings, Cluster, ClusterSettings};
use neraca::engine::Options;
use neraca::http::proxy_protocol::{Version, header};
use neraca::router::Router;

use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, trusting_balancer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x05\x00\x50";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A balancer that expects headers from loopback addresses.
fn behind_a_proxy(mut options: Options, backend: &Backend, trust: &[&str]) -> Server<Router> {
    options.listener.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
    trusting_balancer(options, &[backend.address()], trust)
}

/// A client that sends these parts, each in a packet of its own.
fn client(server: &Server<Router>, parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Wire {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    parts.into_iter().for_each(|part| stream.write_all(part.as_ref()).unwrap());
    server.client_over(stream)
}

fn the_client_in_the_header_counts(variant: Variant) {
    let backend = Backend::start(variant);
    let cases: [(&[u8], &[&str], &str); 4] = [
        (V1, &[], "192.0.2.1"),
        (V2, &[], "192.0.2.1"),
        (V2, &["192.0.2.0/24"], "10.9.9.9, 192.0.2.1"),
        (LOCAL, &[], "127.0.0.1"),
    ];
    for (header, trust, forwarded_for) in cases {
        let server = behind_a_proxy(variant.options(), &backend, trust);
        for part in [1, 15, header.len()] {
            let mut client = client(&server, header.chunks(part));
            // The header counts for all requests of the connection.
            for _ in 0..2 {
                client.send(GET);
                let mut peer = backend.accept();
                assert_eq!(peer.head().field("X-Forwarded-For"), Some(forwarded_for), "{header:?}");
                peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
                assert_eq!(client.message().text(), "ok");
            }
        }
    }
}

fn header_and_request_may_come_together(variant: Variant) {
    if variant.transforms.is_some() {
        return; // A handshake comes in between.
    }
    let backend = Backend::start(variant);
    let server = behind_a_proxy(variant.options(), &backend, &[]);
    let mut client = client(&server, [[V2, GET.as_bytes()].concat()]);
    let mut peer = backend.accept();
    assert_eq!(peer.head().field("X-Forwarded-For"), Some("192.0.2.1"));
    peer.send(OK);
    assert_eq!(client.message().text(), "ok");
}

fn a_connection_without_a_header_is_closed(variant: Variant) {
    let backend = Backend::start(variant);
    let server = behind_a_proxy(variant.options(), &backend, &[]);
    for bytes in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 192.0.2.1 ::1 5 80\r\n"] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        Wire::new(stream).is_gone();
    }
}

fn a_header_has_a_deadline(variant: Variant) {
    let backend = Backend::start(variant);
    let mut options = variant.options();
    options.listener.limits.head_timeout = Duration::from_millis(50);
    let server = behind_a_proxy(options, &backend, &[]);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&V2[..20]).unwrap();
    Wire::new(stream).is_gone();
}

fn a_header_from_elsewhere_is_a_bad_request(variant: Variant) {
    let backend = Backend::start(variant);
    let mut options = variant.options();
    options.listener.proxy_protocol = vec!["192.0.2.0/24".parse().unwrap()];
    let server = trusting_balancer(options, &[backend.address()], &[]);
    let outcome = server.outcome_of(V1);
    assert!(outcome.starts_with("HTTP/1.1 400 "), "{outcome}");
}

fn a_backend_learns_the_client_of_each_connection(variant: Variant) {
    let backend = Backend::start(variant);
    for version in [Version::V1, Version::V2] {
        let settings = BackendSettings { proxy_protocol: Some(version), ..backend.settings() };
        let cluster = Cluster::with_settings(&[settings], ClusterSettings::default(), 1, Instant::now());
        let mut options = variant.options();
        options.listener.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
        let server = Server::start(Router::new(cluster), options);
        let expected = header(version, "192.0.2.1:5".parse().unwrap(), server.address());
        let mut client = client(&server, [V1]);
        // A connection serves one request, because it names one client.
        for _ in 0..2 {
            client.send(GET);
            let (first, mut peer) = backend.accept_behind(expected.len());
            assert_eq!(first, expected);
            assert!(peer.head().head.starts_with("GET / HTTP/1.1\r\n"));
            peer.send(OK);
            assert_eq!(client.message().text(), "ok");
            peer.is_gone();
        }
    }
}

each_variant! {
    the_client_in_the_header_counts
    header_and_request_may_come_together
    a_connection_without_a_header_is_closed
    a_header_has_a_deadline
    a_header_from_elsewhere_is_a_bad_request
    a_backend_learns_the_client_of_each_connection
}
