//! Reads the sources and keeps the house in order: which layer uses which, what each may name, how long a file is.
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file before its tests, empty ones and comments not counted.
const CODE_LINES_MAX: usize = 400;

/// The modules of the library, from the ground up. A module uses those of layers below its own, and itself.
const LAYERS: [(&str, u8); 9] = [
    ("http", 1),
    ("cluster", 2),
    ("app", 3),
    ("exchange", 4),
    ("router", 5),
    ("files", 5),
    ("stats", 5),
    ("engine", 6),
    ("config", 7),
];

/// What only the engine and the programs over it may name: sockets, clocks, threads and the crates for them.
const ENGINE_ONLY: [&str; 22] = [
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::thread",
    "std::sync::mpsc",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::fs",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "async_io",
    "crossbeam_channel",
    "mio",
    "parking_lot",
    "rayon",
    "smol",
    "socket2",
    "signal_hook",
];

/// Exceptions, each as (start of the path, name): the file server reads a directory in parallel and may swap what
/// it has read, a body in a file is passed on as an open file, and the members of a cluster may be replaced.
const ALLOWED: [(&str, &str); 7] = [
    ("cluster/mod.rs", "parking_lot"),
    ("cluster/queue.rs", "parking_lot"),
    ("files", "std::fs"),
    ("files", "rayon"),
    ("files", "parking_lot"),
    ("http/answer.rs", "std::fs"),
    ("exchange/", "std::fs"),
];

/// Words that are not left behind anywhere, spelled so that this file does not contain them.
const LEFT_BEHIND: [&str; 6] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), "todo!", "unimplemented!", "dbg!"];

