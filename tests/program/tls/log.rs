//! What the access log tells of TLS.
use std::fs;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;

use super::{ENGINES, ask, ok, put};
use crate::harness::CROSSBEAM;
use crate::harness::certificates::Authority;
use crate::harness::folder::Folder;
use crate::harness::program::Program;
use crate::harness::scripted::automatic;

#[test]
fn the_access_log_tells_of_the_encryption() {
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-log"), Authority::new());
        put(&folder, "first", &authority.sign(&["a.example"]));
        let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
        let (log, backend) = (path("log"), automatic(CROSSBEAM, ok).to_string());
        let (certificate, key) = (path("first.pem"), path("first.key"));
        let arguments = ["--backend", &backend, "--access-log", &log];
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];

        let mut program = Program::start("balance", variant, &[arguments, tls].concat());
        let mut expected = Vec::new();
        // version of the client, true when it names the host, the version in the log
        for (version, names, told) in
            [(&TLS13, true, "TLSv1.3"), (&TLS12, true, "TLSv1.2"), (&TLS13, false, "TLSv1.3")]
        {
            let mut config = ClientConfig::clone(&authority.client_with(&[version], None));
            config.enable_sni = names;
            let config = Arc::new(config);
            let sni = if names { Value::from("a.example") } else { Value::Null };
            for is_resumed in [false, true] {
                let mut client = ask(&program, "a.example", &config).unwrap();
                assert_eq!(
                    (client.get("a.example", "/").unwrap().1.as_str(), client.is_resumed()),
                    ("ok", is_resumed)
                );
                let line =
                    (Value::from(told), Value::from(client.cipher()), sni.clone(), Value::from(is_resumed));
                expected.extend([line.clone(), line]);
            }
        }
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| line[name].clone();
            (field("tls_version"), field("tls_cipher"), field("tls_sni"), field("tls_resumed"))
        });
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{variant:?}");

        fs::remove_file(&log).unwrap();
        let mut program = Program::start("balance", variant, &arguments);
        let mut client = program.client();
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(client.message().text(), "ok");
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.ends_with("}\n") && !text.contains("tls_"), "{text}");
    }
}
