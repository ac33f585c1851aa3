//! Replaces the running program ten times, and stops one of two replicas, while `wrk` sends requests over 1000 connections, on both
//! engines. The exit code is 1 when a request fails. Needs wrk.
//!
//!     cargo run --release --example replace -- --neraca target/release/neraca [--seconds 30] [--connections 1000]
//!
//! wrk counts a failed request as a socket error: when it cannot connect, and when a connection ends before the response is
//! complete. A close behind a response with `Connection: close` is no error: wrk connects again.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};

const REPLACEMENTS: u32 = 10;
/// Maximum time for a process to get ready.
const PATIENCE: Duration = Duration::from_secs(20);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Arguments {
    /// The program.
    #[arg(long)]
    neraca: PathBuf,
    /// Seconds of each load.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Connections of wrk.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let place = std::env::temp_dir().join(format!("neraca-replace-{}", std::process::id()));
    let mut good = true;
    for engine in ["thread", "async"] {
        for (name, case) in [
            ("ten replacements", replacements as fn(&Arguments, &Path, &str) -> Outcome<bool>),
            ("SIGTERM of one of two replicas", replicas),
        ] {
            let run = fs::create_dir_all(&place)
                .map_err(Into::into)
                .and_then(|()| case(&arguments, &place, engine));
            match run {
                Ok(well) => good &= well,
                Err(error) => {
                    eprintln!("replace: {engine}: {name}: {error}");
                    good = false;
                }
            }
            let _ = fs::remove_dir_all(&place);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ten times SIGUSR2 to the main process of a balancer.
fn replacements(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<bool> {
    let (_servers, backends) = servers(arguments, place, engine)?;
    let mut balancer = Service::balance(arguments, place, "balancer", engine, &backends, &[])?;
    let mut took = Vec::new();
    let output = under_load(arguments, balancer.addresses[0], || {
        for _ in 0..REPLACEMENTS {
            thread::sleep(Duration::from_secs(arguments.seconds) / (REPLACEMENTS + 1));
            let from = Instant::now();
            balancer.signal(Signal::USR2)?;
            balancer.note_main()?;
            took.push(from.elapsed().as_millis());
        }
        Ok(())
    })?;
    took.sort_unstable();
    println!("{engine}: {} replacements; a new process was ready after {took:?} ms", took.len());
    Ok(judge(engine, &output))
}

/// SIGTERM of one of two balancers behind a third one.
fn replicas(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<bool> {
    let (_servers, backends) = servers(arguments, place, engine)?;
    let first = Service::balance(arguments, place, "first", engine, &backends, &[])?;
    let second = Service::balance(arguments, place, "second", engine, &backends, &[])?;
    let both = [first.addresses[0], second.addresses[0]];
    let outer = Service::balance(arguments, place, "outer", engine, &both, &[])?;
    let output = under_load(arguments, outer.addresses[0], || {
        thread::sleep(Duration::from_secs(arguments.seconds) / 2);
        first.signal(Signal::TERM)
    })?;
    println!("{engine}: SIGTERM of one of two replicas behind a third balancer");
    Ok(judge(engine, &output))
}

/// Runs wrk, and the action meanwhile.
fn under_load(
    arguments: &Arguments,
    to: SocketAddr,
    action: impl FnOnce() -> Outcome<()>,
) -> Outcome<String> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "2", "-c", &arguments.connections.to_string(), "-d", &format!("{}s", arguments.seconds)]);
    let wrk = wrk.arg(format!("http://{to}/")).stdout(Stdio::piped()).spawn()?;
    let acted = action();
    let Output { status, stdout, .. } = wrk.wait_with_output()?;
    acted?;
    if !status.success() {
        return Err(format!("wrk: {status}").into());
    }
    Ok(String::from_utf8(stdout)?)
}

/// Prints what matters of wrk's output. True when no request has failed.
fn judge(engine: &str, output: &str) -> bool {
    let lines = ["requests in", "Socket errors", "Non-2xx", "Requests/sec"];
    for line in output.lines().filter(|line| lines.iter().any(|part| line.contains(part))) {
        println!("{engine}:   {}", line.trim());
    }
    let has_failed = output.contains("Socket errors") || output.contains("Non-2xx");
    let has_run = output.lines().any(|line| line.contains("requests in") && !line.trim().starts_with("0 "));
    println!("{engine}:   {}", if has_failed { "requests have failed" } else { "0 failed requests" });
    has_run && !has_failed
}

/// A file server with three addresses.
fn servers(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<(Service, Vec<SocketAddr>)> {
    let root = place.join("root");
    fs::create_dir_all(&root)?;
    fs::write(root.join("index.html"), [b'#'; 128])?;
    let mut command = Command::new(&arguments.neraca);
    command.args(["serve", "--engine", engine, "--root"]).arg(&root);
    for _ in 0..3 {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let servers = Service::start(&mut command, place, "servers", 3)?;
    let addresses = servers.addresses.clone();
    Ok((servers, addresses))
}

/// A running program and the processes that have replaced it. All are killed on drop.
struct Service {
    child: Child,
    manager: UnixDatagram,
    main: Pid,
    addresses: Vec<SocketAddr>,
}

impl Service {
    fn balance(
        arguments: &Arguments,
        place: &Path,
        name: &str,
        engine: &str,
        backends: &[SocketAddr],
        more: &[&str],
    ) -> Outcome<Self> {
        let mut command = Command::new(&arguments.neraca);
        command.args(["balance", "--engine", engine, "--listen", "127.0.0.1:0"]).args(more);
        for backend in backends {
            command.args(["--backend", &backend.to_string()]);
        }
        Service::start(&mut command, place, name, 1)
    }

    /// Starts the program, which prints this number of addresses.
    fn start(command: &mut Command, place: &Path, name: &str, addresses: usize) -> Outcome<Self> {
        let socket = place.join(name);
        let manager = UnixDatagram::bind(&socket)?;
        manager.set_read_timeout(Some(PATIENCE))?;
        let mut child = command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let main = Pid::from_child(&child);
        let mut service = Service { child, manager, main, addresses: Vec::new() };
        let mut lines = BufReader::new(output).lines();
        for _ in 0..addresses {
            let line = lines.next().ok_or("the program has printed no address")??;
            let address = line.strip_prefix("listening on http://").ok_or_else(|| format!("{line:?}"))?;
            service.addresses.push(address.parse()?);
        }
        service.note_main()?;
        Ok(service)
    }

    /// Waits until a process says that it is the main one and ready.
    fn note_main(&mut self) -> Outcome<()> {
        let mut message = [0; 1000];
        let length = self.manager.recv(&mut message)?;
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        let main = message.lines().find_map(|line| line.strip_prefix("MAINPID="));
        let main = main.ok_or_else(|| format!("{message:?} is no main process"))?.parse()?;
        self.main = Pid::from_raw(main).ok_or("process 0")?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        Ok(kill_process(self.main, signal)?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.main != Pid::from_child(&self.child) {
            let _ = kill_process(self.main, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
