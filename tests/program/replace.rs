//! Tests of the program as a service: replacing the program, inherited sockets, and what systemd is told.
//!
//! The test is the service manager: it reads the notifications of the program from a socket, and learns from them which
//! process is the main one.
mod service;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::harness::scripted::{Backend, Reply, automatic};
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, VARIANTS, eventually};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use service::{Folder, Service};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn ok(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, OK.as_bytes()))
}

fn request(wire: &mut Wire) -> Option<String> {
    wire.send(GET);
    let response = wire.message();
    assert_eq!((response.status(), response.text()), (200, "ok"));
    response.field("Connection").map(str::to_owned)
}

/// Sends requests until the end: on one connection as long as it is kept, or each on a new one. A request that fails panics.
fn load(address: SocketAddr, keeps: bool, done: &AtomicUsize, ends: &AtomicBool) {
    let mut kept: Option<Wire> = None;
    while !ends.load(SeqCst) {
        let mut wire = kept.take().unwrap_or_else(|| Wire::connect(address));
        if request(&mut wire).is_none() && keeps {
            kept = Some(wire);
        }
        done.fetch_add(1, SeqCst);
    }
}

#[test]
fn ten_replacements_under_load_fail_no_request() {
    let backend = automatic(CROSSBEAM, ok);
    for variant in VARIANTS {
        let mut service = Service::balance("load", variant, backend, &[]);
        let address = service.listening();
        let (done, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for keeps in [true, true, true, false] {
                let (done, ends) = (&done, &ends);
                scope.spawn(move || load(address, keeps, done, ends));
            }
            for _ in 0..10 {
                let before = done.load(SeqCst);
                eventually("requests are served", || done.load(SeqCst) > before + 50);
                service.replace();
                assert_eq!(service.listening(), address, "{variant:?}");
            }
            ends.store(true, SeqCst);
        });
        service.signal(Signal::TERM);
        let (code, errors) = service.ends();
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{variant:?}");
    }
}

