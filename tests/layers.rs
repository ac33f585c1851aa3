//! Checks the structure of the sources. Each layer uses only the layers below it. No files import each other in a
//! circle. Sockets, clocks and threads are named only in the engine and above it. No file is too long.

#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use circles::{Sources, circles};
use source::{code, contains_name, names, rust_files};

/// Maximum number of lines of code in a file before its tests. Empty lines and comments do not count.
const CODE_LINES_MAX: usize = 400;

/// The layers from the ground up, with the modules of each. A module uses itself and the layers below its own.
/// ARCHITECTURE.md and lib.rs have this table too.
const LAYERS: [(u8, &[&str]); 7] = [
    (1, &["http"]),
    (2, &["cluster", "observe"]),
    (3, &["exchange", "app"]),
    (4, &["admin", "router", "files"]),
    (5, &["engine"]),
    (6, &["config", "simulate", "tls"]),
    (
        7,
        &[
            "main",
            "access_log",
            "admin_listener",
            "demo",
            "logger",
            "experiments",
            "faults",
            "process",
            "status",
        ],
    ),
];

/// Modules of one layer that use each other, as (user, used). In layer 7 every module may use every other module.
const WITHIN_A_LAYER: [(&str, &str); 5] = [
    ("exchange", "app"),
    ("admin", "router"),
    ("router", "files"),
    ("config", "simulate"),
    ("config", "tls"),
];

/// The layer of the engine. The layers below it are pure: no sockets, clocks and threads.
const ENGINE: u8 = 5;

/// The names that only the engine and the layers above it may use: sockets, clocks, threads and the crates for them.
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

/// Exceptions, each as (start of the path, name). The file server reads a directory in parallel and swaps its tree. A
/// body in a file is passed as an open file. A cluster locks its members, its queue, an adaptive limit
/// and what only failures and the closes of idle connections change. A worker's counts are read by another thread.
const ALLOWED: [(&str, &str); 15] = [
    ("admin/mod.rs", "parking_lot"),
    ("cluster/backend.rs", "parking_lot"),
    ("cluster/idle_time.rs", "parking_lot"),
    ("cluster/mod.rs", "parking_lot"),
    ("cluster/picks.rs", "parking_lot"),
    ("cluster/queue.rs", "parking_lot"),
    ("cluster/retries.rs", "parking_lot"),
    ("cluster/state.rs", "parking_lot"),
    ("router/mod.rs", "parking_lot"),
    ("router/traffic.rs", "parking_lot"),
    ("files", "std::fs"),
    ("files", "rayon"),
    ("files", "parking_lot"),
    ("http/answer.rs", "std::fs"),
    ("exchange/", "std::fs"),
];

/// Words that no source may contain. They are spelled so that this file does not contain them.
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

/// Returns the faults of the file at `path` (within src), one per line.
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
    if module == "lib" {
        return faults;
    }
    let Some(layer) = layer(module) else {
        faults.push(format!("{path}: the module {module} has no layer"));
        return faults;
    };
    for name in names(&code) {
        let rest = name.strip_prefix("crate::").or_else(|| name.strip_prefix("neraca::"));
        let Some(used) = rest.and_then(|rest| rest.split("::").next()) else { continue };
        let below = self::layer(used).is_some_and(|used| used < layer);
        let within = WITHIN_A_LAYER.contains(&(module, used))
            || (layer == 7 && self::layer(used).is_none_or(|n| n == 7));
        if used != module && !below && !within {
            faults.push(format!("{path}: {name} is not below the layer of {module}"));
        }
    }
    if layer < ENGINE {
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
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

/// Parses the table of layers in a text or in doc comments: rows of the form `| 1 | `http/` | ... |`.
fn layers_in(text: &str) -> BTreeSet<(u8, String)> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let mut cells = line.trim_start_matches("//!").trim().split('|').map(str::trim).skip(1);
        let Some(Ok(layer)) = cells.next().map(str::parse) else { continue };
        let modules = cells.next().unwrap_or_default().split('`').skip(1).step_by(2);
        found.extend(modules.map(|module| (layer, module.trim_end_matches('/').replace(".rs", ""))));
    }
    found
}

#[test]
fn the_layers_are_stated_alike_everywhere() {
    let expected: BTreeSet<_> = LAYERS
        .iter()
        .flat_map(|(layer, modules)| modules.iter().map(|module| (*layer, (*module).to_owned())))
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in ["ARCHITECTURE.md", "src/lib.rs"] {
        let found = layers_in(&fs::read_to_string(root.join(path)).unwrap());
        assert_eq!(found, expected, "the table of layers in {path}");
    }
    for (_, module) in expected {
        let source = root.join("src").join(&module);
        assert!(source.is_dir() || source.with_extension("rs").is_file(), "there is no module {module}");
    }
}

