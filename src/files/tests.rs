//! Tests of the whole file server, without a socket.
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::app::{ListenerId, ListenerSettings};
use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

/// Field names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// Calls `check` with the head of a request that has these fields.
pub(super) fn with_head(
    method: &str,
    target: &str,
    fields: Fields<'_>,
    check: impl FnOnce(&RequestHead<'_>),
) {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n");
    for (name, value) in fields {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    let mut slots = FieldSlots::new();
    let head = HeadScan::default().request(bytes.as_bytes(), &HeadLimits::default(), &mut slots);
    check(&head.expect("valid").expect("whole"));
}

/// A temporary directory for one test, removed on drop. The site is in `root`. The files beside `root` must never be
/// served.
pub(super) struct Site {
    pub(super) dir: PathBuf,
    pub(super) root: PathBuf,
}

impl Site {
    fn new() -> Site {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("neraca-files-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(unique).join(".hidden");
        let site = Site { root: dir.join("root"), dir };
        fs::create_dir_all(&site.root).unwrap();
        fs::create_dir_all(site.dir.join("root-secret")).unwrap();
        fs::write(site.dir.join("secret"), "secret").unwrap();
        fs::write(site.dir.join("root-secret/a"), "secret").unwrap();
        site
    }

    pub(super) fn with(files: &[(&str, &str)]) -> Site {
        let site = Site::new();
        for (name, content) in files {
            site.write(name, content);
        }
        site
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.root.join(name)).unwrap();
    }

    fn set_modified(&self, name: &str, seconds: u64) {
        let file = File::options().write(true).open(self.root.join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn open(&self, limits: FilesLimits) -> Files {
        Files::open(&self.root, limits).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.dir.parent().unwrap());
    }
}

const MEMORY: FilesLimits =
    FilesLimits { small_file_bytes: 1024, memory_bytes: 1 << 20, files: 1000, copies_bytes: 0 };
/// Limits that keep only empty files in memory. All other files are read from disk.
const DISK: FilesLimits = FilesLimits { small_file_bytes: 0, ..MEMORY };

struct Reply {
    status: u16,
    fields: String,
    body: String,
    from_disk: bool,
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn ask(files: &Files, method: &str, target: &str, fields: Fields<'_>) -> Reply {
    ask_among(files, 1, method, target, fields)
}

/// Sends a request while `clients` connections are open.
fn ask_among(files: &Files, clients: usize, method: &str, target: &str, fields: Fields<'_>) -> Reply {
    let now = Moment { instant: Instant::now(), date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients };
    let mut reply = None;
    with_head(method, target, fields, |head| {
        let settings = ListenerSettings::default();
        let client = Client::new(([127, 0, 0, 1], 9).into(), ListenerId::unused(), &settings);
        let Decision::Answer(answer) = files.decide(&mut (), head, &client, &now) else {
            panic!("a file server forwards nothing");
        };
        assert!(!answer.close, "{method} {target}");
        let body = match &answer.body {
            Body::None => Vec::new(),
            Body::Bytes(octets, range) => octets[range.clone()].to_vec(),
            Body::File(file, range) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.read_exact_at(&mut bytes, range.start).unwrap();
                bytes
            }
        };
        reply = Some(Reply {
            status: answer.status,
            fields: String::from_utf8(answer.fields.to_vec()).unwrap(),
            body: String::from_utf8(body).unwrap(),
            from_disk: matches!(answer.body, Body::File(..)),
        });
    });
    reply.unwrap()
}

fn get(files: &Files, target: &str) -> Reply {
    ask(files, "GET", target, &[])
}

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
fn a_refresh_finds_what_changed() {
    for limits in [MEMORY, DISK] {
        let site = Site::with(&[
            ("changed", "old"),
            ("replaced", "old"),
            ("removed", "old"),
            ("dir/index.html", "d"),
        ]);
        let files = site.open(limits);
        let etag = |name| get(&files, name).field("ETag").unwrap().to_owned();
        let before = [etag("/changed"), etag("/replaced")];
        site.write("changed", "newer");
        site.write("next", "new");
        fs::rename(site.root.join("next"), site.root.join("replaced")).unwrap();
        fs::remove_file(site.root.join("removed")).unwrap();
        fs::remove_dir_all(site.root.join("dir")).unwrap();
        site.write("added/index.html", "added");
        files.refresh();
        let cases = [
            ("/changed", 200, "newer"),
            ("/replaced", 200, "new"),
            ("/removed", 404, "404 Not Found\n"),
            ("/dir/", 404, "404 Not Found\n"),
            ("/dir", 404, "404 Not Found\n"),
            ("/added/", 200, "added"),
            ("/added", 301, "301 Moved Permanently\n"),
        ];
        for (target, status, body) in cases {
            let reply = get(&files, target);
            assert_eq!((reply.status, reply.body.as_str()), (status, body), "{target}");
        }
        assert_ne!(before, [etag("/changed"), etag("/replaced")]);
    }
}

#[test]
fn a_refresh_without_a_change_publishes_nothing() {
    let site = Site::with(&[("a", "a"), ("dir/index.html", "d"), ("big", &"b".repeat(2000))]);
    let files = site.open(MEMORY);
    files.refresh();
    let settled = Arc::clone(&files.tree.read());
    files.refresh();
    assert!(Arc::ptr_eq(&settled, &files.tree.read()));
    site.write("dir/new", "n");
    files.refresh();
    assert!(!Arc::ptr_eq(&settled, &files.tree.read()));
    files.refresh();
    fs::remove_file(site.root.join("dir/new")).unwrap();
    files.refresh();
    assert_eq!(get(&files, "/dir/new").status, 404);
}

/// Two file servers: the first uses events, the second walks everything at each refresh.
fn watching_and_walking(site: &Site, limits: FilesLimits) -> [Files; 2] {
    let open = |watch| Files::open_with(&site.root, limits, Refresher::new(watch)).unwrap();
    let both = [open(true), open(false)];
    for files in &both {
        // The first refresh sets the watches. The second refresh reads the recently written files again.
        (0..3).for_each(|_| files.refresh());
    }
    assert_eq!(both[0].refresher.lock().is_idle(), Some(true), "nothing is left to look at");
    assert_eq!(both[1].refresher.lock().is_idle(), None);
    both
}

#[test]
fn each_kind_of_change_is_found_by_the_next_refresh() {
    const OK: u16 = 200;
    let site = Site::with(&[
        ("a", "old"),
        ("dir/b", "old"),
        ("dir/deep/c", "old"),
        ("other/b", "other"),
        (".hidden/target", "old"),
        (".hidden/second", "new"),
    ]);
    fs::write(site.dir.join("elsewhere"), "old").unwrap();
    fs::hard_link(site.dir.join("elsewhere"), site.root.join("named-twice")).unwrap();
    site.link("link", ".hidden/target");
    let at = |name: &str| site.root.join(name);
    type Step<'a> = (&'a str, &'a dyn Fn(), &'a [(&'a str, u16, &'a str)]);
    let steps: [Step<'_>; 13] = [
        ("a write", &|| site.write("a", "new"), &[("/a", OK, "new")]),
        ("a write below", &|| site.write("dir/deep/c", "new"), &[("/dir/deep/c", OK, "new")]),
        ("a new file", &|| site.write("dir/n", "n"), &[("/dir/n", OK, "n"), ("/dir/b", OK, "old")]),
        ("a new directory", &|| site.write("new/deep/er", "e"), &[("/new/deep/er", OK, "e")]),
        ("a write in it", &|| site.write("new/deep/er", "more"), &[("/new/deep/er", OK, "more")]),
        (
            "a renamed directory",
            &|| fs::rename(at("new"), at("moved")).unwrap(),
            &[("/new/deep/er", 404, "404 Not Found\n"), ("/moved/deep/er", OK, "more")],
        ),
        ("a write in the renamed one", &|| site.write("moved/deep/er", "x"), &[("/moved/deep/er", OK, "x")]),
        (
            "a directory in the place of another",
            &|| {
                fs::rename(at("dir"), at("before")).unwrap();
                fs::rename(at("other"), at("dir")).unwrap();
            },
            &[("/dir/b", OK, "other"), ("/dir/n", 404, "404 Not Found\n"), ("/before/n", OK, "n")],
        ),
        ("a write in that", &|| site.write("dir/b", "changed"), &[("/dir/b", OK, "changed")]),
        ("a write to the target of a link", &|| site.write(".hidden/target", "new"), &[("/link", OK, "new")]),
        (
            "a link with another target",
            &|| {
                site.link("next", ".hidden/second");
                fs::rename(at("next"), at("link")).unwrap();
            },
            &[("/link", OK, "new")],
        ),
        (
            "a write under another name",
            &|| fs::write(site.dir.join("elsewhere"), "newer").unwrap(),
            &[("/named-twice", OK, "newer")],
        ),
        (
            "a removed directory",
            &|| fs::remove_dir_all(at("moved")).unwrap(),
            &[("/moved/deep/er", 404, "404 Not Found\n"), ("/moved", 404, "404 Not Found\n")],
        ),
    ];
    let both = watching_and_walking(&site, MEMORY);
    for (what, change, expected) in steps {
        change();
        for files in &both {
            files.refresh();
            for (target, status, body) in expected {
                let reply = get(files, target);
                assert_eq!((reply.status, reply.body.as_str()), (*status, *body), "{what}: {target}");
            }
        }
    }
}

#[test]
fn after_lost_events_everything_is_walked() {
    let site = Site::with(&[("a", "1"), ("b", "1"), ("dir/c", "old")]);
    let [files, _] = watching_and_walking(&site, MEMORY);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // The kernel merges equal events in a row.
    let appends = ["a", "b"].map(|name| File::options().append(true).open(site.root.join(name)).unwrap());
    for i in 0..=limit {
        std::io::Write::write_all(&mut &appends[i % 2], b"+").unwrap();
    }
    site.write("dir/c", "new");
    files.refresh();
    assert_eq!(get(&files, "/dir/c").body, "new");
}

#[test]
fn without_watches_everything_is_walked() {
    let site = Site::with(&[("dir/c", "old")]);
    let [files, _] = watching_and_walking(&site, MEMORY);
    files.refresher.lock().walk_from_now(&io::Error::other("no watches are left"));
    for content in ["new", "newer", "newest"] {
        site.write("dir/c", content);
        files.refresh();
        assert_eq!(get(&files, "/dir/c").body, content);
    }
    assert_eq!(files.refresher.lock().is_idle(), None);
}

#[test]
fn content_that_changes_behind_the_same_time_and_size_gets_another_etag() {
    let site = Site::with(&[("a", "one")]);
    site.set_modified("a", 784_111_777);
    let files = site.open(MEMORY);
    let first = get(&files, "/a");
    site.write("a", "two");
    site.set_modified("a", 784_111_777);
    files.refresh();
    let second = get(&files, "/a");
    assert_eq!((first.body.as_str(), second.body.as_str()), ("one", "two"));
    assert_eq!(first.field("Last-Modified"), second.field("Last-Modified"));
    assert_ne!(first.field("ETag"), second.field("ETag"));
    files.refresh();
    assert_eq!(get(&files, "/a").field("ETag"), second.field("ETag"));
}

#[test]
fn a_file_on_disk_is_answered_as_it_is_now() {
    let site = Site::with(&[("dir/index.html", "old"), ("gone", "old"), ("linked", "old"), ("piped", "old")]);
    let files = site.open(DISK);
    let before = get(&files, "/dir/");
    site.write("dir/index.html", "longer than before");
    fs::remove_file(site.root.join("gone")).unwrap();
    fs::remove_file(site.root.join("linked")).unwrap();
    site.link("linked", "../secret");
    fs::remove_file(site.root.join("piped")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.root.join("piped"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let after = get(&files, "/dir/");
    assert_eq!((after.status, after.body.as_str()), (200, "longer than before"));
    assert_eq!(after.field("Content-Type"), before.field("Content-Type"));
    assert_ne!(after.field("ETag"), before.field("ETag"));
    for target in ["/gone", "/linked", "/piped"] {
        assert_eq!(get(&files, target).status, 404, "{target}");
    }
    fs::rename(site.root.join("dir"), site.root.join("moved")).unwrap();
    fs::create_dir(site.dir.join("outside")).unwrap();
    fs::write(site.dir.join("outside/index.html"), "secret").unwrap();
    site.link("dir", "../outside");
    assert_eq!(get(&files, "/dir/").status, 404);
}

/// Exchanges two names below `root` repeatedly, until `done` is set.
fn exchange_names(root: &Path, one: &str, other: &str, done: &AtomicBool) {
    let [one, other] = [one, other].map(|name| root.join(name));
    while !done.load(Ordering::Relaxed) {
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, exchange).unwrap();
    }
}

/// Sets `done` even when a check fails, so that the other thread ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_directory_that_is_exchanged_for_a_link_leads_nowhere_outside() {
    const ROUNDS: usize = 2000;
    for limits in [MEMORY, DISK] {
        let site = Site::with(&[("dir/a", "inside"), ("dir/deep/b", "inside")]);
        for path in ["outside/a", "outside/deep/b", "outside/secret"] {
            let path = site.dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a secret").unwrap();
        }
        site.link("link", "../outside");
        let files = site.open(limits);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange_names(&site.root, "dir", "link", &done));
            let _done = Done(&done);
            for round in 0..ROUNDS {
                if round % 20 == 0 {
                    files.refresh();
                }
                for target in
                    ["/dir/a", "/dir/deep/b", "/link/a", "/link/deep/b", "/dir/secret", "/link/secret"]
                {
                    let reply = get(&files, target);
                    assert!(matches!(reply.status, 200 | 301 | 404), "{target}: {}", reply.status);
                    assert!(!reply.body.contains("secret"), "round {round}: {target} is served from outside");
                }
            }
        });
    }
}

