//! Tests of TLS for clients: the choice of the certificate, client certificates, versions, and the reload of certificates. The
//! module `backends` tests TLS with backends, `files` the file server, and `log` what the access log tells.
mod backends;
mod files;
mod log;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::certificates::{Authority, Pair, TlsClient};
use crate::harness::folder::Folder;
use crate::harness::program::Program;
use crate::harness::scripted::{Backend, Reply, automatic};
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, EDGE, VARIANTS, Variant, eventually};
use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

/// One variant of each engine, and each with a pool for the handshakes.
const ENGINES: [Variant; 4] = [CROSSBEAM, EDGE, CROSSBEAM.with_pool(), EDGE.with_pool()];

fn ok(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
}

/// Writes the files of a certificate: `NAME.pem` and `NAME.key`.
fn put(folder: &Folder, name: &str, pair: &Pair) {
    // As tools for certificates do: first one file, then the other.
    folder.put(&format!("{name}.key"), &pair.key);
    folder.put(&format!("{name}.pem"), &pair.certificate);
}

/// A file with one listener, with these certificates and these lines about TLS.
fn configuration(backend: SocketAddr, certificates: &[&str], lines: &str) -> String {
    let pairs =
        certificates.iter().map(|name| format!("{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}"));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nlisten = \"127.0.0.1:0\"\n[listeners.tls]\n\
         certificates = [{pairs}]\n{lines}[clusters.web]\nbackends = [\"{backend}\"]\n[[routes]]\ncluster = \"web\"\n"
    )
}

/// Starts a balancer with a file about TLS. Returns the address of the admin listener, too.
fn start(folder: &Folder, variant: Variant, text: &str) -> (Program, SocketAddr) {
    folder.put("neraca.toml", text);
    Program::with_file_and_admin(&folder.path("neraca.toml"), variant)
}

/// Connects as a client of this host, and makes one request.
fn ask(program: &Program, host: &str, config: &Arc<ClientConfig>) -> io::Result<TlsClient> {
    let mut client = TlsClient::connect(program.address(), host, config)?;
    let (head, body) = client.get(host, "/")?;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok", "{head}{body}");
    Ok(client)
}

/// Returns a page of the admin listener.
fn page(admin: SocketAddr, target: &str) -> String {
    let mut client = Wire::connect(admin);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.message().text().to_owned()
}

/// Returns what the admin listener says of the configuration.
fn told(admin: SocketAddr) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&page(admin, "/status.json")).unwrap();
    status["configuration"].clone()
}

#[test]
fn the_name_of_the_host_selects_the_certificate() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-names"), Authority::new());
        let first = authority.sign(&["a.example", "other.example", "x.y.b.example"]);
        let second = authority.sign(&["b.example", "*.b.example"]);
        put(&folder, "first", &first);
        put(&folder, "second", &second);
        let backend = automatic(CROSSBEAM, ok);
        let (program, _) = start(&folder, variant, &configuration(backend, &["first", "second"], ""));
        for config in [authority.client_with(&[&TLS13], None), authority.client_with(&[&TLS12], None)] {
            for (host, expected) in [
                ("a.example", &first),
                ("b.example", &second),
                ("www.b.example", &second),
                ("x.y.b.example", &first),
                ("other.example", &first),
            ] {
                let client = ask(&program, host, &config).unwrap();
                assert!(client.certificate() == expected.der, "{host}");
                assert_eq!(client.protocol(), Some(&b"http/1.1"[..]));
            }
        }
        for (protocols, is_served) in [(vec![], true), (vec![b"h2".to_vec()], false)] {
            let mut config = ClientConfig::clone(&authority.client());
            config.alpn_protocols = protocols;
            assert_eq!(ask(&program, "a.example", &Arc::new(config)).is_ok(), is_served);
        }
        // The client's name is in no certificate: it gets the first one, and refuses it.
        let unknown = ask(&program, "c.example", &authority.client()).err().unwrap();
        assert!(unknown.to_string().contains("not valid for name"), "{unknown}");
    }
}

#[test]
fn a_client_resumes_its_session_also_after_a_reload() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-sessions"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let text = configuration(automatic(CROSSBEAM, ok), &["first"], "");
        let (program, admin) = start(&folder, variant, &text);
        for versions in [[&TLS13], [&TLS12]] {
            let config = authority.client_with(&versions, None);
            assert!(!ask(&program, "a.example", &config).unwrap().is_resumed());
            assert!(ask(&program, "a.example", &config).unwrap().is_resumed());
            // Nothing has changed for this listener, so the keys of the tickets stay.
            let before = told(admin)["loaded"].as_u64().unwrap();
            program.signal(Signal::HUP);
            eventually("the file is loaded", || told(admin)["loaded"] == before + 1);
            assert!(ask(&program, "a.example", &config).unwrap().is_resumed());
        }
    }
}

