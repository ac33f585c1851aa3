//! Tests of bodies: every framing, both directions, whole or visibly truncated.

use std::thread;

use crate::harness::scripted::Backend;
use crate::harness::wire::{End, Message};
use crate::harness::{Server, Variant, balancer};
use neraca::engine::Options;
use neraca::router::Router;

fn pair(variant: Variant) -> (Backend, Server<Router>) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    (backend, server)
}

/// Makes `n` bytes in which every part differs.
fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i / 251 + i) as u8).collect()
}

/// Encodes a body in chunks of different sizes.
fn chunks(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for size in (1..).map(|n: usize| n * n * 7) {
        let (chunk, rest) = body.split_at(size.min(body.len()));
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
        if chunk.is_empty() {
            return out;
        }
        body = rest;
    }
    out
}

fn a_response_passes_in_every_framing(variant: Variant) {
    let (backend, server) = pair(variant);
    let body = bytes(3_000_000);
    let with_length =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let chunked = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &*chunks(&body)].concat();
    let until_close = [b"HTTP/1.1 200 OK\r\n\r\n", &*body].concat();
    // response, version of the client, Transfer-Encoding and Connection for the client
    let cases = [
        (&with_length, "1.1", None, None),
        (&with_length, "1.0", None, Some("close")),
        (&chunked, "1.1", Some("chunked"), None),
        (&chunked, "1.0", None, Some("close")),
        (&until_close, "1.1", Some("chunked"), None),
        (&until_close, "1.0", None, Some("close")),
    ];
    for (response, version, coding, connection) in cases {
        let mut client = server.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let mut peer = backend.accept();
        peer.head();
        thread::scope(|scope| {
            scope.spawn(|| {
                peer.send(response);
                drop(peer);
            });
            let got = match version {
                "1.1" => client.message(),
                _ => client.message_until_close(),
            };
            let said = (got.field("Transfer-Encoding"), got.field("Connection"));
            assert_eq!(said, (coding, connection), "{version}");
            assert!(got.body == body, "{version} {coding:?}: {} bytes", got.body.len());
        });
    }
}

fn a_request_passes_in_every_framing(variant: Variant) {
    let (backend, server) = pair(variant);
    let body = bytes(3_000_000);
    let with_length =
        [format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
            .concat();
    let chunked =
        [b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &*chunks(&body)].concat();
    let old =
        [format!("PUT / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    for (request, coding) in [(with_length, None), (chunked, Some("chunked")), (old, None)] {
        let mut client = server.client();
        let mut writer = client.another();
        thread::scope(|scope| {
            scope.spawn(|| writer.send(&request));
            let mut peer = backend.accept();
            let got = peer.message();
            assert_eq!(got.field("Transfer-Encoding"), coding);
            assert!(got.body == body, "{coding:?}: {} bytes", got.body.len());
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(client.message().text(), "ok");
        });
    }
}

fn trailers_are_passed_on_both_ways(variant: Variant) {
    let (backend, server) = pair(variant);
    let mut client = server.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 6\r\nContent-Length: 9\r\n\r\n",
    );
    let mut peer = backend.accept();
    let request = peer.head();
    assert_eq!((request.field("TE"), request.field("Trailer")), (Some("trailers"), Some("Sum")));
    assert_eq!(peer.take(5 + 2 + 3 + 2), b"3;x=y\r\nabc\r\n");
    assert_eq!(
        peer.body_of(Message { head: "\r\nTransfer-Encoding: chunked".into(), ..Message::default() })
            .trailers,
        "Sum: 6\r\n"
    );
    peer.send("HTTP/1.1 200 OK\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\nHost: b\r\n\r\n");
    let response = client.message();
    assert_eq!(
        (response.field("Trailer"), response.text(), &*response.trailers),
        (Some("Sum"), "ok", "Sum: 7\r\n")
    );
    // An HTTP/1.0 client gets the body without chunks.
    let mut client = server.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    peer.head();
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n");
    assert_eq!(client.message_until_close().text(), "ok");
}

fn responses_without_a_body_end_with_their_head(variant: Variant) {
    let (backend, server) = pair(variant);
    let mut client = server.client();
    // method, response head, Content-Length for the client
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n", Some("7")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n", Some("5")),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
        ("POST", "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
    ];
    let mut peer = None;
    for (method, response, length) in cases {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let peer = peer.get_or_insert_with(|| backend.accept());
        assert!(peer.head().head.starts_with(method));
        peer.send(response);
        let got = client.head();
        assert_eq!(got.field("Content-Length"), length, "{method} {response}");
        if method == "POST" {
            client.take(5);
        }
    }
    assert_eq!(server.stats().connected, 1);
}

