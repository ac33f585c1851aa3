//! Measures one cell: starts the programs, measures, and stops the programs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use crate::plans::model::{Cell, REQUESTS_HZ, Target, Work};
use crate::run::child::Program;
use crate::run::counters::RawCounters;
use crate::run::lab::{Lab, Result, Server, Trouble, cpus, failed};
use crate::run::load::{self, Pace, Spec, request};
use crate::run::proc::{GroupCounters, HostCounters};
use crate::run::raw::{
    Found, IdleMemory, Raw, RawHandshakes, RawLoad, RawProbe, RawPrograms, RawSystem, Role,
};
use crate::run::reply::{Verdict, ask};
use crate::run::{handshakes, profile, sockets, wrk};

/// Probes per second: far below one percent of the load.
pub(crate) const PROBE_HZ: f64 = 100.0;
/// The two clients of the prober, which measures latency beside the load: true for kept connections, as the load has, false
/// for new ones, and the maximum number of connections. The prober sends each request at its intended time, even when
/// earlier responses are late (open loop), and opens as many kept connections as are in use at once.
const PROBERS: [(bool, u32); 2] = [(false, 2000), (true, 256)];

/// Time between the snapshot of the client's connections and the end of the client.
const SNAPSHOT: Duration = Duration::from_millis(350);
/// Time between the last reading of all counters and the end of the client. A program that has a process for each
/// connection loses these processes when the client ends.
const LAST_READING: Duration = Duration::from_millis(100);

impl Lab {
    /// Measures a cell. A cell that fails is a measurement too, with the reason.
    pub(crate) fn measure(&self, target: &Target, cell: &Cell) -> Result<Raw> {
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let mut commands = BTreeMap::new();
        let found = match self.carry_out(target, cell, &mut commands) {
            Err(Trouble::Failed(reason)) => Found::Failed(self.shorten(&reason)),
            found => found?,
        };
        Ok(Raw { cell: cell.clone(), what: target.what, started, commands, found })
    }

    fn carry_out(
        &self,
        target: &Target,
        cell: &Cell,
        commands: &mut BTreeMap<String, String>,
    ) -> Result<Found> {
        let (server, backends) = self.both(target, cell)?;
        let servers = backends.iter().map(|backends| ("backends", backends)).chain([("target", &server)]);
        commands.extend(servers.map(|(role, server)| (role.into(), self.shorten(&server.command))));
        let address = server.address();
        // A wrong body from a program of the user is no stop: the prober counts such bodies.
        self.verify(address, cell, target.fixed.is_some())?;
        Ok(match cell.work {
            Work::Load => {
                let words = wrk::command(cell, &self.scratch, address).join(" ");
                commands.insert("client".into(), self.shorten(&words));
                Found::Load(Box::new(self.load(cell, server, backends)?))
            }
            Work::Handshakes => Found::Handshakes(Box::new(self.handshakes(cell, server, backends)?)),
            Work::Idle => Found::Idle(self.idle(cell, address, &server.program)?),
            Work::Syscalls | Work::Profile => {
                let client = self.load_once(cell, address)?;
                server.program.stop().map_err(failed("the observed target"))?;
                if cell.work == Work::Profile {
                    let folded = profile::read(&self.scratch.join("perf.data")).map_err(Trouble::Failed)?;
                    return Ok(Found::Profile { client, folded });
                }
                let strace = fs::read_to_string(self.scratch.join("strace.txt")).map_err(failed("strace"))?;
                Found::Syscalls { client, strace }
            }
        })
    }

    /// Warms up, then runs wrk, the prober and the collectors at the same time.
    fn load(&self, cell: &Cell, server: Server, backends: Option<Server>) -> Result<RawLoad> {
        let address = server.address();
        let warms = cell.warm_s > 0.0;
        let warm = warms.then(|| self.load_once(&cell.warm_up(), address)).transpose()?;
        let probed = Cell { warm_s: 0.0, seconds: (cell.seconds - 0.2).max(0.1), ..cell.clone() };
        let probes = self.spec(&probed, address, Pace::Steady(PROBE_HZ))?;
        let mut connections = None;

        let mut meter = self.meter(&server, backends.as_ref());
        let stamp = SystemTime::now();
        let client = self.wrk(cell, address)?;
        meter.groups.push((Role::Client, client.group()));
        let prober = PROBERS.map(|(keep_alive, connections)| {
            let cell = Cell { keep_alive, connections, ..probed.clone() };
            load::start(Spec { cell, ..probes.clone() })
        });
        self.wait(&client, cell.seconds, || {
            let left = Duration::from_secs_f64(cell.seconds).saturating_sub(meter.start.elapsed());
            if left <= SNAPSHOT && connections.is_none() {
                connections = Some(sockets::snapshot(address, &probes.ports));
            }
            if left <= LAST_READING && meter.late.is_empty() {
                meter.late = roles(&meter.groups);
            }
        })?;
        let system = meter.end();
        let client = self.wrk_report(client)?;
        let [fresh, kept] = prober.map(|client| load::finish(client).map_err(failed("the prober")));
        let (fresh, kept) = (fresh?, kept?);
        let probe = RawProbe { intended: fresh.intended, fresh: fresh.times, kept: kept.times };

        server.program.stop().map_err(failed("the target"))?;
        let mut programs = RawPrograms { target: RawCounters::read(&server.stats, stamp), backends: None };
        if let Some(backends) = backends {
            backends.program.stop().map_err(failed("the backends"))?;
            programs.backends = RawCounters::read(&backends.stats, stamp);
        }
        let sockets = connections.flatten().filter(|_| cell.keep_alive);
        Ok(RawLoad { client, warm, probe, system, programs, sockets })
    }

