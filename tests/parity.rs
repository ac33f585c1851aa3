//! One list of raw requests and broken responses, run over every variant of both engines: each has the outcome that is
//! due, and all outcomes are the same to the byte but for dates and ports.
mod harness;

use std::fmt::Write;

use harness::scripted::Backend;
use harness::wire::Wire;
use harness::{Server, VARIANTS, Variant, balancer};
use neraca::router::Router;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a client sends in one go, and the status codes that are due for it, in order.
const REQUESTS: &[(&[u8], &[u16])] = &[
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
    (b"GET / HTTP/1.0\r\n\r\n", &[200]),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 200]),
    // Start lines.
    (b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", &[505]),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[505]),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
    (b"GET /\r\n\r\n", &[400]),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", &[400]),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400]),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", &[501]),
    // Host.
    (b"GET / HTTP/1.1\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", &[400]),
    // Fields.
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", &[400]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", &[417]),
    // Framing.
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", &[200]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2 2\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551618\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[501]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ChUnKeD\r\n\r\n2\r\nab\r\n0\r\n\r\n", &[200]),
    // Chunks: the head goes on its way before they are read, so what is passed on may be the head alone.
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nab", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nb\r\nab\r\n0\r\n\r\n", &[400]),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n", &[400]),
    // A request behind the body is the next one, and one within it is none.
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 200]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 29\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n\r\n", &[200]),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/9.9\r\nHost: a\r\n\r\n", &[200, 505]),
];

/// What a backend answers to a GET before it closes, and the status codes that are due.
const RESPONSES: &[(&[u8], &[u16])] = &[
    (OK, &[200]),
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", &[200]),
    (b"HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok", &[599]),
    (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[103, 200]),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", &[200]),
    (b"HTTP/1.1 200 OK\r\n\r\nok", &[200]),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", &[200]),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", &[200]),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore", &[200]),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", &[200]),
    // Nothing of these reaches the client.
    (b"evil\r\n\r\n", &[502]),
    (b"HTTP/2.0 200 evil\r\n\r\n", &[502]),
    (b"HTTP/1.1 20 evil\r\n\r\n", &[502]),
    (b"HTTP/1.1 2000 evil\r\n\r\n", &[502]),
    (b"HTTP/1.1 099 evil\r\n\r\n", &[502]),
    (b"\r\nHTTP/1.1 200 evil\r\n\r\n", &[502]),
    (b"HTTP/1.1 200 evil\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[502]),
    (b"HTTP/1.1 200 evil\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 200 evil\r\nContent-Length: 4x\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 200 evil\r\nContent-Length: -4\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 200 evil\r\nTransfer-Encoding: gzip\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 200 evil\r\nTransfer-Encoding: chunked, gzip\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 200 evil\r\nX : y\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 200 evil\r\nX: y\r\n evil\r\n\r\n", &[502]),
    (b"HTTP/1.1 200 evil\r\nX: evil\0\r\n\r\n", &[502]),
    (b"HTTP/1.1 200 evil\r\nX: evil", &[502]),
    (b"HTTP/1.1 101 evil\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nevil", &[502]),
    (b"HTTP/1.1 103 Hints\r\n\r\nevil\r\n\r\n", &[103, 502]),
];

/// Engines that served a case each, and stop together. Each keeps its backend until then, so that no port is used twice.
#[derive(Default)]
struct Servers(Vec<(Server<Router>, Backend)>);

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

/// The status codes in what a client got.
fn statuses(outcome: &str) -> Vec<u16> {
    let starts = outcome.split("HTTP/1.1 ").skip(1);
    starts.filter_map(|start| start.get(..3)?.parse().ok()).collect()
}

/// What the client gets for each request, and what the backend saw of it.
fn outcomes_of_requests(variant: Variant) -> Vec<String> {
    let mut servers = Servers::default();
    REQUESTS
        .iter()
        .map(|(request, due)| {
            let backend = Backend::start();
            let server = balancer(variant.options(), &[backend.address()]);
            let mut client = server.client();
            client.send(request);
            client.finish();
            let mut outcome = String::new();
            let forwarded = due.iter().filter(|status| **status == 200).count();
            let mut peer = None;
            for _ in 0..forwarded {
                let peer: &mut Wire = peer.get_or_insert_with(|| backend.accept());
                writeln!(outcome, "{:?}", peer.message()).unwrap();
                peer.send(OK);
            }
            let got = client.outcome();
            assert_eq!(statuses(&got), *due, "{variant:?} {:?}: {got}", request.escape_ascii().to_string());
            let refused_by_head = forwarded == 0 && !request.windows(4).any(|w| w == b"unke");
            assert!(!refused_by_head || backend.is_untouched(), "{:?}", request.escape_ascii().to_string());
            servers.0.push((server, backend));
            outcome + &got
        })
        .collect()
}

fn outcomes_of_responses(variant: Variant) -> Vec<String> {
    let (mut outcomes, mut servers) = (Vec::new(), Servers::default());
    for (response, due) in RESPONSES {
        for version in ["1.1", "1.0"] {
            let backend = Backend::start();
            let server = balancer(variant.options(), &[backend.address()]);
            let mut client = server.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n"));
            let mut peer = backend.accept();
            peer.head();
            peer.send(response);
            peer.finish();
            // A backend that was refused for its head is left alone; what a reset overtakes is not compared.
            let got = client.outcome();
            let due: Vec<u16> =
                due.iter().copied().filter(|status| version == "1.1" || *status >= 200).collect();
            let cut = got.ends_with("Reset");
            assert!(cut || statuses(&got) == due, "{variant:?} {}: {got}", response.escape_ascii());
            assert!(!got.contains("evil"), "{got}");
            servers.0.push((server, backend));
            outcomes.push(if cut { "Reset".to_owned() } else { got });
        }
    }
    outcomes
}
