//! One served file: its validators, its prepared fields, its content or the way to it.
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::conditional::Validators;
use super::types::content_type;

/// The state of a file as its metadata tell it. What two writes within one tick of the file system's clock
/// leave alike, it does not tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    /// Bytes of content.
    pub size: u64,
    /// Seconds and nanoseconds of the last write.
    modified: (i64, i64),
    /// The same of the last change of any kind, which a program cannot set.
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file found by a walk.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path as requests name it, decoded.
    pub url: Box<[u8]>,
    /// Its real path: no link in it.
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// A file ready to be served.
#[derive(Debug)]
pub(super) struct Entry {
    path: PathBuf,
    stamp: Stamp,
    /// Its Content-Type.
    kind: &'static str,
    /// Tells it from earlier content with the same time, size and inode.
    revision: u32,
    etag: Box<[u8]>,
    modified: Option<u64>,
    /// Field lines of a 200.
    pub fields: Arc<[u8]>,
    /// Field lines of a 304 (RFC 9110 section 15.4.5).
    pub validator_fields: Arc<[u8]>,
    /// Its content, when that is kept in memory.
    memory: Option<Arc<[u8]>>,
    /// Opened when it is asked for; requests that overlap share the descriptor.
    file: Mutex<Weak<File>>,
    /// Nothing is left to be found out at the next refresh, unless the stamp changes.
    settled: AtomicBool,
}

/// Files that stay open until they are let go, so that one that is asked for often is not opened for each request.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<Arc<File>>>);

/// Most files that stay open.
const KEPT_MAX: usize = 64;

impl Kept {
    fn keep(&self, file: &Arc<File>) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(Arc::clone(file));
        }
    }

    /// Closes all that no request needs.
    pub(super) fn let_go(&self) {
        self.0.lock().clear();
    }
}

/// Content that an answer can be made of.
#[derive(Debug)]
pub(super) enum Source {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

impl Entry {
    /// The entry of a file: `old` itself when that is still right, else made anew, its content read now when
    /// `resident`. A file that changes while it is read is served from disk until the next refresh.
    pub(super) fn load(found: &Found, resident: bool, old: Option<&Arc<Entry>>) -> Arc<Entry> {
        let old = old.filter(|old| old.path == found.path);
        if let Some(old) = old
            && old.is_settled(&found.stamp)
            && old.is_resident() == resident
        {
            return Arc::clone(old);
        }
        let kind = content_type(&found.url);
        if !resident {
            return Arc::new(Entry::new(&found.path, found.stamp, kind, old, None, true));
        }
        let (memory, settled) = match read(&found.path, &found.stamp) {
            Ok(Some(bytes)) => {
                if let Some(old) = old
                    && old.stamp == found.stamp
                    && old.holds(&bytes)
                {
                    old.settled.store(true, Ordering::Relaxed);
                    return Arc::clone(old);
                }
                (Some(bytes.into()), false)
            }
            Ok(None) => (None, false),
            Err(error) => {
                if old.is_none_or(|old| old.stamp != found.stamp) {
                    log::warn!("{} cannot be read: {error}", found.path.display());
                }
                let settled = error.kind() == io::ErrorKind::PermissionDenied;
                (None, settled)
            }
        };
        Arc::new(Entry::new(&found.path, found.stamp, kind, old, memory, settled))
    }

    fn new(
        path: &Path,
        stamp: Stamp,
        kind: &'static str,
        old: Option<&Arc<Entry>>,
        memory: Option<Arc<[u8]>>,
        settled: bool,
    ) -> Entry {
        let Stamp { inode, size, modified: (seconds, nanoseconds), .. } = stamp;
        let base = format!("{seconds:x}.{nanoseconds:x}-{size:x}-{inode:x}");
        let revision = old.map_or(0, |old| old.next_revision(&stamp, memory.as_deref()));
        let etag = if revision == 0 { format!("\"{base}\"") } else { format!("\"{base}-{revision:x}\"") };
        let modified = u64::try_from(seconds).ok().filter(|&seconds| seconds < YEAR_10000);
        let validators = match modified {
            Some(seconds) => {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
                format!("ETag: {etag}\r\nLast-Modified: {date}\r\n")
            }
            None => format!("ETag: {etag}\r\n"),
        };
        let fields = format!("Content-Type: {kind}\r\n{validators}Accept-Ranges: bytes\r\n");
        Entry {
            path: path.to_owned(),
            stamp,
            kind,
            revision,
            etag: etag.into_bytes().into(),
            modified,
            fields: fields.into_bytes().into(),
            validator_fields: validators.into_bytes().into(),
            memory,
            file: Mutex::default(),
            settled: AtomicBool::new(settled),
        }
    }

