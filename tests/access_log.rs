//! Tests of the access log of the program: one line for each request, whatever its end, and what happens when the log cannot
//! be written.
//!
//! This is a separate test program: it kills backends, and a backend of another test could get the port of a killed one.
#[path = "access_log/agreement.rs"]
mod agreement;
mod harness;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::harness::counting::{metric, metrics};
use crate::harness::program::Program;
use crate::harness::scripted::{Backend, Reply, Reserved, automatic};
use crate::harness::{CROSSBEAM, EDGE, VARIANTS, Variant, eventually};
use rustix::process::Signal;
use serde_json::Value;

/// The requests for `/never` that a backend has got.
static NEVER: AtomicUsize = AtomicUsize::new(0);

fn reply(target: &str) -> Option<Reply> {
    let response: &[u8] = match target {
        "/never" => {
            NEVER.fetch_add(1, SeqCst);
            return None;
        }
        "/upload" => return None,
        // The second chunk has no size.
        "/cut" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        "/half" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "/tunnel" => {
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nof the backend"
        }
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    };
    Some((Duration::ZERO, response))
}

fn request(method: &str, target: &str, rest: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{rest}\r\n")
}

fn get(target: &str) -> String {
    request("GET", target, "")
}

/// Makes the path of a file that does not exist yet.
fn file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("neraca-access-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// Returns the lines of a log.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Lets clients of the program meet every end of a request. Returns the bytes that came back to the request for `/head`.
fn meet_every_end(program: &Program, variant: Variant) -> usize {
    let mut client = program.client();
    client.send(get("/retry"));
    client.message();
    client.send(get("/pipelined").repeat(3));
    (0..3).for_each(|_| assert_eq!(client.message().text(), "ok"));
    client.send(request("HEAD", "/head", ""));
    let head = client.head().head.len();
    client.send(request("POST", "/post", "Content-Length: 5\r\n") + "hello");
    client.message();
    client.send(request("POST", "/chunks", "Transfer-Encoding: chunked\r\n") + "3;x=y\r\nabc\r\n0\r\n\r\n");
    client.message();
    client.send(request("OPTIONS", "/ours", "Max-Forwards: 0\r\n"));
    assert_eq!(client.message().status(), 204);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.message().status(), 400);

    let mut cut = program.client();
    cut.send(get("/cut"));
    cut.is_gone();
    let mut slow = program.client();
    slow.send(request("POST", "/upload", "Content-Length: 10\r\n") + "part");
    assert_eq!(slow.message().status(), 408);
    let mut tunnel = program.client();
    tunnel.send(request("GET", "/tunnel", "Connection: upgrade\r\nUpgrade: x\r\n"));
    assert_eq!(tunnel.head().status(), 101);
    assert_eq!(tunnel.take(14), b"of the backend");
    tunnel.send("of the client");
    tunnel.finish();
    tunnel.ends();

    let before = NEVER.load(SeqCst);
    let mut impatient = program.client();
    impatient.send(get("/never"));
    eventually("the backend has the request", || NEVER.load(SeqCst) > before);
    impatient.reset();
    let mut impatient = program.client();
    impatient.send(get("/half"));
    assert!(impatient.head().status() == 200 && impatient.take(4) == b"half", "{variant:?}");
    impatient.reset();
    head
}

