//! Tests of the file server on the engines.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use neraca::files::{Files, FilesLimits};

use crate::harness::{Server, Variant};

/// A temporary directory, removed on drop.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("suite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(path.join("dir")).unwrap();
        fs::write(path.join("index.html"), "<p>hello").unwrap();
        fs::write(path.join("dir/index.html"), "<p>inner").unwrap();
        fs::write(path.join("big.bin"), big()).unwrap();
        Root(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes content that is too large to be kept in memory.
fn big() -> Vec<u8> {
    (0..3_000_000u32).map(|i| (i / 251 + i) as u8).collect()
}

fn start(variant: Variant) -> (Root, Server<Files>) {
    let root = Root::new();
    let files = Files::open(&root.0, FilesLimits::default()).unwrap();
    (root, Server::start(files, variant.options()))
}

fn files_are_served_one_after_the_other(variant: Variant) {
    let (_root, server) = start(variant);
    let mut client = server.client();
    for (target, fields, status, length) in [
        ("GET /", "", 200, 8),
        ("GET /dir/", "", 200, 8),
        ("GET /index.html", "Range: bytes=3-4\r\n", 206, 2),
        ("GET /big.bin", "Range: bytes=1000000-1999999\r\n", 206, 1_000_000),
        ("GET /big.bin", "", 200, 3_000_000),
        ("GET /index.html", "If-None-Match: *\r\n", 304, 0),
        ("GET /index.html", "Range: bytes=99-\r\n", 416, 0),
    ] {
        client.send(format!("{target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let head = client.head();
        assert_eq!(head.status(), status, "{target} {fields}");
        let body = if status == 304 { Vec::new() } else { client.body_of(head).body };
        if status < 300 {
            assert_eq!(body.len(), length, "{target} {fields}");
        }
        if target == "GET /big.bin" {
            let from = if status == 206 { 1_000_000 } else { 0 };
            assert!(body == big()[from..from + length]);
        }
    }
    for (target, status) in [("/none", 404), ("/../index.html", 404), ("/%2e%2e/x", 404), ("/dir", 308)] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let got = client.message().status();
        assert!(got == status || (status == 308 && (301..=308).contains(&got)), "{target}: {got}");
    }
    client.send("HEAD /big.bin HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.head().field("Content-Length"), Some("3000000"));
    assert_eq!(client.message().text(), "<p>hello");
    client.ends();
}

fn an_upload_is_refused_before_it_comes(variant: Variant) {
    let (_root, server) = start(variant);
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
    let response = client.message();
    assert_eq!((response.status(), response.field("Connection")), (405, Some("close")));
    client.finish();
    client.ends();
    // A body that is sent in spite of the answer does not destroy the answer.
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 1_000_000]);
    assert_eq!(client.message().status(), 405);
    client.finish();
    client.ends();
    // After a small body that has already arrived, the connection is kept.
    let mut client = server.client();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().status(), 405);
    assert_eq!(client.message().text(), "<p>hello");
}

fn a_file_that_shrinks_while_it_is_read_is_cut_off_visibly(variant: Variant) {
    let (root, server) = start(variant);
    let path = root.0.join("huge.bin");
    fs::File::create(&path).unwrap().set_len(200_000_000).unwrap();
    server.app.refresh();
    let mut client = server.client();
    client.send("GET /huge.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().field("Content-Length"), Some("200000000"));
    fs::File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let (rest, end) = client.rest();
    assert!(rest.len() < 200_000_000, "{end:?}");
}

each_variant! {
    files_are_served_one_after_the_other
    an_upload_is_refused_before_it_comes
    a_file_that_shrinks_while_it_is_read_is_cut_off_visibly
}
