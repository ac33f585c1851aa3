//! The behaviour of a balancer while one of its three backends has a fault, and under many connections.

use std::time::{Duration, Instant};
use std::{fs, iter};

use crate::grade::choice::cell;
use crate::grade::score::Behaviour;
use crate::plans::model::{Cell, Target};
use crate::run::faulty::Fault;
use crate::run::lab::{Lab, Server, Trouble, backend_ports, failed};
use crate::run::load::{self, Pace, Tally};

/// GETs per second while a backend has a fault.
const RATE_HZ: f64 = 200.0;
/// The backend at fault.
const AT_FAULT: usize = 1;
/// Maximum time for a restarted backend to get a request.
const RETURN: Duration = Duration::from_secs(15);
/// A late answer of one of the two good backends.
const LATE: Duration = Duration::from_millis(250);
const VERY_LATE: Duration = Duration::from_secs(1);

/// Measures a balancer. The reference is the balancer whose rate is the measure.
pub(super) fn measure(lab: &Lab, target: &Target, reference: &Target) -> Result<Behaviour, Trouble> {
    let (dying, return_s) = dying(lab, target)?;
    let slow = with_fault(lab, target, Fault::Slow)?;
    let hanging = with_fault(lab, target, Fault::Silent)?;
    let lying = with_fault(lab, target, Fault::Truncate)?;
    let answers = answers(lab, target)?;
    // The reference, the target, the target, the reference: a slow drift of the machine cancels out.
    let mut rates = [0.0; 2];
    for which in [1, 0, 0, 1] {
        rates[which] += rate(lab, [target, reference][which])? / 2.0;
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

/// Starts a balancer. Its backends are without a fault, each a process of its own.
fn start(lab: &Lab, target: &Target) -> Result<(Server, Vec<Server>), Trouble> {
    let ports = backend_ports(target)?;
    let backends = ports.iter().map(|port| backend(lab, *port, Fault::None)).collect::<Result<_, _>>()?;
    Ok((lab.target(target, &cell(), &ports)?, backends))
}

/// Starts a backend with this fault in every answer. Waits until the backend listens.
fn backend(lab: &Lab, port: u16, fault: Fault) -> Result<Server, Trouble> {
    let (name, fault) = (format!("backend-{port}"), fault.name());
    let this = std::env::current_exe().map_err(failed("this program"))?.display().to_string();
    let options = format!(
        "faulty --fault {fault} --listen 127.0.0.1:{port} --body {{root}}/128.html --stats {{dir}}/{name}.stats"
    );
    let words: Vec<String> = iter::once(this).chain(options.split(' ').map(Into::into)).collect();
    lab.start(&name, &words, &[port])
}

/// Kills a backend under load, starts it again, and waits until it gets a request. Returns the seconds of the wait.
fn dying(lab: &Lab, target: &Target) -> Result<(Tally, Option<f64>), Trouble> {
    let (balancer, mut backends) = start(lab, target)?;
    let for_seconds = |seconds| Cell { connections: 200, seconds, ..cell() };
    let client = load::start(lab.spec(&for_seconds(5.0), balancer.address(), Pace::Open(RATE_HZ))?);
    lab.pause(Duration::from_millis(1500))?;
    let port = backends.remove(AT_FAULT).address().port();
    lab.pause(Duration::from_secs(2))?;
    let (back, since) = (backend(lab, port, Fault::None)?, Instant::now());
    let tally = load::finish(client).map_err(failed("the load generator"))?;
    // The backend writes its counts every second.
    let has_served = || {
        let text = fs::read_to_string(&back.stats).unwrap_or_default();
        text.lines().any(|line| !line.contains("\"served\":0,"))
    };
    while !has_served() {
        if since.elapsed() > RETURN {
            return Ok((tally, None));
        }
        lab.generate(&for_seconds(0.5), balancer.address(), Pace::Open(50.0))?;
    }
    Ok((tally, Some(since.elapsed().as_secs_f64())))
}

/// Runs a load while a backend has a fault in every answer.
fn with_fault(lab: &Lab, target: &Target, fault: Fault) -> Result<Tally, Trouble> {
    let (balancer, mut backends) = start(lab, target)?;
    let port = backends.remove(AT_FAULT).address().port();
    let _faulty = backend(lab, port, fault)?;
    lab.generate(&Cell { connections: 1000, seconds: 4.0, ..cell() }, balancer.address(), Pace::Open(RATE_HZ))
}

/// Returns the answers of each of 1000 connections over the usual backends, in ascending order.
fn answers(lab: &Lab, target: &Target) -> Result<Vec<u64>, Trouble> {
    let (server, _backends) = lab.both(target, &cell())?;
    let load = Cell { connections: 1000, warm_s: 0.0, seconds: 5.0, ..cell() };
    let mut answers = lab.generate(&load, server.address(), Pace::Closed)?.answers;
    answers.sort_unstable();
    Ok(answers)
}

/// Measures the good responses per second of a balancer over the usual backends.
fn rate(lab: &Lab, target: &Target) -> Result<f64, Trouble> {
    let (server, _backends) = lab.both(target, &cell())?;
    let client = lab.load_once(&cell(), server.address())?;
    let good = client.requests.saturating_sub(client.errors.status);
    Ok(good as f64 / (client.duration_us as f64 / 1e6).max(1e-3))
}
