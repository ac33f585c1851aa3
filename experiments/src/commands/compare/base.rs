//! The older build: a program, or a commit that is built once and kept.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::child::printed;
use crate::run::files::said;

/// Where commits are built. Each commit has a worktree of its own, and cargo builds a commit only once.
const DIRECTORY: &str = "target/compare/commits";

/// The older build.
#[derive(Debug)]
pub(super) struct Base {
    /// The name in the report.
    pub(super) name: String,
    pub(super) neraca: PathBuf,
    /// The source tree of a commit.
    pub(super) source: Option<PathBuf>,
}

/// Finds the older build. A commit is built on its first use.
///
/// # Errors
/// When `base` is neither a program nor a commit, and when a commit does not build.
pub(super) fn find(base: &str) -> Result<Base, String> {
    let absolute = |path: &Path| fs::canonicalize(path).map_err(said(path));
    if Path::new(base).is_file() {
        return Ok(Base { name: base.into(), neraca: absolute(Path::new(base))?, source: None });
    }
    let commit = format!("{base}^{{commit}}");
    let id = printed(Path::new("."), &["git", "rev-parse", "--verify", "--quiet", &commit])
        .map_err(|_| format!("{base:?} is neither a program nor a commit of this repository"))?;
    let (name, source) = (format!("commit {}", &id[..12]), Path::new(DIRECTORY).join(&id));
    if !source.join(".git").exists() {
        let path = source.display().to_string();
        printed(Path::new("."), &["git", "worktree", "add", "--force", "--detach", &path, &id])?;
    }
    eprintln!("building {name} in {}", source.display());
    printed(&source, &["cargo", "build", "--release", "--quiet", "--target-dir", "target"])?;
    Ok(Base { name, neraca: absolute(&source.join("target/release/neraca"))?, source: Some(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_program_or_a_commit() {
        let program = std::env::current_exe().unwrap();
        let base = find(program.to_str().unwrap()).unwrap();
        assert_eq!((base.neraca, base.source), (fs::canonicalize(&program).unwrap(), None));
        let error = find("no-such-commit").unwrap_err();
        assert!(error.contains("neither a program nor a commit"), "{error}");
    }
}