#[test]
fn without_resumption_every_handshake_is_a_full_one() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-full"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let backend = automatic(CROSSBEAM, ok);
        for (lines, resumes) in
            [("", true), ("no_resumption = false\n", true), ("no_resumption = true\n", false)]
        {
            let (program, _) = start(&folder, variant, &configuration(backend, &["first"], lines));
            for versions in [[&TLS13], [&TLS12]] {
                let config = authority.client_with(&versions, None);
                let resumed = [(); 2].map(|()| ask(&program, "a.example", &config).unwrap().is_resumed());
                assert_eq!(resumed, [false, resumes], "{lines} {versions:?}");
            }
        }
    }
}

#[test]
fn a_client_certificate_is_optional_or_required() {
    for variant in ENGINES {
        let (folder, authority, foreign) = (Folder::new("tls-clients"), Authority::new(), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        folder.put("clients.pem", &authority.certificate());
        let (known, unknown) = (authority.sign(&["client"]), foreign.sign(&["client"]));
        let backend = automatic(CROSSBEAM, ok);
        // lines, a client without a certificate is served, a client with a foreign certificate is served
        for (lines, without, with_foreign) in [
            ("", true, true),
            ("client_ca = \"clients.pem\"\nclient_certificates = \"none\"\n", true, true),
            ("client_ca = \"clients.pem\"\nclient_certificates = \"optional\"\n", true, false),
            ("client_ca = \"clients.pem\"\nclient_certificates = \"required\"\n", false, false),
            ("client_ca = \"clients.pem\"\n", false, false),
        ] {
            let (program, _) = start(&folder, variant, &configuration(backend, &["first"], lines));
            for versions in [[&TLS13], [&TLS12]] {
                let served = |own: Option<&Pair>| {
                    ask(&program, "a.example", &authority.client_with(&versions, own)).is_ok()
                };
                let all = (served(Some(&known)), served(None), served(Some(&unknown)));
                assert_eq!(all, (true, without, with_foreign), "{lines} {versions:?}");
            }
        }
    }
}

#[test]
fn the_oldest_version_is_a_choice() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-versions"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let backend = automatic(CROSSBEAM, ok);
        for (lines, old) in
            [("", true), ("minimum_version = \"1.2\"\n", true), ("minimum_version = \"1.3\"\n", false)]
        {
            let (program, _) = start(&folder, variant, &configuration(backend, &["first"], lines));
            let served =
                |version| ask(&program, "a.example", &authority.client_with(&[version], None)).is_ok();
            assert_eq!((served(&TLS12), served(&TLS13)), (old, true), "{lines}");
        }
    }
}

#[test]
fn new_certificates_are_used_and_connections_stay() {
    for variant in VARIANTS {
        let (folder, authority) = (Folder::new("tls-reload"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let (program, admin) =
            start(&folder, variant, &configuration(automatic(CROSSBEAM, ok), &["first"], ""));
        let config = authority.client();
        let mut open = ask(&program, "a.example", &config).unwrap();
        for _ in 0..2 {
            let next = authority.sign(&["a.example"]);
            put(&folder, "first", &next);
            eventually("the new certificate is used", || {
                ask(&program, "a.example", &config).unwrap().certificate() == next.der
            });
            assert_eq!(open.get("a.example", "/").unwrap().1, "ok");
        }
        eventually("nothing is wrong", || told(admin)["error"].is_null());
    }
}

#[test]
fn a_broken_certificate_changes_nothing_and_the_reason_is_told() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-broken"), Authority::new());
        let (old, new) = (authority.sign(&["a.example"]), authority.sign(&["a.example"]));
        put(&folder, "first", &old);
        let (program, admin) =
            start(&folder, variant, &configuration(automatic(CROSSBEAM, ok), &["first"], ""));
        let config = authority.client();
        let mut open = ask(&program, "a.example", &config).unwrap();
        // name and text of the file, place and words of the reason
        let broken = [
            ("first.pem", new.certificate.as_str(), "neraca.toml:6:", "expected the key of the certificate"),
            ("first.pem", "nothing", "neraca.toml:6:", "expected a certificate in PEM form"),
            ("first.key", "nothing", "neraca.toml:6:", "expected a private key in PEM form"),
        ];
        for (n, (name, text, place, words)) in broken.into_iter().enumerate() {
            folder.put(name, text);
            eventually("the certificate is refused", || told(admin)["refused"] == n + 1);
            let error = told(admin)["error"].as_str().unwrap().to_owned();
            assert!(error.contains(place) && error.contains(words), "{error}");
            assert!(ask(&program, "a.example", &config).unwrap().certificate() == old.der);
            assert_eq!(open.get("a.example", "/").unwrap().1, "ok");
        }
        let metric = "neraca_configuration_reloads_total{result=\"refused\"} 3";
        assert!(page(admin, "/metrics").contains(metric), "{}", page(admin, "/metrics"));
        put(&folder, "first", &new);
        eventually("the new certificate is used", || {
            ask(&program, "a.example", &config).unwrap().certificate() == new.der
        });
        eventually("nothing is wrong", || told(admin)["error"].is_null());
    }
}

