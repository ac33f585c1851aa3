//! The directories that a refresh lists again.
use std::collections::HashSet;
use std::path::PathBuf;

use super::tree::Directory;

/// The directories that a refresh lists again, as paths relative to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changes {
    Everywhere,
    In(HashSet<PathBuf>),
}

impl Changes {
    /// No directory is listed again.
    pub(super) fn none() -> Changes {
        Changes::In(HashSet::new())
    }

    /// Adds a directory.
    pub(super) fn add(&mut self, directory: PathBuf) {
        if let Changes::In(directories) = self {
            directories.insert(directory);
        }
    }

    /// True when `directory` is listed again.
    pub(super) fn include(&self, directory: &Directory) -> bool {
        match self {
            Changes::Everywhere => true,
            Changes::In(directories) => directories.contains(directory.path()),
        }
    }
}
