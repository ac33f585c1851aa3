//! Changes of the directory, and a directory that is replaced by a link during a request.
use super::*;

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
