//! Tests of the admin listener of the program: who reaches it, what changes need, and that bad clients of it touch neither
//! the next client nor the traffic.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use crate::harness::counting::{metric, metrics};
use crate::harness::program::{Program, raise_descriptors};
use crate::harness::scripted::{Reply, automatic};
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, EDGE, VARIANTS};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ok(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
}

/// The status of the answer to a request on a connection of its own.
fn status(address: SocketAddr, line: &str, fields: &str) -> u16 {
    let mut client = Wire::connect(address);
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.message().status()
}

/// The admin listener answers a new client, and the balancer serves.
fn both_answer(program: &Program, admin: SocketAddr) {
    for path in ["/healthz", "/status.json", "/metrics"] {
        assert_eq!(status(admin, &format!("GET {path}"), ""), 200, "{path}");
    }
    let mut client = program.client();
    client.send(GET);
    assert_eq!(client.message().text(), "ok");
}

#[test]
fn slow_and_broken_clients_keep_nobody_from_the_admin_listener() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    for variant in VARIANTS {
        let (program, admin) = Program::with_admin(variant, &["--backend", &backend]);
        let mut slow: Vec<Wire> = (0..50).map(|_| Wire::connect(admin)).collect();
        for client in &mut slow {
            client.send("GET /metrics HTTP/1.1\r\nHo");
        }
        both_answer(&program, admin);
        let broken: [(&[u8], &str); 6] = [
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "HTTP/1.1 400 "),
            (b"GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
            (b"GET /metrics HTTP/3.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 "),
            (
                b"POST /backends/x/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "HTTP/1.1 400 ",
            ),
            (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 "),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "HTTP/1.1 "),
        ];
        for (bytes, answer) in broken {
            let mut client = Wire::connect(admin);
            client.send(bytes);
            client.finish();
            let (text, _) = client.rest();
            assert!(text.starts_with(answer.as_bytes()), "{variant:?}: {}", String::from_utf8_lossy(&text));
            both_answer(&program, admin);
        }
        // A client that goes on is served.
        slow[0].send("st: a\r\n\r\n");
        assert_eq!(slow[0].message().status(), 200, "{variant:?}");
        // Clients of the admin listener are not clients of the balancer.
        let engine_accepted = metric(&metrics(admin), "neraca_engine_accepted_total", "");
        assert_eq!(engine_accepted, 7, "{variant:?}");
    }
}

#[test]
fn three_hundred_clients_at_once_keep_nobody_from_the_admin_listener() {
    raise_descriptors(4000);
    let backend = automatic(CROSSBEAM, ok).to_string();
    for variant in VARIANTS {
        let (program, admin) = Program::with_admin(variant, &["--backend", &backend]);
        let mut before = program.client();
        let mut many: Vec<Wire> = (0..300).map(|_| Wire::connect(admin)).collect();
        before.send(GET);
        assert_eq!(before.message().text(), "ok", "{variant:?}");
        both_answer(&program, admin);
        drop(many);
        // All of them ask before one of them reads.
        many = (0..300).map(|_| Wire::connect(admin)).collect();
        for client in &mut many {
            // A connection that is idle until here may have made room for another.
            let _ = client.try_send("GET /status.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        }
        before.send(GET);
        assert_eq!(before.message().text(), "ok", "{variant:?}");
        let answers: Vec<_> = many.iter_mut().map(|client| client.rest().0).collect();
        let served = answers.iter().filter(|answer| answer.starts_with(b"HTTP/1.1 200 ")).count();
        let closed = answers.iter().filter(|answer| answer.is_empty()).count();
        assert!(served > 0 && served + closed == 300, "{variant:?}: {served} served, {closed} closed");
        both_answer(&program, admin);
    }
}

#[test]
fn changes_need_a_post_with_the_token() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    let file = std::env::temp_dir().join(format!("neraca-admin-token-{}", std::process::id()));
    fs::write(&file, "secret\n").unwrap();
    let drain = format!("/backends/{backend}/drain");
    let [post, get, put] = ["POST", "GET", "PUT"].map(|method| format!("{method} {drain}"));
    let with = "Authorization: Bearer secret\r\n";
    for variant in [CROSSBEAM, EDGE] {
        for token in [None, Some(file.to_str().unwrap())] {
            let mut arguments = vec!["--backend", &backend];
            arguments.extend(token.iter().flat_map(|file| ["--admin-token-file", *file]));
            let (program, admin) = Program::with_admin(variant, &arguments);
            let refusal = if token.is_some() { 401 } else { 403 };
            // request line, fields, status
            let cases = [
                (&post, "", refusal),
                (&post, "Authorization: Bearer wrong\r\n", refusal),
                (&post, "Authorization: Bearer secret2\r\n", refusal),
                (&post, "Authorization: Basic secret\r\n", refusal),
                (&post, "Cookie: token=secret\r\n", refusal),
                (&get, with, 405),
                (&put, with, 405),
            ];
            for (line, fields, expected) in cases {
                assert_eq!(status(admin, line, fields), expected, "{variant:?} {line} {fields}");
                both_answer(&program, admin);
            }
            if token.is_some() {
                assert_eq!(status(admin, &post, with), 204, "{variant:?}");
                assert_eq!(status(program.address(), "GET /", ""), 503, "{variant:?}");
            }
        }
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn only_an_address_for_all_networks_is_reached_from_other_addresses() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    // A port alone is a port of 127.0.0.1.
    for (given, host, is_reached) in
        [("0", "127.0.0.1", false), ("127.0.0.1:0", "127.0.0.1", false), ("0.0.0.0:0", "0.0.0.0", true)]
    {
        let arguments = ["--backend", &backend, "--admin", given];
        let (_program, admin, _output) = Program::with_admin_and_output(EDGE, &arguments, Stdio::inherit());
        assert_eq!(admin.ip().to_string(), host, "{given}");
        // The same host under another address.
        let other = TcpStream::connect(("127.0.0.2", admin.port()));
        assert_eq!(other.is_ok(), is_reached, "{given}: {other:?}");
    }
}