#[test]
fn requests_that_overlap_share_a_descriptor() {
    let site = Site::with(&[("a", "content")]);
    let files = site.open(DISK);
    let descriptor = || {
        let mut opened = None;
        with_head("GET", "/a", &[], |head| match files.answer(head, 1).body {
            Body::File(file, _) => opened = Some(file),
            other => panic!("{other:?}"),
        });
        opened.unwrap()
    };
    let first = descriptor();
    assert!(Arc::ptr_eq(&first, &descriptor()));
    files.refresh();
    assert_eq!(Arc::strong_count(&first), 1, "let go");
    assert!(Arc::ptr_eq(&first, &descriptor()), "and shared while it is in use");
}

#[test]
fn at_most_so_many_files_stay_open() {
    let names: Vec<String> = (0..100).map(|i| format!("f{i}")).collect();
    let site = Site::with(&names.iter().map(|name| (name.as_str(), "content")).collect::<Vec<_>>());
    let files = site.open(DISK);
    let open = || {
        let links =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        links.filter(|file| file.starts_with(&site.root) && *file != site.root).count()
    };
    for name in &names {
        assert!(get(&files, &format!("/{name}")).from_disk);
    }
    assert_eq!(open(), 64);
    files.refresh();
    assert_eq!(open(), 0);
}

