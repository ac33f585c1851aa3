//! Tests of the configuration file: broken files, the examples, and the JSON Schema.

#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

#[path = "config/broken.rs"]
mod broken;
#[path = "config/examples.rs"]
mod examples;
#[path = "config/tls.rs"]
mod tls;

use std::path::Path;

use neraca::config::check_text;

/// The number of files and sockets that the checks assume.
const DESCRIPTORS: usize = 1024;

/// A part of a small good file, to which a case adds lines.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// The top of the file; the first added line is line 1.
    Top,
    /// The listener; the first added line is line 3.
    Listener,
    /// The cluster; the first added line is line 5.
    Cluster,
    /// The route; the first added line is line 7.
    Route,
    /// The whole file is the text of the case.
    Whole,
}

/// Returns the text of a case.
fn text(at: At, added: &str) -> String {
    let parts = [
        ("", At::Top),
        ("[[listeners]]\nlisten = \"127.0.0.1:0\"\n", At::Listener),
        ("[clusters.web]\nbackends = [\"127.0.0.1:9001\"]\n", At::Cluster),
        ("[[routes]]\ncluster = \"web\"\n", At::Route),
    ];
    match at {
        At::Whole => added.to_owned(),
        _ => parts
            .iter()
            .map(|(part, of)| {
                let is_here = std::mem::discriminant(of) == std::mem::discriminant(&at);
                let added = if is_here { added } else { "" };
                let end = if added.is_empty() || added.ends_with('\n') { "" } else { "\n" };
                format!("{part}{added}{end}")
            })
            .collect(),
    }
}

/// Checks a text as the file `neraca.toml` of the current folder. Returns the report of each problem.
fn problems(text: &str) -> Vec<String> {
    let report = check_text(Path::new("neraca.toml"), text, DESCRIPTORS).to_string();
    report.split("\n\n").filter(|problem| !problem.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_base_of_the_cases_is_good() {
    for at in [At::Top, At::Listener, At::Cluster, At::Route] {
        assert_eq!(problems(&text(at, "")), [""; 0], "{at:?}");
    }
}

#[test]
fn each_error_of_a_broken_file_has_its_line_and_column() {
    assert!(broken::FILES.len() >= 60, "only {} files", broken::FILES.len());
    let mut faults = Vec::new();
    for (at, added, expected) in broken::FILES {
        let text = text(*at, added);
        let found = problems(&text);
        let is_as_expected = |problem: &String, (place, words): &(&str, &str)| {
            problem.contains(&format!("--> neraca.toml:{place}\n")) && problem.contains(words)
        };
        let pairs = found.iter().zip(*expected);
        if found.len() != expected.len()
            || !pairs.into_iter().all(|(found, expected)| is_as_expected(found, expected))
        {
            faults.push(format!("{text}\nexpected {expected:?}, found\n{}", found.join("\n\n")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
