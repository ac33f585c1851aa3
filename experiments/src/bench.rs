//! Carries out one cell: starts what it needs, measures, writes down what was seen, and stops everything.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::child::{Guard, Program};
use crate::counters::Follower;
use crate::model::{Cell, IdleMemory, Role, Target, Work, file};
use crate::probe::{Prober, Spec, request};
use crate::proc::{GroupCounters, HostCounters};
use crate::raw::{RawPrograms, RawSystem, Started};
use crate::reply::{Reply, Verdict};
use crate::{sockets, targets, wrk};

/// Probes a second: far below one percent of what the load does.
pub(crate) const PROBE_HZ: f64 = 100.0;

/// How often files and processes are looked at during a run.
const LOOK: Duration = Duration::from_millis(10);
/// How long a program may take until it listens.
const START: Duration = Duration::from_secs(10);
/// The snapshot of the client's connections and threads is taken this long before its end.
const BEFORE_END: Duration = Duration::from_millis(350);

/// Why there are no numbers.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Somebody wants us to stop.
    Interrupted,
    /// To be written down as the cell's result.
    Failed(String),
    /// The lab itself cannot go on.
    Broken(String),
}

fn broken(what: &Path) -> impl Fn(std::io::Error) -> Trouble + '_ {
    move |error| Trouble::Broken(format!("{}: {error}", what.display()))
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Trouble + '_ {
    move |error| Trouble::Failed(format!("{what}: {error}"))
}

/// What all cells share.
#[derive(Debug)]
pub(crate) struct Lab<'a> {
    pub(crate) neraca: PathBuf,
    /// A directory for configurations, logs and the served files (`root`), emptied by nobody but us.
    pub(crate) scratch: PathBuf,
    pub(crate) guard: &'a Guard,
    pub(crate) stop: &'a AtomicBool,
    /// Contents of the served files by name.
    pub(crate) bodies: BTreeMap<String, Arc<[u8]>>,
}

/// A program that listens.
pub(crate) struct Server<'a> {
    pub(crate) program: Program<'a>,
    pub(crate) addresses: Vec<SocketAddr>,
    stats: Follower,
    command: String,
}