#[test]
fn a_listener_begins_and_ends_to_have_tls() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-begins"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let with = configuration(automatic(CROSSBEAM, ok), &["first"], "");
        let (before, rest) = with.split_once("[listeners.tls]").unwrap();
        let without = format!("{before}{}", rest.split_once("]\n").unwrap().1);
        let (program, admin) = start(&folder, variant, &without);
        let plain = |client: &mut Wire| {
            client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
            client.message().text().to_owned()
        };
        let mut open = program.client();
        assert_eq!(plain(&mut open), "ok");
        folder.put("neraca.toml", &with);
        eventually("the file is loaded", || told(admin)["loaded"] == 1);
        assert!(ask(&program, "a.example", &authority.client()).is_ok());
        assert_eq!(plain(&mut open), "ok");
        folder.put("neraca.toml", &without);
        eventually("the file is loaded", || told(admin)["loaded"] == 2);
        assert_eq!(plain(&mut program.client()), "ok");
    }
}

#[test]
fn the_command_line_has_certificates_too() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-arguments"), Authority::new());
        let (old, new, second) =
            (authority.sign(&["a.example"]), authority.sign(&["a.example"]), authority.sign(&["b.example"]));
        put(&folder, "first", &old);
        put(&folder, "second", &second);
        let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
        let backend = automatic(CROSSBEAM, ok).to_string();
        let files = [path("first.pem"), path("first.key"), path("second.pem"), path("second.key")];
        let [first_pem, first_key, second_pem, second_key] = files.each_ref().map(String::as_str);
        let arguments = ["--backend", &backend, "--tls-cert", first_pem, "--tls-key", first_key];
        let arguments = [&arguments[..], &["--tls-cert", second_pem, "--tls-key", second_key]].concat();
        let (program, admin) = Program::with_admin(variant, &arguments);
        let config = authority.client();
        let certificate = |host| ask(&program, host, &config).unwrap().certificate();
        assert!(certificate("a.example") == old.der && certificate("b.example") == second.der);
        folder.put("first.pem", &new.certificate);
        eventually("the certificate is refused", || told(admin)["refused"] == 1);
        let error = told(admin)["error"].as_str().unwrap().to_owned();
        assert!(error.contains("for '--tls-key <FILE>': expected the key of the certificate"), "{error}");
        assert!(certificate("a.example") == old.der);
        folder.put("first.key", &new.key);
        eventually("the new certificate is used", || certificate("a.example") == new.der);
        let loaded = told(admin)["loaded"].as_u64().unwrap();
        program.signal(Signal::HUP);
        eventually("SIGHUP loads the certificates", || told(admin)["loaded"] == loaded + 1);
        assert!(certificate("a.example") == new.der && certificate("b.example") == second.der);
    }
}

#[test]
fn a_client_without_tls_is_sent_to_tls_and_the_backend_hears_of_it() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-redirect"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let backend = Backend::start(CROSSBEAM);
        let tls = configuration(backend.address(), &["first"], "");
        let (_, tls) = tls.split_once("[[listeners]]\n").unwrap();
        let tls = tls.replace("[[routes]]", "[[routes]]\nlisteners = [\"secure\"]");
        folder.put(
            "neraca.toml",
            &format!(
                "[[listeners]]\nname = \"plain\"\nlisten = \"127.0.0.1:0\"\n[[routes]]\nlisteners = [\"plain\"]\n\
                 redirect = \"https://{{host}}{{target}}\"\n[[listeners]]\nname = \"secure\"\n{tls}"
            ),
        );
        let (program, second) = Program::with_file(&folder.path("neraca.toml"), variant);
        let mut client = program.client();
        client.send("GET /x?y=1 HTTP/1.1\r\nHost: a.example:80\r\n\r\n");
        let answer = client.message();
        assert_eq!((answer.status(), answer.field("Location")), (308, Some("https://a.example/x?y=1")));
        let mut client = TlsClient::connect(second, "a.example", &authority.client()).unwrap();
        std::thread::scope(|scope| {
            let answered = scope.spawn(|| client.get("a.example", "/x?y=1"));
            let mut peer = backend.accept_request();
            let request = peer.message();
            assert_eq!(request.field("X-Forwarded-Proto"), Some("https"), "{request:?}");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(answered.join().unwrap().unwrap().1, "ok");
        });
    }
}
