//! The programs of a measurement. Each program has its own session and its own process group, and no program outlives
//! this process.
//!
//! With `kernel.sched_autogroup_enabled` the kernel shares the CPU time between sessions. Programs in one session would
//! share the session's time per thread. So a balancer with two processes would get twice the time of a balancer with
//! one thread.
//!
//! Each program has a guard, which kills the group when this process dies. (A parent-death signal would not reach the
//! workers of a master process.)

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitIdOptions, getpgid, kill_process_group, waitid};

use crate::run::proc;

/// Maximum time for a program to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

/// A shell that runs a command when the guard is dropped, or when this process dies. Both end the pipe to the shell.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn start(command: &[&str]) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read -r _; \"$@\"", "guard"]).args(command).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Guard)
    }
}

impl Drop for Guard {
    /// Waiting closes the pipe first.
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

/// Waits until a condition holds, at most for [`PATIENCE`].
fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command in a directory. Returns its stdout.
pub(crate) fn printed(directory: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).current_dir(directory).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A running program. Its group is killed on drop.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    /// Kills the group; None when the program has ended.
    guard: Option<Guard>,
}

impl Program {
    /// Starts a command line with both outputs in files.
    pub(crate) fn start<W: AsRef<OsStr>>(words: &[W], stdout: &Path, stderr: &Path) -> io::Result<Self> {
        let mut command = Command::new("setsid");
        command.args(words).stdin(Stdio::null());
        let mut child = command.stdout(File::create(stdout)?).stderr(File::create(stderr)?).spawn()?;
        let guard = Guard::start(&["kill", "-s", "KILL", "--", &format!("-{}", child.id())]);
        let guard = Some(guard.inspect_err(|_| drop(child.kill()))?);
        let program = Program { child, guard };
        let pid = Pid::from_child(&program.child);
        while getpgid(Some(pid)) != Ok(pid) && !program.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(program)
    }

    /// Returns the process group, which is also the id of the first process.
    pub(crate) fn group(&self) -> u32 {
        self.child.id()
    }

    /// True when the first process has ended. Its counters can be read until [`Program::stop`].
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&self.child);
        !matches!(waitid(rustix::process::WaitId::Pid(pid), options), Ok(None))
    }

    /// Asks the program to end, and kills it when it does not end in time.
    pub(crate) fn stop(mut self) -> io::Result<ExitStatus> {
        if !self.has_ended() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::TERM);
        }
        wait_until(|| self.has_ended());
        self.end()
    }

    /// Kills the group while the id of its first process is still in use.
    fn end(&mut self) -> io::Result<ExitStatus> {
        drop(self.guard.take());
        let status = self.child.wait();
        wait_until(|| !proc::is_alive(self.group()));
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.guard.is_some() {
            let _ = self.end();
        }
    }
}
