//! A transform between the sockets and the exchange, in every variant: the handshake, the end marker, bytes that wait.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use neraca::engine::Transform;
use neraca::router::Router;

use crate::harness::masked::{Masked, Role};
use crate::harness::scripted::Backend;
use crate::harness::wire::{End, Wire};
use crate::harness::{PATIENCE, Server, Variant, balancer, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn pair(variant: Variant) -> (Backend, Server<Router>) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    (backend, server)
}

fn bodies_pass_and_connections_are_used_again(variant: Variant) {
    let (backend, server) = pair(variant.with_transforms());
    let body: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let mut client = server.client();
    let mut peer = None;
    for _ in 0..3 {
        let mut writer = client.another();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
                writer.send(&body);
            });
            let peer = peer.get_or_insert_with(|| backend.accept());
            assert!(peer.message().body == body);
            let mut peer = peer.another();
            let body = &body;
            scope.spawn(move || {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
                peer.send(body);
            });
            assert!(client.message().body == *body);
        });
    }
    assert_eq!((server.stats().connected, server.stats().reused), (1, 2));
}

fn requests_in_one_packet_are_all_answered(variant: Variant) {
    let (backend, server) = pair(variant.with_transforms());
    let mut client = server.client();
    // The first read decodes all of them, and nothing arrives later.
    client.send(GET.repeat(5));
    let mut peer = backend.accept();
    for _ in 0..5 {
        peer.head();
        peer.send(OK);
        assert_eq!(client.message().text(), "ok");
    }
}

fn a_handshake_may_come_byte_by_byte(variant: Variant) {
    let (backend, server) = pair(variant.with_transforms());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut client, mut plain, mut part) = (Masked::new(Role::Client), Vec::new(), [0]);
    while client.is_handshaking() {
        let mut out = Vec::new();
        client.encode([&[], &[]], &mut out).unwrap();
        let mut received = !out.is_empty();
        loop {
            for byte in out.drain(..) {
                stream.write_all(&[byte]).unwrap();
            }
            if std::mem::take(&mut received) {
                break;
            }
            assert_eq!(stream.read(&mut part).unwrap(), 1, "the handshake is broken off");
            client.decode(&part, &mut plain, &mut out).unwrap();
            received = out.is_empty();
        }
    }
    let mut out = Vec::new();
    client.encode([GET.as_bytes(), &[]], &mut out).unwrap();
    for byte in out {
        stream.write_all(&[byte]).unwrap();
    }
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    while !plain.ends_with(b"\r\n\r\nok") {
        let n = stream.read(&mut part).unwrap();
        client.decode(&part[..n], &mut plain, &mut Vec::new()).unwrap();
    }
}

fn a_stream_without_its_end_marker_does_not_look_whole(variant: Variant) {
    for cut in [false, true] {
        let (backend, server) = pair(variant.with_transforms());
        let mut client = server.client();
        client.send("GET / HTTP/1.0\r\n\r\n");
        let mut peer = backend.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\n\r\npart");
        client.head();
        assert_eq!(client.take(4), b"part");
        if cut {
            peer.cut_off();
        } else {
            peer.finish();
        }
        assert_eq!(client.rest(), (Vec::new(), if cut { End::Reset } else { End::Eof }));
    }
}

fn a_client_that_is_cut_off_ends_its_requests_and_nobody_elses(variant: Variant) {
    let (backend, server) = pair(variant.with_transforms());
    let (mut client, mut other) = (server.client(), server.client());
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
    let mut peer = backend.accept();
    peer.head();
    assert_eq!(peer.take(4), b"half");
    client.cut_off();
    peer.is_gone();
    client.is_gone();
    other.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    assert_eq!(other.message().text(), "ok");
}

fn bytes_that_are_no_records_end_the_connection(variant: Variant) {
    let (_backend, server) = pair(variant.with_transforms());
    for bytes in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x15hallo"] {
        let mut client = Wire::new(TcpStream::connect(server.address()).unwrap());
        client.send(bytes);
        client.rest();
    }
    eventually("both are closed", || server.stats().closed == 2);
}

/// A backend that takes a connection, and answers the hello with `reply`. It closes the connection when it has a reply.
fn answer_to_hello(reply: Option<&'static [u8]>, ask: impl FnOnce(u16) -> u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let backend = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
            match reply {
                Some(reply) => stream.write_all(reply).unwrap(),
                // Until the balancer gives up.
                None => assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_))),
            }
        });
        let status = ask(port);
        backend.join().unwrap();
        status
    })
}

fn a_handshake_of_a_backend_that_fails_is_a_failed_connect(variant: Variant) {
    let variant = variant.with_transforms();
    for (reply, status) in [(None, 504), (Some(&b"HTTP/1.1 400"[..]), 502), (Some(b""), 502)] {
        let got = answer_to_hello(reply, |port| {
            let mut options = variant.options();
            options.listener.limits.connect_timeout = Duration::from_millis(300);
            let server = balancer(options, &[([127, 0, 0, 1], port).into()]);
            let mut client = server.client();
            // No byte of the request was sent, but the request is not tried elsewhere: there is one backend.
            client.send("BREW / HTTP/1.1\r\nHost: a\r\n\r\n");
            let status = client.message().status();
            assert_eq!((server.stats().connected, server.stats().unreachable > 0), (0, true), "{reply:?}");
            status
        });
        assert_eq!(got, status, "{reply:?}");
    }
}

each_variant! {
    bodies_pass_and_connections_are_used_again
    requests_in_one_packet_are_all_answered
    a_handshake_may_come_byte_by_byte
    a_stream_without_its_end_marker_does_not_look_whole
    a_client_that_is_cut_off_ends_its_requests_and_nobody_elses
    bytes_that_are_no_records_end_the_connection
    a_handshake_of_a_backend_that_fails_is_a_failed_connect
}
