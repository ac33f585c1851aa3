//! The served directory as the walk found it: every path that is served, and nothing else. A path that is not in the tree
//! cannot be requested, so that no request path is ever joined to a path of the file system.
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::entry::{ByName, Entry};
use super::root::{Location, Root};
use super::stamp::Stamp;

/// What a request path names.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// A directory without its trailing slash.
    Directory,
    File(&'a Arc<Entry>),
}

/// Every path that is served. Immutable: a change makes a new tree, which shares the directories that did not change.
#[derive(Debug)]
pub(super) struct Tree {
    pub root: Arc<Root>,
    pub top: Arc<Directory>,
    /// Which files are in memory.
    pub residents: Residents,
}

impl Tree {
    /// What a decoded request path names.
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

/// What is served of one directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub location: Arc<Location>,
    pub stamp: Stamp,
    pub files: HashSet<ByName>,
    pub directories: HashMap<Box<[u8]>, Arc<Directory>>,
    /// True when no event tells of every change: a symbolic link, or a file that has another name elsewhere.
    pub polled: bool,
    /// Sums over this directory and those below.
    pub totals: Totals,
}

/// Sums over a directory and those below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Files and directories, without the directory itself.
    pub nodes: usize,
    /// Bytes of the files that are small enough for memory.
    pub small_bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: Totals) {
        self.nodes += other.nodes;
        self.small_bytes = self.small_bytes.saturating_add(other.small_bytes);
    }
}

impl Directory {
    /// The path relative to the root.
    pub(super) fn path(&self) -> &Path {
        &self.location.path
    }

    /// The entry of a file in this directory.
    pub(super) fn entry(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        self.files.get(name).map(|ByName(entry)| entry)
    }

    /// Calls `each` with this directory and all below.
    pub(super) fn for_each<'a>(self: &'a Arc<Directory>, each: &mut impl FnMut(&'a Arc<Directory>)) {
        each(self);
        self.directories.values().for_each(|directory| directory.for_each(each));
    }
}

/// Which files are kept in memory: the smallest, as many as the limit holds. Files up to `last` in the order of size and
/// inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Residents {
    /// Larger files are not kept.
    small_file_bytes: u64,
    last: (u64, u64),
}

impl Residents {
    /// Every file up to `small_file_bytes`.
    pub(super) fn all(small_file_bytes: u64) -> Residents {
        Residents { small_file_bytes, last: (u64::MAX, u64::MAX) }
    }

    /// The smallest of the files with these stamps, within `memory_bytes`.
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
        // A file with several names is kept once for each.
        for same in keys.chunk_by(|a, b| a == b) {
            match remaining.checked_sub(same[0].0.saturating_mul(same.len() as u64)) {
                Some(rest) => remaining = rest,
                None => break,
            }
            last = same[0];
        }
        Residents { small_file_bytes, last }
    }

    /// True for a file that is small enough for memory.
    pub(super) fn is_small(&self, stamp: &Stamp) -> bool {
        stamp.size <= self.small_file_bytes
    }

    /// True for a file that is kept in memory.
    pub(super) fn include(&self, stamp: &Stamp) -> bool {
        self.is_small(stamp) && (stamp.size, stamp.inode) <= self.last
    }
}
