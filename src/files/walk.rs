//! The walk over the served directory. It lists the directories that may have changed, takes all other directories from
//! the previous tree, and reads the small files.
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, Stat, statat};

use super::changes::Changes;
use super::entry::{ByName, Entry, Found, Place};
use super::limits::{FilesError, FilesLimits};
use super::path::is_servable;
use super::root::{Location, Root, is_exhaustion};
use super::stamp::{Stamp, is_directory, is_file, is_link};
use super::tree::{Directory, Residents, Totals, Tree};

/// Maximum depth of directories; deeper directories are not served.
const DEPTH_MAX: usize = 64;

/// The result of an update.
#[derive(Debug)]
pub(super) struct Update {
    /// None when the previous tree is still right.
    pub tree: Option<Tree>,
    /// Directories with a file that must be read again: a second write in the same clock tick would not change the
    /// file's stamp.
    pub unsettled: Vec<PathBuf>,
}

/// Lists the directories in `changes` and all new directories, and makes a tree.
///
/// # Errors
/// When the root cannot be listed, or the process has no descriptor or memory left. When there are more files and
/// directories than the limit.
pub(super) fn update(
    before: Option<&Tree>,
    root: &Arc<Root>,
    limits: &FilesLimits,
    changes: &Changes,
) -> Result<Update, FilesError> {
    let walk = Walk { root, limits, changes, nodes: AtomicUsize::new(0), unsettled: Mutex::default() };
    let top = walk.look(before.map(|tree| &tree.top), PathBuf::new(), None)?;
    let small_bytes = top.totals(limits).small_bytes;
    let residents = if small_bytes <= limits.memory_bytes {
        Residents::all(limits.small_file_bytes)
    } else {
        let mut stamps = Vec::new();
        top.collect_stamps(&mut stamps);
        Residents::smallest(stamps.iter(), limits.small_file_bytes, limits.memory_bytes)
    };
    let same_residents = before.is_some_and(|before| before.residents == residents);
    let top = walk.build(top, &residents, same_residents);
    let unsettled = walk.unsettled.into_inner();
    let same = before.is_some_and(|before| Arc::ptr_eq(&before.top, &top)) && same_residents;
    let tree = (!same).then(|| Tree { root: Arc::clone(root), top, residents });
    Ok(Update { tree, unsettled })
}

struct Walk<'a> {
    root: &'a Arc<Root>,
    limits: &'a FilesLimits,
    changes: &'a Changes,
    /// Number of files and directories found so far.
    nodes: AtomicUsize,
    unsettled: Mutex<Vec<PathBuf>>,
}

/// A directory that was listed, before its files are read.
enum Draft {
    /// Neither this directory nor a directory below it changed.
    Same(Arc<Directory>),
    Listed(Box<Listed>),
}

struct Listed {
    before: Option<Arc<Directory>>,
    location: Arc<Location>,
    stamp: Stamp,
    files: Vec<Item>,
    directories: Vec<(Box<[u8]>, Draft)>,
    polled: bool,
}

/// A file in a listed directory.
enum Item {
    /// The entry is still right.
    Same(Arc<Entry>),
    /// The file is new or changed, or was read only once.
    Look(Found),
}

impl Item {
    fn stamp(&self) -> &Stamp {
        match self {
            Item::Same(entry) => entry.stamp(),
            Item::Look(found) => &found.stamp,
        }
    }
}

/// A directory and the directories above it. A link to one of these directories would make a loop.
struct Trail<'a> {
    identity: (u64, u64),
    depth: usize,
    above: Option<&'a Trail<'a>>,
}

impl Trail<'_> {
    fn contains(&self, stamp: &Stamp) -> bool {
        self.identity == stamp.identity() || self.above.is_some_and(|above| above.contains(stamp))
    }
}

/// A subdirectory found by a listing.
struct Below {
    name: Box<[u8]>,
    path: PathBuf,
    stamp: Stamp,
}

