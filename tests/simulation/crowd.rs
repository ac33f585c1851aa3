//! Several clients at once: one pool of kept connections, a limit of requests in flight, members that change, a drain.
use std::time::Duration;

use neraca::cluster::Policy;
use neraca::engine::ConcurrencyLimit;
use neraca::engine::driver::Load;

use super::census;
use super::chance::{Pace, Rng};
use super::coding::Coding;
use super::judge;
use super::message::{Message, responses};
use super::peers::Act;
use super::plots::{
    Due, Script, WITH_TRANSFORMS_PERCENT, spoil_job, spoil_program, spoilt_connect, spoilt_kept,
};
use super::sweep;
use super::wire::End;
use super::world::{Event, Got, Plot, Run, run};

/// A quarter of the seeds has no faults.
const WITHOUT_FAULTS: u64 = 4;

/// Most clients of a plot.
const CLIENTS_MAX: usize = 6;

/// The loads that a worker reads: the CPUs are saturated, mostly; the worker is idle.
const LOADS: [Load; 4] = [
    Load { ready: 100, waited: 30 },
    Load { ready: 100, waited: 50 },
    Load { ready: 100, waited: 5 },
    Load { ready: 50, waited: 30 },
];

/// A plot of several clients.
struct Crowd {
    plot: Plot,
    dues: Vec<Due>,
    /// Clients that do something wrong, or one of whose jobs meets a fault.
    spoilt: Vec<bool>,
    drains: bool,
    faults: bool,
}

impl Crowd {
    fn new(rng: &mut Rng, faults: bool) -> Self {
        let mut plot = Plot::new(Vec::new(), Vec::new());
        (plot.programs, plot.events) = (Vec::new(), Vec::new());
        let (mut dues, mut spoilt) = (Vec::new(), Vec::new());
        if rng.chance(40) {
            // Without faults there is a place for every client, and time enough.
            let waiting = if faults { rng.up_to(2) } else { CLIENTS_MAX };
            plot.capacity = Some((1 + rng.up_to(2) as u32, waiting));
            if !faults {
                plot.queue_timeout = Duration::from_secs(600);
            }
        }
        for client in 0..=rng.up_to(CLIENTS_MAX - 1) {
            let mut script = Script::new(rng, client, plot.jobs.len());
            let spoils = faults && rng.chance(40);
            if spoils {
                script.jobs.iter_mut().for_each(|job| spoil_job(rng, job));
                if rng.chance(40) {
                    spoil_program(rng, &mut script.program);
                }
                if plot.capacity.is_some() && rng.chance(30) {
                    // It leaves while its first request waits, if the request has to wait.
                    script.program.truncate(1);
                    script.program.push(Act::Leave(End::Reset));
                }
            }
            spoilt.push(spoils);
            plot.programs.push(script.program);
            plot.jobs.extend(script.jobs);
            dues.extend(script.dues);
            plot.events.push((some_time(rng), Event::Connect(client)));
        }
        if faults {
            for _ in 0..12 {
                plot.connects.push(spoilt_connect(rng).filter(|_| rng.chance(50)));
                plot.deaths.push(spoilt_kept(rng).filter(|_| rng.chance(50)));
            }
        }
        plot.buffer_bytes = *rng.pick(&[700, 2048, 64 * 1024]);
        plot.policy = rng.pick(&Policy::ALL).clone();
        plot.time_flows = true;
        plot.workers = 1 + rng.up_to(2);
        plot.kept = rng.up_to(3);
        plot.limit = match rng.up_to(3) {
            0 => ConcurrencyLimit::Unlimited,
            1 => ConcurrencyLimit::WhenSaturated(1 + rng.up_to(1)),
            _ => ConcurrencyLimit::Always(1 + rng.up_to(3)),
        };
        if let ConcurrencyLimit::WhenSaturated(_) = plot.limit {
            for _ in 0..=rng.up_to(4) {
                plot.events.push((some_time(rng), Event::Load(*rng.pick(&LOADS))));
            }
        }
        plot.transforms = rng.chance(WITH_TRANSFORMS_PERCENT).then_some(Coding::Masked);
        plot.backends = 1 + rng.up_to(3) as u16;
        for _ in 0..rng.up_to(3) {
            let members: Vec<u16> = (0..5).filter(|_| rng.chance(50)).collect();
            let members = if members.is_empty() && !faults { vec![7] } else { members };
            plot.events.push((some_time(rng), Event::Replace(members)));
        }
        let drains = faults && rng.chance(15);
        if drains {
            let at = some_time(rng);
            plot.events.extend([(at, Event::Drain), (at + Duration::from_secs(10), Event::EndAll)]);
        }
        plot.events.sort_by_key(|(at, _)| *at);
        Crowd { plot, dues, spoilt, drains, faults }
    }

