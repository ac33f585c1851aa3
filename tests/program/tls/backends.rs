//! Tests of TLS with backends: names, authorities, sessions, failures, checks, and the reload of certificates.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::thread;

use rustls::version::{TLS12, TLS13};

use super::{ENGINES, ask, ok, page, put, start, told};
use crate::harness::certificates::Authority;
use crate::harness::folder::Folder;
use crate::harness::program::Program;
use crate::harness::scripted::automatic;
use crate::harness::tls_backend::TlsBackend;
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, VARIANTS, Variant, eventually};

/// The host of a backend at an address.
const LOCAL: &str = "127.0.0.1";

/// Makes one request on a connection. Returns its status.
fn get(client: &mut Wire, target: &str) -> u16 {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: front.example\r\n\r\n"));
    client.message().status()
}

/// Makes one request on a new connection.
fn status(program: &Program) -> u16 {
    get(&mut program.client(), "/")
}

fn url(backend: &TlsBackend) -> String {
    format!("https://{}", backend.address)
}

/// Starts a balancer whose log is a file. Returns its admin listener and a function that reads the log.
fn logged<'a>(
    folder: &'a Folder,
    variant: Variant,
    arguments: &[&str],
) -> (Program, SocketAddr, impl Fn() -> String + use<'a>) {
    let log = folder.path("log");
    let stderr = Stdio::from(File::create(&log).unwrap());
    let (program, admin, _) = Program::with_admin_and_output(variant, arguments, stderr);
    (program, admin, move || std::fs::read_to_string(&log).unwrap())
}

/// A file with one cluster, and these lines about TLS with its backends.
fn clusters(backends: &[String], lines: &str) -> String {
    let backends = backends.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
    format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nlisten = \"127.0.0.1:0\"\n\
         [clusters.web]\nbackends = [{backends}]\n{lines}[[routes]]\ncluster = \"web\"\n"
    )
}

#[test]
fn a_gateway_has_tls_on_both_sides() {
    for variant in VARIANTS {
        let (folder, authority) = (Folder::new("backends-both"), Authority::new());
        put(&folder, "first", &authority.sign(&["front.example"]));
        folder.put("ca.pem", &authority.certificate());
        let backend = TlsBackend::start(&authority.sign(&[LOCAL]));
        let text = super::configuration(backend.address, &["first"], "");
        let text = text.replace("[[routes]]", "[clusters.web.tls]\nca = \"ca.pem\"\n[[routes]]");
        let (program, _) = start(&folder, variant, &text);
        ask(&program, "front.example", &authority.client()).unwrap();
        let seen = backend.seen();
        // An address is verified, and is no name to ask for (RFC 6066 section 3).
        assert_eq!(seen.names.into_iter().collect::<Vec<_>>(), [None]);
        let head = &seen.heads[0];
        assert!(
            head.contains("X-Forwarded-Proto: https\r\n") && head.contains("Host: front.example\r\n"),
            "{head}"
        );
    }
}

#[test]
fn connections_are_kept_and_sessions_are_resumed() {
    for variant in VARIANTS {
        for versions in [[&TLS13], [&TLS12]] {
            let (folder, authority) = (Folder::new("backends-sessions"), Authority::new());
            folder.put("ca.pem", &authority.certificate());
            let backend = TlsBackend::with(&authority.sign(&[LOCAL]), &versions, None);
            let ca = folder.path("ca.pem");
            let arguments = ["--backend", &url(&backend), "--backend-ca", ca.to_str().unwrap()];
            let (program, _) = Program::with_admin(variant, &arguments);
            let mut client = program.client();
            for _ in 0..5 {
                assert_eq!(get(&mut client, "/"), 200);
            }
            let seen = backend.seen();
            assert_eq!((seen.full + seen.resumed, seen.heads.len()), (1, 5), "{seen:?}");
            // The kept connection ends with the first of these.
            for _ in 0..6 {
                assert_eq!(get(&mut client, "/close"), 200);
            }
            let seen = backend.seen();
            assert_eq!((seen.full + seen.resumed, seen.heads.len()), (6, 11), "{seen:?}");
            assert!(seen.resumed >= 5, "{versions:?} {seen:?}");
        }
    }
}

