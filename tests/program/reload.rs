//! Tests of the reload of the configuration file: the program follows its file while clients and tunnels go on.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::folder::Folder;
use crate::harness::program::Program;
use crate::harness::scripted::{Backend, Reply, Reserved, automatic};
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, VARIANTS, eventually};
use rustix::process::Signal;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn configuration(listeners: &[&str], backends: &[SocketAddr]) -> String {
    let listeners: Vec<_> =
        listeners.iter().map(|listen| format!("[[listeners]]\nlisten = \"{listen}\"\n")).collect();
    let backends: Vec<_> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n{}[clusters.web]\nbackends = [{}]\n[[routes]]\ncluster = \"web\"\n",
        listeners.concat(),
        backends.join(", ")
    )
}

fn one(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"))
}

fn two(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"))
}

/// Asks on this connection. Every request must be answered.
fn ask(client: &mut Wire) -> String {
    client.send(GET);
    let answer = client.message();
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text().to_owned()
}

fn status(admin: SocketAddr) -> serde_json::Value {
    let mut client = Wire::connect(admin);
    client.send("GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n");
    serde_json::from_str(client.message().text()).unwrap()
}

/// Returns what the admin listener says of the configuration.
fn told(admin: SocketAddr) -> serde_json::Value {
    status(admin)["configuration"].clone()
}

#[test]
fn the_program_follows_its_file_and_connections_stay() {
    for variant in VARIANTS {
        let folder = Folder::new("follows");
        let (first, second) = (automatic(CROSSBEAM, one), automatic(CROSSBEAM, two));
        folder.put("neraca.toml", &configuration(&["127.0.0.1:0"], &[first]));
        let (program, _admin) = Program::with_file_and_admin(&folder.path("neraca.toml"), variant);
        let mut client = program.client();
        assert_eq!(ask(&mut client), "one");
        folder.put("neraca.toml", &configuration(&["127.0.0.1:0"], &[second]));
        eventually("the second backend gets the requests", || ask(&mut client) == "two");
        // The same connection, and the same port.
        assert_eq!((ask(&mut client), ask(&mut program.client())), ("two".into(), "two".into()));
    }
}

#[test]
fn a_bad_file_changes_nothing_and_the_reason_is_told() {
    for variant in VARIANTS {
        let folder = Folder::new("bad");
        let backend = automatic(CROSSBEAM, one);
        let good = configuration(&["127.0.0.1:0"], &[backend]);
        folder.put("neraca.toml", &good);
        let (program, admin) = Program::with_file_and_admin(&folder.path("neraca.toml"), variant);
        let mut client = program.client();
        assert_eq!(ask(&mut client), "one");
        assert_eq!((&told(admin)["refused"], &told(admin)["error"]), (&0.into(), &serde_json::Value::Null));
        folder.put("neraca.toml", &format!("{good}polcy = 1\n"));
        eventually("the file is refused", || told(admin)["refused"] == 1);
        let error = told(admin)["error"].as_str().unwrap().to_owned();
        assert!(error.contains("neraca.toml:9:1") && error.contains("polcy"), "{error}");
        assert_eq!(ask(&mut client), "one");
        // An address that cannot be bound is noticed before anything changes.
        folder.put(
            "neraca.toml",
            &configuration(&["127.0.0.1:0", "192.0.2.1:80"], &[SocketAddr::from(([127, 0, 0, 1], 1))]),
        );
        eventually("the address is refused", || told(admin)["refused"] == 2);
        assert!(
            told(admin)["error"].as_str().unwrap().contains("cannot listen on 192.0.2.1:80"),
            "{}",
            told(admin)
        );
        assert_eq!(ask(&mut client), "one");
        folder.put("neraca.toml", &good);
        eventually("the file is good again", || told(admin)["error"].is_null() && told(admin)["loaded"] == 1);
        // SIGHUP loads it also when it has not changed.
        program.signal(Signal::HUP);
        eventually("SIGHUP loads the file", || told(admin)["loaded"] == 2);
        assert_eq!(ask(&mut client), "one");
    }
}

