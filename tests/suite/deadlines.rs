//! Tests of deadlines: every wait ends at its own deadline, with the right answer or close.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use neraca::cluster::ClusterSettings;
use neraca::exchange::Limits;
use neraca::router::{ClusterPlan, RouteSettings, Router, RouterSettings};

use crate::harness::scripted::{Backend, Reserved};
use crate::harness::wire::{End, Wire};
use crate::harness::{PATIENCE, Server, Variant, balancer, eventually};

const SHORT: Duration = Duration::from_millis(200);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn pair(variant: Variant, shorten: impl FnOnce(&mut Limits)) -> (Backend, Server<Router>) {
    let backend = Backend::start(variant);
    let mut options = variant.options();
    shorten(&mut options.listener.limits);
    let server = balancer(options, &[backend.address()]);
    (backend, server)
}

/// Writes this byte repeatedly, in intervals shorter than every deadline here, until the peer closes or answers.
fn drip(client: &mut Wire, byte: u8) {
    while client.try_send([byte]).is_ok() && client.is_silent_for(SHORT / 8) {}
}

fn a_head_has_to_come_in_time_however_it_drips(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.head_timeout = SHORT);
    let start = Instant::now();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: ");
    drip(&mut client, b'a');
    let response = client.message();
    assert_eq!((response.status(), response.field("Connection")), (408, Some("close")));
    client.finish();
    client.ends();
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    assert!(backend.is_untouched());
}

fn an_idle_connection_is_closed_without_a_word(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.idle_timeout = SHORT);
    let mut untouched = server.client();
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send(OK);
    assert_eq!(client.message().text(), "ok");
    client.ends();
    untouched.ends();
}

fn a_kept_backend_connection_has_the_idle_time_of_its_cluster(variant: Variant) {
    let [brief, long] = [SHORT, 10 * PATIENCE].map(|idle_timeout| {
        let backend = Backend::start(variant);
        let settings = ClusterSettings { idle_timeout, ..ClusterSettings::default() };
        let plan = ClusterPlan { backends: vec![backend.settings()], settings, ..ClusterPlan::default() };
        (backend, plan)
    });
    let clusters = [("brief".to_owned(), brief.1), ("long".to_owned(), long.1)];
    let mut of_long = RouteSettings::to("long");
    of_long.hosts = vec!["long".parse().unwrap()];
    let routes = vec![RouteSettings::to("brief"), of_long];
    let settings = RouterSettings::new(BTreeMap::from(clusters), routes, Vec::new()).unwrap();
    let router = Router::with_settings(&settings, 1, Instant::now()).unwrap();
    let server = Server::start(router, variant.options());
    let mut client = server.client();
    let mut kept: Option<Wire> = None;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: long\r\n\r\n");
        let peer = kept.get_or_insert_with(|| long.0.accept());
        peer.head();
        peer.send(OK);
        assert_eq!(client.message().text(), "ok");
        client.send(GET);
        let mut peer = brief.0.accept();
        peer.head();
        peer.send(OK);
        assert_eq!(client.message().text(), "ok");
        // The client's connection stays, and so does that of the other cluster.
        peer.ends();
    }
}

fn a_body_that_stalls_is_given_up(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.body_timeout = SHORT);
    let mut client = server.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    let mut peer = backend.accept();
    peer.head();
    assert_eq!(peer.take(4), b"half");
    let response = client.message();
    assert_eq!((response.status(), response.field("Connection")), (408, Some("close")));
    peer.is_gone();
    client.finish();
    client.ends();
}

fn a_body_that_moves_is_not_given_up(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.body_timeout = 5 * SHORT);
    let mut client = server.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n");
    let mut peer = backend.accept();
    let request = peer.head();
    // The upload takes longer than the deadline between two parts. Nothing comes during a pause.
    for _ in 0..12 {
        client.send("x");
        assert!(client.is_silent_for(SHORT / 2));
    }
    assert_eq!(peer.body_of(request).text(), "xxxxxxxxxxxx");
    peer.send(OK);
    assert_eq!(client.message().text(), "ok");
}

fn a_client_that_does_not_read_is_reset(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.body_timeout = SHORT);
    let mut client = server.client();
    client.send(GET);
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    let part = vec![b'x'; 1 << 20];
    while peer.try_send(&part).is_ok() {}
    eventually("the client is given up", || server.stats().broken == 1);
    let (got, end) = client.rest();
    assert!(end == End::Reset && got.len() < 100_000_000);
}

fn a_backend_that_does_not_answer_is_a_gateway_timeout(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.response_timeout = SHORT);
    let mut client = server.client();
    for request in [GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"] {
        for part in ["", "HTTP/1.1 200 OK\r\nContent-"] {
            client.send(request);
            let mut peer = backend.accept();
            peer.message();
            peer.send(part);
            let response = client.message();
            assert_eq!((response.status(), response.field("Connection")), (504, None));
            peer.is_gone();
            assert!(backend.is_untouched(), "sent twice");
        }
    }
}

