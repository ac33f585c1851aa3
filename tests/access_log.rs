//! Tests of the access log of the program: one line for each request, whatever its end.
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::program::Program;
use harness::scripted::{Reply, automatic};
use harness::{CROSSBEAM, VARIANTS, eventually};
use rustix::process::Signal;

fn reply(target: &str) -> Option<Reply> {
    match target {
        "/never" => None,
        // The second chunk has no size.
        "/cut" => {
            Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"))
        }
        _ => Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Makes the path of a file that does not exist yet.
fn file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("neraca-access-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// Returns the lines of a log.
fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn every_request_has_one_line_whatever_its_end() {
    let backend = automatic(CROSSBEAM, reply).to_string();
    let path = file("ends");
    let log = path.to_str().unwrap();
    for variant in VARIANTS {
        let mut program = Program::start(
            "balance",
            variant,
            &["--backend", &backend, "--access-log", log, "--drain-seconds", "1"],
        );
        let mut client = program.client();
        client.send(get("/ok").repeat(2));
        client.message();
        client.message();
        client.send("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.message().status(), 400);
        let mut cut = program.client();
        cut.send(get("/cut"));
        cut.is_gone();
        let mut impatient = program.client();
        impatient.send(get("/never"));
        impatient.reset();
        // A lost client may be noticed before its head is read: then there was no request.
        let mut last = program.client();
        last.send(get("/last"));
        last.message();
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let all = lines(&path);
        let of = |target: &str| all.iter().filter(|line| line["target"] == target).collect::<Vec<_>>();
        assert_eq!((of("/ok").len(), of("/cut").len(), of("/last").len()), (2, 1, 1), "{variant:?}: {all:?}");
        assert!(of("/never").iter().all(|line| line["end"] == "client_lost"), "{variant:?}: {all:?}");
        assert_eq!(of("/cut")[0]["end"], "cut_off");
        let ok = of("/ok")[0];
        assert_eq!(ok["backend"], backend.as_str());
        assert_eq!(
            (&ok["status"], &ok["attempts"], &ok["end"]),
            (&200.into(), &1.into(), &"complete".into())
        );
        assert_ne!(ok["id"], of("/ok")[1]["id"]);
        let refused: Vec<_> = all.iter().filter(|line| line["target"].is_null()).collect();
        assert!(refused.len() == 1 && refused[0]["status"] == 400, "{variant:?}: {all:?}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_renamed_log_loses_no_line() {
    let backend = automatic(CROSSBEAM, reply).to_string();
    let (path, old) = (file("now"), file("old"));
    let arguments = ["--backend", &backend, "--access-log", path.to_str().unwrap()];
    for variant in VARIANTS {
        let mut program = Program::start("balance", variant, &arguments);
        let mut client = program.client();
        for at in 0..400 {
            if at == 200 {
                fs::rename(&path, &old).unwrap();
                program.signal(Signal::USR1);
            }
            if at == 300 {
                eventually("the file is opened again", || path.exists());
            }
            client.send(get(&format!("/{at}")));
            client.message();
        }
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let (before, after) = (lines(&old), lines(&path));
        // A line may follow its response by a moment, so the first line of the new file is not fixed.
        assert!(!before.is_empty() && !after.is_empty(), "{variant:?}: {} {}", before.len(), after.len());
        let targets: Vec<_> = before.iter().chain(&after).map(|line| line["target"].clone()).collect();
        assert_eq!(targets, (0..400).map(|at| format!("/{at}")).collect::<Vec<_>>(), "{variant:?}");
        fs::remove_file(&path).unwrap();
        fs::remove_file(&old).unwrap();
    }
}