impl Walk<'_> {
    /// Lists a directory. When the directory did not change, looks only at its subdirectories. `before` is the same
    /// directory in the previous tree.
    fn look(
        &self,
        before: Option<&Arc<Directory>>,
        path: PathBuf,
        above: Option<&Trail<'_>>,
    ) -> Result<Draft, FilesError> {
        let failed = |error: io::Error| FilesError::Root(self.root.path.clone(), error);
        let depth = above.map_or(0, |above| above.depth + 1);
        if let Some(before) = before.filter(|before| {
            Arc::ptr_eq(&before.location.root, self.root)
                && before.path() == path
                && !self.changes.include(before)
        }) {
            return self.look_below(before, above);
        }
        let location = match before.map(|before| &before.location) {
            Some(location) if Arc::ptr_eq(&location.root, self.root) && location.path == path => {
                Arc::clone(location)
            }
            _ => Arc::new(Location { root: Arc::clone(self.root), path }),
        };
        let mut listing = match Listing::of(&location, before, above) {
            Ok(listing) => listing,
            Err(error) if above.is_none() || is_exhaustion(&error) => return Err(failed(error)),
            Err(_) => Listing::unreadable(),
        };
        if depth + 1 >= DEPTH_MAX {
            listing.directories.clear();
        }
        self.count(listing.files.len() + listing.directories.len())?;
        let stamp = listing.stamp;
        let trail = Trail { identity: stamp.map_or((0, 0), |stamp| stamp.identity()), depth, above };
        let look = |below: Below| {
            let old = before.and_then(|before| before.directories.get(&below.name));
            // A directory whose metadata changed is listed again.
            let old = old.filter(|old| old.stamp == below.stamp);
            let draft = self.look(old, below.path, Some(&trail))?;
            Ok((below.name, draft.with_stamp(below.stamp)))
        };
        let directories: Vec<_> =
            listing.directories.into_par_iter().map(look).collect::<Result<_, FilesError>>()?;
        let Listing { files, polled, .. } = listing;
        let stamp = stamp.unwrap_or_default();
        let before = before.cloned();
        Ok(Draft::Listed(Box::new(Listed { before, location, stamp, files, directories, polled })))
    }

    /// Takes over the files of a directory that did not change, and looks at its subdirectories.
    fn look_below(&self, before: &Arc<Directory>, above: Option<&Trail<'_>>) -> Result<Draft, FilesError> {
        self.count(before.files.len() + before.directories.len())?;
        let depth = above.map_or(0, |above| above.depth + 1);
        let trail = Trail { identity: before.stamp.identity(), depth, above };
        let mut directories = Vec::with_capacity(before.directories.len());
        for (name, below) in &before.directories {
            let draft = self.look(Some(below), below.path().to_owned(), Some(&trail))?;
            directories.push((&**name, draft));
        }
        if directories.iter().all(|(_, draft)| matches!(draft, Draft::Same(_))) {
            return Ok(Draft::Same(Arc::clone(before)));
        }
        Ok(Draft::Listed(Box::new(Listed::of(before, directories))))
    }

    fn count(&self, nodes: usize) -> Result<(), FilesError> {
        let before = self.nodes.fetch_add(nodes, Ordering::Relaxed);
        if before + nodes > self.limits.files {
            return Err(FilesError::TooMany(self.limits.files));
        }
        Ok(())
    }

    /// Makes the directory of a draft, and reads its resident files into memory.
    fn build(&self, draft: Draft, residents: &Residents, same_residents: bool) -> Arc<Directory> {
        let listed = match draft {
            Draft::Same(directory) if same_residents => return directory,
            Draft::Same(directory) => {
                let below = directory.directories.iter();
                let below = below.map(|(name, below)| (&**name, Draft::Same(Arc::clone(below)))).collect();
                Listed::of(&directory, below)
            }
            Draft::Listed(listed) => *listed,
        };
        let totals = listed.totals(self.limits);
        let Listed { before, location, stamp, files, directories, polled } = listed;
        let load = |item: Item| match item {
            Item::Same(entry) if entry.is_resident() == residents.include(entry.stamp()) => entry,
            Item::Same(entry) => Entry::load(entry.found(), residents.include(entry.stamp()), Some(&entry)),
            Item::Look(found) => {
                let old = before.as_ref().and_then(|before| before.entry(&found.name));
                let resident = residents.include(&found.stamp);
                Entry::load(found, resident, old)
            }
        };
        let entries: Vec<Arc<Entry>> = files.into_par_iter().with_min_len(16).map(load).collect();
        let below = |(name, draft)| (name, self.build(draft, residents, same_residents));
        let directories: Vec<_> = directories.into_par_iter().map(below).collect();
        if entries.iter().any(|entry| !entry.is_settled(entry.stamp())) {
            self.unsettled.lock().push(location.path.clone());
        }
        if let Some(before) = before
            && before.stamp == stamp
            && Arc::ptr_eq(&before.location, &location)
            && (before.files.len(), before.directories.len()) == (entries.len(), directories.len())
            && directories
                .iter()
                .all(|(name, new)| before.directories.get(name).is_some_and(|old| Arc::ptr_eq(old, new)))
            && entries.iter().all(|new| before.entry(new.name()).is_some_and(|old| Arc::ptr_eq(old, new)))
        {
            return before;
        }
        // Only the name of an entry is hashed, and the name never changes.
        #[allow(clippy::mutable_key_type)]
        let files = entries.into_iter().map(ByName).collect();
        let directories = directories.into_iter().collect();
        Arc::new(Directory { location, stamp, files, directories, polled, totals })
    }
}

impl Draft {
    /// Replaces the stamp by the stamp that the listing of the parent found. The next walk compares with this stamp.
    fn with_stamp(mut self, stamp: Stamp) -> Draft {
        if let Draft::Listed(listed) = &mut self {
            listed.stamp = stamp;
        }
        self
    }

