//! Starts and configures the programs of a measurement, and waits for them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, iter, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::plans::build::FILES;
use crate::plans::given::BACKENDS;
use crate::plans::model::{Cell, Handshakes, Target, What, Work};
use crate::plans::targets;
use crate::run::child::{Guard, Program};
use crate::run::files::{read_json, said};
use crate::run::load::{self, Pace, Spec, Tally, request};
use crate::run::reply::{Verdict, ask};
use crate::run::wrk::{self, Client};
use crate::run::{handshakes, ports, profile};

/// Time between two looks at files and processes during a run.
const LOOK: Duration = Duration::from_millis(10);
/// Maximum time for a program to start listening, or to end after its work.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for which the kernel keeps the port of a connection that has ended, and a little more.
const TIME_WAIT: Duration = Duration::from_secs(65);

/// The reason why a measurement gave no numbers, or why a command is not complete.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A signal asked us to stop.
    Interrupted(String),
    /// The cell failed; the text becomes the cell's result.
    Failed(String),
    /// The command cannot begin, or the laboratory itself cannot continue.
    Broken(String),
}

/// The result of work that a signal may interrupt.
pub(crate) type Result<T, E = Trouble> = std::result::Result<T, E>;

impl From<String> for Trouble {
    fn from(said: String) -> Self {
        Trouble::Broken(said)
    }
}

pub(crate) fn failed(what: &str) -> impl Fn(io::Error) -> Trouble + '_ {
    move |error| Trouble::Failed(format!("{what}: {error}"))
}

/// The data that all cells share.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    pub(crate) neraca: PathBuf,
    /// A directory for configurations, logs and the served files (`root`). No other process deletes files in it.
    pub(crate) scratch: PathBuf,
    /// Set by the first SIGINT or SIGTERM. The second signal ends the process.
    pub(crate) stop: Arc<AtomicBool>,
    /// The process group of a program that disturbs every measurement on purpose.
    pub(crate) disturbance: Option<u32>,
}

/// Makes the laboratory in a temporary directory, and runs work in it. Afterwards no program runs and the directory is
/// removed.
pub(crate) fn with<T>(neraca: &Path, work: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| error.to_string())?;
    }
    let scratch = std::env::temp_dir().join(format!("neraca-lab-{}", std::process::id()));
    let root = scratch.join("root");
    fs::create_dir_all(&root).map_err(said(&root))?;
    let remove = ["rm", "-rf", "--", &scratch.display().to_string()];
    let _guard = Guard::start(&remove).map_err(|error| format!("the guard does not start: {error}"))?;
    for (name, bytes) in FILES {
        fs::write(root.join(name), contents(bytes)).map_err(said(&root))?;
    }
    fs::write(scratch.join(wrk::FILE), wrk::SCRIPT).map_err(said(&scratch))?;
    let neraca = fs::canonicalize(neraca).map_err(said(neraca))?;
    work(&Lab { neraca, scratch: scratch.clone(), stop, disturbance: None })
}

/// Returns numbered lines of 16 bytes, which are the same on every machine and all differ.
fn contents(bytes: u64) -> Vec<u8> {
    let lines = (0..bytes.div_ceil(16)).flat_map(|n| format!("{n:015}\n").into_bytes());
    lines.take(bytes as usize).collect()
}

/// A running program that listens.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) addresses: Vec<SocketAddr>,
    /// The file of the program's counters, if it writes one.
    pub(crate) stats: PathBuf,
    pub(crate) command: String,
}

