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
    content: Content,
    /// Nothing is left to be found out at the next refresh, unless the stamp changes.
    settled: AtomicBool,
}

#[derive(Debug)]
enum Content {
    Memory(Arc<[u8]>),
    /// Opened when it is asked for; requests that overlap share the descriptor.
    Disk(Mutex<Weak<File>>),
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
            return Arc::new(Entry::new(
                &found.path,
                found.stamp,
                kind,
                old,
                Content::Disk(Mutex::default()),
                true,
            ));
        }
        let (content, settled) = match read(&found.path, &found.stamp) {
            Ok(Some(bytes)) => {
                if let Some(old) = old
                    && old.stamp == found.stamp
                    && old.holds(&bytes)
                {
                    old.settled.store(true, Ordering::Relaxed);
                    return Arc::clone(old);
                }
                (Content::Memory(bytes.into()), false)
            }
            Ok(None) => (Content::Disk(Mutex::default()), false),
            Err(error) => {
                if old.is_none_or(|old| old.stamp != found.stamp) {
                    log::warn!("{} cannot be read: {error}", found.path.display());
                }
                let settled = error.kind() == io::ErrorKind::PermissionDenied;
                (Content::Disk(Mutex::default()), settled)
            }
        };
        Arc::new(Entry::new(&found.path, found.stamp, kind, old, content, settled))
    }

    fn new(
        path: &Path,
        stamp: Stamp,
        kind: &'static str,
        old: Option<&Arc<Entry>>,
        content: Content,
        settled: bool,
    ) -> Entry {
        let Stamp { inode, size, modified: (seconds, nanoseconds), .. } = stamp;
        let base = format!("{seconds:x}.{nanoseconds:x}-{size:x}-{inode:x}");
        let revision = old.map_or(0, |old| old.next_revision(&stamp, &content));
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
            content,
            settled: AtomicBool::new(settled),
        }
    }

    /// The revision of what takes the place of this entry: a strong entity tag must not stand for two contents
    /// (RFC 9110 section 8.8.1), even when time, size and inode are alike.
    fn next_revision(&self, stamp: &Stamp, content: &Content) -> u32 {
        let tag = |stamp: &Stamp| (stamp.modified, stamp.size, stamp.inode);
        let same_content = match (&self.content, content) {
            (Content::Memory(old), Content::Memory(new)) => old == new,
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

    /// The content as this entry describes it, or the newer entry that describes what the file has become
    /// since. Touches the disk only for content that is not in memory.
    pub(super) fn source(self: &Arc<Entry>) -> io::Result<(Arc<Entry>, Source)> {
        let shared = match &self.content {
            Content::Memory(bytes) => return Ok((Arc::clone(self), Source::Memory(Arc::clone(bytes)))),
            Content::Disk(shared) => shared,
        };
        let mut shared = shared.lock();
        if let Some(file) = shared.upgrade()
            && Stamp::from(&file.metadata()?) == self.stamp
        {
            return Ok((Arc::clone(self), Source::File(file)));
        }
        let file = Arc::new(open(&self.path)?);
        let meta = file.metadata()?;
        let stamp = Stamp::from(&meta);
        if stamp == self.stamp {
            *shared = Arc::downgrade(&file);
            return Ok((Arc::clone(self), Source::File(file)));
        }
        if !meta.is_file() || self.path.canonicalize()? != self.path {
            return Err(io::ErrorKind::NotFound.into());
        }
        let content = Content::Disk(Mutex::new(Arc::downgrade(&file)));
        let entry = Entry::new(&self.path, stamp, self.kind, Some(self), content, true);
        Ok((Arc::new(entry), Source::File(file)))
    }

    /// The same, with the content read now even when it is in memory.
    pub(super) fn read_now(self: &Arc<Entry>) -> io::Result<(Arc<Entry>, Source)> {
        match read(&self.path, &self.stamp)? {
            Some(bytes) => Ok((Arc::clone(self), Source::Memory(bytes.into()))),
            None => self.source(),
        }
    }

    fn is_resident(&self) -> bool {
        matches!(self.content, Content::Memory(_))
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        matches!(&self.content, Content::Memory(content) if **content == *bytes)
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
