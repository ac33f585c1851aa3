//! The real program as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::wire::Wire;
use super::{PATIENCE, Variant};

/// A running `neraca`, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// `command` is `balance` or `serve`. Returns once it listens.
    pub(crate) fn start(command: &str, variant: Variant, arguments: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
        program.arg(command).args(["--listen", "127.0.0.1:0"]).args(variant.arguments()).args(arguments);
        Program::spawn(&mut program)
    }

    /// Starts a balancer with an admin listener. Returns the address of the admin listener, too.
    pub(crate) fn with_admin(variant: Variant, arguments: &[&str]) -> (Self, SocketAddr) {
        let (program, admin, _) = Program::with_admin_and_output(variant, arguments, Stdio::inherit());
        (program, admin)
    }

    /// The same with another stderr. Returns the rest of the program's output, too.
    pub(crate) fn with_admin_and_output(
        variant: Variant,
        arguments: &[&str],
        stderr: Stdio,
    ) -> (Self, SocketAddr, BufReader<ChildStdout>) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
        program.args(["balance", "--listen", "127.0.0.1:0"]).stderr(stderr);
        if !arguments.contains(&"--admin") {
            program.args(["--admin", "127.0.0.1:0"]);
        }
        let (program, mut output) = Program::read(program.args(variant.arguments()).args(arguments));
        let line = next_line(&mut output);
        let admin = line.strip_prefix("admin on http://").and_then(|rest| rest.strip_suffix("/status"));
        let admin = admin.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        (program, admin, output)
    }

    /// Starts a balancer with a configuration file that has two listeners. Returns the address of the second, too.
    pub(crate) fn with_file(file: &Path, variant: Variant) -> (Self, SocketAddr) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
        let program = program.args(["balance", "--config"]).arg(file).args(variant.arguments());
        let (program, mut output) = Program::read(program);
        let line = next_line(&mut output);
        (program, listening(&line))
    }

    /// Starts a balancer with a configuration file that has one listener and an admin listener. Returns the address of the
    /// admin listener, too.
    pub(crate) fn with_file_and_admin(file: &Path, variant: Variant) -> (Self, SocketAddr) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
        let program = program.args(["balance", "--config"]).arg(file).args(variant.arguments());
        let (program, mut output) = Program::read(program);
        let line = next_line(&mut output);
        let admin = line.strip_prefix("admin on http://").and_then(|rest| rest.strip_suffix("/status"));
        (program, admin.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap())
    }

    /// The same with at most so many descriptors.
    pub(crate) fn with_descriptors(limit: u64, variant: Variant, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]);
        shell.arg(env!("CARGO_BIN_EXE_neraca")).args(["balance", "--listen", "127.0.0.1:0"]);
        Program::spawn(shell.args(variant.arguments()).args(arguments))
    }

    /// Starts a balancer on a system that trusts the authorities in this file.
    pub(crate) fn with_authorities(file: &Path, variant: Variant, arguments: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_neraca"));
        program.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR").args([
            "balance",
            "--listen",
            "127.0.0.1:0",
        ]);
        Program::spawn(program.args(variant.arguments()).args(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        Program::read(command).0
    }

    /// Starts the program and reads its first line. Returns the rest of its output, too.
    fn read(command: &mut Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let line = next_line(&mut output);
        (Program { address: listening(&line), child }, output)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not exit");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Processor time so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let behind_name = stat.rsplit_once(") ").unwrap().1;
        behind_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// The most memory it has had so far.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line of a listener.
fn listening(line: &str) -> SocketAddr {
    let url = line.strip_prefix("listening on http").unwrap_or_else(|| panic!("{line:?}"));
    url.trim_start_matches('s').trim_start_matches("://").parse().unwrap()
}

fn next_line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// As many descriptors for this process as it may have; at least `wanted`.
pub(crate) fn raise_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{wanted} descriptors are needed: {limit:?}"
    );
}
