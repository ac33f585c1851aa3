//! `neraca serve` with certificates: files over TLS, and the reload of the certificates.
use std::fs;

use super::{ENGINES, put};
use crate::harness::certificates::{Authority, TlsClient};
use crate::harness::eventually;
use crate::harness::folder::Folder;
use crate::harness::program::Program;

const HOST: &str = "a.example";

#[test]
fn files_are_served_over_tls_and_new_certificates_are_used() {
    let large: String = (0..50_000).map(|n| format!("{n:05}\n")).collect();
    assert_eq!(large.len(), 300_000);
    for variant in ENGINES {
        let (folder, authority) = (Folder::new("tls-files"), Authority::new());
        let (old, new) = (authority.sign(&[HOST]), authority.sign(&[HOST]));
        put(&folder, "first", &old);
        fs::create_dir(folder.path("site")).unwrap();
        fs::write(folder.path("site/small.txt"), "small").unwrap();
        fs::write(folder.path("site/large.txt"), &large).unwrap();
        let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
        let files = [path("site"), path("first.pem"), path("first.key")];
        let [root, certificate, key] = files.each_ref().map(String::as_str);
        // A file above this limit is read for each response.
        let arguments = ["--root", root, "--tls-cert", certificate, "--tls-key", key];
        let arguments = [&arguments[..], &["--small-file-bytes", "1000"]].concat();
        let program = Program::start("serve", variant, &arguments);
        let config = authority.client();
        let mut client = TlsClient::connect(program.address(), HOST, &config).unwrap();
        assert!(client.certificate() == old.der);

        let (head, _) = client.get(HOST, "/small.txt").unwrap();
        let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
        // path, field of the request, status, body
        let cases = [
            ("/small.txt", String::new(), 200, "small"),
            ("/large.txt", String::new(), 200, large.as_str()),
            ("/large.txt", "Range: bytes=123456-234567\r\n".to_owned(), 206, &large[123_456..=234_567]),
            ("/small.txt", "Range: bytes=-3\r\n".to_owned(), 206, "all"),
            ("/small.txt", format!("If-None-Match: {tag}\r\n"), 304, ""),
            ("/large.txt", String::new(), 200, large.as_str()),
        ];
        for (target, field, status, expected) in cases {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n");
            let (head, body) = client.exchange(&request).unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {field}: {head}");
            assert!(body == expected, "{target} {field}: {} bytes", body.len());
        }

        put(&folder, "first", &new);
        eventually("the new certificate is used", || {
            TlsClient::connect(program.address(), HOST, &config).unwrap().certificate() == new.der
        });
        assert_eq!(client.get(HOST, "/small.txt").unwrap().1, "small");
    }
}
