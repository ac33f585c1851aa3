//! Three file servers in this process. With them one command shows a working balancer.
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use neraca::engine::{self, EngineHandle, Handshakes, Options};
use neraca::files::{Files, FilesLimits};

const BACKENDS: usize = 3;

/// The pages are part of the program, so the demo works in any directory.
const PAGES: [(&str, &[u8]); 4] = [
    ("index.html", include_bytes!("../experiments/site/index.html")),
    ("about.html", include_bytes!("../experiments/site/about.html")),
    ("style.css", include_bytes!("../experiments/site/style.css")),
    ("picture.svg", include_bytes!("../experiments/site/picture.svg")),
];

/// Generated files with their sizes in bytes. Measurements use these sizes.
const GENERATED: [(&str, usize); 3] = [("10k.bin", 10 << 10), ("75k.bin", 75 << 10), ("1m.bin", 1 << 20)];

/// The running backends and the directory that they serve.
pub(crate) struct Demo {
    running: Vec<EngineHandle>,
    _site: Site,
}

impl Demo {
    /// Starts the backends with one worker each, on free ports.
    pub(crate) fn start(options: &Options) -> io::Result<Demo> {
        let site = Site::create(&std::env::temp_dir())?;
        let files = Files::open(&site.0, FilesLimits::default()).map_err(io::Error::other)?;
        let files = Arc::new(files);
        // Their clients have no TLS, so a pool of handshakes would do nothing.
        let options = Options { workers: 1, handshakes: Handshakes::Inline, ..options.clone() };
        let start = |_| {
            let listeners = engine::listen(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])?;
            engine::start(Arc::clone(&files), listeners, options.clone())
        };
        let running = (0..BACKENDS).map(start).collect::<io::Result<_>>()?;
        Ok(Demo { running, _site: site })
    }

    /// The addresses of the backends.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.running.iter().flat_map(EngineHandle::addresses).collect()
    }
}

/// A temporary directory with the site, removed on drop.
struct Site(PathBuf);

impl Site {
    /// Creates a new directory in `place`, readable by this user only.
    fn create(place: &Path) -> io::Result<Site> {
        let paths = (0..).map(|n| place.join(format!("neraca-demo-{}-{n}", std::process::id())));
        for path in paths {
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let site = Site(path);
                    site.fill()?;
                    return Ok(site);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the numbers never end")
    }

    fn fill(&self) -> io::Result<()> {
        for (name, content) in PAGES {
            fs::write(self.0.join(name), content)?;
        }
        for (name, bytes) in GENERATED {
            fs::write(self.0.join(name), numbered_lines(bytes))?;
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Numbered lines of 16 bytes, so that a misplaced part of a file is visible. `make site` writes the same files.
fn numbered_lines(bytes: usize) -> String {
    let mut lines = String::with_capacity(bytes);
    for n in 1..=bytes / 16 {
        let _ = writeln!(lines, "{n:015}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_has_128_bytes() {
        assert_eq!(PAGES[0].1.len(), 128);
    }

    #[test]
    fn the_site_is_made_and_removed() {
        let place = std::env::temp_dir();
        let (first, second) = (Site::create(&place).unwrap(), Site::create(&place).unwrap());
        assert_ne!(first.0, second.0);
        for (name, bytes) in GENERATED {
            let content = fs::read(first.0.join(name)).unwrap();
            assert_eq!(content.len(), bytes, "{name}");
            assert_eq!(&content[16..32], b"000000000000002\n", "{name}");
        }
        let paths = [first.0.clone(), second.0.clone()];
        drop((first, second));
        assert!(paths.iter().all(|path| !path.exists()));
    }
}
