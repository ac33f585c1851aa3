//! The log, the metrics and the backends agree on the number of the requests.
use std::fs;
use std::net::SocketAddr;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use super::{file, get, lines, request};
use crate::harness::counting::{Counting, metric, metrics};
use crate::harness::program::Program;
use crate::harness::wire::Wire;
use crate::harness::{VARIANTS, eventually};

/// Sends requests over several connections at once, as clients do. Returns their number.
fn traffic(address: SocketAddr) -> u64 {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 25;
    let one_client = |number: usize| {
        let mut client = Wire::connect(address);
        let mut sent = 0;
        for round in 0..ROUNDS {
            let (requests, answers) = match (number + round) % 5 {
                0 => (request("POST", "/post", "Content-Length: 4\r\n") + "body", 1),
                1 => (get("/pipelined").repeat(3), 3),
                2 => (request("OPTIONS", "/ours", "Max-Forwards: 0\r\n"), 1),
                3 => (get("/missing"), 1),
                _ => (get("/"), 1),
            };
            client.send(&requests);
            for _ in 0..answers {
                let status = client.message().status();
                // A POST whose kept connection breaks is not repeated.
                assert!(status < 500 || requests.starts_with("POST"), "{requests}: {status}");
            }
            sent += answers;
        }
        sent
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || one_client(number))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

/// Lets some clients leave: before a response, and in the middle of one. Returns the number of their requests.
fn aborts(address: SocketAddr, backends: &[Counting]) -> u64 {
    let seen = || backends.iter().map(Counting::seen).sum::<u64>();
    for _ in 0..3 {
        let (mut client, before) = (Wire::connect(address), seen());
        client.send(get("/never"));
        eventually("a backend has the request", || seen() > before);
        client.reset();
        let mut client = Wire::connect(address);
        client.send(get("/half"));
        assert!(client.head().status() == 200 && client.take(4) == b"half");
        client.reset();
        // This client leaves within the head, so it has no request.
        Wire::connect(address).send("GET /early HTT");
    }
    6
}

/// Kills the backend that has a GET in flight. Returns the backend's place, the number of requests that it had in flight, and
/// the number of requests.
fn kill_under_requests(address: SocketAddr, backends: &mut [Counting]) -> (usize, u64, u64) {
    let requests = [("GET", "/hold/0"), ("POST", "/hold/1"), ("GET", "/hold/2")];
    let mut clients = requests.map(|(method, target)| {
        let mut client = Wire::connect(address);
        client.send(request(method, target, ""));
        client
    });
    eventually("the backends have the requests", || {
        backends.iter().map(|backend| backend.held().len()).sum::<usize>() == 3
    });
    let place = backends.iter().position(|backend| backend.held().contains(&"/hold/0".to_owned())).unwrap();
    let held = backends[place].held();
    backends[place].kill();
    backends.iter().for_each(Counting::release);
    for (client, (_, target)) in clients.iter_mut().zip(requests) {
        let is_lost = target == "/hold/1" && held.iter().any(|held| held == target);
        assert_eq!(client.message().status(), if is_lost { 502 } else { 200 }, "{target}: {held:?}");
    }
    (place, held.len() as u64, 3)
}

#[test]
fn requests_lines_and_metrics_agree_after_kills_aborts_and_retries() {
    let path = file("agree");
    for variant in VARIANTS {
        let mut backends = [(); 3].map(|()| Counting::start());
        let addresses = [0, 1, 2].map(|place: usize| backends[place].address().to_string());
        let arguments = addresses.iter().flat_map(|address| ["--backend", address]);
        let more = ["--policy", "round-robin", "--access-log", path.to_str().unwrap()];
        let arguments: Vec<&str> = arguments.chain(more).collect();
        let (mut program, admin) = Program::with_admin(variant, &arguments);
        let address = program.address();

        let mut requests = traffic(address);
        let (killed, held, more) = kill_under_requests(address, &mut backends);
        requests += more + traffic(address) + aborts(address, &backends);
        eventually("every request is counted", || {
            metric(&metrics(admin), "neraca_requests_total", "") == requests
        });
        let told = metrics(admin);
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");

        let lines = lines(&path);
        assert_eq!(lines.len() as u64, requests, "{variant:?}");
        for code in ["none", "1xx", "2xx", "3xx", "4xx", "5xx"] {
            for end in ["complete", "client_lost", "stalled", "cut_off"] {
                let of_line = |line: &Value| {
                    let code =
                        line["status"].as_u64().map_or("none".into(), |code| format!("{}xx", code / 100));
                    (code, line["end"].as_str().unwrap().to_owned())
                };
                let in_log = lines.iter().filter(|line| of_line(line) == (code.into(), end.into())).count();
                let labels = format!("code=\"{code}\",end=\"{end}\"");
                let counted = metric(&told, "neraca_requests_total", &labels);
                assert_eq!(in_log as u64, counted, "{variant:?} {labels}\n{told}");
            }
        }
        let mut attempts = 0;
        for (place, backend) in backends.iter().enumerate() {
            let of_backend = format!("backend=\"{}\"", backend.address());
            let begun = metric(&told, "neraca_backend_attempts_total", &of_backend);
            let failed = |reasons: &[&str]| -> u64 {
                let labels = reasons.iter().map(|reason| format!("{of_backend},reason=\"{reason}\""));
                labels.map(|labels| metric(&told, "neraca_backend_failures_total", &labels)).sum()
            };
            let broken = failed(&["reset", "ended_early"]);
            let not_connected = failed(&["refused", "connect_timeout", "local"]);
            let (at_kill, is_killed) = if place == killed { (held, true) } else { (0, false) };
            // The kill breaks the requests in flight, which the backend has counted. A kept connection of the killed backend may
            // break under a request, which the backend has not counted.
            let lost = broken - at_kill;
            assert_eq!(begun, backend.seen() + not_connected + lost, "{variant:?} {of_backend}\n{told}");
            assert_eq!(not_connected + broken > 0, is_killed, "{variant:?} {of_backend}\n{told}");
            attempts += begun;
        }
        let in_log = lines.iter().map(|line| line["attempts"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(in_log, attempts, "{variant:?}\n{told}");
        assert!(lines.iter().any(|line| line["attempts"].as_u64() > Some(1)), "{variant:?}: no retry");
        fs::remove_file(&path).unwrap();
    }
}
