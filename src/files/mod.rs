//! The static file server: an app over a directory.
//!
//! The directory is walked at start. A refresh lists only the directories that changed, as far as the system tells of
//! changes (`refresh`). A request is a look-up in the tree that the last refresh left behind: a request lists and logs
//! nothing, and a response from memory needs no system call for its content.
//!
//! No file outside the root is ever served, whatever is exchanged below the root in the meantime (`root`).
mod conditional;
mod entry;
mod path;
mod range;
mod refresh;
mod root;
mod stamp;
mod tree;
mod types;
mod walk;
mod watch;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use self::conditional::Verdict;
use self::entry::{Entry, OpenFiles, Source};
use self::path::PathError;
use self::range::Selection;
use self::refresh::Refresher;
use self::root::Root;
use self::tree::{Node, Tree};
use self::walk::Changes;
use crate::app::{App, Client, Decision, Moment};
use crate::cluster::{Permit, Start, Tried};
use crate::exchange::Reason;
use crate::http::answer::{Answer, Body, Bytes};
use crate::http::head::{Method, RequestHead};

/// The limits of a file server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesLimits {
    /// Files up to this size are kept in memory; larger files are sent from the disk.
    pub small_file_bytes: u64,
    /// Maximum bytes of content in memory. The smallest files come first.
    pub memory_bytes: u64,
    /// Maximum number of files and directories. A root with more is not served. A file costs about 300 bytes beside its
    /// content in memory (measured with 100,000 files).
    pub files: usize,
    /// Maximum bytes of copies in flight, if each open client connection gets a copy of the requested file. Above it, the
    /// file is sent from the page cache even when the file is in memory: more than 32 MiB do not fit the last-level cache of
    /// a CPU. Applies to files of 64 to 256 KiB.
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
    /// The directory cannot be read.
    Root(PathBuf, io::Error),
    /// The directory holds more files and directories than this limit.
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
    path: PathBuf,
    limits: FilesLimits,
    tree: RwLock<Arc<Tree>>,
    /// Held by the one refresh that runs.
    refresher: Mutex<Refresher>,
    /// Closed by each refresh.
    open_files: OpenFiles,
    /// True after a refresh failed and the failure was logged.
    stale: AtomicBool,
}

impl Files {
    /// Walks the directory and reads its small files.
    ///
    /// # Errors
    /// When the directory cannot be read, or holds more files than the limit.
    pub fn open(root: &Path, limits: FilesLimits) -> Result<Files, FilesError> {
        Files::open_with(root, limits, Refresher::new(true))
    }

    fn open_with(path: &Path, limits: FilesLimits, refresher: Refresher) -> Result<Files, FilesError> {
        let failed = |error| FilesError::Root(path.to_owned(), error);
        let root = Arc::new(Root::open(path).map_err(failed)?);
        let update = walk::update(None, &root, &limits, &Changes::Everywhere)?;
        let tree = update.tree.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        Ok(Files {
            path: path.to_owned(),
            limits,
            tree: RwLock::new(Arc::new(tree)),
            refresher: Mutex::new(refresher),
            open_files: OpenFiles::default(),
            stale: AtomicBool::new(false),
        })
    }

    /// Serves what the directory holds now. When the directory cannot be read, the files found before are still served. Lists
    /// the directories that changed, and reads the files that changed. To be called about twice a second, so that a change
    /// is served within a second.
    pub fn refresh(&self) {
        self.open_files.close();
        let mut refresher = self.refresher.lock();
        let before = Arc::clone(&self.tree.read());
        match refresher.refresh(&self.path, &self.limits, &before) {
            Ok(tree) => {
                self.stale.store(false, Ordering::Relaxed);
                if let Some(tree) = tree {
                    *self.tree.write() = Arc::new(tree);
                }
            }
            Err(error) => {
                if !self.stale.swap(true, Ordering::Relaxed) {
                    log::warn!("{error}; the files found before are still served");
                }
            }
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
        let file = match self.tree.read().find(&path) {
            None => return not_found(),
            Some(Node::Directory) => return redirect(&path, query),
            Some(Node::File(file)) => Arc::clone(file),
        };
        match self.source(&file, clients) {
            Ok((file, source)) => serve(&file, source, head),
            Err(error) if is_exhaustion(&error) => Reason::Overloaded.answer(),
            Err(_) => not_found(),
        }
    }

    fn source(&self, file: &Arc<Entry>, clients: usize) -> io::Result<(Arc<Entry>, Source)> {
        let copies = file.len().saturating_mul(clients as u64);
        file.source(
            SENDFILE_CROWD_BYTES.contains(&file.len()) && copies > self.limits.copies_bytes,
            &self.open_files,
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
    let whole = || Bytes::Shared(Arc::clone(&file.fields().whole));
    let (status, fields, part) = match conditional::evaluate(head, file.validators()) {
        Verdict::Failed => return refusal(412, TEXT, b"412 Precondition Failed\n"),
        Verdict::NotModified => {
            let fields = Bytes::Shared(Arc::clone(&file.fields().validators));
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
                (206, Bytes::Owned([&file.fields().whole, line.as_bytes()].concat()), part)
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