impl<'a> Lab<'a> {
    /// Measures a cell into its directory, which is complete when `DONE` is in it.
    pub(crate) fn measure(&self, target: &Target, cell: &Cell, directory: &Path) -> Result<(), Trouble> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(broken(directory))?;
        }
        fs::create_dir_all(directory).map_err(broken(directory))?;
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let mut started =
            Started { cell: cell.clone(), kind: target.kind, started, commands: BTreeMap::new() };
        let result = self.carry_out(target, cell, directory, &mut started.commands);
        if let Err(Trouble::Failed(reason)) = &result {
            let path = directory.join(file::FAILED);
            fs::write(&path, format!("{}\n", self.shorten(reason))).map_err(broken(&path))?;
        } else {
            result?;
        }
        write(directory, file::STARTED, &started)?;
        let done = directory.join(file::DONE);
        fs::write(&done, "").map_err(broken(&done))
    }

    fn carry_out(
        &self,
        target: &Target,
        cell: &Cell,
        directory: &Path,
        commands: &mut BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        let mut values = BTreeMap::from([
            ("neraca", self.neraca.display().to_string()),
            ("root", self.scratch.join("root").display().to_string()),
            ("dir", self.scratch.display().to_string()),
        ]);
        let backends =
            if target.kind.forwards() { Some(self.backends(target, cell, &mut values)?) } else { None };
        let server = self.target(target, cell, directory, values)?;
        for (role, server) in [("target", Some(&server)), ("backends", backends.as_ref())] {
            if let Some(server) = server {
                commands.insert(role.into(), self.shorten(&server.command));
            }
        }
        let address = *server.addresses.first().ok_or_else(|| Trouble::Failed("it has no address".into()))?;
        self.verify(address, cell)?;
        match cell.work {
            Work::Load => {
                let line = self.load(cell, directory, server, backends)?;
                commands.insert("client".into(), self.shorten(&line));
                Ok(())
            }
            Work::Idle => write(directory, file::MEMORY, &self.idle(cell, address, &server.program)?),
            Work::Syscalls => {
                let client = self.wrk(cell, cell.seconds, address, directory, file::WRK_JSON)?;
                self.wait(&client, cell.seconds, |_| ())?;
                client.stop().map_err(failed("wrk"))?;
                server.program.stop().map(drop).map_err(failed("strace"))
            }
        }
    }

    /// Paths of this machine do not belong into results.
    fn shorten(&self, text: &str) -> String {
        let text = text.replace(&self.scratch.display().to_string(), "{dir}");
        text.replace(&self.neraca.display().to_string(), "neraca")
    }

    fn backends(
        &self,
        target: &Target,
        cell: &Cell,
        values: &mut BTreeMap<&'static str, String>,
    ) -> Result<Server<'a>, Trouble> {
        values.insert("backend_stats", self.scratch.join("backends.stats").display().to_string());
        let mut words: Vec<String> = targets::BACKENDS.split_whitespace().map(Into::into).collect();
        words.extend(target.backend_arguments.iter().cloned());
        if cell.delay_ms > 0 {
            words.extend(["--delay-ms".into(), cell.delay_ms.to_string()]);
        }
        let server = self.start("backends", &words, values, None)?;
        for (name, address) in ["o1", "o2", "o3"].into_iter().zip(&server.addresses) {
            values.insert(name, address.port().to_string());
        }
        Ok(server)
    }

    /// Configures a target with these values, to which its port is added, and starts it.
    pub(crate) fn target(
        &self,
        target: &Target,
        cell: &Cell,
        directory: &Path,
        mut values: BTreeMap<&'static str, String>,
    ) -> Result<Server<'a>, Trouble> {
        let conf = self.scratch.join(format!("{}.conf", target.id));
        let port = free_port().map_err(failed("no free port"))?;
        values.extend([
            ("port", port.to_string()),
            ("stats", self.scratch.join("target.stats").display().to_string()),
            ("conf", conf.display().to_string()),
        ]);
        if let Some(config) = &target.config {
            fs::write(&conf, fill(config, &values)).map_err(broken(&conf))?;
        }
        let mut words = target.command.clone();
        if cell.work == Work::Syscalls {
            let output = directory.join(file::STRACE).display().to_string();
            words.splice(0..0, ["strace".into(), "-c".into(), "-f".into(), "-o".into(), output]);
        }
        let texts = target.command.iter().chain(&target.config);
        let given = texts.into_iter().any(|text| text.contains("{port}")).then_some(port);
        self.start("target", &words, &values, given)
    }

    /// Starts a server and waits until it listens: on `port`, or on the addresses that it prints, one for each `--listen`.
    fn start(
        &self,
        name: &str,
        words: &[String],
        values: &BTreeMap<&str, String>,
        port: Option<u16>,
    ) -> Result<Server<'a>, Trouble> {
        let words: Vec<String> = words.iter().map(|word| fill(word, values)).collect();
        let [out, err, stats] = ["out", "err", "stats"].map(|end| self.scratch.join(format!("{name}.{end}")));
        for path in [&out, &stats] {
            let _ = fs::remove_file(path);
        }
        let command = words.join(" ");
        let program = Program::start(&words, &[], &out, &err, self.guard).map_err(failed(&command))?;
        let deadline = Instant::now() + START;
        let listeners = words.iter().filter(|word| *word == "--listen").count().max(1);
        loop {
            let addresses = match port {
                Some(port) => {
                    let address = SocketAddr::from(([127, 0, 0, 1], port));
                    TcpStream::connect(address).map(|_| vec![address]).unwrap_or_default()
                }
                None => Some(listening(&fs::read_to_string(&out).unwrap_or_default()))
                    .filter(|addresses| addresses.len() >= listeners)
                    .unwrap_or_default(),
            };
            if !addresses.is_empty() && !program.has_ended() {
                return Ok(Server { program, addresses, stats: Follower::new(&stats), command });
            }
            if program.has_ended() || Instant::now() > deadline {
                let said = fs::read_to_string(&err).unwrap_or_default();
                let said = said.lines().last().unwrap_or("it said nothing");
                return Err(Trouble::Failed(format!("{command} does not listen: {said}")));
            }
            self.pause(LOOK)?;
        }
    }

    /// The right body must come before anything is timed.
    pub(crate) fn verify(&self, address: SocketAddr, cell: &Cell) -> Result<(), Trouble> {
        let mut stream = TcpStream::connect(address).map_err(failed("the first connection"))?;
        let body = self.body(cell)?;
        match ask(&mut stream, &request(&cell.path, address), &body) {
            Ok(Verdict::Good) => Ok(()),
            Ok(verdict) => Err(Trouble::Failed(format!("the first answer is wrong: {verdict:?}"))),
            Err(error) => Err(Trouble::Failed(format!("the first answer: {error}"))),
        }
    }

    fn body(&self, cell: &Cell) -> Result<Arc<[u8]>, Trouble> {
        let body = self.bodies.get(&cell.path).cloned();
        body.ok_or_else(|| Trouble::Broken(format!("there is no file {}", cell.path)))
    }

    /// Starts wrk, whose report goes to `json` in the directory.
    pub(crate) fn wrk(
        &self,
        cell: &Cell,
        seconds: f64,
        address: SocketAddr,
        directory: &Path,
        json: &str,
    ) -> Result<Program<'a>, Trouble> {
        let words = self.wrk_words(cell, seconds, address);
        let json = directory.join(json);
        let environment: [(&str, &OsStr); 1] = [(wrk::JSON_VARIABLE, json.as_os_str())];
        let (out, err) = (directory.join(file::WRK_TEXT), self.scratch.join("wrk.err"));
        Program::start(&words, &environment, &out, &err, self.guard).map_err(failed("wrk"))
    }

    fn wrk_words(&self, cell: &Cell, seconds: f64, address: SocketAddr) -> Vec<String> {
        let url = format!("http://{address}/{}", cell.path);
        wrk::command(cell, seconds, &self.scratch.join("wrk.lua"), &url)
    }

    fn pause(&self, time: Duration) -> Result<(), Trouble> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted);
        }
        thread::sleep(time);
        Ok(())
    }

    /// Waits for the client and calls `look` meanwhile.
    pub(crate) fn wait(
        &self,
        client: &Program<'_>,
        seconds: f64,
        mut look: impl FnMut(&Program<'_>),
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds) + START;
        while !client.has_ended() {
            if Instant::now() > deadline {
                return Err(Trouble::Failed("wrk did not end".into()));
            }
            look(client);
            self.pause(LOOK)?;
        }
        Ok(())
    }

    /// Warm-up, then wrk, the prober and the collectors together. Returns wrk's command.
    fn load(
        &self,
        cell: &Cell,
        directory: &Path,
        server: Server<'a>,
        backends: Option<Server<'a>>,
    ) -> Result<String, Trouble> {
        let address = server.addresses[0];
        if cell.warm_s > 0.0 {
            let client = self.wrk(cell, cell.warm_s, address, directory, file::WARM_JSON)?;
            self.wait(&client, cell.warm_s, |_| ())?;
            client.stop().map_err(failed("wrk"))?;
        }
        let groups = (server.program.group(), backends.as_ref().map(|backends| backends.program.group()));
        let (mut stats, mut backend_stats) = (server.stats, backends.map(|b| (b.program, b.stats)));
        let seconds = (cell.seconds - 0.2).max(0.1);
        let (path, body) = (cell.path.clone(), self.body(cell)?);
        let late = Duration::from_secs_f64(cell.seconds).saturating_sub(BEFORE_END);
        let mut late_look = None;

        let (before, host, start) = (roles(groups), HostCounters::read(), Instant::now());
        let client = self.wrk(cell, cell.seconds, address, directory, file::WRK_JSON)?;
        let prober = Prober::start(Spec { address, path, body, rate_hz: PROBE_HZ, seconds });
        self.wait(&client, cell.seconds, |client| {
            stats.look();
            backend_stats.iter_mut().for_each(|(_, stats)| stats.look());
            if late_look.is_none() && start.elapsed() >= late {
                let connections = sockets::snapshot(address, &prober.ports());
                late_look = Some((connections, GroupCounters::of_group(client.group())));
            }
        })?;
        let (seconds, host) = (start.elapsed().as_secs_f64(), (host, HostCounters::read()));
        let mut after = roles(groups);
        let (connections, threads) = late_look.unwrap_or_default();
        after.insert(Role::Client, GroupCounters::of_group(client.group()).with_threads_of(threads));
        let words = self.wrk_words(cell, cell.seconds, address).join(" ");
        let code = client.stop().map_err(failed("wrk"))?;
        let probe = prober.finish().map_err(failed("the prober"))?;
        if !directory.join(file::WRK_JSON).exists() {
            return Err(Trouble::Failed(format!("wrk reported nothing ({code}): {words}")));
        }

        let roles = after
            .into_iter()
            .map(|(role, now)| (role, (before.get(&role).copied().unwrap_or_default(), now)));
        let system = RawSystem {
            seconds,
            cpus: cpus(),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            roles: roles.collect(),
            host,
        };
        write(directory, file::SYSTEM, &system)?;
        write(directory, file::PROBE, &probe)?;
        if let Some(connections) = connections.filter(|_| cell.keep_alive) {
            write(directory, file::SOCKETS, &connections)?;
        }
        server.program.stop().map_err(failed("the target"))?;
        let backends = match backend_stats {
            Some((program, stats)) => {
                program.stop().map_err(failed("the backends"))?;
                stats.finish(start)
            }
            None => None,
        };
        write(directory, file::COUNTERS, &RawPrograms { target: stats.finish(start), backends })?;
        Ok(words)
    }

    /// Opens connections that each have one answer and then rest, and reads the target's memory as they grow.
    pub(crate) fn idle(
        &self,
        cell: &Cell,
        address: SocketAddr,
        target: &Program<'_>,
    ) -> Result<IdleMemory, Trouble> {
        const STEPS: u32 = 4;
        const REST: Duration = Duration::from_millis(300);
        let body = self.body(cell)?;
        let asked = format!("GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n", cell.path).into_bytes();
        let memory = || GroupCounters::of_group(target.group()).pss_kb;
        for _ in 0..50 {
            self.verify(address, cell)?;
        }
        self.pause(REST)?;
        let unknown = || Trouble::Failed("the kernel does not tell a process's memory".into());
        let mut points = vec![(0, memory().ok_or_else(unknown)?)];
        let mut open = Vec::new();
        for step in 1..=STEPS {
            while open.len() < (cell.connections * step / STEPS) as usize {
                self.pause(Duration::ZERO)?;
                let mut stream = TcpStream::connect(address).map_err(failed("a connection"))?;
                ask(&mut stream, &asked, &body).map_err(failed("an answer"))?;
                open.push(stream);
            }
            self.pause(REST)?;
            points.push((open.len() as u64, memory().ok_or_else(unknown)?));
        }
        let tried: Vec<&mut TcpStream> = open.iter_mut().step_by(20).collect();
        let mut idle = IdleMemory { points, alive: 0, tried: tried.len() as u64 };
        for stream in tried {
            self.pause(Duration::ZERO)?;
            idle.alive += u64::from(ask(stream, &asked, &body).is_ok_and(|verdict| verdict == Verdict::Good));
        }
        Ok(idle)
    }
}

