//! Measures one cell: starts the programs, measures, writes the raw files, and stops the programs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::child::Program;
use crate::lab::{Lab, Server, Trouble, ask, broken, cpus, failed};
use crate::model::{Cell, IdleMemory, Role, Target, Work, file};
use crate::probe::{Prober, Spec};
use crate::proc::{GroupCounters, HostCounters};
use crate::raw::{RawPrograms, RawSystem, Started};
use crate::reply::Verdict;
use crate::sockets;

/// Probes per second: far below one percent of the load.
pub(crate) const PROBE_HZ: f64 = 100.0;

/// Time between the snapshot of the client's connections and threads, and the end of the client.
const BEFORE_END: Duration = Duration::from_millis(350);

impl<'a> Lab<'a> {
    /// Measures a cell into its directory. A complete directory contains the file `DONE`.
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

    /// Warms up, then runs wrk, the prober and the collectors at the same time. Returns wrk's command.
    fn load(
        &self,
        cell: &Cell,
        directory: &Path,
        server: Server<'a>,
        backends: Option<Server<'a>>,
    ) -> Result<String, Trouble> {
        let address = server.addresses[0];
        self.warm_up(cell, address, directory)?;
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

    fn warm_up(&self, cell: &Cell, address: SocketAddr, directory: &Path) -> Result<(), Trouble> {
        if cell.warm_s > 0.0 {
            let client = self.wrk(cell, cell.warm_s, address, directory, file::WARM_JSON)?;
            self.wait(&client, cell.warm_s, |_| ())?;
            client.stop().map_err(failed("wrk"))?;
        }
        Ok(())
    }

    /// Opens connections step by step. Each connection gets one answer and is then idle. Reads the target's memory
    /// after each step.
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
        let unknown = || Trouble::Failed("the kernel does not report the memory of a process".into());
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

/// Reads the counters of the target, of the backends and of this process.
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

pub(crate) fn write<T: Serialize>(directory: &Path, name: &str, value: &T) -> Result<(), Trouble> {
    let path = directory.join(name);
    let text = serde_json::to_string(value).map_err(|error| Trouble::Broken(error.to_string()))?;
    fs::write(&path, text + "\n").map_err(broken(&path))
}
