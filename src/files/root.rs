//! The root directory. Every file and directory is opened relative to the descriptor of the root, and no look-up leaves
//! the root.
//!
//! One rule holds for the walk and for every open: a path has no `..`, and no component of the path is a symbolic link.
//! The kernel enforces the rule while it resolves the path (`openat2`, Linux 5.6). So replacing a directory by a link
//! at any moment causes an error, and never opens a file outside. The walk follows each link whose target is inside the
//! root, and keeps the path of the target.
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, fstat, open, openat, openat2, stat};
use rustix::io::Errno;

use super::stamp::Stamp;

/// The opened root directory.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    /// The path of the root without symbolic links. Used only to resolve links and to set watches.
    pub path: PathBuf,
    lookup: Lookup,
}

/// How a path below the root is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// With one `openat2`.
    Kernel,
    /// With one `openat` per component. Used where the kernel has no `openat2` or a sandbox forbids it.
    Components,
}

impl Root {
    /// Opens the root. Symbolic links in the path of the root itself are followed.
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let directory = open(path, DIRECTORY, Mode::empty())?;
        let path = path.canonicalize()?;
        let lookup = match openat2(&directory, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), CONFINED) {
            Err(Errno::NOSYS | Errno::PERM) => Lookup::Components,
            _ => Lookup::Kernel,
        };
        Ok(Root { directory, path, lookup })
    }

    /// Returns the stamp of the directory at `path` when this directory is the open root, else None.
    pub(super) fn stamp_at(&self, path: &Path) -> io::Result<Option<Stamp>> {
        let there = Stamp::from(&stat(path)?);
        let is_root = there.is_same_file(&Stamp::from(&fstat(&self.directory)?));
        Ok((is_root && path.canonicalize()? == self.path).then_some(there))
    }

    /// Opens a file for reading. Does not block when the path is a pipe.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<File> {
        self.look_up(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC).map(File::from)
    }

    /// Opens a directory for listing.
    pub(super) fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.look_up(path, DIRECTORY)
    }

    /// Returns the metadata of the file or directory at a path.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(fstat(self.look_up(path, OFlags::PATH | OFlags::CLOEXEC)?)?)
    }

    /// Returns the path of a symbolic link's target, relative to the root. None when the target is missing or outside
    /// the root. The path may be outdated when it is used, so every open applies the rule again.
    pub(super) fn resolve_link(&self, path: &Path) -> Option<PathBuf> {
        let target = self.path.join(path).canonicalize().ok()?;
        target.strip_prefix(&self.path).ok().map(Path::to_owned)
    }

    fn look_up(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(match self.lookup {
            Lookup::Kernel => openat2(&self.directory, path, flags, Mode::empty(), CONFINED)?,
            Lookup::Components => open_by_component(self.directory.as_fd(), path, flags | OFlags::NOFOLLOW)?,
        })
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The rule of this module for `openat2`.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Applies the same rule without `openat2`: opens each directory of the path relative to its parent.
fn open_by_component(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut components = path.components().filter(|component| *component != Component::CurDir).peekable();
    let mut directory = openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
        if components.peek().is_none() {
            let opened = openat(&directory, name, flags, Mode::empty())?;
            // With O_PATH and O_NOFOLLOW, openat opens the link itself.
            let is_link = flags.contains(OFlags::PATH) && super::stamp::is_link(&fstat(&opened)?);
            return if is_link { Err(Errno::LOOP.into()) } else { Ok(opened) };
        }
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        directory = openat(&directory, name, way, Mode::empty())?;
    }
    Ok(openat(&directory, ".", flags, Mode::empty())?)
}

/// True when an open failed because the process or the system has no descriptor or memory left.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// A path below a root. The files of one directory share its location.
#[derive(Debug)]
pub(super) struct Location {
    pub root: Arc<Root>,
    /// Relative to the root, without symbolic links; empty for the root.
    pub path: PathBuf,
}

impl Location {
    /// True when both locations are the same path below the same open root.
    pub(super) fn is(&self, other: &Location) -> bool {
        Arc::ptr_eq(&self.root, &other.root) && self.path == other.path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::tests::Site;

    fn roots(site: &Site) -> [Root; 2] {
        let root = || Root::open(&site.root).unwrap();
        [Root { lookup: Lookup::Kernel, ..root() }, Root { lookup: Lookup::Components, ..root() }]
    }

    #[test]
    fn nothing_outside_is_opened_by_either_lookup() {
        let site = Site::with(&[("a", "a"), ("dir/b", "b")]);
        site.link("dir-link", "dir");
        site.link("file-link", "a");
        site.link("out", "..");
        site.link("out-file", "../secret");
        let secret = site.dir.join("secret");
        for root in roots(&site) {
            for (path, content) in [("a", "a"), ("dir/b", "b"), ("./dir/./b", "b")] {
                let mut text = String::new();
                root.open_file(Path::new(path)).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, content, "{path}");
                assert_eq!(root.stat(Path::new(path)).unwrap().st_size, 1, "{path}");
            }
            let refused =
                ["../secret", "dir/../../secret", "out/secret", "out-file", "file-link", "dir-link/b"];
            for path in refused.map(Path::new).into_iter().chain([secret.as_path()]) {
                assert!(root.open_file(path).is_err(), "{path:?} {root:?}");
                assert!(root.stat(path).is_err(), "{path:?} {root:?}");
            }
            for path in ["out", "dir-link", "..", "a"] {
                assert!(root.open_directory(Path::new(path)).is_err(), "{path} {root:?}");
            }
            for path in ["", "dir"] {
                assert!(root.open_directory(Path::new(path)).is_ok(), "{path} {root:?}");
            }
        }
    }

    #[test]
    fn a_directory_that_became_a_link_is_not_opened() {
        let site = Site::with(&[("dir/a", "a")]);
        fs::create_dir(site.dir.join("outside")).unwrap();
        fs::write(site.dir.join("outside/a"), "secret").unwrap();
        let roots = roots(&site);
        fs::rename(site.root.join("dir"), site.root.join("moved")).unwrap();
        symlink("../outside", site.root.join("dir")).unwrap();
        for root in roots {
            assert!(root.open_file(Path::new("dir/a")).is_err());
            assert!(root.open_directory(Path::new("dir")).is_err());
            assert!(root.open_file(Path::new("moved/a")).is_ok());
        }
    }

    #[test]
    fn links_resolve_to_paths_below_the_root() {
        let site = Site::with(&[("dir/a", "a")]);
        site.link("inside", "dir/a");
        site.link("absolute", site.root.canonicalize().unwrap().join("dir"));
        site.link("outside", "../secret");
        site.link("missing", "nothing");
        let [root, _] = roots(&site);
        let cases =
            [("inside", Some("dir/a")), ("absolute", Some("dir")), ("outside", None), ("missing", None)];
        for (link, target) in cases {
            assert_eq!(root.resolve_link(Path::new(link)).as_deref(), target.map(Path::new), "{link}");
        }
    }
}