/// What is to be told from the client: the target, the backends and ourselves.
fn roles((target, backends): (u32, Option<u32>)) -> BTreeMap<Role, GroupCounters> {
    let mut roles = BTreeMap::from([
        (Role::Target, GroupCounters::of_group(target)),
        (Role::Lab, GroupCounters::of(&[std::process::id()])),
    ]);
    if let Some(backends) = backends {
        roles.insert(Role::Backends, GroupCounters::of_group(backends));
    }
    roles
}

/// One request, answered before this returns.
fn ask(stream: &mut TcpStream, request: &[u8], body: &Arc<[u8]>) -> std::io::Result<Verdict> {
    stream.set_read_timeout(Some(START))?;
    stream.write_all(request)?;
    let mut reply = Reply::new(Arc::clone(body));
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(reply.ended()),
            n => {
                if let Some(verdict) = reply.received(&buffer[..n]) {
                    return Ok(verdict);
                }
            }
        }
    }
}

pub(crate) fn cpus() -> u64 {
    thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// A port that nobody has. It is below those that the kernel gives to connections: with thousands of them under way
/// one would often take it before the program that it is for. Two labs begin at different ones.
pub(crate) fn free_port() -> std::io::Result<u16> {
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut taken = None;
    for _ in PORTS {
        let n = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + n % (PORTS.end - PORTS.start)) as u16;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = Some(error),
        }
    }
    Err(taken.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

/// Puts values in place of `{names}`.
fn fill(text: &str, values: &BTreeMap<&str, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// The addresses in lines `listening on http://ADDRESS`.
fn listening(text: &str) -> Vec<SocketAddr> {
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete.lines().filter_map(|line| line.strip_prefix("listening on http://")?.parse().ok()).collect()
}

pub(crate) fn write<T: Serialize>(directory: &Path, name: &str, value: &T) -> Result<(), Trouble> {
    let path = directory.join(name);
    let text = serde_json::to_string(value).map_err(|error| Trouble::Broken(error.to_string()))?;
    fs::write(&path, text + "\n").map_err(broken(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

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
