//! Tests of failing backends and of repeated requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::scripted::{Backend, Reserved};
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, balancer, eventually};
use neraca::cluster::{Failure, SILENCES_MAX};
use neraca::router::Router;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";

/// Starts a balancer, a client and a kept backend connection on which one request was served.
fn kept(variant: Variant) -> (Backend, Server<Router>, Wire, Wire) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    client.message();
    (backend, server, client, peer)
}

/// The end of a kept connection.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// An end of the stream after the request was sent, as if the backend had already closed.
    Eof,
    /// A reset after the request was sent.
    Reset,
    /// A reset while the connection is idle. The request is written to a dead connection, or not written.
    BeforeTheRequest,
    /// An end of the stream while the connection is idle.
    EofBeforeTheRequest,
}

fn a_request_on_a_kept_connection_that_died_is_sent_once_more(variant: Variant) {
    for death in [Death::Eof, Death::Reset, Death::BeforeTheRequest, Death::EofBeforeTheRequest] {
        for request in [GET, POST, PUT] {
            if request == POST && matches!(death, Death::Eof | Death::Reset) {
                // The backend may have acted on the POST, so the POST is not repeated.
                continue;
            }
            let (backend, server, mut client, mut peer) = kept(variant);
            match death {
                Death::Eof | Death::Reset => {
                    client.send(request);
                    peer.message();
                    if let Death::Reset = death { peer.reset() } else { drop(peer) }
                }
                Death::BeforeTheRequest => {
                    peer.reset();
                    client.send(request);
                }
                Death::EofBeforeTheRequest => {
                    drop(peer);
                    client.send(request);
                }
            }
            let mut fresh = backend.accept();
            let again = fresh.message();
            assert_eq!(again.text(), if request == GET { "" } else { "body" }, "{death:?}");
            fresh.send(OK);
            assert_eq!(client.message().text(), "ok", "{death:?} {request}");
            assert!(backend.is_untouched());
            drop(server);
        }
    }
}

fn a_retry_uses_a_fresh_connection(variant: Variant) {
    let (backend, server, mut client, mut peer) = kept(variant);
    // A second kept connection, which is dead too.
    let mut other = server.client();
    client.send(GET);
    peer.head();
    other.send(GET);
    let mut second = backend.accept();
    second.head();
    for (peer, client) in [(&mut peer, &mut client), (&mut second, &mut other)] {
        peer.send(OK);
        client.message();
    }
    client.send(GET);
    // The balancer may use either connection. The other connection stays open.
    let mut kept = [peer, second];
    let mut used = None;
    eventually("a kept connection is used", || {
        used = kept.iter_mut().position(|wire| !wire.is_silent_for(Duration::from_millis(1)));
        used.is_some()
    });
    let [peer, second] = kept;
    let (used, _other) = if used == Some(0) { (peer, second) } else { (second, peer) };
    drop(used);
    let mut fresh = backend.accept();
    fresh.head();
    fresh.send(OK);
    assert_eq!(client.message().text(), "ok");
}

fn a_post_that_left_is_never_sent_twice_even_from_a_kept_connection(variant: Variant) {
    for reset in [false, true] {
        let (backend, _server, mut client, mut peer) = kept(variant);
        client.send(POST);
        peer.message();
        if reset {
            peer.reset();
        } else {
            drop(peer);
        }
        assert_eq!(client.message().status(), 502);
        assert!(backend.is_untouched(), "sent twice");
    }
}

fn a_post_on_a_fresh_connection_is_never_sent_twice(variant: Variant) {
    for reset in [false, true] {
        let backend = Backend::start(variant);
        let server = balancer(variant.options(), &[backend.address()]);
        let mut client = server.client();
        client.send(POST);
        let mut peer = backend.accept();
        assert_eq!(peer.message().text(), "body");
        match reset {
            true => peer.reset(),
            false => drop(peer),
        }
        assert_eq!(client.message().status(), 502);
        assert!(backend.is_untouched(), "sent twice");
        // The next request is not affected.
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer.send(OK);
        assert_eq!(client.message().text(), "ok");
    }
}