    /// The revision of what takes the place of this entry: a strong entity tag must not stand for two contents
    /// (RFC 9110 section 8.8.1), even when time, size and inode are alike.
    fn next_revision(&self, stamp: &Stamp, memory: Option<&[u8]>) -> u32 {
        let tag = |stamp: &Stamp| (stamp.modified, stamp.size, stamp.inode);
        let same_content = match (self.memory.as_deref(), memory) {
            (Some(old), Some(new)) => old == new,
            _ => self.stamp == *stamp,
        };
        match tag(&self.stamp) == tag(stamp) {
            true if same_content => self.revision,
            true => self.revision.wrapping_add(1),
            false => 0,
        }
    }

    /// What conditions are evaluated against.
    pub(super) fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.etag, modified: self.modified }
    }

    /// Bytes of content.
    pub(super) fn len(&self) -> u64 {
        self.stamp.size
    }

    /// True when a file of this stamp needs no further look.
    pub(super) fn is_settled(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && self.settled.load(Ordering::Relaxed)
    }

    /// True when it lies at that real path.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }

    /// The content as this entry describes it, or the newer entry that describes what the file has become since.
    /// What is in memory is taken from there, unless the file is asked for and is still the same. Touches the disk only
    /// for what is not taken from memory.
    pub(super) fn source(self: &Arc<Entry>, as_file: bool, kept: &Kept) -> io::Result<(Arc<Entry>, Source)> {
        let Some(bytes) = &self.memory else { return self.from_disk(kept) };
        if as_file
            && let Ok((file, stamp)) = self.shared_file(kept)
            && stamp == self.stamp
        {
            return Ok((Arc::clone(self), Source::File(file)));
        }
        Ok((Arc::clone(self), Source::Memory(Arc::clone(bytes))))
    }

    fn from_disk(self: &Arc<Entry>, kept: &Kept) -> io::Result<(Arc<Entry>, Source)> {
        let (file, stamp) = self.shared_file(kept)?;
        if stamp == self.stamp {
            return Ok((Arc::clone(self), Source::File(file)));
        }
        if !file.metadata()?.is_file() || self.path.canonicalize()? != self.path {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = Entry::new(&self.path, stamp, self.kind, Some(self), None, true);
        *entry.file.lock() = Arc::downgrade(&file);
        Ok((Arc::new(entry), Source::File(file)))
    }

    /// The file and its stamp: the one that is open while it is what this entry describes, else what is at its path.
    fn shared_file(&self, kept: &Kept) -> io::Result<(Arc<File>, Stamp)> {
        let shared = self.file.lock().upgrade();
        if let Some(file) = shared
            && Stamp::from(&file.metadata()?) == self.stamp
        {
            return Ok((file, self.stamp));
        }
        let file = Arc::new(open(&self.path)?);
        let stamp = Stamp::from(&file.metadata()?);
        if stamp == self.stamp {
            *self.file.lock() = Arc::downgrade(&file);
            kept.keep(&file);
        }
        Ok((file, stamp))
    }

    fn is_resident(&self) -> bool {
        self.memory.is_some()
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.memory.as_deref() == Some(bytes)
    }
}

/// The first second that an HTTP date cannot say.
const YEAR_10000: u64 = 253_402_300_800;

/// Opens a file that the walk found. A link or a pipe that took its place in the meantime is neither followed
/// nor waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// The content of a file, None when it is not, or does not stay, what the walk found.
fn read(path: &Path, stamp: &Stamp) -> io::Result<Option<Vec<u8>>> {
    let file = open(path)?;
    if Stamp::from(&file.metadata()?) != *stamp {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
    (&file).take(stamp.size.saturating_add(1)).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 == stamp.size && Stamp::from(&file.metadata()?) == *stamp;
    Ok(whole.then_some(bytes))
}
