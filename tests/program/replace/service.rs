//! The program as a service: the test is its service manager.
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, Variant, eventually};

/// A folder of one test, removed on drop.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// The path of the program: a link that a test may change.
    pub(super) fn program(&self) -> PathBuf {
        self.0.join("neraca")
    }

    /// Puts the real program in its place.
    pub(super) fn install(&self) {
        let _ = fs::remove_file(self.program());
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_neraca"), self.program()).unwrap();
    }

    /// Puts a script in the place of the program.
    pub(super) fn install_script(&self, body: &str) {
        use std::os::unix::fs::PermissionsExt;
        let script = self.0.join("script");
        fs::write(&script, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(script, self.program()).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program and the processes that have replaced it. All are killed on drop.
pub(super) struct Service {
    pub(super) folder: Folder,
    pub(super) first: Child,
    manager: UnixDatagram,
    /// Each main process so far.
    pub(super) mains: Vec<Pid>,
    output: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
}

impl Service {
    /// Starts `neraca balance` over this backend with a free port.
    pub(super) fn balance(name: &str, variant: Variant, backend: SocketAddr, more: &[&str]) -> Self {
        let folder = Folder::new(name);
        folder.install();
        let mut command = Command::new(folder.program());
        command.args(["balance", "--backend", &backend.to_string()]).args(variant.arguments()).args(more);
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Service::start(folder, &mut command)
    }

    /// Starts the program. Returns when it is ready.
    pub(super) fn start(folder: Folder, command: &mut Command) -> Self {
        let socket = folder.0.join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        command.env("NOTIFY_SOCKET", &socket).env("NERACA_LOG", "warn");
        let mut first = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(first.stdout.take().unwrap());
        let errors = BufReader::new(first.stderr.take().unwrap());
        let mut service = Service { folder, first, manager, mains: Vec::new(), output, errors };
        service.note_main();
        assert_eq!(service.main(), Pid::from_child(&service.first));
        service
    }

    /// Waits for the next notification.
    pub(super) fn notified(&self) -> String {
        let mut message = [0; 1000];
        let length = self.manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits until a process says that it is the main one and ready.
    pub(super) fn note_main(&mut self) {
        let message = self.notified();
        let mut lines = message.lines();
        let main =
            lines.next().and_then(|line| line.strip_prefix("MAINPID=")).and_then(|pid| pid.parse().ok());
        self.mains.push(Pid::from_raw(main.unwrap_or_else(|| panic!("{message:?}"))).unwrap());
        assert_eq!(lines.collect::<Vec<_>>(), ["READY=1"]);
    }

    pub(super) fn main(&self) -> Pid {
        *self.mains.last().unwrap()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.main(), signal).unwrap();
    }

    /// Replaces the program. Returns when the new process is ready and the old one has closed its listeners.
    pub(super) fn replace(&mut self) {
        let old = self.main();
        self.signal(Signal::USR2);
        self.note_main();
        let new = self.main();
        assert_ne!(old, new);
        eventually("they share no socket", || sockets_of(old).is_disjoint(&sockets_of(new)));
    }

    /// The address in the next line of the output, which begins with `before`. The lines for people are passed over.
    pub(super) fn address(&mut self, before: &str) -> SocketAddr {
        let is_for_people = |line: &String| line.starts_with("balancing ") || line.contains("see the status");
        let mut lines = std::iter::repeat_with(|| next_line(&mut self.output));
        let line = lines.find(|line| !is_for_people(line)).unwrap();
        let address = line.strip_prefix(before).unwrap_or_else(|| panic!("{line:?}"));
        address.trim_end_matches("/status").parse().unwrap()
    }

    pub(super) fn listening(&mut self) -> SocketAddr {
        self.address("listening on http://")
    }

    pub(super) fn next_error(&mut self) -> String {
        next_line(&mut self.errors)
    }

    /// Waits until every process has ended. Returns the exit code of the first one, and what was printed on stderr meanwhile.
    pub(super) fn ends(&mut self) -> (Option<i32>, String) {
        let (mut output, mut errors) = (String::new(), String::new());
        self.output.read_to_string(&mut output).unwrap();
        self.errors.read_to_string(&mut errors).unwrap();
        (self.first.wait().unwrap().code(), errors)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        for main in &self.mains[1.min(self.mains.len())..] {
            let _ = kill_process(*main, Signal::KILL);
        }
    }
}

/// The sockets of a process, as the kernel names them. None when the process has ended.
fn sockets_of(process: Pid) -> BTreeSet<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero()));
    let links =
        descriptors.into_iter().flatten().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).collect()
}

fn next_line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