fn a_request_is_sent_twice_at_most(variant: Variant) {
    let (backend, _server, mut client, mut peer) = kept(variant);
    for (request, fresh_ones) in [(GET, 1), (POST, 0)] {
        client.send(GET);
        peer.message();
        drop(peer);
        let mut again = backend.accept();
        again.message();
        drop(again);
        assert_eq!(client.message().status(), 502);
        assert!(backend.is_untouched());
        // A GET is repeated even after a new connection failed; a POST is not repeated.
        client.send(request);
        for _ in 0..=fresh_ones {
            drop(backend.accept());
        }
        assert_eq!(client.message().status(), 502);
        assert!(backend.is_untouched());
        client.send(GET);
        peer = backend.accept();
        peer.head();
        peer.send(OK);
        assert_eq!(client.message().text(), "ok");
    }
}

fn nothing_is_repeated_once_something_was_answered(variant: Variant) {
    let (backend, _server, mut client, mut peer) = kept(variant);
    client.send(GET);
    peer.head();
    peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
    drop(peer);
    assert_eq!(client.message().status(), 103);
    assert_eq!(client.message().status(), 502);
    assert!(backend.is_untouched());
}

fn a_response_that_ends_within_its_head_is_no_answer(variant: Variant) {
    for part in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r"] {
        let (backend, _server, mut client, mut peer) = kept(variant);
        client.send(GET);
        peer.head();
        peer.send(part);
        drop(peer);
        // Nothing of it has reached the client, so a request that changes nothing is repeated.
        let mut again = backend.accept();
        again.head();
        again.send(OK);
        assert_eq!(client.message().text(), "ok", "{part}");
        client.send(POST);
        again.message();
        again.send(part);
        drop(again);
        assert_eq!(client.message().status(), 502, "{part}");
        assert!(backend.is_untouched());
    }
}

fn a_body_that_has_left_the_buffer_is_not_repeated(variant: Variant) {
    let (backend, _server, mut client, mut peer) = kept(variant);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    let part = vec![b'x'; 500_000];
    client.send(&part);
    peer.head();
    peer.take(part.len());
    peer.reset();
    assert_eq!(client.message().status(), 502);
    assert!(backend.is_untouched());
}

fn who_refuses_is_passed_over(variant: Variant) {
    let (backend, nobody) = (Backend::start(variant), [Reserved::new(), Reserved::new()]);
    let addresses = [nobody[0].address(), nobody[1].address(), backend.address()];
    let server = balancer(variant.options(), &addresses);
    let mut client = server.client();
    let mut peer = None;
    for request in [GET, POST, GET, POST] {
        client.send(request);
        let peer = peer.get_or_insert_with(|| backend.accept());
        peer.message();
        peer.send(OK);
        assert_eq!(client.message().status(), 200);
    }
}

fn when_nobody_answers_it_is_said_at_once(variant: Variant) {
    let nobody = [Reserved::new(), Reserved::new()];
    let server = balancer(variant.options(), &nobody.each_ref().map(Reserved::address));
    let mut client = server.client();
    for request in [GET, POST] {
        let start = Instant::now();
        client.send(request);
        assert_eq!(client.message().status(), 502);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    drop((client, server));
    let server = balancer(variant.options(), &[]);
    let mut client = server.client();
    for request in [GET, POST] {
        client.send(request);
        assert_eq!(client.message().status(), 503);
    }
}

fn a_backend_that_comes_back_is_used_again(variant: Variant) {
    let reserved = Reserved::new();
    let server = balancer(variant.options(), &[reserved.address()]);
    let mut client = server.client();
    for _ in 0..3 {
        client.send(GET);
        assert_eq!(client.message().status(), 502);
        let backend = Backend::at(reserved.address(), variant);
        for _ in 0..2 {
            client.send(GET);
            let mut peer = backend.accept();
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(client.message().text(), "ok");
        }
    }
}

fn a_client_that_leaves_frees_its_backend(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    client.reset();
    // The balancer notices the reset when it writes to the client, or at a sweep. Then the backend can write no more.
    let _ = peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    peer.is_gone();
    let backend = |server: &Server<Router>| Arc::clone(&server.app.cluster().members().backends()[0]);
    eventually("the attempt ends", || backend(&server).in_flight() == 0);
}

fn a_request_without_a_timely_response_goes_to_another_backend(variant: Variant) {
    let [silent, other] = [Backend::start(variant), Backend::start(variant)];
    let mut options = variant.options();
    options.listener.limits.response_timeout = Duration::from_millis(300);
    let server = balancer(options, &[silent.address(), other.address()]);
    let backends = server.app.cluster().members().backends().to_vec();
    // The backends take turns, and a retry is a turn too. So every request starts at the silent backend.
    for timeouts in 1..=SILENCES_MAX {
        let before = Instant::now();
        let mut client = server.client();
        client.send(GET);
        let mut held = silent.accept();
        held.head();
        let mut peer = other.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.message().status(), 200);
        held.is_gone();
        assert_eq!(backends[0].counts().failed(Failure::ResponseTimeout), u64::from(timeouts));
        assert_eq!(backends[0].available(before), timeouts < SILENCES_MAX);
    }
}

