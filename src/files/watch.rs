//! Watches the served directories (inotify). The events name the changed directories, so a refresh does not walk the
//! whole tree.
//!
//! The crate `notify` 8 is not used, because it always watches `IN_OPEN`: each file that the server opens would be an
//! event.
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::statfs;
use rustix::io::Errno;

use super::changes::Changes;
use super::root::Location;
use super::tree::{Directory, Tree};

/// The watches on the directories of one root.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    /// The directory of each watch.
    directories: HashMap<i32, Arc<Location>>,
    /// The watch of each directory, with the device and inode of the watched directory.
    watches: HashMap<PathBuf, (i32, (u64, u64))>,
}

/// The events that can change the content of a directory. Opening and reading are not watched, because the server does
/// both.
const EVENTS: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::EXCL_UNLINK);

/// Maximum bytes that one system call reads: about a thousand events.
const EVENT_BYTES: usize = 32 * 1024;

/// File systems that other machines or processes change without an event on this machine. The types are from statfs(2):
/// NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS, Lustre.
const REMOTE: [i64; 9] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x0bd0_0bd0,
];

impl Watch {
    /// Opens inotify. No directory is watched yet.
    ///
    /// # Errors
    /// When the system has no inotify, or its limit of instances is reached.
    pub(super) fn new() -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Watch { inotify, directories: HashMap::new(), watches: HashMap::new() })
    }

    /// Watches exactly the directories of the tree. Returns the newly watched directories, because their earlier
    /// changes are unknown.
    ///
    /// # Errors
    /// When the system's limit of watches is reached, or when a file system does not report all changes.
    pub(super) fn follow(&mut self, tree: &Tree) -> io::Result<Vec<PathBuf>> {
        let mut all = HashMap::new();
        tree.top.for_each(&mut |directory| {
            all.insert(directory.path(), directory);
        });
        let mut added = Vec::new();
        for (path, directory) in &all {
            let identity = directory.stamp.identity();
            if self.watches.get(*path).is_some_and(|(_, watched)| *watched == identity) {
                continue;
            }
            self.forget(path);
            if self.add(directory)? {
                added.push(path.to_path_buf());
            }
        }
        let gone: Vec<PathBuf> =
            self.watches.keys().filter(|path| !all.contains_key(path.as_path())).cloned().collect();
        gone.iter().for_each(|path| self.forget(path));
        Ok(added)
    }

    /// Watches a directory. Returns false when the directory cannot be read or is gone. When this changes, its parent
    /// gets an event.
    fn add(&mut self, directory: &Directory) -> io::Result<bool> {
        let location = &directory.location;
        let path = location.root.path.join(&location.path);
        let watch = match inotify::add_watch(&self.inotify, &path, EVENTS) {
            Ok(watch) => watch,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // The type of `f_type` differs between architectures.
        #[allow(clippy::unnecessary_cast)]
        if statfs(&path).is_ok_and(|system| REMOTE.contains(&(system.f_type as i64 & 0xffff_ffff))) {
            return Err(io::Error::other("the file system is shared with other machines or processes"));
        }
        self.directories.insert(watch, Arc::clone(location));
        self.watches.insert(location.path.clone(), (watch, directory.stamp.identity()));
        Ok(true)
    }

    /// Removes the watch of a directory, unless the same directory is now watched at another path.
    fn forget(&mut self, path: &std::path::Path) {
        if let Some((watch, _)) = self.watches.remove(path)
            && self.directories.get(&watch).is_some_and(|location| location.path == path)
        {
            self.directories.remove(&watch);
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Adds the directories that changed since the last call. After an overflow of the kernel's queue, adds every
    /// directory.
    ///
    /// # Errors
    /// When the events cannot be read.
    pub(super) fn collect(&mut self, changes: &mut Changes) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::UNMOUNT) {
                *changes = Changes::Everywhere;
            }
            let Some(location) = self.directories.get(&event.wd()) else { continue };
            changes.add(location.path.clone());
            if event.events().contains(ReadFlags::IGNORED)
                && let Some(location) = self.directories.remove(&event.wd())
                && self.watches.get(&location.path).is_some_and(|(watch, _)| *watch == event.wd())
            {
                self.watches.remove(&location.path);
            }
        }
    }
}