#[test]
fn a_backend_proves_its_name() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-names"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        let backend = TlsBackend::start(&authority.sign(&["web.example"]));
        let (backend_url, ca) = (url(&backend), folder.path("ca.pem"));
        let arguments = ["--backend", &backend_url, "--backend-ca", ca.to_str().unwrap()];
        let named = [&arguments[..], &["--backend-server-name", "web.example"]].concat();
        let (program, _) = Program::with_admin(variant, &named);
        assert_eq!(status(&program), 200);
        let names: Vec<_> = backend.seen().names.into_iter().collect();
        assert_eq!(names, [Some("web.example".to_owned())]);
        let other = [&arguments[..], &["--backend-server-name", "other.example"]].concat();
        for (arguments, name) in [(&arguments[..], LOCAL), (&other, "other.example")] {
            let before = backend.seen().heads.len();
            let (program, admin, log) = logged(&folder, variant, arguments);
            for _ in 0..3 {
                assert_eq!(status(&program), 502);
            }
            assert_eq!(backend.seen().heads.len(), before, "a request has left");
            let reason = format!("the certificate is not valid for the name {name}, but for ");
            eventually("the first look warns", || log().contains("cannot be reached: the certificate is"));
            let told = log();
            assert_eq!(told.matches("the handshake failed: ").count(), 1, "{told}");
            assert!(told.contains(&format!("the handshake failed: {reason}")), "{told}");
            let status: serde_json::Value = serde_json::from_str(&page(admin, "/status.json")).unwrap();
            assert!(status["backends"][0]["failures"]["refused"].as_u64() >= Some(3), "{status}");
            assert_ne!(status["backends"][0]["state"], "healthy");
        }
    }
}

#[test]
fn a_backend_with_a_foreign_certificate_or_without_tls_gets_no_request() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-foreign"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        let foreign = TlsBackend::start(&Authority::new().sign(&[LOCAL]));
        let plain = format!("https://{}", without_tls());
        let ca = folder.path("ca.pem");
        for (backend, reason) in [
            (url(&foreign), "the certificate is not signed by a known authority"),
            (plain, "the backend does not speak TLS"),
        ] {
            let arguments = ["--backend", &backend, "--backend-ca", ca.to_str().unwrap()];
            let (program, _, log) = logged(&folder, variant, &arguments);
            assert_eq!((status(&program), status(&program)), (502, 502));
            let told = log();
            assert_eq!(told.matches("the handshake failed: ").count(), 1, "{told}");
            assert!(told.contains(&format!("the handshake failed: {reason}")), "{told}");
        }
        assert!(foreign.seen().heads.is_empty());
        let arguments = ["--backend", &url(&foreign), "--backend-tls-insecure"];
        let (program, _, log) = logged(&folder, variant, &arguments);
        assert_eq!(status(&program), 200);
        assert!(log().contains("certificates of backends are not verified: "), "{}", log());
    }
}

/// Starts a server without TLS, which does not understand a handshake. It lives as long as the process.
fn without_tls() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                // The client may leave before.
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            }
        }
    });
    address
}

#[test]
fn a_failed_handshake_is_tried_again_elsewhere() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-retry"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        let good = TlsBackend::start(&authority.sign(&[LOCAL]));
        let bad = TlsBackend::start(&authority.sign(&["other.example"]));
        let ca = folder.path("ca.pem");
        let (first, second) = (url(&bad), url(&good));
        let arguments = ["--backend", &first, "--backend", &second, "--backend-ca", ca.to_str().unwrap()];
        let arguments = [&arguments[..], &["--policy", "round-robin", "--no-ejection"]].concat();
        let (program, _) = Program::with_admin(variant, &arguments);
        let mut client = program.client();
        for _ in 0..6 {
            // A POST is repeated only if no byte of it has left.
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
            client.send("hi");
            assert_eq!(client.message().status(), 200);
        }
        assert!(bad.seen().heads.is_empty());
    }
}

#[test]
fn the_authorities_of_the_system_are_the_default() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-system"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        let backend = TlsBackend::start(&authority.sign(&[LOCAL]));
        let arguments = ["--backend", &url(&backend)];
        let program = Program::with_authorities(&folder.path("ca.pem"), variant, &arguments);
        assert_eq!(status(&program), 200);
        folder.put("ca.pem", &Authority::new().certificate());
        let program = Program::with_authorities(&folder.path("ca.pem"), variant, &arguments);
        assert_eq!(status(&program), 502);
    }
}

#[test]
fn checks_speak_tls() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-checks"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        let good = TlsBackend::start(&authority.sign(&[LOCAL]));
        let bad = TlsBackend::start(&authority.sign(&["other.example"]));
        let (ca, first, second) = (folder.path("ca.pem"), url(&good), url(&bad));
        let arguments = ["--backend", &first, "--backend", &second, "--backend-ca", ca.to_str().unwrap()];
        let states = |admin| {
            let status: serde_json::Value = serde_json::from_str(&page(admin, "/status.json")).unwrap();
            [0, 1].map(|n| status["backends"][n]["state"].as_str().unwrap().to_owned())
        };
        let checks = ["--check", "/up", "--check-interval-ms", "20", "--check-fall", "1"];
        let (_program, admin, log) = logged(&folder, variant, &[&arguments[..], &checks].concat());
        eventually("the checks see both", || states(admin) == ["healthy", "down"]);
        let reason = "is down: the certificate is not valid for the name 127.0.0.1";
        eventually("the log says why", || log().contains(reason));
        eventually("the check asks", || {
            good.seen().heads.iter().any(|head| head.starts_with("GET /up HTTP/1.0\r\n"))
        });
        // A check without a request only connects.
        let checks = ["--check", "tcp", "--check-interval-ms", "20", "--check-rise", "1", "--check-first"];
        let (_program, admin) = Program::with_admin(variant, &[&arguments[..], &checks].concat());
        eventually("the checks see both", || states(admin) == ["healthy", "healthy"]);
    }
}

