//! Reads Rust sources for the layer test: code without comments, the paths in the code, the `use` statements.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns every source file below `directory`, except separate test files and folders.
pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the source before its tests, without comments and without the text of string literals.
pub fn code(source: &str) -> String {
    let before_tests = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut code = String::new();
    for line in before_tests.lines() {
        let mut inside = false;
        let mut previous = ' ';
        for (at, c) in line.char_indices() {
            if c == '"' && previous != '\\' && previous != '\'' {
                inside = !inside;
            } else if !inside {
                if line[at..].starts_with("//") {
                    break;
                }
                code.push(c);
            }
            previous = if previous == '\\' && c == '\\' { ' ' } else { c };
        }
        code.push('\n');
    }
    code
}

/// Returns every path in the code. Braces are expanded: `a::{b, c::D}` gives `a::b` and `a::c::D`.
pub fn names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut name = String::new();
    for c in code.chars() {
        match c {
            '{' if name.ends_with("::") => {
                let prefix = prefixes.last().cloned().unwrap_or_default() + &name;
                prefixes.push(prefix);
                name.clear();
            }
            c if c.is_alphanumeric() || c == '_' || c == ':' => name.push(c),
            c => {
                if !name.is_empty() {
                    let prefix = prefixes.last().map(String::as_str).unwrap_or_default();
                    names.push(format!("{prefix}{name}").trim_matches(':').to_owned());
                    name.clear();
                }
                if c == '}' {
                    prefixes.pop();
                }
            }
        }
    }
    names
}

/// True when the line contains `word` as a separate word.
pub fn contains_name(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && (word.ends_with('!') || !is_part(after))
    })
}

/// Splits the code into the re-exports (`pub use`) and the rest.
pub fn split_exports(code: &str) -> (Vec<String>, String) {
    let (mut exports, mut rest, mut open) = (Vec::new(), String::new(), None::<String>);
    for line in code.lines() {
        let start = line.trim_start();
        let is_export = start.starts_with("pub") && start.split_whitespace().nth(1) == Some("use");
        let statement = match open.take() {
            Some(statement) => statement + " " + start,
            None if is_export => start.to_owned(),
            None => {
                rest.push_str(line);
                rest.push('\n');
                continue;
            }
        };
        match statement.contains(';') {
            true => exports.push(statement),
            false => open = Some(statement),
        }
    }
    (exports, rest)
}
