//! Tests of backends with DNS names: the program follows the answers of a DNS server while clients go on.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use crate::harness::dns::Dns;
use crate::harness::program::Program;
use crate::harness::scripted::{Reply, automatic, automatic_on};
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, EDGE, eventually};
use rustix::process::Signal;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SECOND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const OF_IPV6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

fn one(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"))
}

fn two(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"))
}

/// Starts a backend that says "one" at the first address, and one that says "two" at the second. Returns their port.
fn two_backends() -> u16 {
    // Now and then another socket has the port at the second address.
    let (first, second) = std::iter::repeat_with(|| TcpListener::bind((FIRST, 0)).unwrap())
        .find_map(|first| {
            let port = first.local_addr().unwrap().port();
            TcpListener::bind((SECOND, port)).ok().map(|second| (first, second))
        })
        .unwrap();
    automatic_on(first, CROSSBEAM, one);
    automatic_on(second, CROSSBEAM, two).port()
}

/// Asks on this connection. Every request must be answered.
fn ask(client: &mut Wire) -> String {
    client.send(GET);
    let answer = client.message();
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text().to_owned()
}

/// Asks until this backend answers 20 times in a row, so that each worker has seen the change. No request may fail.
fn moves_to(text: &str, client: &mut Wire) {
    let mut in_a_row = 0;
    eventually("the traffic moves", || {
        in_a_row = if ask(client) == text { in_a_row + 1 } else { 0 };
        in_a_row == 20
    });
}

fn status(admin: SocketAddr) -> serde_json::Value {
    let mut client = Wire::connect(admin);
    client.send("GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n");
    serde_json::from_str(client.message().text()).unwrap()
}

