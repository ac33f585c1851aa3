//! The program under test, as processes of its own.
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Arguments, Outcome};

/// Maximum time for a process to get ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program and the processes that have replaced it. All are killed on drop.
pub(crate) struct Service {
    child: Child,
    manager: UnixDatagram,
    main: Pid,
    pub(crate) addresses: Vec<SocketAddr>,
    /// The address of the admin listener, if there is one.
    pub(crate) admin: Option<SocketAddr>,
}

/// A file server with so many addresses.
pub(crate) fn servers(
    arguments: &Arguments,
    place: &Path,
    engine: &str,
    count: usize,
) -> Outcome<(Service, Vec<SocketAddr>)> {
    let root = place.join("root");
    fs::create_dir_all(&root)?;
    fs::write(root.join("index.html"), [b'#'; 128])?;
    let mut command = Command::new(&arguments.neraca);
    command.args(["serve", "--engine", engine, "--root"]).arg(&root);
    for _ in 0..count {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let servers = Service::start(&mut command, place, "servers", count)?;
    let addresses = servers.addresses.clone();
    Ok((servers, addresses))
}

impl Service {
    /// Starts a balancer over these backends, with one listener.
    pub(crate) fn balance(
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

    /// Starts the program, which has this number of listeners, and waits until it is ready. `name` is the name of a socket.
    pub(crate) fn start(command: &mut Command, place: &Path, name: &str, listeners: usize) -> Outcome<Self> {
        let socket = place.join(name);
        let manager = UnixDatagram::bind(&socket)?;
        manager.set_read_timeout(Some(PATIENCE))?;
        let mut child = command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let main = Pid::from_child(&child);
        let mut service = Service { child, manager, main, addresses: Vec::new(), admin: None };
        let mut lines = BufReader::new(output).lines();
        for _ in 0..listeners {
            let line = lines.next().ok_or("the program has printed no address")??;
            let address = line.strip_prefix("listening on http://").ok_or_else(|| format!("{line:?}"))?;
            service.addresses.push(address.parse()?);
        }
        if command.get_args().any(|argument| argument == "--admin") {
            let line = lines.next().ok_or("the program has printed no address of the admin listener")??;
            let address = line.strip_prefix("admin on http://").ok_or_else(|| format!("{line:?}"))?;
            service.admin = Some(address.trim_end_matches("/status").parse()?);
        }
        service.note_main()?;
        Ok(service)
    }

    /// Waits until a process says that it is the main one and ready.
    pub(crate) fn note_main(&mut self) -> Outcome<()> {
        let mut message = [0; 1000];
        let length = self.manager.recv(&mut message)?;
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        let main = message.lines().find_map(|line| line.strip_prefix("MAINPID="));
        let main = main.ok_or_else(|| format!("{message:?} is no main process"))?.parse()?;
        self.main = Pid::from_raw(main).ok_or("process 0")?;
        Ok(())
    }

    /// Reads the messages that have come. A process waits while too many are not read.
    pub(crate) fn discard_messages(&self) -> Outcome<()> {
        self.manager.set_nonblocking(true)?;
        while self.manager.recv(&mut [0; 1000]).is_ok() {}
        Ok(self.manager.set_nonblocking(false)?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Outcome<()> {
        Ok(kill_process(self.main, signal)?)
    }

    /// Returns the resident memory of the main process in KB.
    pub(crate) fn resident_kb(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.main.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?.parse()?)
    }

    /// Returns the sum of a metric over all labels that `counts` accepts.
    pub(crate) fn metric(&self, name: &str, counts: impl Fn(&str) -> bool) -> Outcome<f64> {
        let mut admin = TcpStream::connect(self.admin.ok_or("no admin listener")?)?;
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        admin.read_to_string(&mut text)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let values = lines.filter(|(labels, _)| counts(labels)).map(|(_, value)| value.parse::<f64>());
        Ok(values.sum::<Result<f64, _>>()?)
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