#[test]
fn every_request_has_one_line_whatever_its_end() {
    let (nobody, backend) = (Reserved::new(), automatic(CROSSBEAM, reply).to_string());
    let unreachable = nobody.address().to_string();
    let path = file("ends");
    for variant in VARIANTS {
        let backends = ["--backend", &unreachable, "--backend", &backend, "--policy", "first"];
        let log = ["--access-log", path.to_str().unwrap(), "--body-timeout-ms", "300"];
        let (mut program, admin) = Program::with_admin(variant, &[&backends[..], &log].concat());
        let head_bytes = meet_every_end(&program, variant);
        eventually("every end is noticed", || metric(&metrics(admin), "neraca_requests_total", "") == 14);
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        // target, number of lines, status, end, bytes of the body that came from the client
        let cases: [(&str, usize, Option<u16>, &str, u64); 12] = [
            ("/retry", 1, Some(200), "complete", 0),
            ("/pipelined", 3, Some(200), "complete", 0),
            ("/head", 1, Some(200), "complete", 0),
            ("/post", 1, Some(200), "complete", 5),
            ("/chunks", 1, Some(200), "complete", 3),
            ("/ours", 1, Some(204), "complete", 0),
            ("", 1, Some(400), "complete", 0),
            ("/cut", 1, Some(200), "cut_off", 0),
            ("/upload", 1, Some(408), "complete", 4),
            ("/tunnel", 1, Some(101), "complete", 13),
            ("/never", 1, None, "client_lost", 0),
            ("/half", 1, Some(200), "client_lost", 0),
        ];
        let all = lines(&path);
        let of = |target: &str| -> Vec<&Value> {
            all.iter().filter(|line| line["target"].as_str().unwrap_or_default() == target).collect()
        };
        for (target, number, status, end, received) in cases {
            let found = of(target);
            assert_eq!(found.len(), number, "{variant:?} {target}: {all:#?}");
            for line in found {
                let said = (&line["status"], &line["end"], &line["received_bytes"]);
                assert_eq!(said, (&status.into(), &end.into(), &received.into()), "{variant:?} {line}");
                let answered_by_us = matches!(target, "/ours" | "");
                assert_eq!(line["backend"].is_null(), answered_by_us, "{variant:?} {line}");
                assert_eq!(line["attempts"] == 0, answered_by_us, "{variant:?} {line}");
            }
        }
        assert_eq!(all.len(), 14, "{variant:?}: {all:#?}");
        let [retry, head, tunnel, half] = ["/retry", "/head", "/tunnel", "/half"].map(|target| of(target)[0]);
        assert_eq!((&retry["attempts"], &retry["backend"]), (&2.into(), &backend.as_str().into()));
        assert!(retry["connect_us"].is_u64(), "{variant:?} {retry}");
        assert!(all.iter().any(|line| line["first_byte_us"].is_u64() && line["connect_us"].is_null()));
        assert_eq!((&head["method"], &head["sent_bytes"]), (&"HEAD".into(), &head_bytes.into()));
        assert!(tunnel["sent_bytes"].as_u64() > Some(14) && half["sent_bytes"].as_u64() > Some(4));
        assert!(of("/never")[0]["sent_bytes"] == 0 && of("/never")[0]["first_byte_us"].is_null());
        let mut ids: Vec<_> = all.iter().filter_map(|line| line["id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 13, "an invalid head has no ID");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn the_backend_gets_the_id_of_the_log() {
    let backend = Backend::start(CROSSBEAM);
    let (address, path) = (backend.address().to_string(), file("ids"));
    let arguments = ["--backend", &address, "--access-log", path.to_str().unwrap()];
    for variant in [CROSSBEAM, EDGE] {
        // Arguments of trust; what the client sends; true when it is kept.
        let cases: [(&[&str], &str, bool); 4] = [
            (&[], "X-Request-ID: mine\r\n", false),
            (&["--trust", "127.0.0.0/8"], "X-Request-ID: mine\r\n", true),
            (&["--trust", "127.0.0.0/8"], "X-Request-ID: not mine\r\n", false),
            (&["--trust", "127.0.0.0/8"], "", false),
        ];
        for (trust, field, is_kept) in cases {
            let mut program = Program::start("balance", variant, &[&arguments, trust].concat());
            let mut client = program.client();
            client.send(request("GET", "/", field));
            let mut peer = backend.accept_request();
            let id = peer.head().field("X-Request-ID").expect("an ID").to_owned();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.message();
            program.signal(Signal::TERM);
            program.exit();
            assert_eq!(id == "mine", is_kept, "{variant:?} {trust:?} {field}: {id}");
            assert_eq!(lines(&path)[0]["id"], id, "{variant:?} {trust:?} {field}");
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn the_file_server_has_a_log_too() {
    let root = file("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.txt"), "twelve bytes").unwrap();
    let path = file("served");
    for variant in VARIANTS {
        let arguments = ["--root", root.to_str().unwrap(), "--access-log", path.to_str().unwrap()];
        let mut program = Program::start("serve", variant, &arguments);
        let mut client = program.client();
        client.send(get("/a.txt").repeat(2));
        (0..2).for_each(|_| assert_eq!(client.message().text(), "twelve bytes"));
        client.send(request("HEAD", "/a.txt", "X-Request-ID: mine\r\n"));
        client.head();
        client.send(get("/none"));
        assert_eq!(client.message().status(), 404);
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let all = lines(&path);
        let told = |line: &Value| format!("{} {} {}", line["method"], line["target"], line["status"]);
        let get = r#""GET" "/a.txt" 200"#;
        let expected = [get, get, r#""HEAD" "/a.txt" 200"#, r#""GET" "/none" 404"#];
        assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected, "{variant:?}");
        let bytes = |at: usize| all[at]["sent_bytes"].as_u64().unwrap();
        assert_eq!(bytes(1), bytes(2) + 12, "{variant:?}: {all:#?}");
        assert!(all.iter().all(|line| line["backend"].is_null() && line["end"] == "complete"), "{all:#?}");
        fs::remove_file(&path).unwrap();
    }
    fs::remove_dir_all(&root).unwrap();
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

/// Sends so many requests that Neraca answers itself, over one connection. Returns when all are answered.
fn flood(program: &Program, requests: usize) {
    let mut client = program.client();
    let mut writer = client.another();
    let all = request("OPTIONS", "/", "Max-Forwards: 0\r\n").repeat(requests - 1)
        + &request("OPTIONS", "/", "Max-Forwards: 0\r\nConnection: close\r\n");
    let bytes = thread::scope(|scope| {
        scope.spawn(|| writer.send(all));
        client.rest().0
    });
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("HTTP/1.1 204 No Content\r\n").count(), requests);
}

#[test]
fn requests_go_on_when_nobody_reads_the_log_and_each_dropped_line_is_counted() {
    const REQUESTS: usize = 30_000;
    for variant in [CROSSBEAM, EDGE] {
        let arguments = ["--backend", "127.0.0.1:1", "--access-log", "-"];
        let (mut program, admin, mut output) =
            Program::with_admin_and_output(variant, &arguments, Stdio::inherit());
        flood(&program, REQUESTS);
        let count = |name| metric(&metrics(admin), name, "");
        eventually("all are finished", || count("neraca_requests_total") == REQUESTS as u64);
        let dropped = count("neraca_access_log_dropped_total");
        assert!((1..REQUESTS as u64).contains(&dropped), "{variant:?}: {dropped}");
        let written = thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let written = written.join().unwrap().unwrap();
        let targets =
            written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["target"].clone());
        assert_eq!(targets.filter(|target| target == "/").count() as u64 + dropped, REQUESTS as u64);
    }
}

#[test]
fn a_full_disk_is_told_once_and_stops_no_request() {
    const REQUESTS: usize = 50;
    let messages = file("messages");
    for variant in [CROSSBEAM, EDGE] {
        let arguments = ["--backend", "127.0.0.1:1", "--access-log", "/dev/full"];
        let stderr = File::create(&messages).unwrap();
        let (mut program, admin, _output) =
            Program::with_admin_and_output(variant, &arguments, Stdio::from(stderr));
        for round in 1..=3 {
            flood(&program, REQUESTS);
            eventually("each line is counted", || {
                metric(&metrics(admin), "neraca_access_log_dropped_total", "") == (round * REQUESTS) as u64
            });
        }
        let mut status = Command::new(env!("CARGO_BIN_EXE_neraca"));
        let table = status.args(["status", &admin.to_string()]).output().unwrap().stdout;
        let table = String::from_utf8(table).unwrap();
        assert!(table.contains("\n150 lines of the access log were dropped\n"), "{variant:?}: {table}");
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let text = fs::read_to_string(&messages).unwrap();
        let told = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!(told("cannot write the access log, and its lines are dropped"), 1, "{variant:?}: {text}");
        assert_eq!(told("150 lines of the access log were dropped"), 1, "{variant:?}: {text}");
        fs::remove_file(&messages).unwrap();
    }
}
