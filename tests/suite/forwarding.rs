//! Tests of forwarded requests and responses, as backend and client get them.

use crate::harness::scripted::Backend;
use crate::harness::{Variant, balancer, trusting_balancer};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn fields_for_one_hop_go_no_further(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(
        "PUT /p?q HTTP/1.1\r\nHost: a:81\r\nConnection: X-One, x-two, Host, Content-Length, X-Forwarded-For\r\n\
         X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\n\
         Upgrade: h2c\r\nProxy-Authorization: secret\r\nContent-Length: 2\r\nCookie: a\r\nCookie: b\r\n\r\nab",
    );
    let mut peer = backend.accept();
    let request = peer.message();
    assert!(request.head.starts_with("PUT /p?q HTTP/1.1\r\n"), "{request:?}");
    for gone in ["X-One", "X-Two", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert_eq!(request.field(gone), None, "{request:?}");
    }
    for (name, value) in [
        ("Host", "a:81"),
        ("X-Three", "3"),
        ("Content-Length", "2"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", if variant.transforms.is_some() { "https" } else { "http" }),
        ("X-Forwarded-Host", "a:81"),
        ("Via", "1.1 neraca"),
    ] {
        assert_eq!(request.field(name), Some(value), "{request:?}");
    }
    assert_eq!(request.fields("Cookie"), ["a", "b"]);
    peer.send(
        "HTTP/1.1 200 Fine\r\nConnection: X-One, keep-alive\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nX-Two: 2\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nVia: 1.1 b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    );
    let response = client.message();
    assert!(response.head.starts_with("HTTP/1.1 200 Fine\r\n"), "{response:?}");
    for gone in ["X-One", "Keep-Alive", "Proxy-Connection", "Upgrade", "Connection"] {
        assert_eq!(response.field(gone), None, "{response:?}");
    }
    assert_eq!(response.field("X-Two"), Some("2"));
    assert_eq!(response.fields("Via"), ["1.1 b", "1.1 neraca"]);
    assert_eq!(response.fields("Set-Cookie"), ["a", "b"]);
}

fn what_a_client_says_of_itself_is_believed_only_when_trusted(variant: Variant) {
    let backend = Backend::start(variant);
    let ours = if variant.transforms.is_some() { "https" } else { "http" };
    // For a client that is trusted, its own words differ from ours.
    let said = if variant.transforms.is_some() { "http" } else { "https" };
    for (trust, values) in [
        (&[][..], ["127.0.0.1", ours, "a"]),
        (&["127.0.0.0/8"][..], ["10.0.0.1, 10.0.0.2, 127.0.0.1", said, "b"]),
    ] {
        let server = trusting_balancer(variant.options(), &[backend.address()], trust);
        let mut client = server.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nX-Forwarded-Proto: {said}\r\n\
             X-Forwarded-Host: b\r\nConnection: close\r\n\r\n",
        ));
        let mut peer = backend.accept();
        let request = peer.head();
        let seen = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"];
        assert_eq!(seen.map(|name| request.field(name).unwrap()), values);
        peer.send(OK);
        client.message();
        client.ends();
    }
}

fn the_target_decides_about_the_host(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    let mut peer = None;
    for (target, line, host) in [
        ("GET http://b:80/x?y", "GET /x?y HTTP/1.1\r\n", "b:80"),
        ("GET http://b", "GET / HTTP/1.1\r\n", "b"),
        ("GET http://b?y", "GET /?y HTTP/1.1\r\n", "b"),
        ("OPTIONS *", "OPTIONS * HTTP/1.1\r\n", "a"),
        ("GET /%2e%2E/%00?a=%20", "GET /%2e%2E/%00?a=%20 HTTP/1.1\r\n", "a"),
    ] {
        client.send(format!("{target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let peer = peer.get_or_insert_with(|| backend.accept());
        let request = peer.head();
        assert!(request.head.starts_with(line), "{request:?}");
        assert_eq!(request.field("Host"), Some(host), "{request:?}");
        peer.send(OK);
        assert_eq!(client.message().status(), 200);
    }
}

fn a_head_may_come_in_any_two_parts(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    let request = "\r\nPUT /x HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 2\r\n\r\nab";
    let response = "HTTP/1.1 200 OK\r\nX: z\r\nContent-Length: 2\r\n\r\nok";
    let mut peer = None;
    for at in 1..request.len() {
        client.send(&request[..at]);
        client.send(&request[at..]);
        let peer = peer.get_or_insert_with(|| backend.accept());
        let got = peer.message();
        assert_eq!((got.text(), got.field("X")), ("ab", Some("y")), "cut at {at}");
        let at = at.min(response.len() - 1);
        peer.send(&response[..at]);
        peer.send(&response[at..]);
        let got = client.message();
        assert_eq!((got.text(), got.field("X")), ("ok", Some("z")), "cut at {at}");
    }
    // One byte at a time.
    for byte in request.bytes() {
        client.send([byte]);
    }
    let peer = peer.as_mut().unwrap();
    assert_eq!(peer.message().text(), "ab");
    for byte in response.bytes() {
        peer.send([byte]);
    }
    assert_eq!(client.message().text(), "ok");
}

each_variant! {
    fields_for_one_hop_go_no_further
    what_a_client_says_of_itself_is_believed_only_when_trusted
    the_target_decides_about_the_host
    a_head_may_come_in_any_two_parts
}