#[test]
fn every_source_file_keeps_to_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&root);
    assert!(files.len() > 15, "only {} files found under {}", files.len(), root.display());
    let faults: Vec<_> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
            faults(path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every source file below `directory`, except tests that have a file of their own.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What is wrong with the file at `path` (within src), one line each.
fn faults(path: &str, source: &str) -> Vec<String> {
    let code = code(source);
    let mut faults = Vec::new();
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    if lines > CODE_LINES_MAX {
        faults.push(format!("{path}: {lines} lines of code, at most {CODE_LINES_MAX} are read with ease"));
    }
    for word in LEFT_BEHIND {
        if source.lines().any(|line| contains_name(line, word)) {
            faults.push(format!("{path}: {word} is left behind"));
        }
    }
    if is_named(&code, "unsafe") {
        faults.push(format!("{path}: unsafe is forbidden"));
    }
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some(layer) = layer(module) else {
        if !["lib", "main", "demo", "logger", "experiments"].contains(&module) {
            faults.push(format!("{path}: the module {module} has no layer"));
        }
        return faults;
    };
    for name in names(&code) {
        let used = name.strip_prefix("crate::").map(|rest| rest.split("::").next().unwrap_or_default());
        let Some(used) = used else { continue };
        let below = self::layer(used).is_some_and(|used| used < layer);
        if used != module && !below {
            faults.push(format!("{path}: {name} is not below the layer of {module}"));
        }
    }
    if layer < self::layer("engine").unwrap() {
        for forbidden in ENGINE_ONLY {
            let allowed = ALLOWED.iter().any(|(at, name)| path.starts_with(at) && *name == forbidden);
            if !allowed && is_named(&code, forbidden) {
                faults.push(format!("{path}: {forbidden} belongs to the engine"));
            }
        }
    }
    faults
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The source before its tests, without comments and without what string literals say.
fn code(source: &str) -> String {
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

/// Whether the code names it: a path in full or through `use`, or, for a method call, as it stands.
fn is_named(code: &str, forbidden: &str) -> bool {
    if forbidden.starts_with('.') {
        return code.contains(forbidden);
    }
    names(code).iter().any(|name| {
        let rest = match name.strip_prefix(forbidden) {
            Some(rest) => rest,
            // `Instant::now` is found behind any path.
            None => match name.split_once(&format!("::{forbidden}")) {
                Some((_, rest)) if forbidden.contains("::now") => rest,
                _ => return false,
            },
        };
        rest.is_empty() || rest.starts_with("::")
    })
}

/// Every path in the code, those of `use` with their braces opened: `a::{b, c::D}` is `a::b` and `a::c::D`.
fn names(code: &str) -> Vec<String> {
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

/// The line contains it as a word of its own.
fn contains_name(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && (word.ends_with('!') || !is_part(after))
    })
}

#[test]
fn the_checker_finds_what_it_is_to_find() {
    let long = "fn f() {}\n".repeat(CODE_LINES_MAX + 1);
    // path, source, part of the only fault
    let cases = [
        ("http/head.rs", "use crate::cluster::Lease;", "crate::cluster::Lease is not below"),
        ("http/head.rs", "fn f() { crate::exchange::step() }", "crate::exchange::step is not below"),
        ("cluster/mod.rs", "use crate::{http::head, engine::thread};", "crate::engine::thread is not below"),
        ("app.rs", "use crate::router::Router;", "is not below"),
        ("files/tree.rs", "use crate::router::Router;", "is not below"),
        ("exchange/mod.rs", "use std::net::{IpAddr, TcpStream};", "std::net::TcpStream belongs"),
        ("exchange/mod.rs", "use std::{net::{TcpListener}, io};", "std::net::TcpListener belongs"),
        ("exchange/mod.rs", "fn f() { let now = Instant::now(); }", "Instant::now belongs"),
        ("exchange/mod.rs", "fn f() { let now = std::time::Instant::now(); }", "Instant::now belongs"),
        ("cluster/health.rs", "fn f() { since.elapsed(); }", ".elapsed() belongs"),
        ("cluster/health.rs", "use parking_lot::Mutex;", "parking_lot belongs"),
        ("router/mod.rs", "use std::sync::{Arc, Mutex};", "std::sync::Mutex belongs"),
        ("router/mod.rs", "use rayon::prelude::*;", "rayon belongs"),
        ("files.rs", "use std::thread;", "std::thread belongs"),
        ("http/mod.rs", &long, "401 lines of code"),
        ("engine/mod.rs", concat!("// TO", "DO: later"), "is left behind"),
        ("engine/mod.rs", "fn f() { todo!() }", "todo! is left behind"),
        ("engine/mod.rs", "fn f() { unsafe { g() } }", "unsafe is forbidden"),
        ("util.rs", "", "the module util has no layer"),
    ];
    for (path, source, expected) in cases {
        let found = faults(path, source);
        assert!(found.len() == 1 && found[0].contains(expected), "{path}: {source}: {found:?}");
    }
}

#[test]
fn the_checker_finds_nothing_where_nothing_is() {
    let tests = "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { Instant::now(); std::thread::spawn(h); } }\n";
    let cases = [
        ("cluster/mod.rs", "use crate::http::head::RequestHead;\nuse std::net::{IpAddr, SocketAddr};"),
        ("cluster/mod.rs", "use std::sync::{Arc, atomic::AtomicU64};\nuse std::time::{Duration, Instant};"),
        ("cluster/mod.rs", "//! smol and mio are named here.\nfn f() {} // rayon\n"),
        (
            "cluster/mod.rs",
            "const A: &str = \"std::thread, \\\" // rayon\"; fn f(c: char) -> bool { c == '\"' }",
        ),
        ("cluster/mod.rs", "fn f(x: mio_like::T, smolder: u8, now: Instant) {}"),
        ("cluster/mod.rs", tests),
        ("files.rs", "use std::fs::File;\nuse rayon::prelude::*;\nuse parking_lot::RwLock;"),
        ("engine/thread/mod.rs", "use crossbeam_channel::bounded;\nuse crate::router::Router;"),
        ("lib.rs", "#![forbid(unsafe_code)]"),
    ];
    for (path, source) in cases {
        assert_eq!(faults(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}
