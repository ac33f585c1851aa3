//! `neraca-lab chaos`: one of three backends at a time has a fault while `wrk` sends GETs. No GET may fail.
//!
//! A GET is safe, so the balancer may send it to another backend until a byte of the response has reached the client.
//! In every turn one backend is killed, starts again with a fault, is killed again, and starts without a fault. The
//! other two backends stay healthy.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{fs, iter};

use crate::commands::name;
use crate::plans::build::ordinary;
use crate::plans::given::BACKENDS;
use crate::plans::model::{Cell, Target};
use crate::plans::targets::{self, ASYNC, THREAD};
use crate::run::faulty::Fault;
use crate::run::lab::{self, Lab, START, Server, Trouble, failed, free_port};
use crate::run::reply::Errors;
use crate::run::wrk::Client;

/// The arguments of `neraca-lab chaos`.
#[derive(Debug, clap::Args)]
pub(crate) struct Chaos {
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    neraca: PathBuf,
    /// Seconds for each engine; a turn takes 1.5 s, and 12 turns cover every backend with every fault
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Connections of wrk
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..))]
    connections: u32,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = FAULTS)]
    faults: Vec<Fault>,
}

const FAULTS: [Fault; 4] = [Fault::Down, Fault::Reset, Fault::CloseEach, Fault::Cut];

/// Runs both engines and prints a line for each. Returns true when no GET failed.
pub(crate) fn run(arguments: &Chaos, stop: &AtomicBool) -> Result<bool, Trouble> {
    lab::with(&arguments.neraca, stop, |lab| {
        let mut good = true;
        for target in targets::all().iter().filter(|target| [THREAD, ASYNC].contains(&target.id.as_str())) {
            let (client, turns) = measure(lab, arguments, target)?;
            let failed = client.errors.total();
            let Errors { connect, read, write, status, timeout, .. } = client.errors;
            println!(
                "{}: {} GETs in {} s, {turns} turns, {failed} failed (connect {connect}, read {read}, \
                 write {write}, status {status}, timeout {timeout})",
                target.id, client.requests, arguments.seconds
            );
            good &= failed == 0 && client.requests > 0;
        }
        Ok(good)
    })
}

fn measure(lab: &Lab<'_>, arguments: &Chaos, target: &Target) -> Result<(Client, usize), Trouble> {
    let (connections, seconds) = (arguments.connections, f64::from(arguments.seconds));
    let cell = Cell { connections, seconds, ..ordinary("chaos") };
    let mut backends = Backends::start(lab, [0; BACKENDS])?;
    let server = lab.target(target, &cell, &backends.ports)?;
    lab.verify(server.addresses[0], &cell, false)?;
    let client = lab.wrk(&cell, cell.seconds, server.addresses[0])?;
    let mut turns = 0;
    while !client.has_ended() {
        let (backend, fault) =
            (turns % BACKENDS, arguments.faults[turns / BACKENDS % arguments.faults.len()]);
        for (state, ms) in [(Fault::Down, 300), (fault, 700), (Fault::None, 500)] {
            backends.bring(backend, state)?;
            lab.pause(Duration::from_millis(ms))?;
        }
        turns += 1;
    }
    lab.wait(&client, cell.seconds, || ())?;
    let client = lab.wrk_report(client)?;
    if server.program.has_ended() {
        return Err(Trouble::Failed("the balancer ended by itself".into()));
    }
    Ok((client, turns))
}

/// The processes of the backends, each on its own port.
pub(crate) struct Backends<'l, 'g> {
    lab: &'l Lab<'g>,
    pub(crate) ports: [u16; BACKENDS],
    servers: [Option<Server<'g>>; BACKENDS],
}

impl<'l, 'g> Backends<'l, 'g> {
    /// Starts all backends without a fault. A port of 0 means a free port.
    pub(crate) fn start(lab: &'l Lab<'g>, mut ports: [u16; BACKENDS]) -> Result<Self, Trouble> {
        for port in ports.iter_mut().filter(|port| **port == 0) {
            *port = free_port().map_err(failed("no free port"))?;
        }
        let mut backends = Backends { lab, ports, servers: [const { None }; BACKENDS] };
        (0..BACKENDS).try_for_each(|backend| backends.bring(backend, Fault::None))?;
        Ok(backends)
    }

    /// True when a backend has answered a request since its process was started. The backend writes its counts every
    /// second.
    pub(crate) fn has_served(&self, backend: usize) -> bool {
        let stats = self.servers[backend].as_ref().map(|server| fs::read_to_string(&server.stats));
        let text = stats.and_then(Result::ok).unwrap_or_default();
        text.lines().any(|line| !line.contains("\"served\":0,"))
    }

    /// Brings a backend into a state: kills its process, and starts a process with this fault. Waits until the backend
    /// listens. [`Fault::Down`] starts no process.
    pub(crate) fn bring(&mut self, backend: usize, fault: Fault) -> Result<(), Trouble> {
        drop(self.servers[backend].take());
        if fault == Fault::Down {
            return Ok(());
        }
        let (role, port) = (format!("backend-{backend}"), self.ports[backend]);
        let this = std::env::current_exe().map_err(failed("this program"))?.display().to_string();
        let options = format!(
            "faulty --fault {} --listen 127.0.0.1:{port} --body {{root}}/128.html --stats {{dir}}/{role}.stats",
            name(fault)
        );
        let words: Vec<String> = iter::once(this).chain(options.split(' ').map(Into::into)).collect();
        self.servers[backend] = Some(self.lab.start(&role, &words, &self.lab.values(), (&[port], START))?);
        Ok(())
    }
}