fn an_empty_body_until_close_is_whole(variant: Variant) {
    let (backend, server) = pair(variant);
    let mut client = server.client();
    for version in ["1.1", "1.0"] {
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let mut peer = backend.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        drop(peer);
        match version {
            "1.1" => assert_eq!(client.message().text(), ""),
            _ => assert_eq!(client.message_until_close().text(), ""),
        }
    }
}

/// The way in which a backend cuts off a body.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Close,
    Reset,
}

fn a_response_that_is_cut_off_never_looks_whole(variant: Variant) {
    let (backend, server) = pair(variant);
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nhalf";
    let cases = [
        (LENGTH, Cut::Close),
        (LENGTH, Cut::Reset),
        (CHUNKED, Cut::Close),
        (CHUNKED, Cut::Reset),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", Cut::Close),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", Cut::Close),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n", Cut::Close),
        (UNTIL_CLOSE, Cut::Reset),
    ];
    for (response, cut) in cases {
        for version in ["1.1", "1.0"] {
            let mut client = server.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            let mut peer = backend.accept();
            peer.head();
            peer.send(response);
            if let Cut::Reset = cut {
                // A reset destroys unread bytes, so the reset waits until the client has the head.
                assert_eq!(client.head().status(), 200);
                peer.reset();
            } else {
                drop(peer);
            }
            let (rest, end) = client.rest();
            let rest = String::from_utf8_lossy(&rest);
            // An HTTP/1.1 client sees the missing end in the framing. An HTTP/1.0 client sees only a reset.
            let shows = end == End::Reset || (version == "1.1" && !rest.ends_with("0\r\n\r\n"));
            assert!(shows, "{response:?} {cut:?} {version}: {rest:?} {end:?}");
        }
    }
}

fn a_request_that_is_cut_off_never_looks_whole(variant: Variant) {
    let (backend, server) = pair(variant);
    for request in [
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "PUT / HTTP/1.0\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        for reset in [false, true] {
            let mut client = server.client();
            client.send(request);
            let mut peer = backend.accept();
            peer.head();
            if reset {
                client.reset();
            } else {
                client.finish();
                client.is_gone();
            }
            let (rest, _) = peer.rest();
            let rest = String::from_utf8_lossy(&rest);
            assert!(
                rest.matches("half").count() <= 1 && !rest.ends_with("0\r\n\r\n"),
                "{request:?}: {rest:?}"
            );
        }
    }
}

fn bytes_behind_a_response_never_reach_a_client(variant: Variant) {
    let (backend, server) = pair(variant);
    let mut client = server.client();
    for (method, response) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 EVIL\r\nContent-Length: 4\r\n\r\nevil",
        ),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil"),
        ("GET", "HTTP/1.1 204 OK\r\n\r\nevil"),
        ("GET", "HTTP/1.1 304 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut peer = backend.accept();
        peer.head();
        peer.send(response);
        let head = client.head();
        if method == "GET" && head.status() == 200 {
            assert_eq!(client.body_of(head).text(), "ok");
        }
        peer.is_gone();
    }
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
    assert_eq!(client.message().text(), "last");
    client.ends();
}

fn a_backend_that_speaks_unasked_is_not_listened_to(variant: Variant) {
    let (backend, server) = pair(variant);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.message();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut fresh = backend.accept();
    fresh.head();
    fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    assert_eq!(client.message().text(), "good");
}

/// A full read does not tell whether more bytes have arrived, and no event tells either: they came with the response.
fn bytes_behind_a_response_that_fills_the_read_never_reach_a_client(variant: Variant) {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let backend = Backend::start(variant);
    let options = Options { receive_bytes: OK.len(), ..variant.options() };
    let server = balancer(options, &[backend.address()]);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send([OK, &OK.replace("ok", "no")].concat());
    assert_eq!(client.message().text(), "ok");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut other = backend.accept();
    other.head();
    other.send(OK);
    assert_eq!(client.message().text(), "ok");
}

each_variant! {
    a_response_passes_in_every_framing
    a_request_passes_in_every_framing
    trailers_are_passed_on_both_ways
    responses_without_a_body_end_with_their_head
    an_empty_body_until_close_is_whole
    a_response_that_is_cut_off_never_looks_whole
    a_request_that_is_cut_off_never_looks_whole
    bytes_behind_a_response_never_reach_a_client
    a_backend_that_speaks_unasked_is_not_listened_to
    bytes_behind_a_response_that_fills_the_read_never_reach_a_client
}
