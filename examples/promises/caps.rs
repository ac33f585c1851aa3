//! Three backends with `cap=4` under a thousand clients.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Backend, State};
use crate::balancer::Balancer;
use crate::wire::{Client, Reply, spawn};
use crate::{Row, Setup};

const BACKENDS: usize = 3;
const CAP: u64 = 4;
const WORK: Duration = Duration::from_millis(20);
const CLIENTS: usize = 1000;
/// Time for all clients to connect, then time of the measurement.
const RAMP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(8);
/// The limit on the wait in the queue, and the tolerance for the 503.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(500);
const TOLERANCE: Duration = Duration::from_millis(200);

pub(crate) fn run(setup: &Setup) -> io::Result<Vec<Row>> {
    let patient = measure(setup, "--queue-timeout-ms 20000")?;
    let waits = format!("--queue-timeout-ms {}", QUEUE_TIMEOUT.as_millis());
    let hasty = measure(setup, &waits)?;
    let ideal = BACKENDS as f64 * CAP as f64 / WORK.as_secs_f64();
    let peak = patient.peak.max(hasty.peak);
    let share = |run: &Run| run.rate / ideal * 100.0;
    let found = |run: &Run| format!("{:.0} of {ideal:.0}/s, {:.1} %", run.rate, share(run));
    let failed = patient.replies.iter().filter(|reply| reply.status != 200).count();
    let strange = hasty.replies.iter().filter(|reply| ![200, 503].contains(&reply.status)).count();
    let refused: Vec<&Reply> = hasty.replies.iter().filter(|reply| reply.status == 503).collect();
    let late = refused.iter().filter(|reply| reply.took > QUEUE_TIMEOUT + TOLERANCE).count();
    let longest = refused.iter().map(|reply| reply.took).max().unwrap_or_default();
    let without = refused.iter().filter(|reply| !reply.retry_after).count();
    let total = hasty.replies.len();
    Ok(vec![
        Row::new("cap=4: peak of requests in flight that a backend saw", peak, "4", peak == CAP),
        Row::new(
            "nobody waits while there is room: requests",
            found(&patient),
            ">= 90 %",
            share(&patient) >= 90.0,
        ),
        Row::new("the same while waiting requests give up", found(&hasty), ">= 90 %", share(&hasty) >= 90.0),
        Row::new("patient queue: requests that were not answered with 200", failed, "0", failed == 0),
        Row::new(
            "short queue: 503 later than 500 ms + 200 ms",
            format!("{late} of {}, last {} ms", refused.len(), longest.as_millis()),
            "0 of some",
            late == 0 && !refused.is_empty(),
        ),
        Row::new("short queue: 503 without Retry-After", without, "0", without == 0),
        Row::new("short queue: neither 200 nor 503", format!("{strange} of {total}"), "0", strange == 0),
    ])
}

struct Run {
    /// The maximum of requests in flight over all backends.
    peak: u64,
    /// Requests per second that the backends received.
    rate: f64,
    replies: Vec<Reply>,
}

fn measure(setup: &Setup, words: &str) -> io::Result<Run> {
    let backends = Backend::several(BACKENDS, || State::working(WORK, None))?;
    let members = backends.iter().map(|backend| format!("{},cap={CAP}", backend.address));
    let balancer = Balancer::start(setup, members, words)?;
    let (address, end) = (balancer.address, Instant::now() + RAMP + MEASURED);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            spawn(move || {
                let (mut client, mut replies) = (Client::new(address), Vec::new());
                while Instant::now() < end {
                    replies.push(client.get("/"));
                }
                replies
            })
        })
        .collect();
    let received = || backends.iter().map(|backend| backend.state.received.load(SeqCst)).sum::<u64>();
    thread::sleep(RAMP);
    let (begun, before) = (Instant::now(), received());
    thread::sleep(end.saturating_duration_since(begun));
    let rate = (received() - before) as f64 / begun.elapsed().as_secs_f64();
    let replies = clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect();
    let peak = backends.iter().map(|backend| backend.state.peak.load(SeqCst)).max().unwrap_or_default();
    Ok(Run { peak, rate, replies })
}
