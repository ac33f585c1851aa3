//! Which requests are served, and how.
use super::*;

#[test]
fn files_and_their_types() {
    let site = Site::with(&[
        ("index.html", "top"),
        ("a.css", "css"),
        ("empty.txt", ""),
        ("a b&ä.txt", "odd"),
        ("50%25.txt", "percent"),
        ("dir/index.html", "dir"),
        ("dir/deep/x.unknown", "x"),
        ("not-index.html", "plain"),
    ]);
    site.set_modified("a.css", 784_111_777);
    let cases = [
        ("/", "text/html; charset=utf-8", "top"),
        ("/?a=%zz/..", "text/html; charset=utf-8", "top"),
        ("/index.html", "text/html; charset=utf-8", "top"),
        ("/a.css?v=1?2", "text/css; charset=utf-8", "css"),
        ("/%61.css", "text/css; charset=utf-8", "css"),
        ("/empty.txt", "text/plain; charset=utf-8", ""),
        ("/a%20b&%C3%A4.txt", "text/plain; charset=utf-8", "odd"),
        ("/50%2525.txt", "text/plain; charset=utf-8", "percent"),
        ("/dir/", "text/html; charset=utf-8", "dir"),
        ("/dir/deep/x.unknown", "application/octet-stream", "x"),
        ("http://a/a.css", "text/css; charset=utf-8", "css"),
        ("http://a", "text/html; charset=utf-8", "top"),
    ];
    for limits in [MEMORY, DISK] {
        let files = site.open(limits);
        for (target, kind, body) in cases {
            for method in ["GET", "HEAD"] {
                let reply = ask(&files, method, target, &[]);
                assert_eq!((reply.status, reply.body.as_str()), (200, body), "{method} {target}");
                assert_eq!(reply.field("Content-Type"), Some(kind), "{target}");
                assert_eq!(reply.field("Accept-Ranges"), Some("bytes"), "{target}");
                assert_eq!(reply.from_disk, limits == DISK && !body.is_empty(), "{target}");
            }
        }
        let css = get(&files, "/a.css");
        assert_eq!(css.field("Last-Modified"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(css.field("ETag").is_some_and(|tag| tag.starts_with('"') && tag.ends_with('"')));
    }
}

#[test]
fn nothing_else_is_served() {
    let site = Site::with(&[
        ("a.txt", "a"),
        ("dir/b.txt", "b"),
        (".env", "secret"),
        (".git/config", "secret"),
        ("dir/.private/c.txt", "secret"),
        ("back\\slash", "secret"),
    ]);
    site.link("out-file", "../secret");
    site.link("out-absolute", site.dir.join("secret"));
    site.link("out-dir", "..");
    site.link("out-sibling", "../root-secret");
    site.link("out-chain", "out-file");
    site.link("self", "self");
    let refused = [
        "/nothing",
        "/a.txt/",
        "/a.txt/b",
        "/dir/",
        "/A.TXT",
        "//",
        "//a.txt",
        "/dir//b.txt",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git",
        "/.git/",
        "/dir/.private/c.txt",
        "/back\\slash",
        "/back%5Cslash",
        "/..",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/dir/../a.txt",
        "/dir/..%2Fa.txt",
        "/dir%2Fb.txt",
        "/./a.txt",
        "/a.txt%00",
        "/%00",
        "/a.txt%00.html",
        "/..\\secret",
        "/%252e%252e/secret",
        "/out-file",
        "/out-absolute",
        "/out-dir/secret",
        "/out-dir",
        "/out-sibling/a",
        "/out-chain",
        "/self",
        "/%c0%ae%c0%ae/secret",
        "//secret",
        "/etc/passwd",
        "//evil.example/..",
        "/dir/..",
        "/a.txt%20",
    ];
    let malformed = ["/%", "/%4", "/%zz", "/a.txt%", "/%%41", "/%2f%"];
    for limits in [MEMORY, DISK] {
        let files = site.open(limits);
        let cases = refused.iter().map(|t| (t, 404)).chain(malformed.iter().map(|t| (t, 400)));
        for (target, status) in cases {
            let reply = get(&files, target);
            assert_eq!(reply.status, status, "{target}");
            assert!(!reply.body.contains("secret"), "{target}");
        }
    }
}

#[test]
fn links_within_the_root_are_followed() {
    let site = Site::with(&[("real/a.txt", "a"), ("real/sub/b.txt", "b"), (".data/c.txt", "c")]);
    site.link("file.txt", "real/a.txt");
    site.link("dir", "real");
    site.link("data.txt", ".data/c.txt");
    site.link("real/up", "..");
    site.link("real/again", ".");
    site.link("real/sub/dir", "../../dir");
    site.link("broken", "missing");
    let files = site.open(MEMORY);
    let cases = [
        ("/file.txt", 200),
        ("/dir/a.txt", 200),
        ("/dir/sub/b.txt", 200),
        ("/data.txt", 200),
        ("/real/up/real/a.txt", 404),
        ("/real/again/a.txt", 404),
        ("/real/sub/dir/a.txt", 404),
        ("/broken", 404),
    ];
    for (target, status) in cases {
        assert_eq!(get(&files, target).status, status, "{target}");
    }
}

#[test]
fn a_directory_redirects_to_its_slash_and_nowhere_else() {
    let site = Site::with(&[("dir/index.html", "d"), ("a b/ü?#/x", "x"), ("evil.example/index.html", "e")]);
    let cases = [
        ("/dir", Some("/dir/")),
        ("/dir?a=b&c=//evil", Some("/dir/?a=b&c=//evil")),
        ("/%64ir?", Some("/dir/?")),
        ("/a%20b", Some("/a%20b/")),
        ("/a%20b/%C3%BC%3F%23?q", Some("/a%20b/%C3%BC%3F%23/?q")),
        ("/evil.example", Some("/evil.example/")),
        ("//evil.example", None),
        ("///evil.example", None),
        ("/%2Fevil.example", None),
        ("/\\evil.example", None),
        ("//evil.example/%2e%2e", None),
    ];
    let files = site.open(MEMORY);
    for (target, location) in cases {
        let reply = get(&files, target);
        assert_eq!(reply.status, if location.is_some() { 301 } else { 404 }, "{target}");
        assert_eq!(reply.field("Location"), location, "{target}");
    }
}

#[test]
fn methods() {
    let site = Site::with(&[("a", "a")]);
    let files = site.open(MEMORY);
    let cases = [
        ("POST", "/a", 405),
        ("PUT", "/a", 405),
        ("DELETE", "/missing", 405),
        ("TRACE", "/a", 405),
        ("PATCH", "/a", 405),
        ("BREW", "/a", 405),
        ("get", "/a", 405),
        ("OPTIONS", "/a", 204),
        ("OPTIONS", "*", 204),
    ];
    for (method, target, status) in cases {
        let reply = ask(&files, method, target, &[]);
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(reply.field("Allow"), Some("GET, HEAD, OPTIONS"), "{method} {target}");
        let content_type = reply.field("Content-Type");
        assert_eq!(content_type, (status == 405).then_some("text/plain; charset=utf-8"), "{method} {target}");
    }
    assert_eq!(ask(&files, "GET", "/a", &[("Content-Length", "5")]).status, 200);
}

#[test]
fn conditions_and_ranges() {
    let site = Site::with(&[("a.txt", "0123456789"), ("empty", "")]);
    site.set_modified("a.txt", 784_111_777);
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    for limits in [MEMORY, DISK] {
        let files = site.open(limits);
        let etag = get(&files, "/a.txt").field("ETag").unwrap().to_owned();
        let etag = etag.as_str();
        let range = |range| ("Range", range);
        let cases: [(Fields<'_>, u16, Option<&str>, &str); 11] = [
            (&[("If-None-Match", etag)], 304, None, ""),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)], 200, None, "0123456789"),
            (&[("If-Modified-Since", DATE)], 304, None, ""),
            (&[("If-Match", "\"x\"")], 412, None, "412 Precondition Failed\n"),
            (&[range("bytes=2-4")], 206, Some("bytes 2-4/10"), "234"),
            (&[range("bytes=-1")], 206, Some("bytes 9-9/10"), "9"),
            (&[range("bytes=0-99")], 206, Some("bytes 0-9/10"), "0123456789"),
            (&[range("bytes=1-2"), ("If-Range", etag)], 206, Some("bytes 1-2/10"), "12"),
            (&[range("bytes=1-2"), ("If-Range", "\"x\"")], 200, None, "0123456789"),
            (&[range("bytes=10-")], 416, Some("bytes */10"), "416 Range Not Satisfiable\n"),
            (&[range("bytes=0-1,4-5")], 200, None, "0123456789"),
        ];
        for (fields, status, content_range, body) in cases {
            let reply = ask(&files, "GET", "/a.txt", fields);
            assert_eq!((reply.status, reply.body.as_str()), (status, body), "{fields:?}");
            assert_eq!(reply.field("Content-Range"), content_range, "{fields:?}");
            if matches!(status, 200 | 206 | 304) {
                assert_eq!(reply.field("ETag"), Some(etag), "{fields:?}");
                assert_eq!(reply.field("Last-Modified"), Some(DATE), "{fields:?}");
            }
            assert_eq!(reply.field("Content-Type").is_none(), status == 304, "{fields:?}");
        }
        let head = ask(&files, "HEAD", "/a.txt", &[range("bytes=2-4")]);
        assert_eq!((head.status, head.body.len()), (200, 10));
        assert_eq!(ask(&files, "GET", "/empty", &[range("bytes=0-")]).status, 416);
    }
}

#[test]
fn a_root_that_cannot_be_served() {
    let site = Site::with(&[("a", "a"), ("b/c", "c")]);
    let cases = [
        (site.root.join("missing"), 1000, "No such file"),
        (site.root.join("a"), 1000, "Not a directory"),
        (site.root.clone(), 2, "more than 2 files and directories"),
    ];
    for (root, files, expected) in cases {
        let error = Files::open(&root, FilesLimits { files, ..MEMORY }).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(Files::open(&site.root, FilesLimits { files: 3, ..MEMORY }).is_ok());
}
