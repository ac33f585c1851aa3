//! The state of a file or directory, taken from its metadata.
use rustix::fs::{FileType, Stat};

/// Identity, size and times of a file. Two writes in one clock tick with equal size look identical.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    pub inode: u64,
    /// Bytes of content.
    pub size: u64,
    /// Time of the last write, in seconds since 1970.
    pub modified_seconds: i64,
    /// Time of the last change of any kind, in seconds since 1970. Programs cannot set this time.
    changed_seconds: i64,
    pub modified_nanoseconds: u32,
    changed_nanoseconds: u32,
}

impl From<&Stat> for Stamp {
    // The types of the fields differ between architectures.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    fn from(stat: &Stat) -> Self {
        Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified_seconds: stat.st_mtime as i64,
            changed_seconds: stat.st_ctime as i64,
            modified_nanoseconds: stat.st_mtime_nsec as u32,
            changed_nanoseconds: stat.st_ctime_nsec as u32,
        }
    }
}

impl Stamp {
    /// Returns device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// True when both stamps are of the same file.
    pub(super) fn is_same_file(&self, other: &Stamp) -> bool {
        self.identity() == other.identity()
    }

    /// True when both stamps give the same entity tag: size, inode and time of the last write are equal.
    pub(super) fn has_same_tag(&self, other: &Stamp) -> bool {
        let tag = |s: &Stamp| (s.inode, s.size, s.modified_seconds, s.modified_nanoseconds);
        tag(self) == tag(other)
    }
}

/// True for a symbolic link.
pub(super) fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

/// True for an ordinary file.
pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// True for a directory.
pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
