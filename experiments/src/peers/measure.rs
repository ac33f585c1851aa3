//! One round of one row with one subject: it is started, warmed up, measured from outside and stopped.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::rows::{FILES, Metric, Work};
use super::subjects::{ORIGINS, Subject, target};
use crate::child::{Guard, Program};
use crate::model::{Cell, Client, Section, Target};
use crate::proc::{GroupCounters, HostCounters};
use crate::wrk;

/// What was measured in one round.
pub(super) type Sample = BTreeMap<Metric, f64>;

/// Threads of wrk.
const THREADS: u32 = 2;
const WARM_S: f64 = 1.0;
const LOOK: Duration = Duration::from_millis(10);
/// How long a program may take to listen, and wrk to end when its time is over.
const PATIENCE: Duration = Duration::from_secs(10);
/// What has to settle before the memory of idle connections is read.
const SETTLE: Duration = Duration::from_secs(1);
/// One idle connection of so many is asked whether it still answers.
const ASKED_ONE_IN: usize = 50;

/// Where everything is; holds the origins, which run as long as it lives.
pub(super) struct Bench<'a> {
    guard: &'a Guard,
    stop: &'a AtomicBool,
    scratch: PathBuf,
    seconds: f64,
    values: BTreeMap<&'static str, String>,
    _origins: Program<'a>,
}

/// A subject that listens.
struct Running<'a> {
    program: Program<'a>,
    address: SocketAddr,
}

impl<'a> Bench<'a> {
    /// Writes the files and starts the origins. `scratch` is an existing directory of our own.
    pub(super) fn start(
        scratch: &Path,
        [neraca, floor]: [&Path; 2],
        seconds: f64,
        guard: &'a Guard,
        stop: &'a AtomicBool,
    ) -> Result<Self, String> {
        let root = scratch.join("root");
        let written = fs::create_dir_all(&root)
            .and_then(|()| fs::write(scratch.join("wrk.lua"), wrk::SCRIPT))
            .and_then(|()| FILES.iter().try_for_each(|(name, len)| fs::write(root.join(name), body(*len))));
        written.map_err(|error| format!("{}: {error}", scratch.display()))?;
        let mut values = BTreeMap::from([
            ("dir", scratch.display().to_string()),
            ("root", root.display().to_string()),
            ("neraca", neraca.display().to_string()),
            ("floor", floor.display().to_string()),
            ("stats", scratch.join("stats").display().to_string()),
        ]);
        let ports = free_ports(3).map_err(|error| format!("no free port: {error}"))?;
        values.extend(["o1", "o2", "o3"].into_iter().zip(ports.iter().map(ToString::to_string)));
        let origins = target("origins", "nginx -e stderr -c {conf}", Some(ORIGINS.into()));
        let program = launch(&origins, scratch, &mut values.clone(), guard)?;
        for port in ports {
            wait_until(&program, stop, "the origins", || connects(port).is_some())?;
        }
        Ok(Bench { guard, stop, scratch: scratch.into(), seconds, values, _origins: program })
    }

