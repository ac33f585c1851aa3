//! What the handle of a running engine changes: listeners, a drain, and the counters of each worker.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, ListenerSettings, Moment};
use neraca::engine::{Engine, Options, ReactorKind, Snapshot};
use neraca::http::answer::Answer;
use neraca::http::head::RequestHead;

use crate::harness::scripted::{Backend, automatic};
use crate::harness::wire::Wire;
use crate::harness::{Server, Variant, balancer, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ok(_: &str) -> Option<crate::harness::scripted::Reply> {
    Some((Duration::ZERO, OK.as_bytes()))
}

/// Answers with what it knows of the client: the listener, our own address, and the limit of the listener.
struct Mirror;

impl App for Mirror {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, (): &mut ()) {}

    fn decide(&self, (): &mut (), _: &RequestHead<'_>, client: &Client<'_>, _: &Moment) -> Decision {
        let (local, limit) = (client.local.unwrap(), client.settings.limits.head.head_bytes);
        Decision::Answer(Answer::text(200, format!("{} {local} {limit}", client.listener)))
    }
}

fn settings(variant: Variant, head_bytes: usize) -> ListenerSettings {
    let mut settings = variant.options().listener;
    settings.limits.head.head_bytes = head_bytes;
    settings
}

fn a_listener_has_an_identity_and_settings_of_its_own(variant: Variant) {
    let server = Server::start(Mirror, variant.options());
    let loopback = server
        .add_listener(
            "127.0.0.1:0".parse().unwrap(),
            settings(variant, 1111),
            variant.options().client_transform,
        )
        .unwrap();
    let any = server
        .add_listener(
            "0.0.0.0:0".parse().unwrap(),
            settings(variant, 2222),
            variant.options().client_transform,
        )
        .unwrap();
    let listeners = server.listeners();
    assert!(listeners.iter().all(|(id, _)| server.has_transform(*id) == variant.transforms.is_some()));
    let [_, of_loopback, of_any] = listeners.as_slice() else { panic!("{listeners:?}") };
    assert_eq!((of_loopback.0, of_any.0), (loopback, any));
    // The listener on all addresses tells the address that the client used.
    let reached = SocketAddr::from(([127, 0, 0, 2], of_any.1.port()));
    for (address, local, id, limit) in
        [(of_loopback.1, of_loopback.1, loopback, 1111), (reached, reached, any, 2222)]
    {
        let mut client = server.client_at(address);
        client.send(GET);
        assert_eq!(client.message().text(), format!("200 OK: {id} {local} {limit}\n"));
    }
}

fn new_settings_hold_for_later_connections_and_no_client_is_lost(variant: Variant) {
    let server = Server::start(Mirror, variant.options());
    let (id, address) = server.listeners()[0];
    let limit = |client: &mut Wire| {
        client.send(GET);
        client.message().text().rsplit(' ').next().unwrap().trim_end().to_owned()
    };
    let mut old = server.client();
    let before = limit(&mut old);
    assert!(server.configure_listener(id, settings(variant, 1111), variant.options().client_transform));
    assert_eq!((limit(&mut server.client()), limit(&mut old)), ("1111".to_owned(), before));
    assert_eq!(server.listeners(), [(id, address)]);
    assert!(server.remove_listener(id));
    assert!(!server.configure_listener(id, settings(variant, 2222), None), "it was removed");
}

fn a_removed_listener_is_closed_and_its_connections_go_on(variant: Variant) {
    let server = balancer(variant.options(), &[automatic(variant, ok)]);
    let id = server
        .add_listener(
            "127.0.0.1:0".parse().unwrap(),
            settings(variant, 8192),
            variant.options().client_transform,
        )
        .unwrap();
    let address = server.listeners()[1].1;
    let mut client = server.client_at(address);
    client.send(GET);
    assert_eq!(client.message().text(), "ok");
    assert!(server.remove_listener(id));
    assert!(TcpStream::connect(address).is_err(), "the listener is still there");
    assert!(!server.remove_listener(id), "it was removed already");
    client.send(GET);
    assert_eq!(client.message().text(), "ok");
    let mut other = server.client();
    other.send(GET);
    assert_eq!(other.message().text(), "ok");
    // The address is free again.
    server.add_listener(address, settings(variant, 8192), variant.options().client_transform).unwrap();
    let mut client = server.client_at(address);
    client.send(GET);
    assert_eq!(client.message().text(), "ok");
}

fn a_listener_that_cannot_be_added_is_refused(variant: Variant) {
    let server = balancer(variant.options(), &[automatic(variant, ok)]);
    let error = server
        .add_listener(server.address(), settings(variant, 8192), variant.options().client_transform)
        .unwrap_err()
        .to_string();
    assert!(error.contains(&format!("cannot listen on {}", server.address())), "{error}");
    server.stop();
    server.wait();
    let error = server
        .add_listener(
            "127.0.0.1:0".parse().unwrap(),
            settings(variant, 8192),
            variant.options().client_transform,
        )
        .unwrap_err();
    assert!(error.to_string().contains("the engine is stopping"), "{error}");
    let (id, _) = server.listeners()[0];
    assert!(server.remove_listener(id), "a stopped engine has closed its listeners");
}

