//! Decides which directories a refresh lists again: the changed directories, or all of them.
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::changes::Changes;
use super::limits::{FilesError, FilesLimits};
use super::root::Root;
use super::tree::Tree;
use super::walk;
use super::watch::Watch;

/// Maximum number of refreshes between two walks over the whole directory. Such a walk finds the changes without an
/// event: writes through a memory map, and file systems mounted below the root.
const WALK_EVERY: u32 = 120;

/// The state that is kept between two refreshes.
#[derive(Debug)]
pub(super) struct Refresher {
    watching: Watching,
    /// The directories that the next refresh lists. Kept until a refresh succeeds.
    changes: Changes,
    /// The directories that every refresh lists, because some changes in them cause no event.
    polled: Vec<PathBuf>,
    since_walk: u32,
    /// True after the reason for walking everything was logged.
    warned: bool,
}

/// The source of the knowledge about changes.
#[derive(Debug)]
enum Watching {
    /// No directory is watched yet.
    NotYet,
    Events(Watch),
    /// Watches are not available: every refresh walks everything.
    Walks,
}

impl Refresher {
    /// Makes a refresher that watches directories from the first refresh on. With `watch` false every refresh walks
    /// everything.
    pub(super) fn new(watch: bool) -> Refresher {
        Refresher {
            watching: if watch { Watching::NotYet } else { Watching::Walks },
            changes: Changes::Everywhere,
            polled: Vec::new(),
            since_walk: 0,
            warned: false,
        }
    }

    /// Returns the tree of the directory at `path` as it is now. None when the tree `before` is still right.
    ///
    /// # Errors
    /// When the directory cannot be walked. Then the next refresh lists the same changes again.
    pub(super) fn refresh(
        &mut self,
        path: &Path,
        limits: &FilesLimits,
        before: &Tree,
    ) -> Result<Option<Tree>, FilesError> {
        let failed = |error| FilesError::Root(path.to_owned(), error);
        let root = match before.root.stamp_at(path).map_err(failed)? {
            Some(stamp) => {
                if stamp != before.top.stamp {
                    self.changes.add(PathBuf::new());
                }
                Arc::clone(&before.root)
            }
            None => {
                if let Watching::Events(_) = self.watching {
                    self.watching = Watching::NotYet;
                }
                Arc::new(Root::open(path).map_err(failed)?)
            }
        };
        let same_root = Arc::ptr_eq(&root, &before.root);
        self.collect(same_root.then_some(before));
        if self.changes == Changes::none() {
            return Ok(None);
        }
        let update = walk::update(Some(before), &root, limits, &self.changes)?;
        self.changes = Changes::none();
        update.unsettled.into_iter().for_each(|directory| self.changes.add(directory));
        if let Some(tree) = &update.tree {
            self.follow(tree);
        }
        Ok(update.tree)
    }

    /// Adds the directories to list to `changes`. `tree` is None when the root is a new directory.
    fn collect(&mut self, tree: Option<&Tree>) {
        self.since_walk += 1;
        if self.since_walk >= WALK_EVERY {
            self.since_walk = 0;
            self.changes = Changes::Everywhere;
        }
        let Some(tree) = tree else {
            self.changes = Changes::Everywhere;
            return;
        };
        match &mut self.watching {
            Watching::NotYet => {
                self.changes = Changes::Everywhere;
                self.follow(tree);
            }
            Watching::Walks => self.changes = Changes::Everywhere,
            Watching::Events(watch) => {
                let result = watch.collect(&mut self.changes);
                self.polled.iter().for_each(|directory| self.changes.add(directory.clone()));
                if let Err(error) = result {
                    self.walk_from_now(&error);
                }
            }
        }
    }

    /// Watches the directories of a tree. The next refresh lists the newly watched directories once more.
    fn follow(&mut self, tree: &Tree) {
        self.polled.clear();
        tree.top.for_each(&mut |directory| {
            if directory.polled {
                self.polled.push(directory.path().to_owned());
            }
        });
        let mut watch = match mem::replace(&mut self.watching, Watching::Walks) {
            Watching::Walks => return,
            Watching::Events(watch) => watch,
            Watching::NotYet => match Watch::new() {
                Ok(watch) => watch,
                Err(error) => return self.walk_from_now(&error),
            },
        };
        match watch.follow(tree) {
            Ok(added) => {
                self.watching = Watching::Events(watch);
                added.into_iter().for_each(|directory| self.changes.add(directory));
            }
            Err(error) => self.walk_from_now(&error),
        }
    }

    /// True when no change is known for the next refresh. None when every refresh walks everything.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> Option<bool> {
        let watches = matches!(self.watching, Watching::Events(_));
        watches.then(|| self.changes == Changes::none())
    }

    /// Stops watching: from now on every refresh walks everything.
    pub(super) fn walk_from_now(&mut self, error: &io::Error) {
        self.watching = Watching::Walks;
        self.changes = Changes::Everywhere;
        if !mem::replace(&mut self.warned, true) {
            log::warn!("cannot watch the served directory: {error}; every refresh walks all of it");
        }
    }
}