    fn run(&self, subject: &Subject) -> Result<Running<'a>, String> {
        let port = free_ports(1).map_err(|error| format!("no free port: {error}"))?[0];
        let mut values = self.values.clone();
        values.insert("port", port.to_string());
        let target = &subject.target;
        let program = launch(target, &self.scratch, &mut values, self.guard)?;
        let says = !target.command.iter().chain(&target.config).any(|word| word.contains("{port}"));
        let mut address = None;
        let listens = || {
            address = if says { announced(&self.scratch.join("out")) } else { connects(port) };
            address.is_some()
        };
        wait_until(&program, self.stop, &subject.name, listens).map_err(|error| {
            let said = fs::read_to_string(self.scratch.join("err")).unwrap_or_default();
            format!("{error}: {}", said.lines().last().unwrap_or("it said nothing"))
        })?;
        address.map(|address| Running { program, address }).ok_or_else(|| "it has no address".into())
    }

    /// Starts a subject and compares what it serves with what is to be served.
    pub(super) fn check(&self, subject: &Subject) -> Result<(), String> {
        let running = self.run(subject)?;
        for (name, len) in FILES {
            let answer = fetch(running.address, name).map_err(|error| format!("{name}: {error}"))?;
            if !answer.starts_with(b"HTTP/1.1 200") || !answer.ends_with(&body(len)) {
                return Err(format!("{name} does not come as it is"));
            }
        }
        Ok(())
    }

    /// One round.
    pub(super) fn measure(&self, subject: &Subject, work: Work) -> Result<Sample, String> {
        let running = self.run(subject)?;
        let sample = match work {
            Work::Load { .. } => self.load(&running, work),
            Work::Idle { connections } => self.idle(&running, connections),
        };
        running.program.stop().map_err(|error| format!("it cannot be stopped: {error}"))?;
        sample
    }

    fn load(&self, running: &Running<'_>, work: Work) -> Result<Sample, String> {
        self.wrk(running.address, work, WARM_S)?;
        let counters = || (GroupCounters::of_group(running.program.group()), HostCounters::read());
        let (before, host_before) = counters();
        let client = self.wrk(running.address, work, self.seconds)?;
        let (after, host_after) = counters();
        let requests = client.requests.max(1) as f64;
        let us = |before: u64, after: u64| {
            after.saturating_sub(before) as f64 * 1e6
                / rustix::param::clock_ticks_per_second() as f64
                / requests
        };
        let user = us(before.user_ticks, after.user_ticks);
        let system = us(before.system_ticks, after.system_ticks);
        let switches = |counters: GroupCounters| counters.voluntary_switches + counters.involuntary_switches;
        let e = client.errors;
        let idle = host_after.idle_ticks.saturating_sub(host_before.idle_ticks) as f64;
        let all = |host: HostCounters| {
            host.process_ticks + host.interrupt_ticks + host.idle_ticks + host.steal_ticks
        };
        let passed = all(host_after).saturating_sub(all(host_before)).max(1) as f64;
        let mut sample = BTreeMap::from([
            (Metric::Rate, client.requests as f64 * 1e6 / client.duration_us.max(1) as f64),
            (Metric::User, user),
            (Metric::System, system),
            (Metric::Cpu, user + system),
            (Metric::Switches, switches(after).saturating_sub(switches(before)) as f64 / requests),
            (Metric::Failed, (e.connect + e.read + e.write + e.status + e.timeout) as f64),
            (Metric::IdlePercent, 100.0 * idle / passed),
        ]);
        let p99 = client.latency_us.get("p99").copied().flatten();
        sample.extend(p99.map(|us| (Metric::P99Ms, us / 1e3)));
        sample.extend(after.pss_kb.map(|kb| (Metric::PssMb, kb as f64 / 1024.0)));
        Ok(sample)
    }

    fn wrk(&self, address: SocketAddr, work: Work, seconds: f64) -> Result<Client, String> {
        let Work::Load { file, .. } = work else { return Err("nothing to load".into()) };
        let (script, json) = (self.scratch.join("wrk.lua"), self.scratch.join("wrk.json"));
        let words = wrk::command(&cell(work), seconds, &script, &format!("http://{address}/{file}"));
        let environment: [(&str, &OsStr); 1] = [(wrk::JSON_VARIABLE, json.as_os_str())];
        let _ = fs::remove_file(&json);
        let [out, err] = ["wrk.out", "wrk.err"].map(|name| self.scratch.join(name));
        let cannot = |error: io::Error| format!("wrk: {error}");
        let client = Program::start(&words, &environment, &out, &err, self.guard).map_err(cannot)?;
        let deadline = Instant::now() + Duration::from_secs_f64(seconds) + PATIENCE;
        while !client.has_ended() {
            pause(self.stop)?;
            if Instant::now() > deadline {
                return Err("wrk does not end".into());
            }
        }
        client.stop().map_err(cannot)?;
        wrk::parse(&fs::read_to_string(&json).map_err(cannot)?)
    }

    /// Opens connections, has a request answered on each, and reads what memory they hold.
    fn idle(&self, running: &Running<'_>, connections: u32) -> Result<Sample, String> {
        let memory =
            || GroupCounters::of_group(running.program.group()).pss_kb.ok_or("the kernel tells no PSS");
        let before = memory()?;
        let (mut open, mut failed) = (Vec::new(), 0);
        for _ in 0..connections {
            if self.stop.load(Ordering::Relaxed) {
                return Err(INTERRUPTED.into());
            }
            let answered = TcpStream::connect(running.address).and_then(|mut stream| {
                ask_again(&mut stream)?;
                Ok(stream)
            });
            match answered {
                Ok(stream) => open.push(stream),
                Err(_) => failed += 1,
            }
        }
        thread::sleep(SETTLE);
        let after = memory()?;
        failed += open.iter_mut().step_by(ASKED_ONE_IN).filter_map(|stream| ask_again(stream).err()).count();
        Ok(BTreeMap::from([
            (Metric::PerConnectionKb, (after as f64 - before as f64) / f64::from(connections)),
            (Metric::PssMb, after as f64 / 1024.0),
            (Metric::Failed, failed as f64),
        ]))
    }
}

