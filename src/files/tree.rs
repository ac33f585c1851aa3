//! The tree of the served paths, as the walk found them. Requests are looked up in the tree only. So a request path is
//! never joined to a path of the file system.
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::entry::{ByName, Entry};
use super::root::{Location, Root};
use super::stamp::Stamp;

/// The file or directory that a request path names.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// A directory; the request path has no trailing slash.
    Directory,
    File(&'a Arc<Entry>),
}

/// All served paths. A tree is immutable. A change makes a new tree, which shares the unchanged directories.
#[derive(Debug)]
pub(super) struct Tree {
    pub root: Arc<Root>,
    pub top: Arc<Directory>,
    /// The files that are in memory.
    pub residents: Residents,
}

impl Tree {
    /// Looks up a decoded request path.
    pub(super) fn find(&self, path: &[u8]) -> Option<Node<'_>> {
        let mut rest = path.strip_prefix(b"/")?;
        let mut directory = &self.top;
        while let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
            directory = directory.directories.get(&rest[..slash])?;
            rest = &rest[slash + 1..];
        }
        let name = if rest.is_empty() { b"index.html" } else { rest };
        match directory.files.get(name) {
            Some(ByName(entry)) => Some(Node::File(entry)),
            None => directory.directories.get(rest).map(|_| Node::Directory),
        }
    }
}

/// The served files and subdirectories of one directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub location: Arc<Location>,
    pub stamp: Stamp,
    pub files: HashSet<ByName>,
    pub directories: HashMap<Box<[u8]>, Arc<Directory>>,
    /// True when some changes cause no event: the directory has a symbolic link, or a file with another hard link.
    pub polled: bool,
    /// Sums over this directory and all directories below it.
    pub totals: Totals,
}

/// Sums over a directory and all directories below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Number of files and directories, without the directory itself.
    pub nodes: usize,
    /// Total bytes of the files that are small enough for memory.
    pub small_bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: Totals) {
        self.nodes += other.nodes;
        self.small_bytes = self.small_bytes.saturating_add(other.small_bytes);
    }
}

impl Directory {
    /// Returns the path relative to the root.
    pub(super) fn path(&self) -> &Path {
        &self.location.path
    }

    /// Returns the entry of a file in this directory.
    pub(super) fn entry(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        self.files.get(name).map(|ByName(entry)| entry)
    }

    /// Calls `each` with this directory and all directories below it.
    pub(super) fn for_each<'a>(self: &'a Arc<Directory>, each: &mut impl FnMut(&'a Arc<Directory>)) {
        each(self);
        self.directories.values().for_each(|directory| directory.for_each(each));
    }
}

/// The rule that selects the files in memory. The files are sorted by size, then by inode; all files up to `last` are
/// in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Residents {
    /// Maximum size in bytes of a file in memory.
    small_file_bytes: u64,
    last: (u64, u64),
}

impl Residents {
    /// Selects every file of at most `small_file_bytes`.
    pub(super) fn all(small_file_bytes: u64) -> Residents {
        Residents { small_file_bytes, last: (u64::MAX, u64::MAX) }
    }

    /// Selects the smallest of the files with these stamps, with at most `memory_bytes` in total.
    pub(super) fn smallest<'a>(
        stamps: impl Iterator<Item = &'a Stamp>,
        small_file_bytes: u64,
        memory_bytes: u64,
    ) -> Residents {
        let is_small = |stamp: &&Stamp| stamp.size <= small_file_bytes;
        let mut keys: Vec<(u64, u64)> = stamps.filter(is_small).map(|s| (s.size, s.inode)).collect();
        keys.sort_unstable();
        let mut last = (0, 0);
        let mut remaining = memory_bytes;
        // A file with several names is in memory once per name.
        for same in keys.chunk_by(|a, b| a == b) {
            match remaining.checked_sub(same[0].0.saturating_mul(same.len() as u64)) {
                Some(rest) => remaining = rest,
                None => break,
            }
            last = same[0];
        }
        Residents { small_file_bytes, last }
    }

    /// True when the file is small enough for memory.
    pub(super) fn is_small(&self, stamp: &Stamp) -> bool {
        stamp.size <= self.small_file_bytes
    }

    /// True when the file is kept in memory.
    pub(super) fn include(&self, stamp: &Stamp) -> bool {
        self.is_small(stamp) && (stamp.size, stamp.inode) <= self.last
    }
}
