//! `neraca-lab chaos`: one of three backends at a time has a fault while `wrk` sends GETs. No GET may fail.
//!
//! A GET is safe, so the balancer may send it to another backend until a byte of the response has reached the client.
//! In every turn one backend is killed, starts again with a fault, is killed again, and starts without a fault. The
//! other two backends stay healthy.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::commands::{balance, name};
use crate::plans::build::ordinary;
use crate::plans::model::Cell;
use crate::plans::targets::{self, simple};
use crate::run::child::Program;
use crate::run::faulty::Fault;
use crate::run::lab::{self, Lab, Stopped, Trouble, free_port};
use crate::run::wrk::{Client, ClientErrors};

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

pub(crate) const BACKENDS: usize = 3;

/// The three parts of a turn.
const DOWN: Duration = Duration::from_millis(300);
const AT_FAULT: Duration = Duration::from_millis(700);
const HEALTHY: Duration = Duration::from_millis(500);

/// The wanted state of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) backend: usize,
    /// [`Fault::Down`] for a process that does not run.
    pub(crate) fault: Fault,
}

/// Returns the wanted state of the backend whose turn it is.
fn order(elapsed: Duration, faults: &[Fault]) -> Order {
    let turn_ms = (DOWN + AT_FAULT + HEALTHY).as_millis();
    let (turn, at) = ((elapsed.as_millis() / turn_ms) as usize, elapsed.as_millis() % turn_ms);
    let fault = match at {
        at if at < DOWN.as_millis() => Fault::Down,
        at if at < (DOWN + AT_FAULT).as_millis() => faults[turn / BACKENDS % faults.len()],
        _ => Fault::None,
    };
    Order { backend: turn % BACKENDS, fault }
}

/// Runs both engines and prints a line for each. Returns true when no GET failed.
pub(crate) fn run(arguments: &Chaos, stop: &AtomicBool) -> Result<bool, Stopped> {
    lab::with(&arguments.neraca, stop, |lab| {
        let mut good = true;
        for engine in [targets::THREAD, targets::ASYNC] {
            let (client, turns) = measure(lab, arguments, engine)?;
            let ClientErrors { connect, read, write, status, timeout } = client.errors;
            let failed = connect + read + write + status + timeout;
            println!(
                "{engine}: {} GETs in {} s, {turns} turns, {failed} failed (connect {connect}, read {read}, \
                 write {write}, status {status}, timeout {timeout})",
                client.requests, arguments.seconds
            );
            good &= failed == 0 && client.requests > 0;
        }
        Ok(good)
    })
}

fn measure(lab: &Lab<'_>, arguments: &Chaos, engine: &str) -> Result<(Client, usize), Trouble> {
    let cell = Cell {
        connections: arguments.connections,
        seconds: f64::from(arguments.seconds),
        ..ordinary("chaos")
    };
    let mut backends = Backends::start(lab, [0; BACKENDS])?;
    let mut values = lab.values();
    values.extend(["o1", "o2", "o3"].into_iter().zip(backends.ports.map(|port| port.to_string())));
    let server = lab.target(&simple("balancer", &balance(engine), None), &cell, values)?;
    lab.verify(server.addresses[0], &cell)?;
    let client = lab.wrk(&cell, cell.seconds, server.addresses[0])?;
    let begin = Instant::now();
    let (mut last, mut turns) = (Order { backend: 0, fault: Fault::None }, 1);
    let mut obeyed = Ok(());
    lab.wait(&client, cell.seconds, |_| {
        let next = order(begin.elapsed(), &arguments.faults);
        if next == last || obeyed.is_err() {
            return;
        }
        // A late look may have missed the end of the previous turn.
        if next.backend != last.backend {
            turns += 1;
            obeyed = backends.obey(Order { fault: Fault::None, ..last });
        }
        if obeyed.is_ok() {
            obeyed = backends.obey(next);
        }
        last = next;
    })?;
    obeyed?;
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
    programs: [Option<Program<'g>>; BACKENDS],
    states: [Fault; BACKENDS],
}

impl<'l, 'g> Backends<'l, 'g> {
    /// Starts all backends without a fault. A port of 0 means a free port.
    pub(crate) fn start(lab: &'l Lab<'g>, mut ports: [u16; BACKENDS]) -> Result<Self, Trouble> {
        for port in ports.iter_mut().filter(|port| **port == 0) {
            *port = free_port().map_err(|error| Trouble::Broken(format!("no free port: {error}")))?;
        }
        let programs = [const { None }; BACKENDS];
        let mut backends = Backends { lab, ports, programs, states: [Fault::Down; BACKENDS] };
        for backend in 0..BACKENDS {
            backends.obey(Order { backend, fault: Fault::None })?;
        }
        backends.wait()?;
        Ok(backends)
    }

    /// Waits until every backend listens.
    pub(crate) fn wait(&self) -> Result<(), Trouble> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let listens = |port: &u16| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
        while !self.ports.iter().all(listens) {
            if Instant::now() > deadline {
                return Err(Trouble::Failed("a backend does not listen".into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// True when a backend has answered a request since its process was started. The backend writes its counts every
    /// second.
    pub(crate) fn has_served(&self, backend: usize) -> bool {
        let text = std::fs::read_to_string(self.stats(backend)).unwrap_or_default();
        text.lines().any(|line| !line.contains("\"served\":0,"))
    }

    fn stats(&self, backend: usize) -> PathBuf {
        self.lab.scratch.join(format!("backend-{backend}.stats"))
    }

    /// Brings a backend into the wanted state: kills its process and starts another process. Does nothing if the
    /// backend is already in this state.
    pub(crate) fn obey(&mut self, Order { backend, fault }: Order) -> Result<(), Trouble> {
        if self.states[backend] == fault {
            return Ok(());
        }
        self.states[backend] = fault;
        drop(self.programs[backend].take());
        let _ = std::fs::remove_file(self.stats(backend));
        if fault == Fault::Down {
            return Ok(());
        }
        let broken = |error: std::io::Error| Trouble::Broken(format!("a backend: {error}"));
        let scratch = &self.lab.scratch;
        let path = |end: &str| scratch.join(format!("backend-{backend}.{end}"));
        let this = std::env::current_exe().map_err(broken)?.display().to_string();
        let (name, address) = (name(fault), format!("127.0.0.1:{}", self.ports[backend]));
        let body = scratch.join("root/128.html").display().to_string();
        let stats = self.stats(backend).display().to_string();
        let options = [("--fault", name), ("--body", body), ("--stats", stats), ("--listen", address)];
        let options = options.iter().flat_map(|(option, value)| [*option, value]);
        let words: Vec<&str> = [this.as_str(), "faulty"].into_iter().chain(options).collect();
        let program = Program::start(&words, &[], &path("out"), &path("err"), self.lab.guard);
        self.programs[backend] = Some(program.map_err(broken)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backend_at_a_time_is_at_fault() {
        let faults = [Fault::Reset, Fault::Cut];
        let cases = [
            (0, 0, Fault::Down),
            (300, 0, Fault::Reset),
            (1000, 0, Fault::None),
            (1500, 1, Fault::Down),
            (3000 + 999, 2, Fault::Reset),
            (4500 + 300, 0, Fault::Cut),
            (9000 + 300, 0, Fault::Reset),
        ];
        for (ms, backend, fault) in cases {
            assert_eq!(order(Duration::from_millis(ms), &faults), Order { backend, fault }, "{ms}");
        }
    }
}