#[test]
fn a_crowd_gets_files_from_the_page_cache() {
    let limits =
        FilesLimits { small_file_bytes: 1 << 20, memory_bytes: 1 << 20, copies_bytes: 1_000_000, ..MEMORY };
    let sizes = [("small", 60_000), ("middle", 100_000), ("large", 300_000)];
    let content = sizes.map(|(name, bytes)| (name, name[..1].repeat(bytes)));
    let site = Site::with(&content.each_ref().map(|(name, content)| (*name, content.as_str())));
    let files = site.open(limits);
    let from_disk = |name, clients| {
        let reply = ask_among(&files, clients, "GET", &format!("/{name}"), &[]);
        let expected = content.iter().find(|(other, _)| *other == name).map(|(_, content)| content);
        assert_eq!((reply.status, Some(&reply.body)), (200, expected));
        reply.from_disk
    };
    for (name, clients, expected) in [
        ("small", 1000, false),
        ("middle", 10, false),
        ("middle", 11, true),
        ("middle", 1000, true),
        ("large", 1000, false),
    ] {
        assert_eq!(from_disk(name, clients), expected, "{name} for {clients}");
    }
    // Content in memory stays whole until the next refresh, even when the file changes.
    site.write("middle", "cut short");
    assert!(!from_disk("middle", 1000));
    fs::remove_file(site.root.join("middle")).unwrap();
    assert!(!from_disk("middle", 1000));
    files.refresh();
    assert_eq!(ask_among(&files, 1000, "GET", "/middle", &[]).status, 404);
}

