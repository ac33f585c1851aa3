//! Tests of the program as a process: exit codes, signals, and no free descriptors.
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::program::{Program, raise_descriptors};
use crate::harness::scripted::{Reply, automatic};
use crate::harness::wire::{End, Wire};
use crate::harness::{CROSSBEAM, VARIANTS, eventually};
use crate::share_cores;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn reply(target: &str) -> Option<Reply> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    match target {
        "/slow" => Some((Duration::from_millis(500), OK)),
        "/never" => None,
        _ => Some((Duration::ZERO, OK)),
    }
}

/// Runs the program to its end. Returns the exit code, stdout and stderr.
fn outcome(arguments: &[&str], level: &str) -> (Option<i32>, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
    let output = program.args(arguments).env("NERACA_LOG", level).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_program_that_does_not_run_says_why_and_exits_with_1_or_2() {
    let _cores = share_cores();
    let running = Program::start("balance", VARIANTS[0], &["--demo"]);
    let taken = running.address().to_string();
    let cannot_listen = format!("error: cannot listen on {taken}: ");
    let no_log = "error: cannot write the access log to '/none/log': ";
    let log = ["balance", "--demo", "--listen", "127.0.0.1:0", "--access-log", "/none/log"];
    let cases: [(i32, &[&str], &str, &str); 6] = [
        (1, &log, "warn", no_log),
        (2, &["balance", "--demo", "--polcy", "x"], "warn", "error: unexpected argument '--polcy' found\n"),
        (2, &["balance", "--demo", "--workers", "0"], "warn", "error: invalid value '0' for '--workers <N>'"),
        (2, &["serve", "--root", "/none"], "warn", "error: invalid value '/none' for '--root <DIR>'"),
        (2, &["balance", "--demo"], "loud", "error: invalid value 'loud' for 'NERACA_LOG'"),
        (1, &["balance", "--demo", "--listen", &taken], "warn", &cannot_listen),
    ];
    for (code, arguments, level, expected) in cases {
        let (exited, stdout, stderr) = outcome(arguments, level);
        assert_eq!((exited, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_first_lines_say_where_requests_go_and_a_backend_that_refuses_is_a_warning() {
    let _cores = share_cores();
    // A socket that is bound and does not listen: its port refuses.
    let refusing = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    refusing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let backend = refusing.local_addr().unwrap().as_socket().unwrap().to_string();
    let arguments = ["balance", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--backend", &backend];
    let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
    let program = program.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let first: Vec<String> = stdout.take(4).map_while(Result::ok).collect();
    let warning = stderr.map_while(Result::ok).find(|line| line.contains(&backend));
    let _ = child.kill();
    child.wait().unwrap();
    let expected = format!("balancing by least-requests to {backend}");
    let begins = ["listening on http://", "admin on http://", &expected, "see the status: "];
    assert_eq!(first.len(), begins.len(), "{first:?}");
    assert!(first.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{first:?}");
    assert!(warning.as_ref().is_some_and(|line| line.contains("cannot be reached: ")), "{warning:?}");
}

/// A folder for the files of one test, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Two listeners and one cluster with one backend.
fn configuration(backend: &str) -> String {
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\n";
    let cluster = format!("[clusters.web]\nbackends = [\"{backend}\"]\n[[routes]]\ncluster = \"web\"\n");
    let redirect = "[[routes]]\npath = \"/old\"\nredirect = \"/new\"\n";
    format!("{listener}{listener}request_line_bytes = 64\n{redirect}{cluster}")
}

#[test]
fn a_configuration_file_is_checked_and_run_with_the_same_verdict() {
    let _cores = share_cores();
    let folder = Folder::new("verdicts");
    let good = folder.write("good.toml", &configuration("127.0.0.1:1"));
    let wrong = folder.write("wrong.toml", &format!("workers = 0\n{}", configuration("127.0.0.1")));
    let rich = folder.write("rich.toml", &format!("{}path = \"/a\"\n", configuration("127.0.0.1:1")));
    let missing = folder.0.join("missing.toml").to_str().unwrap().to_owned();
    let places = [format!("--> {wrong}:1:11\n"), format!("--> {wrong}:11:13\n")];
    for arguments in [["check", &wrong, "", ""], ["balance", "--config", &wrong, ""]] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|word| !word.is_empty()).collect();
        let (code, stdout, stderr) = outcome(&arguments, "warn");
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
        assert!(places.iter().all(|place| stderr.contains(place)), "{arguments:?}: {stderr}");
    }
    let cannot_read = format!("error: cannot read '{missing}': ");
    let cases: [(i32, &[&str], &str); 7] = [
        (1, &["check", &missing], &cannot_read),
        (1, &["balance", "--config", &missing], &cannot_read),
        (2, &["check"], "error: the following required arguments were not provided:"),
        (
            2,
            &["balance", "--config", &good, "--demo"],
            "error: the argument '--config <FILE>' cannot be used with",
        ),
        (
            2,
            &["balance", "--config", &good, "--policy", "random"],
            "error: the argument '--policy <POLICY>' cannot be used with '--config <FILE>'\n\n  tip: write it into the file",
        ),
        (
            2,
            &["balance", "--config", &good, "--workers", "0"],
            "error: invalid value '0' for '--workers <N>'",
        ),
        (
            2,
            &["balance", "--config", &good, "--pool", "rayon"],
            "error: the argument '--pool <POOL>' cannot be used with '--engine async'",
        ),
    ];
    for (code, arguments, expected) in cases {
        let (exited, stdout, stderr) = outcome(arguments, "warn");
        assert_eq!((exited, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
    }
    for file in [&good, &rich] {
        assert_eq!(outcome(&["check", file], "warn"), (Some(0), format!("{file} is good\n"), String::new()));
    }
    let (code, stdout, stderr) = outcome(&["check", "--schema"], "warn");
    assert!(code == Some(0) && stdout.starts_with("{\n") && stderr.is_empty(), "{stdout}{stderr}");
}

#[test]
fn a_file_has_listeners_with_limits_of_their_own() {
    let _cores = share_cores();
    let folder = Folder::new("listeners");
    for variant in VARIANTS {
        let backend = automatic(CROSSBEAM, reply).to_string();
        let file = folder.write("neraca.toml", &configuration(&backend));
        let (program, second) = Program::with_file(Path::new(&file), variant);
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100));
        let old = "GET /old/x HTTP/1.1\r\nHost: a\r\n\r\n";
        for (address, request, expected) in
            [(program.address(), long.as_str(), 200), (second, &long, 414), (second, old, 308)]
        {
            let mut client = Wire::connect(address);
            client.send(request);
            assert_eq!(client.message().status(), expected, "{variant:?}");
        }
    }
}

#[test]
fn help_and_version_are_printed_on_stdout() {
    let _cores = share_cores();
    for (argument, expected) in
        [("--help", "Usage: neraca <COMMAND>"), ("--version", env!("CARGO_PKG_VERSION"))]
    {
        let (code, stdout, stderr) = outcome(&[argument], "warn");
        assert!(code == Some(0) && stderr.is_empty() && stdout.contains(expected), "{argument}: {stdout}");
    }
}

#[test]
fn a_first_signal_lets_requests_end_with_a_thousand_connections_open() {
    let _cores = share_cores();
    raise_descriptors(4000);
    let backend = automatic(CROSSBEAM, reply).to_string();
    for variant in VARIANTS {
        for signal in [Signal::TERM, Signal::INT] {
            let mut program = Program::start("balance", variant, &["--backend", &backend]);
            let mut idle: Vec<Wire> = (0..1000).map(|_| program.client()).collect();
            for client in &mut idle {
                client.send(GET);
            }
            for client in &mut idle {
                assert_eq!(client.message().text(), "ok");
            }
            // Fewer requests than workers: in the textbook pool each request holds a worker.
            let mut busy: Vec<Wire> = (0..3).map(|_| program.client()).collect();
            for client in &mut busy {
                client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            // The requests are in their sockets, so they came before the signal.
            program.signal(signal);
            for client in &mut idle {
                client.ends();
            }
            for client in &mut busy {
                let response = client.message();
                assert_eq!(
                    (response.text(), response.field("Connection")),
                    ("ok", Some("close")),
                    "{variant:?}"
                );
            }
            assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        }
    }
}

/// A service manager may send SIGHUP to any service, and `packaging/systemd/neraca.service` does.
#[test]
fn a_signal_to_load_files_again_does_nothing_without_files() {
    let _cores = share_cores();
    let backend = automatic(CROSSBEAM, reply).to_string();
    let site = env!("CARGO_MANIFEST_DIR").to_owned() + "/src";
    for (command, arguments) in [("balance", ["--backend", &backend]), ("serve", ["--root", &site])] {
        for variant in VARIANTS {
            let mut program = Program::start(command, variant, &arguments);
            program.signal(Signal::HUP);
            let mut client = program.client();
            client.send(GET);
            client.message();
            program.signal(Signal::TERM);
            // A process that SIGHUP has ended has no exit code.
            assert_eq!(program.exit().code(), Some(0), "{command} {variant:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let _cores = share_cores();
    let backend = automatic(CROSSBEAM, reply).to_string();
    for variant in VARIANTS {
        let mut program = Program::start("balance", variant, &["--backend", &backend]);
        let mut client = program.client();
        client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut idle = program.client();
        idle.send(GET);
        idle.message();
        program.signal(Signal::TERM);
        idle.ends();
        assert!(program.is_running());
        program.signal(Signal::TERM);
        assert_eq!(program.exit().code(), Some(128 + 15));
        client.is_gone();
    }
}

#[test]
fn the_admin_listener_tells_of_a_drain_before_it_begins() {
    let _cores = share_cores();
    let backend = automatic(CROSSBEAM, reply).to_string();
    for variant in VARIANTS {
        let arguments = ["--backend", &backend, "--drain-delay-seconds", "1"];
        let (mut program, admin) = Program::with_admin(variant, &arguments);
        let status = |target: &str| {
            let mut client = Wire::connect(admin);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client.message().status()
        };
        let mut client = program.client();
        client.send(GET);
        client.message();
        assert_eq!([status("/ready"), status("/healthz"), status("/none")], [200, 200, 404], "{variant:?}");
        let address = admin.to_string();
        let (code, stdout, stderr) = outcome(&["status", &address], "warn");
        assert!(code == Some(0) && stdout.contains(&backend) && stderr.is_empty(), "{stdout}{stderr}");
        let signalled = Instant::now();
        program.signal(Signal::TERM);
        eventually("/ready tells of the drain", || status("/ready") == 503);
        // Requests are served as before until the drain begins.
        while signalled.elapsed() < Duration::from_millis(900) {
            client.send(GET);
            assert_eq!(client.message().status(), 200, "{variant:?}");
        }
        client.ends();
        assert_eq!(program.exit().code(), Some(0), "{variant:?}");
        let (code, _, stderr) = outcome(&["status", &address], "warn");
        assert_eq!((code, stderr.contains("cannot ask the admin listener")), (Some(1), true), "{stderr}");
    }
}

#[test]
fn without_descriptors_it_lives_on_and_serves_again() {
    let _cores = share_cores();
    raise_descriptors(4000);
    let backend = automatic(CROSSBEAM, reply).to_string();
    for variant in VARIANTS {
        let arguments = ["--backend", &backend, "--connections", "1000"];
        let mut program = Program::with_descriptors(128, variant, &arguments);
        let mut first = program.client();
        first.send(GET);
        first.message();
        let clients: Vec<_> = (0..400).map(|_| TcpStream::connect(program.address()).unwrap()).collect();
        // The CPU time is measured over one second.
        let before = program.ticks();
        thread::sleep(Duration::from_secs(1));
        let ticks = program.ticks() - before;
        assert!(ticks < 20, "{variant:?}: {ticks} % of a core");
        // Existing clients are still served, over the kept backend connection.
        first.send(GET);
        assert_eq!(first.message().status(), 200, "{variant:?}");
        drop(clients);
        let start = Instant::now();
        eventually("it serves again", || {
            let mut client = program.client();
            client.send(GET);
            client.message().status() == 200
        });
        assert!(start.elapsed() < Duration::from_secs(2), "{variant:?}: {:?}", start.elapsed());
        assert!(program.is_running());
    }
}

#[test]
fn the_faults_of_a_server_change_while_it_runs() {
    let _cores = share_cores();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", std::process::id()));
    let file = directory.join("faults");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("index.html"), [b'#'; 1000]).unwrap();
    let directory = directory.to_str().unwrap();
    for variant in VARIANTS {
        fs::write(&file, "close-after=2\n").unwrap();
        let arguments = ["--root", directory, "--faults", file.to_str().unwrap()];
        let program = Program::start("serve", variant, &arguments);
        let mut client = program.client();
        for close in [None, Some("close")] {
            client.send(GET);
            assert_eq!(client.message().field("Connection"), close, "{variant:?}");
        }
        client.ends();
        fs::write(&file, "cut-percent=100\n").unwrap();
        let rest = || {
            let mut client = program.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.rest()
        };
        eventually("the body is cut", || rest().1 == End::Reset);
        let (bytes, _) = rest();
        assert!(bytes.iter().filter(|&&byte| byte == b'#').count() <= 500, "{variant:?}");
        fs::remove_file(&file).unwrap();
        eventually("the body is whole", || {
            let (bytes, end) = rest();
            bytes.ends_with(&[b'#'; 1000]) && end == End::Eof
        });
    }
    fs::remove_dir_all(directory).unwrap();
}
