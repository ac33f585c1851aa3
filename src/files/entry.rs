//! One served file: its stamp, its content or the place of its content, and its response fields.
use std::borrow::Borrow;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::fs::fstat;

use super::conditional::Validators;
use super::root::Location;
use super::stamp::{Stamp, is_file};
use super::types::content_type;

/// Where a file is opened.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In this directory, under the name in the entry.
    In(Arc<Location>),
    /// At exactly this path: the target of a symbolic link.
    At(Arc<Location>),
}

impl Place {
    fn is(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::In(a), Place::In(b)) | (Place::At(a), Place::At(b)) => a.is(b),
            _ => false,
        }
    }
}

/// A file found by the walk.
#[derive(Debug)]
pub(super) struct Found {
    /// The name in requests, decoded.
    pub name: Box<[u8]>,
    pub place: Place,
    pub stamp: Stamp,
}

/// A served file. Entries are small, because each file has one. The first request for the file makes the fields that
/// only requests need.
#[derive(Debug)]
pub(super) struct Entry {
    name: Box<[u8]>,
    place: Place,
    stamp: Stamp,
    /// Distinguishes contents with equal time, size and inode.
    revision: u32,
    /// True when the next walk reads the file only if its stamp has changed.
    settled: AtomicBool,
    /// The content, when it is kept in memory.
    memory: Option<Arc<[u8]>>,
    /// The open file. Requests that overlap share the descriptor.
    file: Mutex<Weak<File>>,
    fields: OnceLock<Box<Fields>>,
}

/// The entity tag and the field lines of a file.
#[derive(Debug)]
pub(super) struct Fields {
    /// The strong entity tag with its quotes.
    etag: Box<[u8]>,
    /// Field lines of a 200 response.
    pub whole: Arc<[u8]>,
    /// Field lines of a 304 response (RFC 9110 section 15.4.5).
    pub validators: Arc<[u8]>,
}

/// Files that stay open until the next refresh. So a file with many requests is opened once per refresh.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<Vec<Arc<File>>>);

/// Maximum number of files that stay open.
const OPEN_FILES_MAX: usize = 64;

impl OpenFiles {
    fn keep(&self, file: &Arc<File>) {
        let mut files = self.0.lock();
        if files.len() < OPEN_FILES_MAX {
            files.push(Arc::clone(file));
        }
    }

    /// Closes the files that no request uses.
    pub(super) fn close(&self) {
        self.0.lock().clear();
    }
}

/// Where the content of an answer comes from.
#[derive(Debug)]
pub(super) enum Source {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

impl Entry {
    /// Returns the entry of a file: `old` when `old` is still right, else a new entry. Reads the content when
    /// `resident` is true. A file that changes while it is read is served from disk until the next walk.
    pub(super) fn load(found: Found, resident: bool, old: Option<&Arc<Entry>>) -> Arc<Entry> {
        let old = old.filter(|old| old.name == found.name);
        let same_place = old.filter(|old| old.place.is(&found.place));
        if let Some(old) = same_place
            && old.is_settled(&found.stamp)
            && old.is_resident() == resident
        {
            return Arc::clone(old);
        }
        if !resident {
            return Arc::new(Entry::new(found, old, None, true));
        }
        let (memory, settled) = match read(&found) {
            Ok(Some(bytes)) => {
                if let Some(old) = same_place
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
                let settled = error.kind() == io::ErrorKind::PermissionDenied;
                if let Some(old) = same_place
                    && old.is_settled(&found.stamp) == settled
                    && old.stamp == found.stamp
                    && !old.is_resident()
                {
                    return Arc::clone(old);
                }
                log::warn!("cannot read {}: {error}", path(&found.place, &found.name).display());
                (None, settled)
            }
        };
        Arc::new(Entry::new(found, old, memory, settled))
    }

    fn new(found: Found, old: Option<&Arc<Entry>>, memory: Option<Arc<[u8]>>, settled: bool) -> Entry {
        let revision = old.map_or(0, |old| old.next_revision(&found.stamp, memory.as_deref()));
        let Found { name, place, stamp } = found;
        Entry {
            name,
            place,
            stamp,
            revision,
            settled: AtomicBool::new(settled),
            memory,
            file: Mutex::default(),
            fields: OnceLock::new(),
        }
    }

    /// Returns the revision of the entry that replaces this entry. Two contents must not have the same strong entity
    /// tag (RFC 9110 section 8.8.1), even when time, size and inode are equal.
    fn next_revision(&self, stamp: &Stamp, memory: Option<&[u8]>) -> u32 {
        let same_content = match (self.memory.as_deref(), memory) {
            (Some(old), Some(new)) => old == new,
            _ => self.stamp == *stamp,
        };
        match self.stamp.has_same_tag(stamp) {
            true if same_content => self.revision,
            true => self.revision.wrapping_add(1),
            false => 0,
        }
    }

    /// Returns this entry as a file found by the walk.
    pub(super) fn found(&self) -> Found {
        Found { name: self.name.clone(), place: self.place.clone(), stamp: self.stamp }
    }

