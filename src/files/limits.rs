//! The limits of a file server, and the reasons why a directory cannot be served.
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The limits of a file server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesLimits {
    /// Maximum size in bytes of a file that is kept in memory. Larger files are sent from the disk. Default: 1 MiB.
    pub small_file_bytes: u64,
    /// Maximum bytes of content in memory. The smallest files come first. Default: 64 MiB.
    pub memory_bytes: u64,
    /// Maximum number of files and directories. A root with more is not served. Default: 200,000. A file costs about
    /// 300 bytes of memory plus its content (measured with 100,000 files).
    pub files: usize,
    /// Maximum bytes in flight from memory, if each open client connection downloads the requested file. Above this
    /// limit a file of 64 to 256 KiB is sent from the page cache, even when the file is in memory. Default: 32 MiB,
    /// because more does not fit the last-level cache of a CPU.
    pub copies_bytes: u64,
}

impl Default for FilesLimits {
    fn default() -> Self {
        FilesLimits {
            small_file_bytes: 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            files: 200_000,
            copies_bytes: 32 * 1024 * 1024,
        }
    }
}

/// The reason why a directory cannot be served.
#[derive(Debug)]
pub enum FilesError {
    /// The directory cannot be read.
    Root(PathBuf, io::Error),
    /// The directory holds more files and directories than this limit.
    TooMany(usize),
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilesError::Root(root, error) => write!(f, "{} cannot be served: {error}", root.display()),
            FilesError::TooMany(limit) => write!(f, "the root holds more than {limit} files and directories"),
        }
    }
}

impl std::error::Error for FilesError {}