#[test]
fn what_stays_is_known_under_new_settings_of_the_cluster() {
    for variant in VARIANTS {
        let folder = Folder::new("settings");
        let (dead, backend) = (Reserved::new(), Backend::start(CROSSBEAM));
        let with = |settings: &str| {
            let backends =
                format!("\"{}\", {{ address = \"{}\", cap = 1 }}", dead.address(), backend.address());
            let file = configuration(&["127.0.0.1:0"], &[]);
            folder.put("neraca.toml", &file.replace("[]", &format!("[{backends}]\n{settings}")));
        };
        with("policy = \"first\"\nejection_ms = 60000\nejection_max_ms = 60000\n");
        let (program, admin) = Program::with_file_and_admin(&folder.path("neraca.toml"), variant);
        // The first backend refuses the request, which goes to the second one. The next request waits.
        let (mut first, mut second) = (program.client(), program.client());
        first.send(GET);
        let mut peer = backend.accept_request();
        peer.head();
        second.send(GET);
        eventually("the second request waits", || status(admin)["waiting"] == 1);
        with(
            "policy = \"round-robin\"\nejection_ms = 10\nslow_start_ms = 0\nqueue = 1\nretry_percent = 50\n",
        );
        eventually("the file is loaded", || told(admin)["loaded"] == 1);
        let status = status(admin);
        let of = |place: usize, what: &str| status["backends"][place][what].clone();
        assert_eq!((of(0, "state"), of(0, "attempts")), ("ejected".into(), 1.into()), "{status:#}");
        assert_eq!((of(1, "state"), of(1, "attempts")), ("full".into(), 1.into()), "{status:#}");
        assert_eq!((of(1, "in_flight"), &status["waiting"]), (1.into(), &1.into()), "{status:#}");
        assert_eq!(status["policy"], "round-robin");
        // The request in flight ends, and the next one gets its place.
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\none");
        assert_eq!(first.message().text(), "one");
        let mut peer = backend.accept_request();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
        assert_eq!(second.message().text(), "two");
        // The connection is kept for the requests under newer settings.
        with("policy = \"first\"\n");
        eventually("the file is loaded again", || told(admin)["loaded"] == 2);
        second.send(GET);
        assert_eq!(peer.head().head.lines().next(), Some("GET / HTTP/1.1"));
    }
}

#[test]
fn listeners_come_and_go_and_a_tunnel_stays() {
    for variant in VARIANTS {
        let folder = Folder::new("listeners");
        let backend = Backend::start(CROSSBEAM);
        folder.put("neraca.toml", &configuration(&["127.0.0.1:0"], &[backend.address()]));
        let (program, admin) = Program::with_file_and_admin(&folder.path("neraca.toml"), variant);
        let mut tunnel = program.client();
        tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        let mut peer = backend.accept_request();
        peer.head();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(tunnel.head().status(), 101);
        // Another address takes the place of the first, and another backend.
        let other = automatic(CROSSBEAM, two);
        folder.put("neraca.toml", &configuration(&["127.0.0.2:0"], &[other]));
        eventually("the file is loaded", || told(admin)["loaded"] == 1);
        assert!(TcpStream::connect(program.address()).is_err(), "the first listener is still there");
        let status = status(admin);
        let listeners = status["listeners"].as_array().unwrap();
        assert_eq!(listeners.len(), 1, "{listeners:?}");
        let address: SocketAddr = listeners[0].as_str().unwrap().parse().unwrap();
        assert_eq!(ask(&mut Wire::connect(address)), "two");
        tunnel.send("up");
        assert_eq!(peer.take(2), b"up");
        peer.send("down");
        assert_eq!(tunnel.take(4), b"down");
    }
}