impl Server {
    /// Returns the first address; a server that has started has one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

impl Lab {
    /// The values of the placeholders that every command may have.
    fn values(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("neraca", self.neraca.display().to_string()),
            ("byte_pump", self.neraca.with_file_name("examples/byte_pump").display().to_string()),
            ("root", self.scratch.join("root").display().to_string()),
            ("dir", self.scratch.display().to_string()),
            ("cpus", cpus().to_string()),
            ("backend_stats", self.scratch.join("backends.stats").display().to_string()),
        ])
    }

    /// Replaces the paths of this machine, which must not be in results.
    pub(crate) fn shorten(&self, text: &str) -> String {
        let text = text.replace(&self.scratch.display().to_string(), "{dir}");
        text.replace(&self.neraca.display().to_string(), "neraca")
    }

    /// Starts a target, and its backends if it is a balancer.
    pub(crate) fn both(&self, target: &Target, cell: &Cell) -> Result<(Server, Option<Server>)> {
        let is_balancer = target.what == What::Balancer;
        let backends = is_balancer.then(|| self.backends(target, cell)).transpose()?;
        let addresses = backends.iter().flat_map(|backends| &backends.addresses);
        let ports: Vec<u16> = addresses.map(SocketAddr::port).collect();
        Ok((self.target(target, cell, &ports)?, backends))
    }

    fn backends(&self, target: &Target, cell: &Cell) -> Result<Server> {
        let fixed = target.fixed.clone().unwrap_or_default();
        if let Some(command) = fixed.backend_command {
            let ports = backend_ports(target)?;
            // Each backend is a process of its own. The shell waits for all of them.
            let each =
                ports.iter().map(|port| format!("({}) & ", command.replace("{port}", &port.to_string())));
            let words = ["/bin/sh".into(), "-c".into(), each.chain(["wait".into()]).collect()];
            return self.start("backends", &words, &ports);
        }
        let mut words: Vec<String> = targets::BACKENDS.split_whitespace().map(Into::into).collect();
        for (word, port) in words.iter_mut().filter(|word| *word == "127.0.0.1:0").zip(&fixed.backends) {
            *word = format!("127.0.0.1:{port}");
        }
        if cell.delay_ms > 0 {
            words.extend(["--delay-ms".into(), cell.delay_ms.to_string()]);
        }
        self.start("backends", &words, &[])
    }

    /// Configures a target with the ports of its backends and with its own port, and starts it.
    pub(crate) fn target(&self, target: &Target, cell: &Cell, backends: &[u16]) -> Result<Server> {
        let conf = self.scratch.join(format!("{}.conf", target.id));
        let fixed = target.fixed.as_ref().and_then(|fixed| fixed.listens);
        let (port, tls_port, pem) = (fixed.map_or_else(free_port, Ok)?, free_port()?, self.pem(cell)?);
        let mut values = self.values();
        values.extend(["o1", "o2", "o3"].into_iter().zip(backends.iter().map(u16::to_string)));
        values.extend([
            ("port", port.to_string()),
            ("tls_port", tls_port.to_string()),
            ("pem", pem.display().to_string()),
            ("stats", self.scratch.join("target.stats").display().to_string()),
            ("conf", conf.display().to_string()),
        ]);
        if let Some(config) = &target.config {
            fs::write(&conf, fill(config, &values)).map_err(said(&conf))?;
        }
        let observer = match cell.work {
            Work::Syscalls => "strace -c -f -o {dir}/strace.txt",
            Work::Profile => profile::RECORDER,
            Work::Load | Work::Idle | Work::Handshakes => "",
        };
        let words = observer.split_whitespace().chain(target.command.iter().map(String::as_str));
        let words: Vec<String> = words.map(|word| fill(word, &values)).collect();
        let texts = target.command.iter().chain(&target.config);
        let has = |name: &str| texts.clone().any(|text| text.contains(name));
        let (given, second) = (fixed.is_some() || has("{port}"), has("{tls_port}"));
        let ports: Vec<u16> = given.then_some(port).into_iter().chain(second.then_some(tls_port)).collect();
        self.start("target", &words, &ports)
    }

    /// Makes the certificate of a cell with handshakes, unless an earlier cell has made it. Returns the file with the
    /// certificate and its key.
    fn pem(&self, cell: &Cell) -> Result<PathBuf, Trouble> {
        let Some(Handshakes { key, .. }) = cell.handshakes else { return Ok(PathBuf::new()) };
        let file = self.scratch.join(key.names()[0]).with_extension("pem");
        if !file.exists() {
            handshakes::certificate(key, &file).map_err(Trouble::Failed)?;
        }
        Ok(file)
    }

    /// Fills the placeholders that every command may have, starts a server and waits until it listens. It listens on these
    /// ports, or else on the addresses that it prints, one for each `--listen`.
    pub(crate) fn start(&self, name: &str, words: &[String], ports: &[u16]) -> Result<Server> {
        let given: Vec<SocketAddr> = ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect();
        self.wait_for_ports(name, &given)?;
        let values = self.values();
        let words: Vec<String> = words.iter().map(|word| fill(word, &values)).collect();
        let [out, err, stats] = ["out", "err", "stats"].map(|end| self.scratch.join(format!("{name}.{end}")));
        let _ = fs::remove_file(&stats);
        let command = words.join(" ");
        let program = self.program(name, &words).map_err(failed(&command))?;
        let deadline = Instant::now() + PATIENCE;
        let listeners = words.iter().filter(|word| *word == "--listen").count().max(1);
        loop {
            let (addresses, ready) = if given.is_empty() {
                let printed = listening(&fs::read_to_string(&out).unwrap_or_default());
                let ready = printed.len() >= listeners;
                (printed, ready)
            } else {
                (given.clone(), given.iter().all(|address| TcpStream::connect(address).is_ok()))
            };
            if ready && !program.has_ended() {
                return Ok(Server { program, addresses, stats, command });
            }
            if program.has_ended() || Instant::now() > deadline {
                let said = fs::read_to_string(&err).unwrap_or_default();
                let said = said.lines().last().unwrap_or("it printed nothing");
                return Err(Trouble::Failed(format!("{command} does not listen: {said}")));
            }
            self.pause(LOOK)?;
        }
    }

    /// Starts a program, whose outputs are the files `NAME.out` and `NAME.err` in the scratch directory.
    pub(crate) fn program<W: AsRef<OsStr>>(&self, name: &str, words: &[W]) -> io::Result<Program> {
        let [out, err] = ["out", "err"].map(|end| self.scratch.join(format!("{name}.{end}")));
        Program::start(words, &out, &err)
    }

    /// Waits until a program can listen on fixed ports. An earlier connection may have used a port as its own, and then the
    /// kernel keeps the port for a minute after the end of the connection.
    fn wait_for_ports(&self, name: &str, addresses: &[SocketAddr]) -> Result<()> {
        let begun = Instant::now();
        while let Some(taken) = addresses.iter().find(|address| !ports::is_free(**address)) {
            // A program that was killed may need some time to end.
            let patience = if TcpStream::connect(taken).is_ok() { PATIENCE } else { TIME_WAIT };
            if begun.elapsed() > patience {
                return Err(Trouble::Failed(format!("{name}: {taken} is in use by another program")));
            }
            self.pause(10 * LOOK)?;
        }
        Ok(())
    }

    /// Asks for the file on a new connection, and checks the answer, before any measurement. A wrong body is accepted only
    /// when it `may_differ`.
    pub(crate) fn verify(&self, address: SocketAddr, cell: &Cell, may_differ: bool) -> Result<()> {
        let mut stream = TcpStream::connect(address).map_err(failed("the first connection"))?;
        let (verdict, reply) = ask(&mut stream, &request(&cell.path, address, false), &self.body(cell)?)
            .map_err(failed("the first answer"))?;
        if verdict == Verdict::Good || verdict == Verdict::Corrupt && may_differ {
            return Ok(());
        }
        Err(Trouble::Failed(format!("the first answer is wrong ({verdict:?}): {}", reply.difference())))
    }

    /// Reads the file that a cell requests.
    pub(crate) fn body(&self, cell: &Cell) -> Result<Arc<[u8]>> {
        let file = self.scratch.join("root").join(&cell.path);
        Ok(fs::read(&file).map_err(said(&file))?.into())
    }

    /// Makes the load of a cell, unless a signal asked us to stop.
    pub(crate) fn spec(&self, cell: &Cell, address: SocketAddr, pace: Pace) -> Result<Spec> {
        self.pause(Duration::ZERO)?;
        Ok(Spec { cell: cell.clone(), address, body: self.body(cell)?, pace, ports: Arc::default() })
    }

    /// Runs a load of our own client to its end.
    pub(crate) fn generate(&self, cell: &Cell, address: SocketAddr, pace: Pace) -> Result<Tally> {
        let load = load::start(self.spec(cell, address, pace)?);
        load::finish(load).map_err(failed("the load generator"))
    }

    pub(crate) fn wrk(&self, cell: &Cell, address: SocketAddr) -> Result<Program> {
        let json = self.scratch.join("wrk.json");
        let _ = fs::remove_file(&json);
        let report = format!("{}={}", wrk::JSON_VARIABLE, json.display());
        let words = ["env".into(), report].into_iter().chain(wrk::command(cell, &self.scratch, address));
        self.program("wrk", &words.collect::<Vec<_>>()).map_err(failed("wrk"))
    }

    /// Returns the report of a wrk that has ended.
    pub(crate) fn wrk_report(&self, client: Program) -> Result<Client> {
        let code = client.stop().map_err(failed("wrk"))?;
        let json = self.scratch.join("wrk.json");
        if !json.exists() {
            let said = fs::read_to_string(self.scratch.join("wrk.err")).unwrap_or_default();
            return Err(Trouble::Failed(format!("wrk reported nothing ({code}): {}", said.trim())));
        }
        read_json(&json).map_err(Trouble::Failed)
    }

    /// Runs wrk to its end. Returns its report.
    pub(crate) fn load_once(&self, cell: &Cell, address: SocketAddr) -> Result<Client> {
        let client = self.wrk(cell, address)?;
        self.wait(&client, cell.seconds, || ())?;
        self.wrk_report(client)
    }

    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted("interrupted".into()));
        }
        thread::sleep(time);
        Ok(())
    }

    /// Waits for the end of the client, and calls `look` while it waits.
    pub(crate) fn wait(&self, client: &Program, seconds: f64, mut look: impl FnMut()) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds) + PATIENCE;
        while !client.has_ended() {
            if Instant::now() > deadline {
                return Err(Trouble::Failed("wrk did not end".into()));
            }
            look();
            self.pause(LOOK)?;
        }
        Ok(())
    }
}