#[test]
fn what_runs_on_the_old_process_goes_on_there_and_idle_connections_have_one_more_request() {
    for variant in VARIANTS {
        let backend = Backend::start(CROSSBEAM);
        let mut service = Service::balance("long", variant, backend.address(), &["--drain-seconds", "60"]);
        let address = service.listening();
        let connect = || Wire::connect(address);
        let (mut long, mut tunnel, mut idle) = (connect(), connect(), connect());
        long.send(GET);
        let mut of_long = backend.accept_request();
        of_long.head();
        of_long.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        assert_eq!(long.head().status(), 200);
        tunnel.send("GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        let mut of_tunnel = backend.accept_request();
        of_tunnel.head();
        of_tunnel.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        assert_eq!(tunnel.head().status(), 101);
        idle.send(GET);
        let mut of_idle = backend.accept_request();
        of_idle.head();
        of_idle.send(OK);
        assert_eq!(idle.message().status(), 200);

        service.replace();
        // The new process accepts on the same address, and connects to the backend itself.
        let mut new = connect();
        new.send(GET);
        let mut of_new = backend.accept_request();
        of_new.head();
        of_new.send(OK);
        assert_eq!(new.message().field("Connection"), None, "{variant:?}");
        idle.send(GET);
        of_idle.head();
        of_idle.send(OK);
        assert_eq!(idle.message().field("Connection"), Some("close"), "{variant:?}");
        idle.ends();
        of_long.send("half");
        assert_eq!(long.take(8), b"halfhalf");
        // Its head has said that the connection stays, so it may have one more request.
        drop(long);
        for text in ["one", "two"] {
            tunnel.send(text);
            assert_eq!(of_tunnel.take(3), text.as_bytes());
            of_tunnel.send(text);
            assert_eq!(tunnel.take(3), text.as_bytes());
        }
        assert!(service.first.try_wait().unwrap().is_none(), "the tunnel is open");
        tunnel.finish();
        of_tunnel.finish();
        tunnel.ends();
        assert_eq!(service.first.wait().unwrap().code(), Some(0), "{variant:?}");
        drop(new);
        service.signal(Signal::TERM);
        service.ends();
    }
}

#[test]
fn a_new_program_that_fails_leaves_the_old_one() {
    let backend = automatic(CROSSBEAM, ok);
    for variant in [VARIANTS[0], CROSSBEAM] {
        let mut service = Service::balance("fails", variant, backend, &[]);
        let address = service.listening();
        let mut kept = Wire::connect(address);
        // body of the script, words of the error
        let cases = [
            ("exit 1", "did not become ready (exit status: 1); this process goes on"),
            ("kill -9 $$", "did not become ready (signal: 9 (SIGKILL)); this process goes on"),
            // It closes the socket of its report and goes on.
            ("exec 3>&- 4>&- sleep 1000", "did not become ready (signal: 9 (SIGKILL)); this process goes on"),
        ];
        for (script, expected) in cases {
            service.folder.install_script(script);
            service.signal(Signal::USR2);
            let error = service.next_error();
            assert!(error.starts_with("neraca: error: the new process "), "{script}: {error}");
            assert!(error.ends_with(expected), "{script}: {error}");
            assert_eq!(request(&mut kept), None, "{variant:?} {script}");
            assert_eq!(request(&mut Wire::connect(address)), None, "{variant:?} {script}");
        }
        fs::remove_file(service.folder.program()).unwrap();
        service.signal(Signal::USR2);
        let error = service.next_error();
        assert!(error.starts_with("neraca: error: cannot start the new program: No such file"), "{error}");
        service.folder.install();
        service.replace();
        assert_eq!(service.listening(), address);
        assert_eq!(request(&mut kept).as_deref(), Some("close"));
        service.signal(Signal::TERM);
        assert_eq!(service.ends(), (Some(0), String::new()));
    }
}

#[test]
fn a_second_replacement_is_refused_and_a_stop_gives_the_first_one_up() {
    let backend = automatic(CROSSBEAM, ok);
    let mut service = Service::balance("pending", CROSSBEAM, backend, &[]);
    let address = service.listening();
    let started = service.folder.0.join("started");
    service.folder.install_script(&format!("touch {}; exec sleep 1000", started.display()));
    service.signal(Signal::USR2);
    eventually("the new program runs", || started.exists());
    service.signal(Signal::USR2);
    let error = service.next_error();
    assert!(error.starts_with("neraca: warn: SIGUSR2 is ignored: process "), "{error}");
    assert!(error.ends_with(" is starting already"), "{error}");
    assert_eq!(request(&mut Wire::connect(address)), None);
    service.signal(Signal::TERM);
    assert_eq!(service.notified(), "STOPPING=1\n");
    let (code, errors) = service.ends();
    assert_eq!(code, Some(0));
    assert!(errors.starts_with("neraca: warn: the replacement is given up: process "), "{errors}");
}

#[test]
fn signals_to_a_replaced_process_end_it_and_not_the_new_one() {
    let backend = automatic(CROSSBEAM, |target| if target == "/never" { None } else { ok(target) });
    let mut service = Service::balance("signals", CROSSBEAM, backend, &["--drain-seconds", "60"]);
    let address = service.listening();
    let (mut idle, mut never) = (Wire::connect(address), Wire::connect(address));
    request(&mut idle);
    never.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    // This request is served after the other one, so the other one is in flight.
    request(&mut idle);
    service.replace();
    let old = Pid::from_child(&service.first);
    kill_process(old, Signal::USR2).unwrap();
    assert_eq!(
        service.next_error(),
        "neraca: warn: SIGUSR2 is ignored: another process has replaced this one"
    );
    kill_process(old, Signal::TERM).unwrap();
    idle.ends();
    assert!(service.first.try_wait().unwrap().is_none(), "a request is in flight");
    kill_process(old, Signal::TERM).unwrap();
    assert_eq!(service.first.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(request(&mut Wire::connect(address)), None);
    service.signal(Signal::TERM);
    // The replaced process has told nothing.
    assert_eq!(service.notified(), "STOPPING=1\n");
    service.ends();
}

#[test]
fn the_admin_listener_is_handed_over_too() {
    let backend = automatic(CROSSBEAM, ok);
    for variant in VARIANTS {
        let mut service = Service::balance("admin", variant, backend, &["--admin", "127.0.0.1:0"]);
        let addresses = |service: &mut Service| (service.listening(), service.address("admin on http://"));
        let first = addresses(&mut service);
        let ready = || {
            let mut client = Wire::connect(first.1);
            client.send("GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.message().status()
        };
        assert_eq!(ready(), 200);
        service.replace();
        assert_eq!(addresses(&mut service), first, "{variant:?}");
        assert_eq!(service.first.wait().unwrap().code(), Some(0));
        assert_eq!(ready(), 200);
        service.signal(Signal::TERM);
        service.ends();
    }
}

/// A socket that blocks, as systemd passes it.
fn socket() -> (SocketAddr, OwnedFd) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    (socket.local_addr().unwrap(), socket.into())
}

fn pass(command: &mut Command, descriptors: impl IntoIterator<Item = OwnedFd>) {
    let mappings: Vec<_> = descriptors
        .into_iter()
        .zip(3..)
        .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
        .collect();
    command.env("LISTEN_FDS", mappings.len().to_string());
    command.fd_mappings(mappings).unwrap();
}

#[test]
fn sockets_of_systemd_are_taken_by_their_address_or_all_of_them() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    for variant in VARIANTS {
        let sockets: Vec<_> = (0..3).map(|_| socket()).collect();
        let (addresses, descriptors): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
        let admin = addresses[1].to_string();
        let start = |descriptors: Vec<OwnedFd>, more: &[&str]| {
            let folder = Folder::new("activated");
            folder.install();
            let mut command = Command::new("sh");
            // As systemd does: LISTEN_PID is the number of the process that the program has.
            command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(folder.program());
            command
                .args(["balance", "--backend", &backend, "--admin", &admin])
                .args(variant.arguments())
                .args(more);
            pass(&mut command, descriptors);
            let service = Service::start(folder, &mut command);
            drop(command);
            service
        };
        // Without --listen: all but that of the admin listener, in their order. A client that came before is served.
        let copies = descriptors.iter().map(|descriptor| descriptor.try_clone().unwrap()).collect();
        let mut early = Wire::connect(addresses[2]);
        let mut service = start(copies, &[]);
        assert_eq!([service.listening(), service.listening()], [addresses[0], addresses[2]]);
        assert_eq!(service.address("admin on http://"), addresses[1]);
        assert_eq!(request(&mut early), None, "{variant:?}");
        service.replace();
        assert_eq!([service.listening(), service.listening()], [addresses[0], addresses[2]], "{variant:?}");
        service.signal(Signal::TERM);
        assert_eq!(request(&mut early).as_deref(), Some("close"));
        service.ends();
        // With --listen: the socket with this address; the other is closed.
        let listen = addresses[2].to_string();
        let mut service = start(descriptors, &["--listen", &listen, "--listen", "127.0.0.1:0"]);
        assert_eq!(service.listening(), addresses[2]);
        assert_eq!(service.listening(), addresses[0], "port 0 takes what is left");
        service.signal(Signal::TERM);
        service.ends();
    }
}

#[test]
fn what_is_not_wanted_is_closed_and_named() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    let start = |descriptors: Vec<OwnedFd>, set: &str| {
        let folder = Folder::new("unwanted");
        folder.install();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{set} exec \"$@\""), "sh"]).arg(folder.program());
        command.args(["balance", "--backend", &backend, "--listen", "[::1]:0"]);
        pass(&mut command, descriptors);
        Service::start(folder, &mut command)
    };
    let (unwanted, descriptor) = socket();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let connected = TcpStream::connect(unwanted).unwrap().into();
    let mut service = start(vec![datagrams, connected, descriptor], "");
    assert!(service.listening().is_ipv6());
    for n in 0..2 {
        let expected =
            format!("neraca: warn: inherited descriptor {n} is ignored: expected a listening TCP socket");
        assert_eq!(service.next_error(), expected);
    }
    let error = service.next_error();
    assert!(error.contains(&format!("no listener wants the inherited socket of {unwanted}")), "{error}");
    assert!(error.ends_with(&format!("expected '--listen {unwanted}'")), "{error}");
    assert!(TcpStream::connect(unwanted).is_err());
    // Sockets for another process are not ours.
    let (other, descriptor) = socket();
    let mut service = start(vec![descriptor], "LISTEN_PID=1");
    assert_ne!(service.listening(), other);
    service.signal(Signal::TERM);
    assert_eq!(service.ends(), (Some(0), String::new()));
}

