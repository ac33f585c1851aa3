//! Programs that are started for a measurement, each in a session and a process group of its own, none of which
//! outlives us.
//!
//! A session is what the kernel shares time out to where it groups by session (`kernel.sched_autogroup_enabled`), as a
//! service manager's groups are elsewhere. In one session together, a balancer of two processes would get twice the
//! time of one that runs on a single thread.
//!
//! Groups are told to a guard process over a pipe. When the pipe ends, however we died, the guard kills what is
//! still on its list. (A death signal set in the child would not reach the workers of a master.)

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitIdOptions, getpgid, kill_process_group, waitid};

use crate::proc;

/// How long a program may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tells the guard process which groups live.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: Mutex<Option<ChildStdin>>,
    child: Child,
}

impl Guard {
    /// Starts the guard: this program with the argument `guard`. It also removes the scratch directory.
    pub(crate) fn start(scratch: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("guard").arg(scratch).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let pipe = Mutex::new(child.stdin.take());
        Ok(Guard { pipe, child })
    }

    fn tell(&self, sign: char, group: u32) -> io::Result<()> {
        let mut pipe = self.pipe.lock().map_err(|_| io::ErrorKind::Other)?;
        writeln!(pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?, "{sign}{group}")
    }
}

impl Drop for Guard {
    /// Its list is empty by now: programs borrow the guard.
    fn drop(&mut self) {
        if let Ok(mut pipe) = self.pipe.lock() {
            drop(pipe.take());
        }
        let _ = self.child.wait();
    }
}

/// What the guard process does: `+12` puts group 12 on the list, `-12` takes it off, and at the end the list dies.
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

/// A program that runs. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    child: Child,
    guard: &'a Guard,
    ended: bool,
}

impl<'a> Program<'a> {
    /// Starts `words` with both outputs in files.
    pub(crate) fn start<W: AsRef<OsStr>>(
        words: &[W],
        environment: &[(&str, &OsStr)],
        stdout: &Path,
        stderr: &Path,
        guard: &'a Guard,
    ) -> io::Result<Self> {
        let mut command = Command::new("setsid");
        command.args(words).envs(environment.iter().copied()).stdin(Stdio::null());
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

    /// Its process group, which is also the number of its first process.
    pub(crate) fn group(&self) -> u32 {
        self.child.id()
    }

    /// Whether its first process has ended. Its counters can still be read until [`Program::stop`].
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&self.child);
        !matches!(waitid(rustix::process::WaitId::Pid(pid), options), Ok(None))
    }

    /// Lets it end by itself, then makes it.
    pub(crate) fn stop(mut self) -> io::Result<ExitStatus> {
        if !self.has_ended() {
            signal(self.group(), Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end()
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.ended = true;
        signal(self.group(), Signal::KILL);
        let status = self.child.wait();
        let deadline = Instant::now() + PATIENCE;
        while proc::is_alive(self.group()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
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
