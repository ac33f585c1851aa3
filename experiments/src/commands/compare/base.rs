//! The older build: a program, or a commit that is built once and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::files::said;

/// Where the builds of commits are kept. Each commit has a directory of its own; all share the build directory.
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
    if Path::new(base).is_file() {
        let neraca = absolute(Path::new(base))?;
        let exchange = Err("a program as the base has no benches/exchange.rs; give a commit".into());
        return Ok(Base { name: base.into(), neraca, exchange });
    }
    let id = git(&["rev-parse", "--verify", "--quiet", &format!("{base}^{{commit}}")])
        .map_err(|_| format!("{base:?} is neither a program nor a commit of this repository"))?;
    let (short, kept) = (&id[..12], Path::new(DIRECTORY).join(&id));
    let [neraca, bench] = ["neraca", "exchange"].map(|name| kept.join(name));
    if !neraca.exists() || (exchange && !bench.exists() && !kept.join(NO_BENCH).exists()) {
        build(&id, &kept, exchange)?;
    }
    let exchange = if bench.exists() {
        absolute(&bench)
    } else {
        Err(format!("commit {short} has no benches/exchange.rs that builds"))
    };
    Ok(Base { name: format!("commit {short}"), neraca: absolute(&neraca)?, exchange })
}

/// Marks a commit whose benches/exchange.rs is missing or does not build.
const NO_BENCH: &str = "no-exchange";

fn absolute(path: &Path) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(said(path))
}

/// Builds a commit in a git worktree. The worktree stays, because benches/exchange.rs serves files from its source tree.
fn build(id: &str, kept: &Path, exchange: bool) -> Result<(), String> {
    eprintln!("building commit {} into {}; this is done once", &id[..12], kept.display());
    let source = kept.join("source");
    fs::create_dir_all(kept).map_err(said(kept))?;
    let path = source.display().to_string();
    let _ = git(&["worktree", "remove", "--force", &path]);
    git(&["worktree", "add", "--force", "--detach", &path, id])?;
    let build = absolute(Path::new(DIRECTORY))?.join("build");
    cargo(&source, Some(&build), &["build", "--release", "--quiet"])?;
    keep(&build.join("release/neraca"), &kept.join("neraca"))?;
    if exchange {
        match bench(&source, Some(&build)).ok() {
            Some(program) => keep(&program, &kept.join("exchange"))?,
            None => drop(fs::write(kept.join(NO_BENCH), "")),
        }
    }
    Ok(())
}

/// Builds benches/exchange.rs of the working tree.
pub(super) fn working_tree() -> Result<PathBuf, String> {
    bench(Path::new("."), None)
}

fn bench(source: &Path, build: Option<&Path>) -> Result<PathBuf, String> {
    let arguments = ["bench", "--bench", "exchange", "--no-run", "--quiet", "--message-format=json"];
    let messages = cargo(source, build, &arguments)?;
    executable(&messages).ok_or_else(|| "cargo reported no program of benches/exchange.rs".into())
}

fn keep(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(said(from))
}

/// Runs cargo in `source`, with the build directory `build` if it is given. Returns cargo's stdout.
fn cargo(source: &Path, build: Option<&Path>, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(source).stderr(Stdio::inherit());
    run(command.envs(build.map(|build| ("CARGO_TARGET_DIR", build))))
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
