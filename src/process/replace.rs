//! Replacing the program without closing a listening socket: the new program is started with the sockets, and reports that it
//! is ready.
use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};

use super::sockets::READY_NAME;

/// Maximum time for the new program to get ready. Then it is ended, and the old process goes on.
const START_MAX: Duration = Duration::from_secs(60);
/// The first descriptor that is passed; sd_listen_fds(3) fixes this number.
const FIRST_DESCRIPTOR: i32 = 3;
/// The name of the listening sockets, for people who look at the environment of the process.
const LISTENER_NAME: &str = "neraca";

/// The file of this program, and its arguments.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Must be called at the start: an upgrade puts another file in the place of this program.
    ///
    /// # Errors
    /// When the kernel does not tell the file of this program.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let (name, running) = (arguments.next().unwrap_or_default(), env::current_exe()?);
        let search = env::var_os("PATH").unwrap_or_default();
        Ok(Program { path: path_of(Path::new(&name), running, &search), arguments: arguments.collect() })
    }
}

/// Returns the path under which the program was called, if this is the file that runs. The path may be a symbolic link that an
/// upgrade changes, so the link is not followed.
fn path_of(name: &Path, running: PathBuf, search: &std::ffi::OsStr) -> PathBuf {
    let candidates: Vec<PathBuf> = match name.components().count() {
        1 if name.is_relative() && !name.starts_with(".") => {
            env::split_paths(search).map(|directory| directory.join(name)).collect()
        }
        _ => vec![name.to_owned()],
    };
    let absolute = candidates.iter().filter_map(|path| std::path::absolute(path).ok());
    let runs = |path: &PathBuf| path.canonicalize().is_ok_and(|file| file == running);
    absolute.into_iter().find(runs).unwrap_or(running)
}

/// The process of the new program.
#[derive(Debug)]
pub(super) struct Successor {
    child: Child,
}

impl Successor {
    /// Starts the program with these sockets. `report` is called once, on another thread: with true when the new process is
    /// ready, with false when it ends or [`START_MAX`] passes before.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) fn start(
        program: &Program,
        sockets: Vec<TcpListener>,
        report: impl FnOnce(bool) + Send + 'static,
    ) -> io::Result<Self> {
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(START_MAX))?;
        let mut names = vec![LISTENER_NAME; sockets.len()];
        names.push(READY_NAME);
        let descriptors = sockets.into_iter().map(OwnedFd::from).chain([theirs.into()]);
        let mappings = descriptors
            .zip(FIRST_DESCRIPTOR..)
            .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
            .collect();
        let mut command = Command::new(&program.path);
        command.args(&program.arguments);
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        // Nobody knows the child's number before the child runs. Without LISTEN_PID, listenfd takes the sockets; and without
        // WATCHDOG_PID, the watchdog is for the new process.
        command.env_remove("LISTEN_PID").env_remove("WATCHDOG_PID");
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let child = command.spawn()?;
        // The command owns our descriptor of the child's end. The end of the child is seen only when no other is open.
        drop(command);
        let wait = move || {
            let is_ready = ours.read_exact(&mut [0]).is_ok();
            report(is_ready);
        };
        thread::Builder::new().name("successor".to_owned()).spawn(wait)?;
        Ok(Successor { child })
    }

    /// The number of the process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to stop.
    pub(super) fn stop(&self) {
        if let Err(error) = kill_process(Pid::from_child(&self.child), Signal::TERM) {
            log::warn!("cannot stop the new process {}: {error}", self.child.id());
        }
    }

    /// Ends the process, which has not become ready. Returns how it has ended.
    pub(super) fn end(mut self) -> String {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_call_is_kept_when_it_is_the_running_file() {
        let place = env::temp_dir().join(format!("neraca-path-{}", std::process::id()));
        std::fs::create_dir_all(place.join("bin")).unwrap();
        let place = place.canonicalize().unwrap();
        let running = place.join("neraca-1");
        std::fs::write(&running, "").unwrap();
        std::fs::write(place.join("other"), "").unwrap();
        std::os::unix::fs::symlink(&running, place.join("bin/neraca")).unwrap();
        let search = env::join_paths([place.join("none"), place.join("bin")]).unwrap();
        // first argument, path
        let link = place.join("bin/neraca");
        let cases = [
            (running.clone(), &running),
            (link.clone(), &link),
            (PathBuf::from("neraca"), &link),
            (PathBuf::from("./neraca"), &running),
            (PathBuf::from("nobody"), &running),
            (place.join("other"), &running),
            (PathBuf::new(), &running),
        ];
        for (name, expected) in cases {
            assert_eq!(path_of(&name, running.clone(), &search), *expected, "{name:?}");
        }
        std::fs::remove_dir_all(place).unwrap();
    }
}
