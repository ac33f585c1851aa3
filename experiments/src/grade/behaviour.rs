//! The behaviour of a balancer while one of its three backends has a fault, and under many connections.

use std::time::{Duration, Instant};
use std::{fs, iter, thread};

use crate::grade::score::Behaviour;
use crate::plans::given::BACKENDS;
use crate::plans::model::{Cell, Target};
use crate::run::faulty::Fault;
use crate::run::lab::{Lab, Server, Trouble, failed, free_port};
use crate::run::load::{Pace, Tally};

/// GETs per second while a backend has a fault.
const RATE_HZ: f64 = 200.0;
/// The backend at fault.
const AT_FAULT: usize = 1;
/// Maximum time for a restarted backend to get a request.
const RETURN: Duration = Duration::from_secs(15);
/// A late answer of one of the two good backends.
const LATE: Duration = Duration::from_millis(250);
const VERY_LATE: Duration = Duration::from_secs(1);

/// A balancer under test.
pub(super) struct Subject<'l, 'g> {
    pub(super) lab: &'l Lab<'g>,
    pub(super) target: &'l Target,
    /// The balancer whose rate is the measure.
    pub(super) reference: &'l Target,
    pub(super) cell: Cell,
}

impl<'g> Subject<'_, 'g> {
    /// The ports of the backends; 0 for a free port.
    pub(super) fn backend_ports(&self) -> [u16; BACKENDS] {
        let fixed = self.target.fixed.as_ref().map(|fixed| fixed.backends.clone()).unwrap_or_default();
        fixed.try_into().unwrap_or_default()
    }

    pub(super) fn start(&self, ports: &[u16]) -> Result<Server, Trouble> {
        self.lab.target(self.target, &self.cell, ports)
    }

    pub(super) fn measure(&self) -> Result<Behaviour, Trouble> {
        let (dying, return_s) = self.dying()?;
        let [slow, hanging, lying] =
            [Fault::Slow, Fault::Silent, Fault::Truncate].map(|fault| self.with_fault(fault));
        let (slow, hanging, lying) = (slow?, hanging?, lying?);
        let answers = self.answers()?;
        // The reference, the target, the target, the reference: a slow drift of the machine cancels out.
        let mut rates = [0.0; 2];
        for which in [1, 0, 0, 1] {
            rates[which] += self.rate([self.target, self.reference][which])? / 2.0;
        }
        let [rate, reference_rate] = rates;
        let errors = lying.times.errors;
        let decile = |i| answers.get(i * answers.len().saturating_sub(1) / 10).copied();
        Ok(Behaviour {
            dying: (dying.intended, dying.intended - dying.good),
            return_s,
            slow: slow.good_within(LATE),
            hanging: hanging.good_within(VERY_LATE),
            lying: (lying.intended, errors.total() - errors.corrupt, errors.corrupt),
            answer_deciles: (0..=10).filter_map(decile).collect(),
            answers,
            rate,
            reference_rate,
        })
    }

    /// Runs a load on the balancer, whose length is in seconds.
    fn generate(
        &self,
        server: &Server,
        (connections, pace): (u32, Pace),
        seconds: f64,
    ) -> Result<Tally, Trouble> {
        let cell = Cell { connections, seconds, ..self.cell.clone() };
        self.lab.generate(&cell, server.address(), pace)
    }

    fn backends(&self) -> Result<Backends<'_, 'g>, Trouble> {
        Backends::start(self.lab, self.backend_ports())
    }

    /// Kills a backend under load, starts it again, and waits until it gets a request.
    fn dying(&self) -> Result<(Tally, Option<f64>), Trouble> {
        let mut backends = self.backends()?;
        let server = self.start(&backends.ports)?;
        let tally = thread::scope(|scope| {
            let client = scope.spawn(|| self.generate(&server, (200, Pace::Open(RATE_HZ)), 5.0));
            self.lab.pause(Duration::from_millis(1500))?;
            backends.stop(AT_FAULT);
            self.lab.pause(Duration::from_secs(2))?;
            backends.bring(AT_FAULT, Fault::None)?;
            client.join().unwrap_or_else(|_| Err(Trouble::Broken("the load generator panicked".into())))
        })?;
        // The backend is back for 2 s now.
        let (start, before) = (Instant::now(), Duration::from_secs(2));
        while !backends.has_served(AT_FAULT) {
            if start.elapsed() + before > RETURN {
                return Ok((tally, None));
            }
            self.generate(&server, (200, Pace::Open(50.0)), 0.5)?;
        }
        Ok((tally, Some((start.elapsed() + before).as_secs_f64())))
    }

    fn with_fault(&self, fault: Fault) -> Result<Tally, Trouble> {
        let mut backends = self.backends()?;
        let server = self.start(&backends.ports)?;
        backends.bring(AT_FAULT, fault)?;
        self.generate(&server, (1000, Pace::Open(RATE_HZ)), 4.0)
    }

    /// Returns the answers of each of 1000 connections over the usual backends, in ascending order.
    fn answers(&self) -> Result<Vec<u64>, Trouble> {
        let (server, _backends) = self.lab.both(self.target, &self.cell)?;
        let cell = Cell { connections: 1000, warm_s: 0.0, seconds: 5.0, ..self.cell.clone() };
        let mut answers = self.lab.generate(&cell, server.address(), Pace::Closed)?.answers;
        answers.sort_unstable();
        Ok(answers)
    }

    /// Measures the good responses per second of a balancer over the usual backends.
    fn rate(&self, target: &Target) -> Result<f64, Trouble> {
        let (server, _backends) = self.lab.both(target, &self.cell)?;
        let client = self.lab.load_once(&self.cell, server.address())?;
        let good = client.requests.saturating_sub(client.errors.status);
        Ok(good as f64 / (client.duration_us as f64 / 1e6).max(1e-3))
    }
}

