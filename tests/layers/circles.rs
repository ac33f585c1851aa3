//! Finds the imports of each file, and the circles of imports.
//!
//! A path is followed through re-exports (`pub use`) to the file that defines the item. A re-export counts as an import
//! only if the file uses the name itself.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{code, contains_name, names, split_exports};

/// The files of one crate: the path within the source folder, and the code.
pub struct Sources(BTreeMap<String, Source>);

struct Source {
    exports: Vec<String>,
    rest: String,
}

impl Sources {
    /// Takes the files as pairs of path and source text.
    pub fn new<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let files = files.into_iter().map(|(path, text)| {
            let (exports, rest) = split_exports(&code(text));
            (path.to_owned(), Source { exports, rest })
        });
        Sources(files.collect())
    }

    /// Returns the files that each file imports.
    pub fn imports(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let imports_of = |(path, source): (&'_ String, &Source)| {
            let used = names(&source.rest).into_iter();
            let exported = source.exports.iter().flat_map(|statement| names(statement)).filter(|name| {
                let item = name.rsplit("::").next().unwrap_or_default();
                source.rest.lines().any(|line| contains_name(line, item))
            });
            let files: BTreeSet<_> =
                used.chain(exported).filter_map(|name| self.file_of(path, &name)).collect();
            files.into_iter().filter(|file| file != path).collect::<BTreeSet<String>>()
        };
        self.0.iter().map(|entry| (entry.0.as_str(), imports_of(entry))).collect()
    }

    /// Returns the file that defines `name` as used in the file at `path`. None for a name from another crate.
    fn file_of(&self, path: &str, name: &str) -> Option<String> {
        // `pub(super)` and `pub(crate)` are not paths.
        if !name.contains("::") {
            return None;
        }
        let mut segments: Vec<_> = name.split("::").filter(|segment| *segment != "self").collect();
        let mut module = module_of(path);
        match segments.first()? {
            &"crate" | &"neraca" => {
                segments.remove(0);
                module = Vec::new();
            }
            &"super" => {
                while segments.first() == Some(&"super") {
                    segments.remove(0);
                    module.pop();
                }
            }
            child if self.file_at(&with(&module, child), path).is_some() => {}
            _ => return None,
        }
        while let Some(child) = segments.first()
            && self.file_at(&with(&module, child), path).is_some()
        {
            module.push((*child).to_owned());
            segments.remove(0);
        }
        let file = self.file_at(&module, path)?;
        let exported = segments.first().and_then(|item| self.exported_from(&file, item));
        Some(exported.unwrap_or(file))
    }

    /// Returns the file from which `file` re-exports `item`.
    fn exported_from(&self, file: &str, item: &str) -> Option<String> {
        let exports = self.0[file].exports.iter().flat_map(|statement| names(statement));
        let mut matching =
            exports.filter(|name| name.rsplit("::").next() == Some(item) && name.contains("::"));
        matching.find_map(|name| self.file_of(file, &name)).filter(|found| found != file)
    }

    /// Returns the file of a module. The crate's root for the file at `from` is `main.rs` if it exists and `lib.rs`
    /// does not contain the file.
    fn file_at(&self, module: &[String], from: &str) -> Option<String> {
        let path = module.join("/");
        let candidates = match module {
            [] if IN_MAIN.iter().any(|start| from.starts_with(start)) => vec!["main.rs".to_owned()],
            [] => vec!["lib.rs".to_owned(), "main.rs".to_owned()],
            _ => vec![format!("{path}.rs"), format!("{path}/mod.rs")],
        };
        candidates.into_iter().find(|path| self.0.contains_key(path))
    }
}

/// The files of the program: their `crate` is `main.rs`, not `lib.rs`.
const IN_MAIN: [&str; 4] = ["main.rs", "demo", "experiments", "logger"];

/// Returns the module of a file: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" | "mod" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

fn with(module: &[String], child: &str) -> Vec<String> {
    [module, &[child.to_owned()]].concat()
}

/// Returns every circle of imports as one line: `a.rs -> b.rs -> a.rs`.
pub fn circles(imports: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for &start in imports.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(imports, start) {
            seen.extend(circle.iter().cloned());
            circles.push(circle.join(" -> "));
        }
    }
    circles
}

/// Returns a shortest path of imports from `start` back to `start`.
fn way_back(imports: &BTreeMap<&str, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut reached = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last().expect("a way has a start");
            for next in imports.get(last.as_str()).into_iter().flatten() {
                let way = [way.as_slice(), std::slice::from_ref(next)].concat();
                if next == start {
                    return Some(way);
                }
                if reached.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}