/// A listener with a full queue. The system does not answer further connection attempts.
struct Full {
    /// No other test gets the port when the listener is closed.
    reserved: Reserved,
    listener: Socket,
    queued: Vec<TcpStream>,
}

impl Full {
    fn start() -> Self {
        let reserved = Reserved::new();
        let address = reserved.address();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let queued: Vec<_> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, SHORT).ok()).take(100).collect();
        assert!((1..100).contains(&queued.len()), "{} in the queue", queued.len());
        Full { reserved, listener, queued }
    }

    fn address(&self) -> SocketAddr {
        self.reserved.address()
    }

    /// Counts the sockets that are connecting to the listener.
    fn attempts(&self) -> usize {
        let (remote, syn_sent) = (format!("0100007F:{:04X}", self.address().port()), "02");
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // The table may have thousands of lines.
        let lines = sockets.lines().filter(|line| line.contains(&remote));
        let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        fields.filter(|fields| fields[2] == remote && fields[3] == syn_sent).count()
    }
}

fn a_backend_that_does_not_take_connections_is_a_gateway_timeout(variant: Variant) {
    let full = Full::start();
    let mut options = variant.options();
    options.listener.limits.connect_timeout = SHORT;
    let server = balancer(options, &[full.address()]);
    let mut client = server.client();
    for attempt in 1..=2 {
        let start = Instant::now();
        client.send(GET);
        let response = client.message();
        assert_eq!((response.status(), response.field("Connection")), (504, None));
        assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
        assert_eq!(full.attempts(), 0, "the socket of the failed attempt is still open");
        assert_eq!((server.stats().connected, server.stats().unreachable), (0, attempt));
    }
}

fn a_backend_that_refuses_late_is_a_bad_gateway(variant: Variant) {
    let full = Full::start();
    let mut options = variant.options();
    // The default of 3 s is when the system repeats the attempt for the second time.
    options.listener.limits.connect_timeout = PATIENCE;
    let server = balancer(options, &[full.address()]);
    let mut client = server.client();
    client.send(GET);
    eventually("the attempt has begun", || full.attempts() == 1);
    // The system repeats the connection attempt after 1, 3 and 7 seconds. Then no socket listens any more.
    drop((full.listener, full.queued));
    let response = client.message();
    assert_eq!((response.status(), response.field("Connection")), (502, None));
    assert_eq!((server.stats().connected, server.stats().unreachable), (0, 1));
}

fn a_response_that_stalls_is_cut_off_visibly(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.response_timeout = SHORT);
    for head in ["Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n9\r\n", "\r\n"] {
        let mut client = server.client();
        client.send(GET);
        let mut peer = backend.accept();
        peer.head();
        peer.send(format!("HTTP/1.1 200 OK\r\n{head}half"));
        assert_eq!(client.head().status(), 200);
        let (rest, end) = client.rest();
        assert_eq!(end, End::Reset, "{}", String::from_utf8_lossy(&rest));
        peer.is_gone();
    }
}

fn a_backend_that_does_not_read_is_given_up(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.response_timeout = SHORT);
    let mut client = server.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let part = vec![b'x'; 1 << 20];
    let mut reader = client.another();
    std::thread::scope(|scope| {
        scope.spawn(|| while client.try_send(&part).is_ok() {});
        let _peer = backend.accept();
        let response = reader.message();
        assert_eq!((response.status(), response.field("Connection")), (504, Some("close")));
        let _ = reader.stream.shutdown(std::net::Shutdown::Both);
    });
}

fn a_tunnel_in_which_nothing_moves_is_closed(variant: Variant) {
    let (backend, server) = pair(variant, |limits| limits.tunnel_timeout = SHORT);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let mut peer = backend.accept();
    peer.head();
    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    client.is_gone();
    peer.is_gone();
}

fn a_client_that_lingers_is_closed(variant: Variant) {
    let (_backend, server) = pair(variant, |limits| limits.linger_timeout = SHORT);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(client.message().status(), 400);
    client.ends();
    eventually("it is closed although the client is not", || server.stats().closed == 1);
}

each_variant! {
    a_head_has_to_come_in_time_however_it_drips
    an_idle_connection_is_closed_without_a_word
    a_kept_backend_connection_has_the_idle_time_of_its_cluster
    a_body_that_stalls_is_given_up
    a_body_that_moves_is_not_given_up
    a_client_that_does_not_read_is_reset
    a_backend_that_does_not_answer_is_a_gateway_timeout
    a_backend_that_does_not_take_connections_is_a_gateway_timeout
    a_backend_that_refuses_late_is_a_bad_gateway
    a_response_that_stalls_is_cut_off_visibly
    a_backend_that_does_not_read_is_given_up
    a_tunnel_in_which_nothing_moves_is_closed
    a_client_that_lingers_is_closed
}
