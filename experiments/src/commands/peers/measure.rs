//! Measures one subject in one round: starts the subject, warms it up, reads its kernel counters, stops it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::rows::Metric;
use crate::plans::build::FILES;
use crate::plans::model::{Cell, Target, Work};
use crate::run::lab::{Lab, Server, Trouble, free_port};
use crate::run::probe::{Prober, Spec};
use crate::run::proc::{GroupCounters, HostCounters};
use crate::run::wrk::Client;

/// The measured values of one round.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// The laboratory with running origins.
pub(crate) struct Bench<'a> {
    lab: &'a Lab<'a>,
    values: BTreeMap<&'static str, String>,
    origins: Server<'a>,
}

impl<'a> Bench<'a> {
    /// Starts the origins: one target that listens on three ports. `programs` adds names for the commands of the
    /// targets.
    pub(crate) fn start<'p>(
        lab: &'a Lab<'a>,
        programs: impl IntoIterator<Item = (&'static str, &'p Path)>,
        origins: &Target,
        any: &Cell,
    ) -> Result<Self, Trouble> {
        let port = || free_port().map_err(|error| Trouble::Broken(format!("no free port: {error}")));
        let mut values = lab.values();
        values.extend([("o2", port()?.to_string()), ("o3", port()?.to_string())]);
        values.extend(programs.into_iter().map(|(name, program)| (name, program.display().to_string())));
        let origins = lab.target(origins, any, values.clone())?;
        // An origin with configured ports has one known address. An origin that chose its ports has printed all three.
        for (name, address) in ["o1", "o2", "o3"].into_iter().zip(&origins.addresses) {
            values.insert(name, address.port().to_string());
        }
        Ok(Bench { lab, values, origins })
    }

    fn run(&self, target: &Target, cell: &Cell) -> Result<(Server<'a>, SocketAddr), Trouble> {
        let server = self.lab.target(target, cell, self.values.clone())?;
        let address = server.address()?;
        Ok((server, address))
    }

    /// Starts a target and compares the served bodies with the files.
    pub(crate) fn check(&self, target: &Target, any: &Cell) -> Result<(), Trouble> {
        let (_server, address) = self.run(target, any)?;
        FILES
            .iter()
            .try_for_each(|(name, _)| self.lab.verify(address, &Cell { path: (*name).into(), ..any.clone() }))
    }

    /// Starts a target, warms it up, measures it and stops it. With `probe_hz`, a prober asks on fresh connections beside
    /// the load.
    pub(crate) fn measure(&self, target: &Target, cell: &Cell, probe_hz: f64) -> Result<Sample, Trouble> {
        let (server, address) = self.run(target, cell)?;
        self.lab.verify(address, cell)?;
        let sample = match cell.work {
            Work::Idle => self.idle(cell, address, &server)?,
            Work::Load | Work::Syscalls | Work::Profile => self.load(cell, address, &server, probe_hz)?,
        };
        if server.program.has_ended() {
            return Err(Trouble::Failed("it ended by itself".into()));
        }
        let stopped = server.program.stop();
        stopped.map_err(|error| Trouble::Broken(format!("it cannot be stopped: {error}")))?;
        Ok(sample)
    }

    fn load(
        &self,
        cell: &Cell,
        address: SocketAddr,
        server: &Server<'_>,
        probe_hz: f64,
    ) -> Result<Sample, Trouble> {
        self.lab.load_once(cell, cell.warm_s, address)?;
        let counters = |client| Counters {
            subject: GroupCounters::of_group(server.program.group()),
            origins: GroupCounters::of_group(self.origins.program.group()),
            client,
            host: HostCounters::read(),
        };
        let before = counters(GroupCounters::default());
        let body = self.lab.body(cell)?;
        let spec = Spec { address, path: cell.path.clone(), body, rate_hz: probe_hz, seconds: cell.seconds };
        let prober = (probe_hz > 0.0).then(|| Prober::start(spec));
        let (client, of_client) = self.lab.load_once(cell, cell.seconds, address)?;
        let mut sample = sample(&client, &before, &counters(of_client));
        if let Some(prober) = prober {
            let probe = prober.finish().map_err(|error| Trouble::Broken(format!("the prober: {error}")))?;
            let waiting = probe.fresh.waiting_us.summary();
            let p99 = waiting.percentiles.iter().find(|(fraction, _)| *fraction == 0.99);
            sample.extend(p99.map(|(_, us)| (Metric::FirstByteP99Ms, *us as f64 / 1e3)));
        }
        Ok(sample)
    }

    fn idle(&self, cell: &Cell, address: SocketAddr, server: &Server<'_>) -> Result<Sample, Trouble> {
        let memory = self.lab.idle(cell, address, &server.program)?;
        let mut sample = Sample::from([(Metric::Failed, (memory.tried - memory.alive) as f64)]);
        sample.extend(memory.per_connection_kb().map(|kb| (Metric::PerConnectionKb, kb)));
        sample.extend(memory.points.last().map(|(_, kb)| (Metric::PssMb, *kb as f64 / 1024.0)));
        Ok(sample)
    }
}

