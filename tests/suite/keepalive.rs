//! Tests of kept connections on both sides.

use std::time::Duration;

use crate::harness::scripted::Backend;
use crate::harness::wire::Message;
use crate::harness::{Variant, balancer, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

fn a_connection_carries_one_request_after_the_other_on_both_sides(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept();
    for n in 0..20 {
        assert!(peer.head().head.starts_with(&format!("GET /{n} HTTP/1.1\r\n")));
        peer.send(OK);
        let response = client.message();
        assert_eq!((response.status(), response.text(), response.field("Connection")), (200, "ok", None));
        client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", n + 1));
    }
    peer.head();
    assert!(backend.is_untouched());
    peer.send(OK);
    client.message();
    let stats = server.stats();
    assert_eq!((stats.connected, stats.reused), (1, 20));
}

fn the_version_and_the_connection_field_decide(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    // request line and fields, Connection field of the response, true when the connection is kept
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n", None, true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n", None, true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", Some("close"), false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n", Some("close"), false),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n",
            Some("close"),
            false,
        ),
        ("GET / HTTP/1.0\r\n", Some("close"), false),
        ("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n", Some("keep-alive"), true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", Some("close"), false),
    ];
    let mut peer = None;
    for (request, said, stays) in cases {
        let mut client = server.client();
        client.send(format!("{request}\r\n"));
        let peer = peer.get_or_insert_with(|| backend.accept());
        assert_eq!(peer.head().field("Connection"), None, "{request}");
        peer.send(OK);
        let response = client.message();
        assert_eq!((response.text(), response.field("Connection")), ("ok", said), "{request}");
        match stays {
            true => {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                peer.head();
                peer.send(OK);
                assert_eq!(client.message().status(), 200, "{request}");
            }
            false => client.ends(),
        }
    }
}

fn a_backend_that_closes_is_not_used_again_and_the_client_does_not_notice(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    let closing = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nConnection: x, close\r\nContent-Length: 2\r\n\r\nok",
    ];
    for response in closing {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut peer = backend.accept();
        peer.head();
        peer.send(response);
        let got = client.message();
        assert_eq!((got.text(), got.field("Connection"), got.field("Keep-Alive")), ("ok", None, None));
        peer.is_gone();
    }
    assert_eq!(server.stats().reused, 0);
}

fn a_connection_that_ended_with_its_response_is_not_used_again(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    // A POST is not sent a second time, so each POST shows whether its connection was alive.
    for _ in 0..20 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        let mut peer = backend.accept();
        peer.message();
        peer.send_and_end(OK);
        assert_eq!(client.message().text(), "ok");
    }
    assert_eq!((server.stats().connected, server.stats().reused), (20, 0));
}

fn a_backend_of_http_1_0_is_used_again_when_it_says_so(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept();
    for _ in 0..2 {
        peer.head();
        peer.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
        let response = client.message();
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{response:?}");
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    peer.head();
    peer.send(OK);
    client.message();
}

fn pipelined_requests_are_answered_in_order(variant: Variant) {
    let backends = [Backend::start(variant), Backend::start(variant)];
    let server = balancer(variant.options(), &backends.each_ref().map(Backend::address));
    let mut client = server.client();
    let mut all = String::new();
    for n in 0..8 {
        all += &format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{n}");
    }
    client.send(all);
    let mut peers = backends.each_ref().map(|_| None);
    for n in 0..8 {
        let turn = n % 2;
        let peer = peers[turn].get_or_insert_with(|| backends[turn].accept());
        let request = peer.message();
        assert_eq!(
            (request.text(), request.head.starts_with(&format!("POST /{n} "))),
            (&*n.to_string(), true)
        );
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}"));
    }
    for n in 0..8 {
        assert_eq!(client.message().text(), n.to_string());
    }
}

fn pipelined_requests_behind_a_close_are_not_served(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    assert_eq!(client.message().text(), "ok");
    client.finish();
    client.ends();
    assert!(backend.is_untouched());
    drop(server);
    peer.is_gone();
}