    fn totals(&self, limits: &FilesLimits) -> Totals {
        match self {
            Draft::Same(directory) => directory.totals,
            Draft::Listed(listed) => listed.totals(limits),
        }
    }

    fn collect_stamps(&self, stamps: &mut Vec<Stamp>) {
        match self {
            Draft::Same(top) => {
                top.for_each(&mut |directory| {
                    stamps.extend(directory.files.iter().map(|file| *file.0.stamp()));
                });
            }
            Draft::Listed(listed) => {
                stamps.extend(listed.files.iter().map(Item::stamp));
                listed.directories.iter().for_each(|(_, draft)| draft.collect_stamps(stamps));
            }
        }
    }
}

impl Listed {
    /// Makes a draft of a directory whose own files did not change.
    fn of(before: &Arc<Directory>, directories: Vec<(&[u8], Draft)>) -> Listed {
        Listed {
            before: Some(Arc::clone(before)),
            location: Arc::clone(&before.location),
            stamp: before.stamp,
            files: before.files.iter().map(|file| Item::Same(Arc::clone(&file.0))).collect(),
            directories: directories.into_iter().map(|(name, draft)| (name.into(), draft)).collect(),
            polled: before.polled,
        }
    }

    fn totals(&self, limits: &FilesLimits) -> Totals {
        let sizes = self.files.iter().map(|item| item.stamp().size);
        let small_bytes = sizes.filter(|&size| size <= limits.small_file_bytes).sum();
        let mut totals = Totals { nodes: self.files.len() + self.directories.len(), small_bytes };
        self.directories.iter().for_each(|(_, draft)| totals.add(draft.totals(limits)));
        totals
    }
}

/// The content of one directory.
struct Listing {
    /// The stamp of the directory itself; None when the directory cannot be read.
    stamp: Option<Stamp>,
    files: Vec<Item>,
    directories: Vec<Below>,
    polled: bool,
}

impl Listing {
    fn unreadable() -> Listing {
        Listing { stamp: None, files: Vec::new(), directories: Vec::new(), polled: false }
    }

    /// Lists a directory. A file that cannot be examined is left out. The listing fails when the process has no
    /// descriptor or memory left.
    fn of(
        location: &Arc<Location>,
        before: Option<&Arc<Directory>>,
        above: Option<&Trail<'_>>,
    ) -> io::Result<Listing> {
        let opened = location.root.open_directory(&location.path)?;
        let stamp = Stamp::from(&rustix::fs::fstat(&opened)?);
        let mut listing = Listing { stamp: Some(stamp), ..Listing::unreadable() };
        for item in Dir::read_from(&opened)? {
            let item = item?;
            let name = item.file_name();
            if !is_servable(name.to_bytes()) {
                continue;
            }
            match statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from) {
                Ok(stat) if is_link(&stat) => {
                    listing.polled = true;
                    if let Some((path, stat)) = follow(location, name.to_bytes())? {
                        listing.add(location, before, name.to_bytes(), &stat, Some(path));
                    }
                }
                Ok(stat) => listing.add(location, before, name.to_bytes(), &stat, None),
                Err(error) if is_exhaustion(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let in_circle = |below: &Below| {
            below.stamp.is_same_file(&stamp) || above.is_some_and(|above| above.contains(&below.stamp))
        };
        listing.directories.retain(|below| !in_circle(below));
        Ok(listing)
    }

    /// Adds a file or a directory. `target` is the path of the target when `name` is a symbolic link.
    fn add(
        &mut self,
        location: &Arc<Location>,
        before: Option<&Arc<Directory>>,
        name: &[u8],
        stat: &Stat,
        target: Option<PathBuf>,
    ) {
        let stamp = Stamp::from(stat);
        if is_directory(stat) {
            let path = target.unwrap_or_else(|| location.path.join(OsStr::from_bytes(name)));
            self.directories.push(Below { name: name.into(), path, stamp });
        } else if is_file(stat) {
            self.polled |= stat.st_nlink > 1;
            let place = match target {
                None => Place::In(Arc::clone(location)),
                Some(path) => Place::At(Arc::new(Location { root: Arc::clone(&location.root), path })),
            };
            let old = before.and_then(|before| before.entry(name));
            self.files.push(match old {
                Some(old) if old.is_settled(&stamp) && old.is_at(&place) => Item::Same(Arc::clone(old)),
                _ => Item::Look(Found { name: name.into(), place, stamp }),
            });
        }
    }
}

/// Returns the path and the metadata of a symbolic link's target; None when the target is missing or outside the root.
fn follow(location: &Location, name: &[u8]) -> io::Result<Option<(PathBuf, Stat)>> {
    let Some(path) = location.root.resolve_link(&location.path.join(OsStr::from_bytes(name))) else {
        return Ok(None);
    };
    match location.root.stat(&path) {
        Ok(stat) => Ok(Some((path, stat))),
        Err(error) if is_exhaustion(&error) => Err(error),
        Err(_) => Ok(None),
    }
}