#[test]
fn new_authorities_count_for_new_connections() {
    for variant in ENGINES {
        let folder = Folder::new("backends-reload");
        let [old, new] = [Authority::new(), Authority::new()];
        folder.put("ca.pem", &old.certificate());
        let backend = TlsBackend::start(&new.sign(&[LOCAL]));
        let ca = folder.path("ca.pem");
        let arguments = ["--backend", &url(&backend), "--backend-ca", ca.to_str().unwrap()];
        let in_file = clusters(&[backend.address.to_string()], "[clusters.web.tls]\nca = \"ca.pem\"\n");
        for has_file in [false, true] {
            folder.put("ca.pem", &old.certificate());
            let (program, admin) = match has_file {
                true => start(&folder, variant, &in_file),
                false => Program::with_admin(variant, &arguments),
            };
            assert_eq!(status(&program), 502);
            folder.put("ca.pem", &new.certificate());
            eventually("the new authority is known", || status(&program) == 200);
            let before = backend.seen();
            // Something that is broken changes nothing. What stays the same is the same backend, with its connections.
            folder.put("ca.pem", "nothing");
            eventually("the file is refused", || told(admin)["refused"] == 1);
            assert!(told(admin)["error"].as_str().unwrap().contains("expected a certificate in PEM form"));
            folder.put("ca.pem", &format!("\n{}", new.certificate()));
            eventually("the file is loaded", || told(admin)["error"].is_null());
            assert_eq!(status(&program), 200);
            let after = backend.seen();
            assert_eq!(after.full + after.resumed, before.full + before.resumed, "{has_file}");
        }
    }
}

#[test]
fn a_backend_may_ask_for_a_certificate() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-own"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        put(&folder, "own", &authority.sign(&["balancer.example"]));
        let backend = TlsBackend::with(&authority.sign(&[LOCAL]), &[&TLS13, &TLS12], Some(&authority));
        for (lines, is_served) in [("", false), ("certificate = \"own.pem\"\nkey = \"own.key\"\n", true)] {
            let lines = format!("[clusters.web.tls]\nca = \"ca.pem\"\n{lines}");
            let (program, _) = start(&folder, variant, &clusters(&[url(&backend)], &lines));
            assert_eq!(status(&program) == 200, is_served, "{lines}");
        }
    }
}

#[test]
fn a_cluster_may_have_backends_with_and_without_tls() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("backends-mixed"), Authority::new());
        folder.put("ca.pem", &authority.certificate());
        let backend = TlsBackend::start(&authority.sign(&[LOCAL]));
        let (secure, plain) = (url(&backend), format!("http://{}", automatic(CROSSBEAM, ok)));
        let ca = folder.path("ca.pem");
        let arguments = ["--backend", &secure, "--backend", &plain, "--backend-ca", ca.to_str().unwrap()];
        let arguments = [&arguments[..], &["--policy", "round-robin"]].concat();
        let (program, _) = Program::with_admin(variant, &arguments);
        let mut client = program.client();
        for _ in 0..6 {
            assert_eq!(get(&mut client, "/"), 200);
        }
        assert_eq!(backend.seen().heads.len(), 3);
    }
}

#[cfg(feature = "discovery")]
#[test]
fn the_name_of_discovered_backends_is_the_one_that_was_written() {
    use crate::harness::dns::Dns;

    for variant in ENGINES {
        let (folder, authority, dns) = (Folder::new("backends-dns"), Authority::new(), Dns::start());
        folder.put("ca.pem", &authority.certificate());
        let backend = TlsBackend::start(&authority.sign(&["web.example"]));
        let port = backend.address.port();
        dns.set("web.example", &[backend.address.ip()]);
        dns.set("node.elsewhere.example", &[backend.address.ip()]);
        dns.set_service("_https._tcp.web.example", &[(1, 1, port, "node.elsewhere.example")]);
        let (ca, resolver) = (folder.path("ca.pem"), dns.address().to_string());
        for written in
            [format!("https://web.example:{port}"), "https://srv:_https._tcp.web.example".to_owned()]
        {
            let arguments =
                ["--backend", &written, "--backend-ca", ca.to_str().unwrap(), "--resolver", &resolver];
            let (program, _) = Program::with_admin(variant, &arguments);
            assert_eq!(status(&program), 200, "{written}");
        }
        assert_eq!(backend.seen().names.into_iter().collect::<Vec<_>>(), [Some("web.example".to_owned())]);
    }
}
