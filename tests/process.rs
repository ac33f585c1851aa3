//! The real program: signals, and what it does when the system has no descriptor left.
mod harness;

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use harness::program::{Program, raise_descriptors};
use harness::scripted::{Reply, automatic};
use harness::wire::Wire;
use harness::{VARIANTS, eventually};
use rustix::process::Signal;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn reply(target: &str) -> Option<Reply> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    match target {
        "/slow" => Some((Duration::from_millis(500), OK)),
        "/never" => None,
        _ => Some((Duration::ZERO, OK)),
    }
}

#[test]
fn a_first_signal_lets_requests_end_with_a_thousand_connections_open() {
    raise_descriptors(4000);
    let backend = automatic(reply).to_string();
    for variant in VARIANTS {
        for signal in [Signal::TERM, Signal::INT] {
            let mut program = Program::start("balance", variant, &["--backend", &backend]);
            let mut idle: Vec<Wire> = (0..1000).map(|_| program.client()).collect();
            for client in &mut idle {
                client.send(GET);
            }
            for client in &mut idle {
                assert_eq!(client.message().text(), "ok");
            }
            let mut busy: Vec<Wire> = (0..4).map(|_| program.client()).collect();
            for client in &mut busy {
                client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            // Served behind them, so they are under way.
            idle[0].send(GET);
            idle[0].message();
            program.signal(signal);
            for client in &mut idle {
                client.ends();
            }
            for client in &mut busy {
                let response = client.message();
                assert_eq!(
                    (response.text(), response.field("Connection")),
                    ("ok", Some("close")),
                    "{variant:?}"
                );
            }
            assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let backend = automatic(reply).to_string();
    for variant in VARIANTS {
        let mut program = Program::start("balance", variant, &["--backend", &backend]);
        let mut client = program.client();
        client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut idle = program.client();
        idle.send(GET);
        idle.message();
        program.signal(Signal::TERM);
        idle.ends();
        assert!(program.is_running());
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(128 + 15));
        client.is_gone();
    }
}

#[test]
fn without_descriptors_it_lives_on_and_serves_again() {
    raise_descriptors(4000);
    let backend = automatic(reply).to_string();
    for variant in VARIANTS {
        let arguments = ["--backend", &backend, "--connections", "1000"];
        let mut program = Program::with_descriptors(128, variant, &arguments);
        let mut first = program.client();
        first.send(GET);
        first.message();
        let clients: Vec<_> = (0..400).map(|_| TcpStream::connect(program.address()).unwrap()).collect();
        // A period to measure over.
        let before = program.ticks();
        thread::sleep(Duration::from_secs(1));
        let ticks = program.ticks() - before;
        assert!(ticks < 20, "{variant:?}: {ticks} % of a core");
        // Those that are there are still served, over the backend connection that was kept.
        first.send(GET);
        assert_eq!(first.message().status(), 200, "{variant:?}");
        drop(clients);
        let start = Instant::now();
        eventually("it serves again", || {
            let mut client = program.client();
            client.send(GET);
            client.message().status() == 200
        });
        assert!(start.elapsed() < Duration::from_secs(2), "{variant:?}: {:?}", start.elapsed());
        assert!(program.is_running());
    }
}
