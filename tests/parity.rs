//! Sends the raw messages of `tests/corpus` over every variant of both engines. Each message must have its expected
//! outcome. All variants must have equal outcomes, byte for byte except dates and ports.
#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

mod corpus;
mod harness;

use std::fmt::Write;
use std::net::Shutdown;

use corpus::{Fate, REQUESTS, RESPONSES, Reply, STREAMS};
use harness::scripted::Backend;
use harness::wire::Wire;
use harness::{Server, VARIANTS, Variant, balancer};
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

#[test]
fn every_engine_treats_every_request_alike() {
    let [first, others @ ..] = VARIANTS;
    let expected = outcomes_of_requests(first);
    for variant in others {
        same(variant, &expected, &outcomes_of_requests(variant));
    }
}

#[test]
fn every_engine_treats_every_response_alike() {
    let [first, others @ ..] = VARIANTS;
    let expected = outcomes_of_responses(first);
    for variant in others {
        same(variant, &expected, &outcomes_of_responses(variant));
    }
}

fn same(variant: Variant, expected: &[String], got: &[String]) {
    for (expected, got) in expected.iter().zip(got) {
        assert_eq!(got, expected, "{variant:?}");
    }
}

/// Returns the status codes in the bytes of a client.
fn statuses(outcome: &str) -> Vec<u16> {
    let starts = outcome.split("HTTP/1.1 ").skip(1);
    starts.filter_map(|start| start.get(..3)?.parse().ok()).collect()
}

/// Returns the outcome of each request: the bytes of the client and of the backend.
fn outcomes_of_requests(variant: Variant) -> Vec<String> {
    let mut servers = Servers::default();
    let status = |fate| match fate {
        Fate::Forwarded => 200,
        Fate::Refused(status) => status,
    };
    let single = REQUESTS.iter().map(|case| (case.bytes, vec![status(case.fate)], case.error.is_some()));
    let streams = STREAMS.iter().map(|(bytes, due)| (*bytes, due.to_vec(), false));
    let outcome = |(request, due, refused_by_head): (&[u8], Vec<u16>, bool)| {
        let backend = Backend::start(variant);
        let server = balancer(variant.options(), &[backend.address()]);
        let mut client = server.client();
        // A request that is refused early may find the connection closed.
        let _ = client.try_send(request);
        let _ = client.stream.shutdown(Shutdown::Write);
        let mut outcome = String::new();
        let mut peer = None;
        for _ in due.iter().filter(|status| **status == 200) {
            let peer: &mut Wire = peer.get_or_insert_with(|| backend.accept());
            writeln!(outcome, "{:?}", peer.message()).unwrap();
            peer.send(OK);
        }
        let got = client.outcome();
        assert_eq!(statuses(&got), due, "{variant:?} {:?}: {got}", request.escape_ascii().to_string());
        // A head may be forwarded before a fault in the body arrives.
        assert!(!refused_by_head || backend.is_untouched(), "{:?}", request.escape_ascii().to_string());
        servers.push(server, backend);
        outcome + &got
    };
    single.chain(streams).map(outcome).collect()
}

fn outcomes_of_responses(variant: Variant) -> Vec<String> {
    let (mut outcomes, mut servers) = (Vec::new(), Servers::default());
    for case in RESPONSES {
        for version in ["1.1", "1.0"] {
            let backend = Backend::start(variant);
            let server = balancer(variant.options(), &[backend.address()]);
            let mut client = server.client();
            // BREW is not idempotent, so it is sent once.
            let method = if case.head { "HEAD" } else { "BREW" };
            client.send(format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n"));
            let mut peer = backend.accept();
            peer.head();
            // The balancer closes the connection for an invalid head, perhaps before all bytes are sent.
            let _ = peer.try_send(case.bytes);
            let _ = peer.stream.shutdown(Shutdown::Write);
            let got = client.outcome();
            let last = match case.reply {
                Reply::Whole(status) => status,
                Reply::Broken => 200,
            };
            let interim = version == "1.1" && case.bytes.starts_with(b"HTTP/1.1 103 ");
            let due: Vec<u16> = interim.then_some(103).into_iter().chain([last]).collect();
            // A reset may destroy bytes, so these bytes are not compared.
            let cut = case.reply == Reply::Broken && got.ends_with("Reset");
            assert!(cut || statuses(&got) == due, "{variant:?} {}: {got}", case.name);
            assert!(!got.contains("evil"), "{}: {got}", case.name);
            servers.push(server, backend);
            outcomes.push(if cut { "Reset".to_owned() } else { got });
        }
    }
    outcomes
}
