//! The behaviour of a balancer while one of its three backends has a fault, and under many connections.

use std::thread;
use std::time::{Duration, Instant};

use crate::capacity::load::{self, Pace, Spec, Tally};
use crate::commands::chaos::{BACKENDS, Backends};
use crate::grade::score::Behaviour;
use crate::plans::model::{Cell, Target};
use crate::run::faulty::Fault;
use crate::run::lab::{Lab, Server, Trouble, failed};
use crate::run::probe::kept_request;

/// GETs per second while a backend has a fault.
const RATE_HZ: f64 = 200.0;
/// The backend at fault.
const AT_FAULT: usize = 1;
/// Maximum time for a restarted backend to get a request.
const RETURN: Duration = Duration::from_secs(15);
/// A late answer of one of the two good backends.
const LATE: Duration = Duration::from_millis(250);
const VERY_LATE: Duration = Duration::from_secs(1);

/// The source of an error in a message.
const LOAD: &str = "the load generator";

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

    /// Starts the balancer over these backends.
    pub(super) fn start(&self, ports: &[u16]) -> Result<Server<'g>, Trouble> {
        let mut values = self.lab.values();
        values.extend(["o1", "o2", "o3"].into_iter().zip(ports.iter().map(u16::to_string)));
        self.lab.target(self.target, &self.cell, values)
    }

    pub(super) fn measure(&self) -> Result<Behaviour, Trouble> {
        let (dying, return_s) = self.dying()?;
        let with = |fault| self.with_fault(fault);
        let (slow, hanging, lying) = (with(Fault::Slow)?, with(Fault::Hang)?, with(Fault::Short)?);
        let mut answers = self.many_connections()?.answers;
        answers.sort_unstable();
        let (rate, reference_rate) = self.rates()?;
        Ok(Behaviour {
            dying: (dying.intended, dying.intended - dying.good),
            return_s,
            slow: slow.good_within(LATE),
            hanging: hanging.good_within(VERY_LATE),
            lying: (lying.intended, lying.failed + lying.unanswered, lying.wrong),
            answer_deciles: (0..=10)
                .filter_map(|i| answers.get(i * answers.len().saturating_sub(1) / 10).copied())
                .collect(),
            answers,
            rate,
            reference_rate,
        })
    }

    /// Describes a load on the balancer, whose length is in seconds.
    fn spec(
        &self,
        server: &Server<'_>,
        connections: usize,
        pace: Pace,
        seconds: f64,
    ) -> Result<Spec, Trouble> {
        let address = server.address()?;
        let request = kept_request(&self.cell.path, address);
        let body = self.lab.body(&self.cell)?;
        Ok(Spec { address, request, body, connections, pace, warm_s: 0.5, seconds })
    }

    fn backends(&self) -> Result<Backends<'_, 'g>, Trouble> {
        Backends::start(self.lab, self.backend_ports())
    }

    /// Kills a backend under load, starts it again, and waits until it gets a request.
    fn dying(&self) -> Result<(Tally, Option<f64>), Trouble> {
        let mut backends = self.backends()?;
        let server = self.start(&backends.ports)?;
        let spec = self.spec(&server, 200, Pace::Open(RATE_HZ), 5.0)?;
        let tally = thread::scope(|scope| {
            let client = scope.spawn(|| load::run(&spec));
            self.lab.pause(Duration::from_millis(1500))?;
            backends.bring(AT_FAULT, Fault::Down)?;
            self.lab.pause(Duration::from_secs(2))?;
            backends.bring(AT_FAULT, Fault::None)?;
            client
                .join()
                .map_err(|_| Trouble::Broken("the load generator panicked".into()))?
                .map_err(failed(LOAD))
        })?;
        // The backend is back for 2 s now.
        let (start, before) = (Instant::now(), Duration::from_secs(2));
        let light = Spec { pace: Pace::Open(50.0), seconds: 0.5, ..spec };
        while !backends.has_served(AT_FAULT) {
            if start.elapsed() + before > RETURN {
                return Ok((tally, None));
            }
            load::run(&light).map_err(failed(LOAD))?;
            self.lab.pause(Duration::ZERO)?;
        }
        Ok((tally, Some((start.elapsed() + before).as_secs_f64())))
    }

    fn with_fault(&self, fault: Fault) -> Result<Tally, Trouble> {
        let mut backends = self.backends()?;
        let server = self.start(&backends.ports)?;
        backends.bring(AT_FAULT, fault)?;
        load::run(&self.spec(&server, 1000, Pace::Open(RATE_HZ), 4.0)?).map_err(failed(LOAD))
    }

    fn many_connections(&self) -> Result<Tally, Trouble> {
        let mut values = self.lab.values();
        let _backends = self.lab.backends(self.target, &self.cell, &mut values)?;
        let server = self.lab.target(self.target, &self.cell, values)?;
        let spec = Spec { warm_s: 0.0, ..self.spec(&server, 1000, Pace::Closed, 5.0)? };
        load::run(&spec).map_err(failed(LOAD))
    }

    /// Measures the reference, the target, the target, the reference. Returns the mean rates of target and reference.
    fn rates(&self) -> Result<(f64, f64), Trouble> {
        let mut rates = [0.0; 2];
        for (which, target) in [(1, self.reference), (0, self.target), (0, self.target), (1, self.reference)]
        {
            let mut values = self.lab.values();
            let _backends = self.lab.backends(target, &self.cell, &mut values)?;
            let server = self.lab.target(target, &self.cell, values)?;
            let client = self.lab.load_once(&self.cell, self.cell.seconds, server.address()?)?;
            let good = client.requests.saturating_sub(client.errors.status);
            rates[which] += good as f64 / (client.duration_us as f64 / 1e6).max(1e-3) / 2.0;
        }
        Ok((rates[0], rates[1]))
    }
}