/// The layers of the laboratory from the ground up. `grade` and `capacity` are commands in folders of their own.
const LABORATORY: [&[&str]; 6] =
    [&["plans"], &["run"], &["judge"], &["report"], &["commands", "grade", "capacity"], &["main"]];

/// The layers of the laboratory that do no I/O.
const LABORATORY_PURE: [&str; 2] = ["plans", "judge"];

#[test]
fn the_laboratory_keeps_to_its_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/src");
    let layer = |module: &str| LABORATORY.iter().position(|modules| modules.contains(&module));
    let mut faults = Vec::new();
    for file in rust_files(&root) {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let module = path.split(['/', '.']).next().unwrap_or_default();
        let code = code(&fs::read_to_string(&file).unwrap());
        let Some(own) = layer(module) else {
            faults.push(format!("{path}: the module {module} has no layer"));
            continue;
        };
        for name in names(&code) {
            let Some(used) = name.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else {
                continue;
            };
            if layer(used).is_some_and(|used| used > own) {
                faults.push(format!("{path}: {name} is not below the layer of {module}"));
            }
        }
        if LABORATORY_PURE.contains(&module) {
            let forbidden = ENGINE_ONLY.iter().filter(|name| **name != "rayon");
            let named = forbidden.filter(|name| is_named(&code, name));
            faults.extend(named.map(|name| format!("{path}: {name} belongs to the layer of run")));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in ["src", "experiments/src"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = rust_files(&root);
        let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let paths = files.iter().map(|file| file.strip_prefix(&root).unwrap().to_str().unwrap());
        let sources = Sources::new(paths.zip(texts.iter().map(String::as_str)));
        let imports = sources.imports();
        assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 50, "the imports were not found");
        let faults = circles(&imports);
        assert!(faults.is_empty(), "{folder}:\n{}", faults.join("\n"));
    }
}

#[test]
fn the_checker_finds_circles() {
    let found = |files: &[(&str, &str)]| circles(&Sources::new(files.iter().copied()).imports());
    let lib = ("lib.rs", "pub mod a;\npub mod b;");
    let circle = ["a.rs -> b.rs -> a.rs"];
    assert_eq!(found(&[lib, ("a.rs", "use crate::b::B;"), ("b.rs", "fn f(a: crate::a::A) {}")]), circle);
    assert_eq!(
        found(&[lib, ("a.rs", "use super::b::{self, B};"), ("b.rs", "use super::{a::A, c};")]),
        circle
    );
    // A child imports its parent by `super`, and the parent uses the child.
    let parent = ("a/mod.rs", "mod c;\nuse c::C;\npub struct A;");
    let of_child = ["a/c.rs -> a/mod.rs -> a/c.rs"];
    assert_eq!(found(&[lib, parent, ("a/c.rs", "use super::A;")]), of_child);
    assert_eq!(
        found(&[lib, ("a/mod.rs", "mod c;\nfn f() { c::g() }"), ("a/c.rs", "use super::A;")]),
        of_child
    );
    // A re-export is not an import. A re-exported name is imported from the file that defines it.
    let exports = ("a/mod.rs", "mod c;\nmod d;\npub use c::C;\npub use d::{\n    D,\n};");
    assert_eq!(found(&[lib, exports, ("a/c.rs", "use super::D;"), ("a/d.rs", "struct D;")]), [""; 0]);
    let circle = ["a/c.rs -> a/d.rs -> a/c.rs"];
    assert_eq!(found(&[lib, exports, ("a/c.rs", "use super::D;"), ("a/d.rs", "use crate::a::C;")]), circle);
    // A file that re-exports a name and uses the name imports it.
    let uses = ("a/mod.rs", "mod c;\npub use c::C;\nfn f(c: C) {}");
    assert_eq!(found(&[lib, uses, ("a/c.rs", "use super::f;")]), of_child);
    // Tests, comments and other crates make no circle.
    let tests = "use crate::b::B;\n// crate::a::A\n#[cfg(test)]\nmod tests { use crate::a::A; }";
    assert_eq!(
        found(&[lib, ("a.rs", "use crate::b::B;\nuse std::a::A;\npub(super) struct S;"), ("b.rs", tests)]),
        [""; 0]
    );
}

/// True when the code contains the name: as a full path, through `use`, or as a method call.
fn is_named(code: &str, forbidden: &str) -> bool {
    if forbidden.starts_with('.') {
        return code.contains(forbidden);
    }
    names(code).iter().any(|name| {
        let rest = match name.strip_prefix(forbidden) {
            Some(rest) => rest,
            // `Instant::now` is found with any path before it.
            None => match name.split_once(&format!("::{forbidden}")) {
                Some((_, rest)) if forbidden.contains("::now") => rest,
                _ => return false,
            },
        };
        rest.is_empty() || rest.starts_with("::")
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
