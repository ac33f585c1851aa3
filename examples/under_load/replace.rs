//! Replaces the program ten times, and stops one of two replicas behind another balancer.
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::service::{Service, servers};
use crate::wrk::{Load, Wrk};
use crate::{Arguments, Outcome};

const REPLACEMENTS: u32 = 10;

/// Ten times SIGUSR2 to the main process of a balancer.
pub(crate) fn replacements(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<bool> {
    let (_servers, backends) = servers(arguments, place, engine, 3)?;
    let mut balancer = Service::balance(arguments, place, "balancer", engine, &backends, &[])?;
    let mut took = Vec::new();
    let load = under_load(arguments, balancer.addresses[0], || {
        for _ in 0..REPLACEMENTS {
            thread::sleep(Duration::from_secs(arguments.seconds) / (REPLACEMENTS + 1));
            let from = Instant::now();
            balancer.signal(Signal::USR2)?;
            balancer.note_main()?;
            took.push(from.elapsed().as_millis());
        }
        Ok(())
    })?;
    took.sort_unstable();
    println!("{engine}: {} replacements; a new process was ready after {took:?} ms", took.len());
    Ok(judge(engine, &load))
}

/// SIGTERM to one of two balancers behind a third one, which checks them. The replica serves for two more seconds, and is
/// gone after them.
pub(crate) fn replicas(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<bool> {
    let (_servers, backends) = servers(arguments, place, engine, 3)?;
    let replica = |name| {
        let delay = ["--admin", "127.0.0.1:0", "--drain-delay-seconds", "2"];
        Service::balance(arguments, place, name, engine, &backends, &delay)
    };
    let (first, second) = (replica("first")?, replica("second")?);
    let both = [first.addresses[0], second.addresses[0]];
    let checks = ["--check", "/", "--check-interval-ms", "500"];
    let outer = Service::balance(arguments, place, "outer", engine, &both, &checks)?;
    let load = under_load(arguments, outer.addresses[0], || {
        thread::sleep(Duration::from_secs(arguments.seconds) / 2);
        first.signal(Signal::TERM)
    })?;
    println!("{engine}: SIGTERM of one of two replicas behind a third balancer");
    Ok(judge(engine, &load))
}

/// Runs wrk, and the action meanwhile.
fn under_load(arguments: &Arguments, to: SocketAddr, action: impl FnOnce() -> Outcome<()>) -> Outcome<Load> {
    let wrk = Wrk::start(&format!("http://{to}/"), arguments.seconds, arguments.connections)?;
    let acted = action();
    let load = wrk.finish()?;
    acted.map(|()| load)
}

/// Prints the load. True when no request has failed.
fn judge(engine: &str, load: &Load) -> bool {
    let Load { requests, failed, per_second, .. } = load;
    println!("{engine}:   {requests} requests, {per_second:.0} requests/s, {failed} failed");
    *requests > 0 && *failed == 0
}