/// The counters at one moment.
#[derive(Debug)]
struct Counters {
    subject: GroupCounters,
    origins: GroupCounters,
    client: GroupCounters,
    host: HostCounters,
}

/// With more than one failure per this number of requests, the rate and the CPU time of a round are not used.
const FAILED_ONE_IN: u64 = 1000;

/// Computes the sample of one run of wrk from the counters before and after the run.
fn sample(client: &Client, before: &Counters, after: &Counters) -> Sample {
    let requests = client.requests.max(1) as f64;
    let ticks_per_us = rustix::param::clock_ticks_per_second() as f64 / 1e6;
    let grown = |of: fn(&Counters) -> u64| of(after).saturating_sub(of(before)) as f64 / requests;
    let spent = |of: fn(&Counters) -> u64| grown(of) / ticks_per_us;
    let (user, system) = (spent(|c| c.subject.user_ticks), spent(|c| c.subject.system_ticks));
    let of_origins = spent(|c| c.origins.user_ticks) + spent(|c| c.origins.system_ticks);
    let of_client = spent(|c| c.client.user_ticks) + spent(|c| c.client.system_ticks);
    let passed = |of: fn(&HostCounters) -> u64| of(&after.host).saturating_sub(of(&before.host)) as f64;
    let idle = passed(|host| host.idle_ticks);
    let all = passed(|host| host.process_ticks + host.interrupt_ticks + host.idle_ticks + host.steal_ticks);
    let e = client.errors;
    let failed = e.connect + e.read + e.write + e.status + e.timeout;
    if failed > client.requests / FAILED_ONE_IN {
        return Sample::from([(Metric::Failed, failed as f64)]);
    }
    let mut sample = Sample::from([
        (Metric::Rate, client.requests as f64 * 1e6 / client.duration_us.max(1) as f64),
        (Metric::User, user),
        (Metric::System, system),
        (Metric::Cpu, user + system),
        (Metric::OriginCpu, of_origins),
        (Metric::ClientCpu, of_client),
        (Metric::Switches, grown(|c| c.subject.voluntary_switches + c.subject.involuntary_switches)),
        (Metric::Failed, failed as f64),
        (Metric::IdlePercent, 100.0 * idle / all.max(1.0)),
    ]);
    let p99 = client.latency_us.get("p99").copied().flatten();
    sample.extend(p99.map(|us| (Metric::P99Ms, us / 1e3)));
    sample.extend(after.subject.pss_kb.map(|kb| (Metric::PssMb, kb as f64 / 1024.0)));
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::wrk::ClientErrors;

    #[test]
    fn counters_are_told_per_request() {
        let mut client = Client {
            duration_us: 2_000_000,
            requests: 16_000,
            bytes: 0,
            errors: ClientErrors { connect: 1, read: 2, write: 3, status: 4, timeout: 5 },
            latency_us: BTreeMap::from([("p99".into(), Some(2500.0)), ("p50".into(), None)]),
        };
        let ticks = rustix::param::clock_ticks_per_second();
        let group = |n: u64| GroupCounters {
            user_ticks: 16 * n * ticks,
            system_ticks: 32 * n * ticks,
            voluntary_switches: 1600 * n,
            involuntary_switches: 6400 * n,
            pss_kb: Some(2048),
            ..GroupCounters::default()
        };
        let host = |n: u64| HostCounters {
            process_ticks: n,
            interrupt_ticks: n,
            idle_ticks: n,
            steal_ticks: n,
            ..HostCounters::default()
        };
        let expected = Sample::from([
            (Metric::Rate, 8000.0),
            (Metric::User, 1000.0),
            (Metric::System, 2000.0),
            (Metric::Cpu, 3000.0),
            (Metric::OriginCpu, 3000.0),
            (Metric::ClientCpu, 6000.0),
            (Metric::Switches, 0.5),
            (Metric::P99Ms, 2.5),
            (Metric::PssMb, 2.0),
            (Metric::Failed, 15.0),
            (Metric::IdlePercent, 25.0),
        ]);
        let counters = |n, of_client| Counters {
            subject: group(n),
            origins: group(n),
            client: group(of_client),
            host: host(2 * n - 1),
        };
        let (before, after) = (counters(1, 0), counters(2, 2));
        assert_eq!(sample(&client, &before, &after), expected);
        client.errors.status += 2;
        assert_eq!(sample(&client, &before, &after), Sample::from([(Metric::Failed, 17.0)]));
    }
}