fn a_post_without_a_timely_response_is_not_sent_twice(variant: Variant) {
    let [silent, other] = [Backend::start(variant), Backend::start(variant)];
    let mut options = variant.options();
    options.listener.limits.response_timeout = Duration::from_millis(300);
    let server = balancer(options, &[silent.address(), other.address()]);
    let mut client = server.client();
    client.send(POST);
    let mut peer = silent.accept();
    peer.message();
    assert_eq!(client.message().status(), 504);
    assert!(other.is_untouched(), "sent twice");
}

fn a_get_is_tried_on_each_backend_and_on_three_at_most(variant: Variant) {
    for working in [2, 3] {
        let backends = [(); 4].map(|()| Backend::start(variant));
        let server = balancer(variant.options(), &backends.each_ref().map(Backend::address));
        let mut client = server.client();
        client.send(GET);
        // The untried backends take turns.
        let order = [0, 1, 2].map(|n| &backends[n]);
        for backend in &order[..working] {
            let mut peer = backend.accept();
            peer.head();
            peer.reset();
        }
        if working == 2 {
            let mut peer = order[2].accept();
            peer.head();
            peer.send(OK);
            assert_eq!(client.message().text(), "ok");
        } else {
            assert_eq!(client.message().status(), 502);
        }
        assert!(backends[3].is_untouched());
        let failed = |n: usize| server.app.cluster().members().backends()[n].counts().failed(Failure::Reset);
        assert_eq!([0, 1, 2, 3].map(failed).iter().sum::<u64>(), working as u64);
    }
}

fn a_stall_within_a_response_is_reported_against_the_backend(variant: Variant) {
    let backend = Backend::start(variant);
    let mut options = variant.options();
    options.listener.limits.response_timeout = Duration::from_millis(300);
    let server = balancer(options, &[backend.address()]);
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    client.rest();
    let counts = server.app.cluster().members().backends()[0].counts();
    assert_eq!((counts.started, counts.ended(), counts.failed(Failure::Stalled)), (1, 1, 1));
}

fn a_client_that_leaves_while_it_waits_frees_its_backend(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    for served_before in [false, true] {
        let (mut client, mut half_closed) = (server.client(), server.client());
        half_closed.send(GET);
        half_closed.finish();
        let mut of_half_closed = backend.accept();
        of_half_closed.head();
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        if served_before {
            peer.send(OK);
            client.message();
            client.send(GET);
            peer.head();
        }
        client.reset();
        // The backend sends nothing, but its request ends.
        peer.is_gone();
        eventually("one request is left", || server.app.cluster().members().backends()[0].in_flight() == 1);
        // A client that has only ended its sending direction is answered.
        of_half_closed.send(OK.replace("200 OK", "200 OK\r\nConnection: close"));
        assert_eq!(half_closed.message().text(), "ok");
        half_closed.ends();
    }
}

each_variant! {
    a_client_that_leaves_while_it_waits_frees_its_backend
    a_request_on_a_kept_connection_that_died_is_sent_once_more
    a_retry_uses_a_fresh_connection
    a_post_on_a_fresh_connection_is_never_sent_twice
    a_post_that_left_is_never_sent_twice_even_from_a_kept_connection
    a_request_is_sent_twice_at_most
    nothing_is_repeated_once_something_was_answered
    a_response_that_ends_within_its_head_is_no_answer
    a_body_that_has_left_the_buffer_is_not_repeated
    who_refuses_is_passed_over
    when_nobody_answers_it_is_said_at_once
    a_backend_that_comes_back_is_used_again
    a_client_that_leaves_frees_its_backend
    a_request_without_a_timely_response_goes_to_another_backend
    a_post_without_a_timely_response_is_not_sent_twice
    a_get_is_tried_on_each_backend_and_on_three_at_most
    a_stall_within_a_response_is_reported_against_the_backend
}