/// The processes of the backends, each on its own port.
struct Backends<'l, 'g> {
    lab: &'l Lab<'g>,
    ports: [u16; BACKENDS],
    servers: [Option<Server>; BACKENDS],
}

impl<'l, 'g> Backends<'l, 'g> {
    /// Starts all backends without a fault. A port of 0 means a free port.
    fn start(lab: &'l Lab<'g>, mut ports: [u16; BACKENDS]) -> Result<Self, Trouble> {
        for port in ports.iter_mut().filter(|port| **port == 0) {
            *port = free_port()?;
        }
        let mut backends = Backends { lab, ports, servers: [const { None }; BACKENDS] };
        (0..BACKENDS).try_for_each(|backend| backends.bring(backend, Fault::None))?;
        Ok(backends)
    }

    /// True when a backend has answered a request since its process was started. The backend writes its counts every
    /// second.
    fn has_served(&self, backend: usize) -> bool {
        let stats = self.servers[backend].as_ref().map(|server| fs::read_to_string(&server.stats));
        let text = stats.and_then(Result::ok).unwrap_or_default();
        text.lines().any(|line| !line.contains("\"served\":0,"))
    }

    /// Kills the process of a backend.
    fn stop(&mut self, backend: usize) {
        self.servers[backend] = None;
    }

    /// Replaces a backend by a process with this fault in every answer. Waits until the backend listens.
    fn bring(&mut self, backend: usize, fault: Fault) -> Result<(), Trouble> {
        self.stop(backend);
        let (role, port) = (format!("backend-{backend}"), self.ports[backend]);
        let this = std::env::current_exe().map_err(failed("this program"))?.display().to_string();
        let options = format!(
            "faulty --fault {} --listen 127.0.0.1:{port} --body {{root}}/128.html --stats {{dir}}/{role}.stats",
            fault.name()
        );
        let words: Vec<String> = iter::once(this).chain(options.split(' ').map(Into::into)).collect();
        self.servers[backend] = Some(self.lab.start(&role, &words, &[port])?);
        Ok(())
    }
}
