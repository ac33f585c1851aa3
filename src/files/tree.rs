//! The directory as it was found by one walk: every path that is served, and nothing else. What is not in it
//! cannot be asked for, so no request path is ever joined to a path of the file system.
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::entry::{Entry, Found, Stamp};
use super::path::is_servable;
use super::{FilesError, FilesLimits, is_exhaustion};

/// Directories within directories, at most; what lies deeper is not served.
const DEPTH_MAX: usize = 64;

/// What a request path names.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A directory without its trailing slash.
    Directory,
    File(Arc<Entry>),
}

/// Every path that is served. Immutable: a change of the directory makes a new one.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: HashMap<Box<[u8]>, Node>,
    directories: usize,
    files: usize,
}

impl Tree {
    /// What a decoded request path names.
    pub(super) fn find(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The tree for what a walk found, or None when that is this tree. Entries that are still right are taken
    /// over; the others are read, in parallel.
    pub(super) fn update(&self, listing: &Listing, limits: &FilesLimits) -> Option<Tree> {
        if self.shows(listing) {
            return None;
        }
        let residents = residents(&listing.files, limits);
        let entries: Vec<Arc<Entry>> = listing
            .files
            .par_iter()
            .zip(residents)
            .map(|(found, resident)| Entry::load(found, resident, self.file(&found.url)))
            .collect();
        let mut nodes = HashMap::with_capacity(listing.directories.len() + listing.files.len());
        for (found, entry) in listing.files.iter().zip(entries) {
            if let Some(directory) = found.url.strip_suffix(b"index.html")
                && directory.ends_with(b"/")
            {
                nodes.insert(directory.into(), Node::File(Arc::clone(&entry)));
            }
            nodes.insert(found.url.clone(), Node::File(entry));
        }
        nodes.extend(listing.directories.iter().map(|url| (url.clone(), Node::Directory)));
        Some(Tree { nodes, directories: listing.directories.len(), files: listing.files.len() })
    }

    fn shows(&self, listing: &Listing) -> bool {
        let same = |found: &Found| {
            self.file(&found.url)
                .is_some_and(|entry| entry.is_settled(&found.stamp) && entry.is_at(&found.path))
        };
        self.directories == listing.directories.len()
            && self.files == listing.files.len()
            && listing.directories.iter().all(|url| matches!(self.find(url), Some(Node::Directory)))
            && listing.files.iter().all(same)
    }

    fn file(&self, url: &[u8]) -> Option<&Arc<Entry>> {
        match self.nodes.get(url) {
            Some(Node::File(entry)) => Some(entry),
            _ => None,
        }
    }
}

/// Which files are kept in memory: the smallest, as many as the limit holds.
fn residents(files: &[Found], limits: &FilesLimits) -> Vec<bool> {
    let mut small: Vec<usize> =
        (0..files.len()).filter(|&i| files[i].stamp.size <= limits.small_file_bytes).collect();
    small.sort_by_key(|&i| files[i].stamp.size);
    let mut residents = vec![false; files.len()];
    let mut left = limits.memory_bytes;
    for i in small {
        match left.checked_sub(files[i].stamp.size) {
            Some(rest) => left = rest,
            None => break,
        }
        residents[i] = true;
    }
    residents
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    directories: Vec<Box<[u8]>>,
    files: Vec<Found>,
}

/// Walks the directory, all of a depth in parallel. Links are followed where they stay within the root; a link
/// to a directory that it lies in itself is left out.
pub(super) fn walk(root: &Path, files_max: usize) -> Result<Listing, FilesError> {
    let failed = |error| FilesError::Root(root.to_owned(), error);
    let real = root.canonicalize().map_err(failed)?;
    let top = Directory::new(Vec::new(), real.clone(), &fs::metadata(&real).map_err(failed)?, &[]);
    let mut level = vec![top];
    let mut listing = Listing::default();
    for _ in 0..DEPTH_MAX {
        let contents: Vec<Contents> =
            level.par_iter().map(|dir| dir.list(&real)).collect::<io::Result<_>>().map_err(failed)?;
        level.clear();
        for mut contents in contents {
            listing.files.append(&mut contents.files);
            listing.directories.extend(contents.directories.iter().map(|dir| dir.url.as_slice().into()));
            level.append(&mut contents.directories);
        }
        if listing.files.len() + listing.directories.len() > files_max {
            return Err(FilesError::TooMany(files_max));
        }
        if level.is_empty() {
            break;
        }
    }
    Ok(listing)
}

#[derive(Debug)]
struct Directory {
    /// Its path as requests name it, decoded, without the trailing slash.
    url: Vec<u8>,
    /// Its real path: no link in it.
    path: PathBuf,
    /// Device and inode of every directory on the way here, itself the last.
    trail: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Contents {
    directories: Vec<Directory>,
    files: Vec<Found>,
}

impl Directory {
    fn new(url: Vec<u8>, path: PathBuf, meta: &fs::Metadata, above: &[(u64, u64)]) -> Directory {
        let mut trail = Vec::with_capacity(above.len() + 1);
        trail.extend_from_slice(above);
        trail.push((meta.dev(), meta.ino()));
        Directory { url, path, trail }
    }

    /// What is served of it. What cannot be read is left out, unless it is this process that ran out of means.
    fn list(&self, root: &Path) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let below_root = self.trail.len() > 1;
        let names = match fs::read_dir(&self.path) {
            Ok(names) => names,
            Err(error) if below_root && !is_exhaustion(&error) => return Ok(contents),
            Err(error) => return Err(error),
        };
        for item in names {
            let item = item?;
            let name = item.file_name();
            if !is_servable(name.as_bytes()) {
                continue;
            }
            let (path, meta) = match resolve(&item, root) {
                Ok(Some(resolved)) => resolved,
                Ok(None) => continue,
                Err(error) if is_exhaustion(&error) => return Err(error),
                Err(_) => continue,
            };
            let url = [&self.url, b"/".as_slice(), name.as_bytes()].concat();
            if meta.is_file() {
                contents.files.push(Found { url: url.into(), path, stamp: Stamp::from(&meta) });
            } else if meta.is_dir() && !self.trail.contains(&(meta.dev(), meta.ino())) {
                contents.directories.push(Directory::new(url, path, &meta, &self.trail));
            }
        }
        Ok(contents)
    }
}

/// The real path and the metadata of what a directory lists, None for a link that leads nowhere or out of the root.
fn resolve(item: &fs::DirEntry, root: &Path) -> io::Result<Option<(PathBuf, fs::Metadata)>> {
    if !item.file_type()?.is_symlink() {
        return Ok(Some((item.path(), item.metadata()?)));
    }
    let Ok(path) = item.path().canonicalize() else { return Ok(None) };
    if !path.starts_with(root) {
        return Ok(None);
    }
    let meta = fs::symlink_metadata(&path)?;
    Ok(Some((path, meta)))
}