fn a_drain_closes_connections_after_a_response_and_ends(variant: Variant) {
    let backend = Backend::start(variant);
    let server = balancer(variant.options(), &[backend.address()]);
    let (mut idle, mut running) = (server.client(), server.client());
    idle.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    idle.message();
    running.send(GET);
    peer.head();
    server.start_drain();
    idle.ends();
    peer.send(OK);
    assert_eq!(running.message().field("Connection"), Some("close"));
    running.ends();
    // A new client is served in the same way.
    let mut newcomer = server.client();
    eventually("it is accepted", || server.stats().accepted == 3);
    newcomer.send(GET);
    peer.head();
    peer.send(OK);
    assert_eq!(newcomer.message().field("Connection"), Some("close"));
    newcomer.ends();
    server.end_drain();
    let mut kept = server.client();
    for _ in 0..2 {
        kept.send(GET);
        peer.head();
        peer.send(OK);
        assert_eq!(kept.message().field("Connection"), None);
    }
}

/// An idle connection may still have one request, because the request may be on its way.
fn after_a_hand_over_each_connection_may_have_one_more_request(variant: Variant) {
    let server = balancer(variant.options(), &[automatic(variant, ok)]);
    let (mut kept, mut new) = (server.client(), server.client());
    kept.send(GET);
    kept.message();
    eventually("both are accepted", || server.stats().accepted == 2);
    let sockets = server.sockets().unwrap();
    server.hand_over();
    eventually("the engine has closed its listeners", || server.sockets().unwrap().is_empty());
    // The socket stays open, and another process may accept its clients.
    let newcomer = TcpStream::connect(server.address()).unwrap();
    let (_, from) = sockets[0].accept().unwrap();
    assert_eq!(from, newcomer.local_addr().unwrap());
    for client in [&mut kept, &mut new] {
        client.send(GET);
        assert_eq!(client.message().field("Connection"), Some("close"));
        client.ends();
    }
    server.wait();
    assert_eq!(server.stats().accepted, 2);
}

fn after_a_hand_over_idle_connections_are_closed_at_the_drain_limit(variant: Variant) {
    let mut options = variant.options();
    options.engine_limits.drain = Duration::from_millis(300);
    let server = balancer(options, &[automatic(variant, ok)]);
    let mut idle = server.client();
    idle.send(GET);
    idle.message();
    let start = Instant::now();
    server.hand_over();
    idle.ends();
    server.wait();
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

fn each_event_loop_turns_without_clients(variant: Variant) {
    let server = balancer(variant.options(), &[automatic(variant, ok)]);
    let before = server.turns();
    eventually("each turns", || server.turns().iter().zip(&before).all(|(now, before)| now > before));
}

fn each_worker_has_counters_of_its_own(variant: Variant) {
    let server = balancer(variant.options(), &[automatic(variant, ok)]);
    for _ in 0..20 {
        let mut client = server.client();
        client.send(GET);
        client.message();
    }
    assert_eq!(server.snapshots().len(), variant.options().workers);
    eventually("all are served and closed", || {
        let sum: Snapshot = server.snapshots().into_iter().sum();
        (sum.accepted, sum.served, sum.closed) == (20, 20, 20)
    });
}

/// Under load, more than one worker serves when all must be awake. In the async engine, a core then hands over idle
/// connections. The engine with smol's reactor gives new connections to another core once the first core has 128.
fn more_than_one_worker_serves_when_all_must_be_awake(variant: Variant) {
    let options = Options { all_awake: true, ..variant.options() };
    let server = balancer(options, &[automatic(variant, ok)]);
    let count = if variant.engine == Engine::Async(ReactorKind::Smol) { 140 } else { 32 };
    let mut clients: Vec<_> = (0..count).map(|_| server.client()).collect();
    eventually("a second worker serves", || {
        clients.iter_mut().for_each(|client| client.send(GET));
        for client in &mut clients {
            assert_eq!(client.message().text(), "ok");
        }
        server.snapshots().iter().filter(|worker| worker.served > 0).count() > 1
    });
}

each_variant! {
    a_listener_has_an_identity_and_settings_of_its_own
    new_settings_hold_for_later_connections_and_no_client_is_lost
    a_removed_listener_is_closed_and_its_connections_go_on
    a_listener_that_cannot_be_added_is_refused
    a_drain_closes_connections_after_a_response_and_ends
    after_a_hand_over_each_connection_may_have_one_more_request
    after_a_hand_over_idle_connections_are_closed_at_the_drain_limit
    each_event_loop_turns_without_clients
    each_worker_has_counters_of_its_own
    more_than_one_worker_serves_when_all_must_be_awake
}
