//! Tests of interim responses, of `Expect: 100-continue`, and of responses before the end of the request.

use std::time::Duration;

use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, balancer};
use neraca::router::Router;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EXPECTS: &str = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

fn pair(variant: Variant) -> (Backend, Server<Router>, Wire) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let client = server.client();
    (backend, server, client)
}

fn interim_responses_pass_but_not_to_http_1_0(variant: Variant) {
    let (backend, server, mut client) = pair(variant);
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send(HINTS);
    assert_eq!(client.head().head, HINTS);
    peer.send(format!("HTTP/1.1 102 Processing\r\n\r\n{HINTS}{OK}"));
    assert_eq!(client.head().status(), 102);
    assert_eq!(client.head().field("Link"), Some("</a.css>"));
    assert_eq!(client.message().text(), "ok");
    let mut old = server.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    peer.head();
    peer.send(format!("{HINTS}{OK}"));
    assert_eq!(old.message().status(), 200);
    old.ends();
}

fn interim_responses_without_end_or_without_a_response_are_a_bad_gateway(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    for interims in [1, 100] {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut peer = backend.accept();
        peer.head();
        peer.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(interims));
        peer.finish();
        let mut response = client.message();
        while response.status() == 103 {
            response = client.message();
        }
        assert_eq!(response.status(), 502, "{interims}");
    }
}

fn the_backend_says_continue(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    client.send(EXPECTS);
    let mut peer = backend.accept();
    let request = peer.head();
    assert_eq!(request.field("Expect"), Some("100-continue"));
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    client.send("body");
    assert_eq!(peer.body_of(request).text(), "body");
    peer.send(OK);
    assert_eq!(client.message().text(), "ok");
    // The connection can be used again.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.head();
    peer.send(OK);
    assert_eq!(client.message().text(), "ok");
}

fn the_backend_refuses_instead(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    client.send(EXPECTS);
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    let response = client.message();
    assert_eq!((response.status(), response.field("Connection")), (417, Some("close")));
    // The next bytes of the client may be the body or another request. So neither connection is used again.
    client.finish();
    client.ends();
    peer.is_gone();
}

fn a_backend_that_waits_for_the_body_gets_it(variant: Variant) {
    let backend = Backend::start(variant);
    let mut options = variant.options();
    options.listener.limits.continue_timeout = Duration::from_millis(100);
    let server = balancer(options, &[backend.address()]);
    let mut client = server.client();
    client.send(EXPECTS);
    let mut peer = backend.accept();
    let request = peer.head();
    assert_eq!(client.head().status(), 100, "sent by us when the backend does not");
    client.send("body");
    assert_eq!(peer.body_of(request).text(), "body");
    // The backend's 100 is late. The client already has a 100, so this 100 is dropped.
    peer.send(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    assert_eq!(client.message().text(), "ok");
}

fn a_client_that_does_not_wait_is_not_made_to(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    client.send(format!("{EXPECTS}body"));
    let mut peer = backend.accept();
    assert_eq!(peer.message().text(), "body");
    // The 100 is forwarded even so (RFC 9110 section 15.2).
    peer.send(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    assert_eq!([client.message().status(), client.message().status()], [100, 200]);
}

fn an_early_response_passes_while_the_upload_runs(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
    let mut peer = backend.accept();
    peer.head();
    assert_eq!(peer.take(4), b"half");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly");
    let head = client.head();
    assert_eq!(client.take(5), b"early");
    client.send("half");
    assert_eq!(peer.take(4), b"half");
    peer.send("-late");
    assert_eq!(client.take(5), b"-late");
    // The upload was unfinished when the response began, and its rest might not have come.
    assert_eq!(head.field("Connection"), Some("close"));
    client.finish();
    client.ends();
}

fn an_early_refusal_reaches_a_client_that_goes_on_sending(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    drop(peer);
    let part = [b'x'; 10_000];
    for _ in 0..50 {
        client.send(part);
    }
    let response = client.message();
    assert_eq!(
        (response.status(), response.text(), response.field("Connection")),
        (413, "no", Some("close"))
    );
    client.finish();
    client.ends();
}

fn a_body_is_not_a_request(variant: Variant) {
    let (backend, _server, mut client) = pair(variant);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    assert_eq!(client.message().field("Connection"), Some("close"));
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    client.finish();
    client.ends();
    assert!(backend.is_untouched());
}

each_variant! {
    interim_responses_pass_but_not_to_http_1_0
    interim_responses_without_end_or_without_a_response_are_a_bad_gateway
    the_backend_says_continue
    the_backend_refuses_instead
    a_backend_that_waits_for_the_body_gets_it
    a_client_that_does_not_wait_is_not_made_to
    an_early_response_passes_while_the_upload_runs
    an_early_refusal_reaches_a_client_that_goes_on_sending
    a_body_is_not_a_request
}