pub(crate) fn cpus() -> u64 {
    thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Finds a free port below the range of ports that the kernel gives to connections. In that range one of thousands of
/// connections would often take the port before the program does. Each process begins the search at another port.
fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = PORTS.map(|_| {
        let n = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        (PORTS.start + n % (PORTS.end - PORTS.start)) as u16
    });
    let free = ports.find(|port| ports::is_free(([127, 0, 0, 1], *port).into()));
    free.ok_or_else(|| Trouble::Failed(format!("no port of {PORTS:?} is free")))
}

/// Returns the ports of a balancer's backends: the fixed ports, or free ones.
pub(crate) fn backend_ports(target: &Target) -> Result<Vec<u16>> {
    let fixed = target.fixed.iter().flat_map(|fixed| &fixed.backends).copied().map(Ok);
    fixed.chain(iter::repeat_with(free_port)).take(BACKENDS).collect()
}

/// Replaces each `{name}` by its value.
fn fill(text: &str, values: &BTreeMap<&str, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// Returns the addresses in lines of the form `listening on http://ADDRESS`.
fn listening(text: &str) -> Vec<SocketAddr> {
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete.lines().filter_map(|line| line.strip_prefix("listening on http://")?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_have_their_length_and_differ_from_line_to_line() {
        for bytes in [0, 1, 16, 128, 10_240] {
            assert_eq!(contents(bytes).len() as u64, bytes);
        }
        assert_eq!(contents(33), b"000000000000000\n000000000000001\n0");
    }

    #[test]
    fn placeholders_are_filled_and_others_left() {
        let values = BTreeMap::from([("port", "80".to_owned()), ("o1", "81".to_owned())]);
        assert_eq!(fill("a {port}:{o1} {o2} events { x }", &values), "a 80:81 {o2} events { x }");
    }

    #[test]
    fn addresses_are_read_from_whole_lines() {
        let cases = [
            ("", 0),
            ("listening on http://127.0.0.1:80", 0),
            ("listening on http://127.0.0.1:80\n", 1),
            ("listening on http://127.0.0.1:80\nlistening on http://[::1]:81\ntry this\n", 2),
        ];
        for (text, count) in cases {
            assert_eq!(listening(text).len(), count, "{text}");
        }
    }
}
