//! The static file server: an app over a directory.
//!
//! The directory is walked at start and again at every refresh. A request is a lookup in the tree that the last
//! walk left behind: nothing is listed or logged for it, and for what leaves from memory no system call is made.
mod conditional;
mod entry;
mod path;
mod range;
mod tree;
mod types;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustix::io::Errno;

use self::conditional::Verdict;
use self::entry::{Entry, Kept, Source};
use self::path::PathError;
use self::range::Selection;
use self::tree::{Node, Tree};
use crate::app::{App, Client, Decision, Moment};
use crate::cluster::{Permit, Start, Tried};
use crate::exchange::Reason;
use crate::http::answer::{Answer, Body, Bytes};
use crate::http::head::{Method, RequestHead};

/// The limits of a file server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesLimits {
    /// A file up to this size is kept in memory; a larger one is sent from the disk.
    pub small_file_bytes: u64,
    /// All content in memory; the smallest files come first.
    pub memory_bytes: u64,
    /// Files and directories; a root with more is not served.
    pub files: usize,
    /// When copies of a file for every client that is connected would be more than so many bytes, it leaves from the page
    /// cache, even if it is in memory: more than 32 MiB in flight do not fit the last cache of a processor. Only for files
    /// of which most leaves in one call (see `SENDFILE_CROWD_BYTES`).
    pub copies_bytes: u64,
}

impl Default for FilesLimits {
    fn default() -> Self {
        FilesLimits {
            small_file_bytes: 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            files: 200_000,
            copies_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Why a directory cannot be served.
#[derive(Debug)]
pub enum FilesError {
    /// It cannot be read.
    Root(PathBuf, io::Error),
    /// It holds more files and directories than this limit.
    TooMany(usize),
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilesError::Root(root, error) => write!(f, "{} cannot be served: {error}", root.display()),
            FilesError::TooMany(limit) => write!(f, "the root holds more than {limit} files and directories"),
        }
    }
}

impl std::error::Error for FilesError {}

/// A directory that is served.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    limits: FilesLimits,
    tree: RwLock<Arc<Tree>>,
    /// Let go at every refresh.
    kept: Kept,
    /// The last refresh failed, and that was logged.
    stale: AtomicBool,
}

impl Files {
    /// Walks and reads the directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or holds more files and directories than the limit.
    pub fn open(root: &Path, limits: FilesLimits) -> Result<Files, FilesError> {
        let listing = tree::walk(root, limits.files)?;
        let tree = Tree::default().update(&listing, &limits).unwrap_or_default();
        let root = root.to_owned();
        Ok(Files {
            root,
            limits,
            tree: RwLock::new(Arc::new(tree)),
            kept: Kept::default(),
            stale: AtomicBool::new(false),
        })
    }

    /// Walks the directory again and serves what it holds now. When it cannot be read, what it held before is
    /// served on. Costs one look at every file, and reads those that changed.
    pub fn refresh(&self) {
        self.kept.let_go();
        let listing = match tree::walk(&self.root, self.limits.files) {
            Ok(listing) => listing,
            Err(error) => {
                if !self.stale.swap(true, Ordering::Relaxed) {
                    log::warn!("{error}; what it held before is served on");
                }
                return;
            }
        };
        self.stale.store(false, Ordering::Relaxed);
        let before = Arc::clone(&self.tree.read());
        if let Some(tree) = before.update(&listing, &self.limits) {
            *self.tree.write() = Arc::new(tree);
        }
    }

    fn answer(&self, head: &RequestHead<'_>, clients: usize) -> Answer {
        match head.method {
            Method::Get | Method::Head => {}
            Method::Options => return Answer { status: 204, fields: ALLOW, body: Body::None, close: false },
            _ => return refusal(405, ALLOW_WITH_TEXT, b"405 Method Not Allowed\n"),
        }
        let (path, query) = path::split(head.target);
        let path = match path::decode(path) {
            Ok(path) => path,
            Err(PathError::Malformed) => return refusal(400, TEXT, b"400 Bad Request\n"),
            Err(PathError::Unservable) => return not_found(),
        };
        let node = self.tree.read().find(&path).cloned();
        match node {
            None => not_found(),
            Some(Node::Directory) => redirect(&path, query),
            Some(Node::File(file)) => match self.source(&file, clients) {
                Ok((file, source)) => serve(&file, source, head),
                Err(error) if is_exhaustion(&error) => Reason::Overloaded.answer(),
                Err(_) => not_found(),
            },
        }
    }

