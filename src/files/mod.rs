//! The static file server: an app over a directory.
//!
//! [`Files::open`] walks the directory. [`Files::refresh`] lists only the directories that changed. A request is a
//! look-up in the tree of the last refresh. So a request lists no directory and logs nothing, and a response from
//! memory needs no system call for its content.
//!
//! No file outside the root is ever served, even when a directory is replaced by a symbolic link during a request.
//! `root.rs` has the rule.
mod changes;
mod conditional;
mod entry;
mod limits;
mod path;
mod range;
mod refresh;
mod root;
mod stamp;
mod tree;
mod types;
mod walk;
mod watch;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use self::changes::Changes;
use self::conditional::Verdict;
use self::entry::{Entry, OpenFiles, Source};
pub use self::limits::{FilesError, FilesLimits};
use self::path::PathError;
use self::range::Selection;
use self::refresh::Refresher;
use self::root::{Root, is_exhaustion};
use self::tree::{Node, Tree};
use crate::app::{App, Client, Decision, Moment};
use crate::exchange::Reason;
use crate::http::answer::{Answer, Body, Bytes};
use crate::http::head::{Method, RequestHead};

/// A directory that is served.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    limits: FilesLimits,
    tree: RwLock<Arc<Tree>>,
    /// Locked while a refresh runs, so that only one refresh runs at a time.
    refresher: Mutex<Refresher>,
    /// Files that stay open until the next refresh.
    open_files: OpenFiles,
    /// True after a refresh failed and the failure was logged.
    stale: AtomicBool,
}

impl Files {
    /// Walks the directory and reads its small files into memory. Then watches the directory for changes.
    ///
    /// # Errors
    /// [`FilesError::Root`] when the directory cannot be read. [`FilesError::TooMany`] when it holds more files and
    /// directories than [`FilesLimits::files`].
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

    /// Brings the tree up to date. Lists the directories that changed, and reads the files that changed. When the
    /// directory cannot be read, logs a warning once, and the previous tree is still served. The caller calls this
    /// about twice a second; then a change is served within a second.
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
}

/// Sizes of the files that are sent from the page cache when many clients may download them at once. Requests per
/// second from the page cache, relative to memory, with files of 75 KB: 0.93 with 100 clients, 1.00 with 250, 1.05 to
/// 1.10 with 1000. Smaller files cost less to copy than to look up. Of larger files only a part is in flight at once:
/// 0.68 with 500 clients and files of 1 MB.
const SENDFILE_CROWD_BYTES: RangeInclusive<u64> = 64 * 1024..=256 * 1024;

const TEXT: Bytes = Bytes::Static(b"Content-Type: text/plain; charset=utf-8\r\n");
const ALLOW: Bytes = Bytes::Static(b"Allow: GET, HEAD, OPTIONS\r\n");
const ALLOW_WITH_TEXT: Bytes =
    Bytes::Static(b"Allow: GET, HEAD, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\n");

/// Answers a GET or HEAD of a file. The exchange leaves out the body in the response to a HEAD.
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

/// Redirects to the directory with a trailing slash, so that relative links in its page work. The location is the path
/// that was found. No segment of this path is empty, so the location cannot name another host.
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

#[cfg(test)]
mod tests;
