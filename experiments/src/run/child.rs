//! The programs of a measurement. Each program has its own session and its own process group, and no program outlives
//! this process.
//!
//! With `kernel.sched_autogroup_enabled` the kernel shares the CPU time between sessions. Programs in one session would
//! share the session's time per thread. So a balancer with two processes would get twice the time of a balancer with
//! one thread.
//!
//! A guard process gets the list of groups over a pipe. When this process dies, the pipe ends, and the guard kills the
//! groups on its list. (A parent-death signal would not reach the workers of a master process.)

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitIdOptions, getpgid, kill_process_group, waitid};

use crate::run::proc;

/// Maximum time for a program to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

/// The guard process, whose stdin is the pipe.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts the guard: this program with the argument `guard`. The guard also removes the scratch directory.
    pub(crate) fn start(scratch: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("guard").arg(scratch).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        Ok(Guard { child: command.spawn()? })
    }

    fn tell(&self, sign: char, group: u32) -> io::Result<()> {
        // One write, which no other thread can interrupt in a pipe.
        let mut pipe = self.child.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(format!("{sign}{group}\n").as_bytes())
    }
}

impl Drop for Guard {
    /// The guard's list is empty now, because programs borrow the guard. Waiting closes the pipe first.
    fn drop(&mut self) {
        let _ = self.child.wait();
    }
}

/// Runs the guard process. `+12` adds group 12 to the list, `-12` removes it. At the end of the input, the guard kills
/// all groups on the list.
pub(crate) fn guard(input: impl BufRead, scratch: &Path) {
    let mut groups = BTreeSet::new();
    for line in input.lines().map_while(Result::ok) {
        match line.split_at_checked(1).and_then(|(sign, group)| Some((sign, group.parse::<u32>().ok()?))) {
            Some(("+", group)) => drop(groups.insert(group)),
            Some(("-", group)) => drop(groups.remove(&group)),
            _ => {}
        }
    }
    for group in groups {
        signal(group, Signal::KILL);
    }
    let _ = std::fs::remove_dir_all(scratch);
}

fn signal(group: u32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group as i32) {
        let _ = kill_process_group(group, signal);
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
pub(crate) struct Program<'a> {
    child: Child,
    guard: &'a Guard,
    ended: bool,
}

impl<'a> Program<'a> {
    /// Starts a command line with both outputs in files.
    pub(crate) fn start<W: AsRef<OsStr>>(
        words: &[W],
        stdout: &Path,
        stderr: &Path,
        guard: &'a Guard,
    ) -> io::Result<Self> {
        let mut command = Command::new("setsid");
        command.args(words).stdin(Stdio::null());
        command.stdout(File::create(stdout)?).stderr(File::create(stderr)?);
        let child = command.spawn()?;
        let program = Program { child, guard, ended: false };
        guard.tell('+', program.group())?;
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
            signal(self.group(), Signal::TERM);
        }
        wait_until(|| self.has_ended());
        self.end()
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.ended = true;
        signal(self.group(), Signal::KILL);
        let status = self.child.wait();
        wait_until(|| !proc::is_alive(self.group()));
        self.guard.tell('-', self.group())?;
        status
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.end();
        }
    }
}
