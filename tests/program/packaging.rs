//! Tests of the files in `packaging/` against the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::harness::counting::metrics;
use crate::harness::program::Program;
use crate::harness::scripted::{Reply, automatic};
use crate::harness::{CROSSBEAM, VARIANTS, eventually};
use serde_json::Value;

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)).unwrap()
}

fn ok(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
}

/// The names of metrics in a text: words that begin with `neraca_`.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("neraca_")).collect()
}

#[test]
fn every_metric_of_the_dashboard_exists() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    let (program, admin) = Program::with_admin(VARIANTS[0], &["--backend", &backend]);
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().text(), "ok");
    // A request counts a moment after its response has arrived.
    let mut told = String::new();
    eventually("the request is counted", || {
        told = metrics(admin);
        told.contains("neraca_request_duration_seconds_bucket")
    });
    let told = metrics_in(&told);
    let dashboard: Value = serde_json::from_str(&file("grafana/neraca.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 5, "{panels:?}");
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let asked = metrics_in(expression);
            assert!(!asked.is_empty(), "{expression}");
            let unknown: Vec<_> = asked.difference(&told).collect();
            assert!(unknown.is_empty(), "{expression}: {unknown:?} is not in {told:?}");
        }
    }
}

fn neraca(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_neraca")).args(arguments).output().unwrap()
}

/// The arguments of the manifest, with the values of the ConfigMap.
#[test]
fn the_program_takes_the_arguments_of_the_manifests() {
    let (deployment, map) = (file("kubernetes/deployment.yaml"), file("kubernetes/configmap.yaml"));
    let arguments = deployment.lines().map(str::trim).filter_map(|line| line.strip_prefix("- --"));
    let arguments: Vec<String> = arguments
        .map(|argument| {
            let mut argument = format!("--{argument}");
            for (name, value) in map.lines().filter_map(|line| line.trim().split_once(": \"")) {
                argument = argument.replace(&format!("$({name})"), value.trim_end_matches('"'));
            }
            assert!(!argument.contains('$'), "the ConfigMap has no value for {argument}");
            // The names of the backends exist only in a cluster.
            argument.replace("backend-0.backend", "127.0.0.1").replace("backend-1.backend", "127.0.0.2")
        })
        .collect();
    assert!(arguments.len() > 5, "{arguments:?}");
    // The last argument is wrong, so that the program reads all others and does not run.
    let words: Vec<_> =
        ["balance"].into_iter().chain(arguments.iter().map(String::as_str)).chain(["--workers=0"]).collect();
    let error = String::from_utf8(neraca(&words).stderr).unwrap();
    assert!(error.starts_with("error: invalid value '0' for '--workers <N>'"), "{error}");
}

#[test]
fn hidden_commands_make_what_a_package_needs() {
    let bash = neraca(&["completions", "bash"]);
    assert!(bash.status.success() && String::from_utf8(bash.stdout).unwrap().contains("--drain-seconds"));
    assert_eq!(neraca(&["completions", "basic"]).status.code(), Some(2));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("man-{}", std::process::id()));
    let directory = directory.to_str().unwrap();
    assert!(neraca(&["man", directory]).status.success());
    assert!(fs::read_to_string(format!("{directory}/neraca-balance.1")).unwrap().contains("SIGTERM"));
    fs::remove_dir_all(directory).unwrap();
    let error = String::from_utf8(neraca(&["man", "/proc/none"]).stderr).unwrap();
    assert!(error.starts_with("error: cannot write the manual pages to '/proc/none': "), "{error}");
}
