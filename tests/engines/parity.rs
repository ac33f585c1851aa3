//! Sends the raw messages of `tests/corpus` over every variant of both engines, without TLS, with TLS on the side of the client,
//! and with TLS on both sides. Each message must have its expected outcome. All variants must have equal outcomes, byte for byte
//! except dates and ports. With TLS, only the protocol that the backend is told differs.

use std::fmt::Write;
use std::sync::LazyLock;

use crate::corpus::{Fate, REQUESTS, RESPONSES, Reply, STREAMS};
use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, EDGE, Server, VARIANTS, Variant, balancer_over};
use neraca::router::Router;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Maximum number of engines that run at once.
const SERVERS_MAX: usize = 40;

/// Engines that each served one case and stop together. Each engine keeps its backend until then, so no port is used
/// twice.
#[derive(Default)]
struct Servers(Vec<(Server<Router>, Backend)>);

impl Servers {
    fn push(&mut self, server: Server<Router>, backend: Backend) {
        self.0.push((server, backend));
        if self.0.len() == SERVERS_MAX {
            *self = Servers::default();
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.0.iter().for_each(|(server, _)| server.stop());
    }
}

/// The two sides of a balancer: its engine with the transform for clients, and the transform for backends.
#[derive(Debug, Clone, Copy)]
struct Sides {
    client: Variant,
    backend: Variant,
}

impl Sides {
    /// The same transforms on both sides.
    const fn both(variant: Variant) -> Self {
        Sides { client: variant, backend: variant }
    }

    /// TLS with the clients only.
    const fn of_clients(variant: Variant) -> Self {
        Sides { client: variant.with_tls(), backend: variant }
    }

    fn start(self) -> (Server<Router>, Backend) {
        let backend = Backend::start(self.backend);
        (balancer_over(self.client.options(), &[backend.settings()]), backend)
    }
}

const PLAIN: [Sides; 5] = {
    let [a, b, c, d, e] = VARIANTS;
    [Sides::both(a), Sides::both(b), Sides::both(c), Sides::both(d), Sides::both(e)]
};

const WITH_TLS: [Sides; 4] = [
    Sides::of_clients(CROSSBEAM),
    Sides::of_clients(EDGE),
    Sides::both(CROSSBEAM.with_tls()),
    Sides::both(EDGE.with_tls()),
];

/// The outcomes that all others must equal.
static OF_REQUESTS: LazyLock<Vec<String>> = LazyLock::new(|| outcomes_of_requests(PLAIN[0]));
static OF_RESPONSES: LazyLock<Vec<String>> = LazyLock::new(|| outcomes_of_responses(PLAIN[0]));

#[test]
fn every_engine_treats_every_request_alike() {
    for sides in &PLAIN[1..] {
        same(*sides, &OF_REQUESTS, &outcomes_of_requests(*sides));
    }
}

#[test]
fn every_engine_treats_every_response_alike() {
    for sides in &PLAIN[1..] {
        same(*sides, &OF_RESPONSES, &outcomes_of_responses(*sides));
    }
}

#[test]
fn tls_changes_nothing_about_requests_but_the_protocol() {
    let told = |protocol| format!("{:?}", format!("X-Forwarded-Proto: {protocol}\r\n")).replace('"', "");
    let expected: Vec<_> =
        OF_REQUESTS.iter().map(|outcome| outcome.replace(&told("http"), &told("https"))).collect();
    assert!(expected.iter().any(|outcome| outcome.contains(&told("https"))));
    for sides in WITH_TLS {
        same(sides, &expected, &outcomes_of_requests(sides));
    }
}

#[test]
fn tls_changes_nothing_about_responses() {
    for sides in WITH_TLS {
        same(sides, &OF_RESPONSES, &outcomes_of_responses(sides));
    }
}

fn same(sides: Sides, expected: &[String], got: &[String]) {
    assert_eq!(got.len(), expected.len());
    for (expected, got) in expected.iter().zip(got) {
        assert_eq!(got, expected, "{sides:?}");
    }
}

/// Returns the status codes in the bytes of a client.
fn statuses(outcome: &str) -> Vec<u16> {
    let starts = outcome.split("HTTP/1.1 ").skip(1);
    starts.filter_map(|start| start.get(..3)?.parse().ok()).collect()
}

/// Returns the outcome of each request: the bytes of the client and of the backend.
fn outcomes_of_requests(sides: Sides) -> Vec<String> {
    let mut servers = Servers::default();
    let status = |fate| match fate {
        Fate::Forwarded => 200,
        Fate::Refused(status) => status,
    };
    let single = REQUESTS.iter().map(|case| (case.bytes, vec![status(case.fate)]));
    let streams = STREAMS.iter().map(|(bytes, due)| (*bytes, due.to_vec()));
    let outcome = |(request, due): (&[u8], Vec<u16>)| {
        let (server, backend) = sides.start();
        let mut client = server.client();
        // A request that is refused early may find the connection closed.
        let _ = client.try_send(request);
        let _ = client.try_finish();
        let mut outcome = String::new();
        let mut peer = None;
        for _ in due.iter().filter(|status| **status == 200) {
            let peer: &mut Wire = peer.get_or_insert_with(|| backend.accept());
            writeln!(outcome, "{:?}", peer.message()).unwrap();
            peer.send(OK);
        }
        let got = client.outcome();
        assert_eq!(statuses(&got), due, "{sides:?} {:?}: {got}", request.escape_ascii().to_string());
        // A head may be forwarded before a fault in the body arrives. Here all bytes arrive together.
        assert!(due.contains(&200) || backend.is_untouched(), "{:?}", request.escape_ascii().to_string());
        servers.push(server, backend);
        outcome + &got
    };
    single.chain(streams).map(outcome).collect()
}

fn outcomes_of_responses(sides: Sides) -> Vec<String> {
    let (mut outcomes, mut servers) = (Vec::new(), Servers::default());
    for case in RESPONSES {
        for version in ["1.1", "1.0"] {
            let (server, backend) = sides.start();
            let mut client = server.client();
            // BREW is not idempotent, so it is sent once.
            let method = if case.head { "HEAD" } else { "BREW" };
            client.send(format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n"));
            let mut peer = backend.accept();
            peer.head();
            // The balancer closes the connection for an invalid head, perhaps before all bytes are sent.
            let _ = peer.try_send(case.bytes);
            let _ = peer.try_finish();
            let got = client.outcome();
            let last = match case.reply {
                Reply::Whole(status) => status,
                Reply::Broken => 200,
            };
            let interim = version == "1.1" && case.bytes.starts_with(b"HTTP/1.1 103 ");
            let due: Vec<u16> = interim.then_some(103).into_iter().chain([last]).collect();
            // A reset may destroy bytes, so these bytes are not compared.
            let cut = case.reply == Reply::Broken && got.ends_with("Reset");
            assert!(cut || statuses(&got) == due, "{sides:?} {}: {got}", case.name);
            assert!(!got.contains("evil"), "{}: {got}", case.name);
            servers.push(server, backend);
            outcomes.push(if cut { "Reset".to_owned() } else { got });
        }
    }
    outcomes
}
