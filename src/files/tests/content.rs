//! Content in memory and on disk, entity tags, and open files.
use super::*;

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
fn times_that_no_http_date_can_say_are_left_out() {
    let site = Site::with(&[("a", "a")]);
    let file = File::options().write(true).open(site.root.join("a")).unwrap();
    file.set_modified(UNIX_EPOCH - Duration::from_secs(1)).unwrap();
    let reply = get(&site.open(MEMORY), "/a");
    assert_eq!((reply.status, reply.field("Last-Modified")), (200, None));
    assert!(reply.field("ETag").is_some());
}
