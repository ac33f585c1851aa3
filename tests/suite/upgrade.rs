//! Tests of connections that become a tunnel.

use std::thread;

use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, balancer};
use neraca::router::Router;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn tunnel(variant: Variant) -> (Server<Router>, Wire, Wire) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(UPGRADE);
    let mut peer = backend.accept();
    let request = peer.head();
    assert_eq!((request.field("Upgrade"), request.field("Connection")), (Some("websocket"), Some("upgrade")));
    peer.send(SWITCHING);
    let response = client.head();
    assert_eq!((response.status(), response.field("Upgrade")), (101, Some("websocket")));
    assert_eq!(response.field("Connection"), Some("upgrade"));
    assert_eq!(response.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    (server, client, peer)
}

fn frames_pass_both_ways_and_either_end_may_finish(variant: Variant) {
    let (_server, mut client, mut peer) = tunnel(variant);
    for n in 0..100u8 {
        let frame = [0x81, 2, n, n];
        client.send(frame);
        assert_eq!(peer.take(4), frame);
        peer.send(frame);
        assert_eq!(client.take(4), frame);
    }
    client.finish();
    peer.ends();
    // The other direction is still open.
    peer.send("more");
    assert_eq!(client.take(4), b"more");
    peer.finish();
    client.ends();
}

fn the_backend_may_finish_first(variant: Variant) {
    let (_server, mut client, mut peer) = tunnel(variant);
    peer.send("last words");
    peer.finish();
    assert_eq!(client.take(10), b"last words");
    client.ends();
    client.send("and mine");
    client.finish();
    assert_eq!(peer.take(8), b"and mine");
    peer.ends();
}

fn much_passes_both_ways_at_once(variant: Variant) {
    let (_server, mut client, mut peer) = tunnel(variant);
    let block: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let [mut client_writes, mut peer_writes] = [&client, &peer].map(Wire::another);
    thread::scope(|scope| {
        for writer in [&mut client_writes, &mut peer_writes] {
            let block = &block;
            scope.spawn(move || {
                writer.send(block);
                writer.finish();
            });
        }
        for reader in [&mut client, &mut peer] {
            let block = &block;
            scope.spawn(move || {
                let (all, _) = reader.rest();
                assert!(all == *block, "{} bytes", all.len());
            });
        }
    });
}

fn bytes_behind_the_heads_belong_to_the_tunnel(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(format!("{UPGRADE}early"));
    let mut peer = backend.accept();
    peer.head();
    peer.send(format!("{SWITCHING}hello"));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.take(5), b"hello");
    assert_eq!(peer.take(5), b"early");
}

fn nothing_passes_before_the_backend_agrees(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let mut client = server.client();
    client.send(format!("{UPGRADE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(client.message().text(), "no");
    let next = peer.head();
    assert!(next.head.starts_with("GET /next "), "{next:?}");
    assert_eq!(next.field("Upgrade"), None);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.message().text(), "ok");
}

fn a_switch_that_nobody_asked_for_is_a_bad_gateway(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let mut client = server.client();
        client.send(request);
        let mut peer = backend.accept();
        peer.head();
        peer.send(format!("{SWITCHING}evil"));
        let response = client.message();
        assert_eq!(response.status(), 502, "{request}");
        peer.is_gone();
    }
}

fn a_tunnel_that_is_reset_is_reset_on_the_other_side(variant: Variant) {
    let (_server, mut client, peer) = tunnel(variant);
    peer.reset();
    client.is_gone();
    let (_server, client, mut peer) = tunnel(variant);
    client.reset();
    peer.is_gone();
}

each_variant! {
    frames_pass_both_ways_and_either_end_may_finish
    the_backend_may_finish_first
    much_passes_both_ways_at_once
    bytes_behind_the_heads_belong_to_the_tunnel
    nothing_passes_before_the_backend_agrees
    a_switch_that_nobody_asked_for_is_a_bad_gateway
    a_tunnel_that_is_reset_is_reset_on_the_other_side
}
