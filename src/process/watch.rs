//! Files whose changes are told: the configuration file, certificates and keys.
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

/// The files are read when nothing has changed in their directories for this time. So a file that is written in parts is read
/// once, and a certificate together with its key.
const QUIET: Duration = Duration::from_millis(100);

/// Watched files. Dropping it ends the watch.
pub(super) struct WatchedFiles {
    watcher: RecommendedWatcher,
    contents: Arc<Mutex<Contents>>,
}

impl WatchedFiles {
    /// Calls `changed` when the content of a file is new. None when the system cannot watch.
    pub(super) fn new(changed: impl Fn() + Send + 'static) -> Option<Self> {
        let (sender, events) = mpsc::channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reads are events too.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.send(());
            }
        });
        let watcher = watcher
            .map_err(|error| log::warn!("cannot watch files: {error}; send SIGHUP after a change"))
            .ok()?;
        let contents = Arc::new(Mutex::new(Contents::default()));
        let known = Arc::clone(&contents);
        thread::spawn(move || {
            while events.recv().is_ok() {
                while events.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {}
                // Another file of a directory may have changed.
                let is_new = known.lock().read_again();
                if is_new {
                    changed();
                }
            }
        });
        Some(WatchedFiles { watcher, contents })
    }

    /// Watches these files from now on, by their directories. So a file that is replaced is still watched.
    pub(super) fn watch(&mut self, paths: &[PathBuf]) {
        self.contents.lock().know(paths);
        let mut directories: Vec<&Path> = paths.iter().map(|path| directory(path)).collect();
        directories.sort_unstable();
        directories.dedup();
        for directory in directories {
            if let Err(error) = self.watcher.watch(directory, RecursiveMode::NonRecursive) {
                log::warn!("cannot watch '{}': {error}; send SIGHUP after a change", directory.display());
            }
        }
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The hashes of the contents of files. A key is not kept in memory for this.
#[derive(Debug, Default)]
struct Contents {
    seed: RandomState,
    hashes: HashMap<PathBuf, Option<u64>>,
}

impl Contents {
    /// Forgets all other files, and reads those that are new.
    fn know(&mut self, paths: &[PathBuf]) {
        self.hashes.retain(|path, _| paths.contains(path));
        for path in paths {
            let seed = &self.seed;
            self.hashes.entry(path.clone()).or_insert_with(|| hash(seed, path));
        }
    }

    /// Reads all files. True when one of them has a new content. A file that cannot be read has none.
    fn read_again(&mut self) -> bool {
        let mut is_new = false;
        for (path, known) in &mut self.hashes {
            let now = hash(&self.seed, path);
            if now.is_some() && now != *known {
                *known = now;
                is_new = true;
            }
        }
        is_new
    }
}

fn hash(seed: &RandomState, path: &Path) -> Option<u64> {
    std::fs::read(path).ok().map(|content| seed.hash_one(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_new_once() {
        let folder = std::env::temp_dir().join(format!("neraca-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.join(name));
        std::fs::write(&one, "1").unwrap();
        let mut contents = Contents::default();
        contents.know(&[one.clone(), other.clone()]);
        assert!(!contents.read_again());
        std::fs::write(&other, "2").unwrap();
        assert!(contents.read_again() && !contents.read_again());
        std::fs::write(&one, "3").unwrap();
        assert!(contents.read_again());
        // A file that is gone for a moment is not new when it comes back.
        std::fs::remove_file(&one).unwrap();
        assert!(!contents.read_again());
        std::fs::write(&one, "3").unwrap();
        assert!(!contents.read_again());
        contents.know(&[one]);
        std::fs::write(&other, "4").unwrap();
        assert!(!contents.read_again());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_has_a_directory() {
        for (path, expected) in [("a", "."), ("./a", "."), ("/a", "/"), ("/b/a", "/b"), ("b/a", "b")] {
            assert_eq!(directory(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