    /// Sends requests on kept connections to the first listener of the target, and makes new handshakes with the second.
    fn handshakes(&self, cell: &Cell, server: Server, backends: Option<Server>) -> Result<RawHandshakes> {
        let ([plain, tls], Some(wanted)) = (&server.addresses[..], cell.handshakes) else {
            return Err(Trouble::Failed("the target has no second listener with {tls_port}".into()));
        };
        let meter = self.meter(&server, backends.as_ref());
        let load = load::start(self.spec(cell, *plain, Pace::Open(REQUESTS_HZ))?);
        let handshakes = handshakes::make(*tls, f64::from(wanted.per_s), (cell.warm_s, cell.seconds));
        let tally = load::finish(load).map_err(failed("the load generator"))?;
        let system = meter.end();
        Ok(RawHandshakes { intended: tally.intended, requests: tally.times, handshakes, system })
    }

    /// Reads the counters of the servers, of the machine and of this process.
    fn meter(&self, server: &Server, backends: Option<&Server>) -> Meter {
        let mut groups = vec![(Role::Target, server.program.group())];
        groups.extend(backends.map(|backends| (Role::Backends, backends.program.group())));
        groups.extend(self.disturbance.map(|group| (Role::Disturbance, group)));
        let (before, late) = (roles(&groups), Roles::new());
        Meter { groups, before, late, host: HostCounters::read(), start: Instant::now() }
    }

    /// Opens connections step by step. Each connection gets one answer and is then idle. Reads the target's memory
    /// after each step.
    pub(crate) fn idle(&self, cell: &Cell, address: SocketAddr, target: &Program) -> Result<IdleMemory> {
        const STEPS: u32 = 4;
        const REST: Duration = Duration::from_millis(300);
        let body = self.body(cell)?;
        let asked = request(&cell.path, address, true);
        let memory = || GroupCounters::of_group(target.group()).pss_kb;
        let unknown = || Trouble::Failed("the kernel does not report the memory of a process".into());
        for _ in 0..50 {
            self.verify(address, cell, false)?;
        }
        let (mut points, mut open) = (Vec::new(), Vec::new());
        for step in 0..=STEPS {
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
            idle.alive +=
                u64::from(ask(stream, &asked, &body).is_ok_and(|(verdict, _)| verdict == Verdict::Good));
        }
        Ok(idle)
    }
}

type Roles = BTreeMap<Role, GroupCounters>;

/// The counters at the start of the measured seconds.
struct Meter {
    groups: Vec<(Role, u32)>,
    before: Roles,
    /// The last reading before the end, with the processes and threads that end together with the client.
    late: Roles,
    host: HostCounters,
    start: Instant,
}

impl Meter {
    /// Reads all counters again. A group that was added later started with no counts.
    fn end(self) -> RawSystem {
        let (seconds, host) = (self.start.elapsed().as_secs_f64(), (self.host, HostCounters::read()));
        let of = |all: &Roles, role| all.get(&role).copied().unwrap_or_default();
        let both = |(role, now): (Role, GroupCounters)| {
            (role, (of(&self.before, role), now.or_earlier(of(&self.late, role))))
        };
        let (roles, cpus) = (roles(&self.groups).into_iter().map(both).collect(), cpus());
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        RawSystem { seconds, cpus, ticks_per_second, roles, host }
    }
}

/// Reads the counters of these process groups and of this process.
fn roles(groups: &[(Role, u32)]) -> Roles {
    let of_group = |(role, group): &(Role, u32)| (*role, GroupCounters::of_group(*group));
    groups.iter().map(of_group).chain([(Role::Lab, GroupCounters::of_this_process())]).collect()
}