#[test]
fn memory_goes_to_the_smallest_files() {
    let site = Site::with(&[("a", &"a".repeat(60)), ("b", &"b".repeat(30)), ("c", &"c".repeat(50))]);
    let files = site.open(FilesLimits { small_file_bytes: 60, memory_bytes: 100, files: 10, ..MEMORY });
    let from_disk = ["/a", "/b", "/c"].map(|target| get(&files, target).from_disk);
    assert_eq!(from_disk, [true, false, false]);
    fs::remove_file(site.root.join("c")).unwrap();
    files.refresh();
    assert!(!get(&files, "/a").from_disk);
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

#[test]
fn a_root_that_goes_away_is_served_on_and_one_that_is_switched_is_followed() {
    let site = Site::with(&[("one/a", "1"), ("two/a", "2")]);
    let current = site.dir.join("current");
    symlink("root/one", &current).unwrap();
    let files = Files::open(&current, MEMORY).unwrap();
    fs::remove_file(&current).unwrap();
    files.refresh();
    assert_eq!(get(&files, "/a").body, "1");
    symlink("root/two", &current).unwrap();
    files.refresh();
    assert_eq!(get(&files, "/a").body, "2");
}

#[test]
fn a_root_that_is_moved_is_read_at_its_new_place() {
    let site = Site::with(&[("one/a", "1")]);
    let current = site.dir.join("current");
    symlink("root/one", &current).unwrap();
    let files = Files::open(&current, DISK).unwrap();
    fs::rename(site.root.join("one"), site.root.join("two")).unwrap();
    fs::remove_file(&current).unwrap();
    symlink("root/two", &current).unwrap();
    files.refresh();
    assert_eq!(get(&files, "/a").body, "1");
}

#[test]
fn times_that_no_http_date_can_say_are_left_out() {
    let site = Site::with(&[("a", "a")]);
    let file = File::options().write(true).open(site.root.join("a")).unwrap();
    file.set_modified(UNIX_EPOCH - Duration::from_secs(1)).unwrap();
    let reply = get(&site.open(MEMORY), "/a");
    assert_eq!((reply.status, reply.field("Last-Modified")), (200, None));
    assert!(reply.field("ETag").is_some());
}
