//! Tests of requests and responses at their limits, and of refused requests.

use crate::harness::scripted::Backend;
use crate::harness::{Variant, balancer};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn heads_up_to_the_limit_pass_and_larger_ones_do_not(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let field = |n| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(n));
    let line = |n| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n));
    let fields = |n| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n));
    let fixed = field(0).len();
    let cases = [
        (field(32 * 1024 - fixed - 1), 200),
        (field(32 * 1024 - fixed + 1), 431),
        (field(3_000_000), 431),
        (line(8000), 200),
        (line(8200), 414),
        (line(70_000), 414),
        (fields(127), 200),
        (fields(128), 431),
        (fields(100_000), 431),
    ];
    for (request, status) in cases {
        let (mut client, start) = (server.client(), &request[..50]);
        // The server may refuse the request before it has read all of the request.
        let _ = client.try_send(&request);
        if status == 200 {
            let mut peer = backend.accept();
            peer.head();
            peer.send(OK.replace("200 OK", "200 OK\r\nConnection: close"));
            assert_eq!(client.message().text(), "ok", "{start}");
        } else {
            let response = client.message();
            let said = (response.status(), response.field("Connection"));
            assert_eq!(said, (status, Some("close")), "{start} of {} bytes", request.len());
        }
    }
    assert!(backend.is_untouched());
}

fn response_heads_up_to_the_limit_pass_and_larger_ones_do_not(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    for (bytes, status) in [(30_000, 200), (33_000, 502), (2_000_000, 502)] {
        let mut client = server.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut peer = backend.accept();
        peer.head();
        let response = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(bytes));
        let _ = peer.try_send(response);
        drop(peer);
        let got = client.message();
        assert_eq!(got.status(), status, "{bytes} bytes");
        assert!(status == 200 || !got.head.contains("xx"));
    }
}

fn endless_chunk_extensions_and_trailers_are_refused(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    for endless in [format!("5;{}", "x".repeat(1 << 20)), format!("0\r\nX: {}", "x".repeat(1 << 20))] {
        let mut client = server.client();
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut peer = backend.accept();
        let _ = client.try_send(&endless);
        assert_eq!(client.message().status(), 400);
        let (passed, _) = peer.rest();
        assert!(passed.len() < 64 * 1024, "{}", passed.len());
    }
}

fn a_refusal_is_read_by_a_client_that_goes_on_sending(variant: Variant) {
    let server = balancer(variant.options(), &[]);
    for start in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"] {
        let mut client = server.client();
        client.send(start);
        for _ in 0..100 {
            client.send([b'x'; 10_000]);
        }
        assert_eq!(client.message().status(), 400);
        client.finish();
        client.ends();
    }
}

each_variant! {
    heads_up_to_the_limit_pass_and_larger_ones_do_not
    response_heads_up_to_the_limit_pass_and_larger_ones_do_not
    endless_chunk_extensions_and_trailers_are_refused
    a_refusal_is_read_by_a_client_that_goes_on_sending
}