const INTERRUPTED: &str = "interrupted";

fn pause(stop: &AtomicBool) -> Result<(), String> {
    thread::sleep(LOOK);
    if stop.load(Ordering::Relaxed) { Err(INTERRUPTED.into()) } else { Ok(()) }
}

/// What wrk is told, as the laboratory's other runs tell it.
fn cell(work: Work) -> Cell {
    let (path, connections, keep_alive) = match work {
        Work::Load { file, connections, keep_alive } => (file, connections, keep_alive),
        Work::Idle { connections } => ("", connections, true),
    };
    Cell {
        seq: 0,
        id: String::new(),
        section: Section::Peers,
        block: 0,
        target: String::new(),
        work: crate::model::Work::Load,
        connections,
        threads: THREADS,
        path: path.into(),
        body_bytes: 0,
        keep_alive,
        delay_ms: 0,
        warm_s: WARM_S,
        seconds: 0.0,
    }
}

/// Lines that count, so that a byte out of its place is noticed.
fn body(len: usize) -> Vec<u8> {
    (0..len.div_ceil(16)).flat_map(|n| format!("{n:015}\n").into_bytes()).take(len).collect()
}

fn launch<'a>(
    target: &Target,
    scratch: &Path,
    values: &mut BTreeMap<&'static str, String>,
    guard: &'a Guard,
) -> Result<Program<'a>, String> {
    let conf = scratch.join(format!("{}.conf", target.id));
    values.insert("conf", conf.display().to_string());
    if let Some(config) = &target.config {
        fs::write(&conf, fill(config, values)).map_err(|error| format!("{}: {error}", conf.display()))?;
    }
    let words: Vec<String> = target.command.iter().map(|word| fill(word, values)).collect();
    let [out, err] = ["out", "err"].map(|name| scratch.join(name));
    Program::start(&words, &[], &out, &err, guard).map_err(|error| format!("{}: {error}", words.join(" ")))
}

fn fill(text: &str, values: &BTreeMap<&'static str, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn wait_until(
    program: &Program<'_>,
    stop: &AtomicBool,
    name: &str,
    mut listens: impl FnMut() -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !listens() {
        if program.has_ended() || Instant::now() > deadline {
            return Err(format!("{name} does not listen"));
        }
        pause(stop)?;
    }
    Ok(())
}

fn free_ports(n: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<_> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn connects(port: u16) -> Option<SocketAddr> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect(address).ok().map(|_| address)
}

/// The first address that a program says it listens on.
fn announced(out: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(out).ok()?;
    text.lines().find_map(|line| line.strip_prefix("listening on http://")?.parse().ok())
}

/// The whole answer to a request on a connection of its own.
fn fetch(address: SocketAddr, file: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{file} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// One more request on a kept connection; its answer is short and has come whole when its body ends it.
fn ask_again(stream: &mut TcpStream) -> io::Result<()> {
    let (file, len) = FILES[0];
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /{file} HTTP/1.1\r\nHost: idle\r\n\r\n").as_bytes())?;
    let (body, mut answer, mut room) = (body(len), Vec::new(), [0; 2048]);
    while !answer.ends_with(&body) {
        match stream.read(&mut room)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&room[..n]),
        }
    }
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_length_and_no_two_lines_alike() {
        for (_, len) in FILES {
            let body = body(len);
            let lines: std::collections::BTreeSet<_> = body.chunks(16).collect();
            assert_eq!((body.len(), lines.len()), (len, len / 16));
        }
    }

    #[test]
    fn blanks_are_filled_in_and_other_braces_stay() {
        let values = BTreeMap::from([("port", "80".to_owned()), ("o1", "81".to_owned())]);
        assert_eq!(fill("http { listen {port}; to {o1} {o2} }", &values), "http { listen 80; to 81 {o2} }");
    }

    #[test]
    fn an_answer_is_awaited_whole_or_the_connection_counts_as_failed() {
        let whole = [b"HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n".as_slice(), &body(128)].concat();
        let error = [b"HTTP/1.1 503 No\r\nContent-Length: 128\r\n\r\n".as_slice(), &body(128)].concat();
        for (answer, good) in [(&whole[..], true), (&whole[..100], false), (&error[..], false), (b"", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let n = stream.read(&mut [0; 1024]).unwrap();
                    assert!(n > 0);
                    for part in answer.chunks(60) {
                        stream.write_all(part).unwrap();
                    }
                });
                assert_eq!(ask_again(&mut TcpStream::connect(address).unwrap()).is_ok(), good);
            });
        }
    }
}
