//! The older build: a program, or a commit that is built once and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::files::said;

/// Where commits are built. Each commit has a worktree of its own, and cargo builds a commit only once.
const DIRECTORY: &str = "target/compare";

/// The older build.
#[derive(Debug)]
pub(super) struct Base {
    /// The name in the report.
    pub(super) name: String,
    pub(super) neraca: PathBuf,
    /// The program of its benches/exchange.rs, or the reason why there is none.
    pub(super) exchange: Result<PathBuf, String>,
}

/// Finds the older build. A commit is built on its first use; with benches/exchange.rs when `exchange` is true.
///
/// # Errors
/// When `base` is neither a program nor a commit, and when a commit does not build.
pub(super) fn find(base: &str, exchange: bool) -> Result<Base, String> {
    let absolute = |path: &Path| fs::canonicalize(path).map_err(said(path));
    if Path::new(base).is_file() {
        let exchange = Err("a program as the base has no benches/exchange.rs; give a commit".into());
        return Ok(Base { name: base.into(), neraca: absolute(Path::new(base))?, exchange });
    }
    let id = git(&["rev-parse", "--verify", "--quiet", &format!("{base}^{{commit}}")])
        .map_err(|_| format!("{base:?} is neither a program nor a commit of this repository"))?;
    let (name, source) = (format!("commit {}", &id[..12]), Path::new(DIRECTORY).join(&id));
    if !source.join(".git").exists() {
        git(&["worktree", "add", "--force", "--detach", &source.display().to_string(), &id])?;
    }
    eprintln!("building {name} in {}", source.display());
    cargo(&source, &["build", "--release", "--quiet"])?;
    let exchange = match exchange {
        true => bench(&source).map_err(|_| format!("{name} has no benches/exchange.rs that builds")),
        false => Err("no instructions are counted".into()),
    };
    Ok(Base { name, neraca: absolute(&source.join("target/release/neraca"))?, exchange })
}

/// Builds benches/exchange.rs of a source tree, and returns its program.
pub(super) fn bench(source: &Path) -> Result<PathBuf, String> {
    let arguments = ["bench", "--bench", "exchange", "--no-run", "--quiet", "--message-format=json"];
    executable(&cargo(source, &arguments)?)
        .ok_or_else(|| "cargo reported no program of benches/exchange.rs".into())
}

/// Runs cargo in a source tree, with the tree's own build directory. Returns cargo's stdout.
fn cargo(source: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("cargo");
    run(command.args(arguments).args(["--target-dir", "target"]).current_dir(source).stderr(Stdio::inherit()))
}

fn git(arguments: &[&str]) -> Result<String, String> {
    run(Command::new("git").args(arguments))
}

/// Runs a command. Returns its stdout.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Finds the program of benches/exchange.rs in cargo's JSON messages, one per line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut benches = messages.filter(|message| message["target"]["name"] == "exchange");
    benches.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_the_bench_is_found_in_the_messages_of_cargo() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"neraca"},"executable":"/t/neraca"}
{"reason":"compiler-artifact","target":{"name":"exchange"},"executable":null}
not JSON
{"reason":"compiler-artifact","target":{"name":"exchange"},"executable":"/t/exchange-1"}"#;
        assert_eq!(executable(messages), Some("/t/exchange-1".into()));
        assert_eq!(executable(""), None);
    }

    #[test]
    fn a_base_is_a_program_or_a_commit() {
        let program = std::env::current_exe().unwrap();
        let base = find(program.to_str().unwrap(), true).unwrap();
        assert_eq!(base.neraca, fs::canonicalize(&program).unwrap());
        assert!(base.exchange.unwrap_err().contains("give a commit"));
        let error = find("no-such-commit", false).unwrap_err();
        assert!(error.contains("neither a program nor a commit"), "{error}");
    }
}