#[test]
fn systemd_hears_of_readiness_progress_and_the_stop() {
    let backend = automatic(CROSSBEAM, ok).to_string();
    for variant in VARIANTS {
        let folder = Folder::new("watchdog");
        folder.install();
        let mut command = Command::new("sh");
        command.args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"]).arg(folder.program());
        command.args(["balance", "--backend", &backend, "--listen", "127.0.0.1:0"]).args(variant.arguments());
        command.env("WATCHDOG_USEC", "1000000");
        let mut service = Service::start(folder, &mut command);
        for _ in 0..2 {
            assert_eq!(service.notified(), "WATCHDOG=1\n", "{variant:?}");
        }
        service.signal(Signal::USR2);
        let mut told = service.notified();
        while told == "WATCHDOG=1\n" {
            told = service.notified();
        }
        let main = told.strip_prefix("MAINPID=").and_then(|rest| rest.strip_suffix("\nREADY=1\n")).unwrap();
        service.mains.push(Pid::from_raw(main.parse().unwrap()).unwrap());
        assert_eq!(service.first.wait().unwrap().code(), Some(0), "{variant:?}");
        for _ in 0..3 {
            assert_eq!(service.notified(), "WATCHDOG=1\n", "{variant:?}");
        }
        service.signal(Signal::TERM);
        eventually("the stop is told", || service.notified() == "STOPPING=1\n");
        service.ends();
    }
}
