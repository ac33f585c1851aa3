//! Tests of the whole file server, without a socket.
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::app::{ListenerId, ListenerSettings};
use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

mod content;
mod refreshes;
mod requests;

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