    /// The members were none for a while.
    fn lacks_members(&self) -> bool {
        self.plot.events.iter().any(|(_, event)| *event == Event::Replace(Vec::new()))
    }
}

/// The client got a 503 of ours: another request that met a fault has held its permit for too long.
fn is_turned_away(got: &Got) -> bool {
    let ours = |response: &Message| response.status() == 503 && response.field("x-job").is_none();
    responses(&got.received, &got.heads).iter().any(ours)
}

fn some_time(rng: &mut Rng) -> Duration {
    Duration::from_millis(*rng.pick(&[0, 0, 0, 1, 2, 3, 5, 8, 50, 3000]))
}

/// Judges a run with or without faults. Returns the number of clients that had to get an exact outcome.
fn judge(crowd: &Crowd, run: &Run) -> u64 {
    let Crowd { plot, dues, .. } = crowd;
    let (mut finals, mut tunnels, mut exact) = (0, 0, 0);
    for (client, got) in run.clients.iter().enumerate() {
        let of_client = |n: &usize| plot.jobs[*n].client == client;
        let places: Vec<_> = (0..plot.jobs.len()).filter(of_client).collect();
        let range = places[0]..places[places.len() - 1] + 1;
        let (jobs, dues) = (&plot.jobs[range.clone()], &dues[range]);
        judge::client(got, jobs, dues);
        jobs.iter().for_each(|job| judge::attempts(run, job));
        let calm = !crowd.spoilt[client] && !got.disturbed && !crowd.drains && !crowd.lacks_members();
        let calm = calm && !(plot.capacity.is_some() && crowd.faults && is_turned_away(got));
        exact += u64::from(calm);
        if calm {
            let [more, more_tunnels] = judge::undisturbed(got, dues);
            (finals, tunnels) = (finals + more, tunnels + more_tunnels);
        }
    }
    if exact == run.clients.len() as u64 {
        let counters = run.counters;
        let attempts: u64 = run.attempts.iter().map(|counts| counts.started).sum();
        let answered: u64 = run.attempts.iter().map(|counts| counts.answered).sum();
        assert_eq!((counters.served, attempts, answered), (finals - tunnels, finals, finals), "responses");
        assert_eq!(counters.connected + counters.reused, attempts, "connections for attempts");
        assert_eq!((counters.broken, counters.unreachable, counters.panics), (0, 0, 0));
    }
    exact
}

#[test]
fn in_a_crowd_every_answer_is_whole_and_right_or_visibly_broken() {
    let census = sweep(1500, |seed| {
        let faults = seed % WITHOUT_FAULTS != 0;
        let mut rng = Rng::new(seed);
        let crowd = Crowd::new(&mut rng, faults);
        let first = run(&crowd.plot, Pace::Chance(rng.clone()));
        let second = run(&crowd.plot, Pace::Chance(rng));
        assert_eq!(first.trace, second.trace, "two runs of one seed differ");
        let calm = judge(&crowd, &first);
        let mut census = census::of_run(first);
        census.insert("clients: exact outcome".to_owned(), calm);
        census
    });
    if let Some(census) = census {
        census::check(&census);
    }
}