fn requests_of_a_client_that_sends_no_more_are_all_answered(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.finish();
    let mut peer = backend.accept();
    let served: Vec<Message> = (0..2)
        .map(|_| {
            peer.head();
            peer.send(OK);
            client.message()
        })
        .collect();
    assert_eq!(served.iter().map(Message::text).collect::<Vec<_>>(), ["ok", "ok"]);
    client.ends();
}

fn a_connection_without_time_or_requests_left_is_not_kept(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    for stated in ["timeout=0", "timeout=5, max=0"] {
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer.send(format!("HTTP/1.1 200 OK\r\nKeep-Alive: {stated}\r\nContent-Length: 2\r\n\r\nok"));
        assert_eq!(client.message().text(), "ok", "{stated}");
        peer.is_gone();
    }
    assert_eq!((server.stats().connected, server.stats().reused), (2, 0));
}

fn a_connection_is_closed_before_the_time_that_its_backend_states(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut clients = [server.client(), server.client()];
    let mut peers = clients.each_mut().map(|client| {
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer
    });
    let stated = ["HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok", OK];
    for ((client, peer), response) in clients.iter_mut().zip(&mut peers).zip(stated) {
        peer.send(response);
        assert_eq!(client.message().text(), "ok");
    }
    let [mut first, mut second] = peers;
    first.is_gone();
    clients[0].send(GET);
    second.head();
    second.send(OK);
    assert_eq!(clients[0].message().text(), "ok");
}

fn a_post_uses_no_connection_that_its_backend_may_close_soon(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(POST);
    let mut peer = backend.accept();
    peer.message();
    peer.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok");
    client.message();
    // Three quarters of the time less the margin are 375 ms. The balancer may close the connection meanwhile.
    let _ = peer.is_silent_for(Duration::from_millis(385));
    client.send(POST);
    let mut fresh = backend.accept();
    fresh.message();
    fresh.send(OK);
    assert_eq!(client.message().text(), "ok");
    peer.is_gone();
    assert_eq!((server.stats().connected, server.stats().reused), (2, 0));
}

fn the_idle_time_of_a_backend_is_learnt(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    client.message();
    assert!(peer.is_silent_for(Duration::from_millis(20)));
    drop(peer);
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    client.message();
    let members = server.app.cluster().members();
    eventually("the idle time is known", || members.backends()[0].idle_time().is_some());
    assert!(members.backends()[0].idle_time() >= Some(Duration::from_millis(20)));
    // Now the balancer closes the connection first.
    peer.is_gone();
}

fn a_restart_of_a_backend_teaches_no_idle_time(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut clients = [server.client(), server.client()];
    let mut peers = clients.each_mut().map(|client| {
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer
    });
    for ((client, peer), ms) in clients.iter_mut().zip(&mut peers).zip([60, 20]) {
        peer.send(OK);
        client.message();
        assert!(peer.is_silent_for(Duration::from_millis(ms)));
    }
    // One connection was idle for 80 ms, the other for 20 ms.
    drop(peers);
    let [client, _] = &mut clients;
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    client.message();
    let _ = peer.is_silent_for(Duration::from_millis(120));
    drop(peer);
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    client.message();
    let members = server.app.cluster().members();
    eventually("the idle time is known", || members.backends()[0].idle_time().is_some());
    assert!(members.backends()[0].idle_time() >= Some(Duration::from_millis(60)));
}

each_variant! {
    a_restart_of_a_backend_teaches_no_idle_time
    a_connection_without_time_or_requests_left_is_not_kept
    a_connection_is_closed_before_the_time_that_its_backend_states
    a_post_uses_no_connection_that_its_backend_may_close_soon
    the_idle_time_of_a_backend_is_learnt
    a_connection_carries_one_request_after_the_other_on_both_sides
    the_version_and_the_connection_field_decide
    a_backend_that_closes_is_not_used_again_and_the_client_does_not_notice
    a_connection_that_ended_with_its_response_is_not_used_again
    a_backend_of_http_1_0_is_used_again_when_it_says_so
    pipelined_requests_are_answered_in_order
    pipelined_requests_behind_a_close_are_not_served
    requests_of_a_client_that_sends_no_more_are_all_answered
}