    fn source(&self, file: &Arc<Entry>, clients: usize) -> io::Result<(Arc<Entry>, Source)> {
        let copies = file.len().saturating_mul(clients as u64);
        file.source(
            SENDFILE_CROWD_BYTES.contains(&file.len()) && copies > self.limits.copies_bytes,
            &self.kept,
        )
    }
}

impl App for Files {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, _view: &mut ()) {}

    fn decide(&self, _view: &mut (), head: &RequestHead<'_>, _client: &Client<'_>, now: &Moment) -> Decision {
        Decision::Answer(self.answer(head, now.clients))
    }

    fn retry(&self, _: &mut (), _: &Tried, _: &mut Option<Permit>, _: &Moment) -> Option<Start> {
        None
    }
}

/// Bytes of the files that a crowd gets from the page cache. Of 75 KB files 1000 clients get 1.05 to 1.10 as many as from
/// memory, 250 as many, 100 get 0.93. Smaller files cost less to copy than to look up; of larger ones only a part is in
/// flight at once, and 500 clients get 0.68 of those that leave from memory (1 MB).
const SENDFILE_CROWD_BYTES: RangeInclusive<u64> = 64 * 1024..=256 * 1024;

const TEXT: Bytes = Bytes::Static(b"Content-Type: text/plain; charset=utf-8\r\n");
const ALLOW: Bytes = Bytes::Static(b"Allow: GET, HEAD, OPTIONS\r\n");
const ALLOW_WITH_TEXT: Bytes =
    Bytes::Static(b"Allow: GET, HEAD, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\n");

/// The answer to a GET or HEAD of a file. A HEAD gets the same: its body is left out where it is sent.
fn serve(file: &Entry, source: Source, head: &RequestHead<'_>) -> Answer {
    let len = file.len();
    let whole = || Bytes::Shared(Arc::clone(&file.fields));
    let (status, fields, part) = match conditional::evaluate(head, file.validators()) {
        Verdict::Failed => return refusal(412, TEXT, b"412 Precondition Failed\n"),
        Verdict::NotModified => {
            let fields = Bytes::Shared(Arc::clone(&file.validator_fields));
            return Answer { status: 304, fields, body: Body::None, close: false };
        }
        Verdict::Whole => (200, whole(), 0..len),
        Verdict::Range(value) => match range::select(value, len) {
            Selection::Whole => (200, whole(), 0..len),
            Selection::Unsatisfiable => {
                let fields = [&*TEXT, format!("Content-Range: bytes */{len}\r\n").as_bytes()].concat();
                return refusal(416, Bytes::Owned(fields), b"416 Range Not Satisfiable\n");
            }
            Selection::Part(part) => {
                let line = format!("Content-Range: bytes {}-{}/{len}\r\n", part.start, part.end - 1);
                (206, Bytes::Owned([&file.fields, line.as_bytes()].concat()), part)
            }
        },
    };
    let body = match source {
        Source::Memory(bytes) => Body::Bytes(Bytes::Shared(bytes), part.start as usize..part.end as usize),
        Source::File(file) => Body::File(file, part),
    };
    Answer { status, fields, body, close: false }
}

/// Sends the client to the directory with its trailing slash, so that relative links in it work. The location
/// is made of the path that was found, whose segments are never empty: it cannot name another host.
fn redirect(path: &[u8], query: &str) -> Answer {
    let mut fields = [&*TEXT, b"Location: "].concat();
    path::encode(path, &mut fields);
    fields.push(b'/');
    fields.extend_from_slice(query.as_bytes());
    fields.extend_from_slice(b"\r\n");
    refusal(301, Bytes::Owned(fields), b"301 Moved Permanently\n")
}

fn not_found() -> Answer {
    refusal(404, TEXT, b"404 Not Found\n")
}

fn refusal(status: u16, fields: Bytes, text: &'static [u8]) -> Answer {
    Answer { status, fields, body: Body::Bytes(Bytes::Static(text), 0..text.len()), close: false }
}

/// True when the process, not the file, is why it could not be opened.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

#[cfg(test)]
mod tests;