    /// Returns the response fields. The first request for a file makes them.
    pub(super) fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| Box::new(Fields::new(self)))
    }

    /// Returns the validators of the file, for conditional requests.
    pub(super) fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.fields().etag, modified: self.modified() }
    }

    /// Returns the time of the last write in seconds since 1970; None when an HTTP date cannot express this time.
    fn modified(&self) -> Option<u64> {
        u64::try_from(self.stamp.modified_seconds).ok().filter(|&seconds| seconds < YEAR_10000)
    }

    /// Returns the name in requests, decoded.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the size of the content in bytes.
    pub(super) fn len(&self) -> u64 {
        self.stamp.size
    }

    /// Returns the stamp of the file that this entry describes.
    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// True when a file with this stamp need not be read again.
    pub(super) fn is_settled(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && self.settled.load(Ordering::Relaxed)
    }

    /// True when the file is opened at this place.
    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.place.is(place)
    }

    /// True when the content is kept in memory.
    pub(super) fn is_resident(&self) -> bool {
        self.memory.is_some()
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.memory.as_deref() == Some(bytes)
    }

    /// Returns the content and the entry that describes the content. When the file on disk has changed, the entry is a
    /// new one. Content in memory is used, unless `as_file` is true and the file on disk is unchanged.
    pub(super) fn source(
        self: &Arc<Entry>,
        as_file: bool,
        open_files: &OpenFiles,
    ) -> io::Result<(Arc<Entry>, Source)> {
        let Some(bytes) = &self.memory else { return self.from_disk(open_files) };
        if as_file
            && let Ok((file, stamp)) = self.shared_file(open_files)
            && stamp == self.stamp
        {
            return Ok((Arc::clone(self), Source::File(file)));
        }
        Ok((Arc::clone(self), Source::Memory(Arc::clone(bytes))))
    }

    fn from_disk(self: &Arc<Entry>, open_files: &OpenFiles) -> io::Result<(Arc<Entry>, Source)> {
        let (file, stamp) = self.shared_file(open_files)?;
        if stamp == self.stamp {
            return Ok((Arc::clone(self), Source::File(file)));
        }
        if !is_file(&fstat(&*file)?) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = Entry::new(Found { stamp, ..self.found() }, Some(self), None, true);
        *entry.file.lock() = Arc::downgrade(&file);
        Ok((Arc::new(entry), Source::File(file)))
    }

    /// Returns an open file and its stamp. Opens the path again when the open file no longer matches this entry.
    fn shared_file(&self, open_files: &OpenFiles) -> io::Result<(Arc<File>, Stamp)> {
        let shared = self.file.lock().upgrade();
        if let Some(file) = shared
            && Stamp::from(&fstat(&*file)?) == self.stamp
        {
            return Ok((file, self.stamp));
        }
        let file = Arc::new(open(&self.place, &self.name)?);
        let stamp = Stamp::from(&fstat(&*file)?);
        if stamp == self.stamp {
            *self.file.lock() = Arc::downgrade(&file);
            open_files.keep(&file);
        }
        Ok((file, stamp))
    }
}

impl Fields {
    fn new(entry: &Entry) -> Fields {
        let Stamp { inode, size, modified_seconds, modified_nanoseconds, .. } = entry.stamp;
        let base = format!("{modified_seconds:x}.{modified_nanoseconds:x}-{size:x}-{inode:x}");
        let etag = match entry.revision {
            0 => format!("\"{base}\""),
            revision => format!("\"{base}-{revision:x}\""),
        };
        let validators = match entry.modified() {
            Some(seconds) => {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
                format!("ETag: {etag}\r\nLast-Modified: {date}\r\n")
            }
            None => format!("ETag: {etag}\r\n"),
        };
        let kind = content_type(&entry.name);
        let whole = format!("Content-Type: {kind}\r\n{validators}Accept-Ranges: bytes\r\n");
        Fields {
            etag: etag.into_bytes().into(),
            whole: whole.into_bytes().into(),
            validators: validators.into_bytes().into(),
        }
    }
}

/// An entry that a set finds by its name.
#[derive(Debug, Clone)]
pub(super) struct ByName(pub Arc<Entry>);

impl Borrow<[u8]> for ByName {
    fn borrow(&self) -> &[u8] {
        &self.0.name
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

/// The first second after the last HTTP date, in seconds since 1970.
const YEAR_10000: u64 = 253_402_300_800;

fn path(place: &Place, name: &[u8]) -> PathBuf {
    match place {
        Place::In(directory) => directory.path.join(std::ffi::OsStr::from_bytes(name)),
        Place::At(target) => target.path.clone(),
    }
}

fn open(place: &Place, name: &[u8]) -> io::Result<File> {
    let (Place::In(location) | Place::At(location)) = place;
    location.root.open_file(&path(place, name))
}

/// Reads the content of a file. None when the file differs from the file that the walk found, or changes while it is
/// read.
fn read(found: &Found) -> io::Result<Option<Vec<u8>>> {
    let file = open(&found.place, &found.name)?;
    if Stamp::from(&fstat(&file)?) != found.stamp {
        return Ok(None);
    }
    let size = found.stamp.size;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    (&file).take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 == size && Stamp::from(&fstat(&file)?) == found.stamp;
    Ok(whole.then_some(bytes))
}