/// Returns the addresses of all backends, with their weights and names.
fn backends(admin: SocketAddr) -> BTreeMap<String, (u64, String)> {
    let status = status(admin);
    let backends = status["backends"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    backends
        .map(|one| (text(&one["address"]), (one["weight"].as_u64().unwrap(), text(&one["name"]))))
        .collect()
}

#[test]
fn traffic_follows_the_answers_and_no_request_fails() {
    for variant in [CROSSBEAM, EDGE] {
        let (dns, port) = (Dns::start(), two_backends());
        dns.set("web.example", &[FIRST]);
        let (server, backend) = (dns.address().to_string(), format!("web.example:{port}"));
        let program = Program::start(
            "balance",
            variant,
            &["--resolver", &server, "--backend", &backend, "--workers", "2"],
        );
        let mut client = program.client();
        assert_eq!(ask(&mut client), "one");
        dns.set("web.example", &[SECOND]);
        moves_to("two", &mut client);
        // The name does not exist any more: the last answer counts.
        dns.remove("web.example");
        let before = dns.asked("web.example");
        eventually("it asks again", || {
            ask(&mut client);
            dns.asked("web.example") >= before + 4
        });
        assert_eq!(ask(&mut client), "two");
        dns.set("web.example", &[FIRST]);
        moves_to("one", &mut client);
    }
}

#[test]
fn all_addresses_of_a_name_are_backends_and_the_status_says_the_name() {
    for variant in [CROSSBEAM, EDGE] {
        let dns = Dns::start();
        dns.answer_only_over_tcp();
        dns.set("web.example", &[FIRST, SECOND, OF_IPV6]);
        let server = dns.address().to_string();
        let backend = ["--backend", "web.example:9,weight=3,cap=7", "--backend", "127.0.0.2:9"];
        let (_program, admin) =
            Program::with_admin(variant, &[&["--resolver", server.as_str()], &backend[..]].concat());
        let from = |weight, name: &str| (weight, name.to_owned());
        let expected = [
            ("127.0.0.1:9", from(3, "web.example:9")),
            ("127.0.0.2:9", from(1, "")),
            ("[::1]:9", from(3, "web.example:9")),
        ];
        assert_eq!(backends(admin), expected.map(|(address, one)| (address.to_owned(), one)).into());
    }
}

#[test]
fn a_service_says_ports_and_weights() {
    for variant in [CROSSBEAM, EDGE] {
        let dns = Dns::start();
        let service = "_http._tcp.web.example";
        dns.set("n1.example", &[FIRST]);
        dns.set("n2.example", &[SECOND]);
        dns.set_service(
            service,
            &[(1, 10, 11, "n1.example"), (1, 30, 12, "n2.example"), (2, 1, 13, "n1.example")],
        );
        let (server, backend) = (dns.address().to_string(), format!("srv:{service}"));
        let (_program, admin) = Program::with_admin(variant, &["--resolver", &server, "--backend", &backend]);
        let expect = |expected: &[(&str, u64)]| {
            let expected: BTreeMap<_, _> = expected
                .iter()
                .map(|(address, weight)| ((*address).to_owned(), (*weight, backend.clone())))
                .collect();
            eventually("the backends are those of the service", || backends(admin) == expected);
        };
        expect(&[("127.0.0.1:11", 10), ("127.0.0.2:12", 30)]);
        dns.set_service(
            service,
            &[(1, 5, 11, "n1.example"), (1, 30, 14, "n2.example"), (1, 1, 15, "n3.example")],
        );
        expect(&[("127.0.0.1:11", 5), ("127.0.0.2:14", 30)]);
    }
}

#[test]
fn a_name_without_an_answer_has_no_backends_until_it_has_one() {
    for variant in [CROSSBEAM, EDGE] {
        let (dns, port) = (Dns::start(), two_backends());
        let (server, backend) = (dns.address().to_string(), format!("web.example:{port}"));
        dns.set("web.example", &[]);
        let program = Program::start("balance", variant, &["--resolver", &server, "--backend", &backend]);
        let mut client = program.client();
        client.send(GET);
        assert_eq!(client.message().status(), 503);
        dns.set("web.example", &[FIRST]);
        eventually("the name has an answer", || {
            client.send(GET);
            client.message().status() == 200
        });
        assert_eq!(ask(&mut client), "one");
    }
}

#[test]
fn a_reload_knows_the_addresses_of_a_new_name_before_a_request_does() {
    for variant in [CROSSBEAM, EDGE] {
        let (dns, port) = (Dns::start(), two_backends());
        dns.set("one.example", &[FIRST]);
        dns.set("two.example", &[SECOND]);
        let name = format!("discovery-{}-{}.toml", std::process::id(), port);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let write = |backend: &str| {
            let text = format!(
                "resolver = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nlisten = \"127.0.0.1:0\"\n\
                 [clusters.web]\nbackends = [{{ address = \"{backend}:{port}\" }}]\n[[routes]]\ncluster = \"web\"\n",
                dns.address()
            );
            fs::write(&file, text).unwrap();
        };
        write("one.example");
        let (program, admin) = Program::with_file_and_admin(&file, variant);
        let mut client = program.client();
        assert_eq!(ask(&mut client), "one");
        write("two.example");
        program.signal(Signal::HUP);
        moves_to("two", &mut client);
        // The first name is not asked for any more, and the second is.
        let before = dns.asked("two.example");
        eventually("the new name is asked again", || dns.asked("two.example") >= before + 4);
        let before = (dns.asked("one.example"), dns.asked("two.example"));
        eventually("the new name is asked again", || dns.asked("two.example") >= before.1 + 4);
        assert_eq!(dns.asked("one.example"), before.0);
        assert_eq!(backends(admin)[&format!("{SECOND}:{port}")].1, format!("two.example:{port}"));
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_host_of_the_hosts_file_needs_no_dns_server() {
    for variant in [CROSSBEAM, EDGE] {
        // Nobody answers at this port while the test holds it.
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = nobody.local_addr().unwrap().to_string();
        let backend = format!("localhost:{}", automatic(CROSSBEAM, one).port());
        let program = Program::start("balance", variant, &["--resolver", &server, "--backend", &backend]);
        assert_eq!(ask(&mut program.client()), "one");
    }
}
